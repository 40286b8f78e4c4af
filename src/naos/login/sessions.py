"""Browser sessions: a random cookie that the table knows by its digest, and the short signed sessions made from it.

Every call of the API carries a signed session in a header, as with a token, so a page of another site can make a browser send
nothing that counts. The cookie reaches only the addresses under `/login`, which look at the request's origin too.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.identity import Identity, Unauthenticated
from naos.login.errors import NotLoggedIn, TenantRefused
from naos.login.models import BrowserSession
from naos.tenancy import tokens
from naos.tenancy.members import effective_permissions
from naos.tenancy.models import Tenant, User

CLAIM = "sid"
LONGEST, IDLE = timedelta(hours=12), timedelta(minutes=60)


@dataclass(frozen=True)
class Begun:
    """`cookie`: its value, which is kept nowhere else."""

    row: BrowserSession
    cookie: str


def digest(secret: str) -> str:
    """256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def begin(session: Session, user: User, method: str, address: str | None, now: datetime) -> Begun:
    """A new session, under a new name: one that a browser had before is never taken over."""
    cookie = secrets.token_urlsafe(32)
    row = BrowserSession(
        user_id=user.id,
        secret_hash=digest(cookie),
        method=method,
        address=address or "",
        created_at=now,
        used_at=now,
        expires_at=now + LONGEST,
    )
    session.add(row)
    session.flush()
    return Begun(row, cookie)


def find(session: Session, cookie: str | None, now: datetime) -> tuple[BrowserSession, User]:
    """Raises NotLoggedIn."""
    row = session.scalar(sa.select(BrowserSession).where(BrowserSession.secret_hash == digest(cookie or "")))
    if row is None or not _lives(row, now):
        raise NotLoggedIn
    return row, session.get_one(User, row.user_id)


def end(session: Session, row: BrowserSession, now: datetime, *, everywhere: bool) -> None:
    """End this session, or every one of its user."""
    mine = sa.update(BrowserSession).where(BrowserSession.ended_at.is_(None))
    which = BrowserSession.user_id == row.user_id if everywhere else BrowserSession.id == row.id
    session.execute(mine.where(which).values(ended_at=now))


def end_all(session: Session, user_id: str, now: datetime) -> None:
    mine = sa.update(BrowserSession).where(BrowserSession.user_id == user_id, BrowserSession.ended_at.is_(None))
    session.execute(mine.values(ended_at=now))


def forget_old(session: Session, now: datetime) -> None:
    """Sessions that ended a day ago are of no more use."""
    session.execute(sa.delete(BrowserSession).where(BrowserSession.expires_at < now - timedelta(days=1)))


def tenants(session: Session, user: User) -> list[Tenant]:
    """Those in which the user holds anything, by name."""
    mine = sa.select(Tenant).where(Tenant.organisation_id == user.organisation_id).order_by(Tenant.name, Tenant.id)
    return [tenant for tenant in session.scalars(mine) if effective_permissions(session, user.id, tenant.id)]


def check_tenant(session: Session, user: User, tenant_id: str) -> None:
    """Raises TenantRefused."""
    if not effective_permissions(session, user.id, tenant_id):
        raise TenantRefused(tenant_id)


def _lives(row: BrowserSession, now: datetime) -> bool:
    return row.ended_at is None and row.expires_at > now and row.used_at + IDLE > now


def prove(session: Session, claims: Mapping[str, object], now: datetime) -> Identity:
    """Who acts in a signed session that was made from a browser's: with all that the user holds. Raises Unauthenticated."""
    row = session.get(BrowserSession, str(claims[CLAIM]))
    if row is None or row.ended_at is not None or row.expires_at <= now:
        raise Unauthenticated("the browser session behind it has ended; log in at /login")
    scope = claims["scope"]
    tenant_id = str(scope.get("id")) if isinstance(scope, Mapping) else ""
    user = session.get_one(User, row.user_id)
    held = effective_permissions(session, user.id, tenant_id)
    return Identity(user.id, tenant_id, user.organisation_id, held, token_id=row.id)


tokens.PROOFS[CLAIM] = prove
