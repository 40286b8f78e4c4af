"""Giving and taking permissions, tenant by tenant.

Nobody passes on what they do not hold: neither by a permission, nor by a token, nor by an ownership. All changes of
rights run one after the other, so what was checked still holds when it is written.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.errors import Unknown
from naos.identity import Identity
from naos.tenancy import members, rules
from naos.tenancy.errors import AccountUnverified, OwnerHoldsAll
from naos.tenancy.models import Assignment, Tenant, User


def grant(session: Session, grantor: Identity, user_id: str, wanted: Iterable[str]) -> None:
    """Give a user permissions in the grantor's tenant.

    Raises PermissionMissing, NotHeld, Unknown, AccountUnverified, OwnerHoldsAll.
    """
    names, user = _checked(session, grantor, user_id, wanted)
    if not user.email_verified:
        raise AccountUnverified(user.name, user.email)
    for name in names:
        session.merge(Assignment(user_id=user.id, tenant_id=grantor.tenant_id, permission=name))
    session.flush()


def withdraw(session: Session, grantor: Identity, user_id: str, unwanted: Iterable[str]) -> None:
    """Take permissions in the grantor's tenant back; tokens lose them with their next call.

    Raises PermissionMissing, NotHeld, Unknown, OwnerHoldsAll.
    """
    names, user = _checked(session, grantor, user_id, unwanted)
    session.execute(
        sa.delete(Assignment).where(
            Assignment.user_id == user.id,
            Assignment.tenant_id == grantor.tenant_id,
            Assignment.permission.in_(names),
        )
    )


def check_tenant(identity: Identity, tenant_id: str) -> None:
    """Rights are given in the tenant of the token that gives them. Raises Unknown."""
    if tenant_id != identity.tenant_id:
        raise Unknown("tenant", tenant_id)


def _checked(session: Session, grantor: Identity, user_id: str, wanted: Iterable[str]) -> tuple[list[str], User]:
    names = list(wanted)
    caller = members.settled(session, grantor, "iam_write")
    rules.check_grant(names, caller.permissions)
    user = members.find_user(session, caller, user_id)
    if members.owns_tenant(session, user.id, session.get_one(Tenant, grantor.tenant_id)):
        raise OwnerHoldsAll(user.name)
    return names, user
