"""The first organisation, tenant, owner and token of a platform."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.identity import Identity
from naos.tenancy import members, rules
from naos.tenancy.models import PersonalAccessToken
from naos.tenancy.permissions import permissions
from naos.tenancy.tokens import TokenRequest, create_token, utc_now

TOKEN_NAME = "bootstrap"  # noqa: S105 - a name, not a secret


@dataclass(frozen=True)
class Bootstrapped:
    """What is there now. `secret` is None when the token existed already: only its first maker learns it."""

    organisation_id: str
    tenant_id: str
    user_id: str
    token_id: str
    secret: str | None


def bootstrap(
    session: Session,
    *,
    organisation: str,
    tenant: str,
    owner_name: str,
    owner_email: str,
    snc: bool = True,
    renew_token: bool = False,
) -> Bootstrapped:
    """Make what is missing of one organisation, tenant, owner and token with every permission; leave what exists.

    Store the secret before the session commits (see `save_credential`): a crash in between then leaves a file that no
    token answers to, and the next run makes a fresh pair. `renew_token`: revoke the present token and make
    another, for a lost file.
    """
    company = members.ensure_organisation(session, organisation)
    home = members.ensure_tenant(session, company, tenant, snc=snc)
    owner = members.ensure_user(session, company, name=owner_name, email=owner_email)
    owner.email_verified = True
    members.make_organisation_owner(session, owner)
    members.make_tenant_owner(session, home, owner)
    now = utc_now()
    present = _present_token(session, owner.id, home.id, now)
    if present is not None and renew_token:
        present.revoked_at = now
        present = None
    if present is not None:
        return Bootstrapped(company.id, home.id, owner.id, present.id, None)
    held = members.effective_permissions(session, owner.id, home.id)
    creator = Identity(owner.id, home.id, company.id, held, token_id="")
    issued = create_token(
        session,
        creator,
        TokenRequest(
            name=TOKEN_NAME,
            roles=[permission.id for name, permission in permissions().items() if name in held],
            expires_at=rules.to_milliseconds(now + rules.LONGEST_LIFE),
        ),
        now,
    )
    return Bootstrapped(company.id, home.id, owner.id, issued.token.id, issued.secret)


def save_credential(path: Path, token_id: str, secret: str) -> None:
    """Write ``id:secret`` to a file that only its owner can read: whole, or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{token_id}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{token_id}:{secret}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def load_credential(path: Path) -> tuple[str, str]:
    """Token id and secret as `save_credential` wrote them. Raises OSError, ValueError for a file of another shape."""
    token_id, _, secret = path.read_text(encoding="ascii").strip().partition(":")
    if not token_id or not secret:
        raise ValueError(f"{path} does not hold a token: one line of id:secret is expected")
    return token_id, secret


def _present_token(session: Session, user_id: str, tenant_id: str, now: datetime) -> PersonalAccessToken | None:
    return session.scalars(
        sa.select(PersonalAccessToken).where(
            PersonalAccessToken.user_id == user_id,
            PersonalAccessToken.tenant_id == tenant_id,
            PersonalAccessToken.name == TOKEN_NAME,
            PersonalAccessToken.revoked_at.is_(None),
            PersonalAccessToken.expires_at > now,
        )
    ).first()
