"""Tables of storage: LUNs (one datastore each) and disks."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified
from naos.lifecycle import Lifecycle


class Lun(Identified, Base):
    """A volume of one IOPS class in one zone, dedicated to one tenant; it carries one datastore of the same name.

    capacity: bytes. port: TCP port of its daemon on the array's address, unique on the array.
    """

    __tablename__ = "luns"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "name"), sa.UniqueConstraint("array", "port"))
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    zone: Mapped[str] = mapped_column(sa.String(63))
    array: Mapped[str] = mapped_column(sa.String(63), index=True)
    storage_class: Mapped[str] = mapped_column(sa.String(32))
    capacity: Mapped[int]
    port: Mapped[int]
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)


class Disk(Identified, Base):
    """A virtual disk. `epoch` counts its exports; `exported` says that a running machine uses the present one.

    unit: 0 is the boot disk. backing: id of the template that it still shares blocks with.
    """

    __tablename__ = "disks"
    __table_args__ = (sa.UniqueConstraint("machine_id", "unit"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    lun_id: Mapped[str] = mapped_column(sa.ForeignKey("luns.id"), index=True)
    machine_id: Mapped[str | None] = mapped_column(sa.String(36), index=True)
    unit: Mapped[int]
    name: Mapped[str] = mapped_column(sa.String(255))
    capacity: Mapped[int]
    provisioning: Mapped[str] = mapped_column(sa.String(16))
    mode: Mapped[str] = mapped_column(sa.String(32), default="persistent")
    backing: Mapped[str | None] = mapped_column(sa.String(36))
    epoch: Mapped[int] = mapped_column(default=0)
    exported: Mapped[bool] = mapped_column(default=False)
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
