"""Tables of logging in: local accounts, identity providers, links that set an account up, log-ins under way, browser sessions."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified


def _now() -> datetime:
    return datetime.now(UTC)


def _of_user() -> sa.ForeignKey:
    return sa.ForeignKey("users.id", ondelete="CASCADE")


class LocalAccount(Base):
    """How a user logs in here: a password and a second factor.

    totp: the factor's secret, sealed (see `sealing`). totp_confirmed: the user has shown a code of it. totp_step: of the last
    code that was taken; a code is taken once. recovery: digests of the codes that replace the factor once each.
    failures: since the last success. locked_until: no attempt is looked at before.
    """

    __tablename__ = "local_accounts"
    user_id: Mapped[str] = mapped_column(_of_user(), primary_key=True)
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    totp: Mapped[str] = mapped_column(sa.Text)
    totp_confirmed: Mapped[bool] = mapped_column(default=False)
    totp_step: Mapped[int] = mapped_column(default=0)
    recovery: Mapped[list[str]] = mapped_column(default=list)
    failures: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]
    changed_at: Mapped[datetime] = mapped_column(default=_now)


class LoginLink(Base):
    """Lets a user set password and second factor, once. `token_hash`: sha256 of what the user was given."""

    __tablename__ = "login_links"
    user_id: Mapped[str] = mapped_column(_of_user(), primary_key=True)
    token_hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
    expires_at: Mapped[datetime]


class IdentityProvider(Identified, Base):
    """An OpenID provider that an organisation trusts to tell who its users are. `client_secret`: sealed.

    trust_email: its mail addresses count as verified even where it does not say so itself.
    """

    __tablename__ = "identity_providers"
    __table_args__ = (sa.UniqueConstraint("organisation_id", "name"),)
    organisation_id: Mapped[str] = mapped_column(sa.ForeignKey("organisations.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    issuer: Mapped[str] = mapped_column(sa.String(1024))
    client_id: Mapped[str] = mapped_column(sa.String(255))
    client_secret: Mapped[str] = mapped_column(sa.Text)
    trust_email: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=_now)


class PendingLogin(Base):
    """A log-in that was sent to a provider and has not come back. `browser_hash`: of the cookie that it must come back with.

    verifier: the secret half of PKCE, sealed. return_to: a path of this API.
    """

    __tablename__ = "pending_logins"
    state_hash: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    provider_id: Mapped[str] = mapped_column(sa.ForeignKey("identity_providers.id", ondelete="CASCADE"))
    browser_hash: Mapped[str] = mapped_column(sa.String(64))
    nonce: Mapped[str] = mapped_column(sa.String(64))
    verifier: Mapped[str] = mapped_column(sa.Text)
    return_to: Mapped[str] = mapped_column(sa.String(1024))
    expires_at: Mapped[datetime] = mapped_column(index=True)


class BrowserSession(Identified, Base):
    """A browser that is logged in. `secret_hash`: of the cookie's value. `method`: ``password`` or the provider's name."""

    __tablename__ = "browser_sessions"
    user_id: Mapped[str] = mapped_column(_of_user(), index=True)
    secret_hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
    method: Mapped[str] = mapped_column(sa.String(255))
    address: Mapped[str] = mapped_column(sa.String(64), default="")
    created_at: Mapped[datetime] = mapped_column(default=_now)
    used_at: Mapped[datetime] = mapped_column(default=_now)
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
