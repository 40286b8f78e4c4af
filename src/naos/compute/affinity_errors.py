"""Refusals of affinity rules."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class RuleTooSmall(NaosError):
    code: ClassVar[str] = "compute.rule_too_small"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Rule {rule!r} is between {count} machine(s); name at least two."
    rule: str
    count: int


@dataclass(eq=False)
class RuleDoubled(NaosError):
    code: ClassVar[str] = "compute.rule_doubled"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Rule {rule!r} cannot be active: {machines} in the active {kind} rule {other!r} already, and a machine is in one of each type "
        "at most. Take them out of one of the two, or disable {other!r}."
    )
    rule: str
    kind: str
    other: str
    machines: str


@dataclass(eq=False)
class RuleContradicts(NaosError):
    code: ClassVar[str] = "compute.rule_contradicts"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Rule {rule!r} ({kind}) cannot be active: the active {other_kind} rule {other!r} holds {machines} too, and a pair is never in "
        "both. Take one of them out of one of the two, or disable {other!r}."
    )
    rule: str
    kind: str
    other: str
    other_kind: str
    machines: str


@dataclass(eq=False)
class RuleImpossible(NaosError):
    code: ClassVar[str] = "compute.rule_impossible"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Rule {rule!r} cannot hold in cpool {cpool!r}: {reason}. {remedy}"
    rule: str
    cpool: str
    reason: str
    remedy: str


@dataclass(eq=False)
class RuleForeign(NaosError):
    code: ClassVar[str] = "compute.rule_foreign"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Rule {rule!r} is between machines of cpool {cpool!r}; these are in another cpool: {machines}."
    )
    rule: str
    cpool: str
    machines: str


@dataclass(eq=False)
class RuleHolds(NaosError):
    code: ClassVar[str] = "compute.rule_holds"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} cannot leave cpool {cpool!r}: it is in rule {rules}, between machines of that cpool. "
        "Take it out of the rule first."
    )
    machine: str
    cpool: str
    rules: str
