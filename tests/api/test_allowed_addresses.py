"""From where a tenant takes calls (naos.tenancy.access, naos.api.client_address)."""

from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from api_platform import Platform
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from naos.addresses import contains, parse_address, parse_network
from naos.api.client_address import ForwardingUnreadable, named_client
from naos.settings import settings
from naos.tenancy import access

PATH = "/iam/v2/allowed_addresses"
LOGIN = "/iam/v2/auth/personal_access_token"
UNKNOWN = "6a7d3f0e-0d5b-4f4e-9d6a-2f0c8c1b7e11"


def _at(platform: Platform, client: TestClient, address: str) -> TestClient:
    """The same client, calling from another address."""
    moved = TestClient(platform.app, raise_server_exceptions=False, client=(address, 4242))
    moved.headers.update(client.headers)
    return moved


def _add(client: TestClient, cidr: str, **more: Any) -> Any:
    answer = client.post(PATH, json={"cidr": cidr, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def _code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


@pytest.fixture
def office(platform: Platform) -> TestClient:
    """The owner, in a network that is about to be the only one."""
    return _at(platform, platform.owner, "203.0.113.7")


def test_an_empty_list_is_everywhere(platform: Platform) -> None:
    assert platform.owner.get(PATH).json() == []
    for address in ("203.0.113.7", "2001:db8::1", "testclient"):
        assert _at(platform, platform.owner, address).get("/iam/v2/roles").status_code == 200


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("203.0.113.0/24", "203.0.113.255", "203.0.114.0"),
        ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ("203.0.113.0/24", "::ffff:203.0.113.9", "::ffff:203.0.114.9"),
        ("2001:db8::/48", "2001:db8:0:ffff::1", "2001:db8:1::1"),
        ("::1", "::1", "127.0.0.1"),
        ("fe80::/10", "fe80::1%eth0", "testclient"),
    ],
)
def test_the_list_holds_from_the_next_call_on(platform: Platform, network: str, inside: str, outside: str) -> None:
    owner = platform.owner
    let_in, shut_out = _at(platform, owner, inside), _at(platform, owner, outside)
    assert shut_out.get("/iam/v2/roles").status_code == 200
    _add(let_in, network)
    assert let_in.get("/iam/v2/roles").status_code == 200
    answer = shut_out.get("/iam/v2/roles")
    assert (answer.status_code, answer.reason_phrase, _code(answer)) == (403, "Forbidden", "tenancy.address_refused")
    named = str(parse_address(outside) or access.NO_ADDRESS)
    assert answer.json()["error"]["details"] == {"address": named}
    assert named in answer.json()["error"]["message"]


def test_logging_in_is_refused_too_once_the_secret_is_right(platform: Platform, office: TestClient) -> None:
    _add(office, "203.0.113.0/24")
    good = {"id": platform.first.token_id, "secret": platform.first.secret}
    outside = _at(platform, platform.anyone, "198.51.100.1")
    assert _code(outside.post(LOGIN, json=good)) == "tenancy.address_refused"
    assert outside.post(LOGIN, json=good | {"secret": "x"}).status_code == 401, "a stranger learns nothing of the list"
    assert _at(platform, platform.anyone, "203.0.113.200").post(LOGIN, json=good).status_code == 200


def test_each_tenant_has_its_own_list(platform: Platform, office: TestClient) -> None:
    entry = _add(office, "203.0.113.0/24")
    other = platform.member(["console_public_access_read", "console_public_access_write"], tenant="Other")
    assert other.get(PATH).json() == []
    for answer in (
        other.get(f"{PATH}/{entry['id']}"),
        other.patch(f"{PATH}/{entry['id']}", json={"description": "x"}),
        other.delete(f"{PATH}/{entry['id']}"),
    ):
        assert answer.status_code == 404


def test_the_life_of_an_entry(platform: Platform, office: TestClient) -> None:
    entry = _add(office, " 203.0.113.0/24 ", description="Office")
    assert (entry["cidr"], entry["description"]) == ("203.0.113.0/24", "Office")
    assert office.get(f"{PATH}/{entry['id']}").json() == entry
    platform.clock.wall += timedelta(seconds=1)
    vpn = _add(office, "2001:db8::7")
    assert vpn["cidr"] == "2001:db8::7/128"
    assert office.get(PATH).json() == [entry, vpn]
    assert office.patch(f"{PATH}/{entry['id']}", json={"description": ""}).json()["description"] == ""
    assert office.delete(f"{PATH}/{vpn['id']}").json() == {"id": vpn["id"]}
    assert office.delete(f"{PATH}/{vpn['id']}").status_code == 404
    assert office.get(f"{PATH}/{UNKNOWN}").status_code == 404


def test_nobody_locks_themselves_out_unless_they_force_it(platform: Platform, office: TestClient) -> None:
    answer = office.post(PATH, json={"cidr": "198.51.100.0/24"})
    assert (answer.status_code, _code(answer)) == (409, "tenancy.caller_locked_out")
    assert "203.0.113.7" in answer.json()["error"]["message"]
    assert office.get(PATH).json() == []
    mine = _add(office, "203.0.113.7")
    other = _add(office, "198.51.100.0/24")
    assert _code(office.delete(f"{PATH}/{mine['id']}")) == "tenancy.caller_locked_out"
    assert office.get("/iam/v2/roles").status_code == 200
    assert office.delete(f"{PATH}/{mine['id']}?force=true").status_code == 200
    assert _code(office.get("/iam/v2/roles")) == "tenancy.address_refused"
    elsewhere = _at(platform, office, "198.51.100.9")
    assert elsewhere.delete(f"{PATH}/{other['id']}").status_code == 200, "after the last one calls come from everywhere"
    assert office.get("/iam/v2/roles").status_code == 200
    _add(office, "198.51.100.0/24", force=True)
    assert office.get("/iam/v2/roles").status_code == 403


def test_the_operator_opens_a_tenant_again(platform: Platform, office: TestClient) -> None:
    _add(office, "198.51.100.0/24", force=True)
    with platform.services.database.write() as session:
        assert access.open_to_all(session, platform.first.tenant_id) == 1
    assert office.get("/iam/v2/roles").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"cidr": ""}, 422, "tenancy.network_invalid"),
        ({"cidr": "everywhere"}, 422, "tenancy.network_invalid"),
        ({"cidr": "203.0.113.7/24"}, 422, "tenancy.network_invalid"),
        ({"cidr": "203.0.113.0/33"}, 422, "tenancy.network_invalid"),
        ({"cidr": "203.0.113.256"}, 422, "tenancy.network_invalid"),
        ({"cidr": "::ffff:203.0.113.0/120"}, 422, "tenancy.network_invalid"),
        ({"cidr": "\u0662\u0660\u0663.0.113.7"}, 422, "tenancy.network_invalid"),
        ({"cidr": 7}, 422, "api.fields_invalid"),
        ({"cidr": "203.0.113.0/24", "description": "a\nb"}, 422, "name.character"),
        ({"cidr": "203.0.113.0/24", "description": "x" * 256}, 422, "api.fields_invalid"),
        ({"cidr": "203.0.113.0/24", "force": "yes"}, 422, "api.fields_invalid"),
        ({"cidr": "203.0.113.0/24", "tenant": "x"}, 422, "api.fields_invalid"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(office: TestClient, body: dict[str, Any], status: int, code: str) -> None:
    answer = office.post(PATH, json=body)
    assert (answer.status_code, _code(answer)) == (status, code)
    assert office.get(PATH).json() == []


def test_an_entry_is_there_once_and_there_are_not_too_many(office: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MOST", 2)
    _add(office, "203.0.113.0/24")
    assert _code(office.post(PATH, json={"cidr": "203.0.113.0/255.255.255.0"})) == "tenancy.network_listed"
    _add(office, "2001:db8::/32")
    assert _code(office.post(PATH, json={"cidr": "2001:DB9::/32"})) == "tenancy.networks_too_many"


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])  # the first address is slow to draw
@given(address=st.ip_addresses(), others=st.lists(st.ip_addresses(), max_size=4), listed=st.booleans())
def test_an_address_is_let_in_exactly_where_a_network_holds_it(
    address: Any, others: list[Any], *, listed: bool
) -> None:
    others = [parse_address(str(other)) for other in (*others, *([address] if listed else []))]
    networks = [str(ip_network(other)) for other in others]
    assert access.lets_in(networks, str(address)) == (not others or parse_address(str(address)) in others)


# ----------------------------------------------------------------------------------------------------- behind a proxy


@pytest.fixture
def proxied(build: Callable[..., Platform]) -> Callable[..., int]:
    """What a call answers on a platform that takes calls from 203.0.113.0/24 and believes 10.0.0.0/8 and ::1."""
    platform = build(trusted_proxies=(ip_network("10.0.0.0/8"), ip_network("::1")))
    session = platform.owner.headers["Authorization"]
    with platform.services.database.write() as writing:
        identity = platform.app.state.identify(session.removeprefix("Bearer "), None)
        access.add(writing, identity, "203.0.113.0/24", "", force=True, now=platform.clock.wall)

    def call(peer: str, *forwarded: str) -> int:
        client = TestClient(platform.app, raise_server_exceptions=False, client=(peer, 1))
        headers = [("Authorization", session), *(("X-Forwarded-For", each) for each in forwarded)]
        return client.get("/iam/v2/roles", headers=headers).status_code  # type: ignore[arg-type]

    return call


def test_a_trusted_proxy_names_the_client(proxied: Callable[..., int]) -> None:
    assert proxied("203.0.113.7") == 200
    assert proxied("10.0.0.1", "203.0.113.7") == 200
    assert proxied("::1", "203.0.113.7") == 200
    assert proxied("10.0.0.1", "203.0.113.7, 10.0.0.2") == 200
    assert proxied("10.0.0.1", "203.0.113.7", "10.0.0.2") == 200, "a header in two lines is one list"
    assert proxied("10.0.0.1", "198.51.100.1") == 403
    assert proxied("10.0.0.1") == 403, "a proxy that names nobody calls itself"


def test_what_a_client_writes_itself_is_not_believed(proxied: Callable[..., int]) -> None:
    assert proxied("198.51.100.1", "203.0.113.7") == 403
    assert proxied("10.0.0.1", "203.0.113.7, 198.51.100.1") == 403
    assert proxied("10.0.0.1", "203.0.113.7", "198.51.100.1") == 403
    assert proxied("203.0.113.7", "198.51.100.1") == 200, "nor does it do harm"


@pytest.mark.parametrize("said", ["", "unknown", "203.0.113.7:80", "[2001:db8::1]", "203.0.113.7;", "_hidden"])
def test_a_trusted_proxy_that_says_nonsense_is_told_so(proxied: Callable[..., int], said: str) -> None:
    assert proxied("10.0.0.1", said) == 400


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])  # the first address is slow to draw
@given(st.lists(st.ip_addresses(), max_size=5), st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxy(hops: list[Any], peer: Any) -> None:
    trusted = [parse_network("10.0.0.0/8")]
    found = named_client(peer, [", ".join(map(str, hops))] if hops else [], trusted)
    heard = [*(parse_address(str(hop)) for hop in hops), peer]
    outside = [hop for hop in heard if hop is not None and not contains(trusted, hop)]
    assert found == (outside[-1] if outside else heard[0])


def test_the_unreadable_hop_is_named() -> None:
    with pytest.raises(ForwardingUnreadable, match=r"10\.0\.0\.2 names 'x'"):
        named_client(ip_address("10.0.0.1"), ["x, 10.0.0.2"], [parse_network("10.0.0.0/8")])


@pytest.mark.parametrize(("text", "count"), [("", 0), ("10.0.0.1", 1), (" 10.0.0.0/24 , ::1,", 2)])
def test_the_environment_names_the_proxies(monkeypatch: pytest.MonkeyPatch, text: str, count: int) -> None:
    monkeypatch.setenv("NAOS_TRUSTED_PROXIES", text)
    assert len(settings.__wrapped__().trusted_proxies) == count


@pytest.mark.parametrize("text", ["proxy.example.org", "10.0.0.1/8", "*"])
def test_proxies_that_are_no_networks_stop_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NAOS_TRUSTED_PROXIES", text)
    with pytest.raises(ValueError, match="NAOS_TRUSTED_PROXIES"):
        settings.__wrapped__()
