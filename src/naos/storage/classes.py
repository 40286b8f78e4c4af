"""Another IOPS class for a volume in use: the limit changes under its disks' requests, and nothing moves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan
from naos.errors import NaosError
from naos.inventory.catalogues import StorageClass, iops_limit
from naos.storage import daemons, luns
from naos.storage.models import ClusterMember, DatastoreCluster, Lun
from naos.storage.rules import check_lun_size
from naos.world import World


@dataclass(eq=False)
class ClassUnchanged(NaosError):
    code: ClassVar[str] = "storage.class_unchanged"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Volume {name!r} is of class {storage_class} already; the other classes are {others}."
    name: str
    storage_class: str
    others: str


@dataclass(eq=False)
class ClassMedia(NaosError):
    code: ClassVar[str] = "storage.class_media"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "{present} and {wanted} lie on different media, so volume {name!r} cannot change between them where it is; "
        "create a volume of class {wanted} and move its disks there (`naos vm move`)."
    )
    name: str
    present: str
    wanted: str


@dataclass(eq=False)
class ClassOfCluster(NaosError):
    code: ClassVar[str] = "storage.class_of_cluster"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {name!r} shares datastore cluster {cluster!r} with {others} more of class {present}, and the volumes of a "
        "cluster are of one class; take it out of the cluster first."
    )
    name: str
    cluster: str
    others: int
    present: str


@dataclass(eq=False)
class OneChange(NaosError):
    code: ClassVar[str] = "storage.one_change"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A change of a volume names either capacity or storageClass, one at a time; {given} were given."
    )
    given: int


def check_change(
    name: str, present: StorageClass, wanted: StorageClass, size: int, known: Mapping[str, object]
) -> None:
    """Raises ClassUnchanged; ClassMedia to or from a class without a commitment; LunSize where the new class has no such size."""
    if present.name == wanted.name:
        others = ", ".join(sorted(other for other in known if other != present.name))
        raise ClassUnchanged(name, present.name, others or "none")
    if (present.iops_per_to is None) != (wanted.iops_per_to is None):
        raise ClassMedia(name, present.name, wanted.name)
    check_lun_size(wanted.name, size, minimum=wanted.minimum, maximum=wanted.maximum, step=wanted.step)


def plan_change(session: Session, world: World, *, tenant_id: str, lun_id: str, storage_class: str) -> Plan:
    """Bring a volume, with all that runs on it, under the limit of another class."""
    lun = luns.find_ready(session, tenant_id, lun_id)
    present, wanted = luns.class_of(world, lun.storage_class), luns.class_of(world, storage_class)
    check_change(lun.name, present, wanted, lun.capacity, world.storage.classes)
    _check_alone(session, lun)
    luns.check_guards(session, world, lun, luns.Change(storage_class=storage_class))
    limits = [f"{limit:,}" if (limit := iops_limit(kind, lun.capacity)) else "no" for kind in (present, wanted)]
    return Plan(
        kind="lun.class",
        description=f"Change volume {lun.name} from {present.name} to {wanted.name}: {limits[0]} to {limits[1]} IOPS",
        arguments={"lun_id": lun.id, "storage_class": wanted.name, "before": present.name},
        locks=(luns.lock(lun.id),),
        concerned=(Item(lun.id, "datastore"),),
    )


def _check_alone(session: Session, lun: Lun) -> None:
    """Raises ClassOfCluster for a volume that shares its datastore cluster."""
    member = session.get(ClusterMember, lun.id)
    if member is None:
        return
    count = sa.select(sa.func.count()).where(ClusterMember.cluster_id == member.cluster_id)
    others = (session.scalar(count) or 1) - 1
    cluster = session.get(DatastoreCluster, member.cluster_id)
    if others and cluster is not None:
        raise ClassOfCluster(lun.name, cluster.name, others, lun.storage_class)


# ---------------------------------------------------------------------------------------------------------------- steps


def record(world: World, lun_id: str, storage_class: str) -> None:
    with world.database.write() as session:
        session.execute(sa.update(Lun).where(Lun.id == lun_id).values(storage_class=storage_class))


def take_back(world: World, lun_id: str, storage_class: str) -> None:
    """The class of before, in the tables and at the array; a daemon that died meanwhile comes back with its limit."""
    record(world, lun_id, storage_class)
    daemons.ensure(world, lun_id)
