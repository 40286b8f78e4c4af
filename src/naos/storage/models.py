"""Tables of storage: LUNs (one datastore each), disks, what they hang on, and snapshots."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified
from naos.lifecycle import Lifecycle


class Lun(Identified, Base):
    """A volume of one IOPS class in one zone, dedicated to one tenant; it carries one datastore of the same name.

    capacity: bytes. port: TCP port of its daemon on the array's address, unique on the array. wrapped_key: what its images are
    encrypted with, as a master key has wrapped it; None for a volume in clear.
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
    wrapped_key: Mapped[str | None] = mapped_column(sa.String(255))

    @property
    def encrypted(self) -> bool:
        """Whether nothing of its disks lies on the array in clear."""
        return self.wrapped_key is not None


class Disk(Identified, Base):
    """A virtual disk. `epoch` counts its exports; `exported` says that a running machine uses the present one.

    unit: 0 is the boot disk. backing: id of the template that it still shares blocks with. machine_id, controller_id: None
    for a disk that was taken from its machine with its file kept. slot: its place on the controller.
    """

    __tablename__ = "disks"
    __table_args__ = (sa.UniqueConstraint("machine_id", "unit"), sa.UniqueConstraint("controller_id", "slot"))
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    lun_id: Mapped[str] = mapped_column(sa.ForeignKey("luns.id"), index=True)
    machine_id: Mapped[str | None] = mapped_column(sa.String(36), index=True)
    unit: Mapped[int]
    controller_id: Mapped[str | None] = mapped_column(sa.String(36))
    slot: Mapped[int] = mapped_column(default=0)
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


class VirtualController(Identified, Base):
    """What disks hang on, a USB controller, or a drive for images.

    type: the wire's word. sub_type: what the client gave, "" when it gave none. number: its place among the machine's
    controllers of that type. device: what the guest gets, a key of `storage.controllers.DEVICES`. place: which one on the
    hypervisor's bus. item_id: the image in a drive; connected: whether the guest sees it.
    """

    __tablename__ = "virtual_controllers"
    __table_args__ = (sa.UniqueConstraint("machine_id", "type", "number"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    type: Mapped[str] = mapped_column(sa.String(8))
    sub_type: Mapped[str] = mapped_column(sa.String(16), default="")
    number: Mapped[int]
    device: Mapped[str] = mapped_column(sa.String(16))
    place: Mapped[int] = mapped_column(default=0)
    item_id: Mapped[str | None] = mapped_column(sa.String(36), index=True)
    connected: Mapped[bool] = mapped_column(default=False)
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)


class Snapshot(Identified, Base):
    """The persistent disks of a machine at one instant.

    parent_id: the snapshot that the disks had come from. current: what the disks hold now was written since this one.
    quiesced: the guest's file systems were at rest.
    """

    __tablename__ = "snapshots"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    parent_id: Mapped[str | None] = mapped_column(sa.String(36))
    name: Mapped[str] = mapped_column(sa.String(255))
    description: Mapped[str] = mapped_column(sa.Text, default="")
    quiesced: Mapped[bool] = mapped_column(default=False)
    current: Mapped[bool] = mapped_column(default=False)
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class SnapshotDisk(Base):
    """A disk that a snapshot holds."""

    __tablename__ = "snapshot_disks"
    snapshot_id: Mapped[str] = mapped_column(sa.ForeignKey("snapshots.id"), primary_key=True)
    disk_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True, index=True)


class SnapshotMemory(Base):
    """The memory of a machine and the state of its devices, as a snapshot keeps them: in a disk of the volume that has the snapshot's id.

    capacity: bytes of that disk. length: bytes of what was saved; 0 before it was. epoch, exported: as of a disk, while it is written or
    read. hardware: what the guest had (`compute.snapshot_hardware`). checksum: of what was saved; "" where none was computed.
    """

    __tablename__ = "snapshot_memories"
    snapshot_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    lun_id: Mapped[str] = mapped_column(sa.ForeignKey("luns.id"), index=True)
    capacity: Mapped[int]
    length: Mapped[int] = mapped_column(default=0)
    epoch: Mapped[int] = mapped_column(default=0)
    exported: Mapped[bool] = mapped_column(default=False)
    hardware: Mapped[dict[str, Any]] = mapped_column(default=dict)
    checksum: Mapped[str] = mapped_column(sa.String(64), default="")


class SnapshotPoint(Base):
    """What lay on the volumes for a snapshot's sake in the hour that began at `at`, in bytes, as seen last in it."""

    __tablename__ = "snapshot_growth"
    snapshot_id: Mapped[str] = mapped_column(sa.ForeignKey("snapshots.id"), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    held: Mapped[int]
    measured_at: Mapped[datetime]


class DiskMove(Base):
    """A disk on its way to another volume: `lun_id` receives it, and exports it there under `epoch` meanwhile."""

    __tablename__ = "disk_moves"
    disk_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    lun_id: Mapped[str] = mapped_column(sa.ForeignKey("luns.id"), index=True)
    epoch: Mapped[int]


class VolumeFigure(Base):
    """What a volume or a disk did in one window of so many seconds (`resolution`) from `at` on.

    seconds: how much of the window was looked at. reads, writes and bytes are what guests asked; nanoseconds: what these requests
    took, summed; latencies: their classes (`engines.ports.LATENCY_BOUNDS_NS`), [] when nobody counted them. device_*: of a
    volume, what the device below it did at the array, None when that is not known and for disks.
    """

    __tablename__ = "volume_figures"
    __table_args__ = (sa.Index(None, "resolution", "at"),)
    object_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    resolution: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    seconds: Mapped[float] = mapped_column(sa.Float)
    reads: Mapped[int]
    writes: Mapped[int]
    read_bytes: Mapped[int]
    write_bytes: Mapped[int]
    nanoseconds: Mapped[int]
    latencies: Mapped[list[int]] = mapped_column(sa.JSON)
    device_operations: Mapped[int | None]
    device_bytes: Mapped[int | None]
    device_nanoseconds: Mapped[int | None]


class SwapFile(Base):
    """The space of a running machine's swap file on a volume, in bytes; two while the machine goes from one to the other."""

    __tablename__ = "swap_files"
    machine_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    lun_id: Mapped[str] = mapped_column(sa.ForeignKey("luns.id"), primary_key=True, index=True)
    size: Mapped[int]


class SpacePoint(Base):
    """Bytes that were used on a volume in the hour that began at `at`, as measured last in it."""

    __tablename__ = "volume_space"
    lun_id: Mapped[str] = mapped_column(sa.ForeignKey("luns.id"), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    used: Mapped[int]


class VolumePolicy(Base):
    """What is set for a volume's space, and what watching it has found; a volume without a row has the defaults.

    headroom: per cent that should be free when a snapshot is taken. snapshots: what happens when less is (`warn`, `refuse` or
    `allow`). reserve: bytes of the emergency reserve, 0 for none; released: it was given to the guests, and is made again when
    there is room. overcommitment: per cent of the volume that may be provisioned, None for no limit. maintenance: nothing new is placed
    there. alarm: "", `warning` or `critical`.
    """

    __tablename__ = "volume_policies"
    lun_id: Mapped[str] = mapped_column(sa.ForeignKey("luns.id"), primary_key=True)
    headroom: Mapped[int] = mapped_column(default=10)
    snapshots: Mapped[str] = mapped_column(sa.String(8), default="warn")
    reserve: Mapped[int] = mapped_column(default=0)
    released: Mapped[bool] = mapped_column(default=False)
    overcommitment: Mapped[int | None]
    maintenance: Mapped[bool] = mapped_column(default=False)
    alarm: Mapped[str] = mapped_column(sa.String(8), default="")
    alarm_since: Mapped[datetime | None]


class WaitingMachine(Base):
    """A running machine that stands still, without an error in its guest, until a volume has space again."""

    __tablename__ = "waiting_machines"
    machine_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    lun_id: Mapped[str] = mapped_column(sa.ForeignKey("luns.id"), primary_key=True)
    since: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
