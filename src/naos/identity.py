"""Who calls: the identity that a token proves, and the two refusals that go with it."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(frozen=True)
class Identity:
    """A user acting in one tenant through one token. `permissions`: what token and user both hold at this moment.

    address: the client's, as the API heard it; None for a connection without one.
    """

    user_id: str
    tenant_id: str
    organisation_id: str
    permissions: frozenset[str]
    token_id: str
    address: str | None = None


@dataclass(eq=False)
class Unauthenticated(NaosError):
    code: ClassVar[str] = "identity.unauthenticated"
    status: ClassVar[int] = 401
    sentence: ClassVar[str] = "Not logged in: {reason}."
    reason: str


@dataclass(eq=False)
class PermissionMissing(NaosError):
    code: ClassVar[str] = "identity.permission_missing"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = (
        "Forbidden: this call needs {permissions} in the token's tenant, which the token or its user does not hold. "
        "A tenant owner can grant it; a token made before does not gain it."
    )
    permissions: str
