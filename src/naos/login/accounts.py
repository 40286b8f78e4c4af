"""Local accounts: set up through a link, logged in to with a password and a code."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from joserfc.jwk import OctKey
from sqlalchemy.orm import Session

from naos.identity import Identity
from naos.ids import new_secret
from naos.login import sealing, second_factor, sessions
from naos.login.errors import LinkInvalid, LinkRefused, LoginLocked, LoginRefused
from naos.login.models import LocalAccount, LoginLink
from naos.tenancy import members
from naos.tenancy.models import User

LINK_LIFE = timedelta(days=3)
FREE_ATTEMPTS, FIRST_WAIT, LONGEST_WAIT = 5, 30, 900  # attempts; seconds, doubled by each further failure
_REFUSED = "mail address, password and code do not belong together"


@dataclass(frozen=True)
class Link:
    """`token` is shown this once."""

    user: User
    token: str
    expires_at: datetime


@dataclass(frozen=True)
class Prepared:
    """An account whose second factor waits for its first code."""

    user: User
    secret: str
    uri: str


def give_link(session: Session, identity: Identity, user_id: str, now: datetime) -> Link:
    """A link for setting password and second factor up, or up again; the one before is void.

    Raises PermissionMissing, OwnersOnly, LinkRefused, Unknown.
    """
    caller = members.settled(session, identity, "iam_write")
    members.check_organisation_owner(session, caller, "give a log-in link")
    missing = members.effective_permissions(session, caller.user_id, caller.tenant_id) - caller.permissions
    if missing:
        raise LinkRefused(f"yours lacks {len(missing)} of them, such as {min(missing)}")
    user = members.find_user(session, caller, user_id)
    token = new_secret()
    expires_at = now + LINK_LIFE
    session.merge(LoginLink(user_id=user.id, token_hash=sessions.digest(token), expires_at=expires_at))
    session.flush()
    return Link(user, token, expires_at)


def owner_of(session: Session, token: str, now: datetime) -> User:
    """Whose link it is. Raises LinkInvalid."""
    return session.get_one(User, _link(session, token, now).user_id)


def prepare(session: Session, key: OctKey, token: str, password_hash: str, now: datetime) -> Prepared:
    """Take a password through a link and make a second factor for it. The link lasts until `confirm`.

    An account that was ready before is not until then, and its sessions end. Raises LinkInvalid.
    """
    user = owner_of(session, token, now)
    secret = second_factor.new_secret()
    account = LocalAccount(
        user_id=user.id,
        password_hash=password_hash,
        totp=sealing.seal(key, secret),
        totp_confirmed=False,
        totp_step=0,
        recovery=[],
        failures=0,
        locked_until=None,
        changed_at=now,
    )
    session.merge(account)
    sessions.end_all(session, user.id, now)
    session.flush()
    return Prepared(user, secret, second_factor.enrolment(secret, user.email))


def confirm(session: Session, key: OctKey, token: str, code: str, now: datetime) -> list[str]:
    """The first code of the new factor: the account is ready, the link is used; returns the recovery codes.

    Raises LinkInvalid, LoginRefused.
    """
    link = _link(session, token, now)
    account = session.get(LocalAccount, link.user_id, with_for_update=True)
    if account is None or account.totp_confirmed:
        raise LinkInvalid
    step = second_factor.accepted_step(sealing.unseal(key, account.totp), code, now, 0)
    if step is None:
        raise LoginRefused("this is not the code that the second factor shows now; are the clocks right?")
    codes = second_factor.new_recovery_codes()
    account.totp_confirmed, account.totp_step, account.failures, account.locked_until = True, step, 0, None
    account.recovery = [second_factor.digest(entry) for entry in codes]
    user = session.get_one(User, link.user_id)
    user.email_verified = True
    session.delete(link)
    session.flush()
    return codes


def _link(session: Session, token: str, now: datetime) -> LoginLink:
    wanted = sa.select(LoginLink).where(LoginLink.token_hash == sessions.digest(token)).with_for_update()
    link = session.scalar(wanted)
    if link is None or link.expires_at <= now:
        raise LinkInvalid
    return link


@dataclass(frozen=True)
class Attempt:
    """What was typed. `code`: of the second factor, or a recovery code. organisation: where the address is in several."""

    email: str
    password: str
    code: str
    organisation_id: str | None = None


def find_account(session: Session, attempt: Attempt) -> tuple[User, LocalAccount] | None:
    """The account of an address; None when there is none, or one in each of several organisations."""
    wanted = (
        sa.select(User, LocalAccount)
        .join(LocalAccount, LocalAccount.user_id == User.id)
        .where(User.email_key == attempt.email.strip().casefold(), LocalAccount.totp_confirmed)
    )
    if attempt.organisation_id is not None:
        wanted = wanted.where(User.organisation_id == attempt.organisation_id)
    rows = session.execute(wanted.limit(2)).all()
    return (rows[0][0], rows[0][1]) if len(rows) == 1 else None


def known_hash(session: Session, attempt: Attempt) -> str | None:
    """What the password is checked against, outside of any transaction: it takes a tenth of a second."""
    found = find_account(session, attempt)
    return None if found is None else found[1].password_hash


def settle(
    session: Session, key: OctKey, attempt: Attempt, right_for: str | None, now: datetime
) -> User | LoginRefused | LoginLocked:
    """The user, or why not; either way what was learned is in the tables, so the caller's transaction must be kept.

    right_for: the hash that the password was found right for. Two attempts with one code are one success: the account's row
    is locked first.
    """
    found = find_account(session, attempt)
    if found is None:
        return LoginRefused(_REFUSED)
    user, account = found
    session.refresh(account, with_for_update=True)
    if account.locked_until is not None and account.locked_until > now:
        return LoginLocked(account.failures, max(1, round((account.locked_until - now).total_seconds())))
    right = right_for is not None and account.password_hash == right_for
    if right and user.email_verified and _take_code(account, key, attempt.code, now):
        account.failures, account.locked_until = 0, None
        return user
    account.failures += 1
    beyond = account.failures - FREE_ATTEMPTS
    if beyond >= 0:
        account.locked_until = now + timedelta(seconds=min(FIRST_WAIT * 2 ** min(beyond, 10), LONGEST_WAIT))
    return LoginRefused(_REFUSED)


def _take_code(account: LocalAccount, key: OctKey, code: str, now: datetime) -> bool:
    step = second_factor.accepted_step(sealing.unseal(key, account.totp), code, now, account.totp_step)
    if step is not None:
        account.totp_step = step
        return True
    left = second_factor.without(account.recovery, code)
    if left is None:
        return False
    account.recovery = left
    return True
