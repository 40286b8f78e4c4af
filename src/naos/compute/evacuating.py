"""Emptying a blade: which of its machines goes where, in which order, or why it cannot be emptied. Pure; nothing is moved here.

The largest machines choose first, each the best blade as things are; machines that an affinity rule keeps together choose as one.
Where that leaves one over, the solver looks for any arrangement, and for moves of other machines that make one (`rearranging`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from naos.compute import blockers
from naos.compute.blockers import Blocker
from naos.compute.placement import AFFINITY, ANTI_AFFINITY, Candidate, Need, Tie, best
from naos.compute.rearranging import SECONDS, Group, Move, Runner, make_empty
from naos.names import listing
from naos.units import size_text

Stage = tuple[Move, ...]


@dataclass(frozen=True)
class Stuck:
    """A machine that has nowhere to go, and why not, blade by blade: in one sentence, and each reason by itself."""

    machine_id: str
    name: str
    reason: str
    blockers: tuple[Blocker, ...] = ()


@dataclass(frozen=True)
class Evacuation:
    """stages: one after the other; the moves of one may be made side by side. None: the blade cannot be emptied; then `stuck` has
    the machines in the way, `blame` each constraint that alone would help if it gave way, `help` what can be done. proven: there is
    no plan, and not merely none that was found in time."""

    stages: tuple[Stage, ...] | None
    stuck: tuple[Stuck, ...] = ()
    blame: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    proven: bool = True

    @property
    def moves(self) -> list[Move]:
        return [move for stage in self.stages or () for move in stage]


def evacuate(
    candidates: Sequence[Candidate],
    runners: Sequence[Runner],
    groups: Sequence[Group],
    blade: str,
    *,
    seconds: float = SECONDS,
) -> Evacuation:
    """candidates: every blade of the cpool, with the load of every runner."""
    leaving = [runner for runner in runners if runner.blade == blade]
    if not leaving:
        return Evacuation(())
    pinned = {runner.id for runner in leaving if runner.pinned}
    if pinned:
        rest = evacuate(
            candidates, [runner for runner in runners if runner.id not in pinned], groups, blade, seconds=seconds
        )
        stuck = (*(_held(runner) for runner in leaving if runner.pinned), *rest.stuck)
        return replace(rest, stages=None, stuck=stuck, help=("wait until that has ended, or stop them", *rest.help))
    others = [candidate for candidate in candidates if candidate.name != blade]
    if not any(candidate.connected and not candidate.closed for candidate in others):
        return Evacuation(None, tuple(_stuck(others, runners, groups, leaving)), help=_remedies((), alone=True))
    moves = _greedy(others, runners, groups, leaving)
    if moves is not None:
        return Evacuation((tuple(moves),))
    outcome = make_empty(candidates, runners, groups, blade, seconds=seconds)
    if outcome.blade is not None:
        stages = staged(candidates, runners, [group for group in groups if group.must], outcome.moves)
        if stages is not None:
            return Evacuation(stages)
    stuck = tuple(_stuck(others, runners, groups, leaving))
    return Evacuation(None, stuck, outcome.blame, _remedies(outcome.blame), outcome.proven)


# --------------------------------------------------------------------------------------------------------------- greedy


def _greedy(
    others: Sequence[Candidate], runners: Sequence[Runner], groups: Sequence[Group], leaving: Sequence[Runner]
) -> list[Move] | None:
    """Every machine to the best blade that fits when its turn comes; None when one is left over."""
    places = {runner.id: runner for runner in runners}
    open_ones = {candidate.name: candidate for candidate in others}
    moves = []
    for unit in _units(groups, leaving):
        target = best(_possible(open_ones.values(), unit), _need(unit, groups, places))
        if target is None or _apart(unit, groups):
            return None
        for runner in unit:
            moves.append(Move(runner.id, runner.name, runner.blade, target))
            places[runner.id] = replace(runner, blade=target)
        taken = open_ones[target]
        open_ones[target] = replace(
            taken,
            reserved=taken.reserved + sum(runner.memory for runner in unit),
            vcpus=taken.vcpus + sum(runner.vcpus for runner in unit),
            machines=taken.machines + len(unit),
        )
    return moves


def _possible(blades: Iterable[Candidate], unit: Sequence[Runner]) -> list[Candidate]:
    barred = {name for runner in unit for name in runner.barred}
    return [blade for blade in blades if blade.name not in barred]


def _units(groups: Sequence[Group], leaving: Sequence[Runner]) -> list[list[Runner]]:
    """The machines, those together that affinity rules keep together; the largest first."""
    units = [{runner.id} for runner in leaving]
    for group in groups:
        if group.must and group.kind == AFFINITY:
            joined = [unit for unit in units if unit & group.members]
            units = [unit for unit in units if not unit & group.members]
            if joined:
                units.append(set().union(*joined))
    by_id = {runner.id: runner for runner in leaving}
    found = [sorted((by_id[member] for member in unit), key=lambda runner: runner.name) for unit in units]
    return sorted(found, key=lambda unit: (-sum(runner.memory for runner in unit), unit[0].name))


def _need(unit: Sequence[Runner], groups: Sequence[Group], places: dict[str, Runner]) -> Need:
    """Of all of a unit's machines together."""
    own = {runner.id for runner in unit}
    ties = []
    for group in groups:
        if group.members & own:
            rest = [places[member] for member in sorted(group.members - own) if member in places]
            names = tuple(runner.name for runner in rest)
            ties.append(Tie(group.rule, group.kind, group.must, frozenset(runner.blade for runner in rest), names))
    memory, vcpus = sum(runner.memory for runner in unit), sum(runner.vcpus for runner in unit)
    return Need(memory, vcpus, ties=tuple(ties))


def _apart(unit: Sequence[Runner], groups: Sequence[Group]) -> bool:
    """Whether a rule forbids what another one asks: that all of these are on one blade."""
    own = {runner.id for runner in unit}
    return any(group.must and group.kind == ANTI_AFFINITY and len(group.members & own) > 1 for group in groups)


# --------------------------------------------------------------------------------------------------------------- stages


def staged(
    candidates: Sequence[Candidate], runners: Sequence[Runner], groups: Sequence[Group], moves: Sequence[Move]
) -> tuple[Stage, ...] | None:
    """The moves in stages. Those of one may be made in any order and side by side: each target has room while nothing has left yet,
    and no two machines that are kept apart meet. None when no stage can begin."""
    blades = {candidate.name: candidate for candidate in candidates}
    by_id = {runner.id: runner for runner in runners}
    where = {runner.id: {runner.blade} for runner in runners}
    left, stages = list(moves), []
    while left:
        stage = []
        for move in left:
            runner, target = by_id[move.machine_id], blades[move.target]
            if _fits(runner, target) and not _meets(groups, where, move):
                stage.append(move)
                blades[move.target] = _loaded(target, runner, 1)
                where[move.machine_id].add(move.target)
        if not stage:
            return None
        for move in stage:
            blades[move.source] = _loaded(blades[move.source], by_id[move.machine_id], -1)
            where[move.machine_id] = {move.target}
        left = [move for move in left if move not in stage]
        stages.append(tuple(stage))
    return tuple(stages)


def _fits(runner: Runner, target: Candidate) -> bool:
    vcpus = target.vcpu_limit is None or target.vcpus + runner.vcpus <= target.vcpu_limit
    return target.free >= runner.memory and vcpus


def _meets(groups: Sequence[Group], where: dict[str, set[str]], move: Move) -> bool:
    return any(
        group.kind == ANTI_AFFINITY
        and move.machine_id in group.members
        and any(move.target in where.get(member, ()) for member in group.members - {move.machine_id})
        for group in groups
    )


def _loaded(blade: Candidate, runner: Runner, sign: int) -> Candidate:
    return replace(blade, reserved=blade.reserved + sign * runner.memory, vcpus=blade.vcpus + sign * runner.vcpus)


# ---------------------------------------------------------------------------------------------------------------- words


def _held(runner: Runner) -> Stuck:
    """A machine that may not move at all, wherever to."""
    why = Blocker(runner.id, runner.name, "", "pinned", runner.pinned, blockers.HELP["pinned"])
    return Stuck(runner.id, runner.name, runner.pinned, (why,))


def _stuck(
    others: Sequence[Candidate], runners: Sequence[Runner], groups: Sequence[Group], leaving: Sequence[Runner]
) -> Iterator[Stuck]:
    """The machines that fit nowhere even by themselves; where each would, all of them, the largest first."""
    places = {runner.id: runner for runner in runners}
    units = _units(groups, leaving)
    alone = [
        unit
        for unit in units
        if best(_possible(others, unit), _need(unit, groups, places)) is None or _apart(unit, groups)
    ]
    for unit in alone or units:
        need = _need(unit, groups, places)
        found = [list(_against(other, unit, need)) for other in others]
        told = [
            f"{other.name}: {'; '.join(blocker.reason for blocker in against)}"
            for other, against in zip(others, found, strict=True)
        ]
        with_it = f" (together with {listing(runner.name for runner in unit[1:])})" if len(unit) > 1 else ""
        reason = f"{size_text(need.memory)}{with_it}; {', '.join(told) or 'the cpool has no other blade'}"
        rows = [blocker for against in found for blocker in against] or [
            _blocker(unit, "", "room", "the cpool has no other blade")
        ]
        yield Stuck(unit[0].id, unit[0].name, reason, tuple(rows))


def _against(other: Candidate, unit: Sequence[Runner], need: Need) -> Iterator[Blocker]:
    """At least one: a blade with nothing against a machine has no room left when all have chosen."""
    rows = list(blockers.on_blade(unit[0].id, unit[0].name, other, need))
    if not _possible([other], unit):
        lacks = "its processor lacks what the guest was shown at its start; start the machine anew"
        rows.append(_blocker(unit, other.name, "processor", lacks))
    yield from rows or [_blocker(unit, other.name, "room", "room for this one, not for all")]


def _blocker(unit: Sequence[Runner], blade: str, rule: str, reason: str) -> Blocker:
    return Blocker(unit[0].id, unit[0].name, blade, rule, reason, blockers.HELP[rule])


def _remedies(blame: Sequence[str], *, alone: bool = False) -> tuple[str, ...]:
    """What to do, by what is to blame."""
    if alone:
        return ("add a blade to the cpool", "end the maintenance of another blade", "stop these machines")
    found = []
    for cause in blame:
        if cause.startswith("memory"):
            found += ["stop or shrink a machine", "add a blade"]
        elif cause.startswith("vCPU"):
            found.append("raise the vCPU rate of the cpool")
        elif "rule '" in cause:
            found.append(f"disable {cause}")
    return tuple(dict.fromkeys(found)) or ("stop these machines", "add a blade")
