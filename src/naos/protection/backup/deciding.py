"""What is decided about a restore once it is there: to keep it, to take it back, to clean it up."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan
from naos.compute import machines, rules
from naos.fleet.models import Cpool
from naos.network import vlans
from naos.protection.backup import rebuilding, restores
from naos.protection.backup.errors import RestoreState
from naos.protection.backup.models import Restore, RestorePoint
from naos.protection.backup.restore_wire import NetworkChoice
from naos.protection.backup.restores import State
from naos.storage import disks


def _plan_after(restore: Restore, word: str, description: str, locks: tuple[Lock, ...], **more: Any) -> Plan:
    return Plan(
        kind=f"restore.{word}",
        description=description,
        arguments={
            "restore_id": restore.id,
            "machine_id": restore.machine_id,
            "vlan_id": restore.vlan_id,
            "old_disks": list(restore.old_disks),
            **more,
        },
        locks=locks,
        concerned=(machines.item(restore.machine_id), Item(restore.id, "restore")),
        type="BackupActivity",
    )


def _check_state(restore: Restore, verb: str, wanted: State) -> None:
    if restore.state != wanted:
        raise RestoreState(restore.machine_name, restore.mode, restore.state, verb, f"one that is {wanted.value}")


def plan_confirm(session: Session, tenant_id: str, restore_id: str) -> Plan:
    """The old disks go. Raises Unknown, RestoreState."""
    restore = restores.find(session, tenant_id, restore_id)
    _check_state(restore, "confirmed", State.REPLACED)
    return _plan_after(
        restore,
        "confirm",
        f"Confirm the restore of {restore.machine_name}: its old disks are deleted",
        (machines.lock(restore.machine_id),),
    )


def plan_take_back(session: Session, tenant_id: str, restore_id: str) -> Plan:
    """The machine gets its old disks again, and the restored ones go. Raises Unknown, RestoreState, WrongPower."""
    restore = restores.find(session, tenant_id, restore_id)
    _check_state(restore, "taken back", State.REPLACED)
    machine = machines.find(session, tenant_id, restore.machine_id)
    rules.check_stopped(machine.name, machine.power)
    return _plan_after(
        restore,
        "take_back",
        f"Take the restore of {restore.machine_name} back",
        machines.locks_of(session, machine),
    )


def plan_clean_up(session: Session, tenant_id: str, restore_id: str) -> Plan:
    """A test's machine and network go. Raises Unknown, RestoreState."""
    restore = restores.find(session, tenant_id, restore_id)
    _check_state(restore, "cleaned up", State.TEST)
    machine = machines.find(session, tenant_id, restore.machine_id)
    return _plan_after(
        restore,
        "clean_up",
        f"Clean the test restore {restore.machine_name} up",
        (
            *machines.locks_of(session, machine),
            *(disks.flatten_lock(disk.id) for disk in disks.of_machine(session, machine.id)),
        ),
    )


def plan_convert(session: Session, tenant_id: str, restore_id: str, networks: Sequence[NetworkChoice]) -> Plan:
    """A test's machine stays: on the networks of then, or those chosen. Raises Unknown, RestoreState, WrongPower, PlaceGone."""
    restore = restores.find(session, tenant_id, restore_id)
    choices = restores.chosen_networks(session, tenant_id, networks)
    _check_state(restore, "converted", State.TEST)
    machine = machines.find(session, tenant_id, restore.machine_id)
    rules.check_stopped(machine.name, machine.power)
    point = session.get(RestorePoint, restore.point_id)
    entries = point.machine["adapters"] if point is not None else []
    cpool = session.get_one(Cpool, machine.cpool_id)
    wanted = {}
    for entry in entries:
        vlan = rebuilding.vlan_of(session, machine, entry, choices)
        vlans.check_propagated(session, vlan, cpool.id, cpool.name)
        wanted[str(entry["unit"])] = vlan.id
    return _plan_after(
        restore,
        "convert",
        f"Keep the test restore {restore.machine_name} as a machine",
        machines.locks_of(session, machine),
        vlans=wanted,
    )
