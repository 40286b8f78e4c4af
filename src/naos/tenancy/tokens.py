"""Personal access tokens and the short sessions that they are exchanged for.

A token's secret is checked by argon2 once a login; each call then carries a signed session (a JWT of half an hour). The
session only says who it is: what it may do is read from the tables on every call, so that a revoked token or a
withdrawn permission is gone with the next one.
"""

import hashlib
import secrets
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
from naos.ids import new_secret, normal_id
from naos.names import clean_name
from naos.tenancy import access, keys, rules
from naos.tenancy.members import HOLDINGS, IN_TENANT, effective_permissions, find_tenant, held_of
from naos.tenancy.models import AllowedAddress, PersonalAccessToken, SigningKey, Tenant, User

# 19 MiB, 2 passes: about 20 ms on one core. The secret is 256 random bits, so this guards a stolen table, not a guess.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
_REFUSED = "the token id or its secret is wrong"
_KEY_REFUSED = "the session was signed by a key that is not in use; log in again"
_FOREIGN = "the bearer token is not one of this controller's sessions"


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
    secret = new_secret()
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
class Signed:
    """A session whose signature was found good under that key."""

    key_id: str
    key: OctKey
    claims: Mapping[str, object]


class SignedSessions:
    """The sessions of late whose signatures were checked, by digest: who holds the memory gets none that works.

    Only what the bytes prove by themselves: whether key, token and rights still stand is looked up at each call.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._found: OrderedDict[bytes, Signed] = OrderedDict()

    def get(self, bearer: str) -> Signed | None:
        return self._found.get(_digest(bearer))

    def keep(self, bearer: str, signed: Signed) -> Signed:
        self._found[_digest(bearer)] = signed
        while len(self._found) > self._most:
            with suppress(KeyError):  # another thread was faster
                self._found.popitem(last=False)
        return signed


def _digest(bearer: str) -> bytes:
    return hashlib.sha256(bearer.encode("utf-8", "surrogatepass")).digest()


_key, _token, _network = SigningKey.__table__, PersonalAccessToken.__table__, AllowedAddress.__table__
_user, _tenant = User.__table__, Tenant.__table__
_GATE = sa.select(
    _key.c.file,
    sa.select(sa.func.aggregate_strings(_network.c.network, ","))
    .where(_network.c.tenant_id == sa.bindparam("tenant_id"))
    .scalar_subquery()
    .label("networks"),
).where(
    _key.c.id == sa.bindparam("key_id"),
    sa.or_(
        _key.c.accepted_until.is_(None), _key.c.accepted_until > sa.bindparam("now", type_=_key.c.accepted_until.type)
    ),
)
"""A key that is still accepted, and the networks that a tenant takes calls from."""
_TOKEN = (
    sa.select(
        _token.c.user_id,
        _token.c.tenant_id,
        _user.c.organisation_id,
        _token.c.roles,
        _token.c.revoked_at,
        _token.c.expires_at,
        *HOLDINGS,
    )
    .select_from(
        _token.outerjoin(_user, _user.c.id == _token.c.user_id).outerjoin(
            _tenant, sa.and_(_tenant.c.id == _token.c.tenant_id, IN_TENANT)
        )
    )
    .where(_token.c.id == sa.bindparam("token_id"))
)
"""A token with what its user holds in its tenant."""


@dataclass(frozen=True)
class Authority:
    """Gives out sessions and tells whom they prove. `key_folder`: see `keys`; `now`: the wall clock, in UTC."""

    database: Database
    key_folder: Path
    lifetime: timedelta
    now: Callable[[], datetime] = utc_now
    signed: SignedSessions = field(default_factory=SignedSessions)

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
            signed = self.signed.get(bearer) or self._verified(session, bearer, now)
            claims, scope = signed.claims, signed.claims["scope"]
            tenant_id = str(scope.get("id")) if isinstance(scope, Mapping) else ""
            gate = (
                session.connection()
                .execute(_GATE, {"key_id": signed.key_id, "tenant_id": tenant_id, "now": now})
                .first()
            )
            if gate is None:
                raise Unauthenticated(_KEY_REFUSED)
            if keys.read_key(self.key_folder / gate.file).raw_value != signed.key.raw_value:
                claims = self._verified(session, bearer, now).claims  # the key's file is another one than it was
            _check_claims(claims, now)
            identity = _identity(session, claims, now)
            if identity.tenant_id == tenant_id:
                access.check_listed(gate.networks, address)
            else:
                access.check(session, identity.tenant_id, address)
            return replace(identity, address=address)

    def _verified(self, session: Session, bearer: str, now: datetime) -> Signed:
        """What a session says, after its signature was checked; remembered. Raises Unauthenticated."""
        found: list[tuple[str, OctKey]] = []

        def find_key(guest: GuestProtocol) -> OctKey:
            key_id = normal_id(str(guest.headers().get("kid"))) or ""
            key = keys.accepted_key(session, self.key_folder, key_id, now)
            if key is None:
                raise Unauthenticated(_KEY_REFUSED)
            found.append((key_id, key))
            return key

        try:
            claims = jwt.decode(bearer, find_key, algorithms=[keys.ALGORITHM]).claims
        except (JoseError, ValueError) as error:
            raise Unauthenticated(_FOREIGN) from error
        _check_claims(claims, now)
        return self.signed.keep(bearer, Signed(*found[-1], claims))


def _check_claims(claims: Mapping[str, object], now: datetime) -> None:
    registry = jwt.JWTClaimsRegistry(now=int(now.timestamp()), exp={"essential": True}, scope={"essential": True})
    try:
        # When it was signed says nothing that the signature does not; another controller's clock may be ahead of this one.
        registry.validate({name: value for name, value in claims.items() if name != "iat"})
    except ExpiredTokenError as error:
        raise Unauthenticated("the session has expired; log in again") from error
    except (JoseError, ValueError) as error:
        raise Unauthenticated(_FOREIGN) from error


def _identity(session: Session, claims: Mapping[str, object], now: datetime) -> Identity:
    for claim, prove in PROOFS.items():
        if claim in claims:
            return prove(session, claims, now)
    raise Unauthenticated("the session stands for nothing that this controller knows")


def _of_token(session: Session, claims: Mapping[str, object], now: datetime) -> Identity:
    token = session.connection().execute(_TOKEN, {"token_id": str(claims["patId"])}).first()
    if token is None or token.revoked_at is not None or token.expires_at <= now:
        raise Unauthenticated("the personal access token behind this session was deleted or has expired")
    if token.organisation_id is None:
        raise Unauthenticated("the user behind this session no longer exists")
    user_id, tenant_id, organisation_id, roles, _, _, *holdings = token
    permissions = rules.of_token(roles, held_of(*holdings))
    return Identity(user_id, tenant_id, organisation_id, permissions, token_id=str(claims["patId"]))


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
