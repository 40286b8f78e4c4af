"""Backup over HTTP: the terms of policies, runs machine by machine, restore points, reports, the quota."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy.orm import Session

from naos.activity import Item, Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, Moment, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.errors import Unknown
from naos.identity import Identity
from naos.protection import policies
from naos.protection.backup import points, quotas, reports, restores, runs, schedule, terms, views
from naos.protection.backup.restore_wire import ConvertRequest, RestoreRequest, RestoreWire
from naos.protection.backup.wire import (
    MatrixRow,
    MatrixWire,
    MissingWire,
    PointWire,
    QuotaRequest,
    QuotaWire,
    TaskWire,
    TermsRequest,
    TermsWire,
    wish_of,
)
from naos.protection.errors import NoBackupFixed
from naos.protection.models import BackupPolicy, BackupRun

router = APIRouter()

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


def _storing(session: Session, tenant_id: str, policy_id: str) -> BackupPolicy:
    policy = policies.find(session, tenant_id, policy_id)
    if policy.zone is None:
        raise NoBackupFixed("changed")
    return policy


@router.get("/policies/{policy_id}/terms")
def read_terms(policy_id: ResourceId, identity: Reader, services: ServicesOf) -> TermsWire:
    """When a policy runs, what it keeps and how it copies."""
    with services.database.read() as session:
        return views.shown_terms(session, _storing(session, identity.tenant_id, policy_id), datetime.now(UTC))


@router.patch("/policies/{policy_id}/terms", **ASYNCHRONOUS)
def change_terms(
    policy_id: ResourceId, body: TermsRequest, identity: Writer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Change a policy's terms. What is kept no longer is let go at the next look; what is immutable stays so."""

    def check(session: Session) -> Plan:
        policy = _storing(session, identity.tenant_id, policy_id)
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
        services, identity, key, lambda session: restores.plan_confirm(session, identity.tenant_id, restore_id)
    )


@router.post("/restores/{restore_id}/take_back", **ASYNCHRONOUS)
def take_restore_back(
    restore_id: ResourceId, identity: Restorer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Give a machine the disks again that a restore to production replaced, and delete the restored ones."""
    return submit(
        services, identity, key, lambda session: restores.plan_take_back(session, identity.tenant_id, restore_id)
    )


@router.post("/restores/{restore_id}/clean_up", **ASYNCHRONOUS)
def clean_restore_up(
    restore_id: ResourceId, identity: Restorer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Delete a test's machine and network."""
    return submit(
        services, identity, key, lambda session: restores.plan_clean_up(session, identity.tenant_id, restore_id)
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
        lambda session: restores.plan_convert(session, identity.tenant_id, restore_id, body.networks),
    )


# -------------------------------------------------------------------------------------------------------------- reports

Days = Annotated[int, Query(ge=1, le=366, description="How many days, up to today.")]


def _matrix(session: Session, identity: Identity, days: int, policy_id: str | None) -> MatrixWire:
    zone = schedule.zone_of("UTC")
    if policy_id is not None:
        zone = terms.read(session, _storing(session, identity.tenant_id, policy_id)).zone
    dates = reports.days_until(datetime.now(zone).date(), days)
    rows = reports.matrix(session, identity.tenant_id, dates, zone, policy_id)
    return MatrixWire(
        days=[day.isoformat() for day in dates],
        machines=[MatrixRow(virtual_machine_id=row.machine_id, name=row.name, days=list(row.days)) for row in rows],
    )


@router.get("/reports/matrix")
def matrix(
    identity: Reader,
    services: ServicesOf,
    days: Days = 14,
    policyId: str | None = None,  # noqa: N803
) -> MatrixWire:
    """What happened to each machine on each day."""
    with services.database.read() as session:
        return _matrix(session, identity, days, policyId)


class CsvResponse(PlainTextResponse):
    media_type = "text/csv"


@router.get("/reports/matrix.csv", response_class=CsvResponse)
def matrix_as_csv(
    identity: Reader,
    services: ServicesOf,
    days: Days = 14,
    policyId: str | None = None,  # noqa: N803
) -> CsvResponse:
    """The same for a spreadsheet."""
    with services.database.read() as session:
        found = _matrix(session, identity, days, policyId)
    rows = [reports.Row(row.virtual_machine_id, row.name, row.days) for row in found.machines]
    return CsvResponse(reports.as_csv(found.days, rows))


@router.get("/reports/unprotected")
def unprotected(identity: Reader, services: ServicesOf) -> list[MissingWire]:
    """Machines of which nothing is copied."""
    with services.database.read() as session:
        return views.shown_lacking(reports.unprotected(session, identity.tenant_id))


@router.get("/reports/stale")
def stale(
    identity: Reader,
    services: ServicesOf,
    hours: Annotated[int, Query(ge=1, le=24 * 3660, description="Without a good restore point for so long.")] = 26,
) -> list[MissingWire]:
    """Machines under a policy without a good restore point of late."""
    with services.database.read() as session:
        since = datetime.now(UTC) - timedelta(hours=hours)
        return views.shown_lacking(reports.stale(session, identity.tenant_id, since))


# ---------------------------------------------------------------------------------------------------------------- quota


@router.get("/quota")
def read_quota(identity: Reader, services: ServicesOf) -> QuotaWire:
    """What the tenant has in vaults, and may have."""
    with services.database.read() as session:
        return views.shown_quota(session, identity.tenant_id)


@router.put("/quota", **ASYNCHRONOUS)
def change_quota(body: QuotaRequest, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Set what the tenant may have in vaults. From there on machines are not copied; what is under way comes to its end."""

    def check(session: Session) -> Plan:
        quotas.change(session, identity.tenant_id, body.size, datetime.now(UTC))
        return Plan(
            kind="backup_quota.set",
            description="Set the quota of backup space",
            arguments={"id": identity.tenant_id},
            type="BackupActivity",
        )

    return submit(services, identity, key, check)
