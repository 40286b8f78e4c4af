"""Where areas above compute have their say about machines: they append to these lists when they are imported."""

from collections.abc import Callable, Mapping

from sqlalchemy.orm import Session

from naos.compute.models import VirtualMachine
from naos.world import World

START_CONDITIONS: list[Callable[[Session, VirtualMachine], None]] = []
"""Each is asked before a machine starts, when the request is checked and again in the activity; it raises a NaosError to refuse."""

FORGET_HOOKS: list[Callable[[Session, str], None]] = []
"""Each removes its rows of the machine with that id, in the transaction that removes the machine's own."""

BLADE_CONDITIONS: list[Callable[[Session, str], Mapping[str, str]]] = []
"""Each is asked which blades of the cpool with that id take no machine for now: why, in words, by the blade's name."""


def check_start(session: Session, machine: VirtualMachine) -> None:
    """Raises what a condition raises, for a machine that may not start."""
    for condition in START_CONDITIONS:
        condition(session, machine)


def check_start_of(world: World, machine_id: str) -> None:
    """The same, within an activity."""
    with world.database.read() as session:
        check_start(session, session.get_one(VirtualMachine, machine_id))


def forgotten(session: Session, machine_id: str) -> None:
    """A machine's row goes: so does what others keep of it."""
    for hook in FORGET_HOOKS:
        hook(session, machine_id)


def closed_blades(session: Session, cpool_id: str) -> dict[str, str]:
    """Blades of a cpool that take no machine, and why."""
    found: dict[str, str] = {}
    for condition in BLADE_CONDITIONS:
        for blade, reason in condition(session, cpool_id).items():
            found.setdefault(blade, reason)
    return found
