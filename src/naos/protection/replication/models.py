"""The table of replicated volumes."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified
from naos.lifecycle import Lifecycle


class LunReplication(Identified, Base):
    """A volume whose disks are copied to a replica, a volume that nothing else is on. The row's id is the set of its points.

    grown, shaped: the capacity and the class that the replica's array has been told. point_id and instant: the last complete point
    and the moment of its disks; no point for a volume that had none. running_id, running_since: the point that is being taken.
    done, total: its bytes. took, travelled: seconds and bytes of the last one. failure: why the last attempt ended, "" when it
    ended well; failures: how many have in a row. alarmed_at: since when the promise is in danger. speed: bytes a second at most, 0 for no
    limit; windows: the same between wall times of time_zone, `08:00-18:00` -> speed.
    """

    __tablename__ = "lun_replications"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    lun_id: Mapped[str] = mapped_column(sa.String(36), unique=True)
    replica_id: Mapped[str] = mapped_column(sa.String(36), unique=True)
    grown: Mapped[int]
    shaped: Mapped[str] = mapped_column(sa.String(32))
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    point_id: Mapped[str | None] = mapped_column(sa.String(36))
    instant: Mapped[datetime | None]
    running_id: Mapped[str | None] = mapped_column(sa.String(36))
    running_since: Mapped[datetime | None]
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    took: Mapped[float] = mapped_column(default=0.0)
    travelled: Mapped[int] = mapped_column(default=0)
    failure: Mapped[str] = mapped_column(sa.Text, default="")
    failures: Mapped[int] = mapped_column(default=0)
    alarmed_at: Mapped[datetime | None]
    speed: Mapped[int] = mapped_column(default=0)
    windows: Mapped[dict[str, Any]] = mapped_column(default=dict)
    time_zone: Mapped[str] = mapped_column(sa.String(64), default="UTC")
