"""Controllers, drives, volatile disks, adapters and snapshots for real: what guests see, and what comes back."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_platform import Real, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
SUBJECT = "first-az05"


@pytest.fixture(autouse=True)
def _healthy(real: Real) -> Iterator[None]:
    """After any test the doctor finds nothing."""
    yield
    until(lambda: real.json("doctor") == [], f"no findings: {real.attempt('doctor').stdout}")


def _start(real: Real) -> None:
    real.naos("vm", "start", SUBJECT)
    until(lambda: "ready:" in real.naos("vm", "log", SUBJECT), "the guest is up")


def _blocks(real: Real) -> list[str]:
    return real.ask(SUBJECT, "ls /sys/block").split()


@pytest.mark.soak
def test_a_running_guest_reads_an_image_that_is_mounted_and_follows_it_to_another_blade(
    real: Real, tmp_path: Path
) -> None:
    """The seed's own drive is sr0. The image's content is compared by its checksum, inside the guest."""
    (tmp_path / "content").mkdir()
    payload = os.urandom(300_000)
    (tmp_path / "content" / "payload").write_bytes(payload)
    image = tmp_path / "tools.iso"
    subprocess.run(["genisoimage", "-quiet", "-R", "-o", image, tmp_path / "content"], check=True)
    wanted = subprocess.run(["md5sum"], input=payload, capture_output=True, check=True).stdout.split()[0].decode()
    real.naos("template", "add", "tools", str(image))
    drive = real.json("device", "add", SUBJECT, "--type", "CD/DVD")
    until(lambda: "sr1" in _blocks(real), "the guest sees the empty drive")
    real.naos("device", "mount", drive["id"], "tools")
    read = "mkdir -p /mnt/cd; mount -t iso9660 -o ro /dev/sr1 /mnt/cd && md5sum < /mnt/cd/payload; umount /mnt/cd"
    until(lambda: wanted in real.ask(SUBJECT, read), "the guest reads what is in it")
    refused = real.attempt("template", "delete", "tools", "--yes")
    assert SUBJECT in refused.stderr
    target = "az05-blade2" if real.machine(SUBJECT)["host"]["name"] == "az05-blade1" else "az05-blade1"
    real.naos("vm", "migrate", SUBJECT, "--to", target)
    assert wanted in real.ask(SUBJECT, read)
    real.naos("device", "unmount", drive["id"])
    until(lambda: wanted not in real.ask(SUBJECT, read), "the drive is empty")
    real.naos("device", "mount", drive["id"], "tools")
    until(lambda: wanted in real.ask(SUBJECT, read), "the guest reads it again")
    real.naos("device", "delete", drive["id"], "--yes")
    until(lambda: "sr1" not in _blocks(real), "the drive is gone")
    real.naos("template", "delete", "tools", "--yes")


@pytest.mark.soak
def test_a_scsi_controller_and_its_disk_are_plugged_into_a_running_guest(real: Real) -> None:
    controller = real.json("device", "add", SUBJECT, "--type", "SCSI", "--sub-type", "ParaVirtual")
    disk = real.json("disk", "add", SUBJECT, "--size", "1GiB", "--controller", controller["id"])
    until(lambda: "sda" in _blocks(real), "the guest sees the disk")
    real.naos("disk", "grow", disk["id"], "2GiB")
    until(lambda: real.ask(SUBJECT, "cat /sys/block/sda/size") == str(4 * 2**20), "the guest sees it grow")
    real.ask(SUBJECT, "echo kept | dd of=/dev/sda bs=512 conv=sync,fsync")
    real.naos("disk", "unmount", disk["id"])
    until(lambda: "sda" not in _blocks(real), "the guest has let go")
    real.naos("device", "delete", controller["id"], "--yes")
    real.naos("disk", "mount", SUBJECT, disk["id"])
    until(lambda: "vdb" in _blocks(real), "the guest sees it on the PCI bus")
    assert real.ask(SUBJECT, "dd if=/dev/vdb bs=4 count=1 2> /dev/null") == "kept"
    real.naos("disk", "delete", disk["id"], "--yes")


@pytest.mark.soak
def test_a_cable_is_seen_in_the_guest(real: Real) -> None:
    nic = real.json("nic", "add", SUBJECT, "--vlan", "front", "--no-connect")
    until(lambda: nic["macAddress"] in real.ask(SUBJECT, "cat /sys/class/net/eth1/address"), "the guest has its MAC")
    carrier = "ip link set eth1 up; sleep 1; cat /sys/class/net/eth1/carrier"
    assert real.ask(SUBJECT, carrier) == "0"
    real.naos("nic", "connect", nic["id"])
    until(lambda: real.ask(SUBJECT, carrier) == "1", "the cable is in")
    real.naos("nic", "disconnect", nic["id"])
    until(lambda: real.ask(SUBJECT, carrier) == "0", "the cable is out")
    real.naos("nic", "delete", nic["id"], "--yes")


@pytest.mark.soak
def test_snapshots_bring_back_what_was_written_and_volatile_disks_forget(real: Real) -> None:
    """One stop serves both. The array's daemon dies between snapshot and revert, and the guest never notices."""
    kept = real.json("disk", "add", SUBJECT, "--size", "1GiB", "--mode", "independent_persistent")
    lost = real.json("disk", "add", SUBJECT, "--size", "1GiB", "--mode", "independent_nonpersistent")
    until(lambda: {"vdb", "vdc"} <= set(_blocks(real)), "the guest sees both disks")
    record = "for d in /root/record /dev/vdb /dev/vdc; do echo {0} | dd of=$d bs=512 conv=sync,fsync,notrunc; done"
    real.ask(SUBJECT, f"touch /root/record; {record.format('one')}")
    snapshot = real.json("snapshot", "create", SUBJECT, "one", "--quiesce")
    assert (snapshot["quiesced"], real.machine(SUBJECT)["snapshoted"]) == (True, True)
    real.ask(SUBJECT, record.format("two"))
    real.naos("snapshot", "create", SUBJECT, "two")
    (daemon,) = real.program_pids("az05-array", "qemu-storage-daemon")
    os.kill(daemon, signal.SIGKILL)
    until(lambda: real.program_pids("az05-array", "qemu-storage-daemon") not in ([], [daemon]), "another daemon")
    real.ask(SUBJECT, record.format("three"))
    real.naos("snapshot", "create", SUBJECT, "three")
    real.naos("snapshot", "delete", "two", "--vm", SUBJECT, "--yes")
    read = "for d in /root/record /dev/vdb /dev/vdc; do dd if=$d bs=5 count=1 2> /dev/null | tr -cd a-z; echo; done"
    assert real.ask(SUBJECT, read).split() == ["three"] * 3
    assert "power it off" in real.attempt("snapshot", "revert", "one", "--vm", SUBJECT, "--yes").stderr
    real.naos("vm", "stop", SUBJECT)
    real.naos("snapshot", "revert", "one", "--vm", SUBJECT, "--yes")
    _start(real)
    assert real.ask(SUBJECT, read).split() == ["one", "three"]
    assert [row["name"] for row in real.json("snapshot", "list", "--vm", SUBJECT) if row["current"]] == ["one"]
    for name in ("one", "three"):
        real.naos("snapshot", "delete", name, "--vm", SUBJECT, "--yes")
    assert real.ask(SUBJECT, "cat /root/record | tr -cd a-z") == "one"
    for disk in (kept, lost):
        real.naos("disk", "delete", disk["id"], "--yes")
