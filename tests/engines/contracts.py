"""What every driver of a port does, written against `engines.ports` alone: one list of rules a port.

A rule takes a Bench and leaves it as it was. Drivers are tried by parametrizing over `named(ARRAY)` and the like; a test
that has nothing but an array calls `hold_array`.
"""

import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from naos.engines.errors import Busy, CommandFailed, EngineError, Missing, NoSpace, Unreachable, Unsupported
from naos.engines.ports import (
    Array,
    BladePower,
    DomainDisk,
    DomainNic,
    DomainSpec,
    ExportedDisk,
    Hypervisor,
    LunSpec,
    PowerState,
    Provisioning,
    Rack,
    VlanSpec,
)

MIB = 2**20
THIN, RESERVED = Provisioning.DYNAMIC, Provisioning.STATIC_DIFFERED
TAG = 3021


@dataclass
class Bench:
    """What rules are tried on: an array and two blades of its zone, healthy and empty.

    image: a whole qcow2 of 32 MiB. folder: an existing folder of the array's host that is empty.
    """

    rack: Rack
    array_name: str
    one: str
    two: str
    image: Path
    folder: str = "/"
    ports: Iterator[int] = field(default_factory=lambda: iter(range(10900, 10999)))

    @property
    def array(self) -> Array:
        return self.rack.array(self.array_name)

    @property
    def hypervisor(self) -> Hypervisor:
        return self.rack.hypervisor(self.one)


Rule = Callable[[Bench], None]


def named(rules: Sequence[Rule]) -> list:
    """For `pytest.mark.parametrize`."""
    return [pytest.param(rule, id=rule.__name__) for rule in rules]


def hold_array(array: Array, image: Path, ports: Iterator[int]) -> None:
    """Every rule of the array's port, one after the other; for drivers that come without a rack."""

    class OnlyArray:
        def array(self, _name: str) -> Array:
            return array

    for rule in ARRAY:
        rule(Bench(OnlyArray(), "array", "", "", image, ports=ports))


def an_id() -> str:
    return str(uuid.uuid4())


def an_image(path: Path) -> None:
    """A whole qcow2 of 32 MiB with something in it."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(32 * MIB)], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P 7 0 {MIB}", path], check=True, capture_output=True)


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


# ---------------------------------------------------------------------------------------------------------------- array


@contextmanager
def served_lun(bench: Bench, capacity: int = 512 * MIB) -> Iterator[LunSpec]:
    """A volume whose daemon runs; afterwards it is gone with what is on it."""
    array, lun = bench.array, LunSpec(an_id(), capacity, 1000, next(bench.ports))
    array.create_lun(lun)
    assert array.ensure_daemon(lun, []) is True
    try:
        yield lun
    finally:
        array.ensure_daemon(lun, [])
        held = array.contents(lun.id)
        for disk_id in held.disks:
            array.delete_disk(lun.id, disk_id)
        array.delete_lun(lun.id)
        assert lun.id not in array.luns()


def volumes_come_grow_and_go(bench: Bench) -> None:
    array, lun = bench.array, LunSpec(an_id(), 512 * MIB, None, next(bench.ports))
    for _ in range(2):
        array.create_lun(lun)
    assert array.luns().count(lun.id) == 1
    with pytest.raises(Unreachable, match="daemon does not run"):
        array.usage(lun.id)
    assert array.ensure_daemon(lun, []) is True
    assert array.ensure_daemon(lun, []) is False
    before = array.usage(lun.id)
    assert before.capacity == 512 * MIB == before.used + before.free
    larger = replace(lun, capacity=768 * MIB)
    for _ in range(2):
        array.resize_lun(larger)
    assert array.usage(lun.id).free > before.free
    with pytest.raises(Unsupported, match="never shrinks"):
        array.resize_lun(lun)
    for _ in range(2):
        array.delete_lun(lun.id)
    assert lun.id not in array.luns()
    for call in (array.usage, array.contents):
        with pytest.raises(Missing):
            call(lun.id)


def a_volume_that_holds_a_disk_stays(bench: Bench) -> None:
    array, disk_id = bench.array, an_id()
    with served_lun(bench) as lun:
        array.create_disk(lun, disk_id, 16 * MIB, THIN)
        with pytest.raises(Busy):
            array.delete_lun(lun.id)
        array.stop_daemon(lun.id)
        with pytest.raises(Busy):
            array.delete_lun(lun.id)
        assert lun.id in array.luns()


def a_port_is_one_volumes(bench: Bench) -> None:
    with served_lun(bench) as lun:
        other = LunSpec(an_id(), 512 * MIB, None, lun.port)
        with pytest.raises(Busy, match=str(lun.port)):  # noqa: PT012 - the first that can know says so
            bench.array.create_lun(other)
            bench.array.ensure_daemon(other, [])
        bench.array.delete_lun(other.id)


def disks_come_grow_and_go(bench: Bench) -> None:
    array, disk_id = bench.array, an_id()
    with served_lun(bench) as lun:
        assert array.disk(lun.id, disk_id) is None
        for _ in range(2):
            array.create_disk(lun, disk_id, 16 * MIB, THIN)
        with pytest.raises(Busy):
            array.create_disk(lun, disk_id, 32 * MIB, THIN)
        for _ in range(2):
            array.resize_disk(lun, disk_id, 24 * MIB)
        with pytest.raises(Unsupported, match="never shrinks"):
            array.resize_disk(lun, disk_id, 16 * MIB)
        facts = array.disk(lun.id, disk_id)
        assert (facts.id, facts.size, facts.backing, list(facts.snapshots)) == (disk_id, 24 * MIB, None, [])
        for _ in range(2):
            array.delete_disk(lun.id, disk_id)
        assert array.disk(lun.id, disk_id) is None
        with pytest.raises(Missing):
            array.resize_disk(lun, disk_id, 32 * MIB)


def reserved_space_must_be_there(bench: Bench) -> None:
    array, disk_id = bench.array, an_id()
    with served_lun(bench) as lun:
        free = array.usage(lun.id).free
        for provisioning in (RESERVED, Provisioning.STATIC_IMMEDIATE):
            with pytest.raises(NoSpace):
                array.create_disk(lun, disk_id, free + 64 * MIB, provisioning)
            assert array.disk(lun.id, disk_id) is None
        array.create_disk(lun, disk_id, free + 64 * MIB, THIN)
        reserved = an_id()
        array.create_disk(lun, reserved, 64 * MIB, RESERVED)
        assert free - array.usage(lun.id).free >= 64 * MIB


def clones_share_their_template_until_flattened(bench: Bench) -> None:
    array, template_id, disk_id = bench.array, an_id(), an_id()
    with served_lun(bench) as lun:
        with pytest.raises(Missing):
            array.clone_template(lun, disk_id, template_id, 0)
        with pytest.raises(Missing):
            array.stage_template(lun.id, template_id, bench.image.with_name("absent"))
        for _ in range(2):
            array.stage_template(lun.id, template_id, bench.image)
        assert array.template_staged(lun.id, template_id)
        assert array.contents(lun.id).templates == [template_id]
        for _ in range(2):
            array.clone_template(lun, disk_id, template_id, 0)
        facts = array.disk(lun.id, disk_id)
        assert (facts.size, facts.backing) == (32 * MIB, template_id)
        with pytest.raises(Busy):
            array.drop_template(lun.id, template_id)
        while (job := array.flatten(lun, disk_id)).running:
            assert 0 <= job.done <= job.total
        assert job.error is None
        assert array.disk(lun.id, disk_id).backing is None
        assert not array.flatten(lun, disk_id).running
        for _ in range(2):
            array.drop_template(lun.id, template_id)
        assert not array.template_staged(lun.id, template_id)


def only_ids_become_names(bench: Bench) -> None:
    array = bench.array
    with served_lun(bench) as lun:
        for name in ("", "..", "../../etc/passwd", "disk", an_id().upper(), an_id().replace("-", ""), f"{an_id()}/x"):
            for call in (
                lambda name: array.create_lun(replace(lun, id=name)),
                lambda name: array.create_disk(lun, name, 16 * MIB, THIN),
                lambda name: array.stage_template(lun.id, name, bench.image),
            ):
                with pytest.raises(Unsupported):
                    call(name)
        assert array.contents(lun.id).disks == []


def a_copy_is_a_disk_of_its_own(bench: Bench) -> None:
    array, source, copy = bench.array, an_id(), an_id()
    with served_lun(bench) as lun:
        with pytest.raises(Missing):
            array.copy_disk(lun, source, copy)
        array.create_disk(lun, source, 16 * MIB, THIN)
        array.export_disk(lun, source, 1)
        for _ in range(2):
            array.copy_disk(lun, source, copy)
        array.delete_disk(lun.id, source)
        facts = array.disk(lun.id, copy)
        assert (facts.size, facts.backing) == (16 * MIB, None)


def one_epoch_is_exported_and_never_an_older_one(bench: Bench) -> None:
    array, disk_id = bench.array, an_id()
    with served_lun(bench) as lun:
        with pytest.raises(Missing):
            array.export_disk(lun, disk_id, 1)
        array.create_disk(lun, disk_id, 16 * MIB, THIN)
        first = array.export_disk(lun, disk_id, 1)
        assert array.export_disk(lun, disk_id, 1) == first
        second = array.export_disk(lun, disk_id, 2)
        assert (second.host, second.port) == (first.host, lun.port)
        assert second.name != first.name
        assert array.contents(lun.id).exports == {disk_id: 2}
        with pytest.raises(Busy, match="newer epoch 2"):
            array.export_disk(lun, disk_id, 1)
        for _ in range(2):
            array.fence_disk(lun.id, disk_id)
        array.fence_disk(lun.id, an_id())
        assert array.contents(lun.id).exports == {}


def a_daemon_comes_back_with_exactly_its_exports(bench: Bench) -> None:
    array, kept, other = bench.array, an_id(), an_id()
    with served_lun(bench) as lun:
        for disk_id in (kept, other):
            array.create_disk(lun, disk_id, 16 * MIB, THIN)
            array.export_disk(lun, disk_id, 1)
        for _ in range(2):
            array.stop_daemon(lun.id)
        for call in (
            lambda: array.contents(lun.id),
            lambda: array.usage(lun.id),
            lambda: array.disk(lun.id, kept),
            lambda: array.template_staged(lun.id, kept),
            lambda: array.stage_template(lun.id, an_id(), bench.image),
            lambda: array.drop_template(lun.id, kept),
            lambda: array.create_disk(lun, an_id(), 16 * MIB, THIN),
            lambda: array.resize_disk(lun, kept, 32 * MIB),
            lambda: array.export_disk(lun, kept, 2),
            lambda: array.flatten(lun, kept),
            lambda: array.snapshot_disks(lun, an_id(), [kept]),
            lambda: array.limit_lun(lun),
        ):
            with pytest.raises(Unreachable):
                call()
        array.fence_disk(lun.id, kept)  # nothing of it is exported, for certain
        array.cancel_jobs(lun.id, kept)
        assert array.ensure_daemon(lun, [ExportedDisk(kept, 4)]) is True
        assert array.contents(lun.id).exports == {kept: 4}
        assert array.ensure_daemon(lun, [ExportedDisk(kept, 4), ExportedDisk(other, 1)]) is False
        assert array.contents(lun.id).exports == {kept: 4, other: 1}
        array.limit_lun(replace(lun, iops=2000))
        with pytest.raises(Missing):
            array.ensure_daemon(lun, [ExportedDisk(an_id(), 1)])


def snapshots_of_several_disks(bench: Bench) -> None:
    array, disks, snapshot = bench.array, [an_id(), an_id()], an_id()
    with served_lun(bench) as lun:
        for disk_id in disks:
            array.create_disk(lun, disk_id, 16 * MIB, THIN)
        array.export_disk(lun, disks[0], 1)
        for _ in range(2):
            array.snapshot_disks(lun, snapshot, disks)
        assert [list(array.disk(lun.id, disk_id).snapshots) for disk_id in disks] == [[snapshot], [snapshot]]
        with pytest.raises(Busy):
            array.revert_disks(lun, snapshot, disks)
        array.fence_disk(lun.id, disks[0])
        array.resize_disk(lun, disks[1], 24 * MIB)
        for _ in range(2):
            array.revert_disks(lun, snapshot, disks)
        assert [array.disk(lun.id, disk_id).size for disk_id in disks] == [16 * MIB, 16 * MIB]
        for _ in range(2):
            array.delete_snapshot(lun, snapshot, disks)
        assert list(array.disk(lun.id, disks[0]).snapshots) == []
        with pytest.raises(Missing):
            array.revert_disks(lun, snapshot, disks)


ARRAY: Sequence[Rule] = (
    volumes_come_grow_and_go,
    a_volume_that_holds_a_disk_stays,
    a_port_is_one_volumes,
    disks_come_grow_and_go,
    reserved_space_must_be_there,
    clones_share_their_template_until_flattened,
    a_copy_is_a_disk_of_its_own,
    only_ids_become_names,
    one_epoch_is_exported_and_never_an_older_one,
    a_daemon_comes_back_with_exactly_its_exports,
    snapshots_of_several_disks,
)


# ----------------------------------------------------------------------------------------------------------- hypervisor


def a_machine(**changed: object) -> DomainSpec:
    found = {"id": an_id(), "title": "Ünï <☂> & co", "vcpus": 1, "cores_per_socket": 1, "memory": 64 * MIB}
    return DomainSpec(**(found | changed))


@contextmanager
def defined(bench: Bench, spec: DomainSpec) -> Iterator[Hypervisor]:
    """Blade one with the machine; afterwards no blade has it."""
    bench.hypervisor.define(spec)
    try:
        yield bench.hypervisor
    finally:
        for blade in (bench.one, bench.two):
            bench.rack.hypervisor(blade).power_off(spec.id)
            bench.rack.hypervisor(blade).undefine(spec.id)


def a_machine_that_is_not_there(bench: Bench) -> None:
    blade, domain_id = bench.hypervisor, an_id()
    assert blade.state(domain_id) is PowerState.ABSENT
    assert domain_id not in blade.domains()
    blade.power_off(domain_id)
    blade.undefine(domain_id)
    for call in (blade.start, blade.xml, blade.resume, blade.reset, blade.shutdown, blade.serial_log, blade.statistics):
        with pytest.raises(Missing):
            call(domain_id)


def definitions_are_kept_whole(bench: Bench) -> None:
    spec = a_machine()
    with defined(bench, spec) as blade:
        first = blade.define(spec)
        assert blade.domains()[spec.id] is PowerState.STOPPED
        assert spec.id in first
        assert "Ünï &lt;☂&gt; &amp; co" in blade.xml(spec.id)
        for _ in range(2):
            blade.undefine(spec.id)
        assert blade.state(spec.id) is PowerState.ABSENT
        blade.define_xml(first.replace("</domain>", "<description>told by others</description></domain>"))
        assert blade.state(spec.id) is PowerState.STOPPED
        changed = blade.define(replace(spec, title="Another", vcpus=2))
        assert "told by others" in changed
        assert "Another" in changed
        with pytest.raises(EngineError):
            blade.define_xml("<domain")
        for name in ("", "..", "web-1", spec.id.upper()):
            with pytest.raises(Unsupported):
                blade.define(replace(spec, id=name))


def a_machines_power(bench: Bench) -> None:
    spec = a_machine()
    with defined(bench, spec) as blade:
        for call in (blade.statistics, blade.resume, blade.reset, blade.serial):
            with pytest.raises(EngineError):
                call(spec.id)
        for _ in range(2):
            blade.start(spec.id)
        assert blade.state(spec.id) is PowerState.RUNNING
        assert blade.domains()[spec.id] is PowerState.RUNNING
        with pytest.raises(Busy):
            blade.undefine(spec.id)
        blade.resume(spec.id)
        blade.reset(spec.id)
        assert blade.state(spec.id) is PowerState.RUNNING
        assert blade.statistics(spec.id).memory_actual == spec.memory
        assert "serial" in {endpoint.kind for endpoint in blade.endpoints(spec.id)}
        stream = blade.serial(spec.id)
        stream.close()
        assert blade.agent_ping(spec.id) in {True, False}
        for _ in range(2):
            blade.power_off(spec.id)
        assert blade.state(spec.id) is PowerState.STOPPED


def a_blade_tells_its_facts(bench: Bench) -> None:
    facts = bench.hypervisor.facts()
    assert facts.hostname == bench.one
    assert 0 < facts.free_memory <= facts.memory
    assert facts.cpus > 0
    assert facts.acceleration


def disks_of_a_machine(bench: Bench) -> None:
    array, boot, data = bench.array, an_id(), an_id()
    with served_lun(bench) as lun:
        for disk_id in (boot, data):
            array.create_disk(lun, disk_id, 16 * MIB, THIN)
        first, second = (
            DomainDisk(disk_id, unit, array.export_disk(lun, disk_id, 1)) for unit, disk_id in enumerate((boot, data))
        )
        spec = a_machine(disks=(first,))
        with defined(bench, spec) as blade:
            for _ in range(2):
                blade.attach_disk(spec.id, second)
            assert blade.xml(spec.id).count(data) >= 1
            blade.start(spec.id)
            assert set(blade.statistics(spec.id).block) == {boot, data}
            blade.disk_resized(spec.id, data, 16 * MIB)
            with pytest.raises(Busy):
                blade.attach_disk(spec.id, replace(second, source=replace(second.source, name=f"{data}.9")))
            blade.power_off(spec.id)
            for _ in range(2):
                blade.detach_disk(spec.id, data)
            assert data not in blade.xml(spec.id)
            array.export_disk(lun, boot, 2)  # what the machine knows is an older epoch from now on
            with pytest.raises(EngineError):
                blade.start(spec.id)
            assert blade.state(spec.id) is PowerState.STOPPED


def adapters_of_a_machine(bench: Bench) -> None:
    fabric = bench.rack.fabric(bench.one)
    bridge = fabric.ensure_vlan(VlanSpec(TAG))
    nic = DomainNic(an_id(), 0, "02:00:0a:00:00:01", bridge)
    spec = a_machine(nics=(nic,))
    with defined(bench, spec) as blade:
        blade.start(spec.id)
        assert set(blade.statistics(spec.id).net) == {nic.mac}
        for _ in range(2):
            blade.update_nic(spec.id, replace(nic, connected=False))
        with pytest.raises(Missing):
            blade.update_nic(spec.id, replace(nic, id=an_id(), mac="02:00:0a:00:00:02"))
        with pytest.raises(Busy):
            fabric.remove_vlan(TAG)
        blade.power_off(spec.id)
        other = DomainNic(an_id(), 1, "02:00:0a:00:00:03", bridge)
        for _ in range(2):
            blade.attach_nic(spec.id, other)
        assert other.mac in blade.xml(spec.id)
        for _ in range(2):
            blade.detach_nic(spec.id, other.id)
        assert other.mac not in blade.xml(spec.id)
        fabric.remove_vlan(TAG)
        with pytest.raises(EngineError):
            blade.start(spec.id)
        assert blade.state(spec.id) is PowerState.STOPPED


def sizes_of_a_machine(bench: Bench) -> None:
    spec = a_machine()
    with defined(bench, spec) as blade:
        for _ in range(2):
            blade.resize(spec.id, vcpus=2, cores_per_socket=2, memory=96 * MIB)
        blade.start(spec.id)
        assert blade.statistics(spec.id).memory_actual == 96 * MIB
        before = blade.xml(spec.id)
        with pytest.raises(Unsupported):
            blade.resize(spec.id, vcpus=64, cores_per_socket=1, memory=96 * MIB)
        assert blade.xml(spec.id) == before


def events_of_a_machine(bench: Bench) -> None:
    events = bench.hypervisor.events()
    kinds: list[str] = []

    def listen() -> None:
        for event in events:
            assert event.blade == bench.one
            if event.domain_id == spec.id:
                kinds.append(event.kind)

    listener = threading.Thread(target=listen, daemon=True)
    spec = a_machine()
    listener.start()
    with defined(bench, spec) as blade:
        wait_for(lambda: "defined" in kinds, "an event of the definition")
        blade.start(spec.id)
        wait_for(lambda: "started" in kinds, "an event of the start")
        blade.power_off(spec.id)
        wait_for(lambda: "stopped" in kinds, "an event of the stop")
    wait_for(lambda: "undefined" in kinds, "an event of the end")
    order = [kinds.index(kind) for kind in ("defined", "started", "stopped", "undefined")]
    assert order == sorted(order)
    bench.hypervisor.close()
    listener.join(20)
    assert not listener.is_alive()


def a_machine_moves_while_it_runs(bench: Bench) -> None:
    spec, shares = a_machine(), []
    target = bench.rack.hypervisor(bench.two)
    with defined(bench, spec) as blade:
        blade.start(spec.id)
        blade.abort_migration(spec.id)  # nothing moves, so nothing happens
        for _ in range(2):
            blade.migrate(spec.id, target, progress=shares.append)
        assert target.state(spec.id) is PowerState.RUNNING
        assert blade.state(spec.id) is PowerState.ABSENT
        assert spec.id in target.xml(spec.id)
        assert all(0 <= share <= 1 for share in shares)
        target.power_off(spec.id)
        assert target.state(spec.id) is PowerState.STOPPED
        with pytest.raises(EngineError):
            blade.migrate(an_id(), target)


HYPERVISOR: Sequence[Rule] = (
    a_machine_that_is_not_there,
    definitions_are_kept_whole,
    a_machines_power,
    a_blade_tells_its_facts,
    disks_of_a_machine,
    adapters_of_a_machine,
    sizes_of_a_machine,
    a_machine_moves_while_it_runs,
    events_of_a_machine,
)


# ------------------------------------------------------------------------------------------------ fabric, chassis, host


def vlans_come_change_and_go(bench: Bench) -> None:
    fabric = bench.rack.fabric(bench.one)
    peers = ["10.99.0.2", "10.99.0.1"]
    for _ in range(2):
        assert fabric.ensure_vlan(VlanSpec(TAG, peers)) == fabric.bridge(TAG)
    assert fabric.vlans()[TAG] == sorted(peers)
    assert fabric.learned_macs(TAG) == {}
    fabric.ensure_vlan(VlanSpec(TAG, ["10.99.0.3"]))
    assert fabric.vlans()[TAG] == ["10.99.0.3"]
    fabric.ensure_vlan(VlanSpec(TAG + 1))
    for _ in range(2):
        fabric.remove_vlan(TAG)
    assert TAG not in fabric.vlans()
    assert fabric.vlans()[TAG + 1] == []
    fabric.remove_vlan(TAG + 1)
    with pytest.raises(Missing):
        fabric.learned_macs(TAG)


def only_tags_of_8021q(bench: Bench) -> None:
    fabric = bench.rack.fabric(bench.one)
    assert fabric.bridge(1) != fabric.bridge(4094)
    for tag in (0, -1, 4095):
        for call in (fabric.bridge, fabric.remove_vlan, lambda tag: fabric.ensure_vlan(VlanSpec(tag))):
            with pytest.raises(Unsupported, match="4094"):
                call(tag)


def power_goes_and_comes(bench: Bench) -> None:
    chassis = bench.rack.chassis(bench.two)
    assert chassis.power() is BladePower.ON
    for order, state in ((chassis.on, BladePower.ON), (chassis.off, BladePower.OFF), (chassis.off, BladePower.OFF)):
        order()
        assert chassis.power() is state
    with pytest.raises(Unreachable):
        bench.rack.blade_host(bench.two).run(["ls", "/"])
    for order in (chassis.reset, chassis.reset, chassis.on):
        order()
        assert chassis.power() is BladePower.ON
    assert bench.rack.blade_host(bench.two).run(["ls", "/"], check=False).code in {0, 2}


def files_on_a_host(bench: Bench) -> None:
    host, folder = bench.rack.array_host(bench.array_name), f"{bench.folder}/deep/er"
    back = bench.image.with_name("back")
    for _ in range(2):
        host.run(["mkdir", "-p", folder])
    for _ in range(2):
        host.put(bench.image, f"{folder}/file")
    assert host.run(["ls", folder]).stdout == "file\n"
    host.get(f"{folder}/file", back)
    assert back.read_bytes() == bench.image.read_bytes()
    for _ in range(2):
        host.run(["rm", "-f", f"{folder}/file"])
    assert host.run(["ls", folder]).stdout == ""
    with pytest.raises(Missing):
        host.get(f"{folder}/file", back)
    with pytest.raises(Missing):
        host.put(bench.image.with_name("absent"), f"{folder}/file")
    with pytest.raises(EngineError):
        host.put(bench.image, f"{folder}/no/such/file")
    assert host.run(["ls", folder]).stdout == ""
    failed = host.run(["ls", f"{folder}/nothing"], check=False)
    assert failed.code != 0
    assert "nothing" in failed.stderr
    with pytest.raises(CommandFailed, match="nothing") as told:
        host.run(["ls", f"{folder}/nothing"])
    assert told.value.where == host.name


FABRIC: Sequence[Rule] = (vlans_come_change_and_go, only_tags_of_8021q)
CHASSIS: Sequence[Rule] = (power_goes_and_comes,)
HOST: Sequence[Rule] = (files_on_a_host,)
