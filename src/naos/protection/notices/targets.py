"""Targets of notices: whom a tenant wants told. Their secrets are sealed, and never shown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from joserfc.jwk import OctKey
from sqlalchemy.orm import Session

from naos.addresses import Network, parse_address
from naos.errors import NameTaken, Unknown
from naos.login import sealing
from naos.names import clean_name
from naos.protection.backup import schedule
from naos.protection.notices import rules
from naos.protection.notices.errors import (
    PasswordInClear,
    PasswordMissing,
    TargetAddress,
    TargetKind,
    TooManyTargets,
)
from naos.protection.notices.models import NoticeTarget
from naos.protection.notices.rules import Event
from naos.tenancy.rules import check_address

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Webhook:
    """secret: None leaves it as it is."""

    url: str
    secret: str | None


@dataclass(frozen=True)
class Mail:
    """security: none, starttls or tls. password: None leaves it as it is."""

    server: str
    port: int
    security: str
    user: str
    password: str | None
    sender: str
    recipients: Sequence[str]


@dataclass(frozen=True)
class Wish:
    """What a client says of a target; None: as it is. ways: none, or one."""

    name: str | None = None
    ways: Sequence[Webhook | Mail] = ()
    events: Sequence[Event] | None = None
    enabled: bool | None = None
    digest_at: str | None = None
    time_zone: str | None = None


def of_tenant(session: Session, tenant_id: str) -> list[NoticeTarget]:
    query = sa.select(NoticeTarget).where(NoticeTarget.tenant_id == tenant_id)
    return list(session.scalars(query.order_by(NoticeTarget.name, NoticeTarget.id)))


def find(session: Session, tenant_id: str, target_id: str) -> NoticeTarget:
    """Raises Unknown."""
    found = session.get(NoticeTarget, target_id)
    if found is None or found.tenant_id != tenant_id:
        raise Unknown("notice target", target_id)
    return found


def add(session: Session, tenant_id: str, key: OctKey, allowed: Sequence[Network], wish: Wish) -> NoticeTarget:
    """Raises a name's errors, NameTaken, TooManyTargets, TargetKind, and what `_settings` does."""
    present = of_tenant(session, tenant_id)
    if len(present) >= rules.MOST_TARGETS:
        raise TooManyTargets(len(present))
    if len(wish.ways) != 1:
        raise TargetKind
    (way,) = wish.ways
    made = NoticeTarget(
        tenant_id=tenant_id,
        name="",
        kind=_kind(way),
        settings={},
        secret="",
        events=[],
        digest_at="07:00",
        time_zone="UTC",
        digest_until=datetime.now(UTC),
    )
    if isinstance(way, Webhook) and way.secret is None:
        raise TargetAddress(way.url[:200], "a webhook needs a secret, with which what is sent there is signed")
    change(session, made, key, allowed, wish)
    session.add(made)
    session.flush()
    return made


def change(session: Session, target: NoticeTarget, key: OctKey, allowed: Sequence[Network], wish: Wish) -> None:
    """Raises as `add`."""
    if wish.name is not None:
        target.name = _free_name(session, target, wish.name)
    if len(wish.ways) > 1:
        raise TargetKind
    for way in wish.ways:
        if target.kind != _kind(way):
            raise TargetKind
        before, target.settings = target.settings, _settings(way, allowed)
        secret = way.secret if isinstance(way, Webhook) else _password(way, before, target.settings)
        if secret is not None:
            target.secret = sealing.seal(key, secret) if secret else ""
    if wish.events is not None:
        target.events = sorted({event.value for event in wish.events} - {Event.TEST.value})
    if wish.enabled is not None:
        target.enabled, target.failures = wish.enabled, 0
    if wish.digest_at is not None or wish.time_zone is not None:
        zone = schedule.zone_of(wish.time_zone or target.time_zone)
        target.digest_at, target.time_zone = wish.digest_at or target.digest_at, str(zone)
        target.digest_until = datetime.now(UTC)


def _free_name(session: Session, target: NoticeTarget, wanted: str) -> str:
    """Raises a name's errors, NameTaken."""
    name = clean_name(wanted)
    with session.no_autoflush:
        present = of_tenant(session, target.tenant_id)
    if any(other.name == name and other is not target for other in present):
        raise NameTaken("notice target", name)
    return name


def _kind(way: Webhook | Mail) -> str:
    return "webhook" if isinstance(way, Webhook) else "mail"


def _settings(way: Webhook | Mail, allowed: Sequence[Network]) -> dict[str, Any]:
    """Raises TargetAddress, PasswordInClear, PasswordMissing. Names are looked up when something is sent, and each time."""
    if isinstance(way, Webhook):
        _check_url(way.url, allowed)
        return {"url": way.url}
    _check_host(way.server, f"{way.server}:{way.port}", allowed)
    if way.user and way.security == "none":
        raise PasswordInClear(way.user, way.server)
    return {
        "server": way.server,
        "port": way.port,
        "security": way.security,
        "user": way.user,
        "sender": check_address(way.sender),
        "recipients": [check_address(recipient) for recipient in way.recipients],
    }


def _password(way: Mail, before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """What becomes the password, None for the one that is there: it goes only to the server to which whoever knew it sent it.

    Raises PasswordMissing."""
    if not way.user:
        if way.password:
            raise PasswordMissing(way.server)
        return ""
    same = all(before.get(part) == after[part] for part in ("server", "port", "security", "user"))
    if not way.password and not same:
        raise PasswordMissing(way.server)
    return way.password or None


def _check_url(url: str, allowed: Sequence[Network]) -> None:
    if not url.isascii() or any(character.isspace() or not character.isprintable() for character in url):
        raise TargetAddress(
            url[:200], "an address has neither spaces nor other than ASCII characters; write them as %20 or xn--"
        )
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise TargetAddress(url[:200], str(error)) from error
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise TargetAddress(url[:200], "an address such as https://example.org/naos is wanted")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise TargetAddress(
            parts.hostname, "leave user, password and fragment out; what is sent is signed with the secret"
        )
    _check_host(parts.hostname, parts.hostname, allowed)


def _check_host(host: str, shown: str, allowed: Sequence[Network]) -> None:
    if not _HOST.fullmatch(host):
        raise TargetAddress(shown[:200], "a host's name or address is wanted")
    address = parse_address(host)
    reason = None if address is None else rules.why_not(address, allowed)
    if reason is not None:
        raise TargetAddress(shown, reason)
