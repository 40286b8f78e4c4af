"""Hypervisor builds on their way through cpools: what is asked for, and the plans of what is done to one blade.

An update is rows, not an activity: it lasts for hours, and nothing but the blade in hand is held meanwhile. The leading controller
takes it from activity to activity (`updater`), and another one goes on where it stood.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan
from naos.compute import maintenance
from naos.compute.maintenance_errors import CannotBeEmptied
from naos.compute.update_errors import BladeSilent, NeedsDowntime, UpdateOver, UpdateUnderWay, UpToDate
from naos.errors import Unknown
from naos.fleet import builds, cpools
from naos.fleet.models import Blade, BladeUpdate, Cpool, HypervisorBuild, Maintenance, PoolUpdate
from naos.world import World

RUNNING, ENDING, DONE, STOPPED, FAILED = "running", "ending", "done", "stopped", "failed"


@dataclass(frozen=True)
class Progress:
    """An update with its build and its blades, in their order."""

    update: PoolUpdate
    build: HypervisorBuild
    blades: Sequence[BladeUpdate]


def of_pool(session: Session, tenant_id: str, cpool_id: str) -> list[Progress]:
    """The latest first, 100 at most. Raises Unknown."""
    cpools.find(session, tenant_id, cpool_id)
    query = sa.select(PoolUpdate).where(PoolUpdate.cpool_id == cpool_id)
    found = session.scalars(query.order_by(PoolUpdate.created_at.desc(), PoolUpdate.id).limit(100))
    return [_progress(session, update) for update in found]


def find(session: Session, tenant_id: str, cpool_id: str, update_id: str) -> Progress:
    """Raises Unknown."""
    update = session.get(PoolUpdate, update_id)
    if update is None or update.tenant_id != tenant_id or update.cpool_id != cpool_id:
        raise Unknown("update", update_id)
    return _progress(session, update)


def _progress(session: Session, update: PoolUpdate) -> Progress:
    query = sa.select(BladeUpdate).where(BladeUpdate.update_id == update.id).order_by(BladeUpdate.place)
    return Progress(update, session.get_one(HypervisorBuild, update.build_id), list(session.scalars(query)))


def plan_begin(session: Session, world: World, tenant_id: str, cpool_id: str, build_id: str, *, downtime: bool) -> Plan:
    """Bring every blade of a cpool to a build, one after the other. A blade in maintenance is updated and stays there.

    Raises Unknown, UpdateUnderWay, UpToDate, BladeSilent, and NeedsDowntime when a blade cannot be emptied and no downtime is
    accepted.
    """
    cpool, build = cpools.find_ready(session, tenant_id, cpool_id), builds.find(session, build_id)
    under_way = sa.select(PoolUpdate).where(PoolUpdate.cpool_id == cpool.id, PoolUpdate.state.in_(builds.OPEN))
    other = session.scalars(under_way).first()
    if other is not None:
        raise UpdateUnderWay(cpool.name, session.get_one(HypervisorBuild, other.build_id).version)
    blades = [blade for blade in cpools.blades_of(session, [cpool.id]) if blade.build != build.version]
    if not blades:
        raise UpToDate(cpool.name, build.version)
    for blade in blades:
        if blade.maintenance == Maintenance.OPEN:
            if not blade.connected:
                raise BladeSilent(blade.name, cpool.name)
            _check_movable(session, world, cpool, blade, build, downtime=downtime)
    update = PoolUpdate(tenant_id=tenant_id, cpool_id=cpool.id, build_id=build.id, downtime=downtime)
    session.add(update)
    session.flush()
    session.add_all(
        BladeUpdate(update_id=update.id, blade=blade.name, place=place, rested=blade.maintenance != Maintenance.OPEN)
        for place, blade in enumerate(blades)
    )
    return Plan(
        kind="cpool.begin_update",
        description=f"Bring {len(blades)} blade(s) of cpool {cpool.name} to hypervisor build {build.version}",
        arguments={"update_id": update.id},
        concerned=(Item(update.id, "pool_update"), Item(cpool.id, "host_cluster")),
    )


def _check_movable(
    session: Session, world: World, cpool: Cpool, blade: Blade, build: HypervisorBuild, *, downtime: bool
) -> None:
    if downtime:
        return
    try:
        maintenance.check_emptied(blade.name, maintenance.evacuation_of(session, world, cpool, blade.name))
    except CannotBeEmptied as refusal:
        raise NeedsDowntime(cpool.name, build.version, str(refusal)) from refusal


def plan_cancel(session: Session, tenant_id: str, cpool_id: str, update_id: str) -> Plan:
    """End an update after the blade that is in hand. Raises Unknown, UpdateOver."""
    found = find(session, tenant_id, cpool_id, update_id)
    cpool = cpools.find(session, tenant_id, cpool_id)
    if found.update.state not in builds.OPEN:
        raise UpdateOver(cpool.name, found.update.state)
    found.update.state = ENDING
    return Plan(
        kind="cpool.end_update",
        description=f"End the update of cpool {cpool.name} after the blade in hand",
        arguments={"update_id": update_id},
        concerned=(Item(update_id, "pool_update"), Item(cpool.id, "host_cluster")),
    )


def plan_install(session: Session, blade_name: str, build_id: str) -> Plan:
    """Bring an emptied blade to a build."""
    blade = session.scalars(sa.select(Blade).where(Blade.name == blade_name)).one()
    build = builds.find(session, build_id)
    return Plan(
        kind="blade.install_build",
        description=f"Bring blade {blade.name} to hypervisor build {build.version}",
        arguments={"blade": blade.name, "build_id": build.id},
        locks=(maintenance.lock(blade.name),),
        concerned=(maintenance.item(blade),),
    )


def end(update: PoolUpdate, state: str, reason: str = "") -> None:
    update.state, update.reason, update.ended_at = state, reason, datetime.now(UTC)
