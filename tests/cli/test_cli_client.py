"""Credentials, sessions, broken connections, and what a refusal looks like."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_platform import COMPUTE, TOKEN, Cli, identifier, machine, refusal

from naos.cli import client


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.platform.lists["virtual_machines"] = [machine(10, "web-1")]
    return made


class Sequenced:
    """Answers of the platform's `before`: each item once, None or the end of the list lets the platform answer."""

    def __init__(self, path: str, *answers: httpx.Response | Exception | None) -> None:
        self.path, self.answers = path, list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response | None:
        if request.url.path != self.path or not self.answers:
            return None
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_one_login_serves_a_whole_command(cli: Cli) -> None:
    cli.ok("vm", "start", "web-1")
    assert cli.platform.logins == 1
    assert len(cli.platform.requests) > 4


def test_a_session_near_its_end_is_renewed(cli: Cli) -> None:
    cli.platform.session_lifetime = 30.0
    cli.ok("vm", "list")
    with client.opened(cli.connection) as api:
        first, second = api.session(), api.session()
    assert first != second


def test_a_session_that_is_refused_is_renewed_once(cli: Cli) -> None:
    refused = refusal(401, "identity.unauthenticated", "Not logged in: the key changed.")
    cli.platform.before = Sequenced("/activity/v1/activities", refused)
    with client.opened(cli.connection) as api:
        api.get(f"{COMPUTE}/hosts")
        assert api.get("/activity/v1/activities") == []
    assert cli.platform.logins == 2


def test_wrong_credentials_are_said_once(cli: Cli) -> None:
    cli.credentials.write_text(f"{TOKEN}:wrong\n", encoding="ascii")
    assert cli.refused("vm", "list") == "Error: Not logged in: no such token."
    assert cli.platform.logins == 1


def test_missing_credentials_name_every_place_and_the_way_out(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    said = cli.refused("vm", "list", env={"NAOS_CREDENTIALS": str(cli.folder / "none")})
    assert f"{cli.folder}/none: No such file or directory" in said
    assert "naos up" in said
    assert "NAOS_CREDENTIALS" in said
    monkeypatch.setattr(client, "DEFAULT_CREDENTIALS", (cli.folder / "absent", cli.credentials))
    assert client.read_credentials(None) == (TOKEN, "s3cret")


@pytest.mark.parametrize("content", ["", "secret only", "id:", ":secret", "a:b\nc:d\n"])
def test_a_file_of_another_shape_is_no_credentials_and_is_not_quoted(cli: Cli, content: str) -> None:
    cli.credentials.write_text(content, encoding="ascii")
    said = cli.refused("vm", "list")
    assert "holds no credentials" in said
    assert "secret only" not in said
    assert cli.platform.requests == []


def test_the_option_beats_the_environment(cli: Cli) -> None:
    cli.ok("--credentials", str(cli.credentials), "vm", "list", env={"NAOS_CREDENTIALS": "/nowhere"})
    cli.ok("--url", "http://api.example:1/api", "vm", "list", env={"NAOS_URL": "http://other"})
    assert str(cli.platform.requests[-1].url) == f"http://api.example:1/api{COMPUTE}/virtual_machines"


def test_no_controller_says_what_to_run(cli: Cli) -> None:
    cli.platform.before = lambda request: (_ for _ in ()).throw(httpx.ConnectError("Connection refused"))
    said = cli.refused("vm", "list")
    assert (
        "No controller answers at http://127.0.0.1:8470 (Connection refused). Start a lab here with `naos up`" in said
    )
    said = cli.refused("--url", "https://naos.example", "vm", "list")
    assert "Check the address" in said
    assert "naos up" not in said


@pytest.mark.parametrize("url", ["naos.example", "ftp://x", "http://", "http://h:99999", "http://[::1"])
def test_what_is_no_address_is_a_usage_error(cli: Cli, url: str) -> None:
    assert "is not an address" in cli.refused("--url", url, "vm", "list", code=2)


def test_a_refusal_is_its_sentence(cli: Cli) -> None:
    sentence = "needs 64 GiB, datastore [red]ds\x1b[2J[/red] has 41 GiB; free 23 GiB"
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines", refusal(409, "storage.volume_room", sentence))
    result = cli("vm", "list")
    assert result.stderr == "Error: needs 64 GiB, datastore [red]ds\\x1b[2J[/red] has 41 GiB; free 23 GiB\n"
    assert result.exit_code == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(403, text="<html>Not\nhere</html>"),
        httpx.Response(500, json=["x"]),
        httpx.Response(302, headers={"Location": "https://elsewhere"}),
    ],
)
def test_what_is_not_naos_is_called_so(cli: Cli, answer: httpx.Response) -> None:
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines", answer)
    assert f"answered {answer.status_code}, and not as naos does" in cli.refused("vm", "list")


def test_a_proxy_that_finds_nobody_is_asked_again(cli: Cli) -> None:
    nobody = httpx.Response(502, text="<html>Bad gateway</html>")
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines/power", nobody, nobody)
    cli.ok("vm", "start", "web-1")
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines/power", *[nobody] * 9)
    said = cli.refused("vm", "start", "web-1")
    assert "answered 502, and not as naos does: <html>Bad gateway</html>" in said
    assert "naos activity list" in said


def test_a_write_without_an_answer_may_have_been_taken(cli: Cli) -> None:
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines/power", httpx.ReadTimeout("slow"))
    said = cli.refused("vm", "start", "web-1")
    assert "did not answer PATCH" in said
    assert "It may have been taken all the same: see `naos activity list`" in said
    assert len(cli.platform.writes()) == 1


def test_success_that_is_not_the_api_is_no_success(cli: Cli) -> None:
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines", httpx.Response(200, text="hello"))
    assert "not JSON" in cli.refused("vm", "list")
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines/power", httpx.Response(200, json={}))
    assert "named no activity" in cli.refused("vm", "start", "web-1")


def test_the_api_may_ask_to_wait(cli: Cli) -> None:
    body = {"error": {"code": "api.rate_limited", "status": "429 Too Many Requests", "message": "Too Many Requests"}}
    later = httpx.Response(429, json=body, headers={"Retry-After": "2"})
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines", later, later)
    cli.ok("vm", "list")
    assert cli.pauses == [2.0, 2.0]
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines", *[later] * 9)
    assert "asks for fewer requests" in cli.refused("vm", "list")


def test_a_write_that_breaks_off_is_repeated_under_the_same_key(cli: Cli) -> None:
    broken = httpx.RemoteProtocolError("Server disconnected without sending a response.")
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines/power", broken, broken)
    cli.ok("vm", "start", "web-1")
    keys = [request.headers["Idempotency-Key"] for request in cli.platform.writes()]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    cli.ok("vm", "start", "web-1")
    assert cli.platform.writes()[-1].headers["Idempotency-Key"] != keys[0]


def test_a_connection_that_always_breaks_is_given_up(cli: Cli) -> None:
    broken = [httpx.ReadError("reset by peer") for _ in range(9)]
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines", *broken)
    assert "broke during GET" in cli.refused("vm", "list")


def test_a_redirect_takes_the_session_nowhere(cli: Cli) -> None:
    moved = httpx.Response(307, headers={"Location": "http://thief.example/"})
    cli.platform.before = Sequenced(f"{COMPUTE}/virtual_machines", moved)
    cli.refused("vm", "list")
    assert {request.url.host for request in cli.platform.requests} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://localhost", True),
        ("http://10.0.0.1", False),
        ("https://localhost.example", False),
    ],
)
def test_a_proxy_is_asked_for_other_hosts_only(url: str, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.is_local(url) is local
    seen: dict[str, Any] = {}

    class Client(httpx.Client):
        def __init__(self, **options: Any) -> None:
            seen.update(options)
            super().__init__(**options)

    monkeypatch.setattr(httpx, "Client", Client)
    with client.opened(client.Connection(url)):
        assert seen["trust_env"] is not local


def test_websockets_are_where_the_api_is() -> None:
    assert client.websocket_url("http://h:1", "/x") == "ws://h:1/x"
    assert client.websocket_url("https://h/api/", "/x") == "wss://h/api/x"


def test_names_never_become_part_of_an_address(cli: Cli) -> None:
    for name in ("../../iam/v2/users", "-rf", "a/b?c=d#e", "Ünïcödé 🙂", "x" * 36, "[red]"):
        cli.platform.lists["virtual_machines"] = [machine(10, name)]
        assert json.loads(cli.ok("vm", "show", "--json", "--", name))["name"] == name
        asked = [request.url for request in cli.platform.requests if "virtual_machines" in request.url.path]
        assert {url.path for url in asked} == {f"{COMPUTE}/virtual_machines"}
        assert asked[-1].params["name"] == name
        shown = cli.ok("vm", "show", "--", name)
        assert name in shown
        assert identifier(10) in shown
