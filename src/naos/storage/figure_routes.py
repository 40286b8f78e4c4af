"""Figures of volumes and disks over HTTP. Everything is read from the tables; no host is asked."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session

from naos.api.authentication import require
from naos.api.parameters import Moment, ResourceId
from naos.api.services import ServicesOf
from naos.identity import Identity
from naos.inventory.catalogues import bandwidth_limit, iops_limit
from naos.storage import disks, figures, luns
from naos.storage.figure_wire import Figures, Present, idle, point
from naos.storage.models import Disk, Lun
from naos.wire import Reference
from naos.world import World

router = APIRouter(prefix="/compute/v1/vcenters")

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
From = Annotated[
    Moment | None, Query(alias="from", description="The first moment; by default an hour before the last.")
]
To = Annotated[Moment | None, Query(alias="to", description="The last moment; by default the present.")]


def _figures(session: Session, object_id: str, begin: datetime | None, end: datetime | None) -> Figures:
    now = datetime.now(UTC)
    end = min(end or now, now)
    begin = max(begin or end - timedelta(hours=1), now - max(figures.KEPT.values()))
    resolution = figures.resolution_for(begin, end, now)
    rows = figures.series(session, object_id, resolution, begin, end)
    return Figures(resolution=resolution, points=[point(row) for row in rows])


@router.get("/datastores/{lun_id}/figures")
def volume_figures(
    lun_id: ResourceId, identity: Reader, services: ServicesOf, begin: From = None, end: To = None
) -> Figures:
    """What a volume did over time, in the finest windows that are still kept: of 10 s for 2 hours, 1 min for 2 days, 15 min for
    90 days."""
    with services.database.read() as session:
        luns.find(session, identity.tenant_id, lun_id)
        return _figures(session, lun_id, begin, end)


@router.get("/virtual_disks/{disk_id}/figures")
def disk_figures(
    disk_id: ResourceId, identity: Reader, services: ServicesOf, begin: From = None, end: To = None
) -> Figures:
    """What a disk did over time; see the figures of a volume."""
    with services.database.read() as session:
        disks.find(session, identity.tenant_id, disk_id)
        return _figures(session, disk_id, begin, end)


@router.get("/datastore_figures")
def present_figures(
    identity: Reader,
    services: ServicesOf,
    datastoreId: str | None = None,  # noqa: N803 - the wire API's name
) -> list[Present]:
    """What the tenant's volumes do at present; with a volume's id, that volume and the disks on it that are in use."""
    with services.database.read() as session:
        return present(session, services.world, identity.tenant_id, datastoreId)


def present(session: Session, world: World, tenant_id: str, lun_id: str | None) -> list[Present]:
    """Three statements at most."""
    query = sa.select(Lun).where(Lun.tenant_id == tenant_id).order_by(Lun.name, Lun.id)
    wanted: sa.Select[Any] | sa.CompoundSelect[Any] = sa.select(Lun.id).where(Lun.tenant_id == tenant_id)
    used: list[Disk] = []
    if lun_id is not None:
        query = query.where(Lun.id == lun_id)
        mine = (Disk.tenant_id == tenant_id, Disk.lun_id == lun_id, Disk.exported.is_(True))
        used = list(session.scalars(sa.select(Disk).where(*mine).order_by(Disk.name, Disk.id)))
        own = sa.select(Lun.id).where(Lun.tenant_id == tenant_id, Lun.id == lun_id)
        wanted = own.union(sa.select(Disk.id).where(*mine))
    rows = figures.newest(session, wanted, datetime.now(UTC))
    shown = []
    for lun in session.scalars(query):
        kind = luns.class_of(world, lun.storage_class)
        row = rows.get(lun.id)
        limits = {"iops": iops_limit(kind, lun.capacity), "bandwidth": bandwidth_limit(kind)}
        shown.append(
            Present(id=lun.id, name=lun.name, datastore=None, **limits, rates=None if row is None else point(row))
        )
        for disk in used:
            mine_row = rows.get(disk.id)
            rates = point(mine_row) if mine_row is not None else (None if row is None else idle(row.at))
            volume = Reference(id=lun.id, name=lun.name)
            shown.append(Present(id=disk.id, name=disk.name, datastore=volume, **limits, rates=rates))
    return shown
