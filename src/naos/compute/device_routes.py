"""Disks and adapters of machines over HTTP (wire-API sections 4.16 and 4.17)."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import devices
from naos.compute.wire import (
    AdapterAction,
    AdapterCreation,
    AdapterUpdate,
    DiskCreation,
    DiskUpdate,
    VirtualDisk,
    adapter_wire,
    disk_wire,
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
    """Disks, of one machine in the order of their units."""
    query = sa.select(Disk).where(Disk.tenant_id == identity.tenant_id).order_by(Disk.machine_id, Disk.unit)
    if name is not None:
        query = query.where(Disk.name == name)
    if virtualMachineId is not None:
        query = query.where(Disk.machine_id == virtualMachineId)
    with services.database.read() as session:
        return [disk_wire(session, disk) for disk in session.scalars(query)]


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
        lambda session: devices.plan_create_disk(
            session,
            services.world,
            identity.tenant_id,
            machine_id=body.virtual_machine_id,
            size=body.capacity,
            lun_id=body.datastore_id,
            provisioning=body.provisioning_type,
            mode=body.disk_mode,
        ),
    )


@router.patch("/virtual_disks", **ASYNCHRONOUS)
def extend_disk(body: DiskUpdate, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Grow a disk; a running guest sees the new size."""
    return submit(
        services,
        identity,
        key,
        lambda session: devices.plan_extend_disk(session, identity.tenant_id, body.id, body.new_capacity),
    )


@router.delete("/virtual_disks/{disk_id}", **ASYNCHRONOUS)
def delete_disk(disk_id: ResourceId, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Take a disk from its machine and remove it for good."""
    return submit(
        services, identity, key, lambda session: devices.plan_delete_disk(session, identity.tenant_id, disk_id)
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
        rows = session.scalars(query.order_by(Adapter.machine_id, Adapter.unit))
        return [adapter_wire(session, adapter) for adapter in rows]


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
        lambda session: devices.plan_create_adapter(
            session,
            identity.tenant_id,
            machine_id=body.virtual_machine_id,
            vlan_id=body.network_id,
            mac=body.mac_address,
            adapter_type=body.type,
        ),
    )


@router.patch("/network_adapters", **ASYNCHRONOUS)
def update_adapter(body: AdapterUpdate, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Another VLAN, another MAC address, or whether the cable is in at power-on."""
    return submit(
        services,
        identity,
        key,
        lambda session: devices.plan_update_adapter(
            session,
            identity.tenant_id,
            body.id,
            vlan_id=body.new_network_id,
            mac=body.mac_address,
            auto_connect=body.auto_connect,
        ),
    )


@router.patch("/network_adapters/connect", **ASYNCHRONOUS)
def connect_adapter(body: AdapterAction, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """The cable in."""
    return submit(
        services,
        identity,
        key,
        lambda session: devices.plan_update_adapter(session, identity.tenant_id, body.id, connected=True),
    )


@router.patch("/network_adapters/disconnect", **ASYNCHRONOUS)
def disconnect_adapter(body: AdapterAction, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """The cable out."""
    return submit(
        services,
        identity,
        key,
        lambda session: devices.plan_update_adapter(session, identity.tenant_id, body.id, connected=False),
    )


@router.delete("/network_adapters/{adapter_id}", **ASYNCHRONOUS)
def delete_adapter(adapter_id: ResourceId, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Remove an adapter; its MAC address is free again."""
    return submit(
        services, identity, key, lambda session: devices.plan_delete_adapter(session, identity.tenant_id, adapter_id)
    )
