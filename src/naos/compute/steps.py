"""The steps on one machine that activities are made of.

Every step takes the world and ids, looks before it acts, and can be repeated after a crash.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from naos import tags
from naos.compute import choosing, guest_seed, guest_systems, hooks, media, seeds
from naos.compute.models import AffinityMember, MachineGpus, MachineProcessor, MachineSample, Power, VirtualMachine
from naos.compute.placement import Need
from naos.engines.errors import Unreachable
from naos.engines.ports import (
    DomainCdrom,
    DomainController,
    DomainDisk,
    DomainNic,
    DomainSpec,
    MigrationLimits,
    PowerState,
)
from naos.errors import Changed, Unknown
from naos.fleet import cpools, gpus, processors
from naos.fleet.models import Cpool
from naos.lifecycle import Lifecycle
from naos.network import adapters, vlans
from naos.network.models import Adapter, Vlan
from naos.storage import controllers, disks, luns, snapshots, space, swap
from naos.storage.models import Disk, VirtualController
from naos.world import World

AT_REST = (PowerState.STOPPED, PowerState.CRASHED)
"""Defined, and no process of it is left."""


def row(world: World, machine_id: str) -> VirtualMachine:
    """The machine as it is now. Raises Unknown."""
    with world.database.read() as session:
        machine = session.get(VirtualMachine, machine_id)
        if machine is None:
            raise Unknown("virtual machine", machine_id)
        return machine


def update(world: World, machine_id: str, **values: Any) -> None:
    """Change columns of the row and raise its generation."""
    with world.database.write() as session:
        machine = session.get(VirtualMachine, machine_id)
        if machine is None:
            raise Unknown("virtual machine", machine_id)
        for name, value in values.items():
            setattr(machine, name, value)


def home(world: World, machine_id: str) -> str:
    """The blade on which the machine is. Raises Changed when it has none yet."""
    machine = row(world, machine_id)
    if machine.blade is None:
        raise Changed(f"machine {machine.name}", "it is on no blade")
    return machine.blade


def disk_ids(world: World, machine_id: str) -> list[str]:
    with world.database.read() as session:
        return [disk.id for disk in disks.of_machine(session, machine_id)]


def is_running(world: World, machine_id: str) -> bool:
    """What the hypervisor says, not what the table remembers."""
    machine = row(world, machine_id)
    if machine.blade is None:
        return False
    state = world.rack.hypervisor(machine.blade).state(machine_id)
    return state in (PowerState.RUNNING, PowerState.PAUSED, PowerState.IO_ERROR, PowerState.STOPPING)


def may_run(world: World, machine_id: str) -> bool:
    """Whether it runs, for a start. A machine that was stopped has no export: while its blade does not answer, nothing there
    can write to its disks, so it may be started elsewhere. Raises Unreachable for one that ran there."""
    try:
        return is_running(world, machine_id)
    except Unreachable:
        if row(world, machine_id).power == Power.STOPPED:
            return False
        raise


# ------------------------------------------------------------------------------------------------------------ placement


def place(world: World, machine_id: str, wished: str | None = None, only: bool = False) -> str:  # noqa: FBT001, FBT002
    """Choose a blade and set the memory aside there, in one transaction: the one wished when it fits (`only`: or none), else
    as `placement.weigh` says. Raises NoRoom, PoolFull."""
    with world.database.write() as session:
        machine = choosing.machine_of(session, machine_id)
        if machine is None:
            raise Unknown("virtual machine", machine_id)
        cpool = choosing.held(session, machine.cpool_id)
        hooks.check_memory(session, machine, cpool.id, machine.memory)
        need = choosing.need_of(session, machine, wished=wished)
        blade = choosing.blade_for(session, world, machine, cpool, need, only=wished if only else None)
        machine.blade, machine.moving_to, machine.reserved = blade, None, machine.memory
        gpus.hold(session, machine_id, blade, need.gpus)
        return blade


def claim(world: World, machine_id: str, cpool_id: str, target: str | None, along: Mapping[str, str | None]) -> str:
    """Choose where a running machine moves to and set its memory aside there too, until it arrives or the move is given up.

    target: the blade asked for. None: the present one, or in another cpool the best. along: see `choosing.need_of`. Raises NoRoom,
    PoolFull.
    """
    with world.database.write() as session:
        machine = session.get_one(VirtualMachine, machine_id)
        stays = cpool_id == machine.cpool_id
        if stays and target in (None, machine.blade):
            return str(machine.blade)
        cpool = choosing.held(session, cpool_id)
        machine.moving_to = None  # what an earlier try has set aside does not stand in its own way
        session.flush()
        if not stays:
            hooks.check_memory(session, machine, cpool.id, machine.memory)
        model = session.get_one(Cpool, machine.cpool_id).model
        need = choosing.need_of(session, machine, wished=target, model=model, devices=stays, along=along)
        blade = choosing.blade_for(session, world, machine, cpool, need, only=target)
        machine.moving_to = blade
        return blade


def drop_claim(world: World, machine_id: str) -> None:
    """A move was given up."""
    with world.database.write() as session:
        machine = session.get(VirtualMachine, machine_id)
        if machine is not None:
            machine.moving_to = None


def reserve(world: World, machine_id: str, memory: int, vcpus: int) -> None:
    """Set `memory` bytes and `vcpus` aside for a running machine on its blade. Raises NoRoom, PoolFull."""
    with world.database.write() as session:
        machine = session.get_one(VirtualMachine, machine_id)
        if memory > machine.reserved or vcpus > machine.cpu:
            cpool = choosing.held(session, machine.cpool_id)
            if memory > machine.reserved:
                hooks.check_memory(session, machine, cpool.id, memory)
            choosing.blade_for(session, world, machine, cpool, Need(memory, vcpus), only=machine.blade)
        machine.reserved, machine.cpu = memory, vcpus


def release(world: World, machine_id: str) -> None:
    update(world, machine_id, reserved=0, moving_to=None)
    _let_go(world, machine_id)


def _let_go(world: World, machine_id: str) -> None:
    with world.database.write() as session:
        gpus.release(session, machine_id)


# -------------------------------------------------------------------------------------------------- the blade's own part


def bring_networks(world: World, machine_id: str, blade: str) -> None:
    """Make sure that the blade carries the machine's VLANs, and lets its adapters speak with their own addresses."""
    with world.database.read() as session:
        wanted = {adapter.vlan_id for adapter in adapters.of_machine(session, machine_id)}
        there = sa.or_(VirtualMachine.blade == blade, VirtualMachine.moving_to == blade)
        machines_there = session.scalars(sa.select(VirtualMachine.id).where(there)).all()
        guests = adapters.addresses(session, {machine_id, *machines_there})
    for vlan_id in sorted(wanted):
        vlans.bring(world, vlan_id, blade)
    if wanted:
        world.rack.fabric(blade).admit(guests)


def _nics(world: World, machine_id: str, blade: str) -> list[DomainNic]:
    with world.database.read() as session:
        rows = adapters.of_machine(session, machine_id)
    return [nic_of(world, adapter.id, blade) for adapter in rows]


def nic_of(world: World, adapter_id: str, blade: str) -> DomainNic:
    """One adapter as the blade's hypervisor needs it."""
    with world.database.read() as session:
        adapter = session.get_one(Adapter, adapter_id)
        vlan = session.get_one(Vlan, adapter.vlan_id)
    mtu = next(entry.fabric.mtu for entry in world.inventory.blades if entry.name == blade)
    return adapters.nic(world, adapter_id, world.rack.fabric(blade).bridge(vlan.tag), mtu)


def spec(world: World, machine_id: str, blade: str, attached: Sequence[DomainDisk]) -> DomainSpec:
    """The machine as the tables have it, with its disks at the given addresses."""
    machine = row(world, machine_id)
    model = cpools.model_of(world, _pool(world, machine).model)
    return DomainSpec(
        id=machine.id,
        title=machine.name,
        vcpus=machine.cpu,
        cores_per_socket=machine.cores_per_socket,
        memory=machine.memory,
        disks=attached,
        nics=_nics(world, machine_id, blade),
        controllers=_controllers(world, machine_id),
        cdroms=_drives(world, machine_id),
        cdrom=seeds.path_on_blade(machine_id) if guest_seed.is_needed(machine) else None,
        firmware=machine.firmware,
        secure_boot=machine.secure_boot,
        boot_delay=machine.boot_delay,
        boot_retry=machine.boot_retry_delay if machine.boot_retry else None,
        told=seeds.told_of(machine),
        nested=machine.nested,
        windows=guest_systems.is_windows(machine.guest_os),
        removable_vcpus=machine.hot_remove_cpu,
        processor=processors.for_start(world, machine.cpool_id),
        gpus=_gpus(world, machine_id, blade),
        max_vcpus=model.threads if machine.hot_add_cpu else None,
        max_memory=model.physical_memory if machine.hot_add_memory else None,
    )


def _controllers(world: World, machine_id: str) -> list[DomainController]:
    with world.database.read() as session:
        return controllers.domain_controllers(session, machine_id)


def _drives(world: World, machine_id: str) -> list[DomainCdrom]:
    with world.database.read() as session:
        return media.drives(session, machine_id)


def _gpus(world: World, machine_id: str, blade: str) -> list[str]:
    with world.database.read() as session:
        return [gpu.address for gpu in gpus.of_machine(session, machine_id) if gpu.blade == blade]


def _pool(world: World, machine: VirtualMachine) -> Cpool:
    with world.database.read() as session:
        return session.get_one(Cpool, machine.cpool_id)


def define(world: World, machine_id: str, blade: str) -> None:
    """Bring the blade's definition to what the tables say; exported disks at their present addresses."""
    with world.database.read() as session:
        rows = disks.of_machine(session, machine_id)
    attached = [disks.address_of(world, disk.id) if disk.exported else disks.parked(world, disk.id) for disk in rows]
    hypervisor = world.rack.hypervisor(blade)
    definition = hypervisor.define(spec(world, machine_id, blade, attached))
    update(world, machine_id, definition=definition)


def undefine(world: World, machine_id: str, blade: str) -> None:
    """Remove definition and seed from a blade; absent is fine."""
    world.rack.hypervisor(blade).undefine(machine_id)
    seeds.remove(world, machine_id, blade)


def undefine_elsewhere(world: World, machine_id: str, blade: str) -> None:
    """A machine is defined on one blade only: a definition left on an earlier one is removed."""
    for other in siblings(world, machine_id):
        if other != blade and world.rack.hypervisor(other).state(machine_id) in AT_REST:
            undefine(world, machine_id, other)


def siblings(world: World, machine_id: str) -> list[str]:
    """The connected blades of the machine's cpool."""
    machine = row(world, machine_id)
    with world.database.read() as session:
        return [blade.name for blade in cpools.blades_of(session, [machine.cpool_id]) if blade.connected]


# ---------------------------------------------------------------------------------------------------------------- power


def start(world: World, machine_id: str, blade: str) -> None:
    """What its guest is shown from now on is noted first: the definition has it already."""
    with world.database.write() as session:
        shown = processors.of_pool(session, session.get_one(VirtualMachine, machine_id).cpool_id)
        if shown is not None:
            session.merge(MachineProcessor(machine_id=machine_id, features=list(shown.features)))
    world.rack.hypervisor(blade).start(machine_id)


def cut_power(world: World, machine_id: str) -> None:
    """One that is stopped already, on a blade that does not answer, has no power to cut: see `may_run`."""
    machine = row(world, machine_id)
    if machine.blade is not None:
        try:
            world.rack.hypervisor(machine.blade).power_off(machine_id)
        except Unreachable:
            if machine.power != Power.STOPPED:
                raise


def press_button(world: World, machine_id: str) -> None:
    blade = home(world, machine_id)
    if world.rack.hypervisor(blade).state(machine_id) == PowerState.RUNNING:
        world.rack.hypervisor(blade).shutdown(machine_id)


def reset(world: World, machine_id: str) -> None:
    world.rack.hypervisor(home(world, machine_id)).reset(machine_id)


def record_running(world: World, machine_id: str) -> None:
    update(world, machine_id, power=Power.RUNNING)


def record_stopped(world: World, machine_id: str) -> None:
    update(world, machine_id, power=Power.STOPPED, reserved=0, moving_to=None)
    _let_go(world, machine_id)


def move(world: World, machine_id: str, source: str, target: str, progress: Callable[[float], None]) -> None:
    """Live when it runs; a stopped machine is only defined at the target."""
    origin, destination = world.rack.hypervisor(source), world.rack.hypervisor(target)
    if is_running(world, machine_id) or destination.state(machine_id) == PowerState.RUNNING:
        with world.database.read() as session:
            volumes = {disk.lun_id for disk in disks.of_machine(session, machine_id)}
        for lun_id in volumes:
            luns.admit(world, lun_id)  # the blade may have come to the cpool since anything was exported
        chosen = world.settings
        limits = MigrationLimits(chosen.migration_bandwidth, chosen.migration_downtime, chosen.migration_patience)
        origin.migrate(machine_id, destination, limits=limits, progress=progress)
        return
    define(world, machine_id, target)
    undefine(world, machine_id, source)


# ----------------------------------------------------------------------------------------------------------------- life


def set_active(world: World, machine_id: str) -> None:
    """Publish a machine and all that was made with it."""
    with world.database.write() as session:
        machine = session.get_one(VirtualMachine, machine_id)
        machine.lifecycle = Lifecycle.ACTIVE
        for table in (Disk, Adapter):
            session.execute(sa.update(table).where(table.machine_id == machine_id).values(lifecycle=Lifecycle.ACTIVE))


def forget(world: World, machine_id: str) -> None:
    """Remove the rows: the last thing that a deletion does."""
    with world.database.write() as session:
        hooks.forgotten(session, machine_id)
        gpus.release(session, machine_id)
        snapshots.forget_machine(session, machine_id)
        swap.forget_machine(session, machine_id)
        space.note_waiting(session, machine_id, ())
        session.execute(sa.delete(AffinityMember).where(AffinityMember.machine_id == machine_id))
        for table in (Disk, Adapter, VirtualController, MachineSample, MachineProcessor, MachineGpus):
            session.execute(sa.delete(table).where(table.machine_id == machine_id))
        session.execute(sa.delete(VirtualMachine).where(VirtualMachine.id == machine_id))
        tags.forget(session, machine_id)
