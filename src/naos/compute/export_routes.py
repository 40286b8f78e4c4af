"""Exports over HTTP: made from a stopped machine or from an item, then fetched."""

from datetime import datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse, JSONResponse
from pydantic import model_validator
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.catalogue import exports
from naos.catalogue.models import Export
from naos.compute import exporting
from naos.identity import Identity
from naos.wire import Request, Wire

router = APIRouter(prefix="/exports", tags=["Exports"])
Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]


class ExportRequest(Request):
    """Exactly one of the two."""

    virtual_machine_id: ResourceId | None = None
    content_library_item_id: ResourceId | None = None

    @model_validator(mode="after")
    def _one(self) -> "ExportRequest":
        if (self.virtual_machine_id is None) == (self.content_library_item_id is None):
            raise ValueError("give either virtualMachineId or contentLibraryItemId")
        return self


class ExportWire(Wire):
    """`size`: bytes of the OVA file; `checksum`: of it, ``sha256:...``. Both are empty until the export is complete."""

    id: str
    name: str
    source_id: str
    source_type: str
    size: int
    checksum: str
    status: str
    creation_time: datetime


def _wire(export: Export) -> ExportWire:
    return ExportWire(
        id=export.id,
        name=export.name,
        source_id=export.source_id,
        source_type=export.source_type,
        size=export.size,
        checksum=export.checksum,
        status=export.lifecycle,
        creation_time=export.created_at,
    )


@router.post("", **ASYNCHRONOUS)
def create_export(body: ExportRequest, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Make an OVA file of a stopped machine, or of an item. It stays on the controller until it is deleted."""

    def check(session: Session) -> Plan:
        if body.virtual_machine_id is not None:
            return exporting.plan(session, identity.tenant_id, body.virtual_machine_id)
        return exports.plan_template(session, identity.tenant_id, body.content_library_item_id or "")

    return submit(services, identity, key, check)


@router.get("")
def list_exports(identity: Reader, services: ServicesOf) -> list[ExportWire]:
    """The tenant's exports, the newest first."""
    query = sa.select(Export).where(Export.tenant_id == identity.tenant_id)
    with services.database.read() as session:
        return [_wire(export) for export in session.scalars(query.order_by(Export.created_at.desc(), Export.id))]


@router.get("/{export_id}")
def read_export(export_id: ResourceId, identity: Reader, services: ServicesOf) -> ExportWire:
    """One export."""
    with services.database.read() as session:
        return _wire(exports.find(session, identity.tenant_id, export_id))


@router.get("/{export_id}/file", response_class=FileResponse)
def fetch_export(export_id: ResourceId, identity: Manager, services: ServicesOf) -> FileResponse:
    """The OVA file; ranges are answered, so that a broken download goes on where it ended."""
    with services.database.read() as session:
        export = exports.find(session, identity.tenant_id, export_id)
        place = exports.readable(services.world, export)
    return FileResponse(place, media_type="application/ovf", filename=f"{export.id}.ova")


@router.delete("/{export_id}", **ASYNCHRONOUS)
def delete_export(export_id: ResourceId, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Delete an export and its file."""
    return submit(services, identity, key, lambda session: exports.plan_delete(session, identity.tenant_id, export_id))
