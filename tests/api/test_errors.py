"""The one error shape (naos.api.errors)."""

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pytest
from api_platform import Platform
from fastapi import APIRouter, Body, Depends, WebSocket
from pydantic import BaseModel, Field
from starlette.testclient import WebSocketDenialResponse

from naos.api.authentication import require
from naos.errors import NaosError
from naos.identity import Identity

router = APIRouter()


@dataclass(eq=False)
class Flooded(NaosError):
    code: ClassVar[str] = "test.flooded"
    status: ClassVar[int] = 507
    sentence: ClassVar[str] = "{name} needs {needed} GiB."
    name: str
    needed: int


class Form(BaseModel):
    size: int = Field(gt=0)
    name: str


@router.get("/test/flooded")
def flooded() -> None:
    raise Flooded("lun-1", 64)


@router.get("/test/broken")
def broken() -> None:
    raise RuntimeError("the password is hunter2")


@router.post("/test/form")
def form(body: Form) -> Form:
    return body


@router.post("/test/raw")
def raw(body: Annotated[bytes, Body()]) -> int:
    return len(body)


@router.websocket("/test/console")
async def console(socket: WebSocket, identity: Annotated[Identity, Depends(require("tag_read"))]) -> None:
    await socket.accept()
    await socket.send_text(identity.tenant_id)
    await socket.close()


@pytest.fixture
def served(platform: Platform) -> Platform:
    platform.app.include_router(router)
    return platform


def _error(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert "Location" not in answer.headers
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"code", "status", "message", "details"}
    assert error["status"] == status
    return error


def test_a_named_error_shows_its_sentence_and_numbers(served: Platform) -> None:
    error = _error(served.anyone.get("/test/flooded"), 507)
    assert error == {
        "code": "test.flooded",
        "status": 507,
        "message": "lun-1 needs 64 GiB.",
        "details": {"name": "lun-1", "needed": 64},
    }


def test_a_fault_tells_nothing_of_its_inside_and_is_found_in_the_log(
    served: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "naos.api"):
        answer = served.anyone.get("/test/broken")
    error = _error(answer, 500)
    assert "hunter2" not in answer.text
    assert error["details"]["log"] in error["message"]
    assert error["details"]["log"] in caplog.text
    assert "hunter2" in caplog.text


def test_every_field_at_fault_is_listed_and_no_value_is_repeated(served: Platform) -> None:
    answer = served.anyone.post("/test/form", json={"size": "s3cret"})
    error = _error(answer, 422)
    assert error["code"] == "api.fields_invalid"
    assert [fault["field"] for fault in error["details"]["fields"]] == ["body.size", "body.name"]
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("body", ["{", '{"size": 1, "name": "\\ud800"}', "[]", "nul", "", "1" * 5000, "\xff"])
def test_no_body_breaks_the_api(served: Platform, body: str) -> None:
    answer = served.anyone.post(
        "/test/form", content=body.encode("latin-1"), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {400, 422}
    _error(answer, answer.status_code)


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing", "/iam/v2/roles/", "/api"])
def test_an_unknown_path_is_named(served: Platform, path: str) -> None:
    error = _error(served.anyone.get(path, follow_redirects=False), 404)
    assert error["code"] == "api.path_unknown"


@pytest.mark.parametrize("path", ["//", "//iam/v2/roles", "/iam/v2/../v2/roles", "/iam/v2/./roles"])
def test_a_path_is_taken_as_it_is_sent(served: Platform, path: str) -> None:
    """Spoken to without a client: every client tidies such paths before it sends them."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "client": ("127.0.0.1", 1),
    }
    asyncio.run(served.app(scope, receive, send))
    assert sent[0]["status"] == 404
    assert json.loads(sent[1]["body"])["error"]["code"] == "api.path_unknown"


@pytest.mark.parametrize(
    ("body", "what"), [('{"a\\ud800": 1}', "half of a surrogate pair"), ('{"size": 1, "name": ["\\u0000"]}', "NUL")]
)
def test_what_no_table_can_hold_is_refused_before_any_area_sees_it(served: Platform, body: str, what: str) -> None:
    answer = served.anyone.post("/test/form", content=body, headers={"Content-Type": "application/json"})
    assert _error(answer, 400)["details"] == {"where": "body", "what": what}
    assert _error(served.anyone.get("/health?name=a%00b"), 400)["details"] == {"where": "query", "what": "NUL"}


def test_a_pair_of_surrogates_is_one_character(served: Platform) -> None:
    body = '{"size": 1, "name": "\\ud83d\\ude00"}'
    answer = served.anyone.post("/test/form", content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["name"] == "\N{GRINNING FACE}"


def test_an_unknown_method_is_told_the_known_ones(served: Platform) -> None:
    answer = served.anyone.put("/iam/v2/roles")
    error = _error(answer, 405)
    assert error["details"] == {"path": "/iam/v2/roles", "method": "PUT", "allowed": "GET"}
    assert answer.headers["Allow"] == "GET"


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_beyond_the_limit_is_refused_in_the_same_shape(served: Platform, *, stream: bool) -> None:
    content: Any = iter([b"x" * 2**20, b"y"]) if stream else b"x" * (2**20 + 1)
    answer = served.anyone.post("/test/raw", content=content, headers={"Content-Type": "application/octet-stream"})
    assert _error(answer, 413)["details"] == {"maximum": 2**20}
    fits = served.anyone.post("/test/raw", content=b"x" * 2**20, headers={"Content-Type": "application/octet-stream"})
    assert fits.json() == 2**20


def test_401_says_how_to_log_in(served: Platform) -> None:
    answer = served.anyone.get("/iam/v2/roles")
    assert _error(answer, 401)["code"] == "identity.unauthenticated"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_console_is_denied_before_it_opens(served: Platform) -> None:
    for client, status in ((served.anyone, 401), (served.member(["tag_write"]), 403)):
        with pytest.raises(WebSocketDenialResponse) as denial, client.websocket_connect("/test/console"):
            pass
        _error(denial.value, status)
    with served.member(["tag_read"]).websocket_connect("/test/console") as socket:
        assert socket.receive_text() == served.first.tenant_id
