"""A real array: daemons, volumes, clients, and what is done to them."""

import contextlib
import json
import signal
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from array_rig import ADDRESS, MIB, Rig, an_image, available, url

from naos.engines.array.driver import StorageDaemonArray
from naos.engines.errors import Busy, EngineError, Missing, NoSpace, Unreachable, Unsupported
from naos.engines.ports import ExportedDisk, LunSpec, Provisioning

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]
THIN, RESERVED = Provisioning.DYNAMIC, Provisioning.STATIC_DIFFERED


@pytest.fixture
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("a"))
    yield made
    made.close()


def an_id() -> str:
    return str(uuid.uuid4())


def a_disk(rig, lun, size=64 * MIB, provisioning=THIN) -> str:
    disk_id = an_id()
    rig.array.create_disk(lun, disk_id, size, provisioning)
    return disk_id


def a_template(rig, lun, *marks, size=64 * MIB) -> str:
    template_id = an_id()
    image = an_image(rig.folder / "image.qcow2", size, *(marks or [(7, 0, MIB)]))
    rig.array.stage_template(lun.id, template_id, image)
    return template_id


def open_files(rig, lun) -> set[str]:
    """What the volume's daemon has open on it."""
    pid = rig.host.daemons()[lun.id]
    links = rig.host.run(["find", f"/proc/{pid}/fd", "-printf", "%l\\n"], check=False).stdout.split("\n")
    return {Path(link).name for link in links if "/files/" in link}


# -------------------------------------------------------------------------------------------------------------- volumes


def test_a_volume_is_made_grown_and_removed_and_every_call_may_be_repeated(rig):
    array = rig.array
    lun = LunSpec(an_id(), 512 * MIB, None, 10900)
    assert array.luns() == []
    for _ in range(2):
        array.create_lun(lun)
    assert array.luns() == [lun.id]
    with pytest.raises(Unreachable, match="its daemon does not run"):
        array.usage(lun.id)
    assert array.ensure_daemon(lun, []) is True
    assert array.ensure_daemon(lun, []) is False
    before = array.usage(lun.id)
    assert before.capacity == 512 * MIB == before.used + before.free
    larger = LunSpec(lun.id, 768 * MIB, None, lun.port)
    for _ in range(2):
        array.resize_lun(larger)
    after = array.usage(lun.id)
    assert after.capacity == 768 * MIB
    assert after.free - before.free > 250 * MIB
    with pytest.raises(Unsupported, match="never shrinks"):
        array.resize_lun(lun)
    for _ in range(2):
        array.delete_lun(lun.id)
    assert array.luns() == []
    assert list(rig.folder.iterdir()) == []
    assert rig.host.daemons() == {}
    with pytest.raises(Missing):
        array.usage(lun.id)


def test_a_volume_that_holds_a_disk_stays(rig):
    lun = rig.lun()
    disk_id = a_disk(rig, lun)
    with pytest.raises(Busy, match="holds 1 disks"):
        rig.array.delete_lun(lun.id)
    rig.array.stop_daemon(lun.id)
    with pytest.raises(Busy, match="holds 1 disks"):
        rig.array.delete_lun(lun.id)
    rig.array.delete_disk(lun.id, disk_id)
    rig.array.delete_lun(lun.id)
    assert rig.array.luns() == []


def test_two_volumes_cannot_share_a_port(rig):
    lun = rig.lun()
    other = LunSpec(an_id(), 512 * MIB, None, lun.port)
    rig.array.create_lun(other)
    with pytest.raises(Busy, match=f"port {lun.port}"):
        rig.array.ensure_daemon(other, [])
    assert set(rig.host.daemons()) == {lun.id}


def test_what_naos_did_not_make_is_shown(rig):
    lun = rig.lun()
    disk_id, template_id = a_disk(rig, lun), a_template(rig, lun)
    rig.array.export_disk(lun, disk_id, 3)
    rig.host.run(["touch", f"{rig.folder}/{lun.id}/files/disks/notes.txt"])
    found = rig.array.contents(lun.id)
    assert (found.disks, found.templates) == ([disk_id], [template_id])
    assert (found.exports, found.foreign) == ({disk_id: 3}, ["disks/notes.txt"])


# --------------------------------------------------------------------------------------------------------------- limits


def a_writer(rig, address, seconds, *, depth=16, block="4k", more=()):
    """A client that writes at random offsets for so many seconds by its own clock; an I/O that fails ends it with an error."""
    return rig.host.spawn(
        *("fio", "--name=x", "--thread", "--ioengine=nbd", f"--uri={url(address)}", "--rw=randwrite", f"--bs={block}"),
        *(f"--iodepth={depth}", "--size=32m", "--time_based", f"--runtime={seconds}", "--output-format=json", *more),
    )


def written(client) -> int:
    """How many writes of a client passed."""
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0, err
    return json.loads(out[out.index(b"{") :])["jobs"][0]["write"]["total_ios"]


def operations(rig, addresses, seconds):
    """Writes that pass on all exports at once."""
    return sum([written(client) for client in [a_writer(rig, address, seconds) for address in addresses]])


def test_all_disks_of_a_volume_share_its_limit_and_it_changes_while_they_run(rig):
    lun = rig.lun(iops=300)
    addresses = [rig.array.export_disk(lun, a_disk(rig, lun, 32 * MIB), 1) for _ in range(2)]
    seconds, burst = 2, 2 * 16 + 300
    assert operations(rig, addresses, seconds) <= 300 * seconds * 1.15 + burst
    rig.array.limit_lun(LunSpec(lun.id, lun.capacity, 1500, lun.port))
    passed = operations(rig, addresses, seconds)
    assert 300 * seconds * 1.15 + burst < passed <= 1500 * seconds * 1.15 + burst
    rig.array.stop_daemon(lun.id)
    with pytest.raises(Unreachable, match="does not run"):
        rig.array.limit_lun(lun)


def test_the_device_below_a_volume_counts_what_reaches_it(rig):
    lun, other = rig.lun(), rig.lun()
    address = rig.array.export_disk(lun, a_disk(rig, lun, 32 * MIB), 1)
    before = rig.array.device_counters()
    rig.fill(address, 7, 0, 16 * MIB)
    after = rig.array.device_counters()
    assert set(after) == {lun.id, other.id}
    assert 16 * MIB <= after[lun.id].write_bytes - before[lun.id].write_bytes < 20 * MIB
    assert after[other.id].write_bytes - before[other.id].write_bytes < MIB
    rig.array.stop_daemon(other.id)
    assert set(rig.array.device_counters()) == {lun.id}


def test_a_busy_disk_does_not_starve_a_quiet_one(rig):
    """The group serves its disks in turn, whatever waits on each: one write at a time gets as far as 64 at once do, as long as the
    machine is quick enough for it. First come, first served would leave it one of 65."""
    lun = rig.lun(iops=400)
    addresses = [rig.array.export_disk(lun, a_disk(rig, lun, 32 * MIB), 1) for _ in range(2)]
    clients = [a_writer(rig, address, 3, depth=depth) for address, depth in zip(addresses, (1, 64), strict=True)]
    quiet, busy = (written(client) for client in clients)
    assert quiet > (quiet + busy) / 5, (quiet, busy)


def test_a_disk_has_its_own_volumes_limit_whatever_was_attached_and_detached_before(rig):
    """Whoever comes late, comes again, has grown or is of a snapshot waits with the others, and for no other volume."""
    lun, other = rig.lun(iops=200), rig.lun(iops=5000)
    disks = [a_disk(rig, lun, 32 * MIB) for _ in range(3)]
    for disk_id in disks:
        rig.array.export_disk(lun, disk_id, 1)
    rig.array.fence_disk(lun.id, disks[0])
    rig.array.snapshot_disks(lun, an_id(), disks[1:])
    rig.array.resize_disk(lun, disks[2], 48 * MIB)
    late = a_disk(rig, lun, 32 * MIB)
    rig.host.kill_daemon(lun.id)
    rig.array.ensure_daemon(lun, [ExportedDisk(disk_id, 2) for disk_id in disks[1:]])
    addresses = [rig.array.export_disk(lun, disk_id, 3) for disk_id in (disks[0], disks[2], late)]
    free = rig.array.export_disk(other, a_disk(rig, other, 32 * MIB), 1)
    began = time.monotonic()
    clients = [a_writer(rig, address, 2, depth=4) for address in (*addresses, free)]
    *passed, beside = [written(client) for client in clients]
    took = time.monotonic() - began  # on a busy machine they do not begin and end together
    assert sum(passed) <= 200 * took + 20 + 3 * 4
    assert min(passed) > sum(passed) / 6, passed
    assert beside > sum(passed), "the other volume's limit is its own"


def test_bandwidth_is_limited_for_the_volume_as_a_whole(rig):
    lun = rig.lun()
    lun = LunSpec(lun.id, lun.capacity, None, lun.port, bandwidth=8 * MIB)
    rig.array.limit_lun(lun)
    addresses = [rig.array.export_disk(lun, a_disk(rig, lun, 32 * MIB), 1) for _ in range(2)]
    seconds, block = 2, MIB // 4
    clients = [a_writer(rig, address, seconds, block="256k", depth=4) for address in addresses]
    passed = sum([written(client) for client in clients]) * block
    assert passed <= 8 * MIB * seconds * 1.15 + 8 * MIB + 8 * block
    rig.host.kill_daemon(lun.id)
    assert rig.array.ensure_daemon(lun, [])  # the limit comes back with the daemon
    again = rig.array.export_disk(lun, a_disk(rig, lun, 32 * MIB), 1)
    assert written(a_writer(rig, again, 1, block="256k", depth=4)) * block <= 8 * MIB * 1.15 + 8 * MIB + 4 * block


@pytest.mark.soak  # a real guest writes through the same in test_real_platform.py
def test_no_write_fails_while_class_and_size_change(rig):
    """A client that checks what it wrote goes on through every limit and a growth of the volume."""
    lun = rig.lun(iops=300)
    address = rig.array.export_disk(lun, a_disk(rig, lun, 32 * MIB), 1)
    checks = ("--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--verify_backlog=64")
    client = a_writer(rig, address, 4, more=checks)
    time.sleep(0.5)
    for number, iops in enumerate((900, 150, 4500, 1500)):
        lun = LunSpec(lun.id, (512 + 64 * (number + 1)) * MIB, iops, lun.port)
        rig.array.resize_lun(lun)
        rig.array.limit_lun(lun)
        assert client.poll() is None
        time.sleep(0.4)
    assert written(client) > 300
    assert rig.array.usage(lun.id).capacity == 768 * MIB


# ------------------------------------------------------------------------------------------------- disks and templates


def test_a_clone_shares_its_template_until_it_is_flattened(rig):
    lun = rig.lun()
    template_id = a_template(rig, lun, (7, 0, 8 * MIB), (9, 32 * MIB, 4 * MIB))
    clones = [an_id(), an_id()]
    for disk_id in (*clones, clones[0]):
        rig.array.clone_template(lun, disk_id, template_id, 96 * MIB)
    facts = rig.array.disk(lun.id, clones[0])
    assert (facts.size, facts.backing, facts.snapshots) == (96 * MIB, template_id, ())
    assert facts.allocated < MIB
    first, second = (rig.array.export_disk(lun, disk_id, 1) for disk_id in clones)
    rig.fill(first, 5, MIB, MIB)
    assert rig.holds(first, 5, MIB, MIB)
    assert rig.holds(second, 7, 0, 8 * MIB)
    before = rig.checksum(first)
    with pytest.raises(Busy, match="still backs on it"):
        rig.array.drop_template(lun.id, template_id)
    for disk_id in clones:
        finish_flattening(rig, lun, disk_id)
        assert rig.array.disk(lun.id, disk_id).backing is None
    assert rig.checksum(first) == before
    rig.array.fence_disk(lun.id, clones[0])
    finish_flattening(rig, lun, clones[0])
    for _ in range(2):
        rig.array.drop_template(lun.id, template_id)
    assert not rig.array.template_staged(lun.id, template_id)
    assert rig.checksum(rig.array.export_disk(lun, clones[0], 2)) == before
    assert rig.holds(second, 9, 32 * MIB, 4 * MIB)


def test_what_clones_share_stays_until_the_last_of_them_goes(rig):
    """Whichever goes first, whatever was written to it: every other disk reads as before."""
    lun = rig.lun()
    template_id = a_template(rig, lun, (7, 0, 8 * MIB))
    addresses = {}
    for number in (1, 2, 3):
        disk_id = an_id()
        rig.array.clone_template(lun, disk_id, template_id, 64 * MIB)
        addresses[disk_id] = rig.array.export_disk(lun, disk_id, 1)
        rig.fill(addresses[disk_id], number, number * MIB, MIB)
    sums = {disk_id: rig.checksum(address) for disk_id, address in addresses.items()}
    assert len(set(sums.values())) == 3
    for disk_id in sorted(addresses):
        with pytest.raises(Busy, match="still backs on it"):
            rig.array.drop_template(lun.id, template_id)
        rig.array.fence_disk(lun.id, disk_id)
        rig.array.delete_disk(lun.id, disk_id)
        del addresses[disk_id]
        assert {other: rig.checksum(address) for other, address in addresses.items()} == {
            other: sums[other] for other in addresses
        }
    rig.array.drop_template(lun.id, template_id)
    assert not rig.array.template_staged(lun.id, template_id)


def finish_flattening(rig, lun, disk_id):
    while (state := rig.array.flatten(lun, disk_id)).running:
        assert state.done <= state.total
    assert state.error is None


def test_a_clone_at_rest_is_flattened_and_closed_again(rig):
    lun = rig.lun()
    template_id = a_template(rig, lun, (7, 0, 8 * MIB))
    disk_id = an_id()
    rig.array.clone_template(lun, disk_id, template_id, 0)
    assert rig.array.disk(lun.id, disk_id).size == 64 * MIB
    finish_flattening(rig, lun, disk_id)
    assert open_files(rig, lun) == set()
    plain = f"{rig.folder}/{lun.id}/files"
    compared = ["qemu-img", "compare", f"{plain}/disks/{disk_id}.qcow2", f"{plain}/templates/{template_id}.qcow2"]
    assert "identical" in rig.host.run(compared).stdout


def test_flattening_is_stopped_and_begun_again(rig):
    lun = rig.lun()
    template_id = a_template(rig, lun, (7, 0, 60 * MIB))
    disk_id = an_id()
    rig.array.clone_template(lun, disk_id, template_id, 64 * MIB)
    assert rig.array.flatten(lun, disk_id).running
    with pytest.raises(Busy, match="a flatten job works on it"):
        rig.array.snapshot_disks(lun, an_id(), [disk_id])
    for _ in range(2):
        rig.array.cancel_jobs(lun.id, disk_id)
    assert rig.array.disk(lun.id, disk_id).backing == template_id
    assert open_files(rig, lun) == set()
    finish_flattening(rig, lun, disk_id)
    assert rig.holds(rig.array.export_disk(lun, disk_id, 1), 7, 0, 60 * MIB)


def test_only_whole_images_become_templates(rig):
    lun = rig.lun()
    with pytest.raises(Missing):
        rig.array.stage_template(lun.id, an_id(), rig.folder / "absent")
    base = an_image(rig.folder / "base.qcow2", 8 * MIB)
    top = rig.folder / "top.qcow2"
    rig.host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "qcow2", str(top)])
    with pytest.raises(Unsupported, match="needs another image below it"):
        rig.array.stage_template(lun.id, an_id(), top)
    with pytest.raises(Missing, match="stage it first"):
        rig.array.clone_template(lun, an_id(), an_id(), MIB)
    assert rig.array.contents(lun.id).templates == []


def test_a_disk_grows_at_rest_and_under_a_client_and_never_shrinks(rig):
    lun = rig.lun()
    disk_id = a_disk(rig, lun)
    for _ in range(2):
        rig.array.resize_disk(lun, disk_id, 80 * MIB)
    address = rig.array.export_disk(lun, disk_id, 4)
    rig.fill(address, 3, 79 * MIB, MIB)
    rig.array.resize_disk(lun, disk_id, 96 * MIB)
    assert rig.array.contents(lun.id).exports == {disk_id: 4}
    assert rig.array.export_disk(lun, disk_id, 4) == address
    rig.fill(address, 4, 95 * MIB, MIB)
    assert rig.holds(address, 3, 79 * MIB, MIB)
    with pytest.raises(Unsupported, match="never shrinks"):
        rig.array.resize_disk(lun, disk_id, 64 * MIB)
    with pytest.raises(Missing):
        rig.array.resize_disk(lun, an_id(), 64 * MIB)
    with pytest.raises(Busy, match="has it"):
        rig.array.create_disk(lun, disk_id, 128 * MIB, THIN)


def test_a_deleted_disk_leaves_nothing_and_may_be_deleted_twice(rig):
    lun = rig.lun()
    free = rig.array.usage(lun.id).free
    disk_id = a_disk(rig, lun, provisioning=RESERVED)
    assert free - rig.array.usage(lun.id).free >= 64 * MIB
    address = rig.array.export_disk(lun, disk_id, 1)
    for _ in range(2):
        rig.array.delete_disk(lun.id, disk_id)
    assert rig.io(address, "read 0 512", check=False).code != 0
    assert rig.array.disk(lun.id, disk_id) is None
    found = rig.array.contents(lun.id)
    assert (found.disks, found.exports, found.foreign) == ([], {}, [])
    assert open_files(rig, lun) == set()
    assert free - rig.array.usage(lun.id).free < MIB


# ---------------------------------------------------------------------------------------------------------------- space


def test_a_full_volume_is_an_error_with_numbers_and_leaves_nothing_half_made(rig):
    lun = rig.lun(capacity=320 * MIB)
    with pytest.raises(NoSpace, match=r"has \d+ free"):
        a_disk(rig, lun, 400 * MIB, RESERVED)
    assert rig.array.contents(lun.id).disks == []
    disk_id = a_disk(rig, lun, 100 * MIB, RESERVED)
    with pytest.raises(NoSpace, match=r"has \d+ free"):
        rig.array.resize_disk(lun, disk_id, 400 * MIB)
    assert rig.array.disk(lun.id, disk_id).size == 100 * MIB
    rig.array.resize_disk(lun, disk_id, 140 * MIB)
    assert rig.array.usage(lun.id).used > 140 * MIB
    address = rig.array.export_disk(lun, disk_id, 1)
    rig.fill(address, 1, 0, 140 * MIB)
    with pytest.raises(NoSpace, match=f"a copy of disk {disk_id}"):
        rig.array.copy_disk(lun, disk_id, an_id())
    assert rig.array.contents(lun.id).disks == [disk_id]
    thin = a_disk(rig, lun, 400 * MIB)
    beyond = rig.io(rig.array.export_disk(lun, thin, 1), "write -P 2 0 300M", check=False)
    assert "No space left on device" in beyond.stdout + beyond.stderr
    assert rig.holds(address, 1, 0, 140 * MIB)  # what is reserved stays writable when the volume is full
    rig.fill(address, 6, 0, 140 * MIB)
    assert rig.holds(address, 6, 0, 140 * MIB)


def test_flattening_on_a_full_volume_fails_with_numbers_and_works_once_it_grew(rig):
    lun = rig.lun(capacity=320 * MIB)
    template_id = a_template(rig, lun, (7, 0, 100 * MIB), size=128 * MIB)
    disk_id = an_id()
    rig.array.clone_template(lun, disk_id, template_id, 0)
    ballast = a_disk(rig, lun, 100 * MIB, RESERVED)
    while (state := rig.array.flatten(lun, disk_id)).running:
        pass
    assert "No space left on device" in state.error
    assert "bytes has" in state.error
    assert rig.array.disk(lun.id, disk_id).backing == template_id
    rig.array.resize_lun(LunSpec(lun.id, 640 * MIB, None, lun.port))
    finish_flattening(rig, lun, disk_id)
    assert rig.holds(rig.array.export_disk(lun, disk_id, 1), 7, 0, 100 * MIB)
    assert rig.array.disk(lun.id, ballast).size == 100 * MIB


# -------------------------------------------------------------------------------------------------------------- exports


def writing(rig, address):
    """A client that writes without end, and has written."""
    client = rig.host.spawn(
        *(
            "fio",
            "--name=x",
            "--thread",
            "--ioengine=nbd",
            f"--uri={url(address)}",
            "--rw=randwrite",
            "--bs=4k",
            "--iodepth=8",
        ),
        *("--size=32m", "--time_based", "--runtime=600", "--offset=0"),
    )
    while not is_written(rig, address):
        assert client.poll() is None
    return client


def is_written(rig, address) -> bool:
    """Whether anything of the disk was written, as another client sees it."""
    done = rig.host.run(["qemu-img", "map", "--output=json", "-f", "raw", url(address)])
    return any(entry["data"] for entry in json.loads(done.stdout))


def test_a_new_epoch_cuts_the_client_of_the_old_one_off_for_good(rig):
    lun = rig.lun()
    disk_id = a_disk(rig, lun, 32 * MIB)
    old = rig.array.export_disk(lun, disk_id, 1)
    client = writing(rig, old)
    new = rig.array.export_disk(lun, disk_id, 2)
    before = rig.checksum(new)
    _, err = client.communicate(timeout=60)
    assert client.returncode != 0, err
    assert rig.io(old, "write 0 512", check=False).code != 0
    assert rig.checksum(new) == before
    assert rig.array.contents(lun.id).exports == {disk_id: 2}
    with pytest.raises(Busy, match="newer epoch 2"):
        rig.array.export_disk(lun, disk_id, 1)
    with pytest.raises(Busy, match="newer epoch 2"):
        rig.array.ensure_daemon(lun, [ExportedDisk(disk_id, 1)])


def test_a_fenced_disk_has_no_client_and_may_be_fenced_again(rig):
    lun = rig.lun()
    disk_id, other = a_disk(rig, lun, 32 * MIB), a_disk(rig, lun, 32 * MIB)
    address, beside = (rig.array.export_disk(lun, entry, 1) for entry in (disk_id, other))
    client, neighbour = writing(rig, address), writing(rig, beside)
    for _ in range(2):
        rig.array.fence_disk(lun.id, disk_id)
    assert open_files(rig, lun) == {f"{other}.qcow2"}
    client.communicate(timeout=60)
    assert client.returncode != 0
    assert neighbour.poll() is None, "a neighbour on the volume was disturbed"
    neighbour.send_signal(signal.SIGKILL)
    neighbour.communicate()
    rig.array.fence_disk(lun.id, an_id())
    assert rig.array.contents(lun.id).exports == {other: 1}  # the daemon outlived both abrupt ends


# --------------------------------------------------------------------------------------------------------------- faults


def test_after_the_daemons_death_exactly_the_given_exports_come_back(rig):
    lun = rig.lun(iops=100_000)
    kept, dropped = a_disk(rig, lun), a_disk(rig, lun)
    address = rig.array.export_disk(lun, kept, 7)
    gone = rig.array.export_disk(lun, dropped, 1)
    rig.fill(address, 8, 0, MIB)
    rig.host.kill_daemon(lun.id)
    with pytest.raises(Unreachable):
        rig.array.contents(lun.id)
    with pytest.raises(Unreachable):
        rig.array.export_disk(lun, kept, 8)
    rig.array.fence_disk(lun.id, dropped)  # nothing is exported any more, and that is certain
    with pytest.raises(Missing):
        rig.array.ensure_daemon(lun, [ExportedDisk(an_id(), 1), ExportedDisk(kept, 7)])
    assert rig.array.contents(lun.id).exports == {kept: 7}
    assert rig.array.ensure_daemon(lun, [ExportedDisk(kept, 7)]) is False
    assert rig.holds(address, 8, 0, MIB)
    assert rig.io(gone, "read 0 512", check=False).code != 0
    rig.array.ensure_daemon(lun, [])
    assert rig.array.contents(lun.id).exports == {}


def test_after_a_power_cut_the_volume_is_mounted_again(rig):
    lun = rig.lun()
    disk_id = a_disk(rig, lun)
    rig.fill(rig.array.export_disk(lun, disk_id, 1), 8, 0, MIB)
    rig.host.run(["truncate", "-s", str(640 * MIB), f"{rig.folder}/{lun.id}/volume"])  # a growth that was cut short
    rig.host.cut_power()
    for read in (rig.array.usage, rig.array.contents):
        with pytest.raises(Unreachable):
            read(lun.id)
    with pytest.raises(Unreachable):
        rig.array.disk(lun.id, disk_id)
    larger = LunSpec(lun.id, 640 * MIB, 500, lun.port)
    assert rig.array.ensure_daemon(larger, [ExportedDisk(disk_id, 2)]) is True
    usage = rig.array.usage(lun.id)
    assert usage.capacity == 640 * MIB
    assert usage.free > 512 * MIB
    assert rig.holds(rig.array.export_disk(larger, disk_id, 2), 8, 0, MIB)


def test_a_deleted_disk_of_a_dead_daemon_is_gone_too(rig):
    lun = rig.lun()
    disk_id = a_disk(rig, lun)
    rig.array.export_disk(lun, disk_id, 1)
    rig.host.kill_daemon(lun.id)
    for _ in range(2):
        rig.array.delete_disk(lun.id, disk_id)
        rig.array.cancel_jobs(lun.id, disk_id)
    rig.array.delete_lun(lun.id)
    assert rig.array.luns() == []


# ------------------------------------------------------------------------------------------------- snapshots and copies


def test_snapshots_are_of_one_moment_and_bring_every_byte_back(rig):
    lun = rig.lun()
    running, at_rest = a_disk(rig, lun), a_disk(rig, lun)
    rig.fill(rig.array.export_disk(lun, at_rest, 1), 2, 0, 2 * MIB)
    rig.array.fence_disk(lun.id, at_rest)
    address = rig.array.export_disk(lun, running, 1)
    rig.fill(address, 1, 0, 2 * MIB)
    both, snapshot_id = [running, at_rest], an_id()
    before = rig.checksum(address)
    for _ in range(2):
        rig.array.snapshot_disks(lun, snapshot_id, both)
    assert open_files(rig, lun) == {f"{running}.qcow2"}
    assert rig.array.held_by_snapshots(lun.id, [*both, an_id()]) == {snapshot_id: 0}
    rig.fill(address, 9, MIB, 8 * MIB)
    assert rig.array.held_by_snapshots(lun.id, both) == {snapshot_id: MIB + 65536}  # and the table of what it holds
    rig.array.resize_disk(lun, running, 80 * MIB)
    with pytest.raises(Busy, match="is exported"):
        rig.array.revert_disks(lun, snapshot_id, both)
    rig.array.fence_disk(lun.id, running)
    with pytest.raises(Missing, match="never taken"):
        rig.array.revert_disks(lun, an_id(), both)
    for _ in range(2):
        rig.array.revert_disks(lun, snapshot_id, both)
    assert rig.array.disk(lun.id, running).size == 64 * MIB
    assert rig.checksum(rig.array.export_disk(lun, running, 2)) == before
    assert rig.holds(rig.array.export_disk(lun, at_rest, 2), 2, 0, 2 * MIB)
    assert rig.array.disk(lun.id, running).snapshots == (snapshot_id,)
    for _ in range(2):
        rig.array.delete_snapshot(lun, snapshot_id, [*both, an_id()])
    assert [rig.array.disk(lun.id, disk_id).snapshots for disk_id in both] == [(), ()]


def test_a_snapshot_on_some_disks_only_is_taken_anew_for_all(rig):
    lun = rig.lun()
    disk_ids = [a_disk(rig, lun), a_disk(rig, lun)]
    addresses = [rig.array.export_disk(lun, disk_id, 1) for disk_id in disk_ids]
    snapshot_id = an_id()
    rig.array.snapshot_disks(lun, snapshot_id, disk_ids[:1])
    for address in addresses:
        rig.fill(address, 6, 0, MIB)
    rig.array.snapshot_disks(lun, snapshot_id, disk_ids)
    for address, disk_id in zip(addresses, disk_ids, strict=True):
        rig.fill(address, 7, 0, MIB)
        rig.array.fence_disk(lun.id, disk_id)
    rig.array.revert_disks(lun, snapshot_id, disk_ids)
    for disk_id in disk_ids:
        assert rig.holds(rig.array.export_disk(lun, disk_id, 2), 6, 0, MIB)


def test_what_is_written_to_a_volatile_disk_outlives_the_daemon_and_goes_with_the_export(rig):
    lun = rig.lun()
    disk_id = a_disk(rig, lun)
    rig.fill(rig.array.export_disk(lun, disk_id, 1), 3, 0, 4 * MIB)
    rig.array.fence_disk(lun.id, disk_id)
    address = rig.array.export_disk(lun, disk_id, 2, volatile=True)
    assert rig.array.export_disk(lun, disk_id, 2, volatile=True) == address
    rig.fill(address, 9, MIB, 8 * MIB)
    assert rig.array.contents(lun.id).volatile == [(disk_id, 2)]
    assert rig.array.contents(lun.id).foreign == []
    rig.host.kill_daemon(lun.id)
    assert rig.array.ensure_daemon(lun, [ExportedDisk(disk_id, 2, volatile=True)])
    assert rig.holds(address, 9, MIB, 8 * MIB)
    assert rig.holds(address, 3, 0, MIB)
    for _ in range(2):
        rig.array.fence_disk(lun.id, disk_id)
    assert rig.array.contents(lun.id).volatile == []
    assert rig.holds(rig.array.export_disk(lun, disk_id, 3), 3, 0, 4 * MIB)
    rig.array.fence_disk(lun.id, disk_id)
    # a start that was never ended properly: the next one begins with what the disk holds
    rig.fill(rig.array.export_disk(lun, disk_id, 4, volatile=True), 8, 0, MIB)
    rig.host.kill_daemon(lun.id)
    rig.array.ensure_daemon(lun, [])
    assert rig.array.contents(lun.id).volatile == []
    rig.fill(rig.array.export_disk(lun, disk_id, 5, volatile=True), 8, 0, MIB)
    rig.host.kill_daemon(lun.id)
    rig.array.ensure_daemon(lun, [ExportedDisk(disk_id, 5, volatile=True)])
    address = rig.array.export_disk(lun, disk_id, 6, volatile=True)
    assert rig.array.contents(lun.id).volatile == [(disk_id, 6)]
    assert rig.holds(address, 3, 0, 4 * MIB)
    rig.array.delete_disk(lun.id, disk_id)
    assert rig.array.contents(lun.id).volatile == []


def test_snapshots_and_their_deletion_outlive_the_daemons_death_at_any_moment(rig):
    """A tree of three; the daemon dies while snapshots come and go under writes. Every one that is told of brings its bytes back,
    the middle one goes, and no image is damaged."""
    lun = rig.lun()
    disk_id = a_disk(rig, lun)
    kept = []
    for mark in (1, 2, 3):
        address = rig.array.export_disk(lun, disk_id, 1)
        rig.fill(address, mark, 0, 4 * MIB)
        snapshot_id = an_id()
        rig.array.snapshot_disks(lun, snapshot_id, [disk_id])
        kept.append((mark, snapshot_id))
    for delay in (0.0, 0.01, 0.03):
        doomed = an_id()
        writer = writing(rig, address)
        work = threading.Thread(target=lambda name=doomed: snapshots_come_and_go(rig, lun, disk_id, name))
        work.start()
        time.sleep(delay)
        rig.host.kill_daemon(lun.id)
        work.join()
        rig.array.ensure_daemon(lun, [])
        writer.kill()
        writer.communicate()
        rig.array.delete_snapshot(lun, doomed, [disk_id])
        rig.array.export_disk(lun, disk_id, 1)
    rig.array.delete_snapshot(lun, kept[1][1], [disk_id])
    rig.array.fence_disk(lun.id, disk_id)
    image = f"{rig.host.folder}/{lun.id}/files/disks/{disk_id}.qcow2"
    checked = rig.host.run(["qemu-img", "check", "--output=json", image], check=False)
    assert json.loads(checked.stdout).get("corruptions", 0) == 0
    for epoch, (mark, snapshot_id) in enumerate((kept[0], kept[2]), start=2):
        rig.array.revert_disks(lun, snapshot_id, [disk_id])
        assert rig.holds(rig.array.export_disk(lun, disk_id, epoch), mark, 0, 4 * MIB)
        rig.array.fence_disk(lun.id, disk_id)


def snapshots_come_and_go(rig, lun, disk_id, name):
    with contextlib.suppress(EngineError):
        for _ in range(20):
            rig.array.snapshot_disks(lun, name, [disk_id])
            rig.array.delete_snapshot(lun, name, [disk_id])


def test_a_clone_with_snapshots_keeps_its_template_until_they_are_gone(rig):
    lun = rig.lun()
    template_id = a_template(rig, lun, (7, 0, 4 * MIB))
    disk_id, snapshot_id = an_id(), an_id()
    rig.array.clone_template(lun, disk_id, template_id, 64 * MIB)
    rig.array.snapshot_disks(lun, snapshot_id, [disk_id])
    state = rig.array.flatten(lun, disk_id)
    assert not state.running
    assert "snapshots" in state.error
    rig.array.revert_disks(lun, snapshot_id, [disk_id])
    assert rig.holds(rig.array.export_disk(lun, disk_id, 1), 7, 0, 4 * MIB)
    rig.array.delete_snapshot(lun, snapshot_id, [disk_id])
    finish_flattening(rig, lun, disk_id)


def test_a_copy_of_a_disk_in_use_is_of_one_moment_and_independent(rig):
    lun = rig.lun()
    template_id = a_template(rig, lun, (7, 0, 8 * MIB))
    source, copy = an_id(), an_id()
    rig.array.clone_template(lun, source, template_id, 64 * MIB)
    address = rig.array.export_disk(lun, source, 1)
    rig.fill(address, 5, 16 * MIB, MIB)
    before = rig.checksum(address)
    for _ in range(2):
        rig.array.copy_disk(lun, source, copy)
        rig.fill(address, 9, 0, 32 * MIB)
    assert rig.array.disk(lun.id, copy).backing is None
    assert open_files(rig, lun) == {f"{source}.qcow2", f"{template_id}.qcow2"}
    assert rig.checksum(rig.array.export_disk(lun, copy, 1)) == before
    rig.array.fence_disk(lun.id, source)
    at_rest = an_id()
    rig.array.copy_disk(lun, source, at_rest)
    assert open_files(rig, lun) == {f"{copy}.qcow2"}
    assert rig.holds(rig.array.export_disk(lun, at_rest, 1), 9, 0, 32 * MIB)
    with pytest.raises(Missing):
        rig.array.copy_disk(lun, an_id(), an_id())


def test_a_copy_that_died_with_the_daemon_begins_again(rig):
    lun = rig.lun()
    source, copy = a_disk(rig, lun), an_id()
    rig.fill(rig.array.export_disk(lun, source, 1), 4, 0, 32 * MIB)
    # what a call leaves that was killed after its job had begun
    part = f"{rig.folder}/{lun.id}/files/disks/{copy}.new"
    rig.host.run(["qemu-img", "create", "-q", "-f", "qcow2", part, "1M"])
    assert rig.array.contents(lun.id).disks == sorted([source, copy])
    assert rig.array.disk(lun.id, copy) is None
    rig.host.kill_daemon(lun.id)
    rig.array.ensure_daemon(lun, [ExportedDisk(source, 2)])
    rig.array.copy_disk(lun, source, copy)
    assert rig.holds(rig.array.export_disk(lun, copy, 1), 4, 0, 32 * MIB)


# ---------------------------------------------------------------------------------------------- under load, side by side


def test_a_daemon_killed_under_writes_leaves_whole_images(rig):
    lun = rig.lun()
    disk_id = a_disk(rig, lun, 32 * MIB)
    client = writing(rig, rig.array.export_disk(lun, disk_id, 1))
    rig.host.kill_daemon(lun.id)
    client.communicate(timeout=60)
    rig.array.ensure_daemon(lun, [])
    checked = ["qemu-img", "check", "--output=json", f"{rig.folder}/{lun.id}/files/disks/{disk_id}.qcow2"]
    assert json.loads(rig.host.run(checked, check=False).stdout).get("corruptions", 0) == 0
    rig.fill(rig.array.export_disk(lun, disk_id, 2), 3, 0, 32 * MIB)


def test_a_disk_whose_queue_is_held_back_by_the_limit_is_cut_all_the_same(rig):
    lun = rig.lun(iops=40)
    disk_id = a_disk(rig, lun, 32 * MIB)
    client = writing(rig, rig.array.export_disk(lun, disk_id, 1))
    rig.array.fence_disk(lun.id, disk_id)
    assert rig.array.contents(lun.id).exports == {}
    client.communicate(timeout=60)
    assert client.returncode != 0


def test_many_callers_at_once_leave_one_consistent_volume(rig):
    """Three controllers, each with a driver of its own: the daemon's one session is the lock between them."""
    lun = rig.lun()
    disk_ids = [an_id() for _ in range(4)]

    def work(number: int) -> None:
        array = StorageDaemonArray(f"array{number}", rig.host, ADDRESS, "file", str(rig.folder))
        for disk_id in disk_ids if number % 2 else reversed(disk_ids):
            array.create_disk(lun, disk_id, 16 * MIB, THIN)
            array.export_disk(lun, disk_id, 1)
            array.ensure_daemon(
                LunSpec(lun.id, 600 * MIB, 900, lun.port),
                [ExportedDisk(entry, 1) for entry in disk_ids if array.disk(lun.id, entry)],
            )

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    found = rig.array.contents(lun.id)
    assert found.disks == sorted(disk_ids)
    assert found.exports == dict.fromkeys(disk_ids, 1)
    assert found.foreign == []
    assert rig.array.usage(lun.id).capacity == 600 * MIB


def test_zeroes_that_are_being_written_keep_nobody_from_cutting_a_disk_off(rig):
    lun = rig.lun(capacity=1024 * MIB)
    disk_id, zeroed = a_disk(rig, lun, 32 * MIB), an_id()
    rig.array.export_disk(lun, disk_id, 1)
    size = 512 * MIB
    with ThreadPoolExecutor(2) as pool:
        making = [
            pool.submit(rig.array.create_disk, lun, zeroed, size, Provisioning.STATIC_IMMEDIATE) for _ in range(2)
        ]
        while zeroed not in rig.array.contents(lun.id).disks:
            pass
        rig.array.fence_disk(lun.id, disk_id)
        assert rig.array.contents(lun.id).exports == {}
        for call in making:
            call.result()
    facts = rig.array.disk(lun.id, zeroed)
    assert facts.size == size <= facts.allocated
    assert rig.array.contents(lun.id).disks == sorted([disk_id, zeroed])
    names = rig.host.run(["ls", f"{rig.folder}/{lun.id}/files/disks"]).stdout.split()
    assert f"{zeroed}.new" not in names


def test_daemons_started_by_many_at_once_are_one(rig):
    lun = LunSpec(an_id(), 512 * MIB, None, 10901)
    rig.array.create_lun(lun)
    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(lambda _: rig.array.ensure_daemon(lun, []), range(4)))
    assert started.count(True) == 1
    assert set(rig.host.daemons()) == {lun.id}
    files = f"{rig.folder}/{lun.id}/files"
    assert rig.host.run(["findmnt", "--noheadings", "--output", "TARGET", "--mountpoint", files]).stdout.split() == [
        files
    ]


def test_what_a_guest_discards_is_free_again_unless_it_is_reserved(rig):
    lun = rig.lun()
    thin, reserved = a_disk(rig, lun), a_disk(rig, lun, provisioning=RESERVED)
    for disk_id in (thin, reserved):
        address = rig.array.export_disk(lun, disk_id, 1)
        rig.fill(address, 1, 0, 48 * MIB)
        rig.io(address, "discard 0 48M", "flush")
    assert rig.array.disk(lun.id, thin).allocated < 8 * MIB
    assert rig.array.disk(lun.id, reserved).allocated >= 64 * MIB


def test_no_client_waits_for_the_acknowledgement_of_an_earlier_answer(rig):
    lun = rig.lun()
    address = rig.array.export_disk(lun, a_disk(rig, lun), 1)
    rig.fill(address, 1, 0, 64 * MIB)
    # with answers held back, 16 requests under way take far longer together than one by one
    timed = {}
    for depth in (1, 16):
        argv = ["qemu-img", "bench", "-f", "raw", "-t", "none", "-c", "1600", "-s", "4096", "-S", str(4096 * 1231)]
        shown = rig.host.run([*argv, "-d", str(depth), url(address)]).stdout
        timed[depth] = float(shown.rpartition("completed in ")[2].split()[0])
    assert timed[16] < 3 * timed[1]
