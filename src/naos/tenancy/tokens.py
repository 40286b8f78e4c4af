"""Personal access tokens and the short sessions that they are exchanged for.

A token's secret is checked by argon2 once a login; each call then carries a signed session (a JWT of half an hour). The
session only says who it is: what it may do is read from the tables on every call, so that a revoked token or a
withdrawn permission is gone with the next one.
"""

import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import GuestProtocol, OctKey
from sqlalchemy.orm import Session

from naos.database import Database
from naos.errors import Unknown
from naos.identity import Identity, Unauthenticated
from naos.ids import normal_id
from naos.names import clean_name
from naos.tenancy import access, keys, rules
from naos.tenancy.members import effective_permissions, find_tenant
from naos.tenancy.models import PersonalAccessToken, Tenant, User

# 19 MiB, 2 passes: about 20 ms on one core. The secret is 256 random bits, so this guards a stolen table, not a guess.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
_REFUSED = "the token id or its secret is wrong"


def utc_now() -> datetime:
    return datetime.now(UTC)


def steady(now: Callable[[], datetime], monotonic: Callable[[], float]) -> Callable[[], datetime]:
    """The wall clock, but never earlier than the time that has passed since this call.

    So a wall clock that is set back does not bring expired tokens, sessions and keys back to life. One that was ahead and
    is put right counts at once.
    """
    start, begun = now(), monotonic()

    def at_least() -> datetime:
        return max(now(), start + timedelta(seconds=monotonic() - begun))

    return at_least


@dataclass(frozen=True)
class Issued:
    """A new token and its secret, which nobody can show again."""

    token: PersonalAccessToken
    secret: str


@dataclass(frozen=True)
class TokenRequest:
    """A token to make. `roles`: permission ids, kept in this order. `expires_at`: milliseconds since the epoch.

    tenant_id: one in which the creator holds the permissions too; None is the tenant that the creator acts in.
    """

    name: str
    roles: Sequence[str]
    expires_at: int
    tenant_id: str | None = None


def create_token(session: Session, creator: Identity, request: TokenRequest, now: datetime) -> Issued:
    """A token of the creator. It carries no more than the creator acts with now, in whichever tenant it is.

    Raises a name's errors, RolesMissing, RolesUnknown, NotHeld, ExpiryPassed, ExpiryTooFar, Unknown.
    """
    tenant_id = request.tenant_id or creator.tenant_id
    wanted = [permission.name for permission in rules.of_roles(request.roles)]
    rules.check_subset(wanted, creator.permissions)
    if tenant_id != creator.tenant_id:
        tenant_id = find_tenant(session, creator, tenant_id).id
        rules.check_subset(wanted, effective_permissions(session, creator.user_id, tenant_id))
    secret = secrets.token_urlsafe(32)
    token = PersonalAccessToken(
        user_id=creator.user_id,
        tenant_id=tenant_id,
        name=clean_name(request.name),
        secret_hash=_HASHER.hash(secret),
        roles=list(request.roles),
        expires_at=rules.check_expiry(request.expires_at, now),
        created_at=now,
    )
    session.add(token)
    session.flush()
    return Issued(token, secret)


def visible_tokens(session: Session, identity: Identity) -> list[PersonalAccessToken]:
    """The tokens of the caller's user in the caller's tenant; all of the tenant's for a holder of `iam_write`."""
    mine = (
        sa.select(PersonalAccessToken)
        .where(PersonalAccessToken.tenant_id == identity.tenant_id, PersonalAccessToken.revoked_at.is_(None))
        .order_by(PersonalAccessToken.created_at, PersonalAccessToken.id)
    )
    if "iam_write" not in identity.permissions:
        mine = mine.where(PersonalAccessToken.user_id == identity.user_id)
    return list(session.scalars(mine))


def find_token(session: Session, identity: Identity, token_id: str) -> PersonalAccessToken:
    """Raises Unknown for an absent or revoked token and for one that the caller may not see."""
    for token in visible_tokens(session, identity):
        if token.id == token_id:
            return token
    raise Unknown("personal access token", token_id)


def revoke_token(session: Session, identity: Identity, token_id: str, now: datetime) -> None:
    """Its sessions end with their next call. Raises Unknown."""
    find_token(session, identity, token_id).revoked_at = now


@dataclass(frozen=True)
class Authority:
    """Gives out sessions and tells whom they prove. `key_folder`: see `keys`; `now`: the wall clock, in UTC."""

    database: Database
    key_folder: Path
    lifetime: timedelta
    now: Callable[[], datetime] = utc_now

    def open(self) -> None:
        """Make or check the signing keys. Raises KeyUnusable."""
        with self.database.write() as session:
            keys.open_keys(session, self.key_folder, self.now())

    def login(self, token_id: str, secret: str, address: str | None = None) -> str:
        """A session for a token's id and secret, from the client's `address`. Raises Unauthenticated, AddressRefused."""
        now = self.now()
        with self.database.read() as session:
            token = session.get(PersonalAccessToken, normal_id(token_id) or "")
        # An unknown id costs the same time as a wrong secret.
        matches = _matches(token.secret_hash if token else _decoy(), secret)
        if token is None or not matches:
            raise Unauthenticated(_REFUSED)
        if token.revoked_at is not None:
            raise Unauthenticated("this token was deleted; make another one")
        if token.expires_at <= now:
            expired = token.expires_at.isoformat(timespec="seconds")
            raise Unauthenticated(f"this token expired at {expired}; make another one")
        with self.database.write() as session:
            access.check(session, token.tenant_id, address)
            session.execute(
                sa.update(PersonalAccessToken).where(PersonalAccessToken.id == token.id).values(last_used_at=now)
            )
        return self.issue(token)

    def issue(self, token: PersonalAccessToken) -> str:
        """A signed session of `token`, no longer than the token itself lives."""
        return self.sign("patId", token.id, token.user_id, token.tenant_id, token.expires_at)

    def sign(self, claim: str, identifier: str, user_id: str, tenant_id: str, latest: datetime) -> str:
        """A signed session of what `claim` names (see PROOFS), in one tenant, that ends at `latest` or before."""
        now = self.now()
        ends = min(now + self.lifetime, latest)
        with self.database.write() as session:
            key_id, key = keys.sign_until(session, self.key_folder, ends)
            company = session.scalar(sa.select(Tenant.organisation_id).where(Tenant.id == tenant_id))
        claims = {
            "iat": int(now.timestamp()),
            "exp": int(ends.timestamp()),
            "jti": str(uuid.uuid4()),
            claim: identifier,
            "userId": user_id,
            "companyId": company,
            "scope": {"id": tenant_id},
        }
        return jwt.encode({"alg": keys.ALGORITHM, "kid": key_id}, claims, key)

    def identify(self, bearer: str, address: str | None = None) -> Identity:
        """Whom a session proves that calls from `address`, with what token and user hold now.

        Raises Unauthenticated, AddressRefused.
        """
        now = self.now()
        with self.database.read() as session:

            def find_key(guest: GuestProtocol) -> OctKey:
                key = keys.accepted_key(session, self.key_folder, normal_id(str(guest.headers().get("kid"))) or "", now)
                if key is None:
                    raise Unauthenticated("the session was signed by a key that is not in use; log in again")
                return key

            identity = _identity(session, _claims(bearer, find_key, now), now)
            access.check(session, identity.tenant_id, address)
            return replace(identity, address=address)


def _claims(bearer: str, find_key: Callable[[GuestProtocol], OctKey], now: datetime) -> dict[str, object]:
    registry = jwt.JWTClaimsRegistry(now=int(now.timestamp()), exp={"essential": True}, scope={"essential": True})
    try:
        decoded = jwt.decode(bearer, find_key, algorithms=[keys.ALGORITHM])
        # When it was signed says nothing that the signature does not; another controller's clock may be ahead of this one.
        registry.validate({name: value for name, value in decoded.claims.items() if name != "iat"})
    except ExpiredTokenError as error:
        raise Unauthenticated("the session has expired; log in again") from error
    except (JoseError, ValueError) as error:
        raise Unauthenticated("the bearer token is not one of this controller's sessions") from error
    return decoded.claims


def _identity(session: Session, claims: dict[str, object], now: datetime) -> Identity:
    for claim, prove in PROOFS.items():
        if claim in claims:
            return prove(session, claims, now)
    raise Unauthenticated("the session stands for nothing that this controller knows")


def _of_token(session: Session, claims: Mapping[str, object], now: datetime) -> Identity:
    token = session.get(PersonalAccessToken, str(claims["patId"]))
    if token is None or token.revoked_at is not None or token.expires_at <= now:
        raise Unauthenticated("the personal access token behind this session was deleted or has expired")
    user = session.get(User, token.user_id)
    if user is None:
        raise Unauthenticated("the user behind this session no longer exists")
    held = effective_permissions(session, token.user_id, token.tenant_id)
    return Identity(
        user_id=token.user_id,
        tenant_id=token.tenant_id,
        organisation_id=user.organisation_id,
        permissions=rules.of_token(token.roles, held),
        token_id=token.id,
    )


Proof = Callable[[Session, Mapping[str, object], datetime], Identity]
PROOFS: dict[str, Proof] = {"patId": _of_token}
"""By the claim that names it: who acts in a session of that kind, with what they hold now. Raises Unauthenticated."""


def _matches(secret_hash: str, secret: str) -> bool:
    try:
        return _HASHER.verify(secret_hash, secret)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


@cache
def _decoy() -> str:
    return _HASHER.hash(secrets.token_urlsafe(32))
