"""What affinity rules may be: pure functions of plain values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from naos.compute.affinity_errors import RuleContradicts, RuleDoubled, RuleImpossible, RuleTooSmall
from naos.compute.placement import AFFINITY, ANTI_AFFINITY
from naos.names import listing
from naos.units import size_text


@dataclass(frozen=True)
class Rule:
    """A rule as the checks see it. machines: names by id."""

    name: str
    kind: str
    must: bool
    machines: Mapping[str, str]


def check_size(rule: Rule) -> None:
    """Raises RuleTooSmall for what is between fewer than two machines."""
    if len(rule.machines) < 2:
        raise RuleTooSmall(rule.name, len(rule.machines))


def check_active(rule: Rule, active: Iterable[Rule]) -> None:
    """Whether the rule may be active beside others. Raises RuleDoubled, RuleContradicts.

    A machine is in one active rule of each type at most, and a pair of machines is never in two of different types. So groups that
    are held together are apart from each other, as are those that are kept apart, and no chain of rules contradicts itself.
    """
    for other in active:
        shared = {machine_id: name for machine_id, name in rule.machines.items() if machine_id in other.machines}
        names = listing(shared.values())
        if rule.kind == other.kind and shared:
            raise RuleDoubled(rule.name, other.kind, other.name, f"{names} {'is' if len(shared) == 1 else 'are'}")
        if rule.kind != other.kind and len(shared) > 1:
            raise RuleContradicts(rule.name, rule.kind, other.name, other.kind, names)


def check_possible(rule: Rule, cpool: str, *, blades: int, memory: int, needs: Sequence[int]) -> None:
    """Raises RuleImpossible for a rule that must hold and never could.

    blades: of the cpool. memory: bytes that machines may be given on one. needs: bytes of each machine.
    """
    if not rule.must:
        return
    if rule.kind == ANTI_AFFINITY and len(rule.machines) > blades:
        reason = f"it keeps {len(rule.machines)} machines on as many blades, and there are {blades}"
        remedy = "Let it say that it should hold, name fewer machines, or add blades."
        raise RuleImpossible(rule.name, cpool, reason, remedy)
    if rule.kind == AFFINITY and sum(needs) > memory:
        reason = f"its machines need {size_text(sum(needs))} on one blade, which has {size_text(memory)} for them"
        raise RuleImpossible(rule.name, cpool, reason, "Let it say that it should hold, or name fewer machines.")


def is_broken(kind: str, places: Sequence[frozenset[str]]) -> bool:
    """Whether machines at these places break a rule. places: of each running machine, its blade, and the one it moves to."""
    if kind == ANTI_AFFINITY:
        taken = [blade for each in places for blade in each]
        return len(taken) != len(set(taken))
    return len(places) > 1 and not frozenset.intersection(*places)
