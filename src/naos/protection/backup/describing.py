"""A machine in a restore point: what is needed to make it again, as plain values of its rows at the instant."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.models import VirtualMachine
from naos.database import Base
from naos.network import adapters
from naos.network.models import Vlan
from naos.storage import disks
from naos.storage.models import VirtualController

_NOT_OF_MACHINE = frozenset(
    {*("id", "tenant_id", "power", "blade", "moving_to", "reserved", "definition", "lifecycle", "generation")}
)
_NOT_OF_DISK = frozenset({"tenant_id", "machine_id", "backing", "epoch", "exported", "lifecycle"})
_NOT_OF_CONTROLLER = frozenset({"tenant_id", "machine_id", "item_id", "connected", "lifecycle"})
_NOT_OF_ADAPTER = frozenset({"id", "tenant_id", "machine_id", "mac_key", "lifecycle"})


def values(row: Base, left_out: Collection[str]) -> dict[str, Any]:
    """A row's columns but some; times, which say when the row was made, are left out too."""
    columns = sa.inspect(type(row)).column_attrs
    found = {column.key: getattr(row, column.key) for column in columns if column.key not in left_out}
    return {key: value for key, value in found.items() if not isinstance(value, datetime)}


def describe(session: Session, machine: VirtualMachine) -> dict[str, Any]:
    """The machine, its controllers, all its disks (those that are not copied too) and its adapters with their VLANs' names."""
    hung = sa.select(VirtualController).where(VirtualController.machine_id == machine.id)
    plugged = []
    for adapter in adapters.of_machine(session, machine.id):
        vlan = session.get(Vlan, adapter.vlan_id)
        plugged.append({**values(adapter, _NOT_OF_ADAPTER), "vlan_name": vlan.name if vlan is not None else ""})
    return {
        "machine": values(machine, _NOT_OF_MACHINE),
        "controllers": [
            values(row, _NOT_OF_CONTROLLER)
            for row in session.scalars(hung.order_by(VirtualController.type, VirtualController.number))
        ],
        "disks": [values(disk, _NOT_OF_DISK) for disk in disks.of_machine(session, machine.id)],
        "adapters": plugged,
    }


def known(table: type[Base], kept: dict[str, Any]) -> dict[str, Any]:
    """Of kept values those that the table still has a column for: it may have changed since."""
    columns = {column.key for column in sa.inspect(table).column_attrs}
    return {key: value for key, value in kept.items() if key in columns}


def names_of_disks(description: dict[str, Any]) -> dict[str, str]:
    return {str(entry["id"]): str(entry["name"]) for entry in description["disks"]}
