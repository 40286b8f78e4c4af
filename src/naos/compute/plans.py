"""What plans that change a part of a machine have in common."""

from typing import Any

from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.compute import machines
from naos.compute.models import VirtualMachine
from naos.lifecycle import check_staying


def of_device(
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
    """A change of `item`, with the machine as the second that it concerns. Raises NotReady for a machine that is going."""
    check_staying("Machine", machine.name, machine.lifecycle)
    return Plan(
        kind=kind,
        description=description,
        arguments={"machine_id": machine.id, **arguments},
        locks=(*machines.locks_of(session, machine), *locks),
        concerned=(item, machines.item(machine.id)),
        undo=undo,
    )
