"""Volumes and datastore clusters as clients see them; each function that asks the tables is a fixed number of statements."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.fleet.models import Blade, Cpool
from naos.fleet.places import Places
from naos.fleet.wire import moref
from naos.inventory.catalogues import StorageClass, bandwidth_limit, iops_limit
from naos.lifecycle import Lifecycle
from naos.storage import space, space_rules, wire
from naos.storage.models import ClusterMember, DatastoreCluster, Disk, Lun, LunSample
from naos.storage.space import Promises
from naos.storage.space_wire import Space, VolumeAlarm
from naos.wire import Reference


def hosts_by_zone(session: Session, tenant_id: str) -> Mapping[str, list[Blade]]:
    """The blades of a tenant's cpools, by name, in each zone: they reach every volume there."""
    query = (
        sa.select(Blade)
        .join(Cpool, Cpool.id == Blade.cpool_id)
        .where(Cpool.tenant_id == tenant_id)
        .order_by(Blade.name)
    )
    found: dict[str, list[Blade]] = {}
    for blade in session.scalars(query):
        found.setdefault(blade.zone, []).append(blade)
    return found


def machines_by_lun(session: Session, tenant_id: str) -> Mapping[str, int]:
    """How many machines have a disk on each of a tenant's volumes; those without one are left out."""
    rows = session.execute(
        sa.select(Disk.lun_id, sa.func.count(sa.distinct(Disk.machine_id)))
        .where(Disk.tenant_id == tenant_id)
        .group_by(Disk.lun_id)
    )
    return {str(lun_id): int(count) for lun_id, count in rows}


def zones_of_hosts(session: Session, tenant_id: str, *, blade_id: str | None, cpool_id: str | None) -> list[str | None]:
    """The zone of each blade and cpool that a filter names; None for one that is not in a cpool of the tenant."""
    found: list[str | None] = []
    for identifier, query in (
        (blade_id, sa.select(Cpool).join(Blade, Blade.cpool_id == Cpool.id).where(Blade.id == blade_id)),
        (cpool_id, sa.select(Cpool).where(Cpool.id == cpool_id)),
    ):
        if identifier is not None:
            cpool = session.scalar(query)
            found.append(cpool.zone if cpool is not None and cpool.tenant_id == tenant_id else None)
    return found


def datastore(
    places: Places,
    kind: StorageClass,
    lun: Lun,
    sample: LunSample | None,
    *,
    hosts: Sequence[str],
    machines: int,
    cluster: Reference | None,
    promised: Promises,
) -> wire.Datastore:
    return wire.Datastore(
        id=lun.id,
        name=lun.name,
        machine_manager=places.manager(lun.zone),
        moref=moref("datastore-", lun.id),
        max_capacity=lun.capacity,
        free_capacity=sample.free if sample is not None else 0,
        accessible=1 if sample is not None and sample.reachable and lun.lifecycle == Lifecycle.ACTIVE else 0,
        unique_id=lun.id,
        virtual_machines_number=machines,
        hosts_number=len(hosts),
        hosts_names=list(hosts),
        associated_folder=cluster.name if cluster is not None else lun.zone,
        storage_class=lun.storage_class,
        iops=iops_limit(kind, lun.capacity),
        bandwidth=bandwidth_limit(kind),
        encrypted=lun.encrypted,
        datacenter=places.datacenter(lun.zone),
        datastore_cluster=cluster,
        status=lun.lifecycle,
        maintenance_mode=promised.policy.maintenance,
        space=_space(lun, sample, promised),
        triggered_alarms=_alarms(lun, sample, promised),
    )


def _space(lun: Lun, sample: LunSample | None, promised: Promises) -> Space:
    used, free = (sample.used, sample.free) if sample is not None else (0, lun.capacity)
    return Space(
        used=used,
        provisioned=promised.provisioned,
        uncommitted=max(promised.provisioned - used, 0),
        overcommitment=round(promised.provisioned / lun.capacity, 3),
        overcommitment_limit=promised.policy.overcommitment,
        swap=promised.swap,
        days_until_full=space_rules.days_until_full(promised.points, free),
        snapshot_headroom=promised.policy.headroom,
        snapshot_policy=promised.policy.snapshots,
        reserve=promised.policy.reserve,
        reserve_released=promised.policy.released,
    )


def _alarms(lun: Lun, sample: LunSample | None, promised: Promises) -> list[VolumeAlarm]:
    level = promised.policy.alarm
    if not level or sample is None:
        return []
    message = space.alarm_text(lun, sample, promised)
    return [VolumeAlarm(id="space", status=space_rules.STATUS[level], message=message)]


def shown_clusters(session: Session, found: Sequence[DatastoreCluster]) -> list[wire.DatastoreCluster]:
    places = Places(session)
    rows = session.execute(
        sa.select(ClusterMember.cluster_id, Lun, LunSample)
        .join(Lun, Lun.id == ClusterMember.lun_id)
        .outerjoin(LunSample, LunSample.lun_id == Lun.id)
        .where(ClusterMember.cluster_id.in_([cluster.id for cluster in found]))
        .order_by(Lun.name, Lun.id)
    )
    members: dict[str, list[tuple[Lun, LunSample | None]]] = {}
    for cluster_id, lun, sample in rows:
        members.setdefault(cluster_id, []).append((lun, sample))
    return [_cluster(places, cluster, members.get(cluster.id, [])) for cluster in found]


def _cluster(
    places: Places, cluster: DatastoreCluster, members: Sequence[tuple[Lun, LunSample | None]]
) -> wire.DatastoreCluster:
    return wire.DatastoreCluster(
        id=cluster.id,
        name=cluster.name,
        moref=moref("group-p", cluster.id),
        datastores=[lun.id for lun, _ in members],
        metrics=wire.DatastoreClusterMetrics(
            free_capacity=sum(sample.free for _, sample in members if sample is not None),
            max_capacity=sum(lun.capacity for lun, _ in members),
        ),
        machine_manager=places.manager(cluster.zone),
        datacenter=places.datacenter(cluster.zone),
        storage_class=members[0][0].storage_class if members else "",
    )
