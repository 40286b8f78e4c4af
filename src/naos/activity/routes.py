"""Activities over HTTP (wire-API section 2), their lists, and their changes as a stream of events."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.sse import format_sse_event

from naos.activity import listing
from naos.activity.errors import TooManyStreams
from naos.activity.listing import Filters
from naos.activity.models import Activity, State
from naos.activity.watching import Subscription, Watch
from naos.activity.wire import ActivityWire, to_wire
from naos.api.authentication import bearer_of, require
from naos.api.parameters import Moment, ResourceId
from naos.api.services import ServicesOf
from naos.errors import NaosError, Unknown, wire
from naos.identity import Identity

router = APIRouter(prefix="/activity/v1/activities", tags=["Activities"])

READING = require("activity_read")
Reader = Annotated[Identity, Depends(READING)]
MOST = 1000
HEARTBEAT_SECONDS = 15.0
CHECK_SECONDS = 5.0
"""How long a stream may go on after its session has ended or lost its permission."""


def _now() -> datetime:
    return datetime.now(UTC)


def filters(
    state: Annotated[State | None, Query(description="waiting, running, completed or failed.")] = None,
    initiator: Annotated[str | None, Query(description="Id of the user who asked.", max_length=255)] = None,
    type_: Annotated[str | None, Query(alias="type", description="For example ComputeActivity.", max_length=50)] = None,
    kind: Annotated[str | None, Query(description="For example virtual_machine.create.", max_length=100)] = None,
    text: Annotated[str | None, Query(description="A part of description or reason.", max_length=255)] = None,
    concerned: Annotated[
        str | None, Query(alias="concernedItem", description="Id of an object that it concerns.", max_length=64)
    ] = None,
    since: Annotated[Moment | None, Query(description="Made at this time or later.")] = None,
    until: Annotated[Moment | None, Query(description="Made before this time.")] = None,
    archived: Annotated[
        bool | None, Query(description="True: ended more than 30 days ago. False: the others. Left out: all.")
    ] = None,
) -> Filters:
    return Filters(state, initiator, type_, kind, text, concerned, since, until, archived)


@router.get("")
def list_activities(
    identity: Reader,
    services: ServicesOf,
    wanted: Annotated[Filters, Depends(filters)],
    limit: Annotated[int, Query(ge=1, le=MOST)] = 200,
    before: Annotated[
        str | None, Query(description="Id of the last activity of the page before.", max_length=64)
    ] = None,
) -> list[ActivityWire]:
    """The tenant's activities, the newest first. The next page comes `before` the last id of this one."""
    with services.database.read() as session:
        found = listing.page(session, identity.tenant_id, wanted, now=_now(), limit=limit, before=before)
        return [to_wire(activity) for activity in found]


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream_activities(
    identity: Reader,
    services: ServicesOf,
    request: Request,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event that was seen; what has ended since is sent again.")
    ] = None,
) -> Response:
    """The changes of the tenant's activities as server-sent events `activity`, each with the whole activity.

    First come those that are unfinished. It ends with an event `end` when the session ends or loses its permission.
    """
    watch = _watch(request, services)
    try:
        subscription = watch.open(identity.tenant_id, identity.user_id)
    except TooManyStreams as error:
        return JSONResponse(wire(error), error.status, {"Retry-After": "5"})
    events = _events(request, watch, subscription, _moment(last_event_id))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


@router.get("/{activity_id}")
def read_activity(activity_id: ResourceId, identity: Reader, services: ServicesOf) -> ActivityWire:
    """An activity: waiting, running with its progress, completed with its result, or failed with the reason."""
    with services.database.read() as session:
        activity = session.get(Activity, activity_id)
        if activity is None or activity.tenant_id != identity.tenant_id:
            raise Unknown("activity", activity_id)
        return to_wire(activity)


# ---------------------------------------------------------------------------------------------------------- the stream


def _watch(request: Request, services: ServicesOf) -> Watch:
    """The one of this controller's application; only called in its event loop."""
    state = request.app.state
    if getattr(state, "watch", None) is None:
        state.watch = Watch(services.database, run_in_threadpool, _now)
    watch: Watch = state.watch
    return watch


async def _events(
    request: Request, watch: Watch, subscription: Subscription, since: datetime | None
) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    spoken = checked = clock()
    try:
        yield format_sse_event(comment="the changes of this tenant's activities", retry=2000)
        await watch.catch_up(subscription, since)
        while not getattr(request.app.state, "stopping", False):
            try:
                await asyncio.wait_for(subscription.news.wait(), 1.0)
            except TimeoutError:
                if clock() - spoken >= HEARTBEAT_SECONDS:
                    spoken = clock()
                    yield format_sse_event(comment="still here")
            if clock() - checked >= CHECK_SECONDS:
                checked = clock()
                ended = await run_in_threadpool(_refusal, request)
                if ended is not None:
                    yield format_sse_event(event="end", data_str=ended)
                    return
            name = str(int(_now().timestamp() * 1000))
            for state in subscription.take():
                spoken = clock()
                yield format_sse_event(event="activity", id=name, data_str=state)
    finally:
        watch.close(subscription)


def _refusal(request: Request) -> str | None:
    """Why this caller may no longer watch."""
    try:
        READING.admit(request, bearer_of(request))
    except NaosError as error:
        return str(error)
    return None


def _moment(event_id: str | None) -> datetime | None:
    """The time that an event's id is; None for anything else."""
    if event_id is None or not event_id.isascii() or not event_id.isdecimal() or len(event_id) > 14:
        return None
    return datetime.fromtimestamp(int(event_id) / 1000, UTC)
