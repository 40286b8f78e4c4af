"""How an activity reads on the wire: ``state`` is an object with one key, the state's name, as the public provider expects."""

from datetime import datetime
from typing import Any

from naos.activity.models import Activity, State
from naos.wire import Wire


class ConcernedItem(Wire):
    type: str
    id: str


class ActivityWire(Wire):
    """`state`: ``{"waiting": {}}``, ``{"running": {status, startDate, progression}}``, ``{"completed": {startDate, stopDate,
    result}}`` or ``{"failed": {startDate, stopDate, reason}}``; dates are ISO 8601 in UTC, progression is a share, 0 to 1."""

    id: str
    tenant_id: str
    description: str
    type: str
    tags: list[str]
    creation_date: datetime
    concerned_items: list[ConcernedItem]
    initiator: str
    operation_type: str
    state: dict[str, dict[str, Any]]


def to_wire(activity: Activity) -> ActivityWire:
    return ActivityWire(
        id=activity.id,
        tenant_id=activity.tenant_id,
        description=activity.description,
        type=activity.type,
        tags=activity.tags,
        creation_date=activity.created_at,
        concerned_items=[ConcernedItem(**item) for item in activity.concerned],
        initiator=activity.actor_id,
        operation_type=activity.operation_type,
        state={activity.state: _state(activity)},
    )


def _state(activity: Activity) -> dict[str, Any]:
    started = {"startDate": _iso(activity.started_at)}
    match activity.state:
        case State.RUNNING:
            status = "undoing" if activity.undoing else activity.step or "starting"
            return {**started, "status": status, "progression": round(activity.progression, 3)}
        case State.COMPLETED:
            return {**started, "stopDate": _iso(activity.stopped_at), "result": activity.result or ""}
        case State.FAILED:
            return {**started, "stopDate": _iso(activity.stopped_at), "reason": activity.reason or ""}
        case _:
            return {}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
