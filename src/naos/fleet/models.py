"""Tables of the fleet: regions, zones, blades, cpools."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified
from naos.lifecycle import Lifecycle


class Zone(Identified, Base):
    """An availability zone of the inventory; the wire API calls it a virtual datacenter."""

    __tablename__ = "zones"
    name: Mapped[str] = mapped_column(sa.String(63), unique=True)
    region: Mapped[str] = mapped_column(sa.String(63))


class Region(Identified, Base):
    """A region of the inventory; the wire API calls it a machine manager (vCenter, worker)."""

    __tablename__ = "regions"
    name: Mapped[str] = mapped_column(sa.String(63), unique=True)


class Blade(Identified, Base):
    """A compute host of the inventory, free (`cpool_id` is null) or in one cpool."""

    __tablename__ = "blades"
    name: Mapped[str] = mapped_column(sa.String(63), unique=True)
    zone: Mapped[str] = mapped_column(sa.String(63), index=True)
    model: Mapped[str] = mapped_column(sa.String(63))
    cpool_id: Mapped[str | None] = mapped_column(sa.ForeignKey("cpools.id"), index=True)
    connected: Mapped[bool] = mapped_column(default=False)
    hypervisor_version: Mapped[str] = mapped_column(sa.String(63), default="")
    acceleration: Mapped[str] = mapped_column(sa.String(16), default="")


class Cpool(Identified, Base):
    """A cluster of identical blades of one zone, dedicated to one tenant. `memory`: bytes enabled.

    vcpu_rate: vCPUs that may run for every hundred cores of a blade, None for any number. memory_overcommit: percent of the
    memory that machines may be given in all. automation, balance_threshold: see `compute.balance`.
    """

    __tablename__ = "cpools"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "name"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    zone: Mapped[str] = mapped_column(sa.String(63))
    model: Mapped[str] = mapped_column(sa.String(63))
    memory: Mapped[int]
    vcpu_rate: Mapped[int | None]
    memory_overcommit: Mapped[int] = mapped_column(default=100)
    automation: Mapped[str] = mapped_column(sa.String(16), default="manual")
    balance_threshold: Mapped[int] = mapped_column(default=20)
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)
