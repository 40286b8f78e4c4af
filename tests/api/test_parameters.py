"""What requests carry, and how writes are answered (naos.api.parameters)."""

import uuid
from typing import Annotated

import pytest
from api_platform import Platform
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from naos.activity.plan import Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, list_filter, matches, submit
from naos.api.services import ServicesOf
from naos.errors import Unknown
from naos.identity import Identity

router = APIRouter(prefix="/test/v1", tags=["Test"])
Writer = Annotated[Identity, Depends(require("tag_write"))]


class Thing(BaseModel):
    name: str
    parent: ResourceId | None = None


@router.get("/things")
def list_things(zones: Annotated[list[str], list_filter("zones")]) -> list[str]:
    return [zone for zone in ("AZ05", "AZ06", "AZ07") if matches(zone, zones)]


@router.get("/things/{thing_id}")
def read_thing(thing_id: ResourceId) -> str:
    return thing_id


@router.post("/things", **ASYNCHRONOUS)
def create_thing(body: Thing, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    def check(_session: Session) -> Plan:
        if body.name == "refused":
            raise Unknown("thing", body.name)
        return Plan("thing.create", f"Create {body.name}", {})

    return submit(services, identity, key, check)


@pytest.fixture
def served(platform: Platform) -> Platform:
    platform.app.include_router(router)
    platform.app.include_router(router, prefix="/api", include_in_schema=False)
    return platform


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["AZ05", "AZ06", "AZ07"]),
        ("?zones%5B%5D=AZ05&zones%5B%5D=AZ07", ["AZ05", "AZ07"]),
        ("?zones[]=AZ06", ["AZ06"]),
        ("?zones[]=nowhere", []),
        ("?zones[]=", []),
        ("?zones=AZ06", ["AZ05", "AZ06", "AZ07"]),
    ],
)
def test_list_filters_are_repeated_keys(served: Platform, query: str, found: list[str]) -> None:
    assert served.anyone.get(f"/test/v1/things{query}").json() == found


def test_ids_are_normalised_and_malformed_ones_refused(served: Platform) -> None:
    thing = str(uuid.uuid4())
    assert served.anyone.get(f"/test/v1/things/{thing.upper()}").json() == thing
    for malformed in ("x", "1234", thing[:-1], thing.replace("-", ""), f"{{{thing}}}", "%00" * 36, "é" * 36):
        answer = served.anyone.get(f"/test/v1/things/{malformed}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "api.id_malformed")


def test_ids_in_bodies_are_checked_too(served: Platform) -> None:
    answer = served.owner.post("/test/v1/things", json={"name": "a", "parent": "x"})
    assert (answer.status_code, answer.json()["error"]["details"]) == (400, {"value": "x"})


def test_a_write_is_answered_with_the_bare_activity_id(served: Platform) -> None:
    answer = served.owner.post("/test/v1/things", json={"name": "a"})
    assert answer.status_code == 201
    location = answer.headers["Location"]
    assert str(uuid.UUID(location)) == location
    assert answer.json() == {"id": location, "activity": f"/activity/v1/activities/{location}"}
    (caller,) = served.services.engine.callers
    assert (caller.tenant_id, caller.actor_id) == (served.first.tenant_id, served.first.user_id)
    assert (caller.idempotency_key, caller.fingerprint) == (None, None)


def test_a_refused_check_is_the_answer_and_starts_nothing(served: Platform) -> None:
    answer = served.owner.post("/test/v1/things", json={"name": "refused"})
    assert answer.status_code == 404
    assert "Location" not in answer.headers
    assert served.services.engine.callers == []


def test_a_repeated_request_has_the_same_fingerprint_and_another_one_has_not(served: Platform) -> None:
    owner = served.owner

    def fingerprint(path: str, body: dict[str, str], key: str = "k-1") -> str:
        answer = owner.post(path, json=body, headers={"Idempotency-Key": key})
        assert answer.status_code == 201
        caller = served.services.engine.callers[-1]
        assert caller.idempotency_key == key
        return str(caller.fingerprint)

    first = fingerprint("/test/v1/things", {"name": "a"})
    assert fingerprint("/test/v1/things", {"name": "a"}) == first
    assert fingerprint("/api/test/v1/things", {"name": "a"}) == first
    others = {
        fingerprint("/test/v1/things", {"name": "b"}),
        fingerprint("/test/v1/things?x=1", {"name": "a"}),
    }
    assert first not in others
    assert len(others) == 2


def test_the_description_tells_of_the_activity(served: Platform) -> None:
    served.app.openapi_schema = None
    operation = served.anyone.get("/openapi.json").json()["paths"]["/test/v1/things"]["post"]
    assert operation["responses"]["201"]["headers"]["Location"]["schema"]["format"] == "uuid"
    assert any(parameter["name"] == "idempotency-key" for parameter in operation["parameters"])
