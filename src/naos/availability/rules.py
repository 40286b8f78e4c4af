"""What may be done, and what is done next: pure functions of plain values. Memory is in bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from naos.availability.errors import AdmissionRefused, RoomPromised, ToleratedTooMany, TooFewBlades
from naos.availability.models import RESTART_LIMIT, Priority
from naos.compute.hooks import Loss
from naos.engines.ports import PowerState
from naos.units import size_text

CRASHED, MISSING = "crashed", "missing"
RANKS = {Priority.HIGH: 0, Priority.MEDIUM: 1, Priority.LOW: 2, Priority.DISABLED: 3}


def cause_of(loss: Loss, *, shaken: bool) -> str | None:
    """Why a machine is started again that does not run where it should; None for one that stays stopped.

    A process that died is started again. What a guest or an order ended stays so, whatever its blade did afterwards. Of the rest,
    what is missing on a blade that was booted anew, or whose hypervisor was silent (`shaken`), went with it.
    """
    if loss.state == PowerState.CRASHED:
        return CRASHED
    if loss.ended:
        return None
    return MISSING if loss.rebooted or shaken else None


def check_blades(cpool: str, blades: int) -> None:
    """Raises TooFewBlades below two."""
    if blades < 2:
        raise TooFewBlades(cpool, blades)


def check_tolerated(cpool: str, tolerated: int, blades: int) -> None:
    """Raises ToleratedTooMany unless a blade would be left."""
    if not 0 <= tolerated < blades:
        raise ToleratedTooMany(cpool, tolerated, blades, blades - 1)


@dataclass(frozen=True)
class Kept:
    """The room that a cpool promises to keep: for the loss of so many blades, and so many per cent of all their memory."""

    tolerated: int = 0
    percent: int = 0

    def __bool__(self) -> bool:
        return bool(self.tolerated or self.percent)

    def told(self, blades: int) -> str:
        said = [f"the loss of {self.tolerated} of its {blades} connected blade(s)"] if self.tolerated else []
        if self.percent:
            said.append(f"{self.percent} % of the memory of its {blades} connected blade(s)")
        return " and ".join(said) or "nothing"


@dataclass(frozen=True)
class Room:
    """What a cpool has left for machines while it keeps what it promises.

    kept: what machines may take in all then. used: what those that run take. fits: whether they do, each with a place after a loss.
    """

    blades: int
    kept: int
    used: int
    fits: bool

    @property
    def left(self) -> int:
        return max(self.kept - self.used, 0)


def room(machines: Sequence[int], *, blades: int, blade_memory: int, promise: Kept) -> Room:
    """The room with `blades` that are alive. machines: the memory of each running one."""
    left, used = max(blades - promise.tolerated, 0), sum(machines)
    kept = min(left * blade_memory, blades * blade_memory * (100 - promise.percent) // 100)
    placed = not promise.tolerated or _fits(machines, [blade_memory] * left)
    return Room(blades, kept, used, used <= kept and placed)


def _fits(machines: Sequence[int], free: list[int]) -> bool:
    """Whether all find a place, the largest first, each where most is free."""
    for memory in sorted(machines, reverse=True):
        if not free or max(free) < memory:
            return False
        free[free.index(max(free))] -= memory
    return True


def check_admission(
    cpool: str, machine: str, needed: int, machines: Sequence[int], *, blades: int, blade_memory: int, promise: Kept
) -> None:
    """Raises AdmissionRefused when, with this machine, the cpool would not keep what it promises."""
    if not promise:
        return
    found = room([*machines, needed], blades=blades, blade_memory=blade_memory, promise=promise)
    if not found.fits:
        before = room(machines, blades=blades, blade_memory=blade_memory, promise=promise)
        figures = (before.kept, before.used, needed)
        raise AdmissionRefused(machine, cpool, promise.told(blades), *(size_text(value) for value in figures))


def check_smaller(cpool: str, machines: Sequence[int], *, blades: int, blade_memory: int, promise: Kept) -> None:
    """Raises TooFewBlades, ToleratedTooMany, RoomPromised when the cpool with so many blades would not keep what it promises."""
    check_blades(cpool, blades)
    check_tolerated(cpool, promise.tolerated, blades)
    found = room(machines, blades=blades, blade_memory=blade_memory, promise=promise)
    if promise and not found.fits:
        raise RoomPromised(cpool, promise.told(blades), size_text(found.kept), size_text(found.used))


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
    """A lost machine that is to start: `starting` when an activity is at it, `coming` when it is being cut off, and will be next."""

    id: str
    machine: str
    memory: int
    settings: Settings = field(default_factory=Settings)
    starting: bool = False
    coming: bool = False


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
    starts, could, or is about to; who finds no room holds up nobody.

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
            waiting |= {wish.id: f"{busy} is before it" for wish in group if not (wish.starting or wish.coming)}
            continue
        for wish in sorted(group, key=lambda each: (-each.memory, each.machine)):
            if wish.starting or wish.coming:
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
