"""A snapshot with memory for real: a process of the guest goes on where it was, on another blade, with the disks of the same instant."""

import re
import time
from collections.abc import Iterator

import pytest
from real_platform import Real, until

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(600)]
SUBJECT = "first-az05"
COUNTING = (
    "mkdir -p /ram; mount -t tmpfs none /ram; dd if=/dev/urandom of=/ram/filled bs=1M count=32 2> /dev/null;"
    " echo then > /ram/mark; echo then > /root/record; sync;"
    " (n=0; while :; do n=$((n + 1)); echo $n > /ram/count; sleep 0.1; done) > /dev/null 2>&1 & echo $! > /ram/pid; echo begun"
)
CHANGED = "kill $(cat /ram/pid); echo 0 > /ram/count; rm /ram/mark /ram/filled; echo now > /root/record; echo now > /root/more; sync; echo done"


@pytest.fixture(autouse=True)
def _healthy(real: Real) -> Iterator[None]:
    """After any test the doctor finds nothing."""
    yield
    until(lambda: real.json("doctor") == [], f"no findings: {real.attempt('doctor').stdout}")


def _number(real: Real, command: str) -> int:
    found = re.search(r"\d+", real.ask(SUBJECT, command))
    assert found is not None, command
    return int(found[0])


def test_a_guest_goes_on_from_its_memory_and_disks_on_another_blade(real: Real) -> None:
    """The counter is a variable of a shell, so in memory alone; what the disk has is read past the guest's cache."""
    before = real.machine(SUBJECT)["host"]["name"]
    real.naos("snapshot", "create", SUBJECT, "light", "--memory")
    real.naos("snapshot", "delete", "light", "--vm", SUBJECT, "--yes")
    assert "begun" in real.ask(SUBJECT, COUNTING)
    until(lambda: _number(real, "cat /ram/count") > 5, "it counts")
    sums = real.ask(SUBJECT, "md5sum < /ram/filled")
    snapshot = real.json("snapshot", "create", SUBJECT, "awake", "--memory")
    assert snapshot["memory"] is True
    assert snapshot["memorySize"] > real.machine(SUBJECT)["memory"]
    then, up = _number(real, "cat /ram/count"), _number(real, "cut -d. -f1 /proc/uptime")
    until(lambda: _number(real, "cat /ram/count") > then, "it counts on")
    other = "az05-blade2" if before == "az05-blade1" else "az05-blade1"
    real.naos("vm", "migrate", SUBJECT, "--to", other)
    assert "done" in real.ask(SUBJECT, CHANGED)
    time.sleep(35)  # so that a clock that is not set shows
    assert "power it off" in real.attempt("snapshot", "revert", "awake", "--vm", SUBJECT, "--yes").stderr
    real.naos("vm", "stop", SUBJECT)
    real.naos("blade", "maintenance", "enter", before, "--yes")
    try:
        print(real.naos("snapshot", "revert", "awake", "--vm", SUBJECT, "--yes"))
    finally:
        real.naos("blade", "maintenance", "exit", before)
    assert real.machine(SUBJECT)["host"]["name"] == other
    assert abs(_number(real, "date +%s") - time.time()) < 30, (
        "its clock was set, which had stood still since the snapshot"
    )
    number = _number(real, "cat /ram/count")
    assert then - 60 < number < then + 400
    until(lambda: _number(real, "cat /ram/count") > number, "it counts on from there")
    assert real.ask(SUBJECT, "cat /ram/mark") == "then"
    assert real.ask(SUBJECT, "md5sum < /ram/filled") == sums
    assert _number(real, "cut -d. -f1 /proc/uptime") >= up - 30
    read = "echo 3 > /proc/sys/vm/drop_caches; cat /root/record; ls /root/more > /dev/null 2>&1 || echo gone"
    assert real.ask(SUBJECT, read).split() == ["then", "gone"]
    assert real.ask(SUBJECT, "echo later > /root/later; sync; cat /root/later") == "later"
    assert [row["name"] for row in real.json("snapshot", "list", "--vm", SUBJECT) if row["current"]] == ["awake"]
    real.naos("snapshot", "delete", "awake", "--vm", SUBJECT, "--yes")
    real.ask(SUBJECT, "kill $(cat /ram/pid); umount /ram")
    for log in real.root.rglob("*.log"):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if "snapshot.memory" in line:
                print(line)


@pytest.fixture
def efi_machine(real: Real) -> Iterator[str]:
    name = "efi-az06"
    place = ["--pool", "pool-AZ06", "--volume", "volume-AZ06", "--memory", "256MiB", "--no-start"]
    network = ["--vlan", "front", "--address", "192.168.100.67/24"]
    real.naos("vm", "create", name, "--template", "naos-tiny", *place, *network)
    real.naos("vm", "set", name, "--firmware", "efi")
    real.naos("vm", "start", name)
    until(lambda: "ready:" in real.naos("vm", "log", name), f"{name} is up", 120.0)
    yield name
    real.naos("vm", "stop", name, "--force")
    real.naos("vm", "delete", name, "--yes")


def test_a_guest_of_efi_firmware_goes_on_from_its_memory(real: Real, efi_machine: str) -> None:
    assert real.ask(efi_machine, "ls -d /sys/firmware/efi; mkdir -p /ram; mount -t tmpfs none /ram").endswith("efi")
    assert real.ask(
        efi_machine, "echo then > /ram/mark; sleep 1000 > /dev/null 2>&1 & echo $! > /ram/pid; echo begun"
    ).endswith("begun")
    real.naos("snapshot", "create", efi_machine, "awake", "--memory")
    assert real.ask(efi_machine, "kill $(cat /ram/pid); rm /ram/mark; echo done").endswith("done")
    real.naos("vm", "stop", efi_machine)
    real.naos("snapshot", "revert", "awake", "--vm", efi_machine, "--yes")
    assert real.ask(efi_machine, "cat /ram/mark; kill -0 $(cat /ram/pid) && echo lives").split() == ["then", "lives"]
    variables = "mount -t efivarfs none /sys/firmware/efi/efivars; ls /sys/firmware/efi/efivars | grep -c '^BootOrder-'"
    assert real.ask(efi_machine, variables) == "1"
    real.naos("snapshot", "delete", "awake", "--vm", efi_machine, "--yes")
