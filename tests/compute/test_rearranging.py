"""Making room by moving: plans are few moves, hold every rule at every step, and refusals name what is in the way."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from naos.compute.placement import AFFINITY, ANTI_AFFINITY, Candidate, Need
from naos.compute.rearranging import Group, Outcome, Runner, make_room
from naos.units import GIB


def _blades(
    memory: Sequence[int], runners: Sequence[Runner], *, limit: int | None = None, closed: str = ""
) -> list[Candidate]:
    found = []
    for number, size in enumerate(memory):
        name = f"b{number}"
        there = [runner for runner in runners if runner.blade == name]
        reserved, vcpus = sum(runner.memory for runner in there), sum(runner.vcpus for runner in there)
        why = "in maintenance" if name == closed else ""
        found.append(Candidate(name, size * GIB, reserved, len(there), True, vcpus, limit, why, "m", "z"))
    return found


def _runner(name: str, blade: int, memory: int, vcpus: int = 1) -> Runner:
    return Runner(name, name, f"b{blade}", memory * GIB, vcpus)


def _need(memory: int, vcpus: int = 1) -> Need:
    return Need(memory * GIB, vcpus)


def test_no_move_where_there_is_room() -> None:
    outcome = make_room(_blades([4, 4], [_runner("a", 0, 3)]), [_runner("a", 0, 3)], [], _need(4), "new")
    assert outcome == Outcome("b1")


def test_one_move_makes_room() -> None:
    runners = [_runner("a", 0, 2), _runner("b", 0, 1), _runner("c", 1, 1)]
    outcome = make_room(_blades([4, 4], runners), runners, [], _need(3), "new")
    assert outcome.blade == "b1" or len(outcome.moves) == 1
    outcome = make_room(
        _blades([4, 4], [*runners, _runner("d", 1, 1)]), [*runners, _runner("d", 1, 1)], [], _need(3), "n"
    )
    assert len(outcome.moves) == 1
    assert outcome.moves[0].name in {"b", "c", "d"}


def test_a_swap_through_a_third_blade_or_an_honest_no() -> None:
    runners = [_runner("a", 0, 3), _runner("b", 1, 3)]
    outcome = make_room(_blades([4, 4], runners), runners, [], _need(2), "new")
    assert outcome.blade is None
    assert outcome.proven
    assert outcome.blame == ("memory of the blades",)


def test_blame_falls_on_the_rule_the_rate_or_the_place() -> None:
    runners = [_runner("a", 0, 1), _runner("b", 1, 1)]
    apart = Group("apart", ANTI_AFFINITY, True, frozenset({"a", "b", "new"}))
    outcome = make_room(_blades([4, 4], runners), runners, [apart], _need(1), "new")
    assert (outcome.blade, outcome.blame) == (None, ("anti-affinity rule 'apart'",))
    should = Group("apart", ANTI_AFFINITY, False, frozenset({"a", "b", "new"}))
    assert make_room(_blades([4, 4], runners), runners, [should], _need(1), "new").blade is not None

    outcome = make_room(_blades([4, 4], runners, limit=1), runners, [], _need(1), "new")
    assert outcome.blame == ("vCPU rate",)
    outcome = make_room(_blades([4], runners[:1], closed="b0"), runners[:1], [], _need(1), "new")
    assert outcome.blame == ("b0: in maintenance",)

    full = [_runner("a", 0, 2), _runner("b", 0, 2), _runner("c", 1, 1)]
    together = Group("together", AFFINITY, True, frozenset({"a", "b"}))
    outcome = make_room(_blades([4, 4], full), full, [together], _need(4), "new")
    assert "memory of the blades" in outcome.blame


RUNNERS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=9)


@settings(max_examples=40, deadline=None)
@given(placed=RUNNERS, need=st.integers(1, 4), apart=st.sets(st.integers(0, 8), max_size=4), new=st.booleans())
def test_a_plan_holds_memory_and_rules_at_every_step(
    placed: list[tuple[int, int]], need: int, apart: set[int], *, new: bool
) -> None:
    room = [4, 4, 4, 4]
    runners = []
    for number, (blade, memory) in enumerate(placed):
        if room[blade] >= memory:
            room[blade] -= memory
            runners.append(_runner(f"m{number}", blade, memory))
    members = frozenset({f"m{number}" for number in apart} | ({"new"} if new else set()))
    groups = [Group("apart", ANTI_AFFINITY, True, members)]
    outcome = make_room(_blades([4, 4, 4, 4], runners), runners, groups, _need(need), "new", seconds=10)
    if outcome.blade is None:
        assert outcome.blame
        assert max(room) < need or new  # where a blade has room, only the rule can be in the way
        return
    where = {runner.id: runner.blade for runner in runners}
    sizes = {runner.id: runner.memory for runner in runners}
    together_at_first = _met(where, members)
    for move in outcome.moves:
        assert where[move.machine_id] == move.source
        where[move.machine_id] = move.target
        assert sum(sizes[one] for one, blade in where.items() if blade == move.target) <= 4 * GIB
        assert _met(where, members) <= together_at_first
    assert sum(sizes[one] for one, blade in where.items() if blade == outcome.blade) + need * GIB <= 4 * GIB
    if new:
        assert not any(where.get(member) == outcome.blade for member in members)


def _met(where: dict[str, str], members: frozenset[str]) -> int:
    """How many machines of a rule are on a blade with another one."""
    blades = [where[member] for member in members if member in where]
    return len(blades) - len(set(blades))
