"""The audit log on the wire and in files."""

import json
from datetime import datetime
from typing import Any

from naos.audit.reading import Line, Outcome
from naos.audit.verification import Verification
from naos.wire import Wire


class AuditEntryWire(Wire):
    """One request, log-in or refusal, with its answer.

    sequence: its place in the log of the whole platform. event: write, refusal, login or console. userName: as it was then.
    path: with the names of its parameters; `objects` has the ids that the address and the body named. permissions: those
    that it was allowed by, or lacked. request: query and body without secrets. digest: an HMAC of the body as it came.
    outcome: accepted, refused, failed, or begun when nobody answered. code: of the error.
    """

    sequence: int
    time: datetime
    event: str
    request_id: str
    tenant_id: str | None
    organisation_id: str | None
    user_id: str | None
    user_name: str | None
    token_id: str | None
    address: str | None
    method: str
    path: str
    objects: list[str]
    permissions: list[str]
    request: dict[str, Any]
    digest: str | None
    outcome: Outcome
    status: int | None
    activity_id: str | None
    code: str | None


class VerificationWire(Wire):
    """`bad`: the first sequence at which the log is not what was written. See `verification.Verification`."""

    sound: bool
    checked: int
    first: int | None
    last: int | None
    began: datetime | None
    bad: int | None
    reason: str


def to_wire(line: Line) -> AuditEntryWire:
    entry = line.entry
    return AuditEntryWire(
        sequence=entry.sequence,
        time=entry.at,
        event=entry.event,
        request_id=entry.request_id,
        tenant_id=entry.tenant_id,
        organisation_id=entry.organisation_id,
        user_id=entry.user_id,
        user_name=entry.user_name,
        token_id=entry.token_id,
        address=entry.address,
        method=entry.method,
        path=entry.path,
        objects=json.loads(entry.objects),
        permissions=json.loads(entry.permissions),
        request=json.loads(line.request),
        digest=line.digest,
        outcome=line.outcome,
        status=line.status,
        activity_id=line.activity_id,
        code=line.code,
    )


def verification(found: Verification) -> VerificationWire:
    return VerificationWire(
        sound=found.sound,
        checked=found.checked,
        first=found.first,
        last=found.last,
        began=found.began,
        bad=found.bad,
        reason=found.reason,
    )
