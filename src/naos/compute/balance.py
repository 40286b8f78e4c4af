"""Which machines of a cpool should move: first to mend broken affinity rules, then for balance. Pure; nothing is moved here.

Balance is the gap, in percentage points of memory, between the fullest and the emptiest blade. Nothing moves while the gap is within
the cpool's threshold. Beyond it machines move until it is within half of it, so that small changes never begin another round; and a
machine only moves when it has less than the difference of its two blades, so that every move brings them closer and none is taken back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from naos.compute.placement import AFFINITY, ANTI_AFFINITY, Candidate, Need, Tie, best, obstacles
from naos.compute.rearranging import Group, Move, Runner
from naos.units import size_text

MANUAL, PARTIAL, FULL = "manual", "partial", "full"
MOST_MOVES = 16
"""In one round. What is left is found by the next one."""


@dataclass(frozen=True)
class Advice:
    """A move and why. mends: name of the rule that it mends, "" for balance."""

    move: Move
    reason: str
    mends: str = ""


class Pool:
    """The blades and machines of a cpool as the advised moves leave them."""

    def __init__(self, candidates: Sequence[Candidate], runners: Sequence[Runner], groups: Sequence[Group]) -> None:
        self._blades = {candidate.name: candidate for candidate in candidates}
        self._runners = {runner.id: runner for runner in runners}
        self.groups = groups

    @property
    def open_blades(self) -> list[Candidate]:
        """Those that machines may leave and come to, the fullest first."""
        found = [blade for blade in self._blades.values() if blade.connected and not blade.closed]
        return sorted(found, key=lambda blade: (-_share(blade), blade.name))

    @property
    def gap(self) -> float:
        """Percentage points between the fullest and the emptiest blade."""
        blades = self.open_blades
        return _share(blades[0]) - _share(blades[-1]) if blades else 0.0

    def on(self, blade: str) -> list[Runner]:
        return [runner for runner in self._runners.values() if runner.blade == blade]

    def members(self, group: Group) -> list[Runner]:
        return [self._runners[member] for member in sorted(group.members) if member in self._runners]

    def need(self, runner: Runner) -> Need:
        ties = []
        for group in self.groups:
            if runner.id in group.members:
                others = [other for other in self.members(group) if other.id != runner.id]
                places = frozenset(other.blade for other in others)
                ties.append(Tie(group.rule, group.kind, group.must, places, tuple(other.name for other in others)))
        return Need(runner.memory, runner.vcpus, ties=tuple(ties))

    def may_go(self, runner: Runner, blade: str, need: Need) -> bool:
        return blade not in {runner.blade, *runner.barred} and next(obstacles(self._blades[blade], need), None) is None

    def move(self, runner: Runner, target: str) -> Move:
        for name, sign in ((runner.blade, -1), (target, 1)):
            blade = self._blades[name]
            self._blades[name] = replace(
                blade,
                reserved=blade.reserved + sign * runner.memory,
                vcpus=blade.vcpus + sign * runner.vcpus,
                machines=blade.machines + sign,
            )
        self._runners[runner.id] = replace(runner, blade=target)
        return Move(runner.id, runner.name, runner.blade, target)


def _share(blade: Candidate) -> float:
    return blade.reserved * 100 / blade.memory if blade.memory else 0.0


def advise(
    candidates: Sequence[Candidate], runners: Sequence[Runner], groups: Sequence[Group], threshold: int
) -> list[Advice]:
    """Moves in an order in which each can be made. candidates: with the load of every runner. threshold: percentage points."""
    pool = Pool(candidates, runners, groups)
    moved: set[str] = set()
    advice = _mend(pool, moved)
    if pool.gap > threshold:
        advice += _level(pool, moved, threshold, MOST_MOVES - len(advice))
    return advice[:MOST_MOVES]


def _mend(pool: Pool, moved: set[str]) -> list[Advice]:
    """The smallest machines move, each to where no rule is broken that is not broken now."""
    advice = []
    for group in sorted(pool.groups, key=lambda group: (not group.must, group.rule)):
        for runner in _misplaced(pool, group):
            if runner.pinned or runner.id in moved:
                continue
            need = pool.need(runner)
            target = _mending(pool, runner, need, group)
            if target is not None:
                reason = f"{group.kind} rule {group.rule!r} is broken on {runner.blade} and holds on {target}"
                advice.append(Advice(pool.move(runner, target), reason, mends=group.rule))
                moved.add(runner.id)
    return advice


def _misplaced(pool: Pool, group: Group) -> list[Runner]:
    """Members that would have to move, the smallest first."""
    by_blade: dict[str, list[Runner]] = {}
    for runner in pool.members(group):
        by_blade.setdefault(runner.blade, []).append(runner)
    if group.kind == ANTI_AFFINITY:
        found = [runner for there in by_blade.values() for runner in sorted(there, key=_size)[:-1]]
    elif len(by_blade) > 1:
        home = max(by_blade, key=lambda blade: (sum(runner.memory for runner in by_blade[blade]), blade))
        found = [runner for blade, there in by_blade.items() if blade != home for runner in there]
    else:
        found = []
    return sorted(found, key=_size)


def _size(runner: Runner) -> tuple[int, str]:
    return runner.memory, runner.name


def _mending(pool: Pool, runner: Runner, need: Need, group: Group) -> str | None:
    """The best blade on which the group's rule holds for the machine, and no other is broken that holds now."""
    held = [tie for tie in need.ties if not tie.broken_by(runner.blade)]
    fitting = []
    for blade in pool.open_blades:
        tie = next(tie for tie in need.ties if tie.rule == group.rule)
        # Members on several blades: the others of an affinity rule gather on the one that has the most of them.
        gathers = tie.kind != AFFINITY or blade.name == _gathering(pool, group, runner)
        breaks = any(other.broken_by(blade.name) for other in held)
        if gathers and not tie.broken_by(blade.name) and not breaks and pool.may_go(runner, blade.name, need):
            fitting.append(blade)
    return best(fitting, need)


def _gathering(pool: Pool, group: Group, runner: Runner) -> str:
    weights: dict[str, int] = {}
    for other in pool.members(group):
        if other.id != runner.id:
            weights[other.blade] = weights.get(other.blade, 0) + other.memory
    return max(weights, key=lambda blade: (weights[blade], blade))


def _level(pool: Pool, moved: set[str], threshold: int, most: int) -> list[Advice]:
    advice: list[Advice] = []
    while pool.gap * 2 > threshold and len(advice) < most:
        found = _next(pool, moved)
        if found is None:
            break
        runner, source, target = found
        reason = (
            f"{source.name} has {_share(source):.0f} % of its memory given away and {target.name} {_share(target):.0f} %; "
            f"{runner.name} has {size_text(runner.memory)}"
        )
        advice.append(Advice(pool.move(runner, target.name), reason))
        moved.add(runner.id)
    return advice


def _next(pool: Pool, moved: set[str]) -> tuple[Runner, Candidate, Candidate] | None:
    """The largest machine of the fullest blade that brings it and an emptier one closer; of the next fullest where it has none."""
    blades = pool.open_blades
    for source in blades:
        for target in reversed(blades):
            difference = source.reserved - target.reserved
            if difference <= 0:
                break
            for runner in sorted(pool.on(source.name), key=_size, reverse=True):
                if runner.memory * 2 > difference or runner.pinned or runner.id in moved:
                    continue
                need = pool.need(runner)
                if pool.may_go(runner, target.name, need) and not _breaks(need, runner.blade, target.name):
                    return runner, source, target
    return None


def _breaks(need: Need, source: str, target: str) -> bool:
    return any(tie.broken_by(target) and not tie.broken_by(source) for tie in need.ties)
