"""What every hypervisor does with machines."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from contract_bench import MIB, TAG, THIN, Bench, Rule, an_id, served_lun, wait_for

from naos.engines.errors import Busy, EngineError, Missing, Unsupported
from naos.engines.ports import (
    Array,
    DomainCdrom,
    DomainController,
    DomainDisk,
    DomainNic,
    DomainSpec,
    Hypervisor,
    LunSpec,
    NbdAddress,
    PowerState,
    VlanSpec,
)


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
        assert not blade.was_ended(spec.id)
        for _ in range(2):
            blade.power_off(spec.id)
        assert blade.state(spec.id) is PowerState.STOPPED
        assert blade.was_ended(spec.id)
        assert not blade.was_ended(an_id())


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
            assert {boot, data} <= set(blade.disk_counters())
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


def a_disk_moves_while_its_machine_runs(bench: Bench) -> None:
    array, boot = bench.array, an_id()
    with served_lun(bench) as lun, served_lun(bench) as other:
        old, new = (DomainDisk(boot, 0, _empty(array, volume, boot)) for volume in (lun, other))
        spec = a_machine(disks=(old,))
        with defined(bench, spec) as blade:
            with pytest.raises(EngineError):  # it does not run
                blade.mirror_disk(spec.id, new)
            blade.start(spec.id)
            blade.drop_mirror(spec.id, boot)  # there is none, so nothing happens
            with pytest.raises(EngineError):
                blade.switch_disk(spec.id, new)
            blade.mirror_disk(spec.id, new)
            blade.drop_mirror(spec.id, boot)
            assert blade.disk_source(spec.id, boot) == old.source
            shares = []
            for _ in range(2):
                blade.mirror_disk(spec.id, new, speed=64 * MIB, progress=shares.append)
            assert all(0 <= share <= 1 for share in shares)
            for _ in range(2):
                blade.switch_disk(spec.id, new)
            assert blade.disk_source(spec.id, boot) == new.source
            blade.mirror_disk(spec.id, new)  # it is there
            array.delete_disk(lun.id, boot)
            for _ in range(2):
                blade.pause(spec.id)
            assert blade.state(spec.id) is PowerState.PAUSED
            blade.resume(spec.id)
            assert blade.state(spec.id) is PowerState.RUNNING
            blade.power_off(spec.id)
            assert blade.disk_source(spec.id, boot) == new.source
            assert blade.disk_source(spec.id, an_id()) is None
            with pytest.raises(EngineError):
                blade.pause(spec.id)
        array.delete_disk(other.id, boot)


def _empty(array: Array, lun: LunSpec, disk_id: str) -> NbdAddress:
    array.create_disk(lun, disk_id, 16 * MIB, THIN)
    return array.export_disk(lun, disk_id, 1)


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


def controllers_and_drives_of_a_machine(bench: Bench) -> None:
    host, image = bench.rack.blade_host(bench.one), "/var/lib/libvirt/naos/media/contract.iso"
    host.run(["mkdir", "-p", "/var/lib/libvirt/naos/media"])
    host.put(bench.image, image)
    scsi, wide = (DomainController(an_id(), "scsi", "virtio-scsi", index) for index in (0, 1))
    usb, lsi = DomainController(an_id(), "usb", "qemu-xhci", 0), DomainController(an_id(), "scsi", "lsilogic", 2)
    ide, plugged = DomainCdrom(an_id(), "ide", 1, image), DomainCdrom(an_id(), "scsi", 3)
    spec = a_machine(controllers=(scsi,), cdroms=(ide,))
    with defined(bench, spec) as blade:
        blade.start(spec.id)
        for _ in range(2):
            blade.attach_controller(spec.id, wide)
            blade.put_cdrom(spec.id, plugged)
            blade.put_cdrom(spec.id, replace(plugged, path=image))
        for refused in (
            lambda: blade.attach_controller(spec.id, usb),
            lambda: blade.attach_controller(spec.id, lsi),
            lambda: blade.put_cdrom(spec.id, DomainCdrom(an_id(), "ide", 2)),
        ):
            with pytest.raises(Unsupported):
                refused()
        blade.put_cdrom(spec.id, replace(ide, path=None))
        assert blade.xml(spec.id).count(image) == 1
        blade.power_off(spec.id)
        for _ in range(2):
            blade.attach_controller(spec.id, usb)
            blade.detach_cdrom(spec.id, plugged.id)
            blade.detach_controller(spec.id, wide.id)
        text = blade.xml(spec.id)
        assert (usb.id in text, scsi.id in text, ide.id in text) == (True, True, True)
        assert (wide.id in text, plugged.id in text, image in text) == (False, False, False)
        blade.start(spec.id)
    host.run(["rm", "-f", image])


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
    a_disk_moves_while_its_machine_runs,
    adapters_of_a_machine,
    controllers_and_drives_of_a_machine,
    sizes_of_a_machine,
    a_machine_moves_while_it_runs,
    events_of_a_machine,
)
