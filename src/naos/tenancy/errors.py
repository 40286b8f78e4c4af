"""What tenancy refuses, and why."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class RolesMissing(NaosError):
    code: ClassVar[str] = "tenancy.roles_missing"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "A token needs at least one role; it carries none of its own."


@dataclass(eq=False)
class RolesUnknown(NaosError):
    code: ClassVar[str] = "tenancy.roles_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "No role has the id {roles}; GET /iam/v2/roles lists them all."
    roles: str


@dataclass(eq=False)
class NotHeld(NaosError):
    """Nobody passes on a right that they do not hold."""

    code: ClassVar[str] = "tenancy.not_held"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = (
        "Forbidden: one can only pass on permissions that one holds; you do not hold {permissions}."
    )
    permissions: str


@dataclass(eq=False)
class ExpiryPassed(NaosError):
    code: ClassVar[str] = "tenancy.expiry_passed"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "The token would expire at {expires_at}, which has passed (it is {now}); give a later instant."
    )
    expires_at: str
    now: str


@dataclass(eq=False)
class ExpiryTooFar(NaosError):
    code: ClassVar[str] = "tenancy.expiry_too_far"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "The token would expire at {expires_at}; a token lives at most 12 months ({days} days), so until {latest}."
    )
    expires_at: str
    days: int
    latest: str


@dataclass(eq=False)
class KeyUnusable(NaosError):
    """A signing key that naos will not work with; it never starts with one."""

    code: ClassVar[str] = "tenancy.key_unusable"
    status: ClassVar[int] = 500
    sentence: ClassVar[str] = "The signing key {path} cannot be used: {reason}. {remedy}"
    path: str
    reason: str
    remedy: str


@dataclass(eq=False)
class AddressInvalid(NaosError):
    code: ClassVar[str] = "tenancy.address_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{address!r} is not an e-mail address: it needs one @ with something on both sides, no spaces, "
        "and at most {maximum} characters."
    )
    address: str
    maximum: int
