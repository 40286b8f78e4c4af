"""Backup for real: a guest writes, is copied, writes on; what is restored is, to the byte, what it had at that instant."""

import re

import pytest
from real_platform import Real, until

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(900)]

GUEST = "first-az05"
MIB = 2**20


def _write(real: Real, megabytes: int, at: int) -> str:
    """The guest writes so many random MiB to its second disk, from `at` MiB on; the whole disk's checksum."""
    real.ask(GUEST, f"dd if=/dev/urandom of=/dev/vdb bs=1M count={megabytes} seek={at} conv=notrunc 2>/dev/null; sync")
    return _sum(real, GUEST)


def _sum(real: Real, name: str) -> str:
    real.ask(name, "sync; echo 3 > /proc/sys/vm/drop_caches")
    found = re.search(r"[0-9a-f]{64}", real.ask(name, "sha256sum /dev/vdb", 120.0))
    assert found is not None
    return found[0]


def _run(real: Real) -> dict[str, object]:
    """Copy the guest; its newest point."""
    (task,) = real.json("backup", "run", "nightly")
    assert (task["status"], task["reason"]) == ("COMPLETED", "")
    newest: dict[str, object] = real.json("backup", "list", "--vm", GUEST)[0]
    return newest


def test_a_guest_is_copied_as_it_writes_and_comes_back_to_the_byte(real: Real) -> None:
    disk = real.json("disk", "add", GUEST, "--size", "64MiB")
    until(lambda: real.ask(GUEST, "cat /sys/block/vdb/size") == str(64 * 2048), "the guest sees the disk")
    real.naos("policy", "create", "nightly", "--site", "AZ07", "--keep", "7")
    real.naos("policy", "assign", GUEST, "nightly")
    real.ask(GUEST, "echo before > /root/mark; sync")
    sums = [_write(real, 24, 0)]
    first = _run(real)
    assert first["consistency"] == "quiesced", first["note"]
    sums.append(_write(real, 4, 30))
    real.ask(GUEST, "echo after > /root/mark; sync")
    second = _run(real)
    assert 4 * MIB <= second["copied"] <= 8 * MIB, "what was written, and what the guest's own disk changed"
    sums.append(_write(real, 8, 2))
    third = _run(real)
    assert len({*sums}) == 3
    real.naos("backup", "verify", str(first["id"]))

    real.naos("backup", "restore", str(first["id"]), "--mode", "clone", "--name", "twin", "--start")
    until(lambda: "ready:" in real.naos("vm", "log", "twin"), "the clone is up", 120.0)
    assert _sum(real, "twin") == sums[0]
    assert real.ask("twin", "cat /root/mark") == "before"
    macs = {nic["macAddress"] for name in (GUEST, "twin") for nic in real.json("nic", "list", "--vm", name)}
    assert len(macs) == 2
    real.naos("vm", "stop", "twin", "--force")
    real.naos("vm", "delete", "twin", "--yes")

    made = real.json("backup", "restore", str(second["id"]), "--mode", "test", "--name", "trial", "--start")
    assert made["state"] == "test"
    until(lambda: "ready:" in real.naos("vm", "log", "trial"), "the test is up", 120.0)
    assert _sum(real, "trial") == sums[1]
    said = real.ask("trial", "ip address add 192.168.100.99/24 dev eth0; ping -c 2 -W 1 192.168.100.12")
    assert "0 packets received" in said, "it is apart"
    real.naos("backup", "clean-up", "trial", "--yes")

    real.naos("vm", "stop", GUEST, "--force")
    real.naos("backup", "restore", str(second["id"]), "--mode", "production", "--start", "--yes")
    until(lambda: "ready:" in real.naos("vm", "log", GUEST), "it is up again", 120.0)
    assert _sum(real, GUEST) == sums[1]
    assert real.ask(GUEST, "cat /root/mark") == "after"
    real.naos("vm", "stop", GUEST, "--force")
    real.naos("backup", "take-back", GUEST, "--yes")
    real.naos("vm", "start", GUEST)
    until(lambda: "ready:" in real.naos("vm", "log", GUEST), "it has its own disks again", 120.0)
    assert _sum(real, GUEST) == sums[2]

    real.naos("backup", "delete", str(second["id"]), "--yes")
    real.naos("vm", "stop", GUEST, "--force")
    real.naos(
        "backup", "restore", str(third["id"]), "--mode", "production", "--disk", str(disk["id"]), "--start", "--yes"
    )
    until(lambda: "ready:" in real.naos("vm", "log", GUEST), "it is up with the third point's disk", 120.0)
    assert _sum(real, GUEST) == sums[2], "a neighbour's deletion changed nothing"
    real.naos("backup", "confirm", GUEST, "--yes")
    for point in real.json("backup", "list", "--vm", GUEST):
        real.naos("backup", "delete", point["id"], "--force", "--yes")
    for extra in real.json("disk", "list", "--vm", GUEST)[1:]:
        real.naos("disk", "delete", extra["id"], "--yes")
    real.naos("policy", "assign", GUEST, "--none")
    real.naos("policy", "delete", "nightly", "--yes")
    assert real.json("doctor") == []
