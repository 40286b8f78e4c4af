"""Explanations, plans and recommendations over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import arranging, machines, preflight, rules
from naos.compute.blockers_wire import MigrationCheckWire, check_wire
from naos.compute.placement_wire import (
    PlacementWire,
    PlanWire,
    RecommendationsWire,
    blades_by_name,
    explanation_wire,
    plan_wire,
    recommendations_wire,
)
from naos.compute.rules import MINIMUM_MEMORY
from naos.fleet import cpools
from naos.fleet.models import Cpool
from naos.identity import Identity

router = APIRouter()

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Planner = Annotated[Identity, Depends(require("compute_iaas_vmware_infrastructure_read"))]
Switcher = Annotated[
    Identity,
    Depends(
        require(
            "compute_iaas_vmware_read",
            "compute_iaas_vmware_management",  # machines move
            "compute_iaas_vmware_virtual_machine_power",
        )
    ),
]
Builder = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


@router.get("/virtual_machines/{machine_id}/placement")
def explain_placement(machine_id: ResourceId, identity: Reader, services: ServicesOf) -> PlacementWire:
    """Every blade of the machine's cpool, and why it would or would not be chosen; of a running machine, as if it were stopped."""
    with services.database.read() as session:
        machine = machines.find(session, identity.tenant_id, machine_id)
        found = arranging.explain(session, services.world, machine)
        return explanation_wire(found, blades_by_name(session, machine.cpool_id))


@router.post("/virtual_machines/{machine_id}/placement", **ASYNCHRONOUS)
def start_with_room(
    machine_id: ResourceId, identity: Switcher, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Start a machine, and move as few running ones as that takes out of its way first."""
    with services.database.read() as session:
        machine = machines.find(session, identity.tenant_id, machine_id)
        rules.check_stopped(machine.name, machine.power, "it runs already")
        outcome = arranging.room_for(session, services.world, session.get_one(Cpool, machine.cpool_id), machine)
    return submit(
        services,
        identity,
        key,
        lambda session: arranging.plan_start_with_room(session, identity.tenant_id, machine_id, outcome),
    )


@router.get("/virtual_machines/{machine_id}/migration_check")
def check_migration(
    machine_id: ResourceId,
    identity: Reader,
    services: ServicesOf,
    hostId: str | None = None,  # noqa: N803 - the wire API's name
) -> MigrationCheckWire:
    """Everything that keeps a machine from moving to a blade, or to each blade of its cpool: rule, reason, remedy. Nothing moves."""
    with services.database.read() as session:
        found = preflight.check(session, services.world, identity.tenant_id, machine_id, hostId)
        return check_wire(found, blades_by_name(session, found.cpool.id))


@router.get("/host_clusters/{cpool_id}/placement_plan")
def plan_placement(
    cpool_id: ResourceId,
    identity: Planner,
    services: ServicesOf,
    cpu: Annotated[int, Query(ge=1, le=1024)] = 1,
    memory: Annotated[int, Query(ge=MINIMUM_MEMORY, le=2**50)] = MINIMUM_MEMORY,
    virtualMachineId: str | None = None,  # noqa: N803 - the wire API's name
) -> PlanWire:
    """The fewest moves that make room for a stopped machine of the cpool, or for one of a size (memory in bytes). Nothing moves."""
    with services.database.read() as session:
        cpool = cpools.find(session, identity.tenant_id, cpool_id)
        if virtualMachineId is None:
            outcome = arranging.room_for_size(session, services.world, cpool, cpu=cpu, memory=memory)
        else:
            machine = arranging.find_member(session, cpool, virtualMachineId)
            outcome = arranging.room_for(session, services.world, cpool, machine)
        return plan_wire(outcome, blades_by_name(session, cpool.id))


@router.get("/host_clusters/{cpool_id}/recommendations")
def list_pool_recommendations(cpool_id: ResourceId, identity: Planner, services: ServicesOf) -> RecommendationsWire:
    """Moves that would mend broken affinity rules, and balance blades that are further apart than the threshold."""
    with services.database.read() as session:
        cpool = cpools.find(session, identity.tenant_id, cpool_id)
        gap, advice = arranging.advice_for(session, services.world, cpool)
        return recommendations_wire(cpool, gap, advice, blades_by_name(session, cpool.id))


@router.post("/host_clusters/{cpool_id}/recommendations", **ASYNCHRONOUS)
def apply_pool_recommendations(
    cpool_id: ResourceId, identity: Builder, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Make the recommended moves, by live migration."""
    return submit(
        services,
        identity,
        key,
        lambda session: arranging.plan_balance(session, services.world, identity.tenant_id, cpool_id),
    )
