"""Everything at once and for real: the rack, the controller, the command line, and guests that say what they see."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest
from real_platform import Real, real_lab, until

from naos.lab import record

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def real() -> Iterator[Real]:
    with real_lab() as platform:
        yield platform


@pytest.fixture(autouse=True)
def _healthy(real: Real) -> Iterator[None]:
    """After any test the doctor finds nothing."""
    yield
    if record.read(real.root) is not None:
        until(lambda: real.json("doctor") == [], f"no findings: {real.attempt('doctor').stdout}")


def _counter(real: Real, name: str) -> int:
    return int(real.ask(name, "cat /tmp/count"))


def _write_for_ever(real: Real, name: str) -> None:
    """A loop in the guest that writes to its disk with fsync, and counts what was written and what failed."""
    loop = (
        "i=0; while :; do i=$((i+1)); "
        "if echo $i > /root/written && sync; then echo $i > /tmp/count; else echo $i >> /tmp/errors; fi; "
        "usleep 20000; done"
    )
    real.ask(name, f"rm -f /tmp/errors; ({loop}) > /dev/null 2>&1 & true")


def test_a_second_up_only_looks(real: Real) -> None:
    before = real.json("activity", "list")
    said = real.up()
    assert re.search(r"first-az05 pings 192\.168\.100\.12: 3 packets transmitted, 3 packets received", said)
    assert real.json("activity", "list") == before


def test_a_running_guest_moves_without_losing_a_write(real: Real) -> None:
    _write_for_ever(real, "first-az05")
    target = "az05-blade2" if real.machine("first-az05")["host"]["name"] == "az05-blade1" else "az05-blade1"
    before = _counter(real, "first-az05")
    real.naos("vm", "migrate", "first-az05", "--to", target)
    assert real.machine("first-az05")["host"]["name"] == target
    assert real.program_pids(target, "qemu-system-x86_64")
    assert _counter(real, "first-az05") > before
    assert real.ask("first-az05", "cat /tmp/errors 2> /dev/null; echo end") == "end"
    assert real.ask("first-az05", "ping -c 2 -W 2 192.168.100.12 | grep -c ttl") == "2"


def test_a_killed_array_daemon_is_never_an_error_in_the_guest(real: Real) -> None:
    _write_for_ever(real, "first-az05")
    (daemon,) = real.program_pids("az05-array", "qemu-storage-daemon")
    before = _counter(real, "first-az05")
    os.kill(daemon, signal.SIGKILL)
    until(lambda: real.program_pids("az05-array", "qemu-storage-daemon") not in ([], [daemon]), "another daemon")
    until(lambda: _counter(real, "first-az05") > before + 20, "the guest writes on")
    assert real.ask("first-az05", "cat /tmp/errors 2> /dev/null; dmesg | grep -ci 'i/o error'; echo end") == "0 end"


def test_a_disk_is_added_seen_grown_and_removed(real: Real) -> None:
    disk = real.json("disk", "add", "first-az05", "--size", "1GiB")
    until(lambda: real.ask("first-az05", "cat /sys/block/vdb/size") == str(2 * 2**20), "the guest sees the disk")
    real.naos("disk", "grow", disk["id"], "2GiB")
    until(lambda: real.ask("first-az05", "cat /sys/block/vdb/size") == str(4 * 2**20), "the guest sees it grow")
    real.naos("disk", "delete", disk["id"], "--yes")
    until(lambda: real.ask("first-az05", "ls -d /sys/block/vdb; echo end").endswith("end"), "the guest lets go")
    assert "No such file" in real.ask("first-az05", "ls /sys/block/vdb")


def test_a_guest_that_shuts_itself_down_is_noted_and_starts_again_with_its_data(real: Real) -> None:
    real.ask("first-az06", "echo kept > /root/note; sync")
    real.naos("vm", "stop", "first-az06")
    assert real.machine("first-az06")["powerState"] == "stopped"
    real.naos("vm", "start", "first-az06")
    until(lambda: "ready:" in real.naos("vm", "log", "first-az06"), "the guest is up")
    assert real.ask("first-az06", "cat /root/note") == "kept"


def test_a_powerless_blade_leaves_its_machine_stopped_not_lost(real: Real) -> None:
    blade = real.machine("first-az06")["host"]["name"]
    real.naos("lab", "kill", blade)
    real.naos("lab", "start", blade)
    until(lambda: real.machine("first-az06")["powerState"] == "stopped", "the machine is known to be stopped")
    real.naos("vm", "start", "first-az06")
    until(lambda: "ready:" in real.naos("vm", "log", "first-az06"), "the guest is up")


def test_after_a_power_cut_up_brings_everything_back(real: Real) -> None:
    hosts = [part["name"] for part in real.json("lab", "status") if part["kind"] not in ("link", "controller")]
    for pid in [pid for host in (*hosts, "controller") for pid in real.pids(host)]:
        os.kill(pid, signal.SIGKILL)
    said = real.up()
    assert "3 packets received" in said
    assert real.ask("first-az06", "cat /root/note") == "kept"


def test_down_leaves_nothing_and_touches_nothing_else(real: Real) -> None:
    """The last test of this file: the lab is gone after it."""
    real.naos("down", "--yes")
    namespaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert "naos-proof-" not in namespaces
    assert list(real.root.iterdir()) == []
    assert str(real.root) not in subprocess.run(["losetup", "-l"], capture_output=True, text=True, check=True).stdout
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:  # noqa: PTH123 - a file of the kernel
        assert str(real.root) not in mounts.read()
