"""Network adapters of a machine: plans and durable work. A running guest gets, changes and loses them while it runs."""

from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Run, Undo, undo, workflow
from naos.compute import machines, plans, rules, steps
from naos.compute.models import VirtualMachine
from naos.fleet.models import Cpool
from naos.network import adapters, vlans
from naos.network.errors import NoVpc
from naos.network.models import Adapter, Vlan
from naos.world import World


def _item(adapter_id: str) -> Item:
    return Item(adapter_id, "network_adapter")


def plan_create_adapter(
    session: Session,
    tenant_id: str,
    *,
    machine_id: str,
    vlan_id: str,
    mac: str | None,
    adapter_type: str,
    address: str | None = None,
) -> Plan:
    """Reserve an adapter; it starts disconnected, as the wire API's users expect. Raises NoVpc for an address."""
    machine = machines.find(session, tenant_id, machine_id)
    vlan = _vlan_for(session, tenant_id, machine, vlan_id)
    _check_address(vlan, address)
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
    description = f"Add an adapter to {machine.name}"
    return plans.of_device(
        session,
        machine,
        "adapter.create",
        description,
        _item(adapter.id),
        locks=(vlans.lock(vlan.id, shared=True),),
        undo=(forget,),
        adapter_id=adapter.id,
    )


def _vlan_for(session: Session, tenant_id: str, machine: VirtualMachine, vlan_id: str) -> Vlan:
    vlan = vlans.find_ready(session, tenant_id, vlan_id)
    cpool = session.get_one(Cpool, machine.cpool_id)
    vlans.check_propagated(session, vlan, cpool.id, cpool.name)
    return vlan


def _check_address(vlan: Vlan, address: str | None) -> None:
    if address:
        raise NoVpc(vlan.name, address[:64])


def plan_change_adapter(
    session: Session,
    tenant_id: str,
    adapter_id: str,
    *,
    vlan_id: str | None = None,
    mac: str | None = None,
    auto_connect: bool | None = None,
    address: str | None = None,
) -> Plan:
    """Another VLAN, another MAC (of a stopped machine), the cable at the start; None leaves a value as it is. A change without
    a MAC keeps the address, which counts as assigned by the platform from then on."""
    adapter, machine = _of_tenant(session, tenant_id, adapter_id)
    changes: dict[str, Any] = {}
    locks: tuple[Lock, ...] = ()
    vlan = session.get_one(Vlan, adapter.vlan_id)
    if vlan_id is not None and vlan_id != adapter.vlan_id:
        vlan = _vlan_for(session, tenant_id, machine, vlan_id)
        changes["vlan_id"] = vlan.id
        locks = (vlans.lock(vlan_id, shared=True),)
    _check_address(vlan, address)
    if mac is None:
        changes["mac_type"] = "ASSIGNED"
    else:
        if mac != adapter.mac:
            rules.check_stopped(machine.name, machine.power, "power it off to change a MAC address")
            changes |= {"mac": mac, "mac_key": _claim(session, adapter, mac)}
        changes["mac_type"] = "MANUAL"
    if auto_connect is not None:
        changes["auto_connect"] = auto_connect
    return _plan_change(session, machine, adapter, changes, locks)


def plan_plug_adapter(session: Session, tenant_id: str, adapter_id: str, *, connected: bool) -> Plan:
    """The cable in, or out."""
    adapter, machine = _of_tenant(session, tenant_id, adapter_id)
    return _plan_change(session, machine, adapter, {"connected": connected})


def _of_tenant(session: Session, tenant_id: str, adapter_id: str) -> tuple[Adapter, VirtualMachine]:
    adapter = adapters.find(session, tenant_id, adapter_id)
    return adapter, machines.find(session, tenant_id, adapter.machine_id)


def _plan_change(
    session: Session,
    machine: VirtualMachine,
    adapter: Adapter,
    changes: dict[str, Any],
    locks: tuple[Lock, ...] = (),
) -> Plan:
    description = f"Change adapter {adapter.unit + 1} of {machine.name}"
    return plans.of_device(
        session,
        machine,
        "adapter.update",
        description,
        _item(adapter.id),
        locks=locks,
        adapter_id=adapter.id,
        changes=changes,
    )


def _claim(session: Session, adapter: Adapter, mac: str) -> str:
    return adapters.claim_mac(session, adapter.tenant_id, mac, adapter_id=adapter.id, name_of=machines.name_of)


def plan_delete_adapter(session: Session, tenant_id: str, adapter_id: str) -> Plan:
    adapter, machine = _of_tenant(session, tenant_id, adapter_id)
    description = f"Remove adapter {adapter.unit + 1} of {machine.name}"
    return plans.of_device(session, machine, "adapter.delete", description, _item(adapter.id), adapter_id=adapter.id)


# ----------------------------------------------------------------------------------------------------------------- work


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


@undo("adapter.detach")
def _undo_attach_nic(world: World, arguments: dict[str, Any]) -> None:
    _detach_nic(world, arguments["machine_id"], arguments["adapter_id"])
