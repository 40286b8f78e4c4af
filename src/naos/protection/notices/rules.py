"""Rules of notices: what they are about, when they are tried again, when a digest is due, where they may go. Pure."""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from naos.addresses import Address, Network, contains
from naos.protection.backup import schedule


class Event(StrEnum):
    """run_failed: a run in which not every machine was copied. run_completed: any other. run_overran: one was still going when the
    next was due, which is left out; once a run. point_damaged: a verification found it. boot_failed: a boot test without a sign of
    life. quota: an alarm of the space in vaults began, grew or ended. digest: once a day, what went wrong since the last one. test:
    somebody tries the target; nobody subscribes to it."""

    RUN_FAILED = "run_failed"
    RUN_COMPLETED = "run_completed"
    RUN_OVERRAN = "run_overran"
    POINT_DAMAGED = "point_damaged"
    BOOT_FAILED = "boot_failed"
    QUOTA = "quota"
    DIGEST = "digest"
    TEST = "test"


class State(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 360, 720))
"""After each failed attempt; after the one that follows the last of them, a notice is given up: about 22 hours in all."""
KEPT = timedelta(days=30)
MOST_TARGETS = 20
"""Of a tenant."""
SHORTEST_SECRET, LONGEST_SECRET = 16, 256
_TRANSLATED = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
"""Addresses of IPv6 that lead to addresses of IPv4, which nobody looked at."""


def next_try(attempts: int, now: datetime) -> datetime | None:
    """When to try again after so many attempts that failed; None: never."""
    return now + PAUSES[attempts - 1] if attempts <= len(PAUSES) else None


def why_not(address: Address, allowed: Iterable[Network]) -> str | None:
    """Why nothing is sent to an address; None when it may be. Only what the whole Internet can reach, and what the operator allows."""
    if contains(allowed, address):
        return None
    if not address.is_global or address.is_multicast or contains(_TRANSLATED, address):
        return f"{address} is no public address, and not in a network that the operator allows (NAOS_NOTICE_NETWORKS)"
    return None


def in_clear(address: Address, allowed: Iterable[Network]) -> bool:
    """Whether something may go there unencrypted: only to the operator's own networks."""
    return contains(allowed, address)


def signature(key: str, moment: int, body: bytes) -> str:
    """Of a webhook: HMAC-SHA-256 of `<moment>.<body>`; `moment`: seconds since 1970."""
    found = hmac.new(key.encode(), str(moment).encode() + b"." + body, hashlib.sha256)
    return f"t={moment},v1={found.hexdigest()}"


def digest_due(at: str, zone: ZoneInfo, until: datetime, now: datetime) -> datetime | None:
    """The latest instant at which a digest was due, after `until` and up to `now`; None for none. A clock that was put back a little
    brings none twice, one that skips the time shows it at the end of the gap, and days that were missed make one digest."""
    hour, minute = (int(part) for part in at.split(":"))
    today = now.astimezone(zone).date()
    for day in (today, today - timedelta(days=1)):
        due = schedule.instants_of(datetime.combine(day, time(hour, minute)), zone, steady=False)[0]
        if until < due <= now:
            return due
    return None
