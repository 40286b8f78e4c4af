"""Room for one machine where no blade has it as things are, or a blade without machines: the fewest moves of running machines, or
why there are none.

The solver (CP-SAT) looks first for a plan in which every blade only gives machines or only takes them. Such a plan can be carried out in
any order: no blade is ever fuller than at its end, and no two machines that are kept apart ever meet. Only when there is none does it
look for any arrangement, and then for an order of single moves that leads there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ortools.sat.python import cp_model

from naos.compute.placement import AFFINITY, ANTI_AFFINITY, Candidate, Need, obstacles
from naos.names import listing
from naos.units import MIB

SECONDS = 5.0
_MOVE_COST = 10**7  # more than all memory of a cpool in MiB: the fewest moves first, then the least memory


@dataclass(frozen=True)
class Runner:
    """A machine that has memory (bytes) set aside on a blade. pinned: why it does not move, "" when it may. barred: blades that
    cannot take it over while it runs."""

    id: str
    name: str
    blade: str
    memory: int
    vcpus: int
    pinned: str = ""
    barred: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Group:
    """An enabled affinity rule. members: ids of machines, running or not."""

    rule: str
    kind: str
    must: bool
    members: frozenset[str]


@dataclass(frozen=True)
class Move:
    machine_id: str
    name: str
    source: str
    target: str


@dataclass(frozen=True)
class Outcome:
    """blade: where the machine can start once `moves` are made, in their order. None: nowhere; then `blame` says what is in the
    way, each of which alone would help if it gave way. proven: there is no plan, and not merely none that was found in time."""

    blade: str | None
    moves: tuple[Move, ...] = ()
    blame: tuple[str, ...] = ()
    proven: bool = True


@dataclass(frozen=True)
class _Given:
    """The question, possibly with something relaxed. need: of the newcomer, None when a blade is to be emptied: `leaving`."""

    candidates: Sequence[Candidate]
    runners: Sequence[Runner]
    groups: Sequence[Group]
    need: Need | None
    newcomer: str = ""
    leaving: str = ""
    memory: bool = True
    vcpus: bool = True
    free: frozenset[str] = field(default_factory=frozenset)  # names of rules that are left out


def make_room(
    candidates: Sequence[Candidate],
    runners: Sequence[Runner],
    groups: Sequence[Group],
    need: Need,
    newcomer: str,
    *,
    seconds: float = SECONDS,
) -> Outcome:
    """candidates: with the load of every runner. newcomer: id of the machine that needs room; its rules are in `groups`."""
    return _answer(_Given(candidates, runners, [group for group in groups if group.must], need, newcomer), seconds)


def make_empty(
    candidates: Sequence[Candidate],
    runners: Sequence[Runner],
    groups: Sequence[Group],
    blade: str,
    *,
    seconds: float = SECONDS,
) -> Outcome:
    """The moves after which the blade has no machine; its own name is the answer's. Machines that must stay together leave together."""
    must = [group for group in groups if group.must]
    return _answer(_Given(candidates, runners, must, None, leaving=blade), seconds)


def _answer(given: _Given, seconds: float) -> Outcome:
    status, outcome = _solve(given, one_way=True, seconds=seconds)
    if outcome is not None:
        return outcome
    status, outcome = _solve(given, one_way=False, seconds=seconds)
    if outcome is not None:
        ordered = _in_order(given.candidates, given.runners, given.groups, outcome.moves)
        if ordered is not None:
            return replace(outcome, moves=ordered)
        told = "there is an arrangement with room, and no order of single moves leads to it: blades would have to swap machines"
        return Outcome(None, blame=(told,), proven=False)
    if status != cp_model.INFEASIBLE:
        return Outcome(None, blame=(f"no plan was found within {seconds:g} s",), proven=False)
    return Outcome(None, blame=_blame(given, seconds), proven=True)


# --------------------------------------------------------------------------------------------------------------- solving


def _solve(given: _Given, *, one_way: bool, seconds: float) -> tuple[cp_model.CpSolverStatus, Outcome | None]:
    model = cp_model.CpModel()
    targets = {
        candidate.name: candidate
        for candidate in given.candidates
        if _is_open(candidate) and candidate.name != given.leaving
    }
    stuck = _held_together(given)
    movable = [
        runner
        for runner in given.runners
        if runner.blade == given.leaving or (not runner.pinned and runner.id not in stuck and runner.blade in targets)
    ]
    goes = {
        (runner.id, name): model.new_bool_var(f"{runner.id} {name}")
        for runner in movable
        for name in targets
        if name != runner.blade
    }
    for runner in movable:
        for name in runner.barred & targets.keys() - {runner.blade}:
            model.add(goes[runner.id, name] == 0)
    starts = {candidate.name: model.new_bool_var(f"start {candidate.name}") for candidate in _allowed(given)}
    if given.need is not None:
        model.add_exactly_one(starts.values())
    for runner in movable:
        ways = [goes[runner.id, name] for name in targets if name != runner.blade]
        if runner.blade != given.leaving:
            model.add_at_most_one(ways)
        elif runner.pinned or not ways:
            return cp_model.INFEASIBLE, None
        else:
            model.add_exactly_one(ways)
    _leave_together(model, given, targets, goes)
    _capacities(model, given, targets, movable, goes, starts)
    _keep_apart(model, given, movable, goes, starts)
    if one_way:
        _either_give_or_take(model, given, targets, movable, goes)
    model.minimize(
        sum(
            (_MOVE_COST + runner.memory // MIB) * goes[runner.id, name]
            for runner in movable
            for name in targets
            if name != runner.blade
        )
    )
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 2
    solver.parameters.random_seed = 1
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return status, None
    moves = tuple(
        Move(runner.id, runner.name, runner.blade, name)
        for runner in sorted(movable, key=lambda runner: runner.name)
        for name in targets
        if name != runner.blade and solver.boolean_value(goes[runner.id, name])
    )
    blade = next((name for name, start in starts.items() if solver.boolean_value(start)), given.leaving)
    return status, Outcome(blade, moves)


def _either_give_or_take(
    model: cp_model.CpModel,
    given: _Given,
    targets: Mapping[str, Candidate],
    movable: Sequence[Runner],
    goes: "_Goes",
) -> None:
    takes = {name: model.new_bool_var(f"takes {name}") for name in targets}
    for runner in movable:
        for name in targets:
            if name != runner.blade:
                model.add_implication(goes[runner.id, name], takes[name])
                if runner.blade != given.leaving:
                    model.add_implication(goes[runner.id, name], takes[runner.blade].negated())


def _is_open(candidate: Candidate) -> bool:
    return candidate.connected and not candidate.closed


def _allowed(given: _Given) -> list[Candidate]:
    """Blades on which the newcomer could be if there were room: rules aside from memory and vCPUs."""
    if given.need is None:
        return []
    free = replace(given.need, memory=0, vcpus=0, ties=())
    blades = {runner.id: runner.blade for runner in given.runners}
    found = []
    for candidate in given.candidates:
        if next(obstacles(replace(candidate, reserved=0, vcpus=0), free), None) is not None:
            continue
        for group in given.groups:
            others = {blades[member] for member in group.members if member in blades and member != given.newcomer}
            held = group.kind == AFFINITY and given.newcomer in group.members and group.rule not in given.free
            if held and others and candidate.name not in others:
                break
        else:
            found.append(candidate)
    return found


def _held_together(given: _Given) -> set[str]:
    """Machines that an affinity rule keeps with others: moving one of them alone would break it."""
    running = {runner.id for runner in given.runners}
    together: set[str] = set()
    for group in given.groups:
        present = group.members & running
        if group.kind == AFFINITY and len(present) > 1 and group.rule not in given.free:
            together |= present
    return together


_Goes = Mapping[tuple[str, str], cp_model.IntVar]
_Starts = Mapping[str, cp_model.IntVar]


def _leave_together(model: cp_model.CpModel, given: _Given, targets: Mapping[str, Candidate], goes: _Goes) -> None:
    """Machines of an affinity rule leave a blade for one and the same, where its others are if there are any."""
    blades = {runner.id: runner.blade for runner in given.runners}
    for group in given.groups:
        leaving = sorted(member for member in group.members if given.leaving and blades.get(member) == given.leaving)
        if group.kind != AFFINITY or group.rule in given.free or not leaving:
            continue
        others = {blades[member] for member in group.members if member in blades} - {given.leaving}
        for name in targets:
            for member in leaving:
                if others and name not in others:
                    model.add(goes[member, name] == 0)
                elif not others:
                    model.add(goes[member, name] == goes[leaving[0], name])


def _capacities(
    model: cp_model.CpModel,
    given: _Given,
    targets: Mapping[str, Candidate],
    movable: Sequence[Runner],
    goes: _Goes,
    starts: _Starts,
) -> None:
    """What is there, less what goes, with what comes, within the blade; a blade that is over it already must not get worse."""
    for name, candidate in targets.items():
        coming = [(runner, goes[runner.id, name]) for runner in movable if runner.blade != name]
        going = [
            (runner, goes[runner.id, other])
            for runner in movable
            if runner.blade == name
            for other in targets
            if other != name
        ]
        new = starts.get(name)
        if given.memory:
            terms: list[cp_model.LinearExprT] = [_mib(runner.memory) * chosen for runner, chosen in coming]
            terms += [-(runner.memory // MIB) * chosen for runner, chosen in going]
            if new is not None and given.need is not None:
                terms.append(_mib(given.need.memory) * new)
            model.add(sum(terms) <= max(candidate.free, 0) // MIB)
        if given.vcpus and candidate.vcpu_limit is not None:
            terms = [runner.vcpus * chosen for runner, chosen in coming]
            terms += [-runner.vcpus * chosen for runner, chosen in going]
            if new is not None and given.need is not None:
                terms.append(given.need.vcpus * new)
            model.add(sum(terms) <= max(candidate.vcpu_limit - candidate.vcpus, 0))


def _mib(size: int) -> int:
    return -(-size // MIB)


def _keep_apart(
    model: cp_model.CpModel, given: _Given, movable: Sequence[Runner], goes: _Goes, starts: _Starts
) -> None:
    moving = {runner.id for runner in movable}
    blades = {runner.id: runner.blade for runner in given.runners}
    for group in given.groups:
        if group.kind != ANTI_AFFINITY or group.rule in given.free:
            continue
        for candidate in given.candidates:
            name = candidate.name
            here = [member for member in group.members if blades.get(member) == name]
            terms: list[cp_model.LinearExprT] = [len(here)]
            for member in sorted(group.members & moving):
                if blades[member] == name:
                    others = [(member, other.name) for other in given.candidates]
                    terms += [-goes[key] for key in others if key in goes]
                elif (member, name) in goes:
                    terms.append(goes[member, name])
            if given.newcomer in group.members and name in starts:
                terms.append(starts[name])
            model.add(sum(terms) <= max(1, len(here)))


# ----------------------------------------------------------------------------------------------------------------- order


def _in_order(
    candidates: Sequence[Candidate], runners: Sequence[Runner], groups: Sequence[Group], moves: Sequence[Move]
) -> tuple[Move, ...] | None:
    """The moves in an order in which each fits when its turn comes; None when there is none that begins well."""
    by_id = {runner.id: runner for runner in runners}
    blades = {candidate.name: candidate for candidate in candidates}
    where = {runner.id: runner.blade for runner in runners}
    left, ordered = list(moves), []
    while left:
        for move in left:
            runner, target = by_id[move.machine_id], blades[move.target]
            fits = target.free >= runner.memory and (
                target.vcpu_limit is None or target.vcpus + runner.vcpus <= target.vcpu_limit
            )
            if fits and not _meets(groups, where, move):
                break
        else:
            return None
        left.remove(move)
        ordered.append(move)
        where[move.machine_id] = move.target
        for name, sign in ((move.source, -1), (move.target, 1)):
            blade = blades[name]
            blades[name] = replace(
                blade, reserved=blade.reserved + sign * runner.memory, vcpus=blade.vcpus + sign * runner.vcpus
            )
    return tuple(ordered)


def _meets(groups: Sequence[Group], where: Mapping[str, str], move: Move) -> bool:
    return any(
        group.kind == ANTI_AFFINITY
        and move.machine_id in group.members
        and any(where.get(member) == move.target for member in group.members - {move.machine_id})
        for group in groups
    )


# ----------------------------------------------------------------------------------------------------------------- blame


def _blame(given: _Given, seconds: float) -> tuple[str, ...]:
    """Each constraint without which there would be a plan; where no single one is to blame, that."""
    if given.need is None:
        return _blame_any(given, seconds)
    if not _allowed(replace(given, free=frozenset(group.rule for group in given.groups))):
        need = replace(given.need, memory=0, vcpus=0, ties=())
        empty = [replace(candidate, reserved=0, vcpus=0) for candidate in given.candidates]
        return tuple(
            f"{candidate.name}: {'; '.join(obstacle.reason for obstacle in obstacles(candidate, need))}"
            for candidate in empty
        )
    return _blame_any(given, seconds)


def _blame_any(given: _Given, seconds: float) -> tuple[str, ...]:
    trials = [("memory of the blades", replace(given, memory=False)), ("vCPU rate", replace(given, vcpus=False))]
    trials += [
        (f"{group.kind} rule {group.rule!r}", replace(given, free=frozenset({group.rule}))) for group in given.groups
    ]
    share = max(seconds / len(trials), 0.2)
    found = tuple(told for told, trial in trials if _is_possible(trial, share))
    if found:
        return found
    names = listing(group.rule for group in given.groups)
    rules = f" and the rules {names}" if names else ""
    return (f"no single constraint: the memory of the blades, the vCPU rate{rules} leave no plan together",)


def _is_possible(given: _Given, seconds: float) -> bool:
    if given.need is not None and not _allowed(given):
        return False
    return _solve(given, one_way=False, seconds=seconds)[1] is not None
