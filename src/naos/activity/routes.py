"""Activities over HTTP (wire-API section 2)."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query

from naos.activity.models import Activity
from naos.activity.wire import ActivityWire, to_wire
from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.errors import Unknown
from naos.identity import Identity

router = APIRouter(prefix="/activity/v1/activities", tags=["Activities"])

Reader = Annotated[Identity, Depends(require("activity_read"))]
MOST = 1000


@router.get("")
def list_activities(
    identity: Reader, services: ServicesOf, limit: Annotated[int, Query(ge=1, le=MOST)] = 200
) -> list[ActivityWire]:
    """The tenant's activities, the newest first."""
    query = (
        sa.select(Activity)
        .where(Activity.tenant_id == identity.tenant_id)
        .order_by(Activity.created_at.desc(), Activity.sequence.desc())
        .limit(limit)
    )
    with services.database.read() as session:
        return [to_wire(activity) for activity in session.scalars(query)]


@router.get("/{activity_id}")
def read_activity(activity_id: ResourceId, identity: Reader, services: ServicesOf) -> ActivityWire:
    """An activity: waiting, running with its progress, completed with its result, or failed with the reason."""
    with services.database.read() as session:
        activity = session.get(Activity, activity_id)
        if activity is None or activity.tenant_id != identity.tenant_id:
            raise Unknown("activity", activity_id)
        return to_wire(activity)
