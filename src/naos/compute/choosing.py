"""From the tables to a decision about a place: the blades of a cpool as candidates, and what a machine needs.

What is read grows with the blades of one cpool and with the rules, disks and adapters of one machine, never with the number of
machines: what a blade carries is in `BladeLoad`.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute import hooks, rules
from naos.compute.models import AffinityMember, AffinityRule, BladeLoad, MachineGpus, MachineProcessor, VirtualMachine
from naos.compute.placement import AFFINITY, Candidate, Need, Tie, choose
from naos.fleet import cpools, gpus, processors
from naos.fleet.models import Blade, Cpool
from naos.fleet.rules import lent_memory, resting, vcpu_limit
from naos.network.models import Adapter, Propagation, Vlan
from naos.storage.models import Disk, Lun
from naos.world import World

NOBODY: Mapping[str, str | None] = MappingProxyType({})

# Built once: making a statement takes longer than running it, and a decision runs seven.
_POOL: sa.BindParameter[str] = sa.bindparam("cpool_id")
_MACHINE: sa.BindParameter[str] = sa.bindparam("machine_id")
_HELD = sa.select(Cpool).where(Cpool.id == _POOL).with_for_update()
_CARRIED = sa.select(Vlan.name).join(Propagation, Propagation.vlan_id == Vlan.id).where(Propagation.cpool_id == _POOL)
_LOADED = (
    sa.select(Blade.name, Blade.connected, BladeLoad.memory, BladeLoad.vcpus, BladeLoad.machines, Blade.maintenance)
    .outerjoin(BladeLoad, BladeLoad.blade == Blade.name)
    .where(Blade.cpool_id == _POOL)
    .order_by(Blade.name)
)
# By the index of `moving_to`, which few machines have; which of them are at home in the cpool is looked at afterwards.
_TWICE = sa.select(VirtualMachine.id, VirtualMachine.reserved, VirtualMachine.cpool_id, VirtualMachine.blade).where(
    VirtualMachine.moving_to.in_(sa.select(Blade.name).where(Blade.cpool_id == _POOL))
)
_LYING = (
    sa.select(Lun.name, Lun.zone)
    .join(Disk, Disk.lun_id == Lun.id)
    .where(Disk.machine_id == _MACHINE)
    .distinct()
    .order_by(Lun.name)
)
_GPUS = sa.select(MachineGpus.count).where(MachineGpus.machine_id == _MACHINE)
_ROW = sa.select(VirtualMachine).where(VirtualMachine.id == _MACHINE)
_JOINED = sa.select(Vlan.name).join(Adapter, Adapter.vlan_id == Vlan.id).where(Adapter.machine_id == _MACHINE)
_TIED = (
    sa.select(
        AffinityRule.id,
        AffinityRule.name,
        AffinityRule.kind,
        AffinityRule.must,
        VirtualMachine.id,
        VirtualMachine.name,
        VirtualMachine.blade,
        VirtualMachine.moving_to,
        Blade.connected,
    )
    .join(AffinityMember, AffinityMember.rule_id == AffinityRule.id)
    .join(VirtualMachine, VirtualMachine.id == AffinityMember.machine_id)
    .outerjoin(Blade, Blade.name == VirtualMachine.blade)
    .where(
        AffinityRule.id.in_(sa.select(AffinityMember.rule_id).where(AffinityMember.machine_id == _MACHINE)),
        AffinityRule.enabled.is_(True),
        VirtualMachine.id != _MACHINE,
        VirtualMachine.reserved > 0,
    )
    .order_by(AffinityRule.name, VirtualMachine.name)
)


def machine_of(session: Session, machine_id: str) -> VirtualMachine | None:
    return session.scalars(_ROW, {"machine_id": machine_id}).one_or_none()


def held(session: Session, cpool_id: str) -> Cpool:
    """The cpool, of which no two transactions decide about places at the same time."""
    return session.scalars(_HELD, {"cpool_id": cpool_id}).one()


def candidates(session: Session, world: World, cpool: Cpool, machine_id: str | None = None) -> list[Candidate]:
    """The cpool's blades by name, without what the machine itself has set aside there."""
    model = cpools.model_of(world, cpool.model)
    memory = lent_memory(model.physical_memory, cpool.memory_overcommit)
    limit = vcpu_limit(model.cores, cpool.vcpu_rate)
    closed = hooks.closed_blades(session, cpool.id)
    vlans = frozenset(session.scalars(_CARRIED, {"cpool_id": cpool.id}))
    rows = session.execute(_LOADED, {"cpool_id": cpool.id})
    found = [
        Candidate(
            name,
            memory,
            reserved or 0,
            machines or 0,
            connected,
            vcpus or 0,
            limit,
            resting(maintenance) or closed.get(name, ""),
            cpool.model,
            cpool.zone,
            vlans,
        )
        for name, connected, reserved, vcpus, machines, maintenance in rows
    ]
    own = session.get(VirtualMachine, machine_id) if machine_id else None
    return found if own is None or not own.reserved else [_without(candidate, own) for candidate in found]


def _without(candidate: Candidate, machine: VirtualMachine) -> Candidate:
    if candidate.name not in (machine.blade, machine.moving_to):
        return candidate
    return replace(
        candidate,
        reserved=candidate.reserved - machine.reserved,
        vcpus=candidate.vcpus - machine.cpu,
        machines=candidate.machines - 1,
    )


def used(session: Session, cpool_id: str) -> int:
    """Bytes of a cpool's memory that are set aside. A machine that moves within it counts once."""
    rows = session.execute(_LOADED, {"cpool_id": cpool_id})
    return sum(row[2] or 0 for row in rows) - _twice(session, cpool_id, None)


def _twice(session: Session, cpool_id: str, but: str | None) -> int:
    """Bytes that moves within the cpool have set aside at their targets, where they are at home too."""
    rows = session.execute(_TWICE, {"cpool_id": cpool_id})
    return sum(
        reserved
        for machine_id, reserved, home, blade in rows
        if machine_id != but and home == cpool_id and blade is not None
    )


def check_pool(session: Session, cpool: Cpool, machine: VirtualMachine, needed: int) -> None:
    """Raises PoolFull when the cpool may not give the machine `needed` bytes (instead of what it has there now)."""
    own = machine.reserved if cpool.id == machine.cpool_id and machine.blade is not None else 0
    enabled = lent_memory(cpool.memory, cpool.memory_overcommit)
    rules.check_pool_memory(
        cpool.name, machine.name, enabled=enabled, used=used(session, cpool.id) - own, needed=needed
    )


def need_of(
    session: Session,
    machine: VirtualMachine,
    *,
    wished: str | None = None,
    model: str = "",
    devices: bool = True,
    along: Mapping[str, str | None] = NOBODY,
) -> Need:
    """What the machine asks of a blade of its cpool.

    model: which the blade must be of. devices: False for a machine whose disks and adapters move to where the blade reaches them.
    along: machines that move at the same time, each to a blade (None: not known yet), which count there and not where they are.
    """
    volumes: tuple[tuple[str, str], ...] = ()
    vlans: frozenset[str] = frozenset()
    wanted = session.scalar(_GPUS, {"machine_id": machine.id}) or 0
    if devices:
        volumes = tuple((name, zone) for name, zone in session.execute(_LYING, {"machine_id": machine.id}))
        vlans = frozenset(session.scalars(_JOINED, {"machine_id": machine.id}))
    return Need(
        memory=machine.memory,
        vcpus=machine.cpu,
        model=model,
        volumes=volumes,
        vlans=vlans,
        ties=ties_of(session, machine.id, along),
        wished=wished,
        home=machine.blade,
        lacking=_lacking(session, machine, model),
        gpus=wanted,
        free_gpus=gpus.free(session, machine.tenant_id, machine.id) if wanted else {},
        bound=bool(wanted and model and machine.reserved),
    )


def _lacking(session: Session, machine: VirtualMachine, model: str) -> Mapping[str, tuple[str, ...]]:
    """By blade, what it lacks of what the running machine's guest was shown. A start shows what every blade has."""
    shown = session.get(MachineProcessor, machine.id) if model and machine.reserved else None
    return processors.missing_on(session, machine.tenant_id, shown.features) if shown is not None else {}


def ties_of(session: Session, machine_id: str, along: Mapping[str, str | None] = NOBODY) -> tuple[Tie, ...]:
    """The machine's enabled rules, and where their other machines are.

    A machine is where its memory is set aside, and where it moves to. What is on a blade that does not answer holds nobody
    there by an affinity rule: the blade takes no machine.
    """
    rows = session.execute(_TIED, {"machine_id": machine_id})
    found: dict[str, tuple[str, str, bool]] = {}
    blades: dict[str, set[str]] = {}
    others: dict[str, list[str]] = {}
    for rule_id, rule, kind, must, other_id, other, blade, moving_to, connected in rows:
        present = blade if connected or kind != AFFINITY else None
        places = {along[other_id]} if other_id in along else {present, moving_to}
        found[rule_id] = (rule, kind, must)
        if places - {None}:
            blades.setdefault(rule_id, set()).update(place for place in places if place)
            others.setdefault(rule_id, []).append(other)
    return tuple(
        Tie(*rule, frozenset(blades[rule_id]), tuple(others[rule_id]))
        for rule_id, rule in found.items()
        if rule_id in blades
    )


def blade_for(
    session: Session,
    world: World,
    machine: VirtualMachine,
    cpool: Cpool,
    need: Need,
    *,
    only: str | None = None,
    own: bool = True,
) -> str:
    """The blade of the cpool for a machine (`only`: that one or none; `own` False: for another machine like it).

    Raises NoRoom, PoolFull.
    """
    but = machine.id if own else None
    found = candidates(session, world, cpool, but)
    rules.check_pool_memory(
        cpool.name,
        machine.name,
        enabled=lent_memory(cpool.memory, cpool.memory_overcommit),
        used=sum(candidate.reserved for candidate in found) - _twice(session, cpool.id, but),
        needed=need.memory,
    )
    return choose(cpool.name, machine.name, [candidate for candidate in found if only in (None, candidate.name)], need)
