"""Tables of the fleet: regions, zones, blades, cpools, and what blades are emptied for."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

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


class Maintenance(StrEnum):
    """Where a blade is on its way into maintenance. Only an open one takes machines."""

    OPEN = ""
    ENTERING = "entering"
    CANCELLING = "cancelling"
    RESTING = "maintenance"


class Blade(Identified, Base):
    """A compute host of the inventory, free (`cpool_id` is null) or in one cpool. maintenance: see `Maintenance`; since: of
    that state, None for an open blade. build: version of the hypervisor build that was installed last, "" for none."""

    __tablename__ = "blades"
    name: Mapped[str] = mapped_column(sa.String(63), unique=True)
    zone: Mapped[str] = mapped_column(sa.String(63), index=True)
    model: Mapped[str] = mapped_column(sa.String(63))
    cpool_id: Mapped[str | None] = mapped_column(sa.ForeignKey("cpools.id"), index=True)
    connected: Mapped[bool] = mapped_column(default=False)
    hypervisor_version: Mapped[str] = mapped_column(sa.String(63), default="")
    acceleration: Mapped[str] = mapped_column(sa.String(16), default="")
    maintenance: Mapped[str] = mapped_column(sa.String(16), default=Maintenance.OPEN)
    maintenance_since: Mapped[datetime | None]
    build: Mapped[str] = mapped_column(sa.String(63), default="")


class HypervisorBuild(Identified, Base):
    """A version of what blades run, as an operator published it. advisories: id, severity (critical, important, moderate or low)
    and summary of what it mends. packages: names, with a version (`name=version`) or without, installed first; command: a
    script for /bin/sh, as root, run after that; check_command: one that must end well before the blade takes machines.
    reboot: the chassis restarts the blade in between. Deadlines are seconds."""

    __tablename__ = "hypervisor_builds"
    version: Mapped[str] = mapped_column(sa.String(63), unique=True)
    description: Mapped[str] = mapped_column(sa.Text, default="")
    advisories: Mapped[list[dict[str, Any]]] = mapped_column(sa.JSON)
    packages: Mapped[list[str]]
    command: Mapped[str] = mapped_column(sa.Text, default="")
    check_command: Mapped[str] = mapped_column(sa.Text, default="")
    reboot: Mapped[bool] = mapped_column(default=True)
    deadline: Mapped[int] = mapped_column(default=1800)
    published_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class PoolUpdate(Identified, Base):
    """A build on its way through a cpool, one blade after the other. state: running, ending (after the blade in hand), done,
    stopped (called off) or failed. downtime: machines that cannot move are shut down for it and started again."""

    __tablename__ = "pool_updates"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    cpool_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    build_id: Mapped[str] = mapped_column(sa.ForeignKey("hypervisor_builds.id"))
    downtime: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(sa.String(16), index=True, default="running")
    reason: Mapped[str] = mapped_column(sa.Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    ended_at: Mapped[datetime | None]


class BladeUpdate(Base):
    """One blade of it. phase: waiting, stopping, emptying, installing, opening, starting, done or failed. rested: it was in
    maintenance before, and stays so. activity_id: of the phase in hand. machines: ids of those that were shut down for it."""

    __tablename__ = "blade_updates"
    update_id: Mapped[str] = mapped_column(sa.ForeignKey("pool_updates.id"), primary_key=True)
    blade: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    place: Mapped[int]
    phase: Mapped[str] = mapped_column(sa.String(16), default="waiting")
    rested: Mapped[bool] = mapped_column(default=False)
    activity_id: Mapped[str | None] = mapped_column(sa.String(36))
    machines: Mapped[list[str]] = mapped_column(default=list)
    reason: Mapped[str] = mapped_column(sa.Text, default="")


class BladeBoot(Base):
    """What a blade was booted as when it was seen last and nothing was missing there that nobody sees to; see `boots`."""

    __tablename__ = "blade_boots"
    blade: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    boot: Mapped[str] = mapped_column(sa.String(255))
    seen_at: Mapped[datetime]


class BladeMove(Base):
    """What became of a machine that the latest evacuation of a blade moves. state: waiting, moving, moved, returned, failed or
    left (where it was). share: of its memory that has gone over, 0 to 1. place: in the order of the evacuation."""

    __tablename__ = "blade_moves"
    blade: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    source: Mapped[str] = mapped_column(sa.String(63))
    target: Mapped[str] = mapped_column(sa.String(63))
    place: Mapped[int]
    state: Mapped[str] = mapped_column(sa.String(16), default="waiting")
    share: Mapped[float] = mapped_column(sa.Float, default=0.0)
    reason: Mapped[str] = mapped_column(sa.Text, default="")


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


class PoolMemory(Base):
    """Bytes that a cpool's machines had set aside in the hour that began at `at`, as looked at first in it; kept for a week."""

    __tablename__ = "pool_memory_figures"
    cpool_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    used: Mapped[int]


class BladeProcessor(Base):
    """What a blade can show its guests, as it said when it was looked at last; see `engines.ports.Processor`."""

    __tablename__ = "blade_processors"
    blade: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    model: Mapped[str] = mapped_column(sa.String(63))
    features: Mapped[list[str]]
    definition: Mapped[str] = mapped_column(sa.Text)


class PoolProcessor(Base):
    """The baseline of a cpool: what guests that start there are shown."""

    __tablename__ = "pool_processors"
    cpool_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    model: Mapped[str] = mapped_column(sa.String(63))
    features: Mapped[list[str]]
    definition: Mapped[str] = mapped_column(sa.Text)


class Gpu(Base):
    """A GPU of a blade at its PCI address; machine_id: which holds it."""

    __tablename__ = "gpus"
    blade: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    address: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    machine_id: Mapped[str | None] = mapped_column(sa.String(36), index=True)
