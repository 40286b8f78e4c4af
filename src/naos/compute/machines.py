"""Virtual machines: checks and plans. Nothing here touches the world; rows are reserved in the caller's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.catalogue import library
from naos.catalogue.models import Template
from naos.compute import hooks, rules
from naos.compute.configuration_errors import VolumeIsHome
from naos.compute.errors import BladeForeign, WrongDatacenter
from naos.compute.models import Power, VirtualMachine
from naos.engines.ports import Provisioning
from naos.errors import NameTaken, Unknown
from naos.fleet import cpools
from naos.fleet.errors import PoolInUse
from naos.fleet.models import Blade, Cpool
from naos.lifecycle import Lifecycle, check_staying
from naos.names import listing
from naos.network import adapters, vlans
from naos.storage import disks, luns
from naos.storage.models import Disk
from naos.world import World


@dataclass(frozen=True)
class AdapterRequest:
    """An adapter of a new machine. address: ``10.1.0.11/24`` for the guest's static configuration, None for DHCP."""

    vlan_id: str
    mac: str | None = None
    address: str | None = None
    gateway: str | None = None
    type: str = "VMXNET3"
    connected: bool = True


@dataclass(frozen=True)
class DiskRequest:
    """A disk of a new machine. Bytes: its size, which is not below `least`. backing: id of the image that it begins with."""

    size: int
    least: int
    backing: str


@dataclass(frozen=True)
class MachineRequest:
    """A new machine. Sizes in bytes. settings: further columns of its row."""

    name: str
    cpool_id: str
    lun_id: str
    cpu: int
    memory: int
    cores_per_socket: int = 1
    disks: Sequence[DiskRequest] = ()
    provisioning: Provisioning = Provisioning.DYNAMIC
    adapters: Sequence[AdapterRequest] = ()
    blade_id: str | None = None
    datacenter_id: str | None = None
    seed: dict[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    power_on: bool = False


def find(session: Session, tenant_id: str, machine_id: str) -> VirtualMachine:
    """A machine of the tenant. Raises Unknown."""
    machine = session.get(VirtualMachine, machine_id)
    if machine is None or machine.tenant_id != tenant_id:
        raise Unknown("virtual machine", machine_id)
    return machine


def name_of(session: Session, machine_id: str) -> str:
    """The machine's name; its id when it is gone."""
    machine = session.get(VirtualMachine, machine_id)
    return machine.name if machine is not None else machine_id


def lock(machine_id: str) -> Lock:
    return Lock(f"virtual_machine:{machine_id}")


def item(machine_id: str) -> Item:
    return Item(machine_id, "virtual_machine")


def locks_of(session: Session, machine: VirtualMachine) -> tuple[Lock, ...]:
    """The machine for itself, its volumes and cpool shared with others."""
    volumes = {machine.lun_id, *(disk.lun_id for disk in disks.of_machine(session, machine.id))}
    return (
        lock(machine.id),
        cpools.lock(machine.cpool_id, shared=True),
        *(luns.lock(lun_id, shared=True) for lun_id in sorted(volumes)),
    )


def check_name(session: Session, tenant_id: str, name: str, *, but: str | None = None) -> None:
    """Raises NameTaken when another machine than `but` has it."""
    holder = session.scalar(
        sa.select(VirtualMachine.id).where(VirtualMachine.tenant_id == tenant_id, VirtualMachine.name == name)
    )
    if holder not in (None, but):
        raise NameTaken("virtual machine", name)


def check_datacenter(session: Session, cpool: Cpool, datacenter_id: str | None) -> None:
    """Raises WrongDatacenter when a zone is named and it is not the cpool's."""
    if datacenter_id is not None:
        zone = cpools.find_zone(session, cpool.zone)
        if zone.id != datacenter_id:
            raise WrongDatacenter(cpool.name, zone.name, zone.id, datacenter_id)


def find_in(session: Session, tenant_id: str, machine_id: str, datacenter_id: str | None) -> VirtualMachine:
    """A machine of the tenant, which is in the zone when one is named. Raises Unknown, WrongDatacenter."""
    machine = find(session, tenant_id, machine_id)
    check_datacenter(session, session.get_one(Cpool, machine.cpool_id), datacenter_id)
    return machine


def blade_name(session: Session, cpool: Cpool, blade_id: str | None) -> str | None:
    """The name of a blade of the cpool, by its id or name. Raises BladeForeign."""
    if blade_id is None:
        return None
    blades = cpools.blades_of(session, [cpool.id])
    for blade in blades:
        if blade_id in (blade.id, blade.name):
            return blade.name
    raise BladeForeign(blade_id, cpool.name, ", ".join(blade.name for blade in blades))


def check_size(world: World, cpool: Cpool, cpu: int, memory: int) -> None:
    """Raises MachineSize for what no blade of the cpool could run."""
    model = cpools.model_of(world, cpool.model)
    rules.check_size(cpool.name, cpu=cpu, memory=memory, threads=model.threads, physical=model.physical_memory)


def plan_create(
    session: Session, world: World, tenant_id: str, request: MachineRequest, *, template: Template | None = None
) -> Plan:
    """Reserve the names, rows and addresses of a new machine; the activity makes it real.

    template: what its disks begin with, whose tenant the caller has looked at.
    """
    cpool = cpools.find_ready(session, tenant_id, request.cpool_id)
    lun = luns.find_open(session, tenant_id, request.lun_id)
    check_datacenter(session, cpool, request.datacenter_id)
    rules.check_zones(volume=lun.name, volume_zone=lun.zone, cpool=cpool.name, cpool_zone=cpool.zone)
    check_size(world, cpool, request.cpu, request.memory)
    rules.check_firmware(request.name, request.settings.get("firmware", ""), request.memory)
    check_name(session, tenant_id, request.name)
    blade = blade_name(session, cpool, request.blade_id)
    machine = VirtualMachine(
        tenant_id=tenant_id,
        cpool_id=cpool.id,
        lun_id=lun.id,
        name=request.name,
        cpu=request.cpu,
        cores_per_socket=request.cores_per_socket,
        memory=request.memory,
        template_id=template.id if template else None,
        blade=blade,
        **request.settings,
    )
    session.add(machine)
    session.flush()
    if request.power_on:
        hooks.check_start(session, machine)
    made = _reserve_disks(session, world, machine, request, template)
    machine.seed = {**request.seed, "addresses": _reserve_adapters(session, machine, cpool, request)}
    return Plan(
        kind="virtual_machine.create",
        description=f"Create machine {request.name} in {cpool.name}" + (f" from {template.name}" if template else ""),
        arguments={
            "machine_id": machine.id,
            "disks": made,
            "power_on": request.power_on,
        },
        locks=(
            lock(machine.id),
            cpools.lock(cpool.id, shared=True),
            luns.lock(lun.id, shared=True),
            *((library.lock(template.id, shared=True),) if template else ()),
        ),
        concerned=(item(machine.id),),
        undo=(Undo("virtual_machine.forget", {"machine_id": machine.id}, f"gave the name {request.name} back"),),
    )


def _reserve_disks(
    session: Session, world: World, machine: VirtualMachine, request: MachineRequest, template: Template | None
) -> list[str]:
    made = []
    for wish in request.disks:
        rules.check_template_fits(template.name if template else "", template_size=wish.least, wanted=wish.size)
        disk = disks.reserve(
            session,
            world,
            lun=luns.find(session, machine.tenant_id, request.lun_id),
            machine_id=machine.id,
            machine_name=machine.name,
            size=wish.size,
            provisioning=request.provisioning,
            backing=wish.backing,
        )
        made.append(disk.id)
    return made


def _reserve_adapters(
    session: Session, machine: VirtualMachine, cpool: Cpool, request: MachineRequest
) -> list[dict[str, Any]]:
    addresses = []
    for wanted in request.adapters:
        vlan = vlans.find_ready(session, machine.tenant_id, wanted.vlan_id)
        vlans.check_propagated(session, vlan, cpool.id, cpool.name)
        adapter = adapters.reserve(
            session,
            vlan=vlan,
            machine_id=machine.id,
            machine_name=machine.name,
            mac=wanted.mac,
            connected=wanted.connected,
            adapter_type=wanted.type,
            name_of=name_of,
        )
        addresses.append({"mac": adapter.mac, "address": wanted.address, "gateway": wanted.gateway})
    return addresses


def plan_power_off(session: Session, tenant_id: str, machine_id: str) -> Plan:
    machine = find(session, tenant_id, machine_id)
    hooks.power_off_wanted(session, machine_id)
    return plan(session, machine, "virtual_machine.power_off", f"Power off {machine.name}")


def plan_shutdown(session: Session, tenant_id: str, machine_id: str, *, seconds: int = 120) -> Plan:
    machine = find(session, tenant_id, machine_id)
    rules.check_running(machine.name, machine.power)
    return plan(
        session, machine, "virtual_machine.shutdown", f"Shut down {machine.name}", arguments={"seconds": seconds}
    )


def plan_reset(session: Session, tenant_id: str, machine_id: str) -> Plan:
    machine = find(session, tenant_id, machine_id)
    rules.check_running(machine.name, machine.power)
    return plan(session, machine, "virtual_machine.reset", f"Reset {machine.name}")


def plan_settle(session: Session, machine_id: str) -> Plan:
    """Make the tables say what the hypervisor shows, when a machine changed without an activity."""
    machine = session.get(VirtualMachine, machine_id)
    if machine is None:
        raise Unknown("virtual machine", machine_id)
    return plan(session, machine, "virtual_machine.settle", f"Note what became of {machine.name}")


def plan_delete(session: Session, tenant_id: str, machine_id: str) -> Plan:
    machine = find(session, tenant_id, machine_id)
    rules.check_stopped(machine.name, machine.power)
    locks = tuple(disks.flatten_lock(disk.id) for disk in disks.of_machine(session, machine.id))
    undo = (Undo("virtual_machine.keep", {"machine_id": machine.id}, "left the machine as it is"),)
    made = plan(session, machine, "virtual_machine.delete", f"Delete machine {machine.name}", locks=locks, undo=undo)
    if machine.lifecycle == Lifecycle.ACTIVE:
        machine.lifecycle = Lifecycle.DELETING
    return made


def plan_rename(session: Session, tenant_id: str, machine_id: str, name: str) -> Plan:
    machine = find(session, tenant_id, machine_id)
    check_name(session, tenant_id, name, but=machine.id)
    return plan(
        session, machine, "virtual_machine.rename", f"Rename {machine.name} to {name}", arguments={"name": name}
    )


def plan(
    session: Session,
    machine: VirtualMachine,
    kind: str,
    description: str,
    *,
    locks: tuple[Lock, ...] = (),
    undo: tuple[Undo, ...] = (),
    arguments: Mapping[str, Any] | None = None,
) -> Plan:
    """An activity on the machine, which is not being made or deleted. Raises NotReady."""
    check_staying("Machine", machine.name, machine.lifecycle)
    return Plan(
        kind=kind,
        description=description,
        arguments={"machine_id": machine.id, **(arguments or {})},
        locks=(*locks_of(session, machine), *locks),
        concerned=(item(machine.id),),
        undo=undo,
    )


def plan_delete_cpool(session: Session, tenant_id: str, cpool_id: str) -> Plan:
    """Delete a cpool that no machine is in. It lives here because only compute knows the machines."""
    cpool = cpools.find_ready(session, tenant_id, cpool_id)
    names = list(session.scalars(sa.select(VirtualMachine.name).where(VirtualMachine.cpool_id == cpool_id)))
    if names:
        raise PoolInUse(cpool.name, len(names), listing(names))
    cpool.lifecycle = Lifecycle.DELETING
    return Plan(
        kind="cpool.delete",
        description=f"Delete cpool {cpool.name}",
        arguments={"cpool_id": cpool.id},
        locks=(cpools.lock(cpool.id),),
        concerned=(Item(cpool.id, "host_cluster"),),
        undo=(Undo("cpool.keep", {"cpool_id": cpool.id}, "left the cpool as it is"),),
    )


def plan_delete_volume(session: Session, world: World, tenant_id: str, lun_id: str) -> Plan:
    """Delete an empty volume that is no machine's datastore. Raises what `luns.plan_delete` does, and VolumeIsHome."""
    lun = luns.find(session, tenant_id, lun_id)
    made = luns.plan_delete(session, world, tenant_id=tenant_id, lun_id=lun_id, name_of=name_of)
    names = list(session.scalars(sa.select(VirtualMachine.name).where(VirtualMachine.lun_id == lun_id)))
    if names:
        raise VolumeIsHome(lun.name, len(names), listing(names))
    return made


def running_on(session: Session, blade: str) -> list[VirtualMachine]:
    """Machines that the tables have running on a blade."""
    return list(
        session.scalars(
            sa.select(VirtualMachine).where(VirtualMachine.blade == blade, VirtualMachine.power == Power.RUNNING)
        )
    )


def blades(session: Session) -> list[Blade]:
    return list(session.scalars(sa.select(Blade).order_by(Blade.name)))


def boot_disk(session: Session, machine_id: str) -> Disk | None:
    return next(iter(disks.of_machine(session, machine_id)), None)
