"""Who may call (naos.api.authentication)."""

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from api_platform import Platform

from naos.api.authentication import require
from naos.tenancy import tokens
from naos.tenancy.models import Assignment

LOGIN = "/iam/v2/auth/personal_access_token"


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


def test_a_clock_set_back_revives_nothing_and_breaks_nothing(platform: Platform) -> None:
    """The wall clock is set back by an hour; time itself goes on."""
    client = platform.owner
    platform.clock.wall += timedelta(minutes=31)
    platform.clock.ticks += 31 * 60
    assert client.get("/iam/v2/roles").status_code == 401
    fresh = platform.owner
    platform.clock.wall -= timedelta(hours=1)
    assert client.get("/iam/v2/roles").status_code == 401, "what has expired stays so"
    assert fresh.get("/iam/v2/roles").status_code == 200, "a session that was given before goes on"
    assert platform.owner.get("/iam/v2/roles").status_code == 200, "and new ones are given"
    platform.clock.ticks += 31 * 60
    assert fresh.get("/iam/v2/roles").status_code == 401, "it still ends after half an hour"


def test_a_clock_that_was_ahead_and_is_put_right_counts_at_once(platform: Platform) -> None:
    platform.clock.wall += timedelta(days=3650)
    assert platform.anyone.post(LOGIN, json=_credential(platform)).status_code == 401, "the token has expired by then"
    platform.clock.wall -= timedelta(days=3650)
    assert platform.anyone.post(LOGIN, json=_credential(platform)).status_code == 200


def test_an_expired_token_stays_expired_when_the_clock_is_set_back(platform: Platform) -> None:
    client = platform.member(["iam_read"])
    for _ in range(31):
        platform.clock.wall += timedelta(days=1)
        platform.clock.ticks += 24 * 3600
    platform.clock.wall -= timedelta(days=10)
    answer = client.get("/iam/v2/roles")
    assert answer.status_code == 401


def test_a_session_of_a_controller_whose_clock_is_ahead_is_taken(platform: Platform) -> None:
    ahead = replace(platform.app.state.authority, now=lambda: platform.clock.wall + timedelta(seconds=90))
    session = ahead.login(platform.first.token_id, platform.first.secret or "")
    assert platform.client(session).get("/iam/v2/roles").status_code == 200


def _credential(platform: Platform) -> dict[str, str | None]:
    return {"id": platform.first.token_id, "secret": platform.first.secret}
