"""The one error shape for everything that can go wrong with a call: see `naos.errors.wire`."""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, WebSocket
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
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
    app.add_middleware(shaped)


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
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: BodyTooLarge(BODY_LIMIT),
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
                await JSONResponse(wire(BodyTooLarge(BODY_LIMIT)), BodyTooLarge.status)(scope, receive, send)
            elif not refused:
                await send(message)

        await app(scope, receive, send_shaped)

    return call


def _plain_413(message: Mapping[str, Any]) -> bool:
    headers: dict[bytes, bytes] = dict(message.get("headers", ()))
    too_large = bool(message["status"] == BodyTooLarge.status)
    return too_large and headers.get(b"content-type", b"").startswith(b"text/plain")
