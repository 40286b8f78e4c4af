"""What cpools and blades carry: sums over machines and volumes, for display. Each function is a fixed number of statements.

Processor (MHz) and memory (bytes) in use are what the running machines were last seen to use; `reserved` is the memory
(bytes) that is set aside for them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.models import MachineSample, Power, VirtualMachine
from naos.storage import clusters
from naos.storage.models import Lun, LunSample

_RUNNING = VirtualMachine.power == Power.RUNNING


@dataclass(frozen=True)
class PoolUsage:
    """Of a cpool. machines: in whatever state."""

    machines: int = 0
    cpu: int = 0
    memory: int = 0
    reserved: int = 0


@dataclass
class BladeUsage:
    """Of a blade: ids of the machines that have memory set aside there, by name."""

    machines: list[str] = field(default_factory=list)
    cpu: int = 0
    memory: int = 0


@dataclass(frozen=True)
class ZoneStorage:
    """Bytes of a tenant's volumes in a zone: in all, and written as last measured."""

    capacity: int = 0
    used: int = 0


def of_cpools(session: Session, cpool_ids: Iterable[str]) -> Mapping[str, PoolUsage]:
    """Cpools without a machine are left out."""
    rows = session.execute(
        sa.select(
            VirtualMachine.cpool_id,
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(sa.case((_RUNNING, MachineSample.cpu), else_=0)), 0),
            sa.func.coalesce(sa.func.sum(sa.case((_RUNNING, MachineSample.memory), else_=0)), 0),
            sa.func.coalesce(sa.func.sum(VirtualMachine.reserved), 0),
        )
        .outerjoin(MachineSample, MachineSample.machine_id == VirtualMachine.id)
        .where(VirtualMachine.cpool_id.in_(list(cpool_ids)))
        .group_by(VirtualMachine.cpool_id)
    )
    return {cpool_id: PoolUsage(*(int(number) for number in numbers)) for cpool_id, *numbers in rows}


def of_blades(session: Session, blades: Iterable[str]) -> Mapping[str, BladeUsage]:
    """By the blades' names; those without a machine are left out."""
    rows = session.execute(
        sa.select(VirtualMachine.blade, VirtualMachine.id, _RUNNING, MachineSample.cpu, MachineSample.memory)
        .outerjoin(MachineSample, MachineSample.machine_id == VirtualMachine.id)
        .where(VirtualMachine.blade.in_(list(blades)), VirtualMachine.reserved > 0)
        .order_by(VirtualMachine.name, VirtualMachine.id)
    )
    found: dict[str, BladeUsage] = {}
    for blade, machine_id, running, cpu, memory in rows:
        usage = found.setdefault(str(blade), BladeUsage())
        usage.machines.append(machine_id)
        if running:
            usage.cpu += cpu or 0
            usage.memory += memory or 0
    return found


def storage_of(session: Session, tenant_id: str) -> Mapping[str, ZoneStorage]:
    """By the zones' names; those in which the tenant has no volume are left out."""
    rows = session.execute(
        sa.select(Lun.zone, sa.func.sum(Lun.capacity), sa.func.coalesce(sa.func.sum(LunSample.used), 0))
        .outerjoin(LunSample, LunSample.lun_id == Lun.id)
        .where(Lun.tenant_id == tenant_id)
        .group_by(Lun.zone)
    )
    return {zone: ZoneStorage(int(capacity), int(used)) for zone, capacity, used in rows}


def zones_of_storage(
    session: Session, tenant_id: str, *, lun_id: str | None, cluster_id: str | None
) -> list[str | None]:
    """The zone of each volume and datastore cluster that a filter names; None for one that the tenant does not have."""
    found: list[str | None] = []
    if lun_id is not None:
        lun = session.get(Lun, lun_id)
        found.append(lun.zone if lun is not None and lun.tenant_id == tenant_id else None)
    if cluster_id is not None:
        found.append(clusters.zone_of(session, tenant_id, cluster_id))
    return found
