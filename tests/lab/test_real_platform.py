"""Everything at once and for real: the rack, the controller, the command line, and guests that say what they see."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import appliance_journey
import pytest
from availability_rig import FAULTS, bench_of, prove
from real_platform import URL, Real, until

from naos.cli import waiting
from naos.cli.client import Connection, opened
from naos.lab import record

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _healthy(real: Real) -> Iterator[None]:
    """After any test the doctor finds nothing."""
    yield
    if record.read(real.root) is not None:
        until(lambda: real.json("doctor") == [], f"no findings: {real.attempt('doctor').stdout}")


def _counter(real: Real, name: str) -> int:
    """The file is empty for a moment whenever the guest writes the next number."""
    return int(until(lambda: real.ask(name, "cat /tmp/count"), "a count"))


def _write_for_ever(real: Real, name: str) -> None:
    """A loop in the guest that writes to its disk with fsync, and counts what was written and what failed."""
    loop = (
        "i=0; while :; do i=$((i+1)); "
        "if echo $i > /root/written && sync; then echo $i > /tmp/count; else echo $i >> /tmp/errors; fi; "
        "usleep 20000; done"
    )
    real.ask(name, "kill $(cat /tmp/writer) 2> /dev/null; rm -f /tmp/errors /tmp/count; true")
    real.ask(name, f"({loop}) > /dev/null 2>&1 & echo $! > /tmp/writer")
    until(lambda: real.ask(name, "cat /tmp/count 2> /dev/null; echo end") != "end", "the guest writes")


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


def test_a_volume_changes_its_class_and_grows_under_a_writing_guest(real: Real) -> None:
    """No write fails; and the guest's writes are seen at its disk, its volume and the array's device."""
    _write_for_ever(real, "first-az05")
    before, volume = _counter(real, "first-az05"), real.json("volume", "show", "volume-AZ05")
    limits = [volume["iops"]]
    for change in (("set", "volume-AZ05", "--class", "ultra"), ("grow", "volume-AZ05", "501GiB")):
        real.naos("volume", *change)
        limits.append(real.json("volume", "show", "volume-AZ05")["iops"])
    real.naos("volume", "set", "volume-AZ05", "--class", volume["storageClass"])
    assert limits == sorted(limits)

    def seen() -> bool:
        found = real.json("volume", "top", "volume-AZ05")
        rates = [entry["rates"] for entry in found if entry["rates"]]
        busy = [rate for rate in rates if rate["writeOperations"] > 0 and rate["latencyP99"]]
        return len(busy) >= 2 and rates[0]["device"]["operations"] > 0

    until(seen, "figures of the volume and its disk")
    assert _counter(real, "first-az05") > before
    assert real.ask("first-az05", "cat /tmp/errors 2> /dev/null; dmesg | grep -ci 'i/o error'; echo end") == "0 end"


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


def _writes_on(real: Real, name: str, before: int) -> None:
    """Not one write failed, and the guest has noticed nothing."""
    until(lambda: _counter(real, name) > before + 5, "the guest writes on")
    assert real.ask(name, "cat /tmp/errors 2> /dev/null; dmesg | grep -ci 'i/o error'; echo end") == "0 end"


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_running_guests_disk_moves_to_another_volume_to_the_other_zone_and_back(real: Real) -> None:
    real.naos("volume", "create", "fast-az05", "--zone", "AZ05", "--class", "premium", "--size", "500GiB")
    _write_for_ever(real, "first-az05")
    before = _counter(real, "first-az05")
    real.naos("vm", "move", "first-az05", "--volume", "fast-az05")
    assert real.machine("first-az05")["datastore"]["name"] == "fast-az05"
    _writes_on(real, "first-az05", before)
    real.naos("vm", "move", "first-az05", "--pool", "pool-AZ06", "--volume", "volume-AZ06")
    moved = real.machine("first-az05")
    assert (moved["datacenter"]["name"], moved["datastore"]["name"]) == ("AZ06", "volume-AZ06")
    _writes_on(real, "first-az05", before)
    assert real.ask("first-az05", "ping -c 2 -W 2 192.168.100.12 | grep -c ttl") == "2"
    real.naos("vm", "move", "first-az05", "--pool", "pool-AZ05", "--volume", "volume-AZ05")
    # once more, with the controller killed while the disk is on its way
    activity = real.json("vm", "move", "first-az05", "--volume", "fast-az05", "--no-wait")["id"]
    (controller,) = [pid for pid in real.pids("controller") if b"controller" in _words(pid)]
    os.kill(controller, signal.SIGKILL)
    real.up()
    until(lambda: not real.json("activity", "show", activity)["state"].keys() & {"running", "waiting"}, "it has ended")
    assert "completed" in real.json("activity", "show", activity)["state"]
    _writes_on(real, "first-az05", before)
    assert real.machine("first-az05")["datastore"]["name"] == "fast-az05"


def _words(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_clone_of_a_writing_guest_is_of_one_instant_over_two_volumes(real: Real) -> None:
    """A record goes to the second disk first, then to the first: the clone has both, or the first half of the last one."""

    def recorded() -> int:
        return int(real.ask("first-az05", "cat /tmp/recorded 2> /dev/null || echo 0"))

    disk = real.json("disk", "add", "first-az05", "--size", "1GiB", "--volume", "volume-AZ05")
    loop = (
        "i=0; while :; do i=$((i+1)); echo $i | dd of=/dev/vdb conv=fsync,notrunc 2> /dev/null; "
        "echo $i $(echo $i | md5sum) >> /root/records; sync; echo $i > /tmp/recorded; done"
    )
    until(lambda: real.ask("first-az05", "cat /sys/block/vdb/size") == str(2 * 2**20), "the guest sees the disk")
    real.ask("first-az05", f"rm -f /root/records /tmp/recorded; ({loop}) > /dev/null 2>&1 & true")
    until(lambda: recorded() > 10, "the guest writes")
    before = recorded()
    real.naos("vm", "clone", "first-az05", "twin", "--start")
    until(lambda: recorded() > before + 5, "the source writes on")
    until(lambda: "ready:" in real.naos("vm", "log", "twin"), "the clone is up")
    assert real.ask("twin", "hostname") == "twin"
    records = real.ask("twin", "cat /root/records").split()
    numbers, sums = [int(word) for word in records[::3]], records[1::3]
    assert numbers == list(range(1, len(numbers) + 1))
    assert sums == [hashlib.md5(f"{number}\n".encode()).hexdigest() for number in numbers]
    ahead = int(real.ask("twin", "dd if=/dev/vdb bs=16 count=1 2> /dev/null").split()[0])
    assert len(numbers) >= before
    assert ahead in (len(numbers), len(numbers) + 1)
    macs = {name: real.json("nic", "list", "--vm", name)[0]["macAddress"] for name in ("first-az05", "twin")}
    assert real.ask("twin", "cat /sys/class/net/eth0/address") == macs["twin"] != macs["first-az05"]
    real.ask("first-az05", "kill %1; kill $(pgrep -f records); true")
    real.naos("disk", "delete", disk["id"], "--yes")
    real.naos("vm", "stop", "twin", "--force")
    real.naos("vm", "delete", "twin", "--yes")


@pytest.fixture(scope="module")
def settable(real: Real) -> Iterator[str]:
    """The name of a machine that is set to this and that, off at first."""
    name = "set-az06"
    network = ["--vlan", "front", "--address", "192.168.100.66/24"]
    place = ["--pool", "pool-AZ06", "--volume", "volume-AZ06", "--memory", "256MiB", "--no-start"]
    real.naos("vm", "create", name, "--template", "naos-tiny", *place, *network)
    yield name
    if record.read(real.root) is not None:
        real.naos("vm", "stop", name, "--force")
        real.naos("vm", "delete", name, "--yes")


def _start(real: Real, name: str, said: str = "ready:", seconds: float = 120.0) -> None:
    """Start it and wait for the words on its serial line."""
    real.naos("vm", "start", name)
    until(lambda: said in real.naos("vm", "log", name), f"{name} says {said!r}", seconds)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_running_guest_takes_processors_and_memory_and_gives_processors_back(real: Real, settable: str) -> None:
    real.naos("vm", "set", settable, "--cpu-hot-add", "--cpu-hot-remove", "--memory-hot-add", "--nested")
    _start(real, settable)
    assert real.ask(settable, "nproc; grep -c svm /proc/cpuinfo") == "1 1"
    small = int(real.ask(settable, "awk '/MemTotal/ { print $2 }' /proc/meminfo"))
    real.naos("vm", "set", settable, "--cpus", "3", "--memory", "512MiB")
    until(lambda: real.ask(settable, "nproc") == "3", "the guest uses its new processors")
    until(
        lambda: int(real.ask(settable, "awk '/MemTotal/ { print $2 }' /proc/meminfo")) > small + 240_000,
        "the guest uses its new memory",
    )
    asked = real.attempt("vm", "set", settable, "--cpus", "1")
    if asked.returncode:  # the emulator cannot, and a guest's kernel need not; then nothing has changed
        assert "processor is emulated" in asked.stderr or "did not cooperate" in asked.stderr
        assert "stop the machine first" in asked.stderr
    assert real.ask(settable, "nproc") == str(real.machine(settable)["cpu"]) == ("3" if asked.returncode else "1")
    refused = real.attempt("vm", "set", settable, "--memory", "256MiB")
    assert "less memory" in refused.stderr
    assert "power it off first" in refused.stderr


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_guest_takes_in_its_customisation_and_guest_information_under_efi(real: Real, settable: str) -> None:
    real.attempt("vm", "stop", settable)  # it is stopped already when the test before it was left out
    named = [
        "--hostname",
        "front-9",
        "--address",
        "192.168.100.77/24",
        "--dns",
        "192.168.100.53",
        "--search",
        "naos.test",
    ]
    real.naos("vm", "customise", settable, *named)
    data = "guestinfo.userdata=#!/bin/sh\necho told > /root/told"
    real.naos("vm", "set", settable, "--firmware", "efi", "--extra", data, "--extra", "disk.enableUUID=true")
    _start(real, settable, "user-data: exit code 0")
    assert real.ask(settable, "hostname") == "front-9"
    assert "192.168.100.77/24" in real.ask(settable, "ip -4 addr show eth0")
    assert real.ask(settable, "cat /etc/resolv.conf") == "nameserver 192.168.100.53 search naos.test"
    assert real.ask(settable, "cat /root/told") == "told"
    told = "/sys/firmware/qemu_fw_cfg/by_name/opt/naos/guestinfo.userdata/raw"
    assert real.ask(settable, f"cat {told}") == "#!/bin/sh echo told > /root/told"
    assert real.ask(settable, "ls -d /sys/firmware/efi") == "/sys/firmware/efi"


VARIABLE = "/sys/firmware/efi/efivars/NaosTest-6e616f73-7465-4373-9274-6b6570740001"
"""Of a vendor of its own: the firmware takes no new name among the global ones."""


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_an_efi_machines_variables_are_with_it_on_another_blade(real: Real, settable: str) -> None:
    mount = "mount -t efivarfs none /sys/firmware/efi/efivars"
    # a variable is what one write brings: its attributes, then its content
    write = f"printf '\\007\\000\\000\\000kept' > /tmp/value; dd if=/tmp/value of={VARIABLE} bs=64 2> /dev/null"
    assert real.ask(settable, f"{mount}; {write}; tail -c 4 {VARIABLE}") == "kept"
    before = real.machine(settable)["host"]["name"]
    target = "az06-blade2" if before == "az06-blade1" else "az06-blade1"
    real.naos("vm", "stop", settable)
    real.naos("vm", "migrate", settable, "--to", target)
    _start(real, settable)
    assert real.machine(settable)["host"]["name"] == target
    assert real.ask(settable, f"{mount}; tail -c 4 {VARIABLE}") == "kept"


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_secure_boot_starts_nothing_that_nobody_signed(real: Real, settable: str) -> None:
    real.naos("vm", "stop", settable)
    real.naos("vm", "set", settable, "--secure-boot")
    _start(real, settable, "Access Denied")
    real.naos("vm", "stop", settable, "--force")
    real.naos("vm", "set", settable, "--no-secure-boot", "--setup")
    _start(real, settable, "Boot Manager")
    assert "ready:" not in real.naos("vm", "log", settable)


def _guests(real: Real, zone: str) -> set[int]:
    """The processes of the guests in a zone."""
    blades = (f"{zone}-blade1", f"{zone}-blade2")
    return {pid for blade in blades for pid in real.program_pids(blade, "qemu-system-x86_64")}


@pytest.mark.soak
def test_backup_knows_what_really_lies_on_arrays_and_in_the_vault(real: Real) -> None:
    """The inventories look at the real arrays and the real vault; a held policy keeps a real machine from starting."""
    seen = real.json("policy", "inventory")
    assert (seen["status"], seen["statistics"]["failed"]) == ("COMPLETED", 0)
    with opened(Connection(URL, real.root / "credentials")) as api:
        jobs = {job["name"]: job["id"] for job in api.get("/backup/v1/spp/jobs", type="catalog")}
        for name, job in jobs.items():
            waiting.follow(api, api.write("POST", "/backup/v1/spp/jobs/run", {"jobId": job}))
            assert api.get("/backup/v1/spp/jobs/session")[0]["jobName"] == name
        known = api.get(f"/backup/v1/spp/virtual_machines/{real.machine('first-az05')['id']}")
        assert known["volumes"][0]["size"] == 64 * 2**20
        (storage,) = api.get("/backup/v1/spp/storages")
    assert (storage["site"], storage["isReady"]) == ("AZ07", True)
    assert storage["capacity"]["total"] == shutil.disk_usage(real.root).total
    assert 0 < storage["capacity"]["free"] < storage["capacity"]["total"]
    volume = real.json("volume", "show", "volume-AZ05")
    assert volume["accessible"] == 1
    assert 0 < volume["freeCapacity"] < volume["maxCapacity"]
    real.naos("vm", "create", "held", "--pool", "pool-AZ05", "--volume", "volume-AZ05")
    real.naos("policy", "create", "nightly", "--site", "AZ07", "--keep", "7")
    real.naos("policy", "assign", "held", "nightly")
    real.naos("policy", "hold", "nightly")
    before = _guests(real, "az05")
    assert "its backup policy nightly is held" in real.attempt("vm", "start", "held").stderr
    assert _guests(real, "az05") == before
    real.naos("policy", "release", "nightly")
    real.naos("vm", "start", "held")
    assert len(_guests(real, "az05") - before) == 1
    real.naos("vm", "stop", "held", "--force")
    real.naos("vm", "delete", "held", "--yes")
    assert real.json("policy", "show", "nightly")["held"] is True
    real.naos("policy", "delete", "nightly", "--yes")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_an_appliance_comes_in_runs_with_its_properties_and_leaves_with_every_byte(real: Real, tmp_path: Path) -> None:
    appliance_journey.travel(real, tmp_path)


@pytest.mark.soak
def test_a_guest_that_shuts_itself_down_is_noted_and_starts_again_with_its_data(real: Real) -> None:
    real.ask("first-az06", "echo kept > /root/note; sync")
    real.naos("vm", "stop", "first-az06")
    assert real.machine("first-az06")["powerState"] == "stopped"
    real.naos("vm", "start", "first-az06")
    until(lambda: "ready:" in real.naos("vm", "log", "first-az06"), "the guest is up")
    assert real.ask("first-az06", "cat /root/note") == "kept"


@pytest.mark.soak
def test_a_powerless_blade_leaves_its_machine_stopped_not_lost(real: Real) -> None:
    blade = real.machine("first-az06")["host"]["name"]
    real.naos("lab", "kill", blade)
    real.naos("lab", "start", blade)
    until(lambda: real.machine("first-az06")["powerState"] == "stopped", "the machine is known to be stopped")
    real.naos("vm", "start", "first-az06")
    until(lambda: "ready:" in real.naos("vm", "log", "first-az06"), "the guest is up")


@pytest.mark.soak
def test_a_killed_blades_machine_runs_on_the_other_one_and_one_that_is_only_unmanaged_runs_on(real: Real) -> None:
    """SIGKILL for all of a blade, then a blade that management does not reach: every record that was acknowledged is there, once."""
    with bench_of(real) as bench:
        guest = bench.join("first-az05")
        for fault in ("killed", "management cut"):
            prove(bench, guest, FAULTS[fault], "writing")
        bench.leave(guest)
        bench.protect(enabled=False)


def test_after_a_power_cut_up_brings_everything_back(real: Real) -> None:
    real.ask("first-az06", "echo kept > /root/note; sync")
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
