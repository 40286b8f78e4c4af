"""Tables of tenancy: organisations, tenants, users, what they may do, their tokens, and the keys that sign sessions."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified


def _now() -> datetime:
    return datetime.now(UTC)


class Organisation(Identified, Base):
    """The contracting entity; the wire API calls it a company."""

    __tablename__ = "organisations"
    name: Mapped[str] = mapped_column(sa.String(255), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=_now)


class Tenant(Identified, Base):
    """A grouping of resources. `snc`: under the stricter SecNumCloud rules."""

    __tablename__ = "tenants"
    __table_args__ = (sa.UniqueConstraint("organisation_id", "name"),)
    organisation_id: Mapped[str] = mapped_column(sa.ForeignKey("organisations.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    description: Mapped[str] = mapped_column(sa.String(1024), default="")
    snc: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=_now)


class TenantFeature(Base):
    """A feature enabled on a tenant, by the name that `data/permissions.toml` gives it."""

    __tablename__ = "tenant_features"
    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenants.id"), primary_key=True)
    feature: Mapped[str] = mapped_column(sa.String(64), primary_key=True)


class User(Identified, Base):
    """An account, global to its organisation. `email_key`: the address in one case, so that it exists once."""

    __tablename__ = "users"
    __table_args__ = (sa.UniqueConstraint("organisation_id", "email_key"),)
    organisation_id: Mapped[str] = mapped_column(sa.ForeignKey("organisations.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    email: Mapped[str] = mapped_column(sa.String(320))
    email_key: Mapped[str] = mapped_column(sa.String(320))
    email_verified: Mapped[bool] = mapped_column(default=False)
    type: Mapped[str] = mapped_column(sa.String(32), default="LocalAccount")
    internal_id: Mapped[str] = mapped_column(sa.String(36), unique=True)
    source: Mapped[list[str]] = mapped_column(default=list)
    source_id: Mapped[str] = mapped_column(sa.String(255), default="")
    created_at: Mapped[datetime] = mapped_column(default=_now)


class Invitation(Base):
    """The one valid invitation of an account that has not confirmed its address. `token_hash`: SHA-256, in hex."""

    __tablename__ = "invitations"
    user_id: Mapped[str] = mapped_column(sa.ForeignKey("users.id"), primary_key=True)
    token_hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(default=_now)


class OrganisationOwner(Base):
    """Owner of the organisation, and thereby of each of its tenants."""

    __tablename__ = "organisation_owners"
    organisation_id: Mapped[str] = mapped_column(sa.ForeignKey("organisations.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(sa.ForeignKey("users.id"), primary_key=True)


class TenantOwner(Base):
    """Owner of a tenant: holds every permission of the features enabled on it."""

    __tablename__ = "tenant_owners"
    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenants.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(sa.ForeignKey("users.id"), primary_key=True, index=True)


class Assignment(Base):
    """A permission that a user holds in a tenant."""

    __tablename__ = "permission_assignments"
    user_id: Mapped[str] = mapped_column(sa.ForeignKey("users.id"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenants.id"), primary_key=True, index=True)
    permission: Mapped[str] = mapped_column(sa.String(64), primary_key=True)


class PersonalAccessToken(Identified, Base):
    """A credential of one user in one tenant. `roles`: permission ids in the order in which they were given."""

    __tablename__ = "personal_access_tokens"
    user_id: Mapped[str] = mapped_column(sa.ForeignKey("users.id"), index=True)
    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    secret_hash: Mapped[str] = mapped_column(sa.String(255))
    roles: Mapped[list[str]]
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(default=_now)
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class SigningKey(Identified, Base):
    """A key that signs sessions. `file`: its name in the key folder. `accepted_until`: null for the present key.

    sessions_end_at: when the longest of the sessions that it signed ends; null before it signs one.
    """

    __tablename__ = "signing_keys"
    algorithm: Mapped[str] = mapped_column(sa.String(16))
    file: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[datetime] = mapped_column(default=_now)
    accepted_until: Mapped[datetime | None]
    sessions_end_at: Mapped[datetime | None]


class AllowedAddress(Identified, Base):
    """A network that a tenant takes calls from; a tenant without any takes them from everywhere.

    network: in its one spelling, such as ``203.0.113.0/24`` or ``2001:db8::/48``.
    """

    __tablename__ = "allowed_addresses"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "network"),)
    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenants.id"))
    network: Mapped[str] = mapped_column(sa.String(64))
    description: Mapped[str] = mapped_column(sa.String(255), default="")
    created_at: Mapped[datetime] = mapped_column(default=_now)
