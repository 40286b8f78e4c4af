"""Which moves bring the volumes of a datastore cluster nearer to each other."""

from hypothesis import given
from hypothesis import strategies as st

from naos.compute.volume_balance_rules import MOST, SPREAD, Load, Move, Volume, moves


def test_what_brings_the_fullest_and_the_emptiest_nearest_moves_first() -> None:
    volumes = [Volume("a", "a", 100, 80), Volume("b", "b", 100, 20)]
    loads = [Load("big", "a", 70, 70), Load("fitting", "a", 30, 30), Load("small", "a", 5, 5)]
    assert moves(volumes, loads) == [Move("fitting", "a", "b", 30)]


def test_volumes_within_the_spread_stay() -> None:
    volumes = [Volume("a", "a", 100, 50), Volume("b", "b", 100, 50 - SPREAD)]
    assert moves(volumes, [Load("m", "a", 5, 5)]) == []


def test_what_has_an_obstacle_or_would_not_fit_stays() -> None:
    volumes = [Volume("a", "a", 100, 90), Volume("b", "b", 100, 10)]
    loads = [Load("held", "a", 30, 30, "a snapshot holds its disks"), Load("thin", "a", 30, 95)]
    assert moves(volumes, loads) == []


def test_everything_leaves_a_volume_in_maintenance_for_the_emptiest_that_has_room() -> None:
    volumes = [Volume("a", "a", 100, 40, resting=True), Volume("b", "b", 100, 50), Volume("c", "c", 100, 45)]
    loads = [Load("one", "a", 20, 20), Load("two", "a", 20, 20)]
    assert moves(volumes, loads) == [Move("one", "a", "c", 20), Move("two", "a", "b", 20)]


SHARES = st.integers(0, 100)


@given(
    st.lists(st.tuples(SHARES, st.booleans()), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 50)), max_size=30),
)
def test_nothing_overflows_moves_twice_or_onto_a_volume_in_maintenance(
    given_volumes: list[tuple[int, bool]], given_loads: list[tuple[int, int]]
) -> None:
    volumes = {str(n): Volume(str(n), str(n), 100, used, rests) for n, (used, rests) in enumerate(given_volumes)}
    loads = [Load(f"m{n}", str(v % len(volumes)), w, w) for n, (v, w) in enumerate(given_loads)]
    found = moves(list(volumes.values()), loads)
    assert len(found) <= MOST
    assert len({move.machine_id for move in found}) == len(found)
    used = {key: volume.used for key, volume in volumes.items()}
    for move in found:
        assert not volumes[move.target].resting
        used[move.source] -= move.weight
        used[move.target] += move.weight
        assert used[move.target] <= 100
