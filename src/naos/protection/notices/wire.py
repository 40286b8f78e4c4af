"""Notices on the wire. Times are milliseconds since 1970. Secrets come in and never go out."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from naos.names import Name
from naos.protection.notices import rules
from naos.protection.notices.rules import Event
from naos.protection.notices.targets import Mail, Webhook, Wish
from naos.wire import Request, Whole, Wire


class Security(StrEnum):
    """none: to the operator's own networks only."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


Clock = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class WebhookRequest(Request):
    """`secret`: with which what is sent is signed; when a target is changed it may be left out, and stays."""

    url: str = Field(max_length=2000)
    secret: str | None = Field(default=None, min_length=rules.SHORTEST_SECRET, max_length=rules.LONGEST_SECRET)


class MailRequest(Request):
    """`user`: "" for a server that asks for none. `password`: left out when a target is changed it stays, unless server or user change."""

    server: str = Field(min_length=1, max_length=253)
    port: Whole = Field(default=587, ge=1, le=65535)
    security: Security = Security.STARTTLS
    user: str = Field(default="", max_length=255)
    password: str | None = Field(default=None, max_length=rules.LONGEST_SECRET)
    sender: str = Field(max_length=320)
    recipients: list[str] = Field(min_length=1, max_length=20)


class TargetRequest(Request):
    """Exactly one of `webhook` and `mail`. `digest_at`: on the clock of `time_zone`."""

    name: Name
    webhook: WebhookRequest | None = None
    mail: MailRequest | None = None
    events: list[Event] = Field(
        default=[event for event in Event if event not in (Event.RUN_COMPLETED, Event.TEST)], max_length=16
    )
    digest_at: Clock = "07:00"
    time_zone: str = Field(default="UTC", max_length=63)


class TargetChange(Request):
    """What is left out stays as it is."""

    name: Name | None = None
    webhook: WebhookRequest | None = None
    mail: MailRequest | None = None
    events: list[Event] | None = Field(default=None, max_length=16)
    enabled: bool | None = None
    digest_at: Clock | None = None
    time_zone: str | None = Field(default=None, max_length=63)


class WebhookWire(Wire):
    url: str


class MailWire(Wire):
    server: str
    port: int
    security: Security
    user: str
    sender: str
    recipients: list[str]


class TargetWire(Wire):
    """`failures`: deliveries in a row that were given up."""

    id: str
    name: str
    webhook: WebhookWire | None
    mail: MailWire | None
    events: list[Event]
    enabled: bool
    digest_at: str
    time_zone: str
    failures: int
    created_at: int


class NoticeWire(Wire):
    """`state`: waiting, delivered or given_up. `next_at`: when it is tried again; null when it is not. `reason`: why the last attempt
    failed."""

    id: str
    target_id: str
    event: Event
    subject: str
    text: str
    details: dict[str, Any]
    state: str
    attempts: int
    reason: str
    created_at: int
    next_at: int | None
    delivered_at: int | None


def wish_of(body: TargetRequest | TargetChange) -> Wish:
    """Raises nothing: that there is one way, and which, is looked at with the target."""
    ways: list[Webhook | Mail] = []
    if body.webhook is not None:
        ways.append(Webhook(body.webhook.url, body.webhook.secret))
    if body.mail is not None:
        mail = body.mail
        ways.append(
            Mail(mail.server, mail.port, mail.security.value, mail.user, mail.password, mail.sender, mail.recipients)
        )
    return Wish(
        name=body.name,
        ways=ways,
        events=body.events,
        enabled=body.enabled if isinstance(body, TargetChange) else None,
        digest_at=body.digest_at,
        time_zone=body.time_zone,
    )
