"""Disks and adapters of a machine: plans and durable work. A running guest gets and loses them while it runs."""

from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Run, Undo, undo, workflow
from naos.compute import machines, rules, steps
from naos.compute.models import VirtualMachine
from naos.engines.ports import Provisioning
from naos.errors import Unknown
from naos.fleet.models import Cpool
from naos.lifecycle import check_staying
from naos.network import adapters, vlans
from naos.network.models import Adapter, Vlan
from naos.storage import disks, luns
from naos.storage.models import Disk
from naos.world import World


def _owner(session: Session, tenant_id: str, machine_id: str | None) -> VirtualMachine:
    return machines.find(session, tenant_id, machine_id or "")


def _plan(
    session: Session,
    machine: VirtualMachine,
    kind: str,
    description: str,
    item: Item,
    *,
    locks: tuple[Lock, ...] = (),
    undo: tuple[Undo, ...] = (),
    **arguments: Any,
) -> Plan:
    check_staying("Machine", machine.name, machine.lifecycle)
    return Plan(
        kind=kind,
        description=description,
        arguments={"machine_id": machine.id, **arguments},
        locks=(*machines.locks_of(session, machine), *locks),
        concerned=(item, machines.item(machine.id)),
        undo=undo,
    )


# ---------------------------------------------------------------------------------------------------------------- disks


def plan_create_disk(
    session: Session,
    world: World,
    tenant_id: str,
    *,
    machine_id: str,
    size: int,
    lun_id: str | None,
    provisioning: Provisioning,
    mode: str,
) -> Plan:
    """Reserve a new disk of a machine, on its own volume unless another of its zone is named."""
    machine = machines.find(session, tenant_id, machine_id)
    lun = luns.find_ready(session, tenant_id, lun_id or machine.lun_id)
    cpool = session.get_one(Cpool, machine.cpool_id)
    rules.check_zones(volume=lun.name, volume_zone=lun.zone, cpool=cpool.name, cpool_zone=cpool.zone)
    disk = disks.reserve(
        session,
        world,
        lun=lun,
        machine_id=machine.id,
        machine_name=machine.name,
        size=size,
        provisioning=provisioning,
        mode=mode,
    )
    forget = Undo("disk.forget", {"disk_id": disk.id}, "gave the disk's slot back")
    item = Item(disk.id, "virtual_disk")
    description = f"Add {disk.name} to {machine.name}"
    return _plan(session, machine, "disk.create", description, item, undo=(forget,), disk_id=disk.id)


def plan_extend_disk(session: Session, tenant_id: str, disk_id: str, size: int) -> Plan:
    """Grow a disk. A size that would shrink it is refused when the activity runs, as the wire API's users expect."""
    disk = disks.find(session, tenant_id, disk_id)
    machine = _owner(session, tenant_id, disk.machine_id)
    description = f"Grow {disk.name} of {machine.name} to {size} bytes"
    locks = (disks.flatten_lock(disk.id),)
    item = Item(disk.id, "virtual_disk")
    return _plan(session, machine, "disk.extend", description, item, locks=locks, disk_id=disk.id, size=size)


def plan_delete_disk(session: Session, tenant_id: str, disk_id: str) -> Plan:
    disk = disks.find(session, tenant_id, disk_id)
    machine = _owner(session, tenant_id, disk.machine_id)
    description = f"Delete {disk.name} of {machine.name}"
    locks = (disks.flatten_lock(disk.id),)
    item = Item(disk.id, "virtual_disk")
    return _plan(session, machine, "disk.delete", description, item, locks=locks, disk_id=disk.id)


def plan_flatten(session: Session, disk_id: str) -> Plan:
    """Background work: a clone becomes independent of its template. Its only lock keeps a second one away."""
    disk = session.get(Disk, disk_id)
    if disk is None:
        raise Unknown("disk", disk_id)
    return Plan(
        kind="disk.flatten",
        description=f"Make {disk.name} independent of its template",
        arguments={"disk_id": disk.id},
        locks=(disks.flatten_lock(disk.id),),
        concerned=(Item(disk.id, "virtual_disk"),),
        preemptible=True,
    )


@workflow("disk.create")
def create_disk(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id, disk_id = cast(World, run.world), arguments["machine_id"], arguments["disk_id"]
    run.step(
        "make the disk",
        disks.create,
        world,
        disk_id,
        undo=Undo("disk.remove", {"disk_id": disk_id}, "removed the disk"),
    )
    if run.step("look whether it runs", steps.is_running, world, machine_id):
        run.step(
            "attach",
            _attach_disk,
            world,
            machine_id,
            disk_id,
            undo=Undo("disk.detach", arguments, "took the disk from the guest"),
        )
    run.step("publish", disks.set_active, world, disk_id)
    return str(disk_id)


def _attach_disk(world: World, machine_id: str, disk_id: str) -> None:
    """A repeated call finds the present export and gives the guest the same address again."""
    with world.database.read() as session:
        exported = session.get_one(Disk, disk_id).exported
    attached = disks.address_of(world, disk_id) if exported else disks.export(world, disk_id)
    world.rack.hypervisor(steps.home(world, machine_id)).attach_disk(machine_id, attached)


def _detach_disk(world: World, machine_id: str, disk_id: str) -> None:
    """From the guest first; the array lets go only of what the guest has let go."""
    if steps.is_running(world, machine_id):
        world.rack.hypervisor(steps.home(world, machine_id)).detach_disk(machine_id, disk_id)
    disks.fence(world, disk_id)


@workflow("disk.extend")
def extend_disk(run: Run, arguments: dict[str, Any]) -> str:
    world, disk_id, size = cast(World, run.world), arguments["disk_id"], arguments["size"]
    run.step("check the size", _check_extend, world, disk_id, size)
    run.step("stop making it independent", disks.stop_flattening, world, disk_id)
    run.step("grow the disk", disks.resize, world, disk_id, size)
    run.step("tell the guest", _tell_size, world, arguments["machine_id"], disk_id, size)
    return str(disk_id)


def _check_extend(world: World, disk_id: str, size: int) -> None:
    with world.database.read() as session:
        disk = session.get(Disk, disk_id)
        if disk is None:
            raise Unknown("disk", disk_id)
        disks.check_extend(session, disk, size)


def _tell_size(world: World, machine_id: str, disk_id: str, size: int) -> None:
    if steps.is_running(world, machine_id):
        world.rack.hypervisor(steps.home(world, machine_id)).disk_resized(machine_id, disk_id, size)


@workflow("disk.delete")
def delete_disk(run: Run, arguments: dict[str, Any]) -> str:
    world, disk_id = cast(World, run.world), arguments["disk_id"]
    run.step("take it from the guest", _detach_disk, world, arguments["machine_id"], disk_id)
    run.step("remove the disk", disks.remove, world, disk_id)
    return str(disk_id)


@workflow("disk.flatten")
def flatten_disk(run: Run, arguments: dict[str, Any]) -> str:
    world, disk_id = cast(World, run.world), arguments["disk_id"]
    run.step("copy what the template holds", disks.flatten, world, disk_id, run.progress, run.yield_requested)
    return str(disk_id)


# ------------------------------------------------------------------------------------------------------------- adapters


def plan_create_adapter(
    session: Session, tenant_id: str, *, machine_id: str, vlan_id: str, mac: str | None, adapter_type: str
) -> Plan:
    """Reserve an adapter; it starts disconnected, as the wire API's users expect."""
    machine = machines.find(session, tenant_id, machine_id)
    vlan = _vlan_for(session, tenant_id, machine, vlan_id)
    adapter = adapters.reserve(
        session,
        vlan=vlan,
        machine_id=machine.id,
        machine_name=machine.name,
        mac=mac,
        connected=False,
        adapter_type=adapter_type,
        name_of=machines.name_of,
    )
    forget = Undo("adapter.forget", {"adapter_id": adapter.id}, f"gave MAC address {adapter.mac} back")
    item = Item(adapter.id, "network_adapter")
    description = f"Add an adapter to {machine.name}"
    return _plan(session, machine, "adapter.create", description, item, undo=(forget,), adapter_id=adapter.id)


def _vlan_for(session: Session, tenant_id: str, machine: VirtualMachine, vlan_id: str) -> Vlan:
    vlan = vlans.find_ready(session, tenant_id, vlan_id)
    cpool = session.get_one(Cpool, machine.cpool_id)
    vlans.check_propagated(session, vlan, cpool.id, cpool.name)
    return vlan


def plan_update_adapter(
    session: Session,
    tenant_id: str,
    adapter_id: str,
    *,
    vlan_id: str | None = None,
    mac: str | None = None,
    connected: bool | None = None,
    auto_connect: bool | None = None,
) -> Plan:
    """Another VLAN, another MAC (of a stopped machine), the cable in or out; None leaves a value as it is."""
    adapter = adapters.find(session, tenant_id, adapter_id)
    machine = machines.find(session, tenant_id, adapter.machine_id)
    changes: dict[str, Any] = {}
    locks: tuple[Lock, ...] = ()
    if vlan_id is not None and vlan_id != adapter.vlan_id:
        changes["vlan_id"] = _vlan_for(session, tenant_id, machine, vlan_id).id
        locks = (vlans.lock(vlan_id, shared=True),)
    if mac is not None and mac != adapter.mac:
        rules.check_stopped(machine.name, machine.power, "power it off to change a MAC address")
        changes |= {"mac": mac, "mac_key": _claim(session, adapter, mac)}
        changes["mac_type"] = "MANUAL"
    if connected is not None:
        changes["connected"] = connected
    if auto_connect is not None:
        changes["auto_connect"] = auto_connect
    item = Item(adapter.id, "network_adapter")
    description = f"Change adapter {adapter.unit + 1} of {machine.name}"
    return _plan(
        session, machine, "adapter.update", description, item, locks=locks, adapter_id=adapter.id, changes=changes
    )


def _claim(session: Session, adapter: Adapter, mac: str) -> str:
    return adapters.claim_mac(session, adapter.tenant_id, mac, adapter_id=adapter.id, name_of=machines.name_of)


def plan_delete_adapter(session: Session, tenant_id: str, adapter_id: str) -> Plan:
    adapter = adapters.find(session, tenant_id, adapter_id)
    machine = machines.find(session, tenant_id, adapter.machine_id)
    item = Item(adapter.id, "network_adapter")
    description = f"Remove adapter {adapter.unit + 1} of {machine.name}"
    return _plan(session, machine, "adapter.delete", description, item, adapter_id=adapter.id)


@workflow("adapter.create")
def create_adapter(run: Run, arguments: dict[str, Any]) -> str:
    world, adapter_id = cast(World, run.world), arguments["adapter_id"]
    run.step(
        "attach",
        _attach_nic,
        world,
        arguments["machine_id"],
        adapter_id,
        undo=Undo("adapter.detach", arguments, "took the adapter from the guest"),
    )
    run.step("publish", adapters.set_active, world, adapter_id)
    return str(adapter_id)


def _attach_nic(world: World, machine_id: str, adapter_id: str) -> None:
    if steps.is_running(world, machine_id):
        blade = steps.home(world, machine_id)
        steps.bring_networks(world, machine_id, blade)
        world.rack.hypervisor(blade).attach_nic(machine_id, steps.nic_of(world, adapter_id, blade))


def _detach_nic(world: World, machine_id: str, adapter_id: str) -> None:
    if steps.is_running(world, machine_id):
        world.rack.hypervisor(steps.home(world, machine_id)).detach_nic(machine_id, adapter_id)


@workflow("adapter.update")
def update_adapter(run: Run, arguments: dict[str, Any]) -> str:
    world, adapter_id = cast(World, run.world), arguments["adapter_id"]
    run.step("note the change", _record_adapter, world, adapter_id, arguments["changes"])
    run.step("tell the guest", _update_nic, world, arguments["machine_id"], adapter_id)
    return str(adapter_id)


def _record_adapter(world: World, adapter_id: str, changes: dict[str, Any]) -> None:
    """What was free when the request was accepted is looked at again: another one may have come first."""
    if changes:
        with world.database.write() as session:
            if "mac" in changes:
                _claim(session, session.get_one(Adapter, adapter_id), changes["mac"])
            session.execute(sa.update(Adapter).where(Adapter.id == adapter_id).values(**changes))


def _update_nic(world: World, machine_id: str, adapter_id: str) -> None:
    if steps.is_running(world, machine_id):
        blade = steps.home(world, machine_id)
        steps.bring_networks(world, machine_id, blade)
        world.rack.hypervisor(blade).update_nic(machine_id, steps.nic_of(world, adapter_id, blade))


@workflow("adapter.delete")
def delete_adapter(run: Run, arguments: dict[str, Any]) -> str:
    world, adapter_id = cast(World, run.world), arguments["adapter_id"]
    run.step("take it from the guest", _detach_nic, world, arguments["machine_id"], adapter_id)
    run.step("forget", adapters.forget, world, adapter_id)
    return str(adapter_id)


@undo("disk.detach")
def _undo_attach_disk(world: World, arguments: dict[str, Any]) -> None:
    _detach_disk(world, arguments["machine_id"], arguments["disk_id"])


@undo("adapter.detach")
def _undo_attach_nic(world: World, arguments: dict[str, Any]) -> None:
    _detach_nic(world, arguments["machine_id"], arguments["adapter_id"])
