"""On which blade a machine runs: hard rules, weights and what is said of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.compute.blockers import HELP
from naos.compute.errors import NoRoom
from naos.compute.placement import (
    AFFINITY,
    ANTI_AFFINITY,
    Candidate,
    Need,
    Tie,
    best,
    choose,
    judge,
    obstacles,
    ranked,
    weigh,
)
from naos.units import GIB

BLADE = Candidate("b1", 10 * GIB, 0, 0, model="m", zone="z", vlans=frozenset({"front"}), vcpu_limit=8)
NEED = Need(GIB, 2, model="m", volumes=(("fast", "z"),), vlans=frozenset({"front"}))


def _blade(name: str = "b1", **changes: object) -> Candidate:
    fields = {key: getattr(BLADE, key) for key in Candidate.__slots__} | {"name": name} | changes
    return Candidate(**fields)  # type: ignore[arg-type]


def _need(**changes: object) -> Need:
    return Need(**({key: getattr(NEED, key) for key in Need.__slots__} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("blade", "need", "said"),
    [
        (_blade(connected=False), NEED, "not connected"),
        (_blade(closed="in maintenance"), NEED, "in maintenance"),
        (_blade(model="n"), NEED, "of model n, and the machine runs on m"),
        (_blade(reserved=9.5 * GIB), NEED, "512 MiB of 10 GiB free, 512 MiB short"),
        (_blade(vcpus=7), NEED, "7 of 8 vCPUs in use"),
        (_blade(zone="y"), NEED, "volume fast is in zone z"),
        (_blade(vlans=frozenset()), NEED, "VLAN front is not there"),
        (
            _blade(),
            _need(ties=(Tie("r", ANTI_AFFINITY, True, frozenset({"b1"}), ("db",)),)),
            "'r' keeps it apart from db",
        ),
        (_blade(), _need(ties=(Tie("r", AFFINITY, True, frozenset({"b2"}), ("db",)),)), "'r' keeps it with db on b2"),
    ],
)
def test_each_hard_rule_alone_keeps_a_machine_off_and_says_so(blade: Candidate, need: Need, said: str) -> None:
    (told,) = obstacles(blade, need)
    assert said in told.reason
    assert told.rule in HELP
    assert best([blade], need) is None
    with pytest.raises(NoRoom, match="Blade by blade: b1: "):
        choose("web", "m", [blade], need)


def test_every_reason_is_told() -> None:
    verdict = judge(_blade(connected=False, vcpus=8, zone="y"), NEED)
    assert not verdict.fits
    assert len(verdict.reason.split("; ")) == 3


def test_the_order_of_what_weighs() -> None:
    blades = [
        _blade("b1", reserved=4 * GIB),
        _blade("b2", reserved=2 * GIB),
        _blade("b3", reserved=2 * GIB, machines=1),
    ]
    assert best(blades, NEED) == "b2"  # most free memory, then fewest machines
    assert best(blades, _need(home="b1")) == "b1"  # least movement
    crowded = [_blade("b1", reserved=8 * GIB), *blades[1:]]
    assert best(crowded, _need(home="b1")) == "b2"  # but not onto a blade that is full
    apart = Tie("r", ANTI_AFFINITY, False, frozenset({"b1", "b2"}))
    assert best(blades, _need(home="b1", ties=(apart,))) == "b3"  # what should hold comes before
    assert best(blades, _need(wished="b1", ties=(apart,))) == "b1"  # and what was wished before that
    equal = [_blade("b9"), _blade("b2"), _blade("b5")]
    assert best(equal, NEED) == "b2"


TIES = st.builds(
    Tie,
    st.just("r"),
    st.sampled_from([AFFINITY, ANTI_AFFINITY]),
    st.booleans(),
    st.frozensets(st.sampled_from(["b0", "b1", "b2", "b3"]), max_size=3),
)
NAMES = st.sampled_from(["b0", "b1", "b2", "b3"])
ANY_BLADE = st.builds(
    Candidate,
    NAMES,
    memory=st.integers(1, 4),
    reserved=st.integers(0, 3),
    machines=st.integers(0, 2),
    connected=st.sampled_from([True, True, True, False]),
    vcpus=st.integers(0, 3),
    vcpu_limit=st.sampled_from([None, None, 3]),
    closed=st.sampled_from(["", "", "", "closed"]),
    model=st.sampled_from(["m", "m", "n"]),
    zone=st.sampled_from(["z", "z", "y"]),
    vlans=st.sampled_from([frozenset({"front"}), frozenset({"front", "back"}), frozenset[str]()]),
)
ANY_NEED = st.builds(
    Need,
    memory=st.integers(1, 3),
    vcpus=st.integers(0, 2),
    model=st.sampled_from(["", "m"]),
    volumes=st.sampled_from([(), (), (("fast", "z"),)]),
    vlans=st.sampled_from([frozenset[str](), frozenset({"front"})]),
    ties=st.lists(TIES, max_size=3).map(tuple),
    wished=st.none() | NAMES,
    home=st.none() | NAMES,
    lacking=st.sampled_from([{}, {}, {"b1": ("avx",)}]),
    gpus=st.integers(0, 1),
    free_gpus=st.sampled_from([{"b0": 1, "b1": 1, "b2": 1}, {"b3": 1}]),
    bound=st.sampled_from([False, False, True]),
)


@given(blades=st.lists(ANY_BLADE, max_size=4, unique_by=lambda blade: blade.name), need=ANY_NEED)
def test_the_decision_is_what_the_rules_and_weights_say_word_by_word(blades: list[Candidate], need: Need) -> None:
    """Row 39 of the complaints: what is chosen and what is explained come from the same rules."""
    fitting = [blade for blade in blades if not list(obstacles(blade, need))]
    heaviest = max((weigh(blade, need) for blade in fitting), default=None)
    first = min((blade.name for blade in fitting if weigh(blade, need) == heaviest), default=None)
    assert best(blades, need) == first


BLADES = st.lists(
    st.builds(
        lambda reserved, vcpus, machines, connected: (reserved, vcpus, machines, connected),
        st.integers(0, 12),
        st.integers(0, 9),
        st.integers(0, 5),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@given(blades=BLADES, ties=st.lists(TIES, max_size=2), memory=st.integers(1, 4), home=st.sampled_from(["b0", None]))
def test_the_choice_is_the_first_of_the_explanation_and_never_breaks_a_rule(
    blades: list[tuple[int, int, int, bool]], ties: list[Tie], memory: int, home: str | None
) -> None:
    found = [
        _blade(f"b{number}", reserved=reserved * GIB, vcpus=vcpus, machines=machines, connected=connected)
        for number, (reserved, vcpus, machines, connected) in enumerate(blades)
    ]
    need = _need(memory=memory * GIB, ties=tuple(ties), home=home)
    told = ranked([judge(blade, need) for blade in found])
    chosen = best(found, need)
    assert chosen == (told[0].blade if told[0].fits else None)
    if chosen is not None:
        blade = next(blade for blade in found if blade.name == chosen)
        assert blade.connected
        assert blade.reserved + need.memory <= blade.memory
        assert not any(tie.must and tie.broken_by(chosen) for tie in ties)
