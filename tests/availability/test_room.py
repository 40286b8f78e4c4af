"""The room that a pool keeps: pure figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from naos.availability.errors import AdmissionRefused, RoomPromised, ToleratedTooMany, TooFewBlades
from naos.availability.rules import Kept, check_admission, check_smaller, room

BLADES, MEMORY = 4, 10


@pytest.mark.parametrize(
    ("machines", "promise", "kept", "fits"),
    [
        ([], Kept(), 40, True),
        ([8, 8, 8, 8], Kept(), 40, True),
        ([10, 10, 10], Kept(1), 30, True),
        ([6, 6, 6, 6], Kept(1), 30, False),  # 24 of 30, and no place for the fourth
        ([10, 10], Kept(0, 50), 20, True),
        ([10, 11], Kept(0, 50), 20, False),
        ([10, 10], Kept(2, 60), 16, False),
        ([1], Kept(4), 0, False),
    ],
)
def test_what_is_kept_and_whether_it_is(machines: list[int], promise: Kept, kept: int, fits: bool) -> None:
    found = room(machines, blades=BLADES, blade_memory=MEMORY, promise=promise)
    assert (found.kept, found.fits) == (kept, fits)
    assert found.left == max(kept - sum(machines), 0)


promises = some.builds(Kept, some.integers(0, 3), some.integers(0, 90))


@given(some.lists(some.integers(1, 10), max_size=12), promises)
def test_whoever_is_admitted_in_whatever_order_the_promise_holds(wishes: list[int], promise: Kept) -> None:
    """A machine that is refused is one with which it would not."""
    running: list[int] = []
    for wish in wishes:
        after = room([*running, wish], blades=BLADES, blade_memory=MEMORY, promise=promise)
        try:
            check_admission("web", "m", wish, running, blades=BLADES, blade_memory=MEMORY, promise=promise)
        except AdmissionRefused:
            assert not after.fits
            continue
        running.append(wish)
        assert after.fits or not promise
    assert not promise or room(running, blades=BLADES, blade_memory=MEMORY, promise=promise).fits


def test_a_pool_does_not_get_smaller_than_its_promise() -> None:
    check_smaller("web", [10, 10], blades=3, blade_memory=MEMORY, promise=Kept(1))
    with pytest.raises(RoomPromised, match="the loss of 1 of its 3"):
        check_smaller("web", [10, 10, 1], blades=3, blade_memory=MEMORY, promise=Kept(1))
    with pytest.raises(RoomPromised, match="50 % of the memory"):
        check_smaller("web", [8, 8], blades=3, blade_memory=MEMORY, promise=Kept(0, 50))
    with pytest.raises(TooFewBlades):
        check_smaller("web", [], blades=1, blade_memory=MEMORY, promise=Kept())
    with pytest.raises(ToleratedTooMany):
        check_smaller("web", [], blades=2, blade_memory=MEMORY, promise=Kept(2))
