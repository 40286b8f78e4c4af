"""What may be done, and what is done next: pure functions of plain values. Memory is in bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from naos.availability.errors import AdmissionRefused, ToleratedTooMany, TooFewBlades
from naos.availability.models import RESTART_LIMIT, Priority
from naos.units import size_text

RANKS = {Priority.HIGH: 0, Priority.MEDIUM: 1, Priority.LOW: 2, Priority.DISABLED: 3}


def check_blades(cpool: str, blades: int) -> None:
    """Raises TooFewBlades below two."""
    if blades < 2:
        raise TooFewBlades(cpool, blades)


def check_tolerated(cpool: str, tolerated: int, blades: int) -> None:
    """Raises ToleratedTooMany unless a blade would be left."""
    if not 0 <= tolerated < blades:
        raise ToleratedTooMany(cpool, tolerated, blades, blades - 1)


@dataclass(frozen=True)
class Room:
    """What a cpool has left for machines if the loss of `tolerated` of its blades shall not keep one from starting again.

    kept: what the other blades have. used: what its running machines take. fits: whether they all find a place there.
    """

    tolerated: int
    blades: int
    kept: int
    used: int
    fits: bool

    @property
    def left(self) -> int:
        return max(self.kept - self.used, 0)


def room(machines: Sequence[int], *, blades: int, blade_memory: int, tolerated: int) -> Room:
    """The room with `blades` that are alive. machines: the memory of each running one."""
    left = max(blades - tolerated, 0)
    return Room(tolerated, blades, left * blade_memory, sum(machines), _fits(machines, [blade_memory] * left))


def _fits(machines: Sequence[int], free: list[int]) -> bool:
    """Whether all find a place, the largest first, each where most is free."""
    for memory in sorted(machines, reverse=True):
        if not free or max(free) < memory:
            return False
        free[free.index(max(free))] -= memory
    return True


def check_admission(
    cpool: str, machine: str, needed: int, machines: Sequence[int], *, blades: int, blade_memory: int, tolerated: int
) -> None:
    """Raises AdmissionRefused when, with this machine, not all could run after the loss of `tolerated` blades."""
    if tolerated == 0:
        return
    found = room([*machines, needed], blades=blades, blade_memory=blade_memory, tolerated=tolerated)
    if not found.fits:
        before = room(machines, blades=blades, blade_memory=blade_memory, tolerated=tolerated)
        raise AdmissionRefused(
            machine, cpool, tolerated, blades, *(size_text(value) for value in (before.kept, before.used, needed))
        )


@dataclass(frozen=True)
class Settings:
    """Of one machine; see `models.MachineAvailability`."""

    priority: str = Priority.MEDIUM
    best_effort: bool = False
    start_order: int = 0
    start_delay: int = 0
    restart_limit: int = RESTART_LIMIT
    hung_after: int = 0


@dataclass(frozen=True)
class Pending:
    """A lost machine that is to start: `starting` when an activity is at it."""

    id: str
    machine: str
    memory: int
    settings: Settings = field(default_factory=Settings)
    starting: bool = False


@dataclass(frozen=True)
class Place:
    """A blade that can take machines, or cannot: then `barred` says why."""

    name: str
    memory: int
    reserved: int
    barred: str = ""

    @property
    def free(self) -> int:
        return max(self.memory - self.reserved, 0)


@dataclass(frozen=True)
class Next:
    """What is to be done now: `start` these (id -> blade that has room), and why others wait."""

    start: dict[str, str]
    waiting: dict[str, str]


def next_starts(
    pending: Sequence[Pending],
    places: Sequence[Place],
    *,
    enabled: int,
    used: int,
    now: float,
    turns: dict[str, float],
) -> Next:
    """By priority, then order; machines of best effort after all others. The next group comes once nobody of the one before
    starts or could; who finds no room holds up nobody.

    enabled, used: the cpool's memory. turns: when each was first in line (kept by the caller from call to call).
    """
    blades = {place.name: place for place in places}
    groups: dict[tuple[bool, int, int], list[Pending]] = {}
    for wish in pending:
        settings = wish.settings
        key = (settings.best_effort, RANKS[Priority(settings.priority)], settings.start_order)
        groups.setdefault(key, []).append(wish)
    start: dict[str, str] = {}
    waiting: dict[str, str] = {}
    busy = ""
    for _, group in sorted(groups.items()):
        if busy:
            waiting |= {wish.id: f"{busy} is before it" for wish in group if not wish.starting}
            continue
        for wish in sorted(group, key=lambda each: (-each.memory, each.machine)):
            if wish.starting:
                busy = busy or wish.machine
                continue
            turn = turns.setdefault(wish.id, now)
            if now - turn < wish.settings.start_delay:
                waiting[wish.id] = f"it starts {wish.settings.start_delay} s after its turn came"
                busy = busy or wish.machine
                continue
            blade, reason = _place(wish, blades, enabled=enabled, used=used)
            if blade is None:
                waiting[wish.id] = reason
                continue
            start[wish.id] = blade
            busy = busy or wish.machine
            used += wish.memory
            taken = blades[blade]
            blades[blade] = replace(taken, reserved=taken.reserved + wish.memory)
    return Next(start, waiting)


def _place(wish: Pending, blades: Mapping[str, Place], *, enabled: int, used: int) -> tuple[str | None, str]:
    """The blade with most room for it, or why there is none."""
    if used + wish.memory > enabled:
        free = size_text(max(enabled - used, 0))
        return None, f"it needs {size_text(wish.memory)}, of the cpool's {size_text(enabled)} {free} are free"
    fitting = [place for place in blades.values() if not place.barred and place.free >= wish.memory]
    if fitting:
        return min(fitting, key=lambda place: (-place.free, place.name)).name, ""
    told = "; ".join(_why(place) for place in blades.values()) or "the cpool has no blade"
    return None, f"it needs {size_text(wish.memory)}: {told}"


def _why(place: Place) -> str:
    return f"{place.name}: {place.barred or f'{size_text(place.free)} of {size_text(place.memory)} free'}"
