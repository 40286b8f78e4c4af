"""Logging in with a browser: a local account with its second factor, and a real identity provider."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from api_platform import Platform
from fastapi.testclient import TestClient
from real_provider import CLIENT, SECRET, Provider, log_in_there, provider

from naos.login import oidc, sealing
from naos.login.errors import PasswordWeak
from naos.login.passwords import check
from naos.tenancy.errors import KeyUnusable

GOOD = "correct horse battery staple violin"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with provider(tmp_path_factory.mktemp("provider")) as made:
        yield made


def invited(platform: Platform, name: str, email: str) -> str:
    """A new account that holds one permission; its id."""
    answer = platform.owner.post("/iam/v2/users", json={"name": name, "email": email})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["user"]["id"]) if "user" in answer.json() else str(answer.json()["id"])


def link_for(platform: Platform, user_id: str) -> str:
    answer = platform.owner.post(f"/iam/v2/users/{user_id}/login_link")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["linkToken"])


def set_up(platform: Platform, user_id: str, password: str = GOOD) -> tuple[pyotp.TOTP, list[str]]:
    """The factor and the recovery codes of an account that has gone through its link."""
    link, anyone = link_for(platform, user_id), platform.anyone
    enrolment = anyone.post("/login/v1/accounts/activate", json={"linkToken": link, "password": password})
    assert enrolment.status_code == 200, enrolment.text
    factor = pyotp.parse_uri(enrolment.json()["uri"])
    assert isinstance(factor, pyotp.TOTP)
    done = anyone.post("/login/v1/accounts/confirm", json={"linkToken": link, "code": factor.at(platform.clock.now())})
    assert done.status_code == 200, done.text
    platform.clock.wall += timedelta(seconds=30)
    return factor, done.json()["recoveryCodes"]


def try_in(browser: TestClient, code: str, password: str = GOOD, email: str = "ada@example.org") -> httpx.Response:
    answer: httpx.Response = browser.post(
        "/login/v1/password", json={"email": email, "password": password, "code": code}
    )
    return answer


def test_a_local_account_logs_in_and_acts_in_a_tenant(platform: Platform) -> None:
    factor, _ = set_up(platform, platform.first.user_id)
    browser = platform.anyone
    assert browser.get("/login/v1/session").status_code == 401
    answer = try_in(browser, factor.at(platform.clock.now()), email=" Ada@Example.ORG ")
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    session = browser.get("/login/v1/session").json()
    assert (session["name"], session["method"]) == ("Ada", "password")
    assert [tenant["name"] for tenant in session["tenants"]] == ["Production"]
    token = browser.post("/login/v1/session/token", json={"tenantId": platform.first.tenant_id}).json()["token"]
    caller = platform.client(token)
    assert caller.get("/iam/v2/tenants").status_code == 200
    browser.delete("/login/v1/session")
    assert caller.get("/iam/v2/tenants").json()["error"]["code"] == "identity.unauthenticated"
    assert browser.get("/login/v1/session").status_code == 401


def test_each_code_is_taken_once_and_a_recovery_code_too(platform: Platform) -> None:
    factor, recovery = set_up(platform, platform.first.user_id)
    code = factor.at(platform.clock.now())
    assert try_in(platform.anyone, code).status_code == 200
    assert try_in(platform.anyone, code).status_code == 401
    assert try_in(platform.anyone, recovery[3].upper().replace("-", " ")).status_code == 200
    assert try_in(platform.anyone, recovery[3]).status_code == 401
    platform.clock.wall += timedelta(seconds=60)
    assert try_in(platform.anyone, factor.at(platform.clock.now() - timedelta(seconds=60))).status_code == 401
    assert try_in(platform.anyone, factor.at(platform.clock.now() - timedelta(seconds=30))).status_code == 200


def test_a_wrong_guess_says_nothing_and_many_cost_time(platform: Platform) -> None:
    factor, _ = set_up(platform, platform.first.user_id)
    unknown = try_in(platform.anyone, "123456", email="nobody@example.org").json()["error"]
    for password, code in ((GOOD, "000000"), ("wrong " + GOOD, factor.at(platform.clock.now()))):
        assert try_in(platform.anyone, code, password).json()["error"] == unknown
    for _ in range(3):
        try_in(platform.anyone, "000000")
    refused = try_in(platform.anyone, factor.at(platform.clock.now()))
    assert (refused.status_code, refused.json()["error"]["details"]["seconds"]) == (429, 30)
    platform.clock.wall += timedelta(seconds=31)
    assert try_in(platform.anyone, factor.at(platform.clock.now())).status_code == 200


def test_a_session_ends_when_idle_and_after_its_longest_time(platform: Platform) -> None:
    factor, _ = set_up(platform, platform.first.user_id)
    browser = platform.anyone
    try_in(browser, factor.at(platform.clock.now()))
    for _ in range(14):
        platform.clock.wall += timedelta(minutes=50)
        assert browser.get("/login/v1/session").status_code == 200
    platform.clock.wall += timedelta(minutes=50)
    assert browser.get("/login/v1/session").status_code == 401
    try_in(browser, factor.at(platform.clock.now()))
    platform.clock.wall += timedelta(minutes=61)
    assert browser.get("/login/v1/session").status_code == 401


def test_another_sites_page_is_refused(platform: Platform) -> None:
    factor, _ = set_up(platform, platform.first.user_id)
    browser = platform.anyone
    try_in(browser, factor.at(platform.clock.now()))
    wish = {"tenantId": platform.first.tenant_id}
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://testserver", 200)):
        assert browser.post("/login/v1/session/token", json=wish, headers={"Origin": origin}).status_code == status
    assert browser.get("/iam/v2/tenants").status_code == 401, "the cookie alone opens nothing"


def test_a_link_sets_an_account_up_once_and_ends_what_was_before(platform: Platform) -> None:
    factor, _ = set_up(platform, platform.first.user_id)
    browser, anyone = platform.anyone, platform.anyone
    try_in(browser, factor.at(platform.clock.now()))
    link = link_for(platform, platform.first.user_id)
    other = link_for(platform, platform.first.user_id)
    body = {"linkToken": link, "password": GOOD}
    assert anyone.post("/login/v1/accounts/activate", json=body).json()["error"]["code"] == "login.link_invalid"
    made = anyone.post("/login/v1/accounts/activate", json={**body, "linkToken": other})
    assert browser.get("/login/v1/session").status_code == 401
    platform.clock.wall += timedelta(seconds=30)
    assert try_in(anyone, factor.at(platform.clock.now())).status_code == 401, "the old factor counts no more"
    wrong = anyone.post("/login/v1/accounts/confirm", json={"linkToken": other, "code": "000000"})
    assert wrong.json()["error"]["code"] == "login.refused"
    now = platform.clock.now()
    code = pyotp.TOTP(made.json()["secret"]).at(now)
    assert anyone.post("/login/v1/accounts/confirm", json={"linkToken": other, "code": code}).status_code == 200
    assert anyone.post("/login/v1/accounts/confirm", json={"linkToken": other, "code": code}).status_code == 404
    late = link_for(platform, platform.first.user_id)
    platform.clock.wall += timedelta(days=3)
    gone = anyone.post("/login/v1/accounts/activate", json={"linkToken": late, "password": GOOD})
    assert gone.json()["error"]["code"] == "login.link_invalid"


def test_only_an_owner_with_all_rights_gives_links(platform: Platform) -> None:
    path = f"/iam/v2/users/{platform.first.user_id}/login_link"
    member = platform.member(["iam_read", "iam_write"])
    assert member.post(path).status_code == 403
    roles = [
        role["id"] for role in platform.owner.get("/iam/v2/roles").json() if role["name"] in ("iam_read", "iam_write")
    ]
    ends = int((platform.clock.now() + timedelta(days=1)).timestamp() * 1000)
    token = platform.owner.post(
        "/iam/v2/personal_access_tokens", json={"name": "few", "roles": roles, "expirationDate": ends}
    ).json()
    few = platform.client(platform.login(token["id"], token["secret"]))
    assert few.post(path).json()["error"]["code"] == "login.link_refused"


@pytest.mark.parametrize(
    "password", ["short", "ada@example.org!!", "password1234", "qwertyuiop123", "aaaaaaaaaaaaaaa", "x" * 257]
)
def test_weak_passwords_are_refused_with_the_reason(password: str) -> None:
    with pytest.raises(PasswordWeak):
        check(password, "Ada", "ada@example.org")
    check(GOOD, "Ada", "ada@example.org")
    check("éà漢字 кошка ☃ staple x", "Ada")


def test_the_sealing_key_is_kept_from_others(tmp_path: Path) -> None:
    key = sealing.open_key(tmp_path)
    sealed = sealing.seal(key, "geheim ☃")
    assert sealing.unseal(sealing.open_key(tmp_path), sealed) == "geheim ☃"
    file = tmp_path / sealing.KEY_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(KeyUnusable, match="others can read it"):
        sealing.open_key(tmp_path)
    file.chmod(0o600)
    file.write_bytes(b"other key" * 4)
    with pytest.raises(KeyUnusable):
        sealing.open_key(tmp_path)
    file.unlink()
    with pytest.raises(KeyUnusable, match="does not open"):
        sealing.unseal(sealing.open_key(tmp_path), sealed)


# ------------------------------------------------------------------------------------------------- an identity provider


def federated(platform: Platform, real: Provider, **fields: Any) -> dict[str, Any]:
    """The platform trusts the provider, and the provider knows the platform; the provider as the API shows it."""
    world = platform.services.world
    object.__setattr__(world, "settings", replace(world.settings, login_authorities=real.certificate))
    body = {"name": "Campus", "issuer": real.issuer, "clientId": CLIENT, "clientSecret": SECRET, **fields}
    answer = platform.owner.post("/iam/v2/identity_providers", json=body)
    assert answer.status_code == 201, answer.text
    assert SECRET not in answer.text
    real.register(answer.json()["redirectUri"])
    return dict(answer.json())


def away_and_back(platform: Platform, real: Provider, provider_id: str, browser: TestClient, **query: str) -> str:
    """Through the provider's own pages; the address on this platform that it leads back to."""
    away = browser.get(f"/login/v1/oidc/{provider_id}", params=query, follow_redirects=False)
    assert away.status_code == 303, away.text
    with httpx.Client(verify=oidc.trust(real.certificate)) as other:
        return log_in_there(other, away.headers["Location"], "http://testserver/")


def test_a_person_logs_in_with_an_identity_provider(platform: Platform, real: Provider) -> None:
    user_id = invited(platform, "Grace", real.email)
    shown = federated(platform, real, trustEmail=True)
    browser = platform.anyone
    (choice,) = browser.get("/login/v1/providers", params={"email": real.email.upper()}).json()
    assert choice == {"id": shown["id"], "name": "Campus", "path": f"/login/v1/oidc/{shown['id']}"}
    back = away_and_back(platform, real, shown["id"], browser, returnTo="/docs")
    stranger = platform.anyone.get(back, follow_redirects=False)
    assert "another browser" in stranger.json()["error"]["message"]
    arrived = browser.get(back, follow_redirects=False)
    assert (arrived.status_code, arrived.headers["Location"]) == (303, "/docs"), arrived.text
    session = browser.get("/login/v1/session").json()
    assert (session["userId"], session["method"], session["tenants"]) == (user_id, "Campus", [])
    again = browser.get(back, follow_redirects=False)
    assert "no log-in under way" in again.json()["error"]["message"]
    user = platform.owner.get(f"/iam/v2/users/{user_id}").json()
    assert (user["type"], user["emailVerified"], user["source"]) == ("FederatedAccount", True, ["Campus"])
    refused = browser.post("/login/v1/session/token", json={"tenantId": platform.first.tenant_id})
    assert refused.json()["error"]["code"] == "login.no_tenant"


def test_a_provider_does_not_open_what_is_not_its_own(platform: Platform, real: Provider) -> None:
    browser = platform.anyone
    shown = federated(platform, real)
    back = away_and_back(platform, real, shown["id"], browser)
    assert "does not say that it has verified" in browser.get(back, follow_redirects=False).json()["error"]["message"]
    platform.owner.delete(f"/iam/v2/identity_providers/{shown['id']}")
    shown = federated(platform, real, trustEmail=True)
    back = away_and_back(platform, real, shown["id"], browser)
    assert "no account was made" in browser.get(back, follow_redirects=False).json()["error"]["message"]
    set_up(platform, invited(platform, "Grace", real.email))
    back = away_and_back(platform, real, shown["id"], browser)
    assert "logs in with a password here" in browser.get(back, follow_redirects=False).json()["error"]["message"]
    assert browser.get("/login/v1/session").status_code == 401


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\nb", ""])
def test_a_log_in_leads_nowhere_else(platform: Platform, real: Provider, path: str) -> None:
    from naos.login.browser import PAGE, way_back

    assert way_back(path) == PAGE


@pytest.mark.parametrize(
    "issuer", ["http://example.org", "https://", "ftp://example.org", "https://a@example.org", "https://x?y"]
)
def test_an_issuer_is_an_https_address(platform: Platform, issuer: str) -> None:
    body = {"name": "X", "issuer": issuer, "clientId": "a", "clientSecret": "b"}
    answer = platform.owner.post("/iam/v2/identity_providers", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "login.issuer_invalid")


def test_a_provider_that_does_not_answer_is_named(platform: Platform) -> None:
    body = {"name": "X", "issuer": "https://127.0.0.1:9", "clientId": "a", "clientSecret": "b"}
    made = platform.owner.post("/iam/v2/identity_providers", json=body).json()
    answer = platform.anyone.get(f"/login/v1/oidc/{made['id']}", follow_redirects=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "login.provider_unusable")
    assert "127.0.0.1:9" in answer.text


def test_the_page_runs_only_its_own_script(platform: Platform) -> None:
    answer = platform.anyone.get("/login")
    policy = answer.headers["Content-Security-Policy"]
    nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
    assert answer.text.count(f'nonce="{nonce}"') == 2
    assert "NONCE" not in answer.text
    assert platform.anyone.get("/login").headers["Content-Security-Policy"] != policy
