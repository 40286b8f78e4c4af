"""Virtual controllers and drives of machines over HTTP (wire-API section 4.15)."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, list_filter, submit
from naos.api.services import ServicesOf
from naos.compute import virtual_controllers
from naos.compute.device_wire import (
    ControllerCreation,
    DeviceAction,
    MediumMounting,
    VirtualController,
    controller_wire,
    controller_wires,
)
from naos.identity import Identity
from naos.storage import controllers
from naos.storage import models as storage

router = APIRouter()

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]


@router.get("/virtual_controllers")
def list_controllers(
    identity: Reader,
    services: ServicesOf,
    types: Annotated[list[str], list_filter("types")],
    virtualMachineId: str | None = None,  # noqa: N803
) -> list[VirtualController]:
    """Controllers, of one machine by type and number."""
    table = storage.VirtualController
    query = sa.select(table).where(table.tenant_id == identity.tenant_id)
    if virtualMachineId is not None:
        query = query.where(table.machine_id == virtualMachineId)
    if types:
        query = query.where(table.type.in_(types))
    with services.database.read() as session:
        rows = session.scalars(query.order_by(table.machine_id, table.type, table.number))
        return controller_wires(session, list(rows))


@router.get("/virtual_controllers/{controller_id}")
def read_controller(controller_id: ResourceId, identity: Reader, services: ServicesOf) -> VirtualController:
    """One controller."""
    with services.database.read() as session:
        return controller_wire(session, controllers.find(session, identity.tenant_id, controller_id))


@router.post("/virtual_controllers", **ASYNCHRONOUS)
def create_controller(
    body: ControllerCreation, identity: Manager, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Add a controller, or a drive for images."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_controllers.plan_create_controller(
            session,
            identity.tenant_id,
            machine_id=body.virtual_machine_id,
            kind=body.type,
            sub_type=body.sub_type,
        ),
    )


@router.patch("/virtual_controllers/cdrom/mount", **ASYNCHRONOUS)
def mount_image(body: MediumMounting, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Put an ISO image into a drive."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_controllers.plan_mount(
            session, identity.tenant_id, body.id, item_id=body.content_library_item_id, iso_path=body.iso_path
        ),
    )


@router.patch("/virtual_controllers/cdrom/unmount", **ASYNCHRONOUS)
def unmount_image(body: DeviceAction, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Take the image out of a drive."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_controllers.plan_unmount(session, identity.tenant_id, body.id),
    )


@router.patch("/virtual_controllers/cdrom/connect", **ASYNCHRONOUS)
def connect_drive(body: DeviceAction, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Let the guest see what is in a drive."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_controllers.plan_connect(session, identity.tenant_id, body.id, connected=True),
    )


@router.patch("/virtual_controllers/cdrom/disconnect", **ASYNCHRONOUS)
def disconnect_drive(body: DeviceAction, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Let a drive look empty to the guest; the image stays in it."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_controllers.plan_connect(session, identity.tenant_id, body.id, connected=False),
    )


@router.delete("/virtual_controllers/{controller_id}", **ASYNCHRONOUS)
def delete_controller(
    controller_id: ResourceId, identity: Manager, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Remove a controller that no disk hangs on."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_controllers.plan_delete_controller(session, identity.tenant_id, controller_id),
    )
