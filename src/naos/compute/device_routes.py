"""Disks and adapters of machines over HTTP (wire-API sections 4.16 and 4.17)."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import controller_routes, snapshot_routes, virtual_adapters, virtual_disks
from naos.compute.device_wire import (
    AdapterCreation,
    AdapterUpdate,
    DeviceAction,
    DiskCreation,
    DiskMounting,
    DiskUnmounting,
    DiskUpdate,
    VirtualDisk,
    adapter_wire,
    adapter_wires,
    disk_wire,
    disk_wires,
)
from naos.identity import Identity
from naos.network import adapters
from naos.network.models import Adapter
from naos.network.wire import NetworkAdapter
from naos.storage import disks
from naos.storage.models import Disk

router = APIRouter()

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]


@router.get("/virtual_disks")
def list_disks(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    virtualMachineId: str | None = None,  # noqa: N803
) -> list[VirtualDisk]:
    """Disks, of one machine in the order of their units; those that belong to no machine come with an empty machine id."""
    query = sa.select(Disk).where(Disk.tenant_id == identity.tenant_id).order_by(Disk.machine_id, Disk.unit, Disk.id)
    if name is not None:
        query = query.where(Disk.name == name)
    if virtualMachineId is not None:
        query = query.where(Disk.machine_id == virtualMachineId)
    with services.database.read() as session:
        return disk_wires(session, list(session.scalars(query)))


@router.get("/virtual_disks/{disk_id}")
def read_disk(disk_id: ResourceId, identity: Reader, services: ServicesOf) -> VirtualDisk:
    """One disk."""
    with services.database.read() as session:
        return disk_wire(session, disks.find(session, identity.tenant_id, disk_id))


@router.post("/virtual_disks", **ASYNCHRONOUS)
def create_disk(body: DiskCreation, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Add a disk to a machine; a running guest sees it at once."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_disks.plan_create_disk(
            session,
            services.world,
            identity.tenant_id,
            machine_id=body.virtual_machine_id,
            size=body.capacity,
            provisioning=body.provisioning_type,
            mode=body.disk_mode,
            controller_id=body.controller_id,
            lun_id=body.datastore_id,
            cluster_id=body.datastore_cluster_id,
        ),
    )


@router.patch("/virtual_disks", **ASYNCHRONOUS)
def update_disk(body: DiskUpdate, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Grow a disk, which a running guest sees at once, or change its mode."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_disks.plan_update_disk(
            session, identity.tenant_id, body.id, size=body.new_capacity, mode=body.disk_mode
        ),
    )


@router.delete("/virtual_disks/{disk_id}", **ASYNCHRONOUS)
def delete_disk(disk_id: ResourceId, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Take a disk from its machine and remove it for good."""
    return submit(
        services, identity, key, lambda session: virtual_disks.plan_delete_disk(session, identity.tenant_id, disk_id)
    )


@router.post("/virtual_disks/mount", **ASYNCHRONOUS)
def mount_disk(body: DiskMounting, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Give a machine a disk that was unmounted."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_disks.plan_mount_disk(
            session, identity.tenant_id, machine_id=body.virtual_machine_id, path=body.path
        ),
    )


@router.post("/virtual_disks/unmount", **ASYNCHRONOUS)
def unmount_disk(body: DiskUnmounting, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Take a disk from its machine and keep it."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_disks.plan_unmount_disk(session, identity.tenant_id, body.virtual_disk_id),
    )


@router.get("/network_adapters")
def list_adapters(
    identity: Reader,
    services: ServicesOf,
    virtualMachineId: str | None = None,  # noqa: N803
) -> list[NetworkAdapter]:
    """Adapters, of one machine in the order of their units."""
    query = sa.select(Adapter).where(Adapter.tenant_id == identity.tenant_id)
    if virtualMachineId is not None:
        query = query.where(Adapter.machine_id == virtualMachineId)
    with services.database.read() as session:
        return adapter_wires(session, list(session.scalars(query.order_by(Adapter.machine_id, Adapter.unit))))


@router.get("/network_adapters/{adapter_id}")
def read_adapter(adapter_id: ResourceId, identity: Reader, services: ServicesOf) -> NetworkAdapter:
    """One adapter."""
    with services.database.read() as session:
        return adapter_wire(session, adapters.find(session, identity.tenant_id, adapter_id))


@router.post("/network_adapters", **ASYNCHRONOUS)
def create_adapter(body: AdapterCreation, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Add an adapter, its cable out."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_adapters.plan_create_adapter(
            session,
            identity.tenant_id,
            machine_id=body.virtual_machine_id,
            vlan_id=body.network_id,
            mac=body.mac_address,
            adapter_type=body.type,
            address=body.ip_address,
        ),
    )


@router.patch("/network_adapters", **ASYNCHRONOUS)
def update_adapter(body: AdapterUpdate, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Another VLAN, another MAC address, or whether the cable is in at power-on."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_adapters.plan_change_adapter(
            session,
            identity.tenant_id,
            body.id,
            vlan_id=body.new_network_id,
            mac=body.mac_address,
            auto_connect=body.auto_connect,
            address=body.ip_address,
        ),
    )


@router.patch("/network_adapters/connect", **ASYNCHRONOUS)
def connect_adapter(body: DeviceAction, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """The cable in."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_adapters.plan_plug_adapter(session, identity.tenant_id, body.id, connected=True),
    )


@router.patch("/network_adapters/disconnect", **ASYNCHRONOUS)
def disconnect_adapter(body: DeviceAction, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """The cable out."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_adapters.plan_plug_adapter(session, identity.tenant_id, body.id, connected=False),
    )


@router.delete("/network_adapters/{adapter_id}", **ASYNCHRONOUS)
def delete_adapter(adapter_id: ResourceId, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Remove an adapter; its MAC address is free again."""
    return submit(
        services,
        identity,
        key,
        lambda session: virtual_adapters.plan_delete_adapter(session, identity.tenant_id, adapter_id),
    )


router.include_router(controller_routes.router)
router.include_router(snapshot_routes.router)
