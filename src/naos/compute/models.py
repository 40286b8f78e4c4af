"""Tables of compute: virtual machines."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified
from naos.lifecycle import Lifecycle


class Power(StrEnum):
    """The power states that the wire API knows."""

    RUNNING = "running"
    STOPPED = "stopped"


class VirtualMachine(Identified, Base):
    """A machine. `power` is what the last activity or observation left; `blade` is where it is defined;
    `reserved` is the memory (bytes) that is set aside for it there, 0 when it is stopped.

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
    power: Mapped[str] = mapped_column(sa.String(16), default=Power.STOPPED)
    blade: Mapped[str | None] = mapped_column(sa.String(63), index=True)
    reserved: Mapped[int] = mapped_column(default=0)
    template_id: Mapped[str | None] = mapped_column(sa.String(36))
    seed: Mapped[dict[str, Any]] = mapped_column(default=dict)
    definition: Mapped[str] = mapped_column(sa.Text, default="")
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)
    generation: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))

    __mapper_args__ = {"version_id_col": generation}  # noqa: RUF012 - SQLAlchemy's own protocol
