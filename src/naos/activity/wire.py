"""How an activity reads on the wire: ``state`` is an object with one key, the state's name, as the public provider expects."""

from datetime import UTC, datetime
from typing import Any

from naos.activity.models import Activity, State
from naos.wire import Wire


class ConcernedItem(Wire):
    type: str
    id: str


class ActivityWire(Wire):
    """`kind`: what is done, e.g. ``virtual_machine.create``. `concernedItems`: what it makes or changes comes first; what was
    to be made and is undone is left out. `state`: ``{"waiting": {}}``, ``{"running": {status, startDate, progression}}``,
    ``{"completed": {startDate, stopDate, result}}`` or ``{"failed": {startDate, stopDate, reason}}``; dates are ISO 8601 in
    UTC, progression is a share, 0 to 1."""

    id: str
    tenant_id: str
    description: str
    type: str
    kind: str
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
        kind=activity.kind,
        tags=activity.tags,
        creation_date=activity.created_at,
        concerned_items=[
            ConcernedItem(type=item["type"], id=item["id"])
            for item in activity.concerned
            if not item.get("gone", False)
        ],
        initiator=activity.actor_id,
        operation_type=activity.operation_type,
        state={activity.state: _state(activity)},
    )


def _state(activity: Activity) -> dict[str, Any]:
    started = _dates(startDate=activity.started_at)
    match activity.state:
        case State.RUNNING:
            status = "undoing" if activity.undoing else activity.step or "starting"
            return {**started, "status": status, "progression": round(activity.progression, 3)}
        case State.COMPLETED:
            return {**started, **_dates(stopDate=activity.stopped_at), "result": activity.result or ""}
        case State.FAILED:
            return {**started, **_dates(stopDate=activity.stopped_at), "reason": activity.reason or ""}
        case _:
            return {}


def _dates(**moments: datetime | None) -> dict[str, str]:
    """RFC 3339; a date that there is not is left out, since clients read texts only."""
    return {name: moment.astimezone(UTC).isoformat() for name, moment in moments.items() if moment is not None}
