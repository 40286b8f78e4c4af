"""Owners of organisations and of tenants: who they are, making them, taking the ownership away.

An owner holds every permission of what is enabled, so only somebody who holds all of it makes one. Nobody takes their own
ownership away, and the last owner stays.
"""

from sqlalchemy.orm import Session

from naos.errors import Unknown
from naos.identity import Identity
from naos.names import listing
from naos.tenancy import members, rules
from naos.tenancy.errors import AccountUnverified, OneselfOnly, OwnerLast, OwnersOnly
from naos.tenancy.models import OrganisationOwner, Tenant, TenantOwner, User

MANY = 3
"""More owners of a tenant than these are warned of, not refused."""


def warnings(owners: list[User]) -> list[str]:
    """What should be said of so many owners of a tenant."""
    if len(owners) <= MANY:
        return []
    return [
        f"The tenant has {len(owners)} owners, each of whom holds every permission; more than {MANY} are hard to watch over."
    ]


def add_organisation_owner(session: Session, identity: Identity, user_id: str) -> None:
    """Raises PermissionMissing, OwnersOnly, NotHeld, Unknown, AccountUnverified."""
    caller = members.settled(session, identity, "iam_write")
    members.check_organisation_owner(session, caller, "make another one")
    _check_whole(session, caller)
    members.make_organisation_owner(session, _verified(session, caller, user_id))


def remove_organisation_owner(session: Session, identity: Identity, user_id: str) -> None:
    """What the user holds in tenants by other ways stays. Raises PermissionMissing, OwnersOnly, OneselfOnly, Unknown."""
    caller = members.settled(session, identity, "iam_write")
    members.check_organisation_owner(session, caller, "take an ownership away")
    row = session.get(OrganisationOwner, (caller.organisation_id, members.find_user(session, caller, user_id).id))
    if row is None:
        raise Unknown("owner", user_id)
    if user_id == caller.user_id:
        raise OneselfOnly("take one's own ownership of the organisation away")
    session.delete(row)
    session.flush()


def add_tenant_owner(session: Session, identity: Identity, tenant_id: str, user_id: str) -> None:
    """Raises PermissionMissing, Unknown, OwnersOnly, NotHeld, AccountUnverified."""
    caller = members.settled(session, identity, "iam_write")
    tenant = _owned(session, caller, tenant_id, "make another one")
    _check_whole(session, caller)
    members.make_tenant_owner(session, tenant, _verified(session, caller, user_id))


def remove_tenant_owner(session: Session, identity: Identity, tenant_id: str, user_id: str) -> None:
    """Raises PermissionMissing, Unknown, OwnersOnly, OneselfOnly, OwnerLast."""
    caller = members.settled(session, identity, "iam_write")
    tenant = _owned(session, caller, tenant_id, "take an ownership away")
    row = session.get(TenantOwner, (tenant.id, members.find_user(session, caller, user_id).id))
    if row is None:
        raise Unknown("owner", user_id)
    if user_id == caller.user_id:
        raise OneselfOnly("take one's own ownership of a tenant away")
    owners = members.tenant_owners(session, tenant.id)
    if len(owners) == 1:
        raise OwnerLast(owners[0].name, f"tenant {tenant.name!r}")
    session.delete(row)
    session.flush()


def _owned(session: Session, caller: Identity, tenant_id: str, what: str) -> Tenant:
    """A tenant of which the caller is an owner: the token's own, or any for an owner of the organisation."""
    tenant = members.find_tenant(session, caller, tenant_id)
    if members.owns_organisation(session, caller.user_id, tenant.organisation_id):
        return tenant
    if tenant.id != caller.tenant_id:
        raise Unknown("tenant", tenant_id)
    if not members.owns_tenant(session, caller.user_id, tenant):
        owners = [
            *members.tenant_owners(session, tenant.id),
            *members.organisation_owners(session, tenant.organisation_id),
        ]
        raise OwnersOnly(f"tenant {tenant.name!r}", what, listing(user.name for user in owners))
    return tenant


def _check_whole(session: Session, caller: Identity) -> None:
    """A token that carries a part of its owner's rights does not make an owner, who would hold them all."""
    rules.check_subset(members.effective_permissions(session, caller.user_id, caller.tenant_id), caller.permissions)


def _verified(session: Session, caller: Identity, user_id: str) -> User:
    user = members.find_user(session, caller, user_id)
    if not user.email_verified:
        raise AccountUnverified(user.name, user.email)
    return user
