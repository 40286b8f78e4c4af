"""The life of a tenant: made, renamed, given features or rid of them, deleted once it is empty. Organisation owners only."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.identity import Identity
from naos.names import clean_name
from naos.tenancy import holdings, members, rules
from naos.tenancy.errors import (
    DescriptionTooLong,
    FeatureNeeded,
    FeatureUsed,
    TenantLast,
    TenantNameTaken,
    TenantOccupied,
)
from naos.tenancy.models import Tenant, TenantFeature, User
from naos.tenancy.permissions import features

NEEDED = ("iam",)
LONGEST_DESCRIPTION = 1024


@dataclass(frozen=True)
class TenantRequest:
    """A tenant to make. `features`: ids or names; one with sub-features stands for all of them."""

    name: str
    description: str
    snc: bool
    features: Sequence[str]


def create(session: Session, identity: Identity, wanted: TenantRequest) -> Tenant:
    """The caller becomes its first owner.

    Raises PermissionMissing, OwnersOnly, a name's errors, DescriptionTooLong, TenantNameTaken, FeaturesUnknown,
    FeatureNeeded.
    """
    caller = _owner(session, identity, "make a tenant")
    enabled = _checked_features(wanted.features)
    name, description = _free_name(session, caller, wanted.name), _checked_description(wanted.description)
    organisation = members.organisation_of(session, caller)
    tenant = members.ensure_tenant(session, organisation, name, snc=wanted.snc, features=enabled)
    tenant.description = description
    members.make_tenant_owner(session, tenant, session.get_one(User, caller.user_id))
    holdings.prepare(session, tenant.id)
    return tenant


def change(
    session: Session, identity: Identity, tenant_id: str, *, name: str | None, description: str | None
) -> Tenant:
    """What is None stays. Raises PermissionMissing, OwnersOnly, Unknown, a name's errors, and those of `create`."""
    caller = _owner(session, identity, "change a tenant")
    tenant = members.find_tenant(session, caller, tenant_id)
    if name is not None and clean_name(name) != tenant.name:
        tenant.name = _free_name(session, caller, name)
    if description is not None:
        tenant.description = _checked_description(description)
    session.flush()
    return tenant


def set_features(session: Session, identity: Identity, tenant_id: str, wanted: Sequence[str]) -> Tenant:
    """Enable exactly `wanted`. Rights of a feature that is taken away rest, and are back with it.

    Raises PermissionMissing, OwnersOnly, Unknown, FeaturesUnknown, FeatureNeeded, FeatureUsed.
    """
    caller = _owner(session, identity, "change a tenant's features")
    tenant = members.find_tenant(session, caller, tenant_id)
    enabled = set(_checked_features(wanted))
    present = {row.feature: row for row in enabled_rows(session, tenant.id)}
    for name in present.keys() - enabled:
        found = holdings.contents(session, tenant.id, name)
        if found:
            raise FeatureUsed(features()[name].title, tenant.name, holdings.shown(found), found)
        session.delete(present[name])
    session.add_all(TenantFeature(tenant_id=tenant.id, feature=name) for name in enabled - present.keys())
    session.flush()
    return tenant


def delete(session: Session, identity: Identity, tenant_id: str) -> None:
    """Raises PermissionMissing, OwnersOnly, Unknown, TenantLast, TenantOccupied."""
    caller = _owner(session, identity, "delete a tenant")
    tenant = members.find_tenant(session, caller, tenant_id)
    mine = sa.select(sa.func.count()).where(Tenant.organisation_id == tenant.organisation_id)
    if session.scalar(mine) == 1:
        raise TenantLast(tenant.name)
    found = holdings.contents(session, tenant.id)
    if found:
        raise TenantOccupied(tenant.name, holdings.shown(found), found)
    holdings.clear(session, tenant.id)
    session.flush()
    members.forget(session, Tenant, tenant.id)


def enabled_rows(session: Session, tenant_id: str) -> Sequence[TenantFeature]:
    return session.scalars(sa.select(TenantFeature).where(TenantFeature.tenant_id == tenant_id)).all()


def _owner(session: Session, identity: Identity, what: str) -> Identity:
    caller = members.settled(session, identity, "iam_write")
    members.check_organisation_owner(session, caller, what)
    return caller


def _checked_features(wanted: Sequence[str]) -> list[str]:
    names = rules.of_features(wanted)
    for needed in NEEDED:
        if needed not in names:
            raise FeatureNeeded(features()[needed].title)
    return names


def _checked_description(text: str) -> str:
    if not text.strip():
        return ""
    if len(text) > LONGEST_DESCRIPTION:
        raise DescriptionTooLong(len(text), LONGEST_DESCRIPTION)
    return text.strip()


def _free_name(session: Session, caller: Identity, wanted: str) -> str:
    name = clean_name(wanted)
    mine = sa.select(Tenant.id).where(Tenant.organisation_id == caller.organisation_id, Tenant.name == name)
    if session.scalar(mine) is not None:
        raise TenantNameTaken(name)
    return name
