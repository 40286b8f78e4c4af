"""Which machines' disks go to other volumes of a datastore cluster, so that none fills before the others: pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

SPREAD = 10
"""Points between the fullest and the emptiest volume, in per cent used, from which on a move is worth it."""
MOST = 20  # moves in one go


@dataclass(frozen=True)
class Volume:
    """Bytes. resting: in maintenance, so that everything leaves it and nothing comes."""

    id: str
    name: str
    capacity: int
    used: int
    resting: bool = False

    @property
    def share(self) -> float:
        """Per cent used."""
        return self.used * 100 / self.capacity

    def with_more(self, size: int) -> "Volume":
        return replace(self, used=self.used + size)


@dataclass(frozen=True)
class Load:
    """A machine's disks on one volume. weight: bytes that they use by estimate; size: that they may fill.

    obstacle: why they cannot move now, "" when they can.
    """

    machine_id: str
    volume_id: str
    weight: int
    size: int
    obstacle: str = ""


@dataclass(frozen=True)
class Move:
    machine_id: str
    source: str
    target: str
    weight: int


def moves(volumes: Sequence[Volume], loads: Sequence[Load]) -> list[Move]:
    """First everything off volumes in maintenance, the largest first; then, one at a time, the move that brings the fullest and
    another volume nearest to each other, until they are within SPREAD. Nothing moves twice, and only to where its whole size fits."""
    state = {volume.id: volume for volume in volumes}
    left = sorted((load for load in loads if not load.obstacle), key=lambda load: (-load.weight, load.machine_id))
    found: list[Move] = []
    for load in [load for load in left if state[load.volume_id].resting]:
        target = min(_targets(state, load), key=lambda volume: (volume.share, volume.name), default=None)
        if target is not None and len(found) < MOST:
            found.append(_take(state, load, target))
            left.remove(load)
    while len(found) < MOST and (best := _best(state, left)) is not None:
        load, target = best
        found.append(_take(state, load, target))
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


def _targets(state: dict[str, Volume], load: Load) -> list[Volume]:
    return [
        volume
        for volume in state.values()
        if volume.id != load.volume_id and not volume.resting and volume.capacity - volume.used >= load.size
    ]


def _take(state: dict[str, Volume], load: Load, target: Volume) -> Move:
    source = state[load.volume_id]
    state[source.id], state[target.id] = source.with_more(-load.weight), target.with_more(load.weight)
    return Move(load.machine_id, source.id, target.id, load.weight)
