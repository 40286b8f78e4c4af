"""One attempt at delivering a notice: a signed POST, or a mail."""

import http.client
import json
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from naos.addresses import Network
from naos.protection.notices import places, rules
from naos.protection.notices.errors import NotDelivered
from naos.protection.notices.models import Notice, NoticeTarget
from naos.protection.notices.places import Deadline

ANSWER_BYTES = 4096
_LASTING = {400, 410, 413, 415, 422}


@dataclass(frozen=True)
class Way:
    """allowed: networks that notices may go to beside the public ones. authorities: PEM file of further certificate authorities."""

    allowed: Sequence[Network]
    authorities: Path | None

    def trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.authorities is not None:
            context.load_verify_locations(self.authorities)
        return context


def payload(notice: Notice) -> bytes:
    """What a webhook gets."""
    said = {
        "id": notice.id,
        "event": notice.event,
        "tenantId": notice.tenant_id,
        "at": int(notice.created_at.timestamp() * 1000),
        "subject": notice.subject,
        "text": notice.text,
        "details": notice.details,
    }
    return json.dumps(said, ensure_ascii=False, sort_keys=True).encode()


def deliver(target: NoticeTarget, secret: str, notice: Notice, way: Way) -> None:
    """Raises NotDelivered, and nothing else for whatever the other side does."""
    shown = address_of(target.kind, target.settings)
    try:
        with Deadline() as deadline:
            if target.kind == "webhook":
                _post(target.settings["url"], secret, notice, way, deadline)
            else:
                _mail(target.settings, secret, notice, way, deadline)
    except NotDelivered:
        raise
    except smtplib.SMTPResponseException as error:
        words = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        lasting = 500 <= error.smtp_code < 600
        raise NotDelivered(shown, f"it answered {error.smtp_code} {_one_line(words)}", lasting=lasting) from error
    except smtplib.SMTPRecipientsRefused as error:
        raise NotDelivered(shown, f"it takes no mail for {', '.join(sorted(error.recipients))}") from error
    except (OSError, http.client.HTTPException, smtplib.SMTPException, ValueError) as error:
        raise NotDelivered(shown, _one_line(str(error)) or type(error).__name__) from error
    if deadline.passed:
        raise NotDelivered(shown, f"it took more than {places.WHOLE_SECONDS:g} s to answer")


def address_of(kind: str, settings: dict[str, Any]) -> str:
    """Where a target is, as people may see it: what stands after a `?` may be a password of sorts."""
    if kind == "webhook":
        parts = urlsplit(settings["url"])
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return f"{', '.join(settings['recipients'])} at {settings['server']}:{settings['port']}"


def _one_line(words: str) -> str:
    return " ".join(words.split())[:300]


# -------------------------------------------------------------------------------------------------------------- webhook


class _Connection(http.client.HTTPConnection):
    """On a socket that was connected before."""

    def __init__(self, host: str, port: int, made: socket.socket) -> None:
        super().__init__(host, port, timeout=places.STEP_SECONDS)
        self.sock = made

    def connect(self) -> None:
        raise NotDelivered(self.host, "the connection was closed early")


def _post(url: str, secret: str, notice: Notice, way: Way, deadline: Deadline) -> None:
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    made = places.connect(host, port, way.allowed, deadline, clear=not secure)
    with made:
        channel = way.trust().wrap_socket(made, server_hostname=host) if secure else made
        connection = _Connection(host, port, channel)
        body, moment = payload(notice), int(time.time())
        headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "Content-Type": "application/json",
            "User-Agent": "naos",
            "X-Naos-Event": notice.event,
            "X-Naos-Notice": notice.id,
            "X-Naos-Signature": rules.signature(secret, moment, body),
            "Connection": "close",
        }
        where = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("POST", where, body, headers)
            answer = connection.getresponse()
            answer.read(ANSWER_BYTES)
        finally:
            connection.close()
    if not 200 <= answer.status < 300:
        raise NotDelivered(
            f"{parts.scheme}://{host}:{port}",
            f"it answered {answer.status} {_one_line(answer.reason)}",
            lasting=answer.status in _LASTING,
        )


# ----------------------------------------------------------------------------------------------------------------- mail


class _Plain(smtplib.SMTP):
    """Connects as `places` does."""

    def __init__(self, host: str, port: int, connect: Callable[[], socket.socket]) -> None:
        self._made = connect
        super().__init__(host, port, timeout=places.STEP_SECONDS)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        del host, port, timeout
        return self._made()


class _Secure(_Plain):
    """Under TLS from the first byte."""

    def __init__(self, host: str, port: int, connect: Callable[[], socket.socket], context: ssl.SSLContext) -> None:
        self._context, self._name = context, host
        super().__init__(host, port, connect)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._context.wrap_socket(super()._get_socket(host, port, timeout), server_hostname=self._name)


def _mail(settings: dict[str, Any], password: str, notice: Notice, way: Way, deadline: Deadline) -> None:
    host, port, security = settings["server"], settings["port"], settings["security"]

    def connect() -> socket.socket:
        return places.connect(host, port, way.allowed, deadline, clear=security == "none")

    server = _Secure(host, port, connect, way.trust()) if security == "tls" else _Plain(host, port, connect)
    try:
        if security == "starttls":
            server.starttls(context=way.trust())
        if settings["user"]:
            server.login(settings["user"], password)
        refused = server.send_message(_message(settings, notice), settings["sender"], settings["recipients"])
    finally:
        server.close()
    if refused:
        raise NotDelivered(f"{host}:{port}", f"it takes no mail for {', '.join(sorted(refused))}")


def _message(settings: dict[str, Any], notice: Notice) -> EmailMessage:
    made = EmailMessage()
    made["Subject"] = notice.subject
    made["From"] = settings["sender"]
    made["To"] = ", ".join(settings["recipients"])
    made["Date"] = format_datetime(notice.created_at)
    made["Message-ID"] = f"<{notice.id}@naos.invalid>"
    made["Auto-Submitted"] = "auto-generated"
    made["X-Naos-Event"] = notice.event
    made.set_content(f"{notice.text}\n")
    return made
