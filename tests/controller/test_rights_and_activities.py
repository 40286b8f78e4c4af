"""Rights end with the next call, work that was accepted does not; tenants on a whole controller."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from simulated_platform import COMPUTE, Platform, logged_in

from naos.database import Base
from naos.engines.simulated.fabric import SimulatedFabric
from naos.identity import Identity
from naos.tenancy.models import User
from naos.tenancy.rules import to_milliseconds
from naos.tenancy.tokens import TokenRequest, create_token, utc_now

IAM = "/iam/v2"


@contextmanager
def _held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Every VLAN waits on its way to a blade until the block ends; the event is set once one does."""
    begun, released, real = threading.Event(), threading.Event(), SimulatedFabric.ensure_vlan

    def waiting(fabric: SimulatedFabric, *args: Any) -> str:
        begun.set()
        assert released.wait(30)
        return real(fabric, *args)

    with monkeypatch.context() as patched:
        patched.setattr(SimulatedFabric, "ensure_vlan", waiting)
        try:
            yield begun
        finally:
            released.set()


def _vlan(simulated: Platform, name: str) -> dict[str, Any]:
    return {"name": name, "hostClusterIds": [simulated.made["pool-AZ05"]]}


def _home(simulated: Platform) -> str:
    return str(simulated.get(f"{IAM}/tenants")[0]["id"])


def _roles(simulated: Platform, names: list[str]) -> list[str]:
    ids = {role["name"]: role["id"] for role in simulated.get(f"{IAM}/roles")}
    return [ids[name] for name in names]


def _colleague(simulated: Platform, name: str, names: list[str]) -> tuple[str, str, TestClient]:
    """Somebody who was invited and given rights: user, token, client."""
    owner = simulated.client
    invited = owner.post(f"{IAM}/users", json={"name": name, "email": f"{name}@example.org"}).json()
    token = {"token": invited["invitation"]["token"]}
    assert owner.post(f"{IAM}/auth/verification", json=token).status_code == 200
    user, home, roles = str(invited["user"]["id"]), _home(simulated), _roles(simulated, names)
    grant = {"userId": user, "tenantId": home, "roleIds": roles}
    assert owner.post(f"{IAM}/assignments/tenant", json=grant).status_code == 201
    with simulated.services.database.write() as session:
        organisation = session.get_one(User, user).organisation_id
        wanted = TokenRequest(name, roles, to_milliseconds(utc_now() + timedelta(days=1)))
        issued = create_token(session, Identity(user, home, organisation, frozenset(names), ""), wanted, utc_now())
    client = TestClient(owner.app, raise_server_exceptions=False)
    return user, issued.token.id, logged_in(client, issued.token.id, issued.secret)


@pytest.mark.parametrize("how", ["revoked", "reduced", "gone"])
def test_an_activity_outlives_the_rights_of_whoever_asked_for_it(
    simulated: Platform, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    names = ["network_read", "network_write", "activity_read", "compute_iaas_vmware_read"]
    user, token, caller = _colleague(simulated, how, names)
    with _held_up(monkeypatch) as begun:
        started = caller.post(f"{COMPUTE}/networks", json=_vlan(simulated, how))
        assert started.status_code == 201, started.text
        activity = started.headers["Location"]
        assert begun.wait(30)
        assert "running" in caller.get(f"/activity/v1/activities/{activity}").json()["state"]
        if how == "revoked":
            assert simulated.client.delete(f"{IAM}/personal_access_tokens/{token}").status_code == 200
        elif how == "reduced":
            roles = "".join(f"&roleId={role}" for role in _roles(simulated, names))
            path = f"{IAM}/assignments/tenant?userId={user}&tenantId={_home(simulated)}{roles}"
            assert simulated.client.delete(path).status_code == 200
        else:
            assert simulated.client.delete(f"{IAM}/users/{user}").status_code == 200
        refused = caller.get(f"/activity/v1/activities/{activity}")
        assert refused.status_code == (403 if how == "reduced" else 401)
    ended = simulated.ended(activity)
    assert "completed" in ended["state"], ended
    assert simulated.get(f"{COMPUTE}/networks/{ended['state']['completed']['result']}")["name"] == how
    assert caller.post(f"{COMPUTE}/networks", json=_vlan(simulated, f"{how}-2")).status_code in (401, 403)
    assert simulated.findings() == []


def test_a_tenant_with_real_objects_stays_and_an_empty_one_goes(
    simulated: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"name": "short-lived", "features": ["iam", "compute", "network", "activity"]}
    made = simulated.client.post(f"{IAM}/tenants", json=body).json()
    home = simulated.get(f"{IAM}/tenants")[0]
    error = simulated.refused("DELETE", f"{IAM}/tenants/{home['id']}")
    contents = error["details"]["contents"]
    assert contents["pools"] == ["pool-AZ05", "pool-AZ06"]
    assert contents["volumes"] == ["volume-AZ05", "volume-AZ06"]
    assert contents["templates"] == ["tiny"]
    assert "front" in contents["VLANs"]
    with _held_up(monkeypatch) as begun:
        activity = simulated.write("POST", f"{COMPUTE}/networks", _vlan(simulated, "late"))
        assert begun.wait(30)
        under_way = simulated.refused("DELETE", f"{IAM}/tenants/{home['id']}")["details"]["contents"]
        assert len(under_way["activities under way"]) == 1
    assert "completed" in simulated.ended(activity)["state"]
    assert simulated.client.delete(f"{IAM}/tenants/{made['id']}").status_code == 200
    assert [tenant["name"] for tenant in simulated.get(f"{IAM}/tenants")] == [home["name"]]


def test_a_new_tenant_can_be_worked_in(simulated: Platform) -> None:
    body = {"name": "fresh", "features": ["iam", "compute", "network", "activity", "tag"]}
    made = simulated.client.post(f"{IAM}/tenants", json=body).json()
    names = ["compute_iaas_vmware_read", "network_read", "network_write", "activity_read"]
    wanted = {
        "name": "t",
        "roles": _roles(simulated, names),
        "expirationDate": to_milliseconds(utc_now() + timedelta(hours=1)),
        "tenantId": made["id"],
    }
    token = simulated.client.post(f"{IAM}/personal_access_tokens", json=wanted).json()
    inside = logged_in(TestClient(simulated.client.app, raise_server_exceptions=False), token["id"], token["secret"])
    assert [library["name"] for library in inside.get(f"{COMPUTE}/content_libraries").json()] == ["Templates"]
    assert inside.get(f"{COMPUTE}/networks").json() == []
    started = inside.post(f"{COMPUTE}/networks", json={"name": "mine"})
    assert started.status_code == 201, started.text
    assert "completed" in _ended(simulated, inside, started.headers["Location"])["state"]
    error = simulated.refused("DELETE", f"{IAM}/tenants/{made['id']}")
    assert error["details"]["contents"] == {"VLANs": ["mine"]}
    vlan = inside.get(f"{COMPUTE}/networks").json()[0]["id"]
    gone = inside.delete(f"{COMPUTE}/networks/{vlan}")
    assert "completed" in _ended(simulated, inside, gone.headers["Location"])["state"]
    assert simulated.client.delete(f"{IAM}/tenants/{made['id']}").status_code == 200
    assert inside.get(f"{COMPUTE}/networks").status_code == 401
    assert _left(simulated, made["id"]) <= {"activities", "audit_entries", "idempotency_keys"}


def _left(simulated: Platform, tenant_id: str) -> set[str]:
    """The tables that still hold something of a tenant."""
    with simulated.services.database.read() as session:
        return {
            table.name
            for table in Base.metadata.sorted_tables
            if "tenant_id" in table.columns
            and session.execute(sa.select(table).where(table.c.tenant_id == tenant_id).limit(1)).first()
        }


def _ended(simulated: Platform, client: Any, activity: str) -> Any:
    """An activity of another tenant, once it has ended."""
    simulated.services.engine.wait(activity, 60)  # type: ignore[attr-defined]
    return client.get(f"/activity/v1/activities/{activity}").json()
