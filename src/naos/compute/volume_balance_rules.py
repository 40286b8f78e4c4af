"""Which machines' disks go to other volumes of a datastore cluster, so that none fills, or is at its limit, before the others: pure
functions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

SPREAD = 10
"""Points between the fullest and the emptiest volume, in per cent used, from which on a move is worth it."""
BUSY, LOAD_SPREAD = 50, 25
"""Per cent of its limit of operations that a volume must be using, and points that another one must be below it, for a move to be worth it."""
MOST = 20  # moves in one go


class Reason(StrEnum):
    """Why something moves."""

    MAINTENANCE = "maintenance"
    SPACE = "space"
    LOAD = "load"


@dataclass(frozen=True)
class Volume:
    """Bytes. resting: in maintenance, so that everything leaves it and nothing comes. rate, limit: operations a second that it does, and
    that it may do; None where that is not known or not limited."""

    id: str
    name: str
    capacity: int
    used: int
    resting: bool = False
    rate: float | None = None
    limit: int | None = None

    @property
    def share(self) -> float:
        """Per cent used."""
        return self.used * 100 / self.capacity

    @property
    def busy(self) -> float | None:
        """Per cent of its limit that it does."""
        return self.rate * 100 / self.limit if self.rate is not None and self.limit else None

    def with_more(self, size: int, rate: float = 0.0) -> "Volume":
        return replace(self, used=self.used + size, rate=None if self.rate is None else self.rate + rate)


@dataclass(frozen=True)
class Load:
    """A machine's disks on one volume. weight: bytes that they use by estimate; size: that they may fill. rate: operations a second.

    obstacle: why they cannot move now, "" when they can.
    """

    machine_id: str
    volume_id: str
    weight: int
    size: int
    obstacle: str = ""
    rate: float = 0.0


@dataclass(frozen=True)
class Move:
    machine_id: str
    source: str
    target: str
    weight: int
    reason: Reason
    rate: float = 0.0


def moves(volumes: Sequence[Volume], loads: Sequence[Load]) -> list[Move]:
    """First everything off volumes in maintenance, the largest first; then, one at a time, the move that brings the fullest and
    another volume nearest to each other, until they are within SPREAD; then the same by load, from the busiest volume on, as long as no
    volume gets further away from the others in space for it. Nothing moves twice, and only to where its whole size fits."""
    state = {volume.id: volume for volume in volumes}
    left = sorted((load for load in loads if not load.obstacle), key=lambda load: (-load.weight, load.machine_id))
    found: list[Move] = []
    for load in [load for load in left if state[load.volume_id].resting]:
        target = min(_targets(state, load), key=lambda volume: (volume.share, volume.name), default=None)
        if target is not None and len(found) < MOST:
            found.append(_take(state, load, target, Reason.MAINTENANCE))
            left.remove(load)
    for choose, reason in ((_best, Reason.SPACE), (_best_by_load, Reason.LOAD)):
        while len(found) < MOST and (best := choose(state, left)) is not None:
            load, target = best
            found.append(_take(state, load, target, reason))
            left.remove(load)
    return found


def _best(state: dict[str, Volume], left: Sequence[Load]) -> tuple[Load, Volume] | None:
    serving = [volume for volume in state.values() if not volume.resting]
    if len(serving) < 2:
        return None
    fullest = max(serving, key=lambda volume: (volume.share, volume.name))
    emptiest = min(serving, key=lambda volume: (volume.share, volume.name))
    before = fullest.share - emptiest.share
    if before <= SPREAD:
        return None
    gains = []
    for load in left:
        if load.volume_id == fullest.id:
            for target in _targets(state, load):
                after = abs(fullest.with_more(-load.weight).share - target.with_more(load.weight).share)
                gains.append((after, -load.weight, load.machine_id, target.name, load, target))
    best = min(gains, key=lambda gain: gain[:4], default=None)
    return (best[4], best[5]) if best is not None and best[0] < before else None


def _best_by_load(state: dict[str, Volume], left: Sequence[Load]) -> tuple[Load, Volume] | None:
    known = [volume for volume in state.values() if not volume.resting and volume.busy is not None]
    busiest = max(known, key=lambda volume: (volume.busy or 0.0, volume.name), default=None)
    if busiest is None or (top := busiest.busy or 0.0) < BUSY:
        return None
    gains = []
    for load in left:
        if load.volume_id != busiest.id or not load.rate:
            continue
        for target in _targets(state, load):
            below = target.busy
            if below is None or top - below <= LOAD_SPREAD:
                continue
            fewer, more = busiest.with_more(-load.weight, -load.rate), target.with_more(load.weight, load.rate)
            after = abs((fewer.busy or 0.0) - (more.busy or 0.0))
            if after < top - below and (more.busy or 0.0) < top and _stays_even(state, fewer, more):
                gains.append((after, load.weight, load.machine_id, target.name, load, target))
    best = min(gains, key=lambda gain: gain[:4], default=None)
    return (best[4], best[5]) if best is not None else None


def _stays_even(state: dict[str, Volume], *changed: Volume) -> bool:
    """Whether the volumes are within SPREAD of each other in space after a change, or no further apart than before."""
    before, after = (
        [volume.share for volume in volumes if not volume.resting]
        for volumes in (state.values(), {**state, **{volume.id: volume for volume in changed}}.values())
    )
    return max(after) - min(after) <= max(SPREAD, max(before) - min(before))


def _targets(state: dict[str, Volume], load: Load) -> list[Volume]:
    return [
        volume
        for volume in state.values()
        if volume.id != load.volume_id and not volume.resting and volume.capacity - volume.used >= load.size
    ]


def _take(state: dict[str, Volume], load: Load, target: Volume, reason: Reason) -> Move:
    source = state[load.volume_id]
    state[source.id] = source.with_more(-load.weight, -load.rate)
    state[target.id] = target.with_more(load.weight, load.rate)
    return Move(load.machine_id, source.id, target.id, load.weight, reason, load.rate)
