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


class DatastoreCluster(Identified, Base):
    """Volumes of one tenant, zone and class among which new disks are placed by free space."""

    __tablename__ = "datastore_clusters"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "name"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    zone: Mapped[str] = mapped_column(sa.String(63))
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class ClusterMember(Base):
    """A volume is in one datastore cluster at most."""

    __tablename__ = "datastore_cluster_members"
    lun_id: Mapped[str] = mapped_column(sa.ForeignKey("luns.id"), primary_key=True)
    cluster_id: Mapped[str] = mapped_column(sa.ForeignKey("datastore_clusters.id"), index=True)


class LunSample(Base):
    """What the array last said of a volume's space, in bytes. `reachable`: whether it answered when it was asked last;
    used and free are then of `measured_at`, the last time that it did (null: never yet)."""

    __tablename__ = "lun_samples"
    lun_id: Mapped[str] = mapped_column(sa.ForeignKey("luns.id"), primary_key=True)
    used: Mapped[int] = mapped_column(default=0)
    free: Mapped[int] = mapped_column(default=0)
    reachable: Mapped[bool] = mapped_column(default=False)
    measured_at: Mapped[datetime | None]
