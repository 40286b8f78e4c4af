"""What cpools and blades carry: sums over machines and volumes, for display."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.models import Power, VirtualMachine
from naos.fleet.models import Cpool
from naos.storage.models import Disk, Lun


@dataclass(frozen=True)
class PoolUsage:
    """cpu: vCPUs of running machines; sizes in bytes. storage: volumes of the cpool's tenant and zone."""

    machines: int
    cpu: int
    memory: int
    storage: int
    storage_used: int


def of_cpool(session: Session, cpool: Cpool) -> PoolUsage:
    machines = list(session.scalars(sa.select(VirtualMachine).where(VirtualMachine.cpool_id == cpool.id)))
    running = [machine for machine in machines if machine.power == Power.RUNNING]
    volumes = sa.select(Lun.id).where(Lun.tenant_id == cpool.tenant_id, Lun.zone == cpool.zone)
    storage = session.scalar(sa.select(sa.func.coalesce(sa.func.sum(Lun.capacity), 0)).where(Lun.id.in_(volumes)))
    used = session.scalar(sa.select(sa.func.coalesce(sa.func.sum(Disk.capacity), 0)).where(Disk.lun_id.in_(volumes)))
    return PoolUsage(
        machines=len(machines),
        cpu=sum(machine.cpu for machine in running),
        memory=sum(machine.reserved for machine in machines),
        storage=storage or 0,
        storage_used=used or 0,
    )


def on_blade(session: Session, blade: str) -> list[VirtualMachine]:
    """Machines that have memory reserved on a blade."""
    return list(
        session.scalars(sa.select(VirtualMachine).where(VirtualMachine.blade == blade, VirtualMachine.reserved > 0))
    )
