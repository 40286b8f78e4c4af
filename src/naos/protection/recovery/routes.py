"""Recovery over HTTP: replicas of machines, recovery plans, tests and failovers, their reports."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.identity import Identity
from naos.protection.recovery import plans, replicas, reports, runs, views
from naos.protection.recovery.plans import Change, Wanted
from naos.protection.recovery.rules import Kind
from naos.protection.recovery.runs import Wish
from naos.protection.recovery.wire import (
    ExplanationWire,
    FailoverRequest,
    MemberWire,
    PlanChange,
    PlanRequest,
    PlanWire,
    ReplicaChange,
    ReplicaFailoverRequest,
    ReplicaRequest,
    ReplicaTestRequest,
    ReplicaWire,
    RunWire,
    TestRequest,
)

router = APIRouter(prefix="/recovery/v1", tags=["Recovery"])

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_infrastructure_read"))]
Writer = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]
Operator = Annotated[
    Identity,
    Depends(
        require(
            "compute_iaas_vmware_infrastructure_read",
            "compute_iaas_vmware_infrastructure_write",
            "compute_iaas_vmware_management",
            "compute_iaas_vmware_virtual_machine_power",
        )
    ),
]
RunKind = Literal["test", "planned", "unplanned", "failback"]


# -------------------------------------------------------------------------------------------------------------- replicas


@router.get("/replicas")
def list_replicas(
    identity: Reader,
    services: ServicesOf,
    virtualMachineId: str | None = None,  # noqa: N803 - the wire's way
) -> list[ReplicaWire]:
    """Replicas of machines: how old each is, and what is to be said about it."""
    with services.database.read() as session:
        return views.shown_replicas(session, replicas.listed(session, identity.tenant_id, virtualMachineId))


@router.get("/replicas/{replica_id}")
def read_replica(replica_id: ResourceId, identity: Reader, services: ServicesOf) -> ReplicaWire:
    """One replica, with its recovery points."""
    with services.database.read() as session:
        return views.shown_replicas(session, [replicas.find(session, identity.tenant_id, replica_id)])[0]


@router.post("/replicas", **ASYNCHRONOUS)
def create_replica(body: ReplicaRequest, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Replicate a machine to another zone; its first copy begins at once."""
    return submit(
        services,
        identity,
        key,
        lambda session: replicas.plan_create(
            session,
            services.world,
            identity.tenant_id,
            machine_id=body.virtual_machine_id,
            cpool_id=body.host_cluster_id,
            lun_id=body.datastore_id,
            interval=body.interval,
            keep=body.keep,
        ),
    )


@router.patch("/replicas/{replica_id}", **ASYNCHRONOUS)
def change_replica(
    replica_id: ResourceId, body: ReplicaChange, identity: Writer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Change the interval or the number of points, pause or go on."""
    return submit(
        services,
        identity,
        key,
        lambda session: replicas.plan_change(
            session,
            services.world,
            identity.tenant_id,
            replica_id,
            interval=body.interval,
            keep=body.keep,
            paused=body.paused,
        ),
    )


@router.post("/replicas/{replica_id}/run", **ASYNCHRONOUS)
def run_replica(replica_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Take the next point now."""
    return submit(
        services,
        identity,
        key,
        lambda session: replicas.plan_replicate(
            session, replicas.find(session, identity.tenant_id, replica_id), asked=True
        ),
    )


@router.delete("/replicas/{replica_id}", **ASYNCHRONOUS)
def stop_replica(replica_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Stop the replication and drop its points; the machine stays as it is, wherever it runs."""
    return submit(services, identity, key, lambda session: replicas.plan_stop(session, identity.tenant_id, replica_id))


@router.get("/replicas/{replica_id}/explain")
def explain_replica(
    replica_id: ResourceId,
    identity: Reader,
    services: ServicesOf,
    kind: RunKind = "planned",
) -> ExplanationWire:
    """What a test or a failover of the one machine would do. Nothing happens."""
    with services.database.read() as session:
        subject = replicas.find(session, identity.tenant_id, replica_id)
        return views.shown_explanation(*runs.explain(session, services.world, subject, Wish(Kind(kind))))


@router.post("/replicas/{replica_id}/test", **ASYNCHRONOUS)
def test_replica(
    replica_id: ResourceId, body: ReplicaTestRequest, identity: Operator, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Start a copy of the machine on a network of its own, see it live, remove it; the replication goes on."""
    wish = Wish(Kind.TEST, hold=body.hold, point_id=body.point_id)

    def check(session: Session) -> Plan:
        return runs.plan_run(session, services.world, replicas.find(session, identity.tenant_id, replica_id), wish)

    return submit(services, identity, key, check)


@router.post("/replicas/{replica_id}/failover", **ASYNCHRONOUS)
def fail_replica_over(
    replica_id: ResourceId, body: ReplicaFailoverRequest, identity: Operator, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Start the machine in the other zone."""
    wish = Wish(Kind(body.kind), source_is_down=body.source_is_down, point_id=body.point_id)

    def check(session: Session) -> Plan:
        return runs.plan_run(session, services.world, replicas.find(session, identity.tenant_id, replica_id), wish)

    return submit(services, identity, key, check)


@router.post("/replicas/{replica_id}/reverse", **ASYNCHRONOUS)
def reverse_replica(replica_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """After a failover: replicate the machine back to where it came from."""
    return submit(
        services,
        identity,
        key,
        lambda session: runs.plan_reverse(session, replicas.find(session, identity.tenant_id, replica_id)),
    )


@router.post("/replicas/{replica_id}/discard", **ASYNCHRONOUS)
def discard_replica(replica_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Delete the disks that a failover left on the old side."""
    return submit(
        services,
        identity,
        key,
        lambda session: runs.plan_discard(session, replicas.find(session, identity.tenant_id, replica_id)),
    )


# ----------------------------------------------------------------------------------------------------------------- plans


@router.get("/plans")
def list_plans(identity: Reader, services: ServicesOf, name: str | None = None) -> list[PlanWire]:
    """Recovery plans, and whether each could be carried out now."""
    with services.database.read() as session:
        return views.shown_plans(session, services.world, plans.listed(session, identity.tenant_id, name))


@router.get("/plans/{plan_id}")
def read_plan(plan_id: ResourceId, identity: Reader, services: ServicesOf) -> PlanWire:
    """One recovery plan."""
    with services.database.read() as session:
        return views.shown_plans(session, services.world, [plans.find(session, identity.tenant_id, plan_id)])[0]


@router.post("/plans", **ASYNCHRONOUS)
def create_plan(body: PlanRequest, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Make a recovery plan."""
    return submit(
        services, identity, key, lambda session: plans.plan_create(session, identity.tenant_id, _change(body))
    )


@router.patch("/plans/{plan_id}", **ASYNCHRONOUS)
def change_plan(
    plan_id: ResourceId, body: PlanChange, identity: Writer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Change a recovery plan."""
    return submit(
        services, identity, key, lambda session: plans.plan_change(session, identity.tenant_id, plan_id, _change(body))
    )


@router.delete("/plans/{plan_id}", **ASYNCHRONOUS)
def delete_plan(plan_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Delete a recovery plan; its machines and their copies stay."""
    return submit(services, identity, key, lambda session: plans.plan_delete(session, identity.tenant_id, plan_id))


@router.get("/plans/{plan_id}/explain")
def explain_plan(
    plan_id: ResourceId,
    identity: Reader,
    services: ServicesOf,
    kind: RunKind = "planned",
) -> ExplanationWire:
    """What a test or a failover would do, step by step, and why it would be refused. Nothing happens."""
    with services.database.read() as session:
        subject = plans.find(session, identity.tenant_id, plan_id)
        return views.shown_explanation(*runs.explain(session, services.world, subject, Wish(Kind(kind))))


@router.post("/plans/{plan_id}/test", **ASYNCHRONOUS)
def test_plan(
    plan_id: ResourceId, body: TestRequest, identity: Operator, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Bring copies of the machines up on a network of their own from their last points, then remove them; a signed report stays."""
    wish = Wish(Kind.TEST, hold=body.hold)

    def check(session: Session) -> Plan:
        return runs.plan_run(session, services.world, plans.find(session, identity.tenant_id, plan_id), wish)

    return submit(services, identity, key, check)


@router.post("/plans/{plan_id}/failover", **ASYNCHRONOUS)
def fail_plan_over(
    plan_id: ResourceId, body: FailoverRequest, identity: Operator, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Bring the machines up in the other zone."""
    wish = Wish(Kind(body.kind), source_is_down=body.source_is_down)

    def check(session: Session) -> Plan:
        return runs.plan_run(session, services.world, plans.find(session, identity.tenant_id, plan_id), wish)

    return submit(services, identity, key, check)


@router.post("/plans/{plan_id}/reverse", **ASYNCHRONOUS)
def reverse_plan(plan_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """After a failover: replicate the machines back to where they came from; then the plan is ready for its way back."""
    return submit(
        services,
        identity,
        key,
        lambda session: runs.plan_reverse(session, plans.find(session, identity.tenant_id, plan_id)),
    )


@router.post("/plans/{plan_id}/discard", **ASYNCHRONOUS)
def discard_plan(plan_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Delete the disks that failovers left on old volumes."""
    return submit(
        services,
        identity,
        key,
        lambda session: runs.plan_discard(session, plans.find(session, identity.tenant_id, plan_id)),
    )


# ------------------------------------------------------------------------------------------------------------------ runs


@router.get("/runs")
def list_runs(identity: Reader, services: ServicesOf, subjectId: str | None = None) -> list[RunWire]:  # noqa: N803
    """Tests and failovers, the latest first, 500 at most; of one plan or replica."""
    with services.database.read() as session:
        found = reports.listed(session, identity.tenant_id, subjectId)
        return [views.shown_run(session, services.world, run) for run in found]


@router.get("/runs/{run_id}")
def read_run(run_id: ResourceId, identity: Reader, services: ServicesOf) -> RunWire:
    """How a run goes, or its signed report."""
    with services.database.read() as session:
        return views.shown_run(session, services.world, reports.find(session, identity.tenant_id, run_id))


# ---------------------------------------------------------------------------------------------------------------- inside


def _change(body: PlanRequest | PlanChange) -> Change:
    networks: Mapping[str, str] | None = None
    if body.networks is not None:
        networks = {entry.network_id: entry.destination_network_id for entry in body.networks}
    return Change(
        name=body.name,
        cpool_id=body.host_cluster_id,
        members=None if body.machines is None else [_wanted(entry) for entry in body.machines],
        networks=networks,
        reserve=body.reserve,
        promise=body.promise,
        shutdown=body.shutdown,
    )


def _wanted(entry: MemberWire) -> Wanted:
    addresses: dict[str, Any] = {
        given.mac_address: {"address": given.address, "gateway": given.gateway} for given in entry.addresses
    }
    return Wanted(
        entry.virtual_machine_id, entry.order, entry.delay, entry.check, entry.line, entry.patience, addresses
    )
