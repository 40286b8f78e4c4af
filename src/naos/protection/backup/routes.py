"""Backup over HTTP: the terms of policies, runs machine by machine, restore points. Reports have a module of their own."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.activity import Item, Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, Moment, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.errors import Unknown
from naos.identity import Identity
from naos.protection.backup import deciding, points, restores, runs, terms, views
from naos.protection.backup.report_routes import router as report_router
from naos.protection.backup.restore_wire import ConvertRequest, RestoreRequest, RestoreWire
from naos.protection.backup.wire import (
    PointWire,
    TaskWire,
    TermsRequest,
    TermsWire,
    wish_of,
)
from naos.protection.models import BackupRun

router = APIRouter()
router.include_router(report_router)

Reader = Annotated[Identity, Depends(require("backup_iaas_spp_read"))]
Writer = Annotated[Identity, Depends(require("backup_iaas_spp_read", "backup_iaas_spp_write"))]
Restorer = Annotated[
    Identity,
    Depends(
        require(
            "backup_iaas_spp_read",
            "backup_iaas_spp_write",
            "compute_iaas_vmware_read",
            "compute_iaas_vmware_management",
        )
    ),
]
LARGEST_NUMBER = 2**63 - 1


# ---------------------------------------------------------------------------------------------------------------- terms


@router.get("/policies/{policy_id}/terms")
def read_terms(policy_id: ResourceId, identity: Reader, services: ServicesOf) -> TermsWire:
    """When a policy runs, what it keeps and how it copies."""
    with services.database.read() as session:
        return views.shown_terms(session, terms.storing(session, identity.tenant_id, policy_id), datetime.now(UTC))


@router.patch("/policies/{policy_id}/terms", **ASYNCHRONOUS)
def change_terms(
    policy_id: ResourceId, body: TermsRequest, identity: Writer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Change a policy's terms. What is kept no longer is let go at the next look; what is immutable stays so."""

    def check(session: Session) -> Plan:
        policy = terms.storing(session, identity.tenant_id, policy_id)
        terms.change(session, policy, wish_of(body))
        return Plan(
            kind="backup_policy.terms",
            description=f"Change the terms of backup policy {policy.name}",
            arguments={"id": policy.id},
            concerned=(Item(policy.id, "backup_policy"),),
            type="BackupActivity",
        )

    return submit(services, identity, key, check)


# ----------------------------------------------------------------------------------------------------------------- runs


@router.get("/jobs/session/{number}/virtual_machines")
def list_tasks(number: str, identity: Reader, services: ServicesOf) -> list[TaskWire]:
    """The machines of a run, and what became of each."""
    with services.database.read() as session:
        found = None
        if number.isascii() and number.isdecimal() and int(number) <= LARGEST_NUMBER:
            found = session.get(BackupRun, int(number))
        if found is None or found.tenant_id != identity.tenant_id:
            raise Unknown("backup run", number)
        return views.shown_tasks(runs.tasks_of(session, found.number))


# --------------------------------------------------------------------------------------------------------------- points


@router.get("/restore_points")
def list_points(
    identity: Reader,
    services: ServicesOf,
    virtualMachineId: str | None = None,  # noqa: N803 - the wire's way
    policyId: str | None = None,  # noqa: N803
    since: Moment | None = None,
    until: Moment | None = None,
) -> list[PointWire]:
    """Restore points, the newest first; those of deleted machines too."""
    with services.database.read() as session:
        found = points.listed(
            session,
            identity.tenant_id,
            machine_id=virtualMachineId,
            policy_id=policyId,
            since=since,
            until=until,
        )
        return views.shown_points(session, found)


@router.get("/restore_points/{point_id}")
def read_point(point_id: ResourceId, identity: Reader, services: ServicesOf) -> PointWire:
    """One restore point."""
    with services.database.read() as session:
        return views.shown_points(session, [points.find(session, identity.tenant_id, point_id)])[0]


@router.delete("/restore_points/{point_id}", **ASYNCHRONOUS)
def delete_point(
    point_id: ResourceId,
    identity: Writer,
    services: ServicesOf,
    key: RequestKeyOf,
    force: Annotated[bool, Query(description="Also the last good one of a machine that is there.")] = False,  # noqa: FBT002
) -> JSONResponse:
    """Delete a restore point that is neither immutable nor held."""
    return submit(
        services,
        identity,
        key,
        lambda session: points.plan_delete(session, identity.tenant_id, point_id, force=force),
    )


@router.post("/restore_points/{point_id}/verify", **ASYNCHRONOUS)
def verify_point(point_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Read a restore point whole, and compare it with the checksums of its arrival."""
    return submit(services, identity, key, lambda session: points.plan_verify(session, identity.tenant_id, point_id))


@router.post("/restore_points/{point_id}/boot_test", **ASYNCHRONOUS)
def boot_test_point(point_id: ResourceId, identity: Restorer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Start a machine of a restore point on a network of its own, wait for a sign of life of its guest, note it, and clean up."""
    return submit(
        services,
        identity,
        key,
        lambda session: restores.plan_boot_test(session, services.world, identity.tenant_id, point_id),
    )


@router.post("/restore_points/{point_id}/restore", **ASYNCHRONOUS)
def restore_point(
    point_id: ResourceId, body: RestoreRequest, identity: Restorer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Restore a machine, or some of its disks: as a test, a clone, or in its place. The machine is the activity's result."""
    return submit(
        services,
        identity,
        key,
        lambda session: restores.plan(session, services.world, identity.tenant_id, point_id, body),
    )


@router.get("/restores")
def list_restores(identity: Reader, services: ServicesOf) -> list[RestoreWire]:
    """Restores, the newest first: tests that can be converted or cleaned up, machines whose old disks are kept."""
    with services.database.read() as session:
        return views.shown_restores(restores.of_tenant(session, identity.tenant_id))


@router.get("/restores/{restore_id}")
def read_restore(restore_id: ResourceId, identity: Reader, services: ServicesOf) -> RestoreWire:
    """One restore."""
    with services.database.read() as session:
        return views.shown_restores([restores.find(session, identity.tenant_id, restore_id)])[0]


@router.post("/restores/{restore_id}/confirm", **ASYNCHRONOUS)
def confirm_restore(
    restore_id: ResourceId, identity: Restorer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Delete the disks that a restore to production replaced."""
    return submit(
        services, identity, key, lambda session: deciding.plan_confirm(session, identity.tenant_id, restore_id)
    )


@router.post("/restores/{restore_id}/take_back", **ASYNCHRONOUS)
def take_restore_back(
    restore_id: ResourceId, identity: Restorer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Give a machine the disks again that a restore to production replaced, and delete the restored ones."""
    return submit(
        services, identity, key, lambda session: deciding.plan_take_back(session, identity.tenant_id, restore_id)
    )


@router.post("/restores/{restore_id}/clean_up", **ASYNCHRONOUS)
def clean_restore_up(
    restore_id: ResourceId, identity: Restorer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Delete a test's machine and network."""
    return submit(
        services, identity, key, lambda session: deciding.plan_clean_up(session, identity.tenant_id, restore_id)
    )


@router.post("/restores/{restore_id}/convert", **ASYNCHRONOUS)
def convert_restore(
    restore_id: ResourceId, body: ConvertRequest, identity: Restorer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Keep a test's machine, on the networks that the machine had."""
    return submit(
        services,
        identity,
        key,
        lambda session: deciding.plan_convert(session, identity.tenant_id, restore_id, body.networks),
    )
