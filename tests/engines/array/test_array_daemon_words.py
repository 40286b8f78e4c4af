"""What is said to the daemon, and how its answers are taken."""

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from array_fakes import DISK, LUN, OTHER, FakeHost, FakeMonitor, a_place, refused

from naos.engines.array import daemon, exports, far_side, jobs, listen, nodes
from naos.engines.errors import Busy, CommandFailed, Missing, Unreachable
from naos.engines.ports import Completed, LunSpec

SPEC = LunSpec(LUN, 2**30, 750, 10809)


def an_export(epoch, disk_id=DISK):
    return {"id": f"x.{disk_id}.{epoch}", "type": "nbd", "node-name": "t", "shutting-down": False}


def a_job(name, status="running", **more):
    return {"id": name, "status": status, "current-progress": 1, "total-progress": 4, **more}


def deleted(monitor):
    return [arguments["id"] for command, arguments in monitor.sent if command == "block-export-del"]


def test_the_daemon_is_started_under_its_lock_with_the_limit():
    argv = daemon.command(a_place(root="/a,b"), SPEC, "10.0.0.1")
    before = argv[: argv.index("qemu-storage-daemon")]
    assert before[:7] == ["env", *daemon.MEMORY, "nice", "-n", "-10", "flock"]
    assert before[before.index("python3") - 1] == f"/a,b/{LUN}/lock"
    assert before[-2:] == ["10.0.0.1", "10809"]
    group = json.loads(argv[argv.index("--object") + 1])
    assert group["limits"] == {"iops-total": 744, "bps-total": 0}
    server = json.loads(argv[argv.index("--nbd-server") + 1])
    assert server["addr"] == {"type": "fd", "str": listen.PLACE}
    assert f"path=/a,,b/{LUN}/qmp," in argv[argv.index("--chardev") + 1]
    assert not any("iothread" in word for word in argv)


def test_no_limit_is_zero():
    assert daemon.limits(replace(SPEC, iops=None)) == {"iops-total": 0, "bps-total": 0}


@pytest.mark.parametrize("nominal", [1, 7, 250, 750, 8053, 30_000, 150_000, 1_024_000_000])
def test_a_second_after_a_pause_has_less_than_a_tenth_more_than_the_nominal(nominal):
    """QEMU's bucket holds a tenth of a second of what it is told."""
    told = daemon.enforced(nominal)
    assert 0 < told <= nominal
    assert nominal - told <= nominal * 0.008 + 1  # on average
    assert nominal < 100 or told * 11000 <= nominal * 10912


def test_a_limit_that_did_not_take_is_an_error():
    monitor = FakeMonitor(qom_get={"iops-total": 0})
    with pytest.raises(CommandFailed, match="744"):
        daemon.apply_limit(monitor, SPEC)
    daemon.apply_limit(FakeMonitor(qom_get={"iops-total": 744, "bps-total": 0}), SPEC)


@pytest.mark.parametrize(
    ("words", "error"),
    [("Failed to bind socket: Address already in use", Busy), ("Could not open: Permission denied", CommandFailed)],
)
def test_a_daemon_that_does_not_start_says_why(words, error):
    host = FakeHost(lambda argv: Completed(1 if "qemu-storage-daemon" in argv else 0, "", words))
    with pytest.raises(error, match=words):
        daemon.start(a_place(host), SPEC, "10.0.0.1")


def test_a_daemon_is_never_started_beside_one_that_lives():
    host = FakeHost(lambda _argv: Completed(75, "", ""))
    assert daemon.start(a_place(host), SPEC, "10.0.0.1") is False
    assert not any("qemu-storage-daemon" in call for call in host.calls)


@pytest.mark.parametrize(("code", "answer"), [(0, False), (66, False), (75, True)])
def test_the_lock_says_whether_the_daemon_lives(code, answer):
    assert daemon.lives(a_place(FakeHost(lambda _argv: Completed(code, "", "")))) is answer


@pytest.mark.parametrize("code", [1, 2, 64, 127, 255, -9])
def test_an_unclear_answer_is_never_taken_for_death(code):
    with pytest.raises(CommandFailed, match="cannot say"):
        daemon.lives(a_place(FakeHost(lambda _argv: Completed(code, "", "cannot say"))))


def test_a_start_that_another_one_overtook_is_none():
    answers = iter([0, 75, 75])
    host = FakeHost(lambda _argv: Completed(next(answers), "", ""))
    assert daemon.start(a_place(host), SPEC, "10.0.0.1") is False


@pytest.mark.parametrize(("volume", "error"), [(0, Unreachable), (1, Missing)])
def test_without_its_daemon_a_volume_is_silent_or_missing(volume, error):
    host = FakeHost(lambda argv: Completed(volume if argv[0] == "test" else 0, "", ""))
    with pytest.raises(error), daemon.served(a_place(host)):
        pass


def test_a_cut_waits_until_the_export_is_gone():
    both, going = [an_export(1), an_export(2), an_export(9, OTHER)], [an_export(1), an_export(9, OTHER)]
    monitor = FakeMonitor(query_block_exports=[both, going, going, [an_export(9, OTHER)]])
    exports.cut(monitor, DISK)
    assert deleted(monitor) == [f"x.{DISK}.1", f"x.{DISK}.2"]
    assert all(arguments["mode"] == "hard" for command, arguments in monitor.sent if command == "block-export-del")


def test_a_cut_spares_one_epoch_and_survives_one_that_goes_by_itself():
    monitor = FakeMonitor(
        query_block_exports=[[an_export(1), an_export(2)], [an_export(2)]], block_export_del=refused()
    )
    exports.cut(monitor, DISK, spared=2)
    assert deleted(monitor) == [f"x.{DISK}.1"]


def test_an_export_that_does_not_go_is_no_success(monkeypatch):
    monkeypatch.setattr(exports, "_CUT", 0.01)
    monitor = FakeMonitor(query_block_exports=[an_export(1)])
    with pytest.raises(Unreachable, match="hold on"):
        exports.cut(monitor, DISK)


def test_exports_are_writable_and_have_no_iothread():
    monitor = FakeMonitor()
    exports.add(monitor, DISK, 3)
    (_, arguments), *_ = monitor.sent
    assert arguments["name"] == f"{DISK}.3"
    assert arguments["node-name"] == nodes.node(nodes.THROTTLE, DISK)
    assert arguments["writable"] is True
    assert "iothread" not in arguments


def test_jobs_of_others_are_not_seen():
    monitor = FakeMonitor(query_jobs=[a_job("mirror0"), a_job(f"copy.{DISK}.{OTHER}"), a_job(f"flatten.{OTHER}")])
    assert [job.id for job in jobs.of_disk(monitor, DISK)] == [f"copy.{DISK}.{OTHER}"]
    assert jobs.find(monitor, jobs.COPY, OTHER) is None  # the copy changes its first disk only
    with pytest.raises(Busy, match=r"a copy job works on it \(25% done\)"):
        jobs.check_none(monitor, "array1", OTHER)


def test_ended_jobs_keep_nobody_out():
    monitor = FakeMonitor(query_jobs=[a_job(f"flatten.{DISK}", "concluded", error="full")])
    jobs.check_none(monitor, "array1", DISK)
    job = jobs.find(monitor, jobs.FLATTEN, DISK)
    assert (job.state.running, job.state.error) == (False, "full")


def test_ending_jobs_asks_once_and_takes_the_results():
    name = f"copy.{DISK}.{OTHER}"
    running, ended = [a_job(name)], [a_job(name, "concluded")]
    monitor = FakeMonitor(query_jobs=[running, running, ended, []], query_named_block_nodes=[[], []])
    assert far_side.end_jobs(monitor, a_place(), OTHER) == sorted([DISK, OTHER])
    assert [command for command, _ in monitor.sent if not command.startswith("query")] == ["job-cancel", "job-dismiss"]


def test_an_image_that_does_not_open_leaves_no_node():
    monitor = FakeMonitor(blockdev_add=[[], refused()])
    with pytest.raises(CommandFailed):
        nodes.open_image(monitor, DISK, "/x", backing=None, give_back=True)
    assert monitor.sent[-1] == ("blockdev-del", {"node-name": nodes.node(nodes.FILE, DISK)})


@pytest.mark.parametrize(("give_back", "discard"), [(True, "unmap"), (False, "ignore")])
def test_what_is_reserved_is_not_given_back(give_back, discard):
    monitor = FakeMonitor()
    nodes.open_image(monitor, DISK, "/x", backing=OTHER, give_back=give_back)
    file, image = (arguments for _, arguments in monitor.sent)
    assert file["discard"] == discard
    assert image["backing"] == nodes.node(nodes.IMAGE, OTHER)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_to_clients_are_sent_at_once(host):
    with listen.listen(host, 0) as listening, socket.create_connection(listening.getsockname()[:2]):
        assert listening.get_inheritable()
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with pytest.raises(OSError, match="in use"):
            listen.listen(host, listening.getsockname()[1])


def test_the_daemon_is_given_the_socket(tmp_path):
    source = Path(listen.__file__).read_text(encoding="utf-8")
    show = "import os, socket, sys; print(socket.socket(fileno=int(sys.argv[1])).getsockname()[0])"
    argv = [sys.executable, "-c", source, "127.0.0.1", "0", sys.executable, "-c", show, listen.PLACE]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "127.0.0.1\n"
    argv[3] = "192.0.2.1"
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "192.0.2.1 port 0: Cannot assign requested address" in done.stderr
