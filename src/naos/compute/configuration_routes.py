"""What machines are set to, over HTTP: sizes, boot options, power, extra configuration (wire-API section 4.13)."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import configuration, machines, starting
from naos.compute.configuration_wire import MachineUpdate, PowerChange, PowerRecommendation
from naos.compute.errors import WrongDatacenter
from naos.compute.models import VirtualMachine
from naos.compute.starting import Choice
from naos.errors import Unknown
from naos.identity import Identity

router = APIRouter()

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]
PowerUser = Annotated[
    Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_virtual_machine_power"))
]


@router.patch("/virtual_machines", **ASYNCHRONOUS)
def update_machine(body: MachineUpdate, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Another size, hot add, boot options, nested virtualisation. What a running machine cannot take fails in the activity."""
    changes = body.changes()
    return submit(
        services,
        identity,
        key,
        lambda session: configuration.plan_update(session, services.world, identity.tenant_id, body.id, changes),
    )


@router.get("/virtual_machines/power/recommendations")
def list_recommendations(
    identity: Reader,
    services: ServicesOf,
    virtualMachineId: str | None = None,  # noqa: N803 - the wire API's name
    datacenterId: str | None = None,  # noqa: N803
    hostClusterId: str | None = None,  # noqa: N803
) -> list[PowerRecommendation]:
    """The blades on which a stopped machine could start now, the best first; none for a running one."""
    with services.database.read() as session:
        machine = session.get(VirtualMachine, virtualMachineId) if virtualMachineId else None
        if machine is None or machine.tenant_id != identity.tenant_id:
            return []
        if hostClusterId not in (None, "", machine.cpool_id):
            return []
        if datacenterId and not _is_in(session, identity.tenant_id, machine.id, datacenterId):
            return []
        return [
            PowerRecommendation(
                key=found.key,
                host_cluster_id=found.cpool.id,
                host_id=found.blade.id,
                host_cluster_name=found.cpool.name,
                host_name=found.blade.name,
            )
            for found in starting.recommendations(session, services.world, machine)
        ]


def _is_in(session: Session, tenant_id: str, machine_id: str, datacenter_id: str) -> bool:
    try:
        machines.find_in(session, tenant_id, machine_id, datacenter_id)
    except (Unknown, WrongDatacenter):
        return False
    return True


@router.patch("/virtual_machines/power", **ASYNCHRONOUS)
def change_power(body: PowerChange, identity: PowerUser, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """On, off, shutdown or reset."""
    tenant, chosen = identity.tenant_id, body.recommendation
    choice = Choice(chosen.key, chosen.host_cluster_id, chosen.host_id) if chosen is not None else None
    plans: dict[str, Callable[[Session], Plan]] = {
        "on": lambda session: starting.plan_power_on(
            session, tenant, body.id, choice=choice, setup=body.force_enter_bios
        ),
        "off": lambda session: machines.plan_power_off(session, tenant, body.id),
        "shutdown": lambda session: machines.plan_shutdown(session, tenant, body.id, seconds=body.timeout),
        "reset": lambda session: machines.plan_reset(session, tenant, body.id),
    }

    def check(session: Session) -> Plan:
        machines.find_in(session, tenant, body.id, body.datacenter_id)
        return plans[body.power_action](session)

    return submit(services, identity, key, check)


@router.patch("/virtual_machines/{machine_id}/extra_config", **ASYNCHRONOUS)
def set_extra_config(
    machine_id: ResourceId,
    body: Annotated[dict[str, Any], Body(description="Keys and values; an empty text takes a key away.")],
    identity: Manager,
    services: ServicesOf,
    key: RequestKeyOf,
) -> JSONResponse:
    """Set keys of the extra configuration, which the guest reads at its next start; other keys stay."""
    return submit(
        services,
        identity,
        key,
        lambda session: configuration.plan_extra_config(session, identity.tenant_id, machine_id, body),
    )
