"""Every call that the public provider knows: served, at both roots, with its query filters, and decoded without a fault."""

import re
import time
from typing import Any

import httpx
import pytest
from provider_client import LOGIN, Broken, Client, Failed, Refused
from provider_contract import CALLS, COMPUTE, Answers, Call, Misshapen, Time, decoded
from served_platform import Served

UNKNOWN = "12345678-1234-5678-1234-567812345678"
ANONYMOUS = {"/iam/v2/auth/personal_access_token"}


def bare(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path)


@pytest.fixture(scope="module")
def operations(provider: Served) -> dict[tuple[str, str], Any]:
    schema = httpx.get(f"{provider.address}/openapi.json", trust_env=False).json()
    return {
        (method.upper(), bare(path)): operation
        for path, item in schema["paths"].items()
        for method, operation in item.items()
    }


def test_the_contract_has_108_calls() -> None:
    assert len({(call.method, call.path) for call in CALLS}) + len(ANONYMOUS) == 108


NEVER_MADE = {"/vpc/v1/static_ips/mac/{mac}"}
"""Made for networks and adapters of a VPC only; there are none: see the test of networks and adapters below."""


@pytest.mark.parametrize(
    "call", [c for c in CALLS if c.path not in NEVER_MADE], ids=lambda call: f"{call.method} {call.path}"
)
def test_a_call_is_served_with_its_filters(operations: dict[tuple[str, str], Any], call: Call) -> None:
    path = bare(call.path.replace("/vmware/info", "/{target}/info"))
    found = operations.get((call.method, bare(call.path))) or operations.get((call.method, path))
    assert found is not None, "there is no such call"
    served = {parameter["name"] for parameter in found.get("parameters", []) if parameter["in"] == "query"}
    assert call.query <= served, f"filters that would be passed over: {call.query - served}"
    assert call.body == ("requestBody" in found)


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("call", [c for c in CALLS if c.method == "GET" and "{" not in c.path], ids=lambda c: c.path)
def test_a_list_decodes_and_is_the_same_twice(provider: Served, call: Call, prefix: str) -> None:
    client = provider.client(prefix)
    needed: dict[str, Any] = {}
    if "range" in call.query:
        needed["range"] = 4
    if call.path.endswith("recommendations"):
        pytest.skip("asked for one machine: see the resources")
    if call.path.startswith("/iam/v2/") and "tenantId" in call.query:
        needed["tenantId"] = client.tenant
    if "userId" in call.query:
        client.session()
        needed["userId"] = client.claims["userId"]
    first = client.list(call.path, **needed)
    if isinstance(call.answer, list) and not call.path.startswith("/activity"):  # a measurement may move
        assert client.list(call.path, **needed) == first
    client.close()


@pytest.mark.parametrize(
    "call", [c for c in CALLS if c.method == "GET" and c.path.count("{") == 1], ids=lambda call: call.path
)
def test_an_unknown_id_is_absent_and_never_a_fault(client: Client, call: Call) -> None:
    """Section 1.7: 404 for what is not there; lists of tolerance may be empty; tags of nothing are an empty list."""
    client.session()
    before = len(client.calls)
    if call.path.endswith(("items", "/tags/resources/{id}")):
        assert client.list(call.path, UNKNOWN) == []
    elif "guest_operating_systems" in call.path:
        with pytest.raises(Refused, match="access denied: 403 Forbidden"):
            client.one(call.path, "invalid-moref", hostClusterId="f7336dc8-7a91-461f-933d-3642aa415446")
    elif "/jobs/" in call.path:
        assert client.one(call.path, "123456") is None
    elif "static_ips" in call.path:
        assert client.one(call.path, "00:50:56:86:4a:27") is None
    else:
        assert client.one(call.path, UNKNOWN) is None
    assert len(client.calls) == before + 1, "the provider would have asked again"


FILTERED = [
    (call, name)
    for call in CALLS
    if call.method == "GET" and call.answers in {Answers.LIST, Answers.TOLERANT} and isinstance(call.answer, list)
    for name in sorted(call.query)
    if name not in {"allOptions", "type", "name", "types[]", "osFamily", "version", "roleId", "tenantId", "userId"}
    and "{" not in call.path
    and not call.path.endswith("recommendations")
]


@pytest.mark.parametrize(("call", "name"), FILTERED, ids=lambda value: getattr(value, "path", value))
def test_a_filter_by_an_unknown_id_gives_an_empty_list(client: Client, call: Call, name: str) -> None:
    value = [UNKNOWN] if name.endswith("[]") else UNKNOWN
    assert client.list(call.path, **{name: value}, answers=Answers.STRICT) == []


NAMED = [call for call in CALLS if call.method == "GET" and "name" in call.query and "{" not in call.path]


@pytest.mark.parametrize("call", NAMED, ids=lambda call: call.path)
def test_a_filter_by_name_finds_the_exact_name(client: Client, call: Call) -> None:
    for found in client.list(call.path)[:3]:
        assert found["id"] in {item["id"] for item in client.list(call.path, name=found["name"])}
    assert client.list(call.path, name="there is nothing of this name") == []


@pytest.mark.parametrize("path", [f"{COMPUTE}/networks", f"{COMPUTE}/network_adapters"])
def test_nothing_is_of_a_vpc(provider: Served, client: Client, path: str) -> None:
    provider.platform.deploy(f"seen by {path.rpartition('/')[2]}", powerOn=False)
    found = client.list(path)
    assert found
    assert {item["vpc"] for item in found} == {None}


# ------------------------------------------------------------------------------------------------------ tokens, transport


def test_one_token_serves_many_calls_and_both_roots(provider: Served) -> None:
    client = provider.client("/api")
    first = client.session()
    client.list(COMPUTE)
    assert client.session() == first
    assert [path for _, path in client.calls].count(LOGIN) == 1
    assert client.claims["exp"] - time.time() > 10 * 60
    plain = provider.client()
    plain._session = first
    assert plain.list(COMPUTE) == client.list(COMPUTE)
    for one in (client, plain):
        one.close()


def test_the_login_answers_in_plain_text(provider: Served) -> None:
    body = {"id": provider.token_id, "secret": provider.secret}
    for options in ({"json": body}, {"data": body}):
        answer = httpx.post(provider.address + LOGIN, **options, trust_env=False)
        assert answer.status_code == 200
        assert answer.text.count(".") == 2
        assert answer.text == answer.text.strip().strip('"')


def test_a_wrong_secret_is_refused_with_words(provider: Served) -> None:
    client = Client(provider.address, provider.token_id, "wrong")
    with pytest.raises(Refused, match="failed to login") as refused:
        client.session()
    assert refused.value.status in {400, 401, 403}
    client.close()


# ----------------------------------------------------------------------------------------------------------- the client


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (int, 1.0),
        (int, "1"),
        (int, True),
        (bool, 1),
        (bool, "true"),
        (str, 1),
        ([str], {}),
        ({"a": int}, []),
        (Time, ""),
        (Time, "2026-11-25"),
        (Time, 1),
        ({"a": {"b": int}}, {"A": {"B": 1.5}}),
    ],
)
def test_the_client_takes_nothing_that_the_provider_refuses(shape: Any, value: Any) -> None:
    with pytest.raises(Misshapen):
        decoded(shape, value)


def test_the_client_forgives_what_the_provider_forgives() -> None:
    shape = {"id": str, "count": int, "on": bool, "list": [int], "time": Time, "share": float, "inner": {"a": int}}
    assert decoded(shape, {"ID": "x", "Count": None, "share": 1, "more": 1}) == {
        "id": "x",
        "count": 0,
        "on": False,
        "list": [],
        "time": None,
        "share": 1.0,
        "inner": None,
    }


@pytest.mark.parametrize("state", [{}, {"running": {}, "completed": {}}, {"done": {}}])
def test_the_client_wants_one_known_state(provider: Served, state: dict[str, Any]) -> None:
    client = provider.client()
    with pytest.raises(Broken):
        client._settled({"state": state})
    client.close()


def test_the_client_reads_a_failure(client: Client) -> None:
    with pytest.raises(Failed, match="no room"):
        client._settled({"state": {"failed": {"reason": "no room"}}, "concernedItems": []})
