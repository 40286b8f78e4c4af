"""Machines over HTTP (wire-API sections 4.11 deployment and 4.13)."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, list_filter, submit
from naos.api.services import ServicesOf
from naos.api.short_reads import shortly
from naos.compute import (  # noqa: F401 - `tagging` says that machines carry tags
    affinity_routes,
    configuration_routes,
    console,
    copy_routes,
    creation,
    deployment_routes,
    device_routes,
    export_routes,
    gpu_routes,
    guest_routes,
    listing,
    machine_rows,
    machines,
    maintenance_routes,
    placement_routes,
    pool_routes,
    processor_routes,
    tagging,
    update_routes,
)
from naos.compute.configuration_wire import MachineCreation
from naos.compute.machine_wire import Machine
from naos.compute.wire import Renaming
from naos.identity import Identity
from naos.network import vlans

router = APIRouter(prefix="/compute/v1/vcenters", tags=["Virtual machines"])

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]
Builder = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]

NetworkWriter = Annotated[Identity, Depends(require("network_read", "network_write"))]


@router.get("/virtual_machines", response_model=list[Machine])
def list_machines(
    identity: Reader,
    services: ServicesOf,
    datacenters: Annotated[list[str], list_filter("datacenters")],
    networks: Annotated[list[str], list_filter("networks")],
    datastores: Annotated[list[str], list_filter("datastores")],
    hosts: Annotated[list[str], list_filter("hosts")],
    clusters: Annotated[list[str], list_filter("hostClusters")],
    name: str | None = None,
    machineManagerId: str | None = None,  # noqa: N803 - the wire API's name
    allOptions: bool = False,  # noqa: N803, FBT001, FBT002, ARG001 - sent by every client; the full form is always given
) -> Response:
    """The tenant's machines; filters are combined, an unknown id matches nothing."""
    query = listing.machines(
        identity.tenant_id,
        name=name,
        manager_id=machineManagerId,
        datacenter_ids=datacenters,
        cpool_ids=clusters,
        blade_ids=hosts,
        lun_ids=datastores,
        vlan_ids=networks,
    )
    with services.database.read() as session:
        return Response(machine_rows.many(session, query), media_type="application/json")


@router.get("/virtual_machines/{machine_id}", response_model=Machine)
async def read_machine(machine_id: ResourceId, identity: Reader, services: ServicesOf) -> Response:
    """One machine."""

    def read() -> bytes:
        with services.database.read() as session:
            return machine_rows.one(session, identity.tenant_id, machine_id)

    return Response(await shortly(services.database, read), media_type="application/json")


@router.post("/virtual_machines", **ASYNCHRONOUS)
def create_machine(body: MachineCreation, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Create a machine without disk or adapter, powered off."""
    return submit(
        services,
        identity,
        key,
        lambda session: creation.plan(session, services.world, identity.tenant_id, body),
    )


@router.patch("/virtual_machines/rename", **ASYNCHRONOUS)
def rename_machine(body: Renaming, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Another name; no file is touched."""
    return submit(
        services,
        identity,
        key,
        lambda session: machines.plan_rename(session, identity.tenant_id, body.id, body.name),
    )


@router.delete("/virtual_machines/{machine_id}", **ASYNCHRONOUS)
def delete_machine(machine_id: ResourceId, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Delete a stopped machine with its disks and adapters."""
    return submit(
        services, identity, key, lambda session: machines.plan_delete(session, identity.tenant_id, machine_id)
    )


@router.delete("/host_clusters/{cpool_id}", **ASYNCHRONOUS)
def delete_cpool(cpool_id: ResourceId, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Delete a cpool that no machine is in; its blades are free again."""
    return submit(
        services, identity, key, lambda session: machines.plan_delete_cpool(session, identity.tenant_id, cpool_id)
    )


@router.delete("/datastores/{lun_id}", **ASYNCHRONOUS)
def delete_volume(lun_id: ResourceId, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Delete an empty volume."""
    return submit(
        services,
        identity,
        key,
        lambda session: machines.plan_delete_volume(session, services.world, identity.tenant_id, lun_id),
    )


@router.delete("/networks/{vlan_id}", **ASYNCHRONOUS)
def delete_vlan(vlan_id: ResourceId, identity: NetworkWriter, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Delete a VLAN that no adapter uses."""
    return submit(
        services,
        identity,
        key,
        lambda session: vlans.plan_delete(
            session, tenant_id=identity.tenant_id, vlan_id=vlan_id, name_of=machines.name_of
        ),
    )


router.include_router(device_routes.router)
router.include_router(copy_routes.router)
router.include_router(console.router)
router.include_router(configuration_routes.router)
router.include_router(guest_routes.router)
router.include_router(deployment_routes.router)
router.include_router(export_routes.router)
router.include_router(pool_routes.router)
router.include_router(affinity_routes.router)
router.include_router(placement_routes.router)
router.include_router(maintenance_routes.router)
router.include_router(update_routes.router)
router.include_router(processor_routes.router)
router.include_router(gpu_routes.router)
