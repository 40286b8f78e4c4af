"""Guests that hang: the agent inside, which answered before, answers no more. By policy only, and machine by machine."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.activity.locks import is_free
from naos.availability.manager import Member
from naos.compute import machines
from naos.compute.models import VirtualMachine
from naos.engines.errors import EngineError
from naos.errors import Unknown
from naos.world import World

ASK_SECONDS = 2.0
STEP_SECONDS = 5.0
"""The most that one question adds, so that a controller which slept does not take its own sleep for a guest's."""


@dataclass
class _Guest:
    """due: when it is asked again; missing: for how long it has not answered, since it did the last time."""

    blade: str | None
    due: float = 0.0
    asked: float = 0.0
    answered: bool = False
    missing: float = 0.0


class Patience:
    """How long each guest has been silent. A guest whose agent never answered since it was started is never taken for hung."""

    def __init__(self) -> None:
        self._guests: dict[str, _Guest] = {}

    def look(self, world: World, members: Sequence[Member], now: float) -> list[str]:
        """Ask whom it is time to ask; the machines that are to be reset. now: monotonic seconds."""
        found = []
        for member in members:
            limit = member.settings.hung_after
            if limit <= 0 or not member.running or member.blade is None:
                self._guests.pop(member.id, None)
                continue
            guest = self._guests.get(member.id)
            if guest is None or guest.blade != member.blade:
                guest = self._guests[member.id] = _Guest(member.blade, asked=now)
            if now >= guest.due:
                guest.due = now + ASK_SECONDS
                answer = _ask(world, member.blade, member.id)
                if self.take(member.id, now, answers=answer, limit=limit):
                    found.append(member.id)
        return found

    def take(self, machine_id: str, now: float, *, answers: bool | None, limit: int) -> bool:
        """Take an answer in: None when the blade could not be asked, which says nothing. True when the guest is to be reset."""
        guest = self._guests.setdefault(machine_id, _Guest(None, asked=now))
        step = min(max(now - guest.asked, 0.0), STEP_SECONDS)
        guest.asked = now
        if answers is None:
            return False
        if answers:
            guest.answered, guest.missing = True, 0.0
            return False
        if guest.answered:
            guest.missing += step
        if guest.missing < limit:
            return False
        self._guests[machine_id] = _Guest(guest.blade, asked=now)
        return True


def _ask(world: World, blade: str, machine_id: str) -> bool | None:
    try:
        answers = world.rack.hypervisor(blade).agent_ping(machine_id)
    except EngineError:
        return None
    return answers or (False if _is_left_alone(world, machine_id) else None)


def _is_left_alone(world: World, machine_id: str) -> bool:
    """One on which an activity works may stand still for it, while its memory is saved for example: its silence says nothing."""
    with world.database.read() as session:
        return is_free(session, (machines.lock(machine_id),))


def plan_reset(session: Session, machine_id: str) -> Plan:
    """Reset a guest that hangs."""
    machine = session.get(VirtualMachine, machine_id)
    if machine is None:
        raise Unknown("virtual machine", machine_id)
    return machines.plan(
        session, machine, "virtual_machine.reset", f"Reset machine {machine.name}: its guest's agent answers no more"
    )
