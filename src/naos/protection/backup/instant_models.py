"""Tables of instant starts."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base


class InstantStart(Base):
    """A machine that runs, or is about to, while a part of its disks still lies in a vault.

    restore_id: of the restore that it is, and who reads the point. state: starting, moving or done. speed: bytes a second at which it
    moves in, 0 for no limit. door: address and port at which the array last found the vault. note: why it does not move in at
    present. moving_at: when it was started.
    """

    __tablename__ = "instant_starts"
    restore_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    point_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    machine_name: Mapped[str] = mapped_column(sa.String(255))
    mode: Mapped[str] = mapped_column(sa.String(10))
    state: Mapped[str] = mapped_column(sa.String(10), index=True)
    speed: Mapped[int] = mapped_column(default=0)
    door: Mapped[str] = mapped_column(sa.String(80), default="")
    note: Mapped[str] = mapped_column(sa.Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    moving_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class InstantDisk(Base):
    """A disk of it. source_id: the point's disk that it begins as. done, total: bytes, as the move counts them."""

    __tablename__ = "instant_disks"
    disk_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    restore_id: Mapped[str] = mapped_column(sa.ForeignKey("instant_starts.restore_id"), index=True)
    source_id: Mapped[str] = mapped_column(sa.String(36))
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int]
