"""Which moves bring the volumes of a datastore cluster nearer to each other."""

from hypothesis import given
from hypothesis import strategies as st

from naos.compute.volume_balance_rules import BUSY, MOST, SPREAD, Load, Move, Reason, Volume, moves


def test_what_brings_the_fullest_and_the_emptiest_nearest_moves_first() -> None:
    volumes = [Volume("a", "a", 100, 80), Volume("b", "b", 100, 20)]
    loads = [Load("big", "a", 70, 70), Load("fitting", "a", 30, 30), Load("small", "a", 5, 5)]
    assert moves(volumes, loads) == [Move("fitting", "a", "b", 30, Reason.SPACE)]


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
    assert moves(volumes, loads) == [
        Move("one", "a", "c", 20, Reason.MAINTENANCE),
        Move("two", "a", "b", 20, Reason.MAINTENANCE),
    ]


def busy(name: str, rate: float | None, used: int = 50, limit: int | None = 1000) -> Volume:
    return Volume(name, name, 100, used, rate=rate, limit=limit)


def test_a_busy_volume_gives_to_an_idle_one_what_makes_them_most_alike() -> None:
    loads = [Load("hot", "a", 5, 5, rate=700), Load("warm", "a", 5, 5, rate=300), Load("cold", "a", 5, 5)]
    assert moves([busy("a", 1000), busy("b", 100)], loads) == [Move("warm", "a", "b", 5, Reason.LOAD, 300)]


def test_load_moves_nothing_below_half_of_the_limit_between_near_ones_or_where_it_is_not_known() -> None:
    loads = [Load("hot", "a", 5, 5, rate=200)]
    for one, other in (
        (busy("a", BUSY * 10 - 1), busy("b", 0)),
        (busy("a", 800), busy("b", 600)),
        (busy("a", None), busy("b", 0)),
        (busy("a", 800, limit=None), busy("b", 0, limit=None)),
        (busy("a", 800), busy("b", None)),
    ):
        assert moves([one, other], loads) == []


def test_no_space_gets_uneven_for_the_sake_of_load() -> None:
    loads = [Load("large", "a", 20, 20, rate=400), Load("small", "a", 4, 4, rate=390)]
    assert moves([busy("a", 900), busy("b", 0)], loads) == [Move("small", "a", "b", 4, Reason.LOAD, 390)]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 2000), st.integers(100, 2000)), min_size=2, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 900)), max_size=20),
)
def test_load_never_makes_the_busiest_busier_nor_space_less_even(
    given_volumes: list[tuple[int, int, int]], given_loads: list[tuple[int, int, int]]
) -> None:
    loads = [Load(f"m{n}", str(v % len(given_volumes)), w, w, rate=r) for n, (v, w, r) in enumerate(given_loads)]
    held = {str(n): sum(load.rate for load in loads if load.volume_id == str(n)) for n in range(len(given_volumes))}
    state = {str(n): busy(str(n), held[str(n)], used, limit) for n, (used, _, limit) in enumerate(given_volumes)}
    for move in moves(list(state.values()), loads):
        before, gap = max(volume.busy or 0 for volume in state.values()), _gap(state)
        state[move.source] = state[move.source].with_more(-move.weight, -move.rate)
        state[move.target] = state[move.target].with_more(move.weight, move.rate)
        if move.reason == Reason.LOAD:
            assert max(volume.busy or 0 for volume in state.values()) <= before
            assert _gap(state) <= max(SPREAD, gap)


def _gap(state: dict[str, Volume]) -> float:
    shares = [volume.share for volume in state.values()]
    return max(shares) - min(shares)


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
