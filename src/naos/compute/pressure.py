"""How full a cpool is: four figures of memory, what they come to at this week's growth, its processors, and which guests are pressed.

The four, in bytes. Allocated: what is enabled, and billed. Consumed by the machines: what their guests have touched. Consumed on the
blades: that, and what the hypervisor takes for each machine. Worst case: every machine uses all that it was given at once, and the
hypervisor its share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.models import MachineSample, Power, VirtualMachine
from naos.fleet import cpools
from naos.fleet.models import Cpool, PoolMemory
from naos.fleet.rules import WARNED_FROM, vcpu_limit
from naos.inventory.catalogues import BladeModel
from naos.storage.space_rules import days_until_full, slope
from naos.world import World

KEPT = timedelta(days=7)


@dataclass(frozen=True)
class Pressed:
    """A running machine. given, resident: bytes that it may use, and that its process has. cpu: MHz. steal, swap, balloon: as
    `MachineSample` has them."""

    id: str
    name: str
    blade: str
    vcpus: int
    given: int
    resident: int
    cpu: int
    steal: int
    swap: int
    balloon: int

    @property
    def overhead(self) -> int:
        return max(self.resident - self.given, 0)


@dataclass(frozen=True)
class Pressure:
    """points: when, and the bytes that machines had then; of the last week, the oldest first. vcpu_limit: of all blades."""

    cpool: Cpool
    model: BladeModel
    blades: int
    machines: Sequence[Pressed]
    points: Sequence[tuple[datetime, int]]

    @property
    def allocated(self) -> int:
        return self.cpool.memory

    @property
    def given(self) -> int:
        """What is set aside for machines; the warning goes by it."""
        return sum(machine.given for machine in self.machines)

    @property
    def consumed(self) -> int:
        return sum(min(machine.resident, machine.given) for machine in self.machines)

    @property
    def consumed_on_blades(self) -> int:
        return sum(machine.resident for machine in self.machines)

    @property
    def worst_case(self) -> int:
        return sum(machine.given + machine.overhead for machine in self.machines)

    @property
    def growth(self) -> float | None:
        """Bytes a day; None while less than an hour is known."""
        return slope(self.points)

    @property
    def days_until_warning(self) -> float | None:
        """At this week's growth; 0 above the warning, None while it does not grow or too little is known."""
        left = self.allocated * WARNED_FROM // 100 - self.given
        return days_until_full(self.points, left) if left > 0 else 0.0

    @property
    def vcpus(self) -> int:
        return sum(machine.vcpus for machine in self.machines)

    @property
    def vcpu_limit(self) -> int | None:
        limit = vcpu_limit(self.model.cores, self.cpool.vcpu_rate)
        return limit * self.blades if limit is not None else None


def of_cpool(session: Session, world: World, tenant_id: str, cpool_id: str) -> Pressure:
    """Raises Unknown."""
    cpool = cpools.find(session, tenant_id, cpool_id)
    rows = session.execute(
        sa.select(VirtualMachine, MachineSample)
        .outerjoin(MachineSample, MachineSample.machine_id == VirtualMachine.id)
        .where(VirtualMachine.cpool_id == cpool.id, VirtualMachine.power == Power.RUNNING)
        .order_by(VirtualMachine.name)
    )
    machines = [_pressed(machine, seen) for machine, seen in rows]
    points = session.execute(
        sa.select(PoolMemory.at, PoolMemory.used).where(PoolMemory.cpool_id == cpool.id).order_by(PoolMemory.at)
    )
    return Pressure(
        cpool,
        cpools.model_of(world, cpool.model),
        len(cpools.blades_of(session, [cpool.id])),
        machines,
        [(at, used) for at, used in points],
    )


def _pressed(machine: VirtualMachine, seen: MachineSample | None) -> Pressed:
    figures = (seen.memory, seen.cpu, seen.steal, seen.swap, seen.balloon) if seen is not None else (0, 0, 0, 0, 0)
    return Pressed(machine.id, machine.name, machine.blade or "", machine.cpu, machine.reserved, *figures)


def note_memory(session: Session, hour: datetime) -> None:
    """Keep what each cpool's machines have set aside as the hour's point, once; what is older than a week goes."""
    sums = session.execute(
        sa.select(VirtualMachine.cpool_id, sa.func.sum(VirtualMachine.reserved)).group_by(VirtualMachine.cpool_id)
    )
    given: Mapping[str, int] = {cpool_id: int(used or 0) for cpool_id, used in sums}
    known = set(session.scalars(sa.select(PoolMemory.cpool_id).where(PoolMemory.at == hour)))
    for cpool_id in session.scalars(sa.select(Cpool.id)):
        if cpool_id not in known:
            session.add(PoolMemory(cpool_id=cpool_id, at=hour, used=given.get(cpool_id, 0)))
    session.execute(sa.delete(PoolMemory).where(PoolMemory.at < hour - KEPT))
