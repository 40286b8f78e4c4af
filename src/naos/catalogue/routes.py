"""Content libraries and templates over HTTP (wire-API section 4.11, and the adding of templates)."""

import hashlib
import uuid
from collections.abc import Sequence
from typing import Annotated, BinaryIO

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.catalogue import library
from naos.catalogue.errors import UploadTooLarge
from naos.catalogue.models import Library, Template, TemplateDisk, Upload
from naos.catalogue.wire import ContentLibrary, ContentLibraryItem, Received, TemplateRequest, item_wire
from naos.errors import Unknown
from naos.fleet.models import Region
from naos.identity import Identity
from naos.units import GIB
from naos.wire import Reference

router = APIRouter(prefix="/compute/v1/vcenters/content_libraries", tags=["Templates"])

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Writer = Annotated[Identity, Depends(require("compute_iaas_vmware_management"))]
LARGEST_UPLOAD = 256 * GIB


def _library(session: Session, found: Library) -> ContentLibrary:
    region = session.scalars(sa.select(Region).order_by(Region.name)).first()
    if region is None:
        raise Unknown("region", "")
    return ContentLibrary(id=found.id, name=found.name, machine_manager=Reference(id=region.id, name=region.name))


def _items(session: Session, templates: Sequence[Template]) -> list[ContentLibraryItem]:
    """Items with their disks, in two queries however many there are."""
    wanted = sa.select(TemplateDisk).where(TemplateDisk.template_id.in_([template.id for template in templates]))
    disks: dict[str, list[TemplateDisk]] = {template.id: [] for template in templates}
    for disk in session.scalars(wanted.order_by(TemplateDisk.position)):
        disks[disk.template_id].append(disk)
    return [item_wire(template, disks[template.id]) for template in templates]


@router.get("")
def list_libraries(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    machineManagerId: str | None = None,  # noqa: N803 - the wire API's name
) -> list[ContentLibrary]:
    """The tenant's content libraries. Their files lie on the controller, not on a volume: none has a datastore."""
    query = sa.select(Library).where(Library.tenant_id == identity.tenant_id).order_by(Library.name)
    if name is not None:
        query = query.where(Library.name == name)
    with services.database.read() as session:
        found = [_library(session, library) for library in session.scalars(query)]
    return [library for library in found if machineManagerId in (None, library.machine_manager.id)]


@router.post("/uploads", status_code=201, max_body_size=LARGEST_UPLOAD)
async def upload(request: Request, identity: Writer, services: ServicesOf) -> Received:
    """Send an image file as the request's body; a template is then made from the upload's id."""
    upload_id, size, digest = str(uuid.uuid4()), 0, hashlib.sha256()
    target = library.uploads(services.world) / upload_id
    await run_in_threadpool(target.parent.mkdir, parents=True, exist_ok=True)
    try:
        with target.open("xb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                _check_upload(size)
                await run_in_threadpool(_append, file, digest, chunk)
        await run_in_threadpool(_record, services, identity, upload_id, size, digest.hexdigest())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Received(id=upload_id, size=size, sha256=digest.hexdigest())


def _check_upload(size: int) -> None:
    """Raises UploadTooLarge."""
    if size > LARGEST_UPLOAD:
        raise UploadTooLarge(LARGEST_UPLOAD)


def _append(file: BinaryIO, digest: "hashlib._Hash", chunk: bytes) -> None:
    file.write(chunk)
    digest.update(chunk)


def _record(services: ServicesOf, identity: Identity, upload_id: str, size: int, sha256: str) -> None:
    with services.database.write() as session:
        session.add(Upload(id=upload_id, tenant_id=identity.tenant_id, size=size, sha256=sha256))


@router.get("/{library_id}")
def read_library(library_id: ResourceId, identity: Reader, services: ServicesOf) -> ContentLibrary:
    """One content library."""
    with services.database.read() as session:
        return _library(session, library.find(session, identity.tenant_id, library_id))


@router.get("/{library_id}/items")
def list_items(
    library_id: ResourceId, identity: Reader, services: ServicesOf, name: str | None = None
) -> list[ContentLibraryItem]:
    """The templates of a library."""
    query = sa.select(Template).where(Template.library_id == library_id).order_by(Template.name)
    if name is not None:
        query = query.where(Template.name == name)
    with services.database.read() as session:
        library.find(session, identity.tenant_id, library_id)
        return _items(session, session.scalars(query).all())


@router.get("/{library_id}/items/{item_id}")
def read_item(
    library_id: ResourceId, item_id: ResourceId, identity: Reader, services: ServicesOf
) -> ContentLibraryItem:
    """One template."""
    with services.database.read() as session:
        template = library.find_item(session, identity.tenant_id, item_id)
        if template.library_id != library_id:
            raise Unknown("template", item_id)
        return _items(session, [template])[0]


@router.post("/{library_id}/templates", **ASYNCHRONOUS)
def add_template(
    library_id: ResourceId, body: TemplateRequest, identity: Writer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Check an uploaded or fetched image and keep it as a template."""
    return submit(
        services,
        identity,
        key,
        lambda session: library.plan_add(
            session,
            tenant_id=identity.tenant_id,
            library_id=library_id,
            name=body.name,
            description=body.description,
            upload_id=body.upload_id,
            url=body.url,
            checksum=body.checksum,
            hardware=body.hardware.model_dump(),
        ),
    )


@router.delete("/{library_id}/items/{item_id}", **ASYNCHRONOUS)
def delete_template(
    library_id: ResourceId, item_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Delete a template; machines cloned from it are not touched."""

    def check(session: Session) -> Plan:
        template = library.find_item(session, identity.tenant_id, item_id)
        if template.library_id != library_id:
            raise Unknown("template", item_id)
        return library.plan_delete(session, identity.tenant_id, item_id)

    return submit(services, identity, key, check)
