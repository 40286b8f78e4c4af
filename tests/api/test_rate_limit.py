"""How many requests a client may send (naos.api.rate_limit)."""

from collections.abc import Callable
from ipaddress import ip_network

import pytest
from api_platform import Platform
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from naos.api.rate_limit import Limiter, counted
from naos.settings import settings


class Ticks:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_of_one_second_then_the_rate() -> None:
    ticks = Ticks()
    limiter = Limiter(25, ticks)
    assert [limiter.take(("a", "x")) for _ in range(25)] == [0.0] * 25
    assert limiter.take(("a", "x")) == pytest.approx(1 / 25)
    assert limiter.take(("a", "x")) == pytest.approx(1 / 25), "a refused request costs nothing"
    assert limiter.take(("b", "x")) == limiter.take(("a", "y")) == 0.0
    ticks.now += 2 / 25 + 1e-9
    assert [limiter.take(("a", "x")) == 0.0 for _ in range(3)] == [True, True, False]
    ticks.now += 3600
    assert [limiter.take(("a", "x")) == 0.0 for _ in range(26)].count(True) == 25


def test_slow_rates_still_grant_one() -> None:
    ticks = Ticks()
    limiter = Limiter(0.1, ticks)
    assert limiter.take(("a", "x")) == 0.0
    assert limiter.take(("a", "x")) == pytest.approx(10)


def test_what_is_remembered_is_bounded() -> None:
    limiter = Limiter(25, Ticks(), keys=3)
    for client in range(100):
        limiter.take((str(client), "x"))
    assert len(limiter._buckets) == 3


@given(st.lists(st.floats(min_value=0, max_value=2), max_size=60), st.integers(min_value=1, max_value=40))
def test_never_more_than_a_burst_and_the_rate(pauses: list[float], rate: int) -> None:
    ticks = Ticks()
    limiter = Limiter(rate, ticks)
    start, granted = ticks.now, 0
    for pause in pauses:
        ticks.now += pause
        for _ in range(5):
            wait = limiter.take(("a", "x"))
            granted += wait == 0.0
            assert wait >= 0.0
        assert granted <= rate + (ticks.now - start) * rate + 1e-6


def test_the_api_answers_429_with_the_published_body(build: Callable[..., Platform]) -> None:
    platform = build(requests_per_second=25)
    client = platform.owner
    assert [client.get("/iam/v2/roles").status_code for _ in range(25)] == [200] * 25
    answer = client.get("/api/iam/v2/roles")
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "1"
    error = answer.json()["error"]
    assert (error["status"], error["message"]) == ("429 Too Many Requests", "Too Many Requests")
    assert client.get("/health").status_code == 200, "another product has its own limit"
    platform.clock.ticks += 0.05
    assert client.get("/iam/v2/roles").status_code == 200


def test_logins_have_a_limit_of_their_own(build: Callable[..., Platform]) -> None:
    platform = build(requests_per_second=25)
    body = {"id": platform.first.token_id, "secret": "wrong"}
    tries = [platform.anyone.post("/iam/v2/auth/personal_access_token", json=body).status_code for _ in range(7)]
    assert tries == [401] * 5 + [429] * 2
    assert platform.anyone.get("/iam/v2/roles").status_code == 401


def test_datastores_have_a_limit_of_their_own(build: Callable[..., Platform]) -> None:
    client = build(requests_per_second=25).owner
    path = "/compute/v1/vcenters/datastores"
    assert [client.get(path).status_code for _ in range(21)] == [200] * 20 + [429]
    assert client.get(f"/api{path}/6a7d3f0e-0d5b-4f4e-9d6a-2f0c8c1b7e11").status_code == 429
    assert client.get("/compute/v1/vcenters/datastore_clusters").status_code != 429
    assert client.get("/compute/v1/vcenters/networks").status_code == 200


def test_behind_a_trusted_proxy_each_client_is_counted(build: Callable[..., Platform]) -> None:
    platform = build(requests_per_second=2, trusted_proxies=(ip_network("10.0.0.1"),))
    proxy = TestClient(platform.app, raise_server_exceptions=False, client=("10.0.0.1", 1))

    def codes(*forwarded: str) -> list[int]:
        return [proxy.get("/iam/v2/roles", headers={"X-Forwarded-For": each}).status_code for each in forwarded]

    assert codes("203.0.113.7", "203.0.113.7", "203.0.113.7", "203.0.113.8") == [401, 401, 429, 401]
    assert codes("192.0.2.1, 203.0.113.7") == [429], "what the client wrote before does not count"


@pytest.mark.parametrize(
    ("client", "key"),
    [
        (("203.0.113.7", 1), "203.0.113.7"),
        (("::ffff:203.0.113.7", 1), "203.0.113.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("testclient", 1), "testclient"),
        (None, "local"),
    ],
)
def test_an_ipv6_client_is_its_whole_network(client: tuple[str, int] | None, key: str) -> None:
    assert counted({"client": client}) == key


def test_a_forwarding_header_does_not_make_another_client(build: Callable[..., Platform]) -> None:
    platform = build(requests_per_second=5)
    codes = [
        platform.anyone.get("/iam/v2/roles", headers={"X-Forwarded-For": f"10.0.0.{number}"}).status_code
        for number in range(7)
    ]
    assert codes == [401] * 5 + [429] * 2


@pytest.mark.parametrize(
    ("text", "rate"), [(None, 25.0), ("off", None), ("OFF ", None), ("1000", 1000.0), ("0.5", 0.5)]
)
def test_the_environment_sets_the_rate(monkeypatch: pytest.MonkeyPatch, text: str | None, rate: float | None) -> None:
    monkeypatch.delenv("NAOS_RATE_LIMIT", raising=False)
    if text is not None:
        monkeypatch.setenv("NAOS_RATE_LIMIT", text)
    assert settings.__wrapped__().requests_per_second == rate


@pytest.mark.parametrize("text", ["", "0", "-1", "inf", "nan", "many", "1e3"])
def test_a_rate_that_is_none_stops_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NAOS_RATE_LIMIT", text)
    with pytest.raises(ValueError, match="NAOS_RATE_LIMIT"):
        settings.__wrapped__()
