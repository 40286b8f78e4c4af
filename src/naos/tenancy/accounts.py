"""The life of an account: invited, confirmed, renamed, deleted. An account belongs to the organisation, not to a tenant.

A new account has no rights. Whoever invites is given a token, once; it is handed to the invited person, who proves with it
that the address is theirs.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.identity import Identity
from naos.ids import new_secret
from naos.names import clean_name, listing
from naos.tenancy import members, rules
from naos.tenancy.errors import AccountExists, AccountVerified, InvitationInvalid, OneselfOnly, OwnerKept
from naos.tenancy.models import Invitation, Tenant, TenantOwner, User

INVITATION_LIFE = timedelta(days=3)


@dataclass(frozen=True)
class Invited:
    """An account that waits for its confirmation. `token`: shown this once, and kept only as a digest."""

    user: User
    token: str
    expires_at: datetime


def invite(session: Session, identity: Identity, *, name: str, email: str, now: datetime) -> Invited:
    """A new account. Raises PermissionMissing, OwnersOnly, AddressInvalid, a name's errors, AccountExists."""
    caller = _owner(session, identity, "invite somebody")
    email = rules.check_address(email)
    mine = sa.select(User).where(User.organisation_id == caller.organisation_id, User.email_key == email.casefold())
    present = session.scalar(mine)
    if present is not None:
        raise AccountExists(present.email, present.name)
    organisation = members.organisation_of(session, caller)
    return _invitation(session, members.ensure_user(session, organisation, name=name, email=email), now)


def invite_again(session: Session, identity: Identity, user_id: str, now: datetime) -> Invited:
    """Another token; the one before is void. Raises PermissionMissing, OwnersOnly, Unknown, AccountVerified."""
    caller = _owner(session, identity, "invite somebody")
    user = members.find_user(session, caller, user_id)
    if user.email_verified:
        raise AccountVerified(user.name, user.email)
    return _invitation(session, user, now)


def confirm(session: Session, token: str, now: datetime) -> User:
    """Confirm the address of the account that was invited with `token`, once. Raises InvitationInvalid."""
    invitation = session.scalar(sa.select(Invitation).where(Invitation.token_hash == _digest(token)).with_for_update())
    if invitation is None or invitation.expires_at <= now:
        raise InvitationInvalid
    user = session.get_one(User, invitation.user_id)
    user.email_verified = True
    session.delete(invitation)
    session.flush()
    return user


def rename(session: Session, identity: Identity, user_id: str, name: str) -> User:
    """Raises PermissionMissing, OwnersOnly, Unknown, a name's errors."""
    caller = members.settled(session, identity, "iam_write")
    user = members.find_user(session, caller, user_id)
    if user.id != caller.user_id:
        members.check_organisation_owner(session, caller, "rename somebody")
    user.name = clean_name(name)
    session.flush()
    return user


def delete(session: Session, identity: Identity, user_id: str) -> None:
    """An account ends with its rights and tokens; what it did stays in the log under its id.

    Raises PermissionMissing, OwnersOnly, Unknown, OneselfOnly, OwnerKept.
    """
    caller = _owner(session, identity, "delete an account")
    user = members.find_user(session, caller, user_id)
    if user.id == caller.user_id:
        raise OneselfOnly("delete the account that one is using")
    owned = ["the organisation"] if members.owns_organisation(session, user.id, user.organisation_id) else []
    mine = sa.select(Tenant.name).join(TenantOwner, TenantOwner.tenant_id == Tenant.id)
    owned += [f"tenant {name!r}" for name in session.scalars(mine.where(TenantOwner.user_id == user.id))]
    if owned:
        raise OwnerKept(user.name, listing(owned))
    members.forget(session, User, user.id)


def _owner(session: Session, identity: Identity, what: str) -> Identity:
    caller = members.settled(session, identity, "iam_write")
    members.check_organisation_owner(session, caller, what)
    return caller


def _invitation(session: Session, user: User, now: datetime) -> Invited:
    token = new_secret()
    expires_at = now + INVITATION_LIFE
    session.merge(Invitation(user_id=user.id, token_hash=_digest(token), expires_at=expires_at, created_at=now))
    session.flush()
    return Invited(user, token, expires_at)


def _digest(token: str) -> str:
    """256 random bits need no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
