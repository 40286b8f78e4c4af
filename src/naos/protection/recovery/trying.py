"""The machines of a test: copies of a point, on a network of their own that only the other zone's cpool carries.

Their ids are given when the request is checked, so that the activity holds them from then on and its compensation can remove
whatever there is of them.
"""

import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute import steps, swapping
from naos.compute.models import Power, VirtualMachine
from naos.database import Base
from naos.engines.errors import EngineError, Missing
from naos.engines.ports import Provisioning
from naos.errors import NaosError, Unknown
from naos.fleet import cpools
from naos.insistence import insist
from naos.lifecycle import Lifecycle
from naos.names import clean_name
from naos.network import adapters, vlans
from naos.network.models import Adapter, Propagation, Vlan
from naos.network.rules import free_tag
from naos.protection import copying
from naos.protection.recovery import switching
from naos.protection.recovery.errors import NoPoint
from naos.protection.recovery.scopes import Copy, Member, Scope
from naos.storage import disks, luns
from naos.storage.models import Disk, VirtualController
from naos.world import World

PATIENCE = 5  # attempts: a newer point may take the place of the one that was seen
FIRST_LOOK, LONGEST_WAIT, STANDSTILL = 0.02, 1.0, 300.0  # seconds
# What a test machine does not take over; everything else, whatever is added to the tables, it does.
_OWN = frozenset(
    {
        *("id", "cpool_id", "lun_id", "name", "power", "blade", "moving_to", "reserved"),
        *("definition", "lifecycle", "generation", "created_at"),
    }
)
_OWN_DISK = frozenset(
    {
        *("id", "lun_id", "machine_id", "controller_id", "backing", "provisioning"),
        *("epoch", "exported", "lifecycle", "created_at"),
    }
)
_OWN_CONTROLLER = frozenset({"id", "machine_id", "item_id", "connected", "lifecycle"})
_OWN_ADAPTER = frozenset({"id", "machine_id", "vlan_id", "mac", "mac_key", "mac_type", "lifecycle"})


def ids_for(scope: Scope) -> dict[str, str]:
    """Ids of what a test makes: by machine, and under ``vlan`` its network's."""
    return {"vlan": str(uuid.uuid4()), **{member.machine_id: str(uuid.uuid4()) for member in scope.members}}


def disk_id_of(test_id: str, disk_id: str) -> str:
    """The same at every repeat of a step."""
    return str(uuid.uuid5(uuid.UUID(test_id), disk_id))


def make_network(world: World, scope: Scope, tenant_id: str, vlan_id: str) -> None:
    """A VLAN that no blade but those of the target's cpool carries."""
    with world.database.write() as session:
        if session.get(Vlan, vlan_id) is None:
            tag = free_tag(set(session.scalars(sa.select(Vlan.tag))), None)
            session.add(Vlan(id=vlan_id, tenant_id=tenant_id, name=f"recovery test {vlan_id}", tag=tag))
            session.flush()
            session.add(Propagation(vlan_id=vlan_id, cpool_id=scope.cpool_id))
    for blade in vlans.blades_with(world, vlan_id):
        with world.database.read() as session:
            connected = {row.name for row in cpools.blades_of(session, [scope.cpool_id]) if row.connected}
        if blade in connected:
            vlans.bring(world, vlan_id, blade)
    vlans.set_active(world, vlan_id)


def make_machine(
    world: World, scope: Scope, member: Member, copy: Copy, test_id: str, vlan_id: str, held: list[str]
) -> None:
    """Rows and empty disks of a test machine, all at once; repeated, what is missing. Its guest keeps its addresses."""
    with world.database.write() as session:
        if session.get(VirtualMachine, test_id) is None:
            _add_rows(session, scope, member, copy, test_id, vlan_id, held)
    with world.database.read() as session:
        made = disks.of_machine(session, test_id)
    array, lun = luns.spec(world, copy.lun_id)
    for disk in made:
        world.rack.array(array).create_disk(lun, disk.id, disk.capacity, Provisioning.DYNAMIC)


def _add_rows(
    session: Session, scope: Scope, member: Member, copy: Copy, test_id: str, vlan_id: str, held: list[str]
) -> None:
    source = session.get(VirtualMachine, member.machine_id)
    if source is None:
        raise Unknown("virtual machine", member.machine_id)
    made = VirtualMachine(
        **_taken_over(source, _OWN),
        id=test_id,
        name=clean_name(f"{source.name[:200]} (test {test_id[:8]})"),
        cpool_id=scope.cpool_id,
        lun_id=copy.lun_id,
        power=Power.STOPPED,
        blade=None,
        lifecycle=Lifecycle.ACTIVE,
    )
    session.add(made)
    session.flush()
    controllers: dict[str | None, str | None] = {None: None}
    hung = sa.select(VirtualController).where(VirtualController.machine_id == source.id)
    for controller in session.scalars(hung.order_by(VirtualController.type, VirtualController.number)):
        values = _taken_over(controller, _OWN_CONTROLLER)
        row = VirtualController(**values, machine_id=test_id, lifecycle=Lifecycle.ACTIVE)
        session.add(row)
        session.flush()
        controllers[controller.id] = row.id
    for disk in disks.of_machine(session, source.id):
        if disk.id in held:
            session.add(
                Disk(
                    **_taken_over(disk, _OWN_DISK),
                    id=disk_id_of(test_id, disk.id),
                    lun_id=copy.lun_id,
                    machine_id=test_id,
                    controller_id=controllers.get(disk.controller_id),
                    provisioning="dynamic",
                    lifecycle=Lifecycle.ACTIVE,
                )
            )
    session.flush()
    _plug_in(session, source, made, member, vlan_id)


def _plug_in(session: Session, source: VirtualMachine, made: VirtualMachine, member: Member, vlan_id: str) -> None:
    """MAC addresses of its own, on the test's network; the guest is told the same addresses under the new MACs."""
    macs = {}
    for adapter in adapters.of_machine(session, source.id):
        mac = adapters.free_mac(session, source.tenant_id)
        macs[adapter.mac] = mac
        values = _taken_over(adapter, _OWN_ADAPTER)
        row = Adapter(
            **values,
            machine_id=made.id,
            vlan_id=vlan_id,
            mac=mac,
            mac_key=mac,
            mac_type="ASSIGNED",
            lifecycle=Lifecycle.ACTIVE,
        )
        session.add(row)
        session.flush()
    told = [
        {
            **entry,
            **member.addresses.get(entry.get("mac", ""), {}),
            "mac": macs.get(entry.get("mac", ""), entry.get("mac")),
        }
        for entry in made.seed.get("addresses", [])
    ]
    if told:
        made.seed = {**made.seed, "addresses": told}


def _taken_over(row: Base, own: frozenset[str]) -> dict[str, Any]:
    columns = sa.inspect(type(row)).column_attrs
    return {column.key: getattr(row, column.key) for column in columns if column.key not in own}


def hold_point(world: World, copy: Copy, reader: str, name: str, chosen: str | None) -> dict[str, Any]:
    """The copy with the point that is read from here on, and so stays while others come. Raises NoPoint."""
    for attempt in range(PATIENCE):
        found = Copy.of(switching.choose_point(world, copy, name, chosen))
        try:
            copying.store_of(world, found.where).serve(found.set_id, str(found.point_id), reader)
        except Missing:
            if attempt == PATIENCE - 1:
                raise
        else:
            return found.plain()
    raise NoPoint(name, "")


def fill(world: World, copy: Copy, reader: str, disk_id: str, test_disk_id: str) -> None:
    """Make the point's disk the content of a test disk; the point can be read by others meanwhile. Raises EngineError, Missing."""
    array, lun = luns.spec(world, copy.lun_id)
    store = copying.store_of(world, copy.where)
    door = store.serve(copy.set_id, str(copy.point_id), reader)[disk_id]
    wait, moved, until = FIRST_LOOK, -1, time.monotonic() + STANDSTILL
    while True:
        state = world.rack.array(array).fill_disk(lun, test_disk_id, reader, door)
        if state.error is not None:
            raise EngineError(array, f"filling a test disk from point {copy.point_id}", state.error)
        if not state.running:
            return
        if state.done != moved:
            moved, until = state.done, time.monotonic() + STANDSTILL
        elif time.monotonic() > until:
            raise EngineError(array, "filling a test disk", f"nothing moves after {state.done} bytes")
        time.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT)


def end_reading(world: World, copy: Copy, reader: str) -> None:
    with suppress(Unknown):
        insist(copying.store_of(world, copy.where).end_serving, copy.set_id, reader)


def clear(world: World, scope: Scope, made: Mapping[str, str], copies: list[Copy], reader: str) -> None:
    """Remove everything that a test has made; whatever is not there is fine. Raises EngineError for what does not go."""
    for member in scope.members:
        _remove_machine(world, made[member.machine_id])
    for copy in copies:
        end_reading(world, copy, reader)
    vlans.withdraw(world, made["vlan"])
    vlans.forget(world, made["vlan"])


def _remove_machine(world: World, test_id: str) -> None:
    with world.database.read() as session:
        machine = session.get(VirtualMachine, test_id)
    if machine is None:
        return
    with suppress(NaosError):
        steps.cut_power(world, test_id)
    for blade in steps.siblings(world, test_id):
        insist(steps.undefine, world, test_id, blade)
    swapping.give_back(world, test_id)
    for disk_id in steps.disk_ids(world, test_id):
        disks.remove(world, disk_id)
    steps.forget(world, test_id)
