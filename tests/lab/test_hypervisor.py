"""The hypervisor driver on real libvirt and QEMU: two blades, a storage server, and a real guest."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import replace

import libvirt
import pytest
from hypervisor_rig import Console, Events, Rig, Storage, available, wait_for
from lxml import etree
from structlog.testing import capture_logs

from naos.catalogue.images import tiny
from naos.catalogue.images.network import visiting
from naos.engines.errors import Busy, EngineError, GuestRefused, Missing, Unreachable, Unsupported
from naos.engines.hypervisor import mirroring
from naos.engines.hypervisor.driver import Deadlines, LibvirtHypervisor
from naos.engines.ports import DomainNic, DomainSpec, MigrationLimits, PowerState, Processor, guest_port
from naos.units import MIB

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not available(), reason="needs root, libvirt and QEMU"),
]
SHORT = Deadlines(detach=0.5, resized=0.3)


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """Its connections, and every thread that is begun in this module, start in the middle of its network."""
    made = Rig(tmp_path_factory.mktemp("rig"))
    try:
        made.start()
        with visiting(made.center):
            for blade in made.blades:
                wait_for(blade.answers, f"{blade.name} answers")
            yield made
    finally:
        made.stop()


@contextmanager
def driving(blade, uri=None, deadlines=Deadlines()):
    made = LibvirtHypervisor(blade.name, uri or blade.uri, blade, "tcg", deadlines=deadlines)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def first(rig):
    with driving(rig.blades[0]) as made:
        yield made


@pytest.fixture(scope="module")
def second(rig):
    with driving(rig.blades[1]) as made:
        yield made


@pytest.fixture
def events(rig):
    """What the first blade reports during a test."""
    heard = Events(LibvirtHypervisor("blade1", rig.blades[0].uri, rig.blades[0], "tcg"))
    yield heard
    heard.close()


class Machine:
    """naos-tiny with an empty second disk, and room to grow."""

    def __init__(self, rig, folder):
        self.image = tiny.build_tiny(folder / "tiny.qcow2")
        self.boot = rig.storage.create(0, self.image.virtual_size, base=self.image.path)
        self.data = rig.storage.create(1, 16 * MIB)
        self.id = str(uuid.uuid4())
        self.spec = DomainSpec(
            self.id, "guest", vcpus=1, cores_per_socket=1, memory=192 * MIB, disks=[self.boot, self.data],
            max_vcpus=2, max_memory=512 * MIB,
        )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def machine(rig, first, tmp_path_factory):
    """On the first blade; it comes up beside the tests that do not need it."""
    made = Machine(rig, tmp_path_factory.mktemp("image"))
    first.define(made.spec)
    first.start(made.id)
    return made


# ------------------------------------------------------------------------------------------- machines without a system


# Prints "up" on the serial line and waits for ever: ds = 0, si = the text, dx = the port; lodsb, out, until a 0; hlt.
BOOT_SECTOR = bytes.fromhex("31c08ed8be157cbaf803ac84c07403eeebf8f4ebfd") + b"up\r\n\0"


@pytest.fixture(scope="module")
def small_disk(rig):
    disk = rig.storage.create(0, MIB)
    with rig.storage.file(disk.id).open("r+b") as file:
        file.write(BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa")
    return disk


@pytest.fixture
def bare(first, second, small_disk):
    """A machine to be defined, whose whole system is a boot sector."""
    spec = DomainSpec(str(uuid.uuid4()), "small", vcpus=1, cores_per_socket=1, memory=32 * MIB, disks=[small_disk])
    yield spec
    for blade in (first, second):
        blade.power_off(spec.id)
        blade.undefine(spec.id)


def test_a_blade_says_what_it_is(rig, first):
    found = first.facts()
    assert (found.hostname, found.acceleration) == ("blade1", "tcg")
    assert found.cpus == int(rig.blades[0].run(["nproc", "--all"]).stdout)
    assert 0 < found.free_memory < found.memory
    assert f"libvirtd (libvirt) {found.libvirt_version}" in rig.blades[0].run(["libvirtd", "--version"]).stdout
    assert f"version {found.hypervisor_version} " in rig.blades[0].run(["qemu-system-x86_64", "--version"]).stdout


def test_blades_say_what_they_can_show_and_libvirt_finds_what_all_can(rig, first, second):
    """An emulated processor is the same everywhere; the comparison itself is libvirt's, here of two models by name."""
    own, other = first.processor(), second.processor()
    assert own == other
    assert own.model == "Nehalem"
    assert {"sse4.2", "popcnt", "nx"} <= set(own.features)
    assert first.baseline([own, other]) == own
    newer = Processor("", (), "<cpu><model>Haswell-noTSX</model></cpu>")
    common = first.baseline([newer, own])
    assert set(common.features) <= set(first.baseline([newer]).features) & set(own.features)
    assert "sse4.2" in common.features
    assert "avx2" not in common.features
    alien = Processor("", (), "<cpu><model>Opteron_G5</model><vendor>AMD</vendor></cpu>")
    with pytest.raises(EngineError):
        first.baseline([alien, Processor("", (), "<cpu><model>Haswell</model><vendor>Intel</vendor></cpu>")])


def test_the_life_of_a_machine_every_call_twice(first, bare, events):
    defined = first.define(bare)
    assert first.define(bare) == defined == first.xml(bare.id)
    assert (first.state(bare.id), first.domains()[bare.id]) == (PowerState.STOPPED, PowerState.STOPPED)
    first.start(bare.id)
    first.start(bare.id)
    assert (first.state(bare.id), first.domains()[bare.id]) == (PowerState.RUNNING, PowerState.RUNNING)
    first.resume(bare.id)
    first.abort_migration(bare.id)
    with pytest.raises(Busy):
        first.undefine(bare.id)
    for count in (1, 2):
        wait_for(lambda: first.serial_log(bare.id).split() == ["up"] * count, "it is up")  # noqa: B023 - called at once
        first.reset(bare.id)
    first.shutdown(bare.id)  # nobody listens to the button
    assert first.state(bare.id) == PowerState.RUNNING
    first.power_off(bare.id)
    first.power_off(bare.id)
    assert first.state(bare.id) == PowerState.STOPPED
    first.shutdown(bare.id)
    first.undefine(bare.id)
    first.undefine(bare.id)
    assert first.state(bare.id) == PowerState.ABSENT
    assert bare.id not in first.domains()
    events.wait(bare.id, "undefined")
    kinds = dict.fromkeys(events.kinds(bare.id))
    kinds.pop("resumed", None)  # libvirt starts a machine stopped, and lets it run then
    assert list(kinds) == ["defined", "started", "stopped", "undefined"]


def test_a_machine_that_does_not_run_refuses_what_needs_a_running_one(first, bare):
    first.define(bare)
    assert first.endpoints(bare.id) == []
    assert not first.agent_ping(bare.id)
    for refused in (first.statistics, first.serial, first.resume, first.reset, first.freeze):
        with pytest.raises(EngineError) as failure:
            refused(bare.id)
        assert not isinstance(failure.value, (Unreachable, Missing)), refused
    first.disk_resized(bare.id, bare.disks[0].id, 2 * MIB)
    first.abort_migration(bare.id)


def test_a_machine_that_is_not_there_is_missing_or_left_alone(first, second):
    absent = str(uuid.uuid4())
    first.power_off(absent)
    first.undefine(absent)
    first.abort_migration(absent)
    missing = (
        *(first.xml, first.start, first.resume, first.reset, first.shutdown, first.endpoints, first.serial),
        *(first.serial_log, first.statistics, first.freeze, first.thaw, first.agent_ping),
        lambda machine: first.migrate(machine, second),
        lambda machine: first.detach_disk(machine, absent),
        lambda machine: first.resize(machine, vcpus=1, cores_per_socket=1, memory=32 * MIB),
    )
    for call in missing:
        with pytest.raises(Missing):
            call(absent)


@pytest.mark.parametrize("name", ["", "one", "../one", "0B0E1F5C-2F8E-4B55-9F25-7A3B5A6F0D11"])
def test_only_ids_reach_a_blade(first, bare, name):
    for call in (first.state, first.start, first.serial_log, lambda name: first.define(replace(bare, id=name))):
        with pytest.raises(Unsupported):
            call(name)


def test_what_naos_does_not_speak_of_survives_libvirt_and_a_new_definition(first, bare):
    text = first.define(bare)
    note = "<metadata><note xmlns='urn:example:note'>kept &lt;so&gt;</note></metadata>"
    text = text.replace("<os>", f"<description>a note</description>{note}<os>")
    text = text.replace("<target dev='vda'", "<iotune><total_iops_sec>500</total_iops_sec></iotune><target dev='vda'")
    first.define_xml(text)
    again = first.define(replace(bare, title="Zoë's 機械 🦊 <b>", memory=48 * MIB))
    for kept in ("<description>a note</description>", "kept &lt;so&gt;", "<total_iops_sec>500<"):
        assert kept in again
    assert etree.fromstring(again).findtext("title") == "Zoë's 機械 🦊 <b>"
    assert re.findall("<address type='pci'.*>", again) == re.findall("<address type='pci'.*>", text)


def test_a_kept_definition_comes_to_life_on_another_blade(first, second, bare):
    kept = first.define(bare)
    first.undefine(bare.id)
    second.define_xml(kept)
    second.define_xml(kept)
    second.start(bare.id)
    screen = next(found for found in second.endpoints(bare.id) if found.kind == "vnc")
    assert screen.host == "10.199.0.12"
    for nonsense in ("", "no XML", "<domain/>", "<domain><uuid>../x</uuid></domain>"):
        with pytest.raises(EngineError):
            second.define_xml(nonsense)


def test_the_password_of_a_screen_outlives_a_new_definition_a_start_and_a_move(first, second, bare):
    """A console that asks for a password asks for it whatever becomes of the machine's definition."""
    text = first.define(bare)
    first.define_xml(text.replace("<graphics type='vnc'", "<graphics type='vnc' passwd='s3cret'"))
    first.define(replace(bare, title="another", memory=48 * MIB))
    first.start(bare.id)
    first.migrate(bare.id, second)
    flags = libvirt.VIR_DOMAIN_XML_SECURE
    for kind in (flags, flags | libvirt.VIR_DOMAIN_XML_INACTIVE):
        kept = second._domains.on(bare.id, "reading it", lambda domain, kind=kind: domain.XMLDesc(kind))
        assert "passwd='s3cret'" in kept
    assert "s3cret" not in second._domains.on(bare.id, "reading it", lambda domain: domain.XMLDesc(0))


def test_a_machine_that_hangs_is_left_out_of_the_samples_and_delays_nobody(rig, first, bare):
    """One caller waits in the machine; whoever only looks gets the others' figures, and nothing of this one."""
    first.define(bare)
    first.start(bare.id)
    assert bare.id in first.samples()
    pid = int((rig.blades[0].folder / f"run/libvirt/qemu/{bare.id}.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        holder = threading.Thread(target=lambda: suppressed(first.statistics, bare.id))
        holder.start()
        wait_for(lambda: left_out(first, bare.id), "the machine is busy")
        assert first.state(bare.id) == PowerState.RUNNING
    finally:
        os.kill(pid, signal.SIGCONT)
    holder.join()
    wait_for(lambda: bare.id in first.samples(), "the machine is idle")


def left_out(hypervisor, machine_id):
    """A look that comes before the caller waits in the machine itself, and is told so."""
    with suppress(EngineError):
        return machine_id not in hypervisor.samples()
    return False


def suppressed(function, *arguments):
    with suppress(EngineError):
        function(*arguments)


def test_a_running_machine_has_a_screen_and_a_serial_line(first, bare):
    first.define(bare)
    first.start(bare.id)
    screen, line = first.endpoints(bare.id)
    assert (screen.kind, screen.host, line.kind) == ("vnc", "10.199.0.11", "serial")
    with socket.create_connection((screen.host, screen.port), 10) as wire:
        assert wire.recv(12).startswith(b"RFB 003.")


def test_a_guest_that_does_not_let_a_disk_go_is_told_so_and_keeps_it(rig, bare):
    with driving(rig.blades[0], deadlines=SHORT) as blade:
        blade.define(bare)
        blade.start(bare.id)
        with pytest.raises(GuestRefused):
            blade.detach_disk(bare.id, bare.disks[0].id)
        assert bare.disks[0].id in blade.xml(bare.id)
        with pytest.raises(GuestRefused):
            blade.freeze(bare.id)
        with pytest.raises(EngineError):
            blade.disk_resized(bare.id, bare.disks[0].id, 64 * MIB)  # its export is smaller
        with pytest.raises(Missing):
            blade.disk_resized(bare.id, str(uuid.uuid4()), MIB)
        blade.power_off(bare.id)
        blade.detach_disk(bare.id, bare.disks[0].id)
        blade.detach_disk(bare.id, bare.disks[0].id)
        assert bare.disks[0].id not in blade.xml(bare.id)


def test_events_survive_a_restart_of_libvirt_and_tell_what_was_missed(rig, first, bare, events):
    first.define(bare)
    first.start(bare.id)
    events.wait(bare.id, "started")
    blade = rig.blades[0]
    blade.kill_libvirtd()
    blade.kill_machine(bare.id)
    with pytest.raises(Unreachable):
        first.state(bare.id)
    blade.start_libvirtd()
    wait_for(blade.answers, "libvirt answers again")
    wait_for(lambda: set(events.kinds(bare.id)) & {"stopped", "crashed"}, "the machine's end is reported")
    count = events.kinds(bare.id).count("started")
    first.start(bare.id)
    wait_for(lambda: events.kinds(bare.id).count("started") > count, "the next start is reported")


def test_a_machine_whose_process_dies_has_crashed(rig, first, bare, events):
    first.define(bare)
    first.start(bare.id)
    rig.blades[0].kill_machine(bare.id)
    events.wait(bare.id, "crashed")
    assert first.state(bare.id) == PowerState.CRASHED
    first.start(bare.id)
    assert first.state(bare.id) == PowerState.RUNNING


# ------------------------------------------------------------------------------------------------------- a real guest


@pytest.fixture
def guest(machine, first, second):
    """The machine's console; it runs on the first blade, whatever the test before has left."""
    if second.state(machine.id) == PowerState.RUNNING:
        second.migrate(machine.id, first)
    if first.state(machine.id) != PowerState.RUNNING:
        first.power_off(machine.id)
        first.define(machine.spec)
        first.start(machine.id)
    wait_for(lambda: ready(first, machine), "the guest is up", 90)
    console = Console(first, machine.id)
    yield console
    console.close()


def ready(hypervisor, machine):
    """Its shell asks: what was typed before is lost."""
    return "naos-tiny:~# " in hypervisor.serial_log(machine.id)


def test_the_serial_line_is_a_shell_that_the_next_opener_takes_over(first, machine, guest):
    assert guest.type("echo $((6 * 7)) ä") == "42 ä"
    other = Console(first, machine.id)
    assert guest.ended.wait(20)
    assert other.type("hostname") == "naos-tiny"
    with pytest.raises(Unreachable):
        guest.stream.send(b"x")
    other.close()
    assert other.ended.wait(20)


def test_the_serial_log_is_what_was_said(first, machine, guest):
    guest.type("echo one-ä; echo two-é")
    guest.expect(r"\x1b\[6n")  # the prompt is complete
    log = first.serial_log(machine.id)
    assert "naos-tiny" in log
    assert "one-ä" in log
    assert first.serial_log(machine.id, last_bytes=0) == ""
    for count in range(1, 24):
        end = first.serial_log(machine.id, last_bytes=count)
        assert log.endswith(end)
        assert len(end.encode()) <= count


def test_the_agent_answers_freezes_and_thaws(first, machine, guest):
    assert first.agent_ping(machine.id)
    assert first.freeze(machine.id) == first.freeze(machine.id) >= 1
    assert first.thaw(machine.id) >= 1
    assert first.thaw(machine.id) == 0
    assert guest.type("echo alive > /root/file && sync && cat /root/file") == "alive"


@pytest.mark.soak
def test_a_frozen_guest_is_thawed_by_its_blade_whoever_dies(first, machine, guest):
    """Who froze it does no more; the second time its agent dies too, and is started anew, as a guest's systemd does."""
    channel = "/dev/virtio-ports/org.qemu.guest_agent.0"
    agent = f"qemu-ga -d -m virtio-serial -p {channel} -f /run/qemu-ga.pid"
    for number, dying in enumerate(("true", f"sleep 2; kill -9 $(cat /run/qemu-ga.pid); sleep 3; {agent}")):
        guest.type(f"({dying}) > /dev/null 2>&1 & true")
        assert first.freeze(machine.id, limit=3) >= 1
        # it waits for the thawing; the guest's kernel may say that its keyboard is not to be obeyed
        assert guest.type(f"echo {number} > /root/file && sync && cat /root/file").splitlines()[-1] == str(number)
        assert first.thaw(machine.id) == 0


@pytest.mark.soak
def test_a_frozen_guest_whose_agent_is_gone_is_thawed_by_its_keyboard_or_reported(first, machine, guest):
    """As Debian sets its kernel it does not obey a keyboard; with 64 more it does. Asked to first, then left to its blade."""
    channel = "/dev/virtio-ports/org.qemu.guest_agent.0"
    agent = f"qemu-ga -d -m virtio-serial -p {channel} -f /run/qemu-ga.pid"
    guest.type("echo 438 > /proc/sys/kernel/sysrq; (sleep 2; kill -9 $(cat /run/qemu-ga.pid)) > /dev/null 2>&1 & true")
    assert first.freeze(machine.id, limit=600) >= 1
    wait_for(lambda: not first.agent_ping(machine.id), "the agent is gone")
    with pytest.raises(GuestRefused, match=r"may stand frozen; reset it\. `kernel.sysrq = 502`"):
        first.thaw(machine.id)
    assert first.stuck() == [machine.id]
    guest.type("echo 502 > /proc/sys/kernel/sysrq")
    assert first.thaw(machine.id) == 0
    assert first.stuck() == []
    assert guest.type("echo thawed > /root/file && sync && cat /root/file").splitlines()[-1] == "thawed"
    guest.type(agent)
    wait_for(lambda: first.agent_ping(machine.id), "the agent is back")
    guest.type("(sleep 2; kill -9 $(cat /run/qemu-ga.pid)) > /dev/null 2>&1 & true")
    assert first.freeze(machine.id, limit=4) >= 1
    wait_for(lambda: not first.agent_ping(machine.id), "the agent is gone")
    said = guest.type("echo alone > /root/file && sync && cat /root/file")  # it waits for the thawing
    assert said.splitlines()[-1] == "alone"
    assert "Emergency Thaw" in first.serial_log(machine.id)
    assert first.stuck() == []
    guest.type(agent)
    wait_for(lambda: first.agent_ping(machine.id), "the agent is back")
    assert first.thaw(machine.id) == 0


def test_counters_grow(first, machine, guest):
    first.disk_counters()  # begins to count latencies
    before, earlier = first.statistics(machine.id), first.disk_counters()[machine.data.id]
    guest.type("dd if=/dev/zero of=/dev/vdb bs=4096 count=256 conv=fsync 2>/dev/null")
    after, now = first.statistics(machine.id), first.disk_counters()[machine.data.id]
    assert now.write_bytes - earlier.write_bytes == MIB
    requests = now.reads + now.writes - earlier.reads - earlier.writes
    assert sum(now.latencies) - sum(earlier.latencies) == requests > 0
    assert now.nanoseconds > earlier.nanoseconds
    assert after.cpu_time_ns > before.cpu_time_ns
    assert set(after.block) == {machine.boot.id, machine.data.id}
    grown = {key: after.block[machine.data.id][key] - count for key, count in before.block[machine.data.id].items()}
    assert grown["write_bytes"] == MIB
    assert grown["write_ops"] > 0
    assert after.memory_actual >= machine.spec.memory
    assert after.memory_rss > 0


def test_what_presses_a_guest_is_told_by_its_hypervisor(rig, first, machine, guest):
    """The balloon takes memory for real; a processor that had to wait for one of the blade's has waited."""
    sample = first.samples()[machine.id]
    assert (sample.ballooned, sample.memory > 0) == (0, True)
    guest.type("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    assert first.samples()[machine.id].waited_ns > 0
    connection = libvirt.open(rig.blades[0].uri)
    domain = connection.lookupByUUIDString(machine.id)
    domain.setMemoryFlags((machine.spec.memory - 32 * MIB) // 1024, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    wait_for(lambda: first.samples()[machine.id].ballooned == 32 * MIB, "the balloon has taken 32 MiB")
    domain.setMemoryFlags(machine.spec.memory // 1024, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    wait_for(lambda: first.samples()[machine.id].ballooned == 0, "the guest has it back")
    connection.close()


@pytest.mark.soak
def test_what_a_guest_swaps_is_told_by_its_hypervisor(rig, first, machine, guest):
    """More is kept in a file system in memory than there is memory."""
    assert first.samples()[machine.id].swapped == 0
    disk = rig.storage.create(2, 2 * machine.spec.memory)
    first.attach_disk(machine.id, disk)
    guest.expect("naos-tiny disk vdc added")
    size = machine.spec.memory // MIB
    guest.type(
        f"mkswap /dev/vdc > /dev/null; swapon /dev/vdc; mkdir -p /kept; mount -t tmpfs -o size={size + 64}m none /kept"
    )
    guest.type(f"dd if=/dev/urandom of=/kept/file bs=1M count={size} 2> /dev/null")
    wait_for(lambda: first.samples()[machine.id].swapped > 32 * MIB, "its swapping is told")
    assert guest.type("grep -c vdc /proc/swaps") == "1"
    guest.type("umount /kept && swapoff /dev/vdc")
    first.detach_disk(machine.id, disk.id)


def test_a_disk_comes_grows_and_goes(rig, first, machine, guest):
    disk = rig.storage.create(2, 8 * MIB)
    first.attach_disk(machine.id, disk)
    first.attach_disk(machine.id, disk)
    guest.expect("naos-tiny disk vdc added: 8M")
    assert guest.type("cat /sys/block/vdc/serial") == disk.id[:20]  # virtio shows this much
    assert guest.type("dd if=/dev/zero of=/dev/vdc count=1 conv=fsync 2> /dev/null && echo written") == "written"
    with pytest.raises(Busy):
        first.attach_disk(machine.id, replace(disk, source=replace(disk.source, name=f"{disk.id}.2")))
    rig.storage.grow(disk, 24 * MIB)
    first.disk_resized(machine.id, disk.id, 24 * MIB)
    first.disk_resized(machine.id, disk.id, 24 * MIB)
    guest.expect("naos-tiny disk vdc is now 24M")
    assert disk.id in first.xml(machine.id)
    first.detach_disk(machine.id, disk.id)
    guest.expect("naos-tiny disk vdc removed")
    first.detach_disk(machine.id, disk.id)
    assert disk.id not in first.xml(machine.id)


def test_an_adapter_comes_changes_and_goes(rig, first, machine, guest):
    nic = DomainNic(str(uuid.uuid4()), 0, "02:4e:00:00:00:07", "vlan10")
    blade = rig.blades[0]
    first.attach_nic(machine.id, nic)
    first.attach_nic(machine.id, nic)
    guest.expect("naos-tiny nic eth0 added: 02:4e:00:00:00:07")
    (port,) = blade.ports("vlan10")
    assert port == guest_port(nic.id)
    assert first.statistics(machine.id).net[nic.mac].keys() == {"rx_bytes", "rx_packets", "tx_bytes", "tx_packets"}
    elsewhere = replace(nic, bridge="vlan20", connected=False)
    first.update_nic(machine.id, elsewhere)
    first.update_nic(machine.id, elsewhere)
    assert (blade.ports("vlan10"), blade.ports("vlan20")) == ([], [port])
    wait_for(lambda: guest.type("cat /sys/class/net/eth0/carrier") == "0", "the guest's link is down")
    first.update_nic(machine.id, replace(elsewhere, connected=True))
    wait_for(lambda: guest.type("cat /sys/class/net/eth0/carrier") == "1", "the guest's link is up")
    for other in (replace(nic, mac="02:4e:00:00:00:08"), replace(nic, mtu=1400)):
        with pytest.raises(Unsupported):
            first.update_nic(machine.id, other)
    with pytest.raises(Missing):
        first.update_nic(machine.id, replace(nic, id=str(uuid.uuid4())))
    assert "<source bridge='vlan20'/>" in first.xml(machine.id)
    first.detach_nic(machine.id, nic.id)
    first.detach_nic(machine.id, nic.id)
    guest.expect("naos-tiny nic eth0 removed")
    assert blade.ports("vlan20") == []
    assert nic.id not in first.xml(machine.id)


def test_a_running_machine_grows_within_its_room_and_only_there(first, machine, guest):
    before = first.xml(machine.id)
    memory = "awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo"
    small = int(guest.type(memory))
    for refused in (
        {"vcpus": 3, "memory": 192 * MIB},
        {"vcpus": 1, "memory": 1024 * MIB},
        {"vcpus": 1, "memory": 64 * MIB},
        {"vcpus": 2, "memory": 200 * MIB},
    ):
        with pytest.raises(Unsupported):
            first.resize(machine.id, cores_per_socket=1, **refused)
    assert first.xml(machine.id) == before
    for _ in range(2):
        first.resize(machine.id, vcpus=2, cores_per_socket=1, memory=320 * MIB)
    wait_for(lambda: guest.type("nproc") == "2", "the guest uses its second processor")
    wait_for(lambda: int(guest.type(memory)) > small + 100, "the guest uses its memory")
    with pytest.raises(Unsupported):
        first.resize(machine.id, vcpus=1, cores_per_socket=1, memory=320 * MIB)
    assert first.statistics(machine.id).memory_actual == 320 * MIB


class Writer:
    """The guest counts: it writes each number to its second disk, safely, before it says it."""

    SCRIPT = (
        "i=0; while :; do i=$((i+1)); echo $i | dd of=/dev/vdb conv=fsync,notrunc 2> /dev/null"
        " && echo MARK'' $i || echo MARK'' failed; done &"
    )

    def __init__(self, rig, machine, console):
        self._rig = rig
        self._machine = machine
        self._mark = f"w{uuid.uuid4().hex[:6]}"
        console.type("dd if=/dev/zero of=/dev/vdb bs=4096 count=1 conv=fsync 2> /dev/null")
        console.stream.send(self.SCRIPT.replace("MARK", self._mark).encode() + b"\n")
        console.expect(f"{self._mark} 3\n")

    def said(self, hypervisor):
        log = hypervisor.serial_log(self._machine.id, last_bytes=1 << 20)
        return re.findall(rf"{self._mark} (\w+)\r?$", log, re.MULTILINE)

    def goes_on(self, hypervisor):
        before = len(self.said(hypervisor))
        wait_for(lambda: len(self.said(hypervisor)) > before + 2, "the guest goes on writing")

    def end(self, hypervisor):
        """Every number was said once, in order, and is on the disk."""
        console = Console(hypervisor, self._machine.id)
        console.type("kill %1; wait")
        console.close()
        said = self.said(hypervisor)
        assert said == [str(number) for number in range(1, len(said) + 1)]
        # wherever its disk is by now
        file = self._rig.storage.file(
            hypervisor.disk_source(self._machine.id, self._machine.data.id).name.partition(".")[0]
        )
        written = int(file.read_bytes()[:4096].split(b"\n")[0])
        assert written in (len(said), len(said) + 1)


def test_a_dead_array_stops_the_guest_and_resume_goes_on_from_the_same_write(rig, first, machine, guest, events):
    writer = Writer(rig, machine, guest)
    rig.storage.kill()
    wait_for(lambda: first.state(machine.id) == PowerState.IO_ERROR, "the guest is stopped")
    events.wait(machine.id, "io-error")
    first.resume(machine.id)  # too early
    assert first.state(machine.id) == PowerState.IO_ERROR
    rig.storage.start()
    first.resume(machine.id)
    first.resume(machine.id)
    writer.goes_on(first)
    assert first.state(machine.id) == PowerState.RUNNING
    events.wait(machine.id, "resumed")
    writer.end(first)


def test_a_guest_does_not_wait_for_an_array_that_lost_power_with_its_question(rig, first, machine, guest):
    """The array's kernel took the request, and then was gone without a word: nothing more is sent that could tell."""
    source = machine.data.source
    hub = ["ip", "netns", "exec", rig.storage.namespace]

    def inside(*argv, text=None):
        subprocess.run([*hub, *argv], input=text, text=True, check=True, capture_output=True)

    asked = "dd if=/dev/vdb of=/dev/null bs=4k count=1 iflag=direct 2> /dev/null; echo read''it"
    guest.type(f"{asked}; sync")  # and what this takes from the other disk is in the guest's cache
    os.kill(rig.storage.process.pid, signal.SIGSTOP)
    guest.stream.send(f"{asked}\n".encode())
    time.sleep(1.0)
    chain, silent = "inet off out", f"tcp sport {source.port} drop"
    hook = "{ type filter hook output priority 0; }"
    inside("nft", "-f", "-", text=f"add table inet off\nadd chain {chain} {hook}\nadd rule {chain} {silent}\n")
    rig.storage.kill()
    inside("ss", "-K", "-t", "-n", "sport", "=", f":{source.port}")
    inside("nft", "delete", "table", "inet", "off")
    rig.storage.start()
    time.sleep(1.5)
    assert first.state(machine.id) == PowerState.RUNNING
    assert first.let_go("10.199.0.99", source.port, 0.0) == 0
    assert first.let_go(source.host, source.port, 3600.0) == 0
    assert first.let_go(source.host, source.port, 1.0) >= 1
    wait_for(lambda: first.state(machine.id) == PowerState.IO_ERROR, "the guest is stopped")

    def goes_on():
        first.resume(machine.id)  # each of its disks may stop it once
        return first.state(machine.id) == PowerState.RUNNING

    wait_for(goes_on, "the guest goes on")
    guest.expect("readit")


def test_a_guest_moves_and_moves_back_while_it_writes(rig, first, second, machine, guest):
    writer = Writer(rig, machine, guest)
    shares = []
    first.migrate(machine.id, second, progress=shares.append)
    assert (first.state(machine.id), second.state(machine.id)) == (PowerState.ABSENT, PowerState.RUNNING)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    first.migrate(machine.id, second)
    assert second.endpoints(machine.id)[0].host == "10.199.0.12"
    assert "10.199.0.12" in second.xml(machine.id)
    with pytest.raises(Missing):
        first.serial_log(machine.id)
    writer.goes_on(second)
    # Daemons that cannot reach each other: the move back goes through the controller.
    with driving(rig.blades[0], rig.blades[0].local_uri) as back:
        second.migrate(machine.id, back)
    assert (first.state(machine.id), second.state(machine.id)) == (PowerState.RUNNING, PowerState.ABSENT)
    writer.goes_on(first)
    writer.end(first)
    assert "naos-tiny" in first.serial_log(machine.id, last_bytes=1 << 20)


def test_a_disk_moves_to_another_export_and_back_while_the_guest_writes(rig, first, machine, guest, monkeypatch):
    writer = Writer(rig, machine, guest)
    other = rig.storage.create(1, 16 * MIB)
    moved, shares = replace(machine.data, source=other.source), []
    with pytest.raises(EngineError):
        first.switch_disk(machine.id, moved)
    with pytest.raises(EngineError):
        first.mirror_disk(machine.id, replace(moved, source=replace(other.source, name="nobody.1")))
    first.mirror_disk(machine.id, moved, speed=64 * MIB, progress=shares.append)
    assert shares[-1] == 1.0
    assert first.disk_source(machine.id, machine.data.id) == machine.data.source
    for _ in range(2):
        first.drop_mirror(machine.id, machine.data.id)
    writer.goes_on(first)
    for _ in range(2):
        first.mirror_disk(machine.id, moved)
    with monkeypatch.context() as patch:
        patch.setattr(mirroring, "_define", lambda *_: None)  # a controller that dies right after the switch
        first.switch_disk(machine.id, moved)
    assert first.disk_source(machine.id, machine.data.id) == other.source
    assert other.source.name in first.xml(machine.id), "libvirt does not note the switch by itself"
    first.switch_disk(machine.id, moved)
    rig.storage.qmp("block-export-del", id=f"e{machine.data.source.name}", mode="hard")  # nobody uses it any more
    writer.goes_on(first)
    first.pause(machine.id)
    assert first.state(machine.id) == PowerState.PAUSED
    first.pause(machine.id)
    first.resume(machine.id)
    writer.goes_on(first)
    rig.storage._export(machine.data.id, machine.data.source.name)
    first.mirror_disk(machine.id, machine.data)
    first.switch_disk(machine.id, machine.data)
    writer.goes_on(first)
    writer.end(first)


@pytest.fixture
def far(rig, tmp_path):
    """A second array, of which a test may have everything stand still."""
    made = Storage(rig.storage.namespace, rig.storage.address, tmp_path, port=rig.storage.port + 1)
    made.start()
    yield made
    made.kill()


def test_a_guest_does_not_wait_for_an_array_that_says_nothing_while_its_disk_moves_there(
    rig, first, machine, guest, far, monkeypatch
):
    guest.type("dd if=/dev/urandom of=/dev/vdb bs=1M seek=2 count=12 conv=fsync 2> /dev/null")  # what is to travel
    writer = Writer(rig, machine, guest)
    moved = replace(machine.data, source=far.create(1, 16 * MIB).source)
    shares = []

    def stand_still(share):
        if not shares:
            os.kill(far.process.pid, signal.SIGSTOP)
        shares.append(share)

    with monkeypatch.context() as patch:
        patch.setattr(mirroring, "SILENCE", 1.0)
        with pytest.raises(EngineError, match="the guest goes on with the disk that it had"):
            first.mirror_disk(machine.id, moved, speed=MIB, progress=stand_still)
    assert shares[-1] < 1.0
    writer.goes_on(first)
    os.kill(far.process.pid, signal.SIGCONT)
    first.mirror_disk(machine.id, moved)
    os.kill(far.process.pid, signal.SIGSTOP)
    with pytest.raises(EngineError, match="says nothing within 3 s"):
        first.switch_disk(machine.id, moved)
    first.drop_mirror(machine.id, machine.data.id)
    writer.goes_on(first)
    assert first.state(machine.id) == PowerState.RUNNING
    assert first.disk_source(machine.id, machine.data.id) == machine.data.source
    writer.end(first)


def test_a_move_is_refused_where_it_cannot_be(rig, first, second, bare):
    with pytest.raises(Unsupported):
        first.migrate(bare.id, first)
    first.define(bare)
    with pytest.raises(EngineError) as failure:
        first.migrate(bare.id, second)
    assert "does not run" in str(failure.value)
    first.start(bare.id)
    other = LibvirtHypervisor("blade2", rig.blades[1].uri, rig.blades[1], "kvm")
    with pytest.raises(Unsupported):
        first.migrate(bare.id, other)
    other.close()
    assert (first.state(bare.id), second.state(bare.id)) == (PowerState.RUNNING, PowerState.ABSENT)


def test_a_repeated_move_finds_a_machine_that_has_stopped_at_the_target_since(first, second, bare):
    first.define(bare)
    first.start(bare.id)
    wait_for(lambda: "up" in first.serial_log(bare.id), "it is up")
    first.migrate(bare.id, second)
    second.power_off(bare.id)
    first.migrate(bare.id, second)
    assert (first.state(bare.id), second.state(bare.id)) == (PowerState.ABSENT, PowerState.STOPPED)
    assert second.serial_log(bare.id).split() == ["up"]


@contextmanager
def slow_move(rig, first, second, machine):
    """A move that would take minutes is going on; yields its thread, its outcome, and a function that lets it run fast."""
    outcome = []

    def move():
        try:
            first.migrate(machine.id, second)
        except EngineError as error:
            outcome.append(error)

    with libvirt_domain(rig.blades[0], machine) as domain:
        domain.migrateSetMaxSpeed(1)
        thread = threading.Thread(target=move)
        thread.start()
        try:
            wait_for(lambda: is_moving(domain), "the move is going on")
            yield thread, outcome, lambda: domain.migrateSetMaxSpeed(10_000)
        finally:
            first.abort_migration(machine.id)
            thread.join(60)
            with suppress(libvirt.libvirtError):
                domain.migrateSetMaxSpeed(10_000)
    assert not thread.is_alive()


@contextmanager
def libvirt_domain(blade, machine):
    connection = libvirt.open(blade.uri)
    connection.setKeepAlive(2, 3)  # or its end waits for a blade that is cut off
    try:
        yield connection.lookupByUUIDString(machine.id)
    finally:
        connection.close()


def is_moving(domain):
    return domain.jobStats().get("data_processed", 0) > 0


def test_a_move_that_is_aborted_leaves_the_machine_where_it_was(rig, first, second, machine, guest):
    writer = Writer(rig, machine, guest)
    with slow_move(rig, first, second, machine) as (thread, outcome, _):
        first.abort_migration(machine.id)
        first.abort_migration(machine.id)
        thread.join(60)
        assert [type(error) for error in outcome] == [EngineError]
    assert (first.state(machine.id), second.state(machine.id)) == (PowerState.RUNNING, PowerState.ABSENT)
    writer.goes_on(first)
    writer.end(first)


def test_another_controller_joins_a_move_that_goes_on(rig, first, second, machine, guest):
    with slow_move(rig, first, second, machine) as (thread, outcome, faster):
        with driving(rig.blades[0]) as again, driving(rig.blades[1]) as target:
            shares = []
            timer = threading.Timer(0.5, faster)
            timer.start()
            again.migrate(machine.id, target, progress=shares.append)
            timer.join()
        assert len(shares) > 1
        thread.join(60)
        assert outcome == []
    assert (first.state(machine.id), second.state(machine.id)) == (PowerState.ABSENT, PowerState.RUNNING)


@pytest.mark.soak
def test_a_guest_that_outruns_its_move_runs_on_at_the_target_and_fetches_the_rest(rig, first, second, machine, guest):
    """Within the bandwidth, though the guest changes several times as much: no number of passes would ever end."""
    guest.type("dd if=/dev/urandom of=/tmp/a bs=1M count=24 2> /dev/null")
    guest.type("( (while :; do cat /tmp/a > /tmp/b; done) > /dev/null 2>&1 & echo $! > /tmp/outrunner )")
    writer, speeds, limit = Writer(rig, machine, guest), [0], 8 * MIB
    with libvirt_domain(rig.blades[0], machine) as domain, capture_logs() as logs:
        over = threading.Event()

        def watch():
            while not over.wait(0.1):
                with suppress(libvirt.libvirtError):
                    speeds.append(domain.jobStats().get("memory_bps", 0))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            first.migrate(machine.id, second, limits=MigrationLimits(bandwidth=limit, downtime=100, patience=1.0))
        finally:
            over.set()
            thread.join()
    assert [entry["passes"] >= 2 for entry in logs if entry["event"] == "migration.post_copy"] == [True]
    assert 0 < max(speeds) < 2 * limit
    assert (first.state(machine.id), second.state(machine.id)) == (PowerState.ABSENT, PowerState.RUNNING)
    writer.goes_on(second)
    second.migrate(machine.id, first, limits=MigrationLimits(patience=1.0))
    writer.goes_on(first)
    writer.end(first)
    guest = Console(first, machine.id)
    guest.type("kill $(cat /tmp/outrunner); rm /tmp/a /tmp/b")
    guest.close()


def test_the_button_reaches_the_guest(first, machine, guest):
    first.shutdown(machine.id)
    first.shutdown(machine.id)
    wait_for(lambda: first.state(machine.id) == PowerState.STOPPED, "the guest is off")
    assert "going down" in first.serial_log(machine.id)


def test_power_cut_during_a_move_ends_both(rig, first, second, machine):
    first.define(machine.spec)
    first.start(machine.id)
    counters = first.statistics
    wait_for(lambda: counters(machine.id).block[machine.boot.id]["read_bytes"] > 8 * MIB, "there is memory to move")
    with slow_move(rig, first, second, machine) as (thread, outcome, _):
        first.power_off(machine.id)
        thread.join(60)
        assert [type(error) for error in outcome] == [EngineError]
    assert (first.state(machine.id), second.state(machine.id)) == (PowerState.STOPPED, PowerState.ABSENT)


@contextmanager
def without_cable(rig, number):
    def switch(state):
        subprocess.run(["ip", "-n", rig.namespaces[0], "link", "set", rig.blades[number].name, state], check=True)

    switch("down")
    try:
        yield
    finally:
        switch("up")


@pytest.mark.soak
def test_what_waits_for_the_rest_of_a_move_is_not_taken_for_the_machine(rig, first, second, machine):
    """Its source is cut off in the middle. It goes when it is asked to, and the source goes on; a start here is one from the disk."""
    first.start(machine.id)
    wait_for(
        lambda: first.statistics(machine.id).block[machine.boot.id]["read_bytes"] > 8 * MIB, "there is memory to move"
    )
    with slow_move(rig, first, second, machine) as (thread, _, _):
        with without_cable(rig, 0):
            assert second.state(machine.id) == PowerState.PAUSED
            second.abandon_arrival(machine.id)
            second.abandon_arrival(machine.id)
            assert second.state(machine.id) == PowerState.ABSENT
        thread.join(60)
    first.abandon_arrival(machine.id)
    assert (first.state(machine.id), second.state(machine.id)) == (PowerState.RUNNING, PowerState.ABSENT)
    with slow_move(rig, first, second, machine), without_cable(rig, 0):
        assert second.state(machine.id) == PowerState.PAUSED
        second.define(machine.spec)
        second.start(machine.id)
        assert second.state(machine.id) == PowerState.RUNNING
        read = second.statistics(machine.id).block[machine.boot.id]["read_bytes"]
        wait_for(
            lambda: second.statistics(machine.id).block[machine.boot.id]["read_bytes"] > read + MIB,
            "it boots from its disk",
        )
        second.power_off(machine.id)
        second.undefine(machine.id)
