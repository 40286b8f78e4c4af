"""The one error shape for everything that can go wrong with a call: see `naos.errors.wire`."""

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, WebSocket
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from naos.errors import NaosError, wire

_log = logging.getLogger("naos.api")
BODY_LIMIT = 1024 * 1024


@dataclass(eq=False)
class Unexpected(NaosError):
    """A fault of naos; nothing of its inside is told to the caller. `log`: where the controller's log has it."""

    code: ClassVar[str] = "naos.internal"
    status: ClassVar[int] = 500
    sentence: ClassVar[str] = "Something went wrong inside naos; the controller's log has it under {log}."
    log: str


@dataclass(eq=False)
class FieldsInvalid(NaosError):
    """`fields`: one entry for each fault, with `field` (where) and `message` (what)."""

    code: ClassVar[str] = "api.fields_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "The request does not fit: {summary}."
    summary: str
    fields: list[dict[str, str]]


@dataclass(eq=False)
class PathUnknown(NaosError):
    code: ClassVar[str] = "api.path_unknown"
    status: ClassVar[int] = 404
    sentence: ClassVar[str] = "There is nothing at {path}; GET /openapi.json lists every path."
    path: str


@dataclass(eq=False)
class MethodUnknown(NaosError):
    code: ClassVar[str] = "api.method_unknown"
    status: ClassVar[int] = 405
    sentence: ClassVar[str] = "{path} does not answer {method}; it answers {allowed}."
    path: str
    method: str
    allowed: str


@dataclass(eq=False)
class BodyTooLarge(NaosError):
    code: ClassVar[str] = "api.body_too_large"
    status: ClassVar[int] = 413
    sentence: ClassVar[str] = "The body of the request is too large; this call takes at most {maximum} bytes."
    maximum: int


@dataclass(eq=False)
class TextUnsound(NaosError):
    """`where`: body or query."""

    code: ClassVar[str] = "api.text_unsound"
    status: ClassVar[int] = 400
    sentence: ClassVar[str] = (
        "A text in the {where} holds {what}, which is no character that can be stored or shown; remove it."
    )
    where: str
    what: str


@dataclass(eq=False)
class HttpRefused(NaosError):
    """A refusal of the HTTP layer itself; its own status is set on the instance."""

    code: ClassVar[str] = "api.refused"
    sentence: ClassVar[str] = "{reason}"
    reason: str


def install(app: FastAPI) -> None:
    """Make every failure of `app` answer in the one shape."""
    for kind, handler in (
        (NaosError, _refused),
        (RequestValidationError, _invalid),
        (WebSocketRequestValidationError, _invalid),
        (HTTPException, _http),
        (Exception, _unexpected),
    ):
        app.add_exception_handler(kind, handler)
    app.add_middleware(sound)
    inner = app.build_middleware_stack

    def build() -> ASGIApp:
        """Outermost: the framework counts a body's bytes outside of every middleware that can be added."""
        return shaped(inner())

    app.build_middleware_stack = build  # type: ignore[method-assign] # the one place from which its refusals can be seen


async def answer(
    connection: HTTPConnection, error: NaosError, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer for `error`; a WebSocket that was not opened yet is denied with it."""
    body = wire(error)
    body["error"]["status"] = status or error.status
    response = JSONResponse(body, status or error.status, headers)
    if isinstance(connection, WebSocket):
        await connection.send_denial_response(response)
    return response


async def _refused(connection: HTTPConnection, error: Exception) -> Response:
    if not isinstance(error, NaosError):
        raise error
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("%s failed: %s", connection.url.path, error, exc_info=error)
    headers = {"WWW-Authenticate": "Bearer"} if error.status == HTTPStatus.UNAUTHORIZED else None
    return await answer(connection, error, headers=headers)


async def _invalid(connection: HTTPConnection, error: Exception) -> Response:
    if not isinstance(error, (RequestValidationError, WebSocketRequestValidationError)):
        raise error
    fields = [
        {"field": ".".join(str(part) for part in fault["loc"]), "message": str(fault["msg"])}
        for fault in error.errors()
    ]
    summary = "; ".join(f"{fault['field']}: {fault['message']}" for fault in fields)
    return await answer(connection, FieldsInvalid(summary, fields))


async def _http(connection: HTTPConnection, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    path, headers = connection.url.path, error.headers or {}
    known: dict[int, NaosError] = {
        HTTPStatus.NOT_FOUND: PathUnknown(path),
        HTTPStatus.METHOD_NOT_ALLOWED: MethodUnknown(
            path, str(connection.scope.get("method", "")), headers.get("Allow", "")
        ),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: BodyTooLarge(connection.scope.get(MAX_BODY_SIZE_SCOPE_KEY, BODY_LIMIT)),
    }
    refusal = known.get(error.status_code, HttpRefused(str(error.detail)))
    return await answer(connection, refusal, status=error.status_code, headers=headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    log = str(uuid.uuid4())
    _log.error("%s %s failed unexpectedly, log id %s", request.method, request.url.path, log, exc_info=error)
    return await answer(request, Unexpected(log))


def shaped(app: ASGIApp) -> ASGIApp:
    """Middleware: the framework's own plain-text refusal of a too long body takes the one shape too."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def send_shaped(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and _plain_413(message):
                refused = True
                refusal = BodyTooLarge(scope.get(MAX_BODY_SIZE_SCOPE_KEY, BODY_LIMIT))
                await JSONResponse(wire(refusal), refusal.status)(scope, receive, send)
            elif not refused:
                await send(message)

        await app(scope, receive, send_shaped)

    return call


def _plain_413(message: Mapping[str, Any]) -> bool:
    headers: dict[bytes, bytes] = dict(message.get("headers", ()))
    too_large = bool(message["status"] == BodyTooLarge.status)
    return too_large and headers.get(b"content-type", b"").startswith(b"text/plain")


# -------------------------------------------------------------------------------------------- texts that are no texts


def sound(app: ASGIApp) -> ASGIApp:
    """Middleware: refuses what JSON can write and no table can hold: NUL, and halves of surrogate pairs.

    Only a body that is JSON and has an escape is looked into; one beyond the limit is left to the limit's own refusal.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        if b"%00" in scope.get("query_string", b""):
            await JSONResponse(wire(TextUnsound("query", "NUL")), TextUnsound.status)(scope, receive, send)
            return
        if "json" not in Headers(scope=scope).get("content-type", ""):
            await app(scope, receive, send)
            return
        messages, body = await _read(receive)
        what = _unsound(body)
        if what is not None:
            await JSONResponse(wire(TextUnsound("body", what)), TextUnsound.status)(scope, receive, send)
            return

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await app(scope, replay, send)

    return call


async def _read(receive: Receive) -> tuple[list[Message], bytes]:
    """The messages of a body up to its end or its limit, and the bytes in them."""
    messages, parts, size = [], [], 0
    while size <= BODY_LIMIT:
        message = await receive()
        messages.append(message)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if not message.get("more_body", False):
            break
    return messages, b"".join(parts)


def _unsound(body: bytes) -> str | None:
    """What a JSON body holds that is no text; None also for what is no JSON: the reader after this one says so."""
    if b"\\u" not in body:
        return None
    try:
        rest = [json.loads(body)]
    except (ValueError, RecursionError):
        return None
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            rest += [*value, *value.values()]
        elif isinstance(value, list):
            rest += value
        elif isinstance(value, str) and "\0" in value:
            return "NUL"
        elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            return "half of a surrogate pair"
    return None
