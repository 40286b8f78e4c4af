"""Writes of `/iam/v2`: tenants, accounts, owners and rights (naos.tenancy.administration_routes)."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from api_platform import Platform
from fastapi.testclient import TestClient

from naos.database import Base
from naos.fleet.models import Cpool
from naos.network.models import Vlan
from naos.tenancy import holdings, members
from naos.tenancy.models import User
from naos.tenancy.permissions import features, leaf_features, permissions
from naos.tenancy.rules import to_milliseconds

IAM = "/iam/v2"
VERIFY = f"{IAM}/auth/verification"
UNKNOWN = "6a7d3f0e-0d5b-4f4e-9d6a-2f0c8c1b7e11"


def _done(client: TestClient, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
    answer = client.request(method, f"{IAM}{path}", json=body)
    assert answer.status_code == status, answer.text
    assert "Location" not in answer.headers
    return answer.json()


def _refused(client: TestClient, method: str, path: str, body: Any = None, *, status: int) -> dict[str, Any]:
    answer = client.request(method, f"{IAM}{path}", json=body)
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["status"] == status
    assert error["message"][-1] in ".?"
    return error


def _invite(platform: Platform, name: str = "Grace", email: str = "grace@example.org") -> Any:
    return _done(platform.owner, "POST", "/users", {"name": name, "email": email}, status=201)


def _verified(platform: Platform, name: str = "Grace", email: str = "grace@example.org") -> str:
    made = _invite(platform, name, email)
    assert platform.anyone.post(VERIFY, json={"token": made["invitation"]["token"]}).status_code == 200
    return str(made["user"]["id"])


def _ids(*names: str) -> list[str]:
    return [permissions()[name].id for name in names]


def _grant(platform: Platform, user: str, *names: str) -> dict[str, Any]:
    return {"userId": user, "tenantId": platform.first.tenant_id, "roleIds": _ids(*names)}


def _as(platform: Platform, user_id: str, *names: str, tenant: str | None = None) -> TestClient:
    """A client of an existing user, by a token of `names` (none: all that the user holds)."""
    from naos.identity import Identity
    from naos.tenancy import tokens

    tenant_id = tenant or platform.first.tenant_id
    with platform.services.database.write() as session:
        held = members.effective_permissions(session, user_id, tenant_id)
        creator = Identity(user_id, tenant_id, platform.first.organisation_id, held or frozenset(names), "")
        expires = to_milliseconds(platform.clock.wall + timedelta(days=1))
        wanted = tokens.TokenRequest("t", _ids(*(names or held)), expires)
        issued = tokens.create_token(session, creator, wanted, platform.clock.wall)
    return platform.client(platform.app.state.authority.issue(issued.token))


# ---------------------------------------------------------------------------------------------------------------- accounts


def test_an_invited_account_has_no_rights_and_is_confirmed_once(platform: Platform) -> None:
    made = _invite(platform)
    assert made["user"]["emailVerified"] is False
    assert made["user"]["email"] == "grace@example.org"
    assert _done(platform.owner, "GET", f"/users/{made['user']['id']}") == made["user"]
    held = f"/assignments/tenant?userId={made['user']['id']}&tenantId={platform.first.tenant_id}"
    assert _done(platform.owner, "GET", held) == []
    token = {"token": made["invitation"]["token"]}
    confirmed = platform.anyone.post(VERIFY, json=token)
    assert confirmed.status_code == 200
    assert confirmed.json() == {**made["user"], "emailVerified": True}
    again = platform.anyone.post(VERIFY, json=token)
    assert (again.status_code, again.json()["error"]["code"]) == (403, "tenancy.invitation_invalid")


def test_an_invitation_expires_and_a_later_one_takes_its_place(platform: Platform) -> None:
    first = _invite(platform)
    user = first["user"]["id"]
    second = _done(platform.owner, "POST", f"/users/{user}/invitations", status=201)
    assert platform.anyone.post(VERIFY, json={"token": first["invitation"]["token"]}).status_code == 403
    platform.clock.wall += timedelta(days=3)
    assert platform.anyone.post(VERIFY, json={"token": second["invitation"]["token"]}).status_code == 403
    third = _done(platform.owner, "POST", f"/users/{user}/invitations", status=201)
    assert platform.anyone.post(VERIFY, json={"token": third["invitation"]["token"]}).status_code == 200
    error = _refused(platform.owner, "POST", f"/users/{user}/invitations", status=409)
    assert error["code"] == "tenancy.account_verified"


def test_the_invitation_is_kept_as_a_digest_only(platform: Platform) -> None:
    token = _invite(platform)["invitation"]["token"]
    with platform.services.database.read() as session:
        for table in Base.metadata.sorted_tables:
            if table.name in ("users", "invitations"):
                assert token not in str(session.execute(sa.select(table)).all())


@pytest.mark.parametrize("token", ["", "x", "\u00e9", "a" * 255])
def test_guessing_an_invitation_tells_nothing(platform: Platform, token: str) -> None:
    _invite(platform)
    assert platform.anyone.post(VERIFY, json={"token": token}).json()["error"]["code"] == "tenancy.invitation_invalid"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"email": "ADA@example.org"}, 409, "tenancy.account_exists"),
        ({"email": "nobody"}, 422, "tenancy.address_invalid"),
        ({"email": "a@b@c"}, 422, "tenancy.address_invalid"),
        ({"email": "a\r\nBcc: x@example.org"}, 422, "tenancy.address_invalid"),
        ({"email": "a" * 400 + "@example.org"}, 422, "tenancy.address_invalid"),
        ({"email": None}, 422, "api.fields_invalid"),
        ({"name": "a\r\nb"}, 422, "name.character"),
        ({"admin": True}, 422, "api.fields_invalid"),
    ],
)
def test_an_account_that_cannot_be_is_refused(
    platform: Platform, change: dict[str, Any], status: int, code: str
) -> None:
    body = {"name": "Grace", "email": "grace@example.org"} | change
    assert _refused(platform.owner, "POST", "/users", body, status=status)["code"] == code
    assert len(_done(platform.owner, "GET", "/users")) == 1


def test_accounts_are_for_owners_of_the_organisation(platform: Platform) -> None:
    user = _verified(platform)
    colleague = platform.member(["iam_read", "iam_write"], address="alan@example.org")
    for method, path, body in (
        ("POST", "/users", {"name": "x", "email": "x@example.org"}),
        ("POST", f"/users/{user}/invitations", None),
        ("PATCH", f"/users/{user}", {"name": "x"}),
        ("DELETE", f"/users/{user}", None),
        ("POST", "/tenants", {"name": "x", "features": ["iam"]}),
        ("PATCH", f"/tenants/{platform.first.tenant_id}", {"name": "x"}),
        ("PUT", f"/tenants/{platform.first.tenant_id}/features", {"features": ["iam"]}),
        ("DELETE", f"/tenants/{platform.first.tenant_id}", None),
        ("PUT", f"/companies/{platform.first.organisation_id}/owners/{user}", None),
        ("DELETE", f"/companies/{platform.first.organisation_id}/owners/{platform.first.user_id}", None),
        ("PUT", f"/tenants/{platform.first.tenant_id}/owners/{user}", None),
    ):
        error = _refused(colleague, method, path, body, status=403)
        assert error["code"] == "tenancy.owners_only", path
        assert "Ada" in error["message"]


def test_renaming(platform: Platform) -> None:
    user = _verified(platform)
    assert _done(platform.owner, "PATCH", f"/users/{user}", {"name": " Grace H. "})["name"] == "Grace H."
    assert _refused(platform.owner, "PATCH", f"/users/{user}", {"name": ""}, status=422)["code"] == "name.empty"
    assert _refused(platform.owner, "PATCH", f"/users/{UNKNOWN}", {"name": "x"}, status=404)
    _done(platform.owner, "POST", "/assignments/tenant", _grant(platform, user, "iam_read", "iam_write"), status=201)
    mine = _as(platform, user)
    assert _done(mine, "PATCH", f"/users/{user}", {"name": "Grace"})["name"] == "Grace"
    assert _refused(mine, "PATCH", f"/users/{platform.first.user_id}", {"name": "x"}, status=403)


def test_an_account_ends_with_its_tokens_and_rights(platform: Platform) -> None:
    user = _verified(platform)
    _done(platform.owner, "POST", "/assignments/tenant", _grant(platform, user, "tag_read", "iam_read"), status=201)
    client = _as(platform, user)
    assert client.get(f"{IAM}/roles").status_code == 200
    assert _done(platform.owner, "DELETE", f"/users/{user}") == {"id": user}
    assert client.get(f"{IAM}/roles").status_code == 401
    _refused(platform.owner, "GET", f"/users/{user}", status=404)
    _refused(platform.owner, "DELETE", f"/users/{user}", status=404)
    again = _invite(platform)
    assert again["user"]["id"] != user
    held = f"/assignments/tenant?userId={again['user']['id']}&tenantId={platform.first.tenant_id}"
    assert _done(platform.owner, "GET", held) == []


def test_nobody_deletes_themselves_or_an_owner(platform: Platform) -> None:
    owner, first = platform.owner, platform.first
    assert _refused(owner, "DELETE", f"/users/{first.user_id}", status=409)["code"] == "tenancy.oneself"
    user = _verified(platform)
    _done(owner, "PUT", f"/tenants/{first.tenant_id}/owners/{user}")
    error = _refused(owner, "DELETE", f"/users/{user}", status=409)
    assert (error["code"], "tenant 'Production'" in error["message"]) == ("tenancy.owner_kept", True)
    _done(owner, "DELETE", f"/tenants/{first.tenant_id}/owners/{user}")
    _done(owner, "PUT", f"/companies/{first.organisation_id}/owners/{user}")
    assert "the organisation" in _refused(owner, "DELETE", f"/users/{user}", status=409)["message"]
    _done(owner, "DELETE", f"/companies/{first.organisation_id}/owners/{user}")
    _done(owner, "DELETE", f"/users/{user}")


# ------------------------------------------------------------------------------------------------------------------ owners


def test_a_tenant_keeps_an_owner_and_nobody_removes_themselves(platform: Platform) -> None:
    owner, first = platform.owner, platform.first
    path = f"/tenants/{first.tenant_id}/owners"
    grace, alan = _verified(platform), _verified(platform, "Alan", "alan@example.org")
    found = _done(owner, "PUT", f"{path}/{grace}")
    assert [each["name"] for each in found["owners"]] == ["Ada", "Grace"]
    assert found["warnings"] == []
    assert _done(owner, "PUT", f"{path}/{grace}") == found, "once more changes nothing"
    as_grace = _as(platform, grace)
    assert _refused(as_grace, "DELETE", f"{path}/{grace}", status=409)["code"] == "tenancy.oneself"
    assert [each["name"] for each in _done(as_grace, "DELETE", f"{path}/{first.user_id}")["owners"]] == ["Grace"]
    error = _refused(owner, "DELETE", f"{path}/{grace}", status=409)
    assert error["code"] == "tenancy.owner_last", "an owner of the organisation cannot empty it either"
    assert _refused(owner, "DELETE", f"{path}/{alan}", status=404)


def test_more_than_three_owners_of_a_tenant_are_warned_of(platform: Platform) -> None:
    path = f"/tenants/{platform.first.tenant_id}/owners"
    for number in range(3):
        user = _verified(platform, f"U{number}", f"u{number}@example.org")
        found = _done(platform.owner, "PUT", f"{path}/{user}")
        assert bool(found["warnings"]) == (number == 2)
    assert "4 owners" in found["warnings"][0]
    assert _done(platform.owner, "GET", f"/tenants/{platform.first.tenant_id}")["warnings"] == found["warnings"]


def test_an_owner_holds_what_is_enabled_and_is_not_edited(platform: Platform) -> None:
    owner, first = platform.owner, platform.first
    grace = _verified(platform)
    _done(owner, "PUT", f"/tenants/{first.tenant_id}/owners/{grace}")
    held = f"/assignments/tenant?userId={grace}&tenantId={first.tenant_id}"
    assert len(_done(owner, "GET", held)) == 63
    body = _grant(platform, grace, "tag_read")
    assert _refused(owner, "POST", "/assignments/tenant", body, status=409)["code"] == "tenancy.owner_holds_all"
    path = f"{held}&roleId={permissions()['tag_read'].id}"
    assert _refused(owner, "DELETE", path, status=409)["code"] == "tenancy.owner_holds_all"
    _done(owner, "PUT", f"/tenants/{first.tenant_id}/features", {"features": ["iam", "tag"]})
    names = {"iam_read", "iam_write", "iam_offline_access", "tag_read", "tag_write"}
    assert {each["roleId"] for each in _done(owner, "GET", held)} == set(_ids(*names))


def test_organisation_owners(platform: Platform) -> None:
    owner, first = platform.owner, platform.first
    path = f"/companies/{first.organisation_id}/owners"
    grace = _verified(platform)
    assert _refused(owner, "DELETE", f"{path}/{grace}", status=404)
    assert [each["name"] for each in _done(owner, "PUT", f"{path}/{grace}")] == ["Ada", "Grace"]
    assert _refused(owner, "DELETE", f"{path}/{first.user_id}", status=409)["code"] == "tenancy.oneself"
    as_grace = _as(platform, grace)
    assert [each["name"] for each in _done(as_grace, "DELETE", f"{path}/{first.user_id}")] == ["Grace"]
    _refused(owner, "DELETE", f"{path}/{grace}", status=403)
    _refused(owner, "PUT", f"/companies/{UNKNOWN}/owners/{grace}", status=404)


def test_a_token_of_some_rights_makes_no_owner(platform: Platform) -> None:
    grace, first = _verified(platform), platform.first
    narrow = _as(platform, first.user_id, "iam_read", "iam_write")
    for path in (f"/tenants/{first.tenant_id}/owners/{grace}", f"/companies/{first.organisation_id}/owners/{grace}"):
        error = _refused(narrow, "PUT", path, status=403)
        assert error["code"] == "tenancy.not_held"
        assert "tag_write" in error["message"]


def test_an_unconfirmed_account_is_given_nothing(platform: Platform) -> None:
    user, first = _invite(platform)["user"]["id"], platform.first
    for method, path, body in (
        ("POST", "/assignments/tenant", _grant(platform, user, "tag_read")),
        ("PUT", f"/tenants/{first.tenant_id}/owners/{user}", None),
        ("PUT", f"/companies/{first.organisation_id}/owners/{user}", None),
    ):
        error = _refused(platform.owner, method, path, body, status=409)
        assert error["code"] == "tenancy.account_unverified"


# ------------------------------------------------------------------------------------------------------------------ rights


def test_rights_are_given_and_taken(platform: Platform) -> None:
    owner, grace = platform.owner, _verified(platform)
    given = _done(owner, "POST", "/assignments/tenant", _grant(platform, grace, "tag_write", "iam_read"), status=201)
    assert {each["roleId"] for each in given} == set(_ids("tag_write", "iam_read")), "no right brings another"
    client = _as(platform, grace)
    assert client.get(f"{IAM}/roles").status_code == 200
    path = f"/assignments/tenant?userId={grace}&tenantId={platform.first.tenant_id}&roleId={_ids('iam_read')[0]}"
    left = _done(owner, "DELETE", path)
    assert [each["roleId"] for each in left] == _ids("tag_write")
    assert client.get(f"{IAM}/roles").status_code == 403
    assert _done(owner, "DELETE", path) == left, "once more changes nothing"


def test_only_what_is_held_is_passed_on(platform: Platform) -> None:
    grace = _verified(platform)
    grantor = platform.member(["iam_read", "iam_write", "tag_read"], address="alan@example.org")
    error = _refused(
        grantor, "POST", "/assignments/tenant", _grant(platform, grace, "tag_read", "tag_write"), status=403
    )
    assert error["code"] == "tenancy.not_held"
    assert error["details"]["permissions"] == "tag_write"
    _done(grantor, "POST", "/assignments/tenant", _grant(platform, grace, "tag_read"), status=201)
    _done(platform.owner, "POST", "/assignments/tenant", _grant(platform, grace, "tag_write"), status=201)
    path = f"/assignments/tenant?userId={grace}&tenantId={platform.first.tenant_id}&roleId={_ids('tag_write')[0]}"
    assert _refused(grantor, "DELETE", path, status=403)["code"] == "tenancy.not_held"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"userId": UNKNOWN}, 404),
        ({"userId": "x"}, 400),
        ({"tenantId": UNKNOWN}, 404),
        ({"roleIds": []}, 422),
        ({"roleIds": ["x"]}, 422),
        ({"roleIds": "x"}, 422),
        ({"roleIds": [UNKNOWN] * 1001}, 422),
    ],
)
def test_rights_that_cannot_be_given(platform: Platform, change: dict[str, Any], status: int) -> None:
    body = _grant(platform, _verified(platform), "tag_read") | change
    _refused(platform.owner, "POST", "/assignments/tenant", body, status=status)


def test_rights_of_another_tenant_or_organisation_are_out_of_reach(platform: Platform) -> None:
    other = _done(platform.owner, "POST", "/tenants", {"name": "Other", "features": ["iam", "tag"]}, status=201)
    grace = _verified(platform)
    body = _grant(platform, grace, "tag_read") | {"tenantId": other["id"]}
    assert _refused(platform.owner, "POST", "/assignments/tenant", body, status=404)
    with platform.services.database.write() as session:
        elsewhere = members.ensure_organisation(session, "Elsewhere")
        eve = members.ensure_user(session, elsewhere, name="Eve", email="eve@example.org")
        eve.email_verified = True
    _refused(platform.owner, "POST", "/assignments/tenant", _grant(platform, eve.id, "tag_read"), status=404)
    _refused(platform.owner, "PUT", f"/tenants/{platform.first.tenant_id}/owners/{eve.id}", status=404)
    _refused(platform.owner, "DELETE", f"/users/{eve.id}", status=404)


# ----------------------------------------------------------------------------------------------------------------- tenants


def test_the_life_of_a_tenant(platform: Platform) -> None:
    owner = platform.owner
    body = {
        "name": "Test",
        "description": "For trying",
        "snc": True,
        "features": ["iam", "compute", features()["tag"].id],
    }
    made = _done(owner, "POST", "/tenants", body, status=201)
    assert made["features"] == [
        name for name in features() if name in ("iam", "tag") or features()[name].parent == "compute"
    ]
    assert (made["name"], made["description"], made["snc"]) == ("Test", "For trying", True)
    assert [each["name"] for each in made["owners"]] == ["Ada"]
    assert _done(owner, "GET", f"/tenants/{made['id']}") == made
    listed = {"id": made["id"], "name": "Test", "snc": True, "companyId": platform.first.organisation_id}
    assert listed in _done(owner, "GET", "/tenants")
    changed = _done(owner, "PATCH", f"/tenants/{made['id']}", {"name": "Trial"})
    assert changed == {**made, "name": "Trial"}
    assert _done(owner, "PATCH", f"/tenants/{made['id']}", {"name": "Trial", "description": ""})["description"] == ""
    fewer = _done(owner, "PUT", f"/tenants/{made['id']}/features", {"features": ["iam", "activity"]})
    assert fewer["features"] == ["activity", "iam"]
    _done(owner, "DELETE", f"/tenants/{made['id']}")
    _refused(owner, "GET", f"/tenants/{made['id']}", status=404)


def test_a_tenant_is_reached_by_a_token_made_for_it(platform: Platform) -> None:
    owner = platform.owner
    made = _done(owner, "POST", "/tenants", {"name": "Test", "features": ["iam", "tag"]}, status=201)
    expires = to_milliseconds(platform.clock.wall + timedelta(days=1))
    body = {"name": "x", "roles": _ids("iam_read", "iam_write"), "expirationDate": expires, "tenantId": made["id"]}
    token = _done(owner, "POST", "/personal_access_tokens", body, status=201)
    assert (token["tenantId"], token["tenantName"]) == (made["id"], "Test")
    inside = platform.client(platform.login(token["id"], token["secret"]))
    assert _done(inside, "GET", "/tenants")[0]["id"] == made["id"]
    body["roles"] = _ids("vpc_read")
    assert _refused(owner, "POST", "/personal_access_tokens", body, status=403)["code"] == "tenancy.not_held"
    narrow = _as(platform, platform.first.user_id, "iam_offline_access", "iam_read")
    body["roles"] = _ids("iam_write")
    assert _refused(narrow, "POST", "/personal_access_tokens", body, status=403)["code"] == "tenancy.not_held"
    stranger = platform.member(["iam_offline_access"])
    body["roles"] = _ids("iam_offline_access")
    assert _refused(stranger, "POST", "/personal_access_tokens", body, status=404)
    _done(owner, "DELETE", f"/tenants/{made['id']}")
    assert inside.get(f"{IAM}/tenants").status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "Production", "features": ["iam"]}, 409, "tenancy.tenant_name_taken"),
        ({"name": " Production ", "features": ["iam"]}, 409, "tenancy.tenant_name_taken"),
        ({"name": "x", "features": []}, 422, "tenancy.feature_needed"),
        ({"name": "x", "features": ["tag"]}, 422, "tenancy.feature_needed"),
        ({"name": "x", "features": ["iam", "nonsense"]}, 422, "tenancy.features_unknown"),
        ({"name": "x"}, 422, "api.fields_invalid"),
        ({"name": "", "features": ["iam"]}, 422, "name.empty"),
        ({"name": "x", "features": ["iam"], "description": "x" * 1025}, 422, "api.fields_invalid"),
        ({"name": "x", "features": ["iam"], "snc": "yes"}, 422, "api.fields_invalid"),
        ({"name": "x", "features": ["iam"], "colour": "red"}, 422, "api.fields_invalid"),
    ],
)
def test_a_tenant_that_cannot_be_is_refused(platform: Platform, body: dict[str, Any], status: int, code: str) -> None:
    assert _refused(platform.owner, "POST", "/tenants", body, status=status)["code"] == code
    assert len(_done(platform.owner, "GET", "/tenants")) == 1


def test_a_tenant_that_is_not_empty_stays_and_keeps_the_features_of_what_it_has(platform: Platform) -> None:
    owner = platform.owner
    made = _done(owner, "POST", "/tenants", {"name": "Test", "features": leaf_features()}, status=201)
    with platform.services.database.write() as session:
        session.add(Cpool(tenant_id=made["id"], name="web", zone="AZ05", model="LAB v1", memory=2**30))
        session.add(Vlan(tenant_id=made["id"], name="front", tag=100))
    error = _refused(owner, "DELETE", f"/tenants/{made['id']}", status=409)
    assert error["details"]["contents"] == {"VLANs": ["front"], "pools": ["web"]}
    assert "1 VLANs (front) and 1 pools (web)" in error["message"]
    for left_out in ("network_layer2", "compute_vmware"):
        wanted = [name for name in leaf_features() if name != left_out]
        error = _refused(owner, "PUT", f"/tenants/{made['id']}/features", {"features": wanted}, status=409)
        assert error["code"] == "tenancy.feature_used"
    assert _done(owner, "GET", f"/tenants/{made['id']}") == made
    with platform.services.database.write() as session:
        session.execute(sa.delete(Cpool))
        session.execute(sa.delete(Vlan))
    _done(owner, "DELETE", f"/tenants/{made['id']}")
    with platform.services.database.read() as session:
        for table in Base.metadata.sorted_tables:
            known = table.name == "libraries" or any(key.column.table.name == "tenants" for key in table.foreign_keys)
            if known:
                left = session.scalar(sa.select(sa.func.count()).where(table.c.tenant_id == made["id"]))
                assert left == 0, f"{table.name} still has rows of a tenant that is gone"


def test_the_last_tenant_stays(platform: Platform) -> None:
    path = f"/tenants/{platform.first.tenant_id}"
    assert _refused(platform.owner, "DELETE", path, status=409)["code"] == "tenancy.tenant_last"
    _refused(platform.owner, "DELETE", f"/tenants/{UNKNOWN}", status=404)


def test_rights_of_a_feature_rest_while_it_is_away(platform: Platform) -> None:
    owner, grace = platform.owner, _verified(platform)
    _done(owner, "POST", "/assignments/tenant", _grant(platform, grace, "tag_read"), status=201)
    held = f"/assignments/tenant?userId={grace}&tenantId={platform.first.tenant_id}"
    path = f"/tenants/{platform.first.tenant_id}/features"
    everything = leaf_features()
    _done(owner, "PUT", path, {"features": [name for name in everything if name != "tag"]})
    assert _done(owner, "GET", held) == []
    _done(owner, "PUT", path, {"features": everything})
    assert [each["roleId"] for each in _done(owner, "GET", held)] == _ids("tag_read")


def test_the_words_for_what_a_tenant_has() -> None:
    many = {"machines": [f"m{number}" for number in range(8)], "VLANs": ["a"], "pools": ["b"]}
    expected = "8 machines (m0, m1, m2, m3, m4 and 3 more), 1 VLANs (a) and 1 pools (b)"
    assert holdings.shown(many) == expected


def test_a_right_withdrawn_after_the_route_looked_is_missed_all_the_same(platform: Platform) -> None:
    """The grantor's rights are looked at again in the write itself."""
    from naos.identity import PermissionMissing
    from naos.tenancy import grants

    grantor = platform.member(["iam_read", "iam_write", "tag_read"], address="alan@example.org")
    identity = platform.app.state.identify(grantor.headers["Authorization"].removeprefix("Bearer "), None)
    grace = _verified(platform)
    with platform.services.database.write() as session:
        alan = session.scalars(sa.select(User.id).where(User.email == "alan@example.org")).one()
    path = f"/assignments/tenant?userId={alan}&tenantId={platform.first.tenant_id}&roleId={_ids('iam_write')[0]}"
    _done(platform.owner, "DELETE", path)
    with pytest.raises(PermissionMissing), platform.services.database.write() as session:
        grants.grant(session, identity, grace, ["tag_read"])
