"""Where areas above compute have their say about machines: they append to these lists when they are imported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.compute.models import VirtualMachine
from naos.engines.ports import PowerState
from naos.fleet.models import Cpool
from naos.world import World


@dataclass(frozen=True)
class Loss:
    """How a machine is missing where it should run. state: what its blade shows of it. rebooted: the blade was booted anew since it
    ran there. ended: its guest or an order ended it, as far as the blade knows."""

    state: PowerState
    rebooted: bool = False
    ended: bool = False


START_CONDITIONS: list[Callable[[Session, VirtualMachine], None]] = []
"""Each is asked before a machine starts, when the request is checked and again in the activity; it raises a NaosError to refuse."""

MEMORY_CONDITIONS: list[Callable[[Session, VirtualMachine, str, int], None]] = []
"""Each is asked in the transaction that sets memory aside: whether the machine may have so many bytes in the cpool with that id, at a
start, as it grows while it runs, or as it comes from another cpool. No two transactions ask for one cpool at the same time."""

SHRINK_CONDITIONS: list[Callable[[Session, Cpool, int, int], None]] = []
"""Each is asked whether a cpool may have so few blades, and so little over-commit of memory (per cent)."""

FORGET_HOOKS: list[Callable[[Session, str], None]] = []
"""Each removes its rows of the machine with that id, in the transaction that removes the machine's own."""

BLADE_CONDITIONS: list[Callable[[Session, str], Mapping[str, str]]] = []
"""Each is asked which blades of the cpool with that id take no machine for now: why, in words, by the blade's name."""

LOSS_HOOKS: list[Callable[[Session, VirtualMachine, Loss], Plan | None]] = []
"""Each is asked what is to be done about a running machine that its blade does not run any more; None: nothing of its own."""

POWER_OFF_HOOKS: list[Callable[[Session, str], None]] = []
"""Each is told, when the request is checked, that somebody wants the machine with that id to be off."""

JOIN_CONDITIONS: list[Callable[[Session, str], bool]] = []
"""Each is asked whether a blade that answers may be counted among the connected ones."""


def check_start(session: Session, machine: VirtualMachine) -> None:
    """Raises what a condition raises, for a machine that may not start."""
    for condition in START_CONDITIONS:
        condition(session, machine)


def check_memory(session: Session, machine: VirtualMachine, cpool_id: str, memory: int) -> None:
    """Raises what a condition raises, for a machine that may not have so much memory there."""
    for condition in MEMORY_CONDITIONS:
        condition(session, machine, cpool_id, memory)


def check_shrinking(session: Session, cpool: Cpool, blades: int, overcommit: int) -> None:
    """Raises what a condition raises, for a cpool that may not get that small."""
    for condition in SHRINK_CONDITIONS:
        condition(session, cpool, blades, overcommit)


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


def plan_for_loss(session: Session, machine: VirtualMachine, loss: Loss) -> Plan | None:
    """What an area above compute does about a machine that stopped by itself."""
    for hook in LOSS_HOOKS:
        plan = hook(session, machine, loss)
        if plan is not None:
            return plan
    return None


def power_off_wanted(session: Session, machine_id: str) -> None:
    for hook in POWER_OFF_HOOKS:
        hook(session, machine_id)


def may_join(session: Session, blade: str) -> bool:
    """Whether nothing speaks against using a blade that answers."""
    return all(condition(session, blade) for condition in JOIN_CONDITIONS)
