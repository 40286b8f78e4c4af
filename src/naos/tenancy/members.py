"""Organisations, tenants, users, and what each user holds in each tenant."""

import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity.locks import serialise
from naos.database import Base
from naos.errors import Unknown
from naos.identity import Identity, PermissionMissing
from naos.names import clean_name, listing
from naos.tenancy import rules
from naos.tenancy.errors import OwnersOnly
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


_user, _tenant, _feature = User.__table__, Tenant.__table__, TenantFeature.__table__
_owner, _tenant_owner, _assignment = OrganisationOwner.__table__, TenantOwner.__table__, Assignment.__table__
HOLDINGS: tuple[sa.ColumnElement[Any], ...] = (
    (
        sa.exists().where(_owner.c.organisation_id == _tenant.c.organisation_id, _owner.c.user_id == _user.c.id)
        | sa.exists().where(_tenant_owner.c.tenant_id == _tenant.c.id, _tenant_owner.c.user_id == _user.c.id)
    ),
    sa.select(sa.func.aggregate_strings(_assignment.c.permission, ","))
    .where(_assignment.c.user_id == _user.c.id, _assignment.c.tenant_id == _tenant.c.id)
    .correlate(_user, _tenant)
    .scalar_subquery(),
    sa.select(sa.func.aggregate_strings(_feature.c.feature, ","))
    .where(_feature.c.tenant_id == _tenant.c.id)
    .correlate(_tenant)
    .scalar_subquery(),
)
"""What a user holds in a tenant, of a row of both tables: whether they own it, names of permissions, names of features."""

IN_TENANT = _tenant.c.organisation_id == _user.c.organisation_id
"""Users hold something in tenants of their own organisation only."""

_HELD = (
    sa.select(*HOLDINGS)
    .select_from(_user.join(_tenant, IN_TENANT))
    .where(_user.c.id == sa.bindparam("user_id"), _tenant.c.id == sa.bindparam("tenant_id"))
)


def effective_permissions(session: Session, user_id: str, tenant_id: str) -> frozenset[str]:
    """What the user holds in the tenant now; nothing in a tenant of another organisation."""
    row = session.execute(_HELD, {"user_id": user_id, "tenant_id": tenant_id}).first()
    return frozenset() if row is None else held_of(*row)


def held_of(owner: bool | None, assigned: str | None, enabled: str | None) -> frozenset[str]:  # noqa: FBT001 - a row's columns
    """The permissions that the columns `HOLDINGS` of a row stand for."""
    return _held(bool(owner), assigned or "", enabled or "")


@lru_cache(maxsize=1024)
def _held(owner: bool, assigned: str, enabled: str) -> frozenset[str]:  # noqa: FBT001 - positional for the cache
    return rules.effective(owner=owner, assigned=set(assigned.split(",")), enabled=set(enabled.split(",")))


def settled(session: Session, identity: Identity, permission: str) -> Identity:
    """The caller with what they hold at this very moment, in a write that no other change of rights runs beside.

    A route has checked the same a moment before; what it found may have been withdrawn since. Raises PermissionMissing.
    """
    serialise(session)
    held = identity.permissions & effective_permissions(session, identity.user_id, identity.tenant_id)
    if permission not in held:
        raise PermissionMissing(permission)
    return replace(identity, permissions=held)


def organisation_of(session: Session, identity: Identity) -> Organisation:
    return session.get_one(Organisation, identity.organisation_id)


def owns_organisation(session: Session, user_id: str, organisation_id: str) -> bool:
    return session.get(OrganisationOwner, (organisation_id, user_id)) is not None


def owns_tenant(session: Session, user_id: str, tenant: Tenant) -> bool:
    """Whether the user owns the tenant, by itself or with its organisation."""
    direct = session.get(TenantOwner, (tenant.id, user_id)) is not None
    return direct or owns_organisation(session, user_id, tenant.organisation_id)


def organisation_owners(session: Session, organisation_id: str) -> list[User]:
    """The owners of the organisation, by name."""
    mine = sa.select(User).join(OrganisationOwner, OrganisationOwner.user_id == User.id)
    return list(
        session.scalars(mine.where(OrganisationOwner.organisation_id == organisation_id).order_by(User.name, User.id))
    )


def tenant_owners(session: Session, tenant_id: str) -> list[User]:
    """Those who were made owners of the tenant itself, by name; its organisation's own it too."""
    mine = sa.select(User).join(TenantOwner, TenantOwner.user_id == User.id)
    return list(session.scalars(mine.where(TenantOwner.tenant_id == tenant_id).order_by(User.name, User.id)))


def check_organisation_owner(session: Session, identity: Identity, what: str) -> None:
    """Raises OwnersOnly unless the caller owns the organisation."""
    if not owns_organisation(session, identity.user_id, identity.organisation_id):
        owners = organisation_owners(session, identity.organisation_id)
        raise OwnersOnly("the organisation", what, listing(user.name for user in owners))


def find_user(session: Session, identity: Identity, user_id: str) -> User:
    """A user of the caller's organisation. Raises Unknown."""
    user = session.get(User, user_id)
    if user is None or user.organisation_id != identity.organisation_id:
        raise Unknown("user", user_id)
    return user


def find_tenant(session: Session, identity: Identity, tenant_id: str) -> Tenant:
    """A tenant in which the caller holds anything, or that they own. Raises Unknown."""
    tenant = session.get(Tenant, tenant_id)
    if (
        tenant is None
        or tenant.organisation_id != identity.organisation_id
        or not (
            effective_permissions(session, identity.user_id, tenant.id)
            or owns_tenant(session, identity.user_id, tenant)
        )
    ):
        raise Unknown("tenant", tenant_id)
    return tenant


def tenants_of(session: Session, identity: Identity) -> list[Tenant]:
    """The tenants in which the caller's user holds anything, the token's own first, then by name."""
    user_id, organisation_id = identity.user_id, identity.organisation_id
    mine = sa.select(Tenant).where(Tenant.organisation_id == organisation_id).order_by(Tenant.name, Tenant.id)
    every = owns_organisation(session, user_id, organisation_id)
    owned = set(session.scalars(sa.select(TenantOwner.tenant_id).where(TenantOwner.user_id == user_id)))
    held, enabled = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for assigned in session.scalars(sa.select(Assignment).where(Assignment.user_id == user_id)):
        held[assigned.tenant_id].add(assigned.permission)
    features = sa.select(TenantFeature).join(Tenant, Tenant.id == TenantFeature.tenant_id)
    for row in session.scalars(features.where(Tenant.organisation_id == organisation_id)):
        enabled[row.tenant_id].add(row.feature)
    seen = [
        tenant
        for tenant in session.scalars(mine)
        if rules.effective(owner=every or tenant.id in owned, assigned=held[tenant.id], enabled=enabled[tenant.id])
    ]
    return sorted(seen, key=lambda tenant: tenant.id != identity.tenant_id)


def forget(session: Session, kind: type[Tenant] | type[User], identifier: str) -> None:
    """Delete a tenant or a user, and what of any area cannot be without it.

    A row that must point to it goes with it (tokens, rights, log-ins); one that may point to nothing then does.
    """
    target = Base.metadata.tables[kind.__tablename__]
    for table in reversed(Base.metadata.sorted_tables):
        for column in table.columns:
            if any(key.column.table is target for key in column.foreign_keys):
                mine = column == identifier
                session.execute(
                    sa.update(table).where(mine).values({column.name: None})
                    if column.nullable
                    else sa.delete(table).where(mine)
                )
    session.execute(sa.delete(target).where(target.c.id == identifier))
    session.expire_all()
