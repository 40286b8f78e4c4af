"""What the API's writes leave in the audit log, read back through the API itself."""

import csv
import io
import json
import re
import uuid
from typing import Any

import pytest
from api_platform import Platform
from fastapi.testclient import TestClient
from test_login import set_up, try_in

from naos.api.app import requirements
from naos.audit import redaction
from naos.audit.errors import AuditUnavailable
from naos.audit.models import AuditEntry
from naos.identity import Identity
from naos.tenancy import members
from naos.tenancy.permissions import permissions
from naos.tenancy.tokens import TokenRequest, create_token

ENTRIES = "/audit/v1/entries"
TOKENS = "/iam/v2/personal_access_tokens"
LOGIN = "/iam/v2/auth/personal_access_token"


def entries(client: TestClient, **filters: Any) -> list[dict[str, Any]]:
    answer = client.get(ENTRIES, params=filters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def token_body(platform: Platform, **changes: Any) -> dict[str, Any]:
    milliseconds = int(platform.clock.wall.timestamp() * 1000) + 3_600_000
    return {"name": "ci", "roles": [permissions()["tag_read"].id], "expirationDate": milliseconds, **changes}


def test_a_write_says_who_from_where_with_which_token_and_what_became_of_it(platform: Platform) -> None:
    owner = platform.owner
    answer = owner.post(TOKENS, json=token_body(platform))
    assert answer.status_code == 201
    (entry,) = entries(owner, path="personal_access_tokens")
    assert (entry["event"], entry["outcome"], entry["status"], entry["code"]) == ("write", "accepted", 201, None)
    assert (entry["userId"], entry["userName"]) == (platform.first.user_id, "Ada")
    assert (entry["tenantId"], entry["tokenId"]) == (platform.first.tenant_id, platform.first.token_id)
    assert entry["organisationId"] == platform.first.organisation_id
    assert (entry["method"], entry["path"]) == ("POST", TOKENS)
    assert entry["permissions"] == ["iam_offline_access"]
    assert entry["request"]["body"]["name"] == "ci"
    assert answer.json()["secret"] not in json.dumps(entry)
    owner.delete(f"/api{TOKENS}/{answer.json()['id']}")
    (deletion, _) = entries(owner, path="personal_access_tokens")
    assert (deletion["method"], deletion["path"]) == ("DELETE", f"{TOKENS}/{{token_id}}")
    assert deletion["objects"] == [answer.json()["id"]]


def test_a_refused_write_is_there_with_its_reason(platform: Platform) -> None:
    platform.owner.post(TOKENS, json=token_body(platform, name=""))
    (entry,) = entries(platform.owner, outcome="refused")
    assert (entry["status"], entry["code"], entry["event"]) == (422, "name.empty", "write")


def test_who_may_not_write_is_there_too(platform: Platform) -> None:
    reader = platform.member(["iam_read", "activity_read"])
    assert reader.post(TOKENS, json=token_body(platform)).status_code == 403
    assert platform.anyone.delete(f"{TOKENS}/{uuid.uuid4()}").status_code == 401
    (entry,) = entries(reader, outcome="refused")
    assert (entry["event"], entry["status"], entry["userName"]) == ("refusal", 403, "Grace")
    assert entry["permissions"] == ["iam_offline_access"]
    with platform.services.database.read() as session:
        (nobody,) = session.query(AuditEntry).where(AuditEntry.status == 401)
        assert (nobody.event, nobody.user_id, nobody.tenant_id) == ("refusal", None, None)


def test_log_ins_are_there_whether_they_succeed_or_not(platform: Platform) -> None:
    token_id, secret = platform.first.token_id, platform.first.secret
    for tried in (secret, "wrong-secret-marker"):
        platform.anyone.post(LOGIN, json={"id": token_id, "secret": tried})
    platform.anyone.post(LOGIN, data={"id": token_id, "secret": secret})
    platform.anyone.post(LOGIN, json={"id": str(uuid.uuid4()), "secret": "x"})
    found = entries(platform.owner, path=LOGIN)
    assert [(entry["event"], entry["outcome"], entry["tokenId"]) for entry in found] == [
        ("login", "accepted", token_id),
        ("login", "refused", token_id),
        ("login", "accepted", token_id),
    ]
    assert found[1]["code"] == "identity.unauthenticated"
    with platform.services.database.read() as session:
        kept = json.dumps([entry.request for entry in session.query(AuditEntry)])
    assert "marker" not in kept
    assert str(secret) not in kept


def test_log_ins_and_outs_of_a_browser_belong_to_the_organisation(platform: Platform) -> None:
    factor, _ = set_up(platform, platform.first.user_id)
    browser = platform.anyone
    try_in(browser, factor.at(platform.clock.now()), "not the password marker", email=" Ada@Example.ORG")
    try_in(browser, "1", email="nobody@example.org")
    assert try_in(browser, factor.at(platform.clock.now())).status_code == 200
    browser.post("/login/v1/session/token", json={"tenantId": platform.first.tenant_id})
    browser.delete("/login/v1/session")
    found = [entry for entry in entries(platform.owner, path="/login/v1/") if "accounts" not in entry["path"]]
    assert [(entry["method"], entry["path"], entry["status"], entry["userName"]) for entry in found] == [
        ("DELETE", "/login/v1/session", 200, "Ada"),
        ("POST", "/login/v1/session/token", 200, "Ada"),
        ("POST", "/login/v1/password", 200, "Ada"),
        ("POST", "/login/v1/password", 401, "Ada"),
    ]
    assert {entry["event"] for entry in found} == {"login"}
    assert "marker" not in json.dumps(found)
    within = entries(platform.member(["activity_read"]), path="/login/v1/")
    assert [entry["path"] for entry in within] == ["/login/v1/session/token"]
    with platform.services.database.write() as session:
        other = members.ensure_organisation(session, "Elsewhere")
        home = members.ensure_tenant(session, other, "Home")
        user = members.ensure_user(session, other, name="Eve", email="eve@example.org")
        members.make_tenant_owner(session, home, user)
        eve = Identity(user.id, home.id, other.id, frozenset(permissions()), "")
        expiry = int(platform.clock.wall.timestamp() * 1000) + 3_600_000
        request = TokenRequest("eve", [permissions()[name].id for name in ("activity_read", "iam_read")], expiry)
        issued = create_token(session, eve, request, platform.clock.wall)
    assert entries(platform.client(platform.login(issued.token.id, issued.secret))) == []


def test_reads_leave_nothing_and_other_tenants_see_nothing(platform: Platform) -> None:
    platform.owner.post(TOKENS, json=token_body(platform))
    stranger = platform.member(["activity_read"], tenant="Other")
    assert entries(stranger) == []
    assert stranger.get(f"{ENTRIES}/export", params={"format": "json"}).json() == []
    before = len(entries(platform.owner))
    platform.owner.get(TOKENS)
    assert len(entries(platform.owner)) == before
    assert entries(platform.owner, user=str(uuid.uuid4())) == []
    assert entries(platform.owner, token="no id") == []


def test_a_write_that_cannot_be_recorded_is_not_done(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = platform.owner
    before = owner.get(TOKENS).json()

    def full(_entry: Any) -> int:
        raise AuditUnavailable("OperationalError")

    monkeypatch.setattr(platform.app.state.journal, "append", full)
    answer = owner.post(TOKENS, json=token_body(platform))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "audit.unavailable")
    assert owner.get(TOKENS).json() == before


def test_an_answer_that_cannot_be_recorded_leaves_the_write_begun(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, journal = platform.owner, platform.app.state.journal
    append, calls = journal.append, []

    def once(entry: Any) -> int:
        calls.append(entry)
        if len(calls) > 1:
            raise AuditUnavailable("OperationalError")
        return int(append(entry))

    monkeypatch.setattr(journal, "append", once)
    assert owner.post(TOKENS, json=token_body(platform)).status_code == 201
    (entry,) = entries(owner, outcome="begun")
    assert (entry["event"], entry["status"], entry["request"]["body"]["name"]) == ("write", None, "ci")


def test_pages_meet_without_gap_or_repetition(platform: Platform) -> None:
    owner = platform.owner
    for number in range(7):
        owner.post(TOKENS, json=token_body(platform, name=f"t{number}"))
    whole = [entry["sequence"] for entry in entries(owner)]
    assert len(whole) == 7
    assert whole == sorted(whole, reverse=True)
    paged: list[int] = []
    while found := entries(owner, limit=2, **({"before": paged[-1]} if paged else {})):
        paged += [entry["sequence"] for entry in found]
    assert paged == whole
    since = entries(owner)[3]["time"]
    assert len(entries(owner, since=since)) + len(entries(owner, until=since)) == 7


@pytest.mark.parametrize("name", ["=1+1", "+33", "-rf", "@SUM(A1)", 'a "b", c', "é 漢字 🖥", "a\\nb"])
def test_an_export_is_for_spreadsheets_and_runs_no_formula(platform: Platform, name: str) -> None:
    with platform.services.database.write() as session:
        session.execute(AuditEntry.metadata.tables["users"].update().values(name=name))
    platform.owner.post(TOKENS, json=token_body(platform))
    answer = platform.owner.get(f"{ENTRIES}/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert re.search("[^\r]\n", answer.text) is None
    assert rows[0]["userName"] == (f"'{name}" if name[0] in "=+-@" else name)
    assert json.loads(rows[0]["request"])["body"]["name"] == "ci"
    as_json = platform.owner.get(f"{ENTRIES}/export", params={"format": "json"}).json()
    assert as_json == entries(platform.owner)
    assert platform.owner.get(f"{ENTRIES}/export", params={"format": "xml"}).status_code == 422


def test_the_log_says_whether_it_is_sound(platform: Platform) -> None:
    owner = platform.owner
    owner.post(TOKENS, json=token_body(platform))
    found = owner.get("/audit/v1/verification").json()
    assert (found["sound"], found["bad"], found["first"], found["reason"]) == (True, None, 1, "")
    assert found["checked"] == found["last"] >= 2


# ------------------------------------------------------------------------------------------- no secret, on any route


def _values(schema: dict[str, Any], components: dict[str, Any], mark: str, name: str = "", depth: int = 0) -> Any:
    """A value that fits a schema, with `mark` in every text whose field's name is that of a secret."""
    while "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return _values(next(s for s in schema[choice] if s.get("type") != "null"), components, mark, name, depth)
    if depth > 8:
        return None
    kind = schema.get("type")
    if kind == "object":
        found = {
            key: _values(inner, components, mark, key, depth + 1) for key, inner in schema.get("properties", {}).items()
        }
        return found | ({"guestinfo.userdata": mark, "password": mark} if schema.get("additionalProperties") else {})
    if kind == "array":
        return _pairs(_values(schema.get("items", {}), components, mark, name, depth + 1), mark)
    if kind in ("integer", "number", "boolean"):
        return 1
    if redaction.is_secret(name):
        return mark
    return str(uuid.uuid4()) if schema.get("format") == "uuid" else f"https://user:{mark}@host/a?sig={mark}"


def _pairs(item: Any, mark: str) -> list[Any]:
    """A list of one item; of pairs whose names are those of secrets, where an item has a value."""
    if not isinstance(item, dict) or "value" not in item:
        return [item]
    naming = next((key for key in ("id", "key", "name") if key in item), "id")
    return [{**item, naming: word, "value": mark} for word in ("password", "user-data", "public-keys")]


def test_no_secret_of_any_write_reaches_the_log(platform: Platform) -> None:
    schema = platform.anyone.get("/openapi.json").json()
    components = schema.get("components", {}).get("schemas", {})
    client = platform.member(list(permissions()))
    bodies, marked = 0, 0
    for method, path, _groups in requirements(platform.app):
        operation = schema["paths"].get(path, {}).get(method.lower(), {})
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None or method == "GET":
            continue
        mark = f"marker-{uuid.uuid4().hex}"
        body = _values(content["schema"], components, mark)
        bodies += 1
        marked += mark in json.dumps(body)
        client.request(method, re.sub(r"{[^}]+}", str(uuid.uuid4()), path), json=body)
        client.request(method, re.sub(r"{[^}]+}", str(uuid.uuid4()), path), json={"x": {"apiKey": mark, "n": [body]}})
    assert bodies >= 10
    assert marked >= 3
    with platform.services.database.read() as session:
        kept = [entry.request for entry in session.query(AuditEntry)]
    assert len(kept) >= bodies
    assert "marker-" not in "".join(kept)
