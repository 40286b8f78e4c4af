"""Identity providers of an organisation, and the log-ins that are under way to them."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from joserfc.jwk import OctKey
from sqlalchemy.orm import Session

from naos.errors import NameTaken, Unknown
from naos.identity import Identity
from naos.login import oidc, sealing, sessions
from naos.login.errors import LoginRefused
from naos.login.models import IdentityProvider, LocalAccount, PendingLogin
from naos.login.oidc import Person
from naos.names import clean_name
from naos.tenancy import members
from naos.tenancy.models import User

PENDING_LIFE = timedelta(minutes=10)
FEDERATED = "FederatedAccount"


@dataclass(frozen=True)
class Started:
    """state and nonce go to the provider and come back; `browser` is the cookie that ties the answer to who asked."""

    state: str
    nonce: str
    verifier: str
    browser: str


@dataclass(frozen=True)
class Returned:
    """A log-in that came back to the browser that began it. Its state is used up."""

    provider: IdentityProvider
    nonce: str
    verifier: str
    return_to: str


def of_organisation(session: Session, organisation_id: str) -> list[IdentityProvider]:
    mine = sa.select(IdentityProvider).where(IdentityProvider.organisation_id == organisation_id)
    return list(session.scalars(mine.order_by(IdentityProvider.name)))


def find(session: Session, identity: Identity, provider_id: str) -> IdentityProvider:
    """Raises Unknown."""
    provider = session.get(IdentityProvider, provider_id)
    if provider is None or provider.organisation_id != identity.organisation_id:
        raise Unknown("identity provider", provider_id)
    return provider


def add(
    session: Session,
    identity: Identity,
    key: OctKey,
    *,
    name: str,
    issuer: str,
    client_id: str,
    client_secret: str,
    trust_email: bool,
) -> IdentityProvider:
    """Trust a provider. Raises PermissionMissing, OwnersOnly, a name's errors, NameTaken, IssuerInvalid."""
    caller = _owner(session, identity)
    name = clean_name(name)
    if any(provider.name == name for provider in of_organisation(session, caller.organisation_id)):
        raise NameTaken("identity provider", name)
    provider = IdentityProvider(
        organisation_id=caller.organisation_id,
        name=name,
        issuer=oidc.check_issuer(issuer),
        client_id=client_id,
        client_secret=sealing.seal(key, client_secret),
        trust_email=trust_email,
    )
    session.add(provider)
    session.flush()
    return provider


def remove(session: Session, identity: Identity, provider_id: str) -> None:
    """Trust it no more; sessions that it began go on until they end. Raises PermissionMissing, OwnersOnly, Unknown."""
    session.delete(find(session, _owner(session, identity), provider_id))
    session.flush()


def _owner(session: Session, identity: Identity) -> Identity:
    caller = members.settled(session, identity, "iam_write")
    members.check_organisation_owner(session, caller, "change its identity providers")
    return caller


def for_address(session: Session, email: str) -> list[IdentityProvider]:
    """The providers of the organisations that know this mail address."""
    known = sa.select(User.organisation_id).where(User.email_key == email.strip().casefold())
    wanted = sa.select(IdentityProvider).where(IdentityProvider.organisation_id.in_(known))
    return list(session.scalars(wanted.order_by(IdentityProvider.name, IdentityProvider.id)))


def start(session: Session, key: OctKey, provider: IdentityProvider, return_to: str, now: datetime) -> Started:
    """Note a log-in that a browser is sent away with."""
    session.execute(sa.delete(PendingLogin).where(PendingLogin.expires_at <= now))
    started = Started(
        state=secrets.token_urlsafe(32),
        nonce=secrets.token_urlsafe(32),
        verifier=secrets.token_urlsafe(48),
        browser=secrets.token_urlsafe(32),
    )
    session.add(
        PendingLogin(
            state_hash=sessions.digest(started.state),
            provider_id=provider.id,
            browser_hash=sessions.digest(started.browser),
            nonce=started.nonce,
            verifier=sealing.seal(key, started.verifier),
            return_to=return_to,
            expires_at=now + PENDING_LIFE,
        )
    )
    session.flush()
    return started


def take_back(session: Session, key: OctKey, state: str, browser: str | None, now: datetime) -> Returned:
    """The log-in that `state` names, once. Raises LoginRefused."""
    wanted = sa.select(PendingLogin).where(PendingLogin.state_hash == sessions.digest(state)).with_for_update()
    pending = session.scalar(wanted)
    if pending is None or pending.expires_at <= now:
        raise LoginRefused("this answer of the identity provider is to no log-in under way here; begin again at /login")
    if not secrets.compare_digest(pending.browser_hash, sessions.digest(browser or "")):
        raise LoginRefused("it was begun in another browser; begin again at /login")
    provider = session.get_one(IdentityProvider, pending.provider_id)
    session.delete(pending)
    session.flush()
    return Returned(provider, pending.nonce, sealing.unseal(key, pending.verifier), pending.return_to)


def person_to_user(session: Session, provider: IdentityProvider, person: Person) -> User:
    """The account of whom the provider names. Raises LoginRefused.

    An account belongs to issuer and subject from its first log-in on; until then it is found by its mail address, which the
    provider must have verified or be trusted to. Nobody is let in who was not invited.
    """
    source = f"{provider.issuer}|{person.subject}"
    mine = sa.select(User).where(User.organisation_id == provider.organisation_id)
    bound = session.scalar(mine.where(User.source_id == source))
    if bound is not None:
        return bound
    if not (person.email_verified or provider.trust_email):
        raise LoginRefused(
            f"{provider.name} does not say that it has verified the mail address, so it cannot tell which account is yours; "
            "an organisation owner can add it with `trustEmail` when it verifies every address"
        )
    user = session.scalar(mine.where(User.email_key == person.email.casefold()))
    if user is None:
        raise LoginRefused(f"no account was made for {person.email}; an organisation owner can invite you")
    if user.source_id:
        raise LoginRefused(f"the account of {person.email} belongs to another identity")
    if session.get(LocalAccount, user.id) is not None:
        raise LoginRefused(f"the account of {person.email} logs in with a password here")
    user.source_id, user.source, user.type, user.email_verified = source, [provider.name], FEDERATED, True
    session.flush()
    return user
