"""The public HTTP API as the command line uses it: one session, writes that can be repeated, clear refusals."""

import base64
import binascii
import ipaddress
import json
import os
import ssl
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import typer

from naos.cli.failures import Failure, Unreachable

DEFAULT_URL = "http://127.0.0.1:8470"
DEFAULT_CREDENTIALS = (Path("/var/lib/naos/credentials"), Path("~/.config/naos/credentials"))
LOGIN = "/iam/v2/auth/personal_access_token"
TIMEOUT_SECONDS = 60.0
ATTEMPTS = 4
"""How often a call is sent when the connection breaks or the API asks to wait."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Connection:
    """Where the API is and who calls. `credentials`: a file of ``id:secret``; None looks at the usual places.

    transport: what carries the requests, an `httpx.BaseTransport`; None is the network.
    """

    url: str = DEFAULT_URL
    credentials: Path | None = None
    transport: Any = None
    sleep: Callable[[float], None] = time.sleep


@dataclass
class Api:
    """One run's conversation with the API."""

    connection: Connection
    _http: Any
    _session: str = ""
    _expires: float = 0.0
    _last_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.connection.url.rstrip("/")

    def get(self, path: str, /, **filters: str | int | None) -> Any:
        """What `path` holds, as JSON. Raises Failure with the API's sentence."""
        return _decoded(self._call("GET", path, filters=filters), self.url)

    def text(self, path: str, **filters: str | int | None) -> str:
        """What `path` holds, as text."""
        found: str = self._call("GET", path, filters=filters).text
        return found

    def write(self, method: str, path: str, body: Json | None = None) -> str:
        """Ask for a write; the answer is the id of its activity.

        Every attempt carries the same Idempotency-Key, so that a broken connection never does the work twice.
        """
        try:
            answer = self._call(method, path, body=body, headers={"Idempotency-Key": str(uuid.uuid4())})
        except Unanswered as failure:
            raise Unreachable(f"{failure} It may have been taken all the same: see `naos activity list`.") from failure
        activity: str = answer.headers.get("Location", "")
        if not activity:
            raise Failure(f"{self.url} took the request but named no activity; is this the API of naos?")
        return activity

    def change(self, method: str, path: str, body: Json | None = None) -> Any:
        """Ask for a write that is done when it answers; what it answers, None for an empty answer."""
        answer = self._call(method, path, body=body)
        return _decoded(answer, self.url) if answer.content else None

    def stream(
        self,
        path: str,
        filters: Mapping[str, str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> Iterator[bytes]:
        """What `path` holds, piece by piece as it comes; a stream of events has no end of its own. body: of a question that is a write."""
        import httpx

        query = {name: value for name, value in (filters or {}).items() if value is not None}
        given = {**(headers or {}), **self._authorization()}
        try:
            method, content = ("GET", {}) if body is None else ("POST", {"json": body})
            with self._http.stream(method, self.url + path, params=query, headers=given, **content) as answer:
                if not answer.is_success:
                    raise refusal(
                        answer.status_code, answer.read().decode("utf-8", "replace"), answer.headers, self.url
                    )
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise Broken(f"The connection to {self.url} broke during {method} {path}: {error}.") from error

    def upload(self, path: str, content: Iterable[bytes], size: int) -> Json:
        """Send `size` bytes as the body; what the API answers. It is sent once: content cannot be rewound."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        found: Json = _decoded(self._send("POST", path, headers | self._authorization(), content=content), self.url)
        return found

    def session(self) -> str:
        """A session that lives for another minute at least, fetched with the personal access token when needed."""
        if time.time() > self._expires - 60:
            identifier, secret = read_credentials(self.connection.credentials)
            answer = self._patiently("POST", LOGIN, {}, json={"id": identifier, "secret": secret})
            self._session = answer.text.strip()
            self._expires = _expiry(self._session)
        return self._session

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.session()}"}

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        filters: Mapping[str, str | int | None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        query = {name: value for name, value in (filters or {}).items() if value is not None}
        options: dict[str, Any] = {"params": query} if query else {}
        if body is not None:
            options["json"] = body
        given = dict(headers or {})
        had_session = bool(self._session)
        try:
            return self._patiently(method, path, given | self._authorization(), **options)
        except Failure as failure:
            # A controller with new keys, or a clock that runs apart: one fresh session, then its answer stands.
            if failure.status != 401 or not had_session:
                raise
        self._expires = 0.0
        return self._patiently(method, path, given | self._authorization(), **options)

    def _patiently(self, method: str, path: str, headers: Mapping[str, str], **options: Any) -> Any:
        """Send; repeat when the API asks to come back later, or when a connection that worked breaks."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return self._send(method, path, headers, **options)
            except Busy as busy:
                self.connection.sleep(busy.seconds)
            except Broken:
                self.connection.sleep(0.2 * 2**attempt)
        return self._send(method, path, headers, **options)

    def _send(self, method: str, path: str, headers: Mapping[str, str], **options: Any) -> Any:
        import httpx

        try:
            answer = self._http.request(method, self.url + path, headers=headers, **options)
        except httpx.ConnectError as error:
            raise Unreachable(_no_answer(self.url, error)) from error
        except httpx.TimeoutException as error:
            raise Unanswered(f"{self.url} did not answer {method} {path} within {TIMEOUT_SECONDS:.0f} s.") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise Failure(f"{self.url!r} is not an address of an API: {error}") from error
        except httpx.TransportError as error:
            raise Broken(f"The connection to {self.url} broke during {method} {path}: {error}.") from error
        if answer.is_success:
            return answer
        raise refusal(answer.status_code, answer.text, answer.headers, self.url)


class Busy(Failure):
    """The API asks to come back in `seconds`."""

    seconds: float = 1.0


class Unanswered(Unreachable):
    """The request went out and no answer came back."""


class Broken(Unanswered):
    """The connection was there and broke, or a proxy found nobody behind it; repeating the request is safe."""


@contextmanager
def connect(context: typer.Context) -> Iterator[Api]:
    """The API that the command line's options name."""
    with opened(connection_of(context)) as api:
        yield api


def connection_of(context: typer.Context) -> Connection:
    held = context.find_root().obj
    return held if isinstance(held, Connection) else Connection()


@contextmanager
def opened(connection: Connection, *, timeout: float = TIMEOUT_SECONDS) -> Iterator[Api]:
    """The API at `connection`; nothing is sent before it is used."""
    import httpx

    check_url(connection.url)
    with httpx.Client(
        timeout=timeout,
        transport=connection.transport,
        follow_redirects=False,
        trust_env=not is_local(connection.url),  # a proxy for the internet does not reach this machine's own ports
    ) as http:
        yield Api(connection, http)


def check_url(url: str) -> None:
    """Raises a usage error for what is not an http or https address."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise typer.BadParameter(f"{url!r} is not an address; write for example {DEFAULT_URL}", param_hint="--url")


def is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def websocket_url(url: str, path: str) -> str:
    """The address of a WebSocket of the API: ``ws`` for ``http``, ``wss`` for ``https``."""
    parts = urlsplit(url)
    return urlunsplit(("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path.rstrip("/") + path, "", ""))


def read_credentials(given: Path | None) -> tuple[str, str]:
    """Id and secret of the personal access token. Raises Failure that names every place that was looked at."""
    places = [given] if given is not None else [place.expanduser() for place in DEFAULT_CREDENTIALS]
    found = []
    for place in places:
        try:
            text = place.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            found.append(f"{place}: {reason}")
            continue
        identifier, separator, secret = text.strip().partition(":")
        if not identifier or not separator or not secret or "\n" in secret:
            raise Failure(f"{place} holds no credentials: one line `<token id>:<secret>` is expected.")
        return identifier, secret
    raise Failure(
        f"No credentials ({'; '.join(found)}). `naos up` writes them for a lab; otherwise put the id and the secret of "
        "a personal access token, as `<id>:<secret>`, into a file and name it with --credentials or NAOS_CREDENTIALS."
    )


def refusal(status: int, body: str, headers: Mapping[str, str], url: str) -> Failure:
    """The failure that an answer stands for: the API's own sentence where it has one."""
    try:
        error = json.loads(body)["error"]
        sentence, code, details = str(error["message"]), str(error.get("code", "")), error.get("details") or {}
    except (ValueError, KeyError, TypeError):
        shown = " ".join(body.split())[:200] or "nothing"
        kind = Broken if status in {502, 503, 504} else Failure
        return kind(f"{url} answered {status}, and not as naos does: {shown}", status=status)
    if status == 429:
        busy = Busy(f"{url} asks for fewer requests ({sentence}); try again in a moment.", code=code, status=status)
        seconds = headers.get("Retry-After", "1")
        busy.seconds = min(float(seconds), 5.0) if seconds.isdecimal() else 1.0
        return busy
    return Failure(sentence, code=code, status=status, details=details)


def _decoded(answer: Any, url: str) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise Failure(f"{url} answered with something that is not JSON; is this the API of naos?") from None


def _expiry(session: str) -> float:
    """Seconds since 1970 at which the session ends; 0.0 when it does not say, so that it is used once."""
    try:
        payload = session.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return 0.0


def _no_answer(url: str, error: Exception) -> str:
    if isinstance(error.__cause__ and error.__cause__.__cause__, ssl.SSLError) or "SSL" in str(error):
        return f"{url} cannot be trusted or does not speak TLS: {error}"
    how = "Start a lab here with `naos up`" if is_local(url) else "Check the address and that the controller runs"
    return f"No controller answers at {url} ({error}). {how}, or name another one with --url or NAOS_URL."


def environment_credentials() -> Path | None:
    named = os.environ.get("NAOS_CREDENTIALS")
    return Path(named).expanduser() if named else None
