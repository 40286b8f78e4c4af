"""Reports of backup over HTTP, and the quota."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, submit
from naos.api.services import ServicesOf
from naos.errors import Unknown
from naos.fleet import builds
from naos.identity import Identity
from naos.protection.backup import quotas, report_pdf, reports, schedule, terms, views
from naos.protection.backup.wire import MatrixRow, MatrixWire, MissingWire, QuotaRequest, QuotaWire
from naos.tenancy.models import Tenant

router = APIRouter()

Reader = Annotated[Identity, Depends(require("backup_iaas_spp_read"))]
Operator = Annotated[Identity, Depends(require("backup_iaas_spp_read", "inventory_read", "inventory_write"))]
Days = Annotated[int, Query(ge=1, le=366, description="How many days, up to today.")]


def _matrix(
    session: Session, identity: Identity, days: int, policy_id: str | None, machine_id: str | None
) -> MatrixWire:
    zone = schedule.zone_of("UTC")
    if policy_id is not None:
        zone = terms.read(session, terms.storing(session, identity.tenant_id, policy_id)).zone
    dates = reports.days_until(datetime.now(zone).date(), days)
    if machine_id is not None:
        reports.check_known(session, identity.tenant_id, machine_id)
    rows = reports.matrix(session, identity.tenant_id, dates, zone, policy_id, machine_id)
    return MatrixWire(
        days=[day.isoformat() for day in dates],
        machines=[MatrixRow(virtual_machine_id=row.machine_id, name=row.name, days=list(row.days)) for row in rows],
    )


def _rows(found: MatrixWire) -> list[reports.Row]:
    return [reports.Row(row.virtual_machine_id, row.name, row.days) for row in found.machines]


@router.get("/reports/matrix")
def matrix(
    identity: Reader,
    services: ServicesOf,
    days: Days = 14,
    policyId: str | None = None,  # noqa: N803
    virtualMachineId: str | None = None,  # noqa: N803
) -> MatrixWire:
    """What happened to each machine on each day."""
    with services.database.read() as session:
        return _matrix(session, identity, days, policyId, virtualMachineId)


class CsvResponse(PlainTextResponse):
    media_type = "text/csv"


class PdfResponse(Response):
    media_type = "application/pdf"


@router.get("/reports/matrix.csv", response_class=CsvResponse)
def matrix_as_csv(
    identity: Reader,
    services: ServicesOf,
    days: Days = 14,
    policyId: str | None = None,  # noqa: N803
    virtualMachineId: str | None = None,  # noqa: N803
) -> CsvResponse:
    """The same for a spreadsheet."""
    with services.database.read() as session:
        found = _matrix(session, identity, days, policyId, virtualMachineId)
    return CsvResponse(reports.as_csv(found.days, _rows(found)))


@router.get("/reports/matrix.pdf", response_class=PdfResponse)
def matrix_as_pdf(
    identity: Reader,
    services: ServicesOf,
    days: Days = 14,
    policyId: str | None = None,  # noqa: N803
    virtualMachineId: str | None = None,  # noqa: N803
) -> PdfResponse:
    """The same for the file of whoever has to show it."""
    with services.database.read() as session:
        found = _matrix(session, identity, days, policyId, virtualMachineId)
        policy = "" if policyId is None else terms.storing(session, identity.tenant_id, policyId).name
        tenant = session.get_one(Tenant, identity.tenant_id).name
    title = f"Backups of {tenant}" + (f" under {policy}" if policy else "")
    return PdfResponse(report_pdf.matrix(title, found.days, _rows(found), datetime.now(UTC)))


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
def change_quota(
    body: QuotaRequest,
    identity: Operator,
    services: ServicesOf,
    key: RequestKeyOf,
    tenantId: str | None = None,  # noqa: N803
) -> JSONResponse:
    """Set what a tenant, one's own unless another is named, may have in vaults: for the operating organisation. From there on machines
    are not copied; what is under way comes to its end."""

    def check(session: Session) -> Plan:
        builds.check_operator(session, identity, "changing the quota of backup space")
        tenant = session.get(Tenant, tenantId or identity.tenant_id)
        if tenant is None:
            raise Unknown("tenant", tenantId or "")
        quotas.change(session, tenant.id, body.size, datetime.now(UTC))
        return Plan(
            kind="backup_quota.set",
            description=f"Set the quota of backup space of tenant {tenant.name}",
            arguments={"id": tenant.id},
            type="BackupActivity",
        )

    return submit(services, identity, key, check)
