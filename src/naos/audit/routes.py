"""The audit log over HTTP. It is only read here: what writes it is `naos.api.auditing`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from naos.api.authentication import require
from naos.api.parameters import Moment
from naos.api.services import ServicesOf
from naos.audit import export, reading, verification, wire
from naos.audit.errors import FormatUnknown
from naos.audit.journal import Journal
from naos.audit.reading import Filters, Outcome
from naos.identity import Identity

router = APIRouter(prefix="/audit/v1", tags=["Audit log"])

Reader = Annotated[Identity, Depends(require("activity_read"))]
MOST = 1000
LARGEST = 2**62


def filters(
    since: Annotated[Moment | None, Query(description="Only from this time on.")] = None,
    until: Annotated[Moment | None, Query(description="Only before this time.")] = None,
    user: Annotated[str | None, Query(description="Id of the user.", max_length=64)] = None,
    token: Annotated[str | None, Query(description="Id of the personal access token.", max_length=64)] = None,
    address: Annotated[str | None, Query(description="The client's address.", max_length=64)] = None,
    path: Annotated[str | None, Query(description="A part of the path.", max_length=255)] = None,
    outcome: Annotated[Outcome | None, Query(description="How it was answered.")] = None,
) -> Filters:
    return Filters(since, until, user, token, address, path, outcome)


FiltersOf = Annotated[Filters, Depends(filters)]


@router.get("/entries")
def list_entries(
    identity: Reader,
    services: ServicesOf,
    wanted: FiltersOf,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
    before: Annotated[int | None, Query(ge=0, le=LARGEST, description="Only entries with a lower sequence.")] = None,
) -> list[wire.AuditEntryWire]:
    """The writes of the tenant, its log-ins and refusals, the newest first. The next page is `before` the last sequence."""
    with services.database.read() as session:
        found = reading.page(session, _reader(identity), wanted, before=before, limit=limit)
        return [wire.to_wire(line) for line in found]


@router.get(
    "/entries/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}, "application/json": {}}}},
)
def export_entries(
    identity: Reader,
    services: ServicesOf,
    wanted: FiltersOf,
    kind: Annotated[str, Query(alias="format", description="csv or json", max_length=20)] = "csv",
) -> StreamingResponse:
    """All entries that the filters leave, the newest first, as a file."""
    if kind not in export.FORMATS:
        raise FormatUnknown(kind)
    media_type, write = export.FORMATS[kind]
    lines = reading.every(services.database, _reader(identity), wanted)
    headers = {"Content-Disposition": f'attachment; filename="audit.{kind}"'}
    return StreamingResponse(write(lines), media_type=media_type, headers=headers)


@router.get("/verification")
def verify(_identity: Reader, services: ServicesOf, request: Request) -> wire.VerificationWire:
    """Whether the log of the whole platform is what was written: looks at every entry, which takes a second for 30,000."""
    journal: Journal = request.app.state.journal
    return wire.verification(verification.verify(services.database, journal.key_folder))


def _reader(identity: Identity) -> reading.Reader:
    seen = identity.organisation_id if "iam_read" in identity.permissions else None
    return reading.Reader(identity.tenant_id, seen)
