"""Emptying a blade, as a pure decision."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from naos.compute.evacuating import Evacuation, evacuate, staged
from naos.compute.placement import AFFINITY, ANTI_AFFINITY, Candidate
from naos.compute.rearranging import Group, Move, Runner

GIB = 2**30


def _blades(*memory: int, **changes: Candidate) -> list[Candidate]:
    made = [Candidate(f"b{number}", size * GIB, 0, 0) for number, size in enumerate(memory, 1)]
    return [changes.get(blade.name, blade) for blade in made]


def _runner(name: str, blade: int, memory: int, pinned: str = "") -> Runner:
    return Runner(name, name, f"b{blade}", memory * GIB, 1, pinned)


def _loaded(blades: list[Candidate], runners: list[Runner]) -> list[Candidate]:
    return [
        replace(
            blade,
            reserved=sum(runner.memory for runner in runners if runner.blade == blade.name),
            vcpus=sum(runner.vcpus for runner in runners if runner.blade == blade.name),
            machines=sum(runner.blade == blade.name for runner in runners),
        )
        for blade in blades
    ]


def _evacuate(blades: list[Candidate], runners: list[Runner], *groups: Group) -> Evacuation:
    return evacuate(_loaded(blades, runners), runners, groups, "b1", seconds=2.0)


def _targets(found: Evacuation) -> dict[str, str]:
    return {move.name: move.target for move in found.moves}


def test_an_empty_blade_needs_no_move() -> None:
    assert _evacuate(_blades(4, 4), [_runner("a", 2, 1)]) == Evacuation(())


def test_machines_spread_over_the_others_in_one_stage() -> None:
    found = _evacuate(_blades(4, 4, 4), [_runner("a", 1, 2), _runner("b", 1, 2)])
    assert found.stages is not None
    assert len(found.stages) == 1
    assert sorted(_targets(found).values()) == ["b2", "b3"]


def test_where_the_greedy_choice_fails_the_solver_packs_them() -> None:
    """The largest first fill 2 + 2 and 3; 3 + 2 and 2 + 3 need the smaller ones apart."""
    runners = [_runner(name, 1, size) for name, size in (("a", 3), ("b", 3), ("c", 2), ("d", 2), ("e", 2))]
    found = _evacuate(_blades(12, 6, 6), runners)
    assert found.stages is not None
    sizes: dict[str, int] = {}
    for move in found.moves:
        sizes[move.target] = sizes.get(move.target, 0) + next(r.memory for r in runners if r.id == move.machine_id)
    assert sizes == {"b2": 6 * GIB, "b3": 6 * GIB}


def test_others_make_room_first_where_that_is_the_only_way() -> None:
    runners = [_runner("big", 1, 4), _runner("x", 2, 2), _runner("y", 3, 2)]
    found = _evacuate(_blades(4, 4, 4), runners)
    assert found.stages is not None
    assert [len(stage) for stage in found.stages] == [1, 1]
    assert found.stages[1][0].name == "big"


def test_machines_of_an_affinity_rule_leave_together() -> None:
    runners = [_runner("a", 1, 2), _runner("b", 1, 2), _runner("c", 2, 1)]
    found = _evacuate(_blades(4, 4, 4), runners, Group("pair", AFFINITY, True, frozenset("ab")))
    assert _targets(found) == {"a": "b3", "b": "b3"}
    joined = _evacuate(_blades(4, 8, 8), runners, Group("pair", AFFINITY, True, frozenset("abc")))
    assert _targets(joined) == {"a": "b2", "b": "b2"}


def test_a_rule_in_the_way_is_named_with_the_machine_and_the_remedy() -> None:
    runners = [_runner("a", 1, 1), _runner("b", 2, 1)]
    found = _evacuate(_blades(4, 4), runners, Group("apart", ANTI_AFFINITY, True, frozenset("ab")))
    assert found.stages is None
    assert found.proven
    assert [entry.name for entry in found.stuck] == ["a"]
    assert "anti-affinity rule 'apart' keeps it apart from b" in found.stuck[0].reason
    assert found.blame == ("anti-affinity rule 'apart'",)
    assert found.help == ("disable anti-affinity rule 'apart'",)
    soft = _evacuate(_blades(4, 4), runners, Group("apart", ANTI_AFFINITY, False, frozenset("ab")))
    assert _targets(soft) == {"a": "b2"}


def test_memory_that_is_short_is_said_in_numbers() -> None:
    runners = [_runner("a", 1, 3), _runner("b", 2, 3)]
    found = _evacuate(_blades(4, 4), runners)
    assert found.stages is None
    assert "2 GiB short" in found.stuck[0].reason
    assert found.blame == ("memory of the blades",)
    assert "add a blade" in found.help


def test_closed_lost_and_missing_blades_take_nothing() -> None:
    runners = [_runner("a", 1, 1)]
    for other in (
        Candidate("b2", 4 * GIB, 0, 0, connected=False),
        Candidate("b2", 4 * GIB, 0, 0, closed="in maintenance"),
    ):
        found = _evacuate(_blades(4, 4, b2=other), runners)
        assert found.stages is None
        assert "add a blade to the cpool" in found.help
    alone = _evacuate(_blades(4), runners)
    assert "the cpool has no other blade" in alone.stuck[0].reason


def test_a_machine_that_may_not_move_is_in_the_way() -> None:
    found = _evacuate(_blades(4, 4), [_runner("a", 1, 1, "it is on its way to b2"), _runner("b", 1, 1)])
    assert [(entry.name, entry.reason) for entry in found.stuck] == [("a", "it is on its way to b2")]


def test_every_blocker_is_listed_and_one_hides_no_other() -> None:
    """One machine is held, one is too large for one blade and kept off the other, and one could go."""
    runners = [
        _runner("held", 1, 1, "it is on its way to b2"),
        _runner("large", 1, 3),
        _runner("small", 1, 1),
        _runner("x", 2, 2),
        _runner("y", 3, 1),
    ]
    found = _evacuate(_blades(8, 4, 4), runners, Group("apart", ANTI_AFFINITY, True, frozenset({"large", "x", "y"})))
    assert found.stages is None
    rows = [(row.machine, row.blade, row.rule) for entry in found.stuck for row in entry.blockers]
    assert rows == [
        ("held", "", "pinned"),
        ("large", "b2", "memory"),
        ("large", "b2", "anti-affinity"),
        ("large", "b3", "anti-affinity"),
    ]
    assert found.help == ("wait until that has ended, or stop them", "disable anti-affinity rule 'apart'")
    crowd = [_runner(name, 1, 3) for name in "abc"]
    rows = [row for entry in _evacuate(_blades(9, 4, 4), crowd).stuck for row in entry.blockers]
    assert {row.rule for row in rows} == {"room"}
    assert {row.blade for row in rows} == {"b2", "b3"}


def test_a_stage_never_counts_on_what_has_not_left_yet() -> None:
    runners = [_runner("a", 1, 3), _runner("b", 2, 3)]
    moves = [Move("a", "a", "b1", "b2"), Move("b", "b", "b2", "b3")]
    stages = staged(_loaded(_blades(4, 4, 4), runners), runners, (), moves)
    assert stages is not None
    assert [[move.name for move in stage] for stage in stages] == [["b"], ["a"]]
    swap = [Move("a", "a", "b1", "b2"), Move("b", "b", "b2", "b1")]
    assert staged(_loaded(_blades(4, 4), runners), runners, (), swap) is None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_plan_never_overfills_a_blade_nor_breaks_a_rule_that_held(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 4))
    blades = _blades(*[8] * count)
    runners: list[Runner] = []
    for number in range(data.draw(st.integers(1, 8))):
        blade = data.draw(st.integers(1, count))
        size = data.draw(st.integers(1, 4))
        if sum(runner.memory for runner in runners if runner.blade == f"b{blade}") + size * GIB <= 8 * GIB:
            runners.append(_runner(f"m{number}", blade, size))
    names = [runner.id for runner in runners]
    groups = []
    for number in range(data.draw(st.integers(0, 2)) if len(names) > 1 else 0):
        members = frozenset(data.draw(st.lists(st.sampled_from(names), min_size=2, max_size=3, unique=True)))
        groups.append(Group(f"r{number}", data.draw(st.sampled_from([AFFINITY, ANTI_AFFINITY])), True, members))
    found = _evacuate(blades, runners, *groups)
    if found.stages is None:
        assert found.stuck
        assert found.help
        return
    where = {runner.id: runner.blade for runner in runners}
    sizes = {runner.id: runner.memory for runner in runners}
    held = [group for group in groups if _holds(group, where)]
    for stage in found.stages:
        for move in stage:  # nothing has left yet when the last one arrives
            load = sum(sizes[name] for name, blade in where.items() if blade == move.target)
            coming = sum(sizes[other.machine_id] for other in stage if other.target == move.target)
            assert load + coming <= 8 * GIB
        where.update({move.machine_id: move.target for move in stage})
    assert "b1" not in where.values()
    assert all(_holds(group, where) for group in held)


def _holds(group: Group, where: dict[str, str]) -> bool:
    places = [where[member] for member in group.members if member in where]
    return len(set(places)) == (len(places) if group.kind == ANTI_AFFINITY else min(len(places), 1))
