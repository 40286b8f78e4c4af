"""Every write of the API is written into the audit log: before it is done, and again when it is answered.

The middleware `audited` puts a Recorder into the request's scope. `authentication.Requirement` tells it who calls, which is
when the first entry is committed: a controller that is killed after that leaves an entry without an answer, and nothing is
done before. Log-ins and writes by those who may not are one entry each. Who calls a route without a permission, such as a
log-in, is told by `attribute`; one that fails counts for whom it names.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Sequence
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from naos.api.client_address import client_address
from naos.api.paths import bare
from naos.audit import chain, redaction
from naos.audit.errors import AuditUnavailable
from naos.audit.journal import Entry, Journal
from naos.audit.models import Event
from naos.identity import Identity
from naos.ids import normal_id
from naos.tenancy.models import PersonalAccessToken, Tenant, User

log = structlog.get_logger()
SCOPE_KEY = "naos.audit"
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
KEPT_BODY = 1024 * 1024
TOKEN_LOGINS = "/iam/v2/auth/"  # noqa: S105 - an address
PROVIDER_LOGIN = "/login/v1/oidc/callback"
LOGINS = (TOKEN_LOGINS, "/login/")


def identified(
    connection: HTTPConnection, identity: Identity, groups: Sequence[tuple[str, ...]], *, refused: bool
) -> None:
    """Who calls, and with which of the permissions that the route needs. Raises AuditUnavailable, for a write."""
    recorder = connection.scope.get(SCOPE_KEY)
    if recorder is not None:
        recorder.identified(identity, groups, refused=refused)


def attribute(connection: HTTPConnection, *, user_id: str, tenant_id: str | None = None) -> None:
    """Who has just logged in, for a route that needs no permission; its answer becomes an entry, whatever its method."""
    recorder = connection.scope.get(SCOPE_KEY)
    if recorder is not None:
        recorder.user_id, recorder.tenant_id = user_id, tenant_id


def is_read(scope: Scope) -> bool:
    """Whether a request changes nothing, so that nothing of it is written when it begins."""
    return scope["type"] != "websocket" and scope["method"] not in WRITES


def audited(app: ASGIApp, *, journal: Journal) -> ASGIApp:
    """Middleware, inside of all that refuses without looking at who calls."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        recorder = Recorder(journal, scope)
        scope[SCOPE_KEY] = recorder
        try:
            await app(scope, recorder.listening(receive), recorder.answering(send))
        except Exception:
            await recorder.answered(500, None, "naos.internal")
            raise

    return call


class Recorder:
    """What the log is told of one request."""

    def __init__(self, journal: Journal, scope: Scope) -> None:
        self._journal, self._scope = journal, scope
        self.websocket = scope["type"] == "websocket"
        self.method = "WEBSOCKET" if self.websocket else scope["method"]
        self.is_write = not is_read(scope)
        self._parts: list[bytes] = []
        self._size = 0
        self._begun = self._ended = False
        self._begun_size = 0
        self._identity: Identity | None = None
        self._used: list[str] = []
        self.user_id: str | None = None
        self.tenant_id: str | None = None

    # What only an entry needs, which a read has none of, is made when it is asked for.

    @cached_property
    def _request_id(self) -> str:
        return str(uuid.uuid4())

    @cached_property
    def _headers(self) -> Headers:
        return Headers(scope=self._scope)

    @cached_property
    def _text(self) -> bool:
        return "octet-stream" not in self._headers.get("content-type", "")

    @cached_property
    def _digest(self) -> hmac.HMAC:
        return hmac.new(self._journal.key, b"body\n", hashlib.sha256)

    # ------------------------------------------------------------------------------------------------- the two ends

    def listening(self, receive: Receive) -> Receive:
        if not self.is_write or self.websocket:
            return receive

        async def heard() -> Message:
            message = await receive()
            part = message.get("body", b"")
            if part:
                self._digest.update(part)
                self._size += len(part)
                if self._text and self._size <= KEPT_BODY:
                    self._parts.append(part)
            return message

        return heard

    def answering(self, send: Send) -> Send:
        started: list[Message] = []

        async def sent(message: Message) -> None:
            kind = message["type"]
            if kind in ("http.response.start", "websocket.http.response.start") and self._is_told:
                started.append(message)  # held back until the entry is written: who has an answer finds it in the log
                return
            if started:
                start = started.pop()
                location = Headers(raw=list(start.get("headers", ()))).get("location", "")
                code = _code(message.get("body", b"")) if start["status"] >= 400 else None
                await self.answered(start["status"], normal_id(location), code)
                await send(start)
            elif kind == "websocket.accept":
                await self.answered(101, None, None)
            await send(message)

        return sent

    @property
    def _is_told(self) -> bool:
        return self.is_write or self.user_id is not None or bare(self._scope["path"]) == PROVIDER_LOGIN

    # -------------------------------------------------------------------------------------------------- the entries

    def identified(self, identity: Identity, groups: Sequence[tuple[str, ...]], *, refused: bool) -> None:
        if self._begun or not self.is_write:
            return
        self._identity = identity
        self._used = [next((name for name in group if name in identity.permissions), group[0]) for group in groups]
        if not refused:
            self._journal.append(self._entry(Event.CONSOLE if self.websocket else Event.WRITE))
            self._begun, self._begun_size = True, self._size

    async def answered(self, status: int, activity_id: str | None, code: str | None) -> None:
        """Write what became of it; a log that cannot be written now does not take the answer back."""
        if self._ended:
            return
        self._ended = True
        event = self._last_event(status)
        if event is not None:
            try:
                await run_in_threadpool(self._conclude, event, status, activity_id, code)
            except AuditUnavailable:
                log.warning("an answer is not in the audit log", request_id=self._request_id, status=status)

    def _last_event(self, status: int) -> Event | None:
        if self._begun:
            return Event.ANSWER
        path = bare(self._scope["path"])
        if self.user_id is not None or (path.startswith(LOGINS) and self._is_told and status != 404):
            return Event.LOGIN
        return Event.REFUSAL if self.is_write and status in (401, 403) else None

    def _conclude(self, event: Event, status: int, activity_id: str | None, code: str | None) -> None:
        result: dict[str, Any] = {"status": status, "activity_id": activity_id, "code": code}
        if event is Event.ANSWER:
            late = self._size != self._begun_size  # a body that was read after the first entry
            told: dict[str, Any] = {"request": self._request(), "digest": self._digest.hexdigest()} if late else {}
            self._journal.append(Entry(event, self._request_id, **self._who(), **told, **result))
        else:
            self._journal.append(self._entry(event, **result))

    def _entry(self, event: Event, **result: Any) -> Entry:
        route = self._scope.get("route")
        path = getattr(route, "path_format", None) or getattr(route, "path", "") or bare(self._scope["path"])[:200]
        parameters = {name: str(value)[:255] for name, value in self._scope.get("path_params", {}).items()}
        return Entry(
            event,
            self._request_id,
            **self._who(),
            address=client_address(HTTPConnection(self._scope)),
            method=self.method,
            path=bare(path),
            objects=chain.canonical(list(dict.fromkeys([*parameters.values(), *redaction.ids_in(self._body())]))),
            permissions=chain.canonical(self._used),
            request=self._request(),
            digest=self._digest.hexdigest() if self._size else None,
            **result,
        )

    def _request(self) -> str:
        query = parse_qs(self._scope.get("query_string", b"").decode("latin-1"))
        return redaction.request_text(query, self._body())

    def _body(self) -> Any:
        """The body as JSON; of a form the same; of anything else its size."""
        if not self._size:
            return None
        if not self._text or self._size > KEPT_BODY:
            return {"bytes": self._size}
        whole = b"".join(self._parts)
        if "urlencoded" in self._headers.get("content-type", ""):
            return dict(parse_qsl(whole.decode("utf-8", "replace"), keep_blank_values=True))
        try:
            return json.loads(whole)
        except (ValueError, RecursionError):
            return {"bytes": self._size}

    def _who(self) -> dict[str, Any]:
        """The columns that say who; read from the tables, as names are then."""
        user_id, tenant_id, token_id = self.user_id, self.tenant_id, None
        if self._identity is not None:
            user_id, tenant_id = self._identity.user_id, self._identity.tenant_id
            token_id = normal_id(self._identity.token_id or "")
        with self._journal.database.read() as session:
            if user_id is None and not self._begun:
                user_id, tenant_id, token_id = self._claimed(session)
            user = session.get(User, user_id) if user_id else None
            company = session.scalar(sa.select(Tenant.organisation_id).where(Tenant.id == tenant_id))
        return {
            "tenant_id": tenant_id,
            "organisation_id": company or (user.organisation_id if user else None),
            "user_id": user_id,
            "user_name": user.name if user else None,
            "token_id": token_id,
        }

    def _claimed(self, session: Session) -> tuple[str | None, str | None, str | None]:
        """User, tenant and token that a log-in names, whether it is theirs or not: who is attacked wants to know."""
        path, body = bare(self._scope["path"]), self._body()
        if not isinstance(body, dict) or not path.startswith(LOGINS):
            return None, None, None
        if path.startswith(TOKEN_LOGINS):
            token = session.get(PersonalAccessToken, normal_id(str(body.get("id"))) or "")
            return (token.user_id, token.tenant_id, token.id) if token is not None else (None, None, None)
        users = session.scalars(
            sa.select(User.id).where(User.email_key == str(body.get("email")).strip().casefold())
        ).all()
        return (users[0] if len(users) == 1 else None), None, None


def _code(body: bytes) -> str | None:
    """The code of an error in the API's one shape."""
    try:
        return str(json.loads(body)["error"]["code"])[:100]
    except (ValueError, KeyError, TypeError):
        return None
