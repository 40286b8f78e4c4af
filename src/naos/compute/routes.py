"""Machines over HTTP (wire-API sections 4.11 deployment and 4.13)."""

from collections.abc import Callable
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, list_filter, matches, submit
from naos.api.services import ServicesOf
from naos.compute import console, device_routes, machines, tagging  # noqa: F401 - `tagging` says that machines carry tags
from naos.compute.deployment import request_of
from naos.compute.machines import MachineRequest
from naos.compute.models import VirtualMachine
from naos.compute.wire import (
    Deployment,
    Machine,
    MachineCreation,
    MachineUpdate,
    PowerChange,
    Relocation,
    Renaming,
    machine_wire,
)
from naos.identity import Identity
from naos.network import vlans
from naos.storage import luns

router = APIRouter(prefix="/compute/v1/vcenters", tags=["Virtual machines"])

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]
PowerUser = Annotated[
    Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_virtual_machine_power"))
]
Builder = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]

NetworkWriter = Annotated[Identity, Depends(require("network_read", "network_write"))]


@router.get("/virtual_machines")
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
) -> list[Machine]:
    """The tenant's machines; filters are combined, an unknown id matches nothing."""
    query = (
        sa.select(VirtualMachine).where(VirtualMachine.tenant_id == identity.tenant_id).order_by(VirtualMachine.name)
    )
    if name is not None:
        query = query.where(VirtualMachine.name == name)
    with services.database.read() as session:
        found = [machine_wire(session, machine) for machine in session.scalars(query)]
    return [
        machine
        for machine in found
        if machineManagerId in (None, machine.machine_manager.id)
        and matches(machine.datacenter.id, datacenters)
        and matches(machine.datastore.id, datastores)
        and matches(machine.host_cluster.id, clusters)
        and matches(machine.host.id if machine.host else None, hosts)
        and (not networks or set(networks) & set(machine.distributed_virtual_port_group_ids))
    ]


@router.get("/virtual_machines/{machine_id}")
def read_machine(machine_id: ResourceId, identity: Reader, services: ServicesOf) -> Machine:
    """One machine."""
    with services.database.read() as session:
        return machine_wire(session, machines.find(session, identity.tenant_id, machine_id))


@router.post("/virtual_machines", **ASYNCHRONOUS)
def create_machine(body: MachineCreation, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Create a machine without disk or adapter, powered off."""
    request = MachineRequest(
        name=body.name,
        cpool_id=body.host_cluster_id,
        lun_id=body.datastore_id,
        cpu=body.cpu,
        memory=body.memory,
        blade_id=body.host_id,
        datacenter_id=body.datacenter_id,
    )
    return submit(
        services,
        identity,
        key,
        lambda session: machines.plan_create(session, services.world, identity.tenant_id, request),
    )


@router.post("/content_libraries/{library_id}/items", **ASYNCHRONOUS)
def deploy_machine(
    library_id: ResourceId, body: Deployment, identity: Manager, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Deploy a template as a machine: disk, adapters and seed, and started if so wished."""
    request = request_of(body)
    return submit(
        services,
        identity,
        key,
        lambda session: machines.plan_create(
            session, services.world, identity.tenant_id, request, library_id=library_id
        ),
    )


@router.patch("/virtual_machines", **ASYNCHRONOUS)
def update_machine(body: MachineUpdate, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Another number of vCPUs or another memory."""
    return submit(
        services,
        identity,
        key,
        lambda session: machines.plan_update(
            session,
            services.world,
            identity.tenant_id,
            body.id,
            cpu=body.cpu,
            memory=body.ram,
            cores_per_socket=body.core_per_socket,
        ),
    )


@router.patch("/virtual_machines/power", **ASYNCHRONOUS)
def change_power(body: PowerChange, identity: PowerUser, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """On, off, shutdown or reset."""
    tenant = identity.tenant_id
    plans: dict[str, Callable[[Session], Plan]] = {
        "on": lambda session: machines.plan_power_on(session, tenant, body.id),
        "off": lambda session: machines.plan_power_off(session, tenant, body.id),
        "shutdown": lambda session: machines.plan_shutdown(session, tenant, body.id, seconds=body.timeout),
        "reset": lambda session: machines.plan_reset(session, tenant, body.id),
    }

    def check(session: Session) -> Plan:
        machines.find_in(session, tenant, body.id, body.datacenter_id)
        return plans[body.power_action](session)

    return submit(services, identity, key, check)


@router.patch("/virtual_machines/rename", **ASYNCHRONOUS)
def rename_machine(body: Renaming, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Another name; no file is touched."""
    return submit(
        services,
        identity,
        key,
        lambda session: machines.plan_rename(session, identity.tenant_id, body.id, body.name),
    )


@router.post("/virtual_machines/relocate", **ASYNCHRONOUS)
def relocate_machine(body: Relocation, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Move a machine to another blade of its cpool, live when it runs."""

    def check(session: Session) -> Plan:
        machine = machines.find_in(session, identity.tenant_id, body.virtual_machines[0], body.datacenter_id)
        return machines.plan_relocate(
            session,
            identity.tenant_id,
            machine.id,
            blade_id=body.host_id,
            cpool_id=body.host_cluster_id,
            lun_id=body.datastore_id,
        )

    return submit(services, identity, key, check)


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
        lambda session: luns.plan_delete(
            session, tenant_id=identity.tenant_id, lun_id=lun_id, name_of=machines.name_of
        ),
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
router.include_router(console.router)
