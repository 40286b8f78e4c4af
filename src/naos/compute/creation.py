"""A machine from scratch: where it goes, from what a client says of that. Nothing is changed."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.compute import guest_systems, machines
from naos.compute.configuration_errors import PlaceNeeded
from naos.compute.configuration_wire import MachineCreation
from naos.compute.machines import MachineRequest
from naos.compute.models import OTHER_GUEST, VirtualMachine
from naos.errors import Unknown
from naos.fleet import cpools
from naos.fleet.models import Blade, Cpool
from naos.lifecycle import Lifecycle
from naos.names import listing
from naos.storage import clusters, luns
from naos.storage.models import Disk, Lun
from naos.world import World


def plan(session: Session, world: World, tenant_id: str, body: MachineCreation) -> Plan:
    """Raises what `machines.plan_create` does, and PlaceNeeded, GuestSystemUnknown, ClusterFull."""
    cpool = _cpool(session, tenant_id, body)
    guest_os = body.guest_operating_system_moref or OTHER_GUEST
    request = MachineRequest(
        name=body.name,
        cpool_id=cpool.id,
        lun_id=_volume(session, tenant_id, cpool, body),
        cpu=body.cpu,
        memory=body.memory,
        blade_id=body.host_id,
        datacenter_id=body.datacenter_id,
        settings={"guest_os": guest_systems.find(guest_os).moref},
    )
    return machines.plan_create(session, world, tenant_id, request)


def _cpool(session: Session, tenant_id: str, body: MachineCreation) -> Cpool:
    if body.host_cluster_id is not None:
        return cpools.find_ready(session, tenant_id, body.host_cluster_id)
    if body.host_id:
        blade = session.scalar(sa.select(Blade).where(sa.or_(Blade.id == body.host_id, Blade.name == body.host_id)))
        cpool = session.get(Cpool, blade.cpool_id) if blade is not None and blade.cpool_id is not None else None
        if cpool is None or cpool.tenant_id != tenant_id:
            raise Unknown("host", body.host_id)  # not the pool: of whom a blade is, is nobody else's business
        return cpools.find_ready(session, tenant_id, cpool.id)
    own = sa.select(Cpool).where(Cpool.tenant_id == tenant_id, Cpool.lifecycle == Lifecycle.ACTIVE)
    if body.datacenter_id is None:
        names = listing(cpool.name for cpool in session.scalars(own)) or "there is no cpool yet"
        raise PlaceNeeded("hostClusterId, hostId or datacenterId", f"cpools: {names}")
    zone = cpools.find_zone(session, body.datacenter_id).name
    reserved = (
        sa.select(sa.func.coalesce(sa.func.sum(VirtualMachine.reserved), 0))
        .where(VirtualMachine.cpool_id == Cpool.id)
        .scalar_subquery()
    )
    found = session.scalars(
        own.where(Cpool.zone == zone).order_by((Cpool.memory - reserved).desc(), Cpool.name)
    ).first()
    if found is None:
        raise PlaceNeeded("hostClusterId", f"there is no cpool in zone {zone} yet")
    return found


def _volume(session: Session, tenant_id: str, cpool: Cpool, body: MachineCreation) -> str:
    if body.datastore_id is not None:
        if body.datastore_cluster_id is not None:
            cluster = clusters.find(session, tenant_id, body.datastore_cluster_id)
            volumes = {lun.id: lun.name for lun in clusters.members(session, cluster.id)}
            if body.datastore_id not in volumes:
                raise PlaceNeeded("a datastoreId of that cluster", ", ".join(volumes.values()))
        return body.datastore_id
    if body.datastore_cluster_id is not None:
        return clusters.choose(session, clusters.find(session, tenant_id, body.datastore_cluster_id).id, 0).id
    used = sa.select(sa.func.coalesce(sa.func.sum(Disk.capacity), 0)).where(Disk.lun_id == Lun.id).scalar_subquery()
    query = (
        sa.select(Lun.id)
        .where(Lun.tenant_id == tenant_id, Lun.zone == cpool.zone, Lun.lifecycle == Lifecycle.ACTIVE)
        .order_by((Lun.capacity - used).desc(), Lun.name)
    )
    found = session.scalars(query).first()
    if found is None:
        raise PlaceNeeded("datastoreId", f"there is no volume in zone {cpool.zone} yet; make one first")
    return luns.find(session, tenant_id, found).id
