"""Affinity rules between machines of a cpool: reading, checks and changes. A change has taken effect when it is answered."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute import affinity_rules, choosing, machines
from naos.compute.affinity_errors import RuleForeign, RuleHolds
from naos.compute.affinity_rules import Rule
from naos.compute.models import AffinityMember, AffinityRule, VirtualMachine
from naos.errors import NameTaken, Unknown
from naos.fleet import cpools
from naos.fleet.models import Cpool
from naos.fleet.rules import lent_memory
from naos.names import listing
from naos.world import World


@dataclass(frozen=True)
class Shown:
    """A rule with its machines by name. broken: the running ones are not as it says now."""

    rule: AffinityRule
    cpool: Cpool
    machines: list[VirtualMachine]

    @property
    def broken(self) -> bool:
        places = [
            frozenset(blade for blade in (machine.blade, machine.moving_to) if blade)
            for machine in self.machines
            if machine.reserved
        ]
        return self.rule.enabled and affinity_rules.is_broken(self.rule.kind, places)


def rules_of(tenant_id: str) -> sa.Select[AffinityRule]:
    return (
        sa.select(AffinityRule).where(AffinityRule.tenant_id == tenant_id).order_by(AffinityRule.name, AffinityRule.id)
    )


def shown(session: Session, rules: Sequence[AffinityRule]) -> list[Shown]:
    """Three statements, however many rules."""
    pools = {
        cpool.id: cpool for cpool in session.scalars(sa.select(Cpool).where(Cpool.id.in_([r.cpool_id for r in rules])))
    }
    members: dict[str, list[VirtualMachine]] = {}
    rows = session.execute(
        sa.select(AffinityMember.rule_id, VirtualMachine)
        .join(VirtualMachine, VirtualMachine.id == AffinityMember.machine_id)
        .where(AffinityMember.rule_id.in_([rule.id for rule in rules]))
        .order_by(VirtualMachine.name)
    )
    for rule_id, machine in rows:
        members.setdefault(rule_id, []).append(machine)
    return [Shown(rule, pools[rule.cpool_id], members.get(rule.id, [])) for rule in rules]


def find(session: Session, tenant_id: str, rule_id: str) -> AffinityRule:
    """Raises Unknown."""
    rule = session.get(AffinityRule, rule_id)
    if rule is None or rule.tenant_id != tenant_id:
        raise Unknown("affinity rule", rule_id)
    return rule


def create(
    session: Session,
    world: World,
    tenant_id: str,
    *,
    cpool_id: str,
    name: str,
    kind: str,
    machine_ids: Sequence[str],
    enabled: bool,
    must: bool,
) -> AffinityRule:
    """Raises Unknown, NotReady, NameTaken, and what `check` does."""
    cpool = cpools.find_ready(session, tenant_id, cpool_id)
    choosing.held(session, cpool.id)
    _check_name(session, cpool, name, None)
    rule = AffinityRule(tenant_id=tenant_id, cpool_id=cpool.id, name=name, kind=kind, enabled=enabled, must=must)
    session.add(rule)
    session.flush()
    _join(session, rule, machine_ids)
    check(session, world, rule)
    return rule


def change(
    session: Session,
    world: World,
    rule: AffinityRule,
    values: Mapping[str, object],
    machine_ids: Sequence[str] | None,
) -> AffinityRule:
    """values: columns of the rule. Raises as `create` does."""
    cpool = choosing.held(session, rule.cpool_id)
    name = values.get("name", rule.name)
    _check_name(session, cpool, str(name), rule.id)
    for column, value in values.items():
        setattr(rule, column, value)
    if machine_ids is not None:
        session.execute(sa.delete(AffinityMember).where(AffinityMember.rule_id == rule.id))
        _join(session, rule, machine_ids)
    session.flush()
    check(session, world, rule)
    return rule


def remove(session: Session, rule: AffinityRule) -> None:
    session.execute(sa.delete(AffinityMember).where(AffinityMember.rule_id == rule.id))
    session.delete(rule)


def forget_pool(world: World, cpool_id: str) -> None:
    """The rules of a cpool that goes."""
    with world.database.write() as session:
        mine = sa.select(AffinityRule.id).where(AffinityRule.cpool_id == cpool_id)
        session.execute(sa.delete(AffinityMember).where(AffinityMember.rule_id.in_(mine)))
        session.execute(sa.delete(AffinityRule).where(AffinityRule.cpool_id == cpool_id))


def _check_name(session: Session, cpool: Cpool, name: str, own: str | None) -> None:
    holder = session.scalar(
        sa.select(AffinityRule.id).where(AffinityRule.cpool_id == cpool.id, AffinityRule.name == name)
    )
    if holder not in (None, own):
        raise NameTaken("affinity rule", name)


def _join(session: Session, rule: AffinityRule, machine_ids: Iterable[str]) -> None:
    chosen = [machines.find(session, rule.tenant_id, machine_id) for machine_id in dict.fromkeys(machine_ids)]
    affinity_rules.check_size(Rule(rule.name, rule.kind, rule.must, {machine.id: machine.name for machine in chosen}))
    foreign = [machine.name for machine in chosen if machine.cpool_id != rule.cpool_id]
    if foreign:
        cpool = session.get_one(Cpool, rule.cpool_id)
        raise RuleForeign(rule.name, cpool.name, listing(foreign))
    session.add_all(AffinityMember(rule_id=rule.id, machine_id=machine.id) for machine in chosen)
    session.flush()


def check(session: Session, world: World, rule: AffinityRule) -> None:
    """Raises RuleTooSmall, RuleDoubled, RuleContradicts, RuleImpossible. A rule that is switched off may lack machines that are gone."""
    (mine,) = shown(session, [rule])
    here = _plain(mine)
    if rule.enabled:
        affinity_rules.check_size(here)
        query = sa.select(AffinityRule).where(
            AffinityRule.cpool_id == rule.cpool_id, AffinityRule.enabled.is_(True), AffinityRule.id != rule.id
        )
        others = [_plain(other) for other in shown(session, list(session.scalars(query.order_by(AffinityRule.name))))]
        affinity_rules.check_active(here, others)
        model = cpools.model_of(world, mine.cpool.model)
        affinity_rules.check_possible(
            here,
            mine.cpool.name,
            blades=len(cpools.blades_of(session, [rule.cpool_id])),
            memory=lent_memory(model.physical_memory, mine.cpool.memory_overcommit),
            needs=[machine.memory for machine in mine.machines],
        )


def _plain(found: Shown) -> Rule:
    rule = found.rule
    return Rule(rule.name, rule.kind, rule.must, {machine.id: machine.name for machine in found.machines})


def check_leaving(session: Session, machine: VirtualMachine) -> None:
    """Raises RuleHolds for a machine that would leave its cpool and is in a rule there."""
    names = session.scalars(
        sa.select(AffinityRule.name)
        .join(AffinityMember, AffinityMember.rule_id == AffinityRule.id)
        .where(AffinityMember.machine_id == machine.id)
    ).all()
    if names:
        cpool = session.get_one(Cpool, machine.cpool_id)
        raise RuleHolds(machine.name, cpool.name, listing(names))
