"""On which volume of a datastore cluster a disk goes: the decision alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.storage.cluster_errors import ClusterFull
from naos.storage.clusters import Choice, best

GIB = 2**30


def _choice(name: str, free: int | None, *, capacity: int = 500 * GIB, ready: bool = True) -> Choice:
    return Choice(f"id-{name}", name, capacity, free, ready)


@pytest.mark.parametrize(
    ("choices", "chosen"),
    [
        ([_choice("a", 10 * GIB), _choice("b", 20 * GIB)], "id-b"),
        ([_choice("b", 20 * GIB), _choice("a", 20 * GIB)], "id-a"),
        ([_choice("a", None), _choice("b", 1 * GIB)], "id-b"),
        ([_choice("a", 400 * GIB, ready=False), _choice("b", 1 * GIB)], "id-b"),
    ],
    ids=["most free", "equal, by name", "one does not answer", "one is on its way out"],
)
def test_the_volume_with_most_free_space_is_taken(choices: list[Choice], chosen: str) -> None:
    assert best("fast", choices, GIB) == chosen


def test_a_refusal_tells_why_of_each_volume() -> None:
    choices = [
        _choice("a", GIB),
        _choice("b", None),
        _choice("c", 9 * GIB, ready=False),
        _choice("d", 9 * GIB, capacity=GIB),
    ]
    with pytest.raises(ClusterFull) as refusal:
        best("fast", choices, 2 * GIB)
    told = str(refusal.value)
    for words in (
        "a: 1 GiB free",
        "b: its array does not answer",
        "c: being made or deleted",
        "d: it has 1 GiB in all",
    ):
        assert words in told
    with pytest.raises(ClusterFull, match="it has no other volume"):
        best("fast", [], 1)


@given(
    st.lists(st.integers(min_value=0, max_value=100), min_size=1, max_size=8), st.integers(min_value=1, max_value=100)
)
def test_what_is_chosen_fits_and_nothing_that_fits_has_more_room(room: list[int], size: int) -> None:
    choices = [_choice(f"v{number}", free) for number, free in enumerate(room)]
    if max(room) < size:
        with pytest.raises(ClusterFull):
            best("fast", choices, size)
        return
    found = best("fast", choices, size)
    assert next(choice.free for choice in choices if choice.lun_id == found) == max(room)
