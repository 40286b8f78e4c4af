"""Datastore clusters: volumes of one zone and class that stand for each other when a disk is placed."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan
from naos.errors import NameTaken, Unknown
from naos.lifecycle import Lifecycle
from naos.storage import luns, space
from naos.storage.cluster_errors import (
    ClusterEmpty,
    ClusterFull,
    ClusterMixed,
    ClusterTooLarge,
    InOtherCluster,
    LastOfCluster,
)
from naos.storage.models import ClusterMember, DatastoreCluster, Disk, Lun, LunSample
from naos.units import size_text
from naos.wire import Reference

MOST_MEMBERS = 64


@dataclass(frozen=True)
class Choice:
    """A volume as a placement sees it. free: bytes as last measured, less what was promised since; None: not known.
    resting: it is in maintenance."""

    lun_id: str
    name: str
    capacity: int
    free: int | None
    ready: bool
    resting: bool = False


def find(session: Session, tenant_id: str, cluster_id: str) -> DatastoreCluster:
    """A datastore cluster of the tenant. Raises Unknown."""
    cluster = session.get(DatastoreCluster, cluster_id)
    if cluster is None or cluster.tenant_id != tenant_id:
        raise Unknown("datastore cluster", cluster_id)
    return cluster


def zone_of(session: Session, tenant_id: str, cluster_id: str) -> str | None:
    """The zone of a datastore cluster of the tenant; None when there is none."""
    cluster = session.get(DatastoreCluster, cluster_id)
    return cluster.zone if cluster is not None and cluster.tenant_id == tenant_id else None


def cluster_of(session: Session, lun_ids: Iterable[str]) -> dict[str, Reference]:
    """Of some volumes those that are in a cluster, with it: one statement."""
    wanted = list(lun_ids)
    rows = session.execute(
        sa.select(ClusterMember.lun_id, DatastoreCluster.id, DatastoreCluster.name)
        .join(DatastoreCluster, DatastoreCluster.id == ClusterMember.cluster_id)
        .where(ClusterMember.lun_id.in_(wanted))
    )
    return {lun_id: Reference(id=cluster_id, name=name) for lun_id, cluster_id, name in rows}


def members(session: Session, cluster_id: str) -> list[Lun]:
    """The volumes of a cluster, by name."""
    return list(
        session.scalars(
            sa.select(Lun)
            .join(ClusterMember, ClusterMember.lun_id == Lun.id)
            .where(ClusterMember.cluster_id == cluster_id)
            .order_by(Lun.name, Lun.id)
        )
    )


# ------------------------------------------------------------------------------------------------------------ placement


def choose(session: Session, cluster_id: str, size: int, *, but: Collection[str] = ()) -> Lun:
    """The volume of a cluster on which `size` more bytes go: of those that have the room the one with most free space, by
    name when equal. Free space is what was measured last, less the disks that were made since, so that a burst of
    requests spreads. `but`: volumes that are not to be taken. Raises ClusterFull with a reason for each volume.
    """
    cluster = session.get_one(DatastoreCluster, cluster_id)
    choices = [choice for choice in _choices(session, cluster_id) if choice.lun_id not in but]
    return session.get_one(Lun, best(cluster.name, choices, size))


def best(cluster: str, choices: Sequence[Choice], size: int) -> str:
    """The id of the volume with most free space that fits. Raises ClusterFull."""
    told, fitting = [], []
    for choice in sorted(choices, key=lambda entry: (entry.name, entry.lun_id)):
        if not choice.ready:
            told.append(f"{choice.name}: being made or deleted")
        elif choice.resting:
            told.append(f"{choice.name}: in maintenance")
        elif size > choice.capacity:
            told.append(f"{choice.name}: it has {size_text(choice.capacity)} in all")
        elif choice.free is None:
            told.append(f"{choice.name}: its array does not answer")
        elif size > choice.free:
            told.append(f"{choice.name}: {size_text(max(choice.free, 0))} free")
        else:
            fitting.append((choice.free, choice.lun_id))
    if not fitting:
        raise ClusterFull(cluster, size_text(size), "; ".join(told) or "it has no other volume")
    most = max(free for free, _ in fitting)
    return next(lun_id for free, lun_id in fitting if free == most)


def _choices(session: Session, cluster_id: str) -> list[Choice]:
    promised = (
        sa.select(sa.func.coalesce(sa.func.sum(Disk.capacity), 0))
        .where(
            Disk.lun_id == Lun.id,
            sa.or_(LunSample.measured_at.is_(None), Disk.created_at > LunSample.measured_at),
        )
        .correlate(Lun, LunSample)
        .scalar_subquery()
    )
    rows = session.execute(
        sa.select(Lun, LunSample, promised)
        .join(ClusterMember, ClusterMember.lun_id == Lun.id)
        .outerjoin(LunSample, LunSample.lun_id == Lun.id)
        .where(ClusterMember.cluster_id == cluster_id)
    )
    found = []
    for lun, sample, since in rows:
        measured = sample is not None and sample.reachable and sample.measured_at is not None
        free = sample.free - int(since) if measured else None
        ready = lun.lifecycle == Lifecycle.ACTIVE
        resting = space.policy_of(session, lun.id).maintenance
        found.append(Choice(lun.id, lun.name, lun.capacity, free, ready, resting))
    return found


# --------------------------------------------------------------------------------------------------------------- writes


def plan_create(session: Session, *, tenant_id: str, name: str, lun_ids: Iterable[str]) -> Plan:
    """Gather volumes. Raises ClusterEmpty, ClusterMixed, InOtherCluster, NameTaken."""
    wanted = _volumes(session, tenant_id, lun_ids)
    if not wanted:
        raise ClusterEmpty
    _check_name(session, tenant_id, name)
    _check_alike(name, wanted)
    cluster = DatastoreCluster(tenant_id=tenant_id, name=name, zone=wanted[0].zone)
    session.add(cluster)
    session.flush()
    _join(session, cluster, wanted)
    return _plan("create", cluster, f"Create datastore cluster {name} of {', '.join(lun.name for lun in wanted)}")


def plan_update(
    session: Session,
    *,
    tenant_id: str,
    cluster_id: str,
    name: str | None = None,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
) -> Plan:
    """Another name, further volumes, or fewer. The disks stay where they are."""
    cluster = find(session, tenant_id, cluster_id)
    if name is not None and name != cluster.name:
        _check_name(session, tenant_id, name)
        cluster.name = name
    leaving = {lun.id for lun in _volumes(session, tenant_id, remove)}
    present = members(session, cluster_id)
    staying = [lun for lun in present if lun.id not in leaving]
    joining = [lun for lun in _volumes(session, tenant_id, add) if lun.id not in {other.id for other in present}]
    if leaving and not staying and not joining:
        raise LastOfCluster(present[-1].name, cluster.name)
    _check_alike(cluster.name, [*staying, *joining])
    session.execute(
        sa.delete(ClusterMember).where(ClusterMember.cluster_id == cluster_id, ClusterMember.lun_id.in_(leaving))
    )
    _join(session, cluster, joining)
    return _plan("update", cluster, f"Change datastore cluster {cluster.name}")


def plan_delete(session: Session, *, tenant_id: str, cluster_id: str) -> Plan:
    """Forget the cluster; its volumes and their disks stay."""
    cluster = find(session, tenant_id, cluster_id)
    plan = _plan("delete", cluster, f"Delete datastore cluster {cluster.name}")
    session.execute(sa.delete(ClusterMember).where(ClusterMember.cluster_id == cluster_id))
    session.delete(cluster)
    return plan


def _plan(word: str, cluster: DatastoreCluster, description: str) -> Plan:
    """Only rows change, and they did with the check: the activity is their entry in the log."""
    return Plan(
        kind=f"datastore_cluster.{word}",
        description=description,
        arguments={"cluster_id": cluster.id},
        concerned=(Item(cluster.id, "datastore_cluster"),),
    )


def _volumes(session: Session, tenant_id: str, lun_ids: Iterable[str]) -> list[Lun]:
    return [luns.find_ready(session, tenant_id, lun_id) for lun_id in dict.fromkeys(lun_ids)]


def _check_name(session: Session, tenant_id: str, name: str) -> None:
    query = sa.select(DatastoreCluster.id)
    if session.scalar(query.where(DatastoreCluster.tenant_id == tenant_id, DatastoreCluster.name == name)):
        raise NameTaken("datastore cluster", name)


def _check_alike(cluster: str, volumes: Sequence[Lun]) -> None:
    for trait, values in (
        ("zone", {lun.name: lun.zone for lun in volumes}),
        ("IOPS class", {lun.name: lun.storage_class for lun in volumes}),
        ("encryption", {lun.name: "encrypted" if lun.encrypted else "in clear" for lun in volumes}),
    ):
        if len(set(values.values())) > 1:
            raise ClusterMixed(trait, ", ".join(f"{name} {value}" for name, value in sorted(values.items())))
    if len(volumes) > MOST_MEMBERS:
        raise ClusterTooLarge(cluster, len(volumes), MOST_MEMBERS)


def _join(session: Session, cluster: DatastoreCluster, volumes: Sequence[Lun]) -> None:
    taken = cluster_of(session, [lun.id for lun in volumes])
    for lun in volumes:
        if lun.id in taken:
            raise InOtherCluster(lun.name, taken[lun.id].name)
    session.add_all(ClusterMember(lun_id=lun.id, cluster_id=cluster.id) for lun in volumes)
    session.flush()
