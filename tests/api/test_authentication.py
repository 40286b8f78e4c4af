"""Who may call (naos.api.authentication)."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from api_platform import Platform

from naos.api.authentication import require
from naos.tenancy import tokens
from naos.tenancy.models import Assignment


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic {}", "{}", "Token {}", "Bearer {}x", "Bearer x{}", "Bearer {} {}"]
)
def test_only_a_whole_bearer_session_is_taken(platform: Platform, header: str) -> None:
    session = platform.login(platform.first.token_id, platform.first.secret or "")
    answer = platform.anyone.get("/iam/v2/roles", headers={"Authorization": header.replace("{}", session)})
    assert answer.status_code == 401


def test_a_session_is_taken_from_nowhere_else(platform: Platform) -> None:
    session = platform.login(platform.first.token_id, platform.first.secret or "")
    client = platform.anyone
    client.cookies.set("session", session)
    assert client.get(f"/iam/v2/roles?access_token={session}&token={session}").status_code == 401


def test_the_token_itself_is_no_session(platform: Platform) -> None:
    answer = platform.client(platform.first.secret or "").get("/iam/v2/roles")
    assert answer.status_code == 401


def test_a_session_expires(platform: Platform) -> None:
    client = platform.owner
    platform.clock.wall += timedelta(minutes=29)
    assert client.get("/iam/v2/roles").status_code == 200
    platform.clock.wall += timedelta(minutes=2)
    answer = client.get("/iam/v2/roles")
    assert answer.status_code == 401
    assert "expired" in answer.json()["error"]["message"]


def test_a_withdrawn_permission_is_missed_by_the_next_call(platform: Platform) -> None:
    client = platform.member(["iam_read", "tag_read"])
    assert client.get("/iam/v2/roles").status_code == 200
    with platform.services.database.write() as session:
        session.execute(sa.delete(Assignment).where(Assignment.permission == "iam_read"))
    answer = client.get("/iam/v2/roles")
    assert (answer.status_code, answer.reason_phrase) == (403, "Forbidden")
    assert "iam_read" in answer.json()["error"]["message"]


def test_a_deleted_token_ends_the_session_behind_the_next_call(platform: Platform) -> None:
    client = platform.owner
    identity = platform.app.state.identify(client.headers["Authorization"].removeprefix("Bearer "))
    with platform.services.database.write() as session:
        tokens.revoke_token(session, identity, identity.token_id, platform.clock.wall)
    assert client.get("/iam/v2/roles").status_code == 401


def test_alternatives_are_written_as_a_tuple() -> None:
    assert require("a", ("b", "c")).groups == (("a",), ("b", "c"))
