"""`/iam/v2` as the public Terraform provider reads it (naos.tenancy.routes)."""

import json
from datetime import timedelta

import pytest
import sqlalchemy as sa
from api_platform import Platform
from fastapi.testclient import TestClient

from naos.tenancy import members
from naos.tenancy.models import Assignment, User
from naos.tenancy.permissions import permissions
from naos.tenancy.rules import to_milliseconds

LOGIN = "/iam/v2/auth/personal_access_token"
TOKENS = "/iam/v2/personal_access_tokens"
UNKNOWN = "6a7d3f0e-0d5b-4f4e-9d6a-2f0c8c1b7e11"


def _expiry(platform: Platform, days: float = 1) -> int:
    return to_milliseconds(platform.clock.wall + timedelta(days=days)) + 123


def _create(platform: Platform, client: TestClient, *names: str, days: float = 1) -> dict[str, object]:
    roles = [permissions()[name].id for name in names]
    body = {"name": "client-test", "roles": roles, "expirationDate": _expiry(platform, days)}
    answer = client.post(TOKENS, json=body)
    assert answer.status_code == 201, answer.text
    assert "Location" not in answer.headers
    made: dict[str, object] = answer.json()
    return made


@pytest.mark.parametrize("form", [False, True])
def test_login_answers_the_bare_jwt(platform: Platform, *, form: bool) -> None:
    body = {"id": platform.first.token_id, "secret": platform.first.secret}
    answer = platform.anyone.post(LOGIN, data=body) if form else platform.anyone.post(LOGIN, json=body)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.text.strip() == answer.text
    assert answer.text.count(".") == 2
    assert "Location" not in answer.headers
    assert platform.client(answer.text).get("/iam/v2/roles").status_code == 200


@pytest.mark.parametrize("body", [b"", b"{}", b'{"id":"a"}', b'{"id":1,"secret":2}', b"[1]", b"\xff"])
def test_a_login_that_is_none_is_told_what_it_lacks(platform: Platform, body: bytes) -> None:
    answer = platform.anyone.post(LOGIN, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "api.fields_invalid")


def test_a_login_refused(platform: Platform) -> None:
    for token_id, secret in ((UNKNOWN, platform.first.secret), (platform.first.token_id, "x"), ("x y", "x")):
        answer = platform.anyone.post(LOGIN, json={"id": token_id, "secret": secret})
        assert answer.status_code == 401
        assert answer.json()["error"]["message"] == "Not logged in: the token id or its secret is wrong."


def test_who_is_who(platform: Platform) -> None:
    owner, first = platform.owner, platform.first
    assert owner.get(f"/iam/v2/companies/{first.organisation_id}").json() == {
        "id": first.organisation_id,
        "name": "Cloud",
    }
    (user,) = owner.get(f"/iam/v2/users?companyId={first.organisation_id}").json()
    assert owner.get(f"/iam/v2/users/{first.user_id}").json() == user
    assert user | {"internalId": ""} == {
        "id": first.user_id,
        "internalId": "",
        "name": "Ada",
        "type": "LocalAccount",
        "source": [],
        "sourceId": "",
        "emailVerified": True,
        "email": "ada@example.org",
    }
    assert len(user["internalId"]) == 36
    assert owner.get(f"/iam/v2/users?companyId={UNKNOWN}").json() == []


def test_the_tenant_of_the_session_comes_first(platform: Platform) -> None:
    with platform.services.database.write() as session:
        company = members.ensure_organisation(session, "Cloud")
        other = members.ensure_tenant(session, company, "A first by name").id
        foreign = members.ensure_organisation(session, "Elsewhere")
        members.ensure_tenant(session, foreign, "Foreign")
    tenants = platform.owner.get("/iam/v2/tenants").json()
    assert [tenant["id"] for tenant in tenants] == [platform.first.tenant_id, other]
    assert tenants[0] == {
        "id": platform.first.tenant_id,
        "name": "Production",
        "snc": True,
        "companyId": platform.first.organisation_id,
    }
    assert [tenant["id"] for tenant in platform.member(["iam_read"]).get("/iam/v2/tenants").json()] == [
        platform.first.tenant_id
    ]


def test_roles_are_the_permissions(platform: Platform) -> None:
    roles = platform.owner.get("/iam/v2/roles").json()
    assert len(roles) == 63
    role = next(role for role in roles if role["name"] == "iam_read")
    assert platform.owner.get(f"/iam/v2/roles/{role['id']}").json() == role


def test_features_and_what_a_tenant_has_of_them(platform: Platform) -> None:
    tree = platform.owner.get("/iam/v2/features").json()
    (rtms,) = [feature for feature in tree if feature["name"] == "rtms"]
    assert [leaf["subFeatures"] for leaf in rtms["subFeatures"]] == [[], []]
    tenant = platform.first.tenant_id
    assigned = platform.owner.get(f"/iam/v2/features/assignments?tenantId={tenant}").json()
    assert {"featureId": rtms["id"], "tenantId": tenant} in assigned
    assert {"featureId": rtms["subFeatures"][0]["id"], "tenantId": tenant} in assigned
    assert platform.owner.get(f"/iam/v2/features/assignments?tenantId={UNKNOWN}").json() == []
    assert platform.owner.get("/iam/v2/features/assignments").status_code == 422


def test_assignments_are_what_a_user_holds_now(platform: Platform) -> None:
    client = platform.member(["iam_read", "tag_read"], address="grace@example.org")
    users = platform.owner.get("/iam/v2/users").json()
    grace = next(user["id"] for user in users if user["email"] == "grace@example.org")
    tenant, role = platform.first.tenant_id, permissions()["tag_read"].id
    path = f"/iam/v2/assignments/tenant?userId={grace}&tenantId={tenant}"
    held = client.get(path).json()
    assert {each["roleId"] for each in held} == {permissions()[name].id for name in ("iam_read", "tag_read")}
    assert client.get(f"{path}&roleId={role}").json() == [{"userId": grace, "tenantId": tenant, "roleId": role}]
    assert len(client.get(f"/iam/v2/assignments/tenant?userId={platform.first.user_id}&tenantId={tenant}").json()) == 63
    for nobody in (UNKNOWN, "x", "%20"):
        assert client.get(f"/iam/v2/assignments/tenant?userId={nobody}&tenantId={tenant}").json() == []
        assert client.get(f"/iam/v2/assignments/tenant?userId={grace}&tenantId={nobody}").json() == []


@pytest.mark.parametrize("path", ["companies", "users", "roles", "personal_access_tokens"])
def test_absent_is_404_and_malformed_is_400(platform: Platform, path: str) -> None:
    assert platform.owner.get(f"/iam/v2/{path}/{UNKNOWN}").status_code == 404
    assert platform.owner.get(f"/iam/v2/{path}/x").status_code == 400


def test_what_belongs_to_others_is_absent(platform: Platform) -> None:
    with platform.services.database.write() as session:
        foreign = members.ensure_organisation(session, "Elsewhere")
        stranger = members.ensure_user(session, foreign, name="Eve", email="eve@example.org")
    assert platform.owner.get(f"/iam/v2/companies/{foreign.id}").status_code == 404
    assert platform.owner.get(f"/iam/v2/users/{stranger.id}").status_code == 404
    made = _create(platform, platform.owner, "iam_read")
    every = ["iam_offline_access", "iam_read", "iam_write"]
    elsewhere = platform.member(every, tenant="Other")
    colleague = platform.member(["iam_offline_access"])
    for client in (elsewhere, colleague):
        assert client.get(f"{TOKENS}/{made['id']}").status_code == 404
        assert client.delete(f"{TOKENS}/{made['id']}").status_code == 404
        assert made["id"] not in [token["id"] for token in client.get(TOKENS).json()]
    assert platform.owner.get(f"{TOKENS}/{made['id']}").status_code == 200


def test_the_life_of_a_token(platform: Platform) -> None:
    owner = platform.owner
    made = _create(platform, owner, "tag_read", "iam_read", "activity_read")
    assert set(made) == {"id", "name", "secret", "roles", "expirationDate", "userId", "tenantId", "tenantName"}
    read = owner.get(f"{TOKENS}/{made['id']}").json()
    assert read == {key: value for key, value in made.items() if key != "secret"}
    assert read["expirationDate"] == str(_expiry(platform))
    assert read["roles"] == [permissions()[name].id for name in ("tag_read", "iam_read", "activity_read")]
    assert read in owner.get(TOKENS).json()
    session = platform.anyone.post(LOGIN, json={"id": made["id"], "secret": made["secret"]}).text
    assert platform.client(session).get("/iam/v2/tenants").status_code == 200
    assert platform.client(session).delete(f"{TOKENS}/{made['id']}").status_code == 403
    gone = owner.delete(f"{TOKENS}/{made['id']}")
    assert (gone.status_code, gone.json()) == (200, {"id": made["id"]})
    assert owner.get(f"{TOKENS}/{made['id']}").status_code == 404
    assert owner.delete(f"{TOKENS}/{made['id']}").status_code == 404
    assert platform.client(session).get("/iam/v2/tenants").status_code == 401
    assert platform.anyone.post(LOGIN, json={"id": made["id"], "secret": made["secret"]}).status_code == 401


def test_terraforms_token_resource_needs_one_permission_only(platform: Platform) -> None:
    client = platform.member(["iam_offline_access"])
    made = _create(platform, client, "iam_offline_access")
    assert client.get(f"{TOKENS}/{made['id']}").status_code == 200
    assert made["id"] in [token["id"] for token in client.get(TOKENS).json()]
    assert client.delete(f"{TOKENS}/{made['id']}").status_code == 200


def test_a_token_cannot_make_a_stronger_one(platform: Platform) -> None:
    made = _create(platform, platform.owner, "iam_offline_access", "iam_read")
    weak = platform.client(platform.login(str(made["id"]), str(made["secret"])))
    body = {"name": "x", "roles": [permissions()["iam_write"].id], "expirationDate": _expiry(platform)}
    answer = weak.post(TOKENS, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "tenancy.not_held")
    assert "iam_write" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"roles": []}, "tenancy.roles_missing"),
        ({"roles": ["nonsense"]}, "tenancy.roles_unknown"),
        ({"expirationDate": 1}, "tenancy.expiry_passed"),
        ({"expirationDate": -1}, "tenancy.expiry_passed"),
        ({"expirationDate": 10**40}, "tenancy.expiry_too_far"),
        ({"expirationDate": 4102444800000}, "tenancy.expiry_too_far"),
        ({"expirationDate": "soon"}, "api.fields_invalid"),
        ({"name": ""}, "name.empty"),
        ({"name": "x" * 256}, "name.too_long"),
        ({"name": "a\nb"}, "name.character"),
        ({"name": None}, "api.fields_invalid"),
        ({"roles": None}, "api.fields_invalid"),
    ],
)
def test_a_token_that_cannot_be_is_refused_with_its_rule(
    platform: Platform, change: dict[str, object], code: str
) -> None:
    body = {"name": "x", "roles": [permissions()["iam_read"].id], "expirationDate": _expiry(platform)} | change
    before = len(platform.owner.get(TOKENS).json())
    answer = platform.owner.post(TOKENS, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert len(platform.owner.get(TOKENS).json()) == before


def test_odd_names_are_kept_as_they_are(platform: Platform) -> None:
    for name in ("../x", "a;b", "-rf", "名前", "x" * 255):
        body = {"name": name, "roles": [permissions()["iam_read"].id], "expirationDate": _expiry(platform)}
        made = platform.owner.post(TOKENS, json=body).json()
        assert platform.owner.get(f"{TOKENS}/{made['id']}").json()["name"] == name


def test_the_list_of_tenants_asks_no_more_for_more_of_them(platform: Platform) -> None:
    client = platform.member(["iam_read"], address="grace@example.org")
    with platform.services.database.read() as session:
        grace = next(user.id for user in session.scalars(sa.select(User)) if user.email == "grace@example.org")
    asked: list[str] = []
    sa.event.listen(platform.services.database.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))

    def statements() -> int:
        asked.clear()
        names = [tenant["name"] for tenant in client.get("/iam/v2/tenants").json()]
        assert names == ["Production", *(f"t{number:02}" for number in range(len(names) - 1))]
        return len(asked)

    statements()  # the first call checks the session's signature too
    before = statements()
    with platform.services.database.write() as session:
        company = members.ensure_organisation(session, "Cloud")
        for number in range(20):
            home = members.ensure_tenant(session, company, f"t{number:02}", features=["tag"])
            if number < 10:
                session.add(Assignment(user_id=grace, tenant_id=home.id, permission="tag_read"))
            else:
                session.add(Assignment(user_id=grace, tenant_id=home.id, permission="vpc_read"))
    assert statements() == before
    assert len(client.get("/iam/v2/tenants").json()) == 11, "a right of a feature that is not enabled is none"
