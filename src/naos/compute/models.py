"""Tables of compute: virtual machines."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified
from naos.lifecycle import Lifecycle

OTHER_GUEST = "otherGuest64"
BOOT_RETRY_DELAY = 10_000


class Power(StrEnum):
    """The power states that the wire API knows."""

    RUNNING = "running"
    STOPPED = "stopped"


class VirtualMachine(Identified, Base):
    """A machine. `power` is what the last activity or observation left; `blade` is where it is defined;
    `reserved` is the memory (bytes) that is set aside for it there, 0 when it is stopped. moving_to: the blade to which it is on
    its way, where the same memory is set aside meanwhile.

    memory_reservation: bytes that are never taken away; naos gives a running machine all of its memory, so it is kept only.
    guest_os: what the guest is said to be (`compute.guest_systems`). Boot times are milliseconds. extra_config: by key, in the
    types that clients gave. nvram: what the firmware of an EFI machine has stored, as of its last stop; compressed, base64.
    seed: what the NoCloud image holds (host name, keys, addresses, user data). definition: the hypervisor's own XML, kept so
    that the machine can be brought up elsewhere when its blade is gone. generation: raised by every change of the row.
    """

    __tablename__ = "virtual_machines"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "name"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    cpool_id: Mapped[str] = mapped_column(sa.ForeignKey("cpools.id"), index=True)
    lun_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    cpu: Mapped[int]
    cores_per_socket: Mapped[int] = mapped_column(default=1)
    memory: Mapped[int]
    hot_add_cpu: Mapped[bool] = mapped_column(default=False)
    hot_add_memory: Mapped[bool] = mapped_column(default=False)
    hot_remove_cpu: Mapped[bool] = mapped_column(default=False)
    memory_reservation: Mapped[int] = mapped_column(default=0)
    nested: Mapped[bool] = mapped_column(default=False)
    guest_os: Mapped[str] = mapped_column(sa.String(63), default=OTHER_GUEST)
    firmware: Mapped[str] = mapped_column(sa.String(8), default="bios")
    secure_boot: Mapped[bool] = mapped_column(default=False)
    boot_delay: Mapped[int] = mapped_column(default=0)
    boot_retry: Mapped[bool] = mapped_column(default=False)
    boot_retry_delay: Mapped[int] = mapped_column(default=BOOT_RETRY_DELAY)
    enter_setup: Mapped[bool] = mapped_column(default=False)
    extra_config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    nvram: Mapped[str] = mapped_column(sa.Text, default="", deferred=True)
    power: Mapped[str] = mapped_column(sa.String(16), default=Power.STOPPED)
    blade: Mapped[str | None] = mapped_column(sa.String(63), index=True)
    moving_to: Mapped[str | None] = mapped_column(sa.String(63), index=True)
    reserved: Mapped[int] = mapped_column(default=0)
    template_id: Mapped[str | None] = mapped_column(sa.String(36))
    seed: Mapped[dict[str, Any]] = mapped_column(default=dict)
    definition: Mapped[str] = mapped_column(sa.Text, default="")
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)
    generation: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))

    __mapper_args__ = {"version_id_col": generation}  # noqa: RUF012 - SQLAlchemy's own protocol


class MachineSample(Base):
    """What a running machine was last seen to use. cpu: MHz. memory: bytes of the blade's. tools: whether the guest's agent
    answers; version: of the agent that answered last, "" when none ever did. steal: per cent of the time in which its processors
    waited for one of the blade's; swap: bytes a second that its guest swaps; balloon: bytes that its guest gave back. stuck: it may
    stand frozen (`Hypervisor.stuck`)."""

    __tablename__ = "machine_samples"
    machine_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    cpu: Mapped[int] = mapped_column(default=0)
    memory: Mapped[int] = mapped_column(default=0)
    steal: Mapped[int] = mapped_column(default=0, server_default="0")
    swap: Mapped[int] = mapped_column(default=0, server_default="0")
    balloon: Mapped[int] = mapped_column(default=0, server_default="0")
    stuck: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    tools: Mapped[bool] = mapped_column(default=False)
    version: Mapped[str] = mapped_column(sa.String(63), default="")
    seen_at: Mapped[datetime]


class MachineProcessor(Base):
    """What a machine's guest was shown at its latest start: a blade that lacks some of it cannot take it over."""

    __tablename__ = "machine_processors"
    machine_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    features: Mapped[list[str]]


class MachineGpus(Base):
    """How many GPUs a machine is given at its start; without a row none."""

    __tablename__ = "machine_gpus"
    machine_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    count: Mapped[int]


class BladeLoad(Base):
    """What the machines of a blade have set aside there, those on their way to it included. memory: bytes. The database's own
    triggers keep it (`migrations.blade_loads`); nothing else writes here."""

    __tablename__ = "blade_loads"
    blade: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    memory: Mapped[int]
    vcpus: Mapped[int]
    machines: Mapped[int]


class AffinityRule(Identified, Base):
    """Machines of a cpool that run on one blade (kind `affinity`) or each on another (`anti-affinity`).

    must: a machine that would break it does not start or move; else it is kept where it can be.
    """

    __tablename__ = "affinity_rules"
    __table_args__ = (sa.UniqueConstraint("cpool_id", "name"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    cpool_id: Mapped[str] = mapped_column(sa.ForeignKey("cpools.id"))
    name: Mapped[str] = mapped_column(sa.String(255))
    kind: Mapped[str] = mapped_column(sa.String(16))
    enabled: Mapped[bool] = mapped_column(default=True)
    must: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class AffinityMember(Base):
    __tablename__ = "affinity_members"
    rule_id: Mapped[str] = mapped_column(sa.ForeignKey("affinity_rules.id", ondelete="CASCADE"), primary_key=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True, index=True)
