"""Faults of the simulated world, and two processes in it. None of this is a real machine: see the contract for those."""

import signal
import struct
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from contracts import MIB, RESERVED, THIN, a_machine, an_id, wait_for

from naos.engines.errors import Busy, EngineError, GuestRefused, Missing, NoSpace, Unreachable
from naos.engines.ports import BladePower, DomainDisk, DomainNic, ExportedDisk, LunSpec, PowerState, VlanSpec
from naos.engines.simulated import Faults, SimulatedRack
from naos.errors import Changed
from naos.inventory.model import load
from naos.lab.inventory import inventory_text
from naos.lab.plan import default_plan

ONE, TWO, ARRAY = "az05-blade1", "az05-blade2", "az05-array"
LOST = Unreachable(ARRAY, "a call", "the answer was lost")

OTHER = """
import sys
from pathlib import Path
from naos.engines.ports import *
from naos.engines.simulated import SimulatedRack
from naos.inventory.model import load
folder, file, lun_id, *rest = sys.argv[1:]
rack = SimulatedRack(Path(folder), load(Path(file)))
array, lun = rack.array("az05-array"), LunSpec(lun_id, 2**40, None, 10900)
"""


@pytest.fixture
def world(tmp_path):
    """A rack, its faults, and a volume with a disk that a machine on the first blade writes to."""
    file = tmp_path / "inventory.toml"
    file.write_text(inventory_text(default_plan(zones=1, blades=2), tmp_path))
    rack = SimulatedRack(tmp_path / "world", load(file))
    array, lun, disk_id = rack.array(ARRAY), LunSpec(an_id(), 2**40, None, 10900), an_id()
    array.create_lun(lun)
    array.ensure_daemon(lun, [])
    array.create_disk(lun, disk_id, 64 * MIB, THIN)
    spec = a_machine(disks=(DomainDisk(disk_id, 0, array.export_disk(lun, disk_id, 1)),))
    one, two = rack.hypervisor(ONE), rack.hypervisor(TWO)
    one.define(spec)
    one.start(spec.id)
    yield SimpleNamespace(
        rack=rack,
        faults=rack.faults,
        array=array,
        lun=lun,
        disk=disk_id,
        spec=spec,
        one=one,
        two=two,
        folder=tmp_path / "world",
        file=file,
    )
    rack.close()


def writes(world, blade=ONE, size=MIB):
    return world.faults.write(blade, world.spec.id, world.disk, size)


def other_process(world, script, *arguments):
    argv = [sys.executable, "-c", OTHER + script, str(world.folder), str(world.file), world.lun.id, *arguments]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said_by(process):
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out


# ------------------------------------------------------------------------------------------------------- a call's answer


def test_an_early_failure_has_done_nothing(world):
    world.faults.fail_next("array.create_disk", LOST)
    disk_id = an_id()
    with pytest.raises(Unreachable, match="the answer was lost"):
        world.array.create_disk(world.lun, disk_id, MIB, THIN)
    assert world.array.disk(world.lun.id, disk_id) is None
    world.array.create_disk(world.lun, disk_id, MIB, THIN)
    assert world.array.disk(world.lun.id, disk_id).size == MIB


def test_a_late_failure_has_done_everything_and_the_call_may_be_repeated(world):
    world.faults.fail_next("array.create_disk", LOST, late=True)
    disk_id = an_id()
    with pytest.raises(Unreachable):
        world.array.create_disk(world.lun, disk_id, MIB, THIN)
    assert world.array.disk(world.lun.id, disk_id).size == MIB
    world.array.create_disk(world.lun, disk_id, MIB, THIN)


def test_a_failure_waits_for_its_engine_and_comes_once(world):
    world.faults.fail_next("hypervisor.start", EngineError(TWO, "starting", "no luck"), engine=TWO)
    other = a_machine()
    world.one.define(other)
    world.one.start(other.id)
    world.two.define(other)
    with pytest.raises(EngineError, match="no luck"):
        world.two.start(other.id)
    world.two.start(other.id)


def test_failures_come_in_the_order_in_which_they_were_left(world):
    for reason in ("first", "second"):
        world.faults.fail_next("array.usage", Busy(ARRAY, "it", reason))
    for reason in ("first", "second"):
        with pytest.raises(Busy, match=reason):
            world.array.usage(world.lun.id)
    assert world.array.usage(world.lun.id).capacity == 2**40


def test_a_late_failure_of_a_call_that_fails_by_itself_is_its_own(world):
    world.faults.fail_next("array.clone_template", LOST, late=True)
    with pytest.raises(Missing):
        world.array.clone_template(world.lun, an_id(), an_id(), MIB)


@pytest.mark.parametrize("method", ["array.explode", "array", "array._call", "disk.create", "array.__init__"])
def test_what_is_no_method_cannot_fail(world, method):
    with pytest.raises(ValueError, match="no method of a port"):
        world.faults.fail_next(method, LOST)


def test_only_engines_errors_can_be_left(world):
    with pytest.raises(ValueError, match=r"engines\.errors"):
        world.faults.fail_next("array.usage", Changed("a", "b"))


# ------------------------------------------------------------------------------------------------------------- lost ways


def test_a_blade_that_is_cut_off_runs_on_until_it_is_fenced(world):
    world.faults.cut(ONE)
    for call in (world.one.domains, world.rack.fabric(ONE).vlans, lambda: world.rack.blade_host(ONE).run(["ls", "/"])):
        with pytest.raises(Unreachable, match="cut off"):
            call()
    assert world.rack.chassis(ONE).power() is BladePower.ON
    assert writes(world)
    address = world.array.export_disk(world.lun, world.disk, 2)
    assert not writes(world)
    moved = a_machine(id=world.spec.id, disks=(DomainDisk(world.disk, 0, address),))
    world.two.define(moved)
    world.two.start(moved.id)
    assert writes(world, TWO)
    world.faults.join(ONE)
    assert world.one.state(world.spec.id) is PowerState.IO_ERROR
    world.one.resume(world.spec.id)
    assert world.one.state(world.spec.id) is PowerState.IO_ERROR  # its export is gone for good
    assert not writes(world)
    assert writes(world, TWO)


def test_an_array_that_is_cut_off(world):
    world.faults.cut(ARRAY)
    with pytest.raises(Unreachable):
        world.array.luns()
    assert writes(world)
    world.faults.join(ARRAY)
    assert world.array.luns() == [world.lun.id]
    with pytest.raises(Missing):
        world.faults.cut("nothing")


def test_a_blade_without_power_keeps_its_definitions_only(world):
    world.rack.fabric(ONE).ensure_vlan(VlanSpec(7))
    world.rack.chassis(ONE).off()
    with pytest.raises(Unreachable, match="power is off"):
        world.one.domains()
    with pytest.raises(Missing):
        writes(world)
    world.rack.chassis(ONE).on()
    assert world.one.domains() == {world.spec.id: PowerState.STOPPED}
    assert world.rack.fabric(ONE).vlans() == {}
    world.one.start(world.spec.id)
    assert writes(world)


def test_a_move_whose_target_is_lost_on_the_way(world):
    def progress(share):
        if share:
            world.faults.cut(TWO)

    with pytest.raises(Unreachable, match="cut off"):
        world.one.migrate(world.spec.id, world.two, progress=progress)
    assert world.one.state(world.spec.id) is PowerState.RUNNING
    world.faults.join(TWO)
    assert world.two.state(world.spec.id) is PowerState.ABSENT
    world.one.migrate(world.spec.id, world.two)
    assert writes(world, TWO)


def test_a_move_that_is_called_off(world):
    with pytest.raises(EngineError, match="called off"):
        world.one.migrate(world.spec.id, world.two, progress=lambda share: world.one.abort_migration(world.spec.id))
    assert world.one.state(world.spec.id) is PowerState.RUNNING
    assert writes(world)


# ---------------------------------------------------------------------------------------------------- daemons and space


def test_a_killed_daemon_makes_guests_wait_and_lose_nothing(world):
    seen = []
    events = world.one.events()
    listener = threading.Thread(target=lambda: seen.extend(event.kind for event in events), daemon=True)
    listener.start()
    assert writes(world)
    world.faults.kill_daemon(world.lun.id)
    assert world.one.state(world.spec.id) is PowerState.IO_ERROR
    assert not writes(world)
    with pytest.raises(Unreachable):
        world.array.contents(world.lun.id)
    with pytest.raises(GuestRefused):
        world.one.detach_disk(world.spec.id, world.disk)
    world.one.resume(world.spec.id)
    assert world.one.state(world.spec.id) is PowerState.IO_ERROR
    assert world.array.ensure_daemon(world.lun, [ExportedDisk(world.disk, 1)]) is True
    assert world.one.state(world.spec.id) is PowerState.IO_ERROR  # nobody resumes it but the controller
    world.one.resume(world.spec.id)
    assert world.one.state(world.spec.id) is PowerState.RUNNING
    assert writes(world)
    assert world.one.statistics(world.spec.id).block[world.disk]["write_bytes"] == 2 * MIB
    wait_for(lambda: seen == ["io-error", "resumed", "io-error", "resumed"], "the events of all that")
    world.one.close()
    listener.join(20)


def test_a_daemon_that_ends_takes_its_jobs_with_it(world, tmp_path):
    image, template_id, clone = tmp_path / "i.qcow2", an_id(), an_id()
    image.write_bytes(struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 32 * MIB) + bytes(2**20))
    world.array.stage_template(world.lun.id, template_id, image)
    world.array.clone_template(world.lun, clone, template_id, 0)
    first = world.array.flatten(world.lun, clone)
    while (job := world.array.flatten(world.lun, clone)).done == first.done:
        assert job.running
    world.faults.kill_daemon(world.lun.id)
    world.array.ensure_daemon(world.lun, [])
    assert world.array.flatten(world.lun, clone).done == first.done
    assert world.array.disk(world.lun.id, clone).backing == template_id


def test_a_full_volume(world, tmp_path):
    image, template_id, clone = tmp_path / "i.qcow2", an_id(), an_id()
    image.write_bytes(struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 32 * MIB) + bytes(2**20))
    world.array.stage_template(world.lun.id, template_id, image)
    world.array.clone_template(world.lun, clone, template_id, 0)
    world.faults.fill(world.lun.id, left=4096)
    assert world.array.usage(world.lun.id).free == 4096
    for call in (
        lambda: world.array.create_disk(world.lun, an_id(), MIB, RESERVED),
        lambda: world.array.create_disk(world.lun, an_id(), MIB, THIN),
        lambda: world.array.copy_disk(world.lun, world.disk, an_id()),
        lambda: world.array.stage_template(world.lun.id, an_id(), image),
    ):
        with pytest.raises(NoSpace, match="4096 bytes free"):
            call()
    job = world.array.flatten(world.lun, clone)
    assert (job.running, job.error) == (False, "No space left on device")
    assert not writes(world)
    assert world.one.state(world.spec.id) is PowerState.IO_ERROR
    world.faults.empty(world.lun.id)
    world.one.resume(world.spec.id)
    assert writes(world)
    while world.array.flatten(world.lun, clone).running:
        pass
    assert world.array.disk(world.lun.id, clone).backing is None


def test_a_volume_that_grows_makes_room(world):
    world.faults.fill(world.lun.id)
    assert not writes(world)
    world.array.resize_lun(LunSpec(world.lun.id, 2**41, None, world.lun.port))
    world.one.resume(world.spec.id)
    assert writes(world)


def test_a_crashed_machine(world):
    seen = []
    events = world.one.events()
    listener = threading.Thread(target=lambda: seen.extend(event.kind for event in events), daemon=True)
    listener.start()
    world.faults.crash(ONE, world.spec.id)
    assert world.one.state(world.spec.id) is PowerState.CRASHED
    wait_for(lambda: seen == ["crashed"], "the event of the crash")
    with pytest.raises(Missing):
        world.faults.crash(ONE, world.spec.id)
    world.one.start(world.spec.id)
    assert world.one.state(world.spec.id) is PowerState.RUNNING
    assert writes(world)
    world.one.close()
    listener.join(20)
    assert not listener.is_alive()


def test_memory_of_a_blade_is_finite(world):
    facts = world.two.facts()
    spec = a_machine(memory=facts.free_memory + 1)
    world.two.define(spec)
    with pytest.raises(NoSpace, match=f"{facts.free_memory} are free"):
        world.two.start(spec.id)
    world.two.resize(spec.id, vcpus=1, cores_per_socket=1, memory=facts.free_memory)
    world.two.start(spec.id)
    assert world.two.facts().free_memory == 0


def test_guests_addresses_are_learned_over_both_blades(world):
    blades = {ONE: "10.213.1.11", TWO: "10.213.1.12"}
    for name, other in ((ONE, TWO), (TWO, ONE)):
        bridge = world.rack.fabric(name).ensure_vlan(VlanSpec(9, [blades[other]]))
    nic = DomainNic(an_id(), 0, "02:00:00:00:00:09", bridge)
    world.one.attach_nic(world.spec.id, nic)
    assert world.rack.fabric(TWO).learned_macs(9) == {nic.mac: "nx9"}
    assert list(world.rack.fabric(ONE).learned_macs(9)) == [nic.mac]
    world.rack.fabric(ONE).ensure_vlan(VlanSpec(9, []))  # one side that forgets the other is enough
    assert world.rack.fabric(TWO).learned_macs(9) == {}


# --------------------------------------------------------------------------------------------------------- two processes


def test_another_process_sees_and_changes_the_same_world(world):
    seen = []
    events = world.one.events()
    listener = threading.Thread(target=lambda: seen.extend(event.kind for event in events), daemon=True)
    listener.start()
    script = """
blade = rack.hypervisor("az05-blade1")
print(*blade.domains().values())
blade.power_off(next(iter(blade.domains())))
rack.faults.fail_next("array.usage", __import__("naos.engines.errors").engines.errors.Busy("a", "b", "from afar"))
rack.close()
"""
    assert said_by(other_process(world, script)) == "running\n"
    assert world.one.state(world.spec.id) is PowerState.STOPPED
    wait_for(lambda: "stopped" in seen, "the other process's event")
    with pytest.raises(Busy, match="from afar"):
        world.array.usage(world.lun.id)
    world.one.close()
    listener.join(20)


def test_faults_of_a_world_that_another_process_works_with(world):
    faults = Faults.of(world.folder)
    faults.cut(ONE)
    faults.close()
    with pytest.raises(Unreachable):
        world.one.domains()


def test_two_processes_at_once_lose_nothing(world):
    script = """
import uuid
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    array.create_disk(lun, str(uuid.uuid4()), 2**20, Provisioning.DYNAMIC)
"""
    processes = [other_process(world, script) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        said_by(process)
    assert len(world.array.contents(world.lun.id).disks) == 81


def test_a_process_that_is_killed_in_a_call_leaves_neither_half_a_change_nor_a_lock(world):
    script = """
with rack._store.transaction() as db:
    db.execute("DELETE FROM disks")
    print("inside", flush=True)
    sys.stdin.readline()
"""
    process = other_process(world, script)
    assert process.stdout.readline() == "inside\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert world.array.contents(world.lun.id).disks == [world.disk]
    assert writes(world)
