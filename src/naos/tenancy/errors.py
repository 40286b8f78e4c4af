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


# ----------------------------------------------------------------------------------------------------- owners and accounts


@dataclass(eq=False)
class OwnersOnly(NaosError):
    """`what`: a verb and its object. `owners`: who can."""

    code: ClassVar[str] = "tenancy.owners_only"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = "Forbidden: only an owner of {of} can {what}; ask {owners}."
    of: str
    what: str
    owners: str


@dataclass(eq=False)
class OneselfOnly(NaosError):
    """What nobody does to their own account."""

    code: ClassVar[str] = "tenancy.oneself"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "One cannot {what}; another owner can do it for you."
    what: str


@dataclass(eq=False)
class OwnerKept(NaosError):
    code: ClassVar[str] = "tenancy.owner_kept"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The account of {name} cannot be deleted: it owns {owned}. Take that ownership away first, "
        "which another owner of it can do."
    )
    name: str
    owned: str


@dataclass(eq=False)
class OwnerLast(NaosError):
    code: ClassVar[str] = "tenancy.owner_last"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "{name} is the only owner of {of}, which needs at least one; make somebody else its owner first."
    )
    name: str
    of: str


@dataclass(eq=False)
class OwnerHoldsAll(NaosError):
    code: ClassVar[str] = "tenancy.owner_holds_all"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "{name} is an owner and thereby holds every permission of this tenant; an owner's permissions cannot be changed. "
        "Take the ownership away first."
    )
    name: str


@dataclass(eq=False)
class AccountUnverified(NaosError):
    code: ClassVar[str] = "tenancy.account_unverified"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "{name} has not confirmed {email} yet, and an account without a confirmed address is given no rights. "
        "It is confirmed with the token of its invitation; invite again for a new one."
    )
    name: str
    email: str


@dataclass(eq=False)
class AccountVerified(NaosError):
    code: ClassVar[str] = "tenancy.account_verified"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "{name} has confirmed {email} already; there is nothing to invite to."
    name: str
    email: str


@dataclass(eq=False)
class AccountExists(NaosError):
    code: ClassVar[str] = "tenancy.account_exists"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "An account with the address {email} exists already in this organisation, as {name}; "
        "it can be given rights in any of the organisation's tenants."
    )
    email: str
    name: str


@dataclass(eq=False)
class InvitationInvalid(NaosError):
    """Nothing more is told: whoever guesses learns nothing about who was invited."""

    code: ClassVar[str] = "tenancy.invitation_invalid"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = (
        "Forbidden: this invitation is not valid; it was used, has expired, was replaced by a later one, or never was. "
        "Ask for a new one."
    )


# ----------------------------------------------------------------------------------------------------------------- tenants


@dataclass(eq=False)
class DescriptionTooLong(NaosError):
    code: ClassVar[str] = "tenancy.description_too_long"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "The description has {length} characters and may have at most {maximum}."
    length: int
    maximum: int


@dataclass(eq=False)
class TenantNameTaken(NaosError):
    code: ClassVar[str] = "tenancy.tenant_name_taken"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "The organisation has a tenant named {name!r} already; choose another name."
    name: str


@dataclass(eq=False)
class TenantOccupied(NaosError):
    """`contents`: names by kind."""

    code: ClassVar[str] = "tenancy.tenant_occupied"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Tenant {name!r} is not empty: it has {shown}. Delete these first."
    name: str
    shown: str
    contents: dict[str, list[str]]


@dataclass(eq=False)
class TenantLast(NaosError):
    code: ClassVar[str] = "tenancy.tenant_last"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "{name!r} is the organisation's only tenant, and it needs at least one; make another one first."
    )
    name: str


@dataclass(eq=False)
class FeaturesUnknown(NaosError):
    code: ClassVar[str] = "tenancy.features_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "There is no feature {features}; GET /iam/v2/features lists them all."
    features: str


@dataclass(eq=False)
class FeatureNeeded(NaosError):
    code: ClassVar[str] = "tenancy.feature_needed"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "The feature {feature!r} cannot be left out: without it nobody could manage the tenant's rights any more."
    )
    feature: str


@dataclass(eq=False)
class FeatureUsed(NaosError):
    """`contents`: names by kind."""

    code: ClassVar[str] = "tenancy.feature_used"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The feature {feature!r} cannot be taken from tenant {name!r}: the tenant has {shown}, which nobody could manage "
        "any more. Delete these first."
    )
    feature: str
    name: str
    shown: str
    contents: dict[str, list[str]]


# ------------------------------------------------------------------------------------------------------- allowed addresses


@dataclass(eq=False)
class NetworkInvalid(NaosError):
    code: ClassVar[str] = "tenancy.network_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{text!r} is no network ({reason}); write an address or a network with its length, "
        "such as 203.0.113.7, 203.0.113.0/24 or 2001:db8::/48."
    )
    text: str
    reason: str


@dataclass(eq=False)
class NetworkListed(NaosError):
    code: ClassVar[str] = "tenancy.network_listed"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "{network} is among the allowed addresses already; change its description instead."
    network: str


@dataclass(eq=False)
class NetworksTooMany(NaosError):
    code: ClassVar[str] = "tenancy.networks_too_many"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The tenant has {maximum} allowed addresses, which is as many as there can be; put several into one wider network."
    )
    maximum: int


@dataclass(eq=False)
class CallerLockedOut(NaosError):
    code: ClassVar[str] = "tenancy.caller_locked_out"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "With this change the tenant would take calls from {networks} only, and this call comes from {address}: you would "
        "lock yourself out. Allow that address first, or force the change with force=true."
    )
    networks: str
    address: str


@dataclass(eq=False)
class AddressRefused(NaosError):
    code: ClassVar[str] = "tenancy.address_refused"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = (
        "Forbidden: this tenant takes calls only from its allowed addresses, and {address} is none of them. "
        "A holder of console_public_access_write can add it from one of those."
    )
    address: str
