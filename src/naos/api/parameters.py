"""What requests carry beside their body, and how a write is handed to the activity engine and answered."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, AwareDatetime, BaseModel
from sqlalchemy.orm import Session

from naos.activity.plan import Caller, Plan
from naos.api.paths import bare
from naos.api.services import Services
from naos.identity import Identity
from naos.ids import ResourceId

__all__ = ["ASYNCHRONOUS", "Moment", "RequestKeyOf", "ResourceId", "accepted", "list_filter", "matches", "submit"]


def list_filter(name: str) -> Any:
    """A repeated query filter `name[]=a&name[]=b`, for a parameter `Annotated[list[str], list_filter("datacenters")]`.

    Nothing given is an empty list, which filters nothing; an unknown value matches nothing and is no error.
    """
    return Query(alias=f"{name}[]", default_factory=list)


def _storable(moment: datetime) -> datetime:
    """The years 1 and 9999 have no neighbours in other zones; a time there is as good as one beside it."""
    return moment if 1 < moment.year < 9999 else moment.replace(year=min(max(moment.year, 2), 9998), day=1)


Moment = Annotated[AwareDatetime, AfterValidator(_storable)]
"""A time in a filter, with its zone; every database can compare it."""


def matches(value: str | None, wanted: Sequence[str]) -> bool:
    """Whether a list filter lets `value` through."""
    return not wanted or value in wanted


@dataclass(frozen=True)
class RequestKey:
    """What tells a repeated request from a new one: the header `Idempotency-Key`, and a digest of the request."""

    idempotency_key: str | None
    fingerprint: str | None


async def request_key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(description="1 to 255 characters; repeating a request under its key answers with the same activity."),
    ] = None,
) -> RequestKey:
    """The digest covers method, path (the same with and without `/api`), query and body."""
    if idempotency_key is None:
        return RequestKey(None, None)
    digest = hashlib.sha256()
    for part in (
        request.method.encode(),
        bare(request.url.path).encode(),
        request.url.query.encode(),
        await request.body(),
    ):
        digest.update(len(part).to_bytes(8) + part)
    return RequestKey(idempotency_key, digest.hexdigest())


RequestKeyOf = Annotated[RequestKey, Depends(request_key)]
"""A writing route's parameter: `key: RequestKeyOf`."""


class Accepted(BaseModel):
    """`id`: the activity to follow; `activity`: where it is read."""

    id: str
    activity: str


ASYNCHRONOUS: dict[str, Any] = {
    "status_code": 201,
    "response_model": Accepted,
    "responses": {
        201: {
            "description": "Accepted: follow the activity.",
            "headers": {
                "Location": {"description": "The activity's id.", "schema": {"type": "string", "format": "uuid"}}
            },
        }
    },
}
"""For the decorator of a route that answers with an activity: `@router.post(path, **ASYNCHRONOUS)`."""


def accepted(activity_id: str) -> JSONResponse:
    """201 with the bare activity id in `Location`."""
    body = Accepted(id=activity_id, activity=f"/activity/v1/activities/{activity_id}")
    return JSONResponse(body.model_dump(), 201, {"Location": activity_id})


def submit(services: Services, identity: Identity, key: RequestKey, check: Callable[[Session], Plan]) -> JSONResponse:
    """Check a write and start its activity; whatever `check` raises is the refusal. Answers as `accepted` does."""
    caller = Caller(identity.tenant_id, identity.user_id, key.idempotency_key, key.fingerprint)
    return accepted(services.engine.submit_now(check, caller).id)
