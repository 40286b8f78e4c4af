"""Where a clone or a moved machine goes: from the ids of a request to a cpool and volumes. Nothing is changed."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute import choosing, machines
from naos.compute.errors import PlacementUnsupported
from naos.compute.models import VirtualMachine
from naos.compute.placement import Need
from naos.errors import Unknown
from naos.fleet import cpools
from naos.fleet.models import Blade, Cpool
from naos.lifecycle import Lifecycle
from naos.storage import clusters, luns, space
from naos.storage.models import Lun
from naos.world import World


def pool_of(
    session: Session,
    machine: VirtualMachine,
    *,
    cpool_id: str | None,
    blade_id: str | None,
    datacenter_id: str | None,
) -> Cpool:
    """The cpool named, else that of the blade named, else the only one in the zone named, else the machine's own.

    Raises Unknown, NotReady, WrongDatacenter when the zone is not the cpool's, PlacementUnsupported without a single choice.
    """
    if cpool_id is not None:
        cpool = cpools.find_ready(session, machine.tenant_id, cpool_id)
    elif blade_id is not None:
        cpool = _of_blade(session, machine.tenant_id, blade_id)
    else:
        cpool = _in_zone(session, machine, datacenter_id)
    machines.check_datacenter(session, cpool, datacenter_id)
    return cpool


def _of_blade(session: Session, tenant_id: str, blade_id: str) -> Cpool:
    blade = session.scalar(sa.select(Blade).where(sa.or_(Blade.id == blade_id, Blade.name == blade_id)))
    cpool = session.get(Cpool, blade.cpool_id) if blade is not None and blade.cpool_id else None
    if cpool is None or cpool.tenant_id != tenant_id:
        raise Unknown("host", blade_id)
    return cpools.find_ready(session, tenant_id, cpool.id)


def _in_zone(session: Session, machine: VirtualMachine, datacenter_id: str | None) -> Cpool:
    present = session.get_one(Cpool, machine.cpool_id)
    if datacenter_id is None:
        return present
    zone = cpools.find_zone(session, datacenter_id)
    if zone.name == present.zone:
        return present
    query = sa.select(Cpool).where(
        Cpool.tenant_id == machine.tenant_id, Cpool.zone == zone.name, Cpool.lifecycle == Lifecycle.ACTIVE
    )
    found = list(session.scalars(query.order_by(Cpool.name)))
    if len(found) != 1:
        names = ", ".join(cpool.name for cpool in found) or "none"
        raise PlacementUnsupported(
            machine.name, f"zone {zone.name} has {len(found)} cpools of yours ({names}); name one with hostClusterId"
        )
    return found[0]


def blade_with_room(
    session: Session,
    world: World,
    machine: VirtualMachine,
    cpool: Cpool,
    blade: str | None,
    *,
    new: bool,
    along: Mapping[str, str | None] = choosing.NOBODY,
) -> str:
    """The blade (that one, when it is named) that can run the machine, or one more like it. Raises NoRoom, PoolFull.

    along: machines that move with it, each to a blade or one that is not known yet.
    """
    if new:
        need = Need(machine.memory, machine.cpu, wished=blade)
    else:
        model, stays = session.get_one(Cpool, machine.cpool_id).model, cpool.id == machine.cpool_id
        need = choosing.need_of(session, machine, wished=blade, model=model, devices=stays, along=along)
    return choosing.blade_for(session, world, machine, cpool, need, only=blade, own=not new)


def volume_of(
    session: Session,
    machine: VirtualMachine,
    *,
    lun_id: str | None,
    cluster_id: str | None,
    size: int,
    present: Sequence[str] = (),
) -> Lun | None:
    """The volume named, else one of the cluster named: the present one when that is in it, else the one with most room.

    size: bytes that will go there. None when neither is named. Raises Unknown, NotReady, ClusterFull, PlacementUnsupported when
    the volume named is not in the cluster named.
    """
    if cluster_id is not None:
        cluster = clusters.find(session, machine.tenant_id, cluster_id)
        members = clusters.members(session, cluster.id)
        if lun_id is None:
            open_ones = [lun for lun in members if not space.policy_of(session, lun.id).maintenance]
            staying = next((lun for lun in open_ones if lun.id in present), None)
            return staying or clusters.choose(session, cluster.id, size)
        if lun_id not in {lun.id for lun in members}:
            lun = luns.find(session, machine.tenant_id, lun_id)
            names = ", ".join(member.name for member in members)
            raise PlacementUnsupported(
                machine.name, f"volume {lun.name} is not in datastore cluster {cluster.name}, which has {names}"
            )
    if lun_id is None or lun_id in present:
        return luns.find_ready(session, machine.tenant_id, lun_id) if lun_id is not None else None
    return luns.find_open(session, machine.tenant_id, lun_id)


def name_a_volume(session: Session, machine: VirtualMachine, zone: str) -> PlacementUnsupported:
    """The refusal of disks that would stay in another zone than their machine."""
    query = sa.select(Lun.name).where(Lun.tenant_id == machine.tenant_id, Lun.zone == zone).order_by(Lun.name)
    names = ", ".join(session.scalars(query)) or "none of yours yet"
    reason = f"its disks would stay in another zone; name a volume of {zone} with datastoreId (there: {names})"
    return PlacementUnsupported(machine.name, reason)
