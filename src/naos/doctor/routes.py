"""The doctor over HTTP, for the organisation that operates the platform."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, submit
from naos.api.services import Services, ServicesOf
from naos.doctor import repairs
from naos.doctor.examine import examine
from naos.errors import NaosError
from naos.identity import Identity
from naos.tenancy.models import Organisation
from naos.wire import Wire

router = APIRouter(prefix="/platform/v1/doctor", tags=["Doctor"])

Reader = Annotated[Identity, Depends(require("inventory_read"))]
Writer = Annotated[Identity, Depends(require("inventory_read", "inventory_write"))]


@dataclass(eq=False)
class OperatorOnly(NaosError):
    code: ClassVar[str] = "doctor.operator_only"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = (
        "Forbidden: the doctor looks at the whole platform, which only the operating organisation {operator!r} may."
    )
    operator: str


class FindingWire(Wire):
    """A difference between tables and world; `safe`: its repair cannot lose data."""

    kind: str
    subject: str
    sentence: str
    repair: str
    safe: bool


def _check_operator(services: Services, identity: Identity) -> None:
    """The operator is the first organisation of the platform. Raises OperatorOnly."""
    with services.database.read() as session:
        operator = session.scalars(sa.select(Organisation).order_by(Organisation.created_at)).first()
    if operator is not None and operator.id != identity.organisation_id:
        raise OperatorOnly(operator.name)


@router.get("")
def list_findings(identity: Reader, services: ServicesOf) -> list[FindingWire]:
    """Every difference between the tables and the world, with a proposed repair."""
    _check_operator(services, identity)
    return [
        FindingWire(kind=item.kind, subject=item.subject, sentence=item.sentence, repair=item.repair, safe=item.safe)
        for item in examine(services.world)
    ]


@router.post("/repair", **ASYNCHRONOUS)
def repair(identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Apply the repairs that cannot lose data."""
    _check_operator(services, identity)
    findings = examine(services.world)
    for finding in findings:
        if finding.action == "undo.retry":
            services.engine.retry_undo(finding.arguments["activity_id"])
    return submit(services, identity, key, lambda _session: repairs.plan(findings))
