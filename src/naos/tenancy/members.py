"""Organisations, tenants, users, and what each user holds in each tenant."""

import uuid
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.errors import Unknown
from naos.identity import Identity
from naos.names import clean_name
from naos.tenancy import rules
from naos.tenancy.models import (
    Assignment,
    Organisation,
    OrganisationOwner,
    Tenant,
    TenantFeature,
    TenantOwner,
    User,
)
from naos.tenancy.permissions import leaf_features


def ensure_organisation(session: Session, name: str) -> Organisation:
    """The organisation of that name, made when it is absent."""
    name = clean_name(name)
    found = session.scalar(sa.select(Organisation).where(Organisation.name == name))
    if found is None:
        found = Organisation(name=name)
        session.add(found)
        session.flush()
    return found


def ensure_tenant(
    session: Session, organisation: Organisation, name: str, *, snc: bool = False, features: Iterable[str] | None = None
) -> Tenant:
    """The tenant of that name, made with `features` (None: all) when it is absent; an existing one is left as it is."""
    name = clean_name(name)
    mine = sa.select(Tenant).where(Tenant.organisation_id == organisation.id, Tenant.name == name)
    found = session.scalar(mine)
    if found is None:
        found = Tenant(organisation_id=organisation.id, name=name, snc=snc)
        session.add(found)
        session.flush()
        enabled = leaf_features() if features is None else features
        session.add_all(TenantFeature(tenant_id=found.id, feature=feature) for feature in enabled)
        session.flush()
    return found


def ensure_user(session: Session, organisation: Organisation, *, name: str, email: str) -> User:
    """The organisation's user of that address (any case), made without any right when absent."""
    email = rules.check_address(email)
    mine = sa.select(User).where(User.organisation_id == organisation.id, User.email_key == email.casefold())
    found = session.scalar(mine)
    if found is None:
        found = User(
            organisation_id=organisation.id,
            name=clean_name(name),
            email=email,
            email_key=email.casefold(),
            internal_id=str(uuid.uuid4()),
        )
        session.add(found)
        session.flush()
    return found


def make_organisation_owner(session: Session, user: User) -> None:
    session.merge(OrganisationOwner(organisation_id=user.organisation_id, user_id=user.id))
    session.flush()


def make_tenant_owner(session: Session, tenant: Tenant, user: User) -> None:
    session.merge(TenantOwner(tenant_id=tenant.id, user_id=user.id))
    session.flush()


def effective_permissions(session: Session, user_id: str, tenant_id: str) -> frozenset[str]:
    """What the user holds in the tenant now; nothing in a tenant of another organisation."""
    home = session.execute(
        sa.select(User.organisation_id)
        .join(Tenant, Tenant.organisation_id == User.organisation_id)
        .where(User.id == user_id, Tenant.id == tenant_id)
    ).scalar()
    if home is None:
        return frozenset()
    owner = session.scalar(
        sa.select(
            sa.exists().where(OrganisationOwner.organisation_id == home, OrganisationOwner.user_id == user_id)
            | sa.exists().where(TenantOwner.tenant_id == tenant_id, TenantOwner.user_id == user_id)
        )
    )
    assigned = session.scalars(
        sa.select(Assignment.permission).where(Assignment.user_id == user_id, Assignment.tenant_id == tenant_id)
    )
    enabled = session.scalars(sa.select(TenantFeature.feature).where(TenantFeature.tenant_id == tenant_id))
    return rules.effective(owner=bool(owner), assigned=set(assigned), enabled=set(enabled))


def tenants_of(session: Session, identity: Identity) -> list[Tenant]:
    """The tenants in which the caller's user holds anything, the token's own first, then by name."""
    mine = sa.select(Tenant).where(Tenant.organisation_id == identity.organisation_id).order_by(Tenant.name, Tenant.id)
    seen = [tenant for tenant in session.scalars(mine) if effective_permissions(session, identity.user_id, tenant.id)]
    return sorted(seen, key=lambda tenant: tenant.id != identity.tenant_id)


def grant(session: Session, grantor: Identity, user_id: str, wanted: Iterable[str]) -> None:
    """Give a user permissions in the grantor's tenant. Raises PermissionMissing, NotHeld, Unknown."""
    names = list(wanted)
    rules.check_grant(names, grantor.permissions)
    _member(session, grantor, user_id)
    for name in names:
        session.merge(Assignment(user_id=user_id, tenant_id=grantor.tenant_id, permission=name))
    session.flush()


def withdraw(session: Session, grantor: Identity, user_id: str, unwanted: Iterable[str]) -> None:
    """Take permissions in the grantor's tenant back; tokens lose them with their next call."""
    names = list(unwanted)
    rules.check_grant(names, grantor.permissions)
    _member(session, grantor, user_id)
    session.execute(
        sa.delete(Assignment).where(
            Assignment.user_id == user_id,
            Assignment.tenant_id == grantor.tenant_id,
            Assignment.permission.in_(names),
        )
    )


def _member(session: Session, grantor: Identity, user_id: str) -> User:
    user = session.get(User, user_id)
    if user is None or user.organisation_id != grantor.organisation_id:
        raise Unknown("user", user_id)
    return user
