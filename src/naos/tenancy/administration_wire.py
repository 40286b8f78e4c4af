"""The shapes of tenancy's writes: tenants, accounts, owners, rights, allowed addresses. They are naos's own."""

from typing import Annotated

from pydantic import Field, Strict
from sqlalchemy.orm import Session

from naos.ids import ResourceId
from naos.names import Name
from naos.tenancy import owners, tenants
from naos.tenancy.accounts import Invited
from naos.tenancy.members import tenant_owners
from naos.tenancy.models import AllowedAddress, Tenant, User
from naos.tenancy.permissions import features
from naos.tenancy.wire import TenantWire, UserWire, user
from naos.wire import Request, Wire

Description = Annotated[str, Field(max_length=tenants.LONGEST_DESCRIPTION)]


class TenantCreation(Request):
    """`features`: ids or names; one with sub-features stands for all of them. `snc`: cannot be changed later."""

    name: Name
    description: Description = ""
    snc: Annotated[bool, Strict()] = False
    features: list[str] = Field(max_length=100)


class TenantChange(Request):
    """What is left out stays."""

    name: Name | None = None
    description: Description | None = None


class FeatureChoice(Request):
    """`features`: exactly what shall be enabled, as ids or names."""

    features: list[str] = Field(max_length=100)


class OwnerList(Wire):
    """`warnings`: what should be thought about; empty when there is nothing."""

    owners: list[UserWire]
    warnings: list[str]


class TenantDetail(TenantWire):
    """`features`: names of what is enabled. `warnings`: what should be thought about."""

    description: str
    features: list[str]
    owners: list[UserWire]
    warnings: list[str]


class UserInvitation(Request):
    name: Name
    email: str = Field(max_length=1000)


class UserChange(Request):
    name: Name


class Invitation(Wire):
    """`token`: in this answer only. The invited person sends it to POST /iam/v2/auth/verification until `expiresAt`."""

    token: str
    expires_at: str


class InvitedUser(Wire):
    user: UserWire
    invitation: Invitation


class Verification(Request):
    """`token`: of the invitation."""

    token: str = Field(max_length=255)


class Grant(Request):
    """`roleIds`: ids of permissions, each of which the caller holds. `tenantId`: the session's own."""

    user_id: ResourceId
    tenant_id: ResourceId
    role_ids: list[str] = Field(max_length=1000)


class AddressCreation(Request):
    """`cidr`: a network, or one address. `force`: also when the caller's own address would then be refused."""

    cidr: str = Field(max_length=1000)
    description: str = Field(default="", max_length=255)
    force: Annotated[bool, Strict()] = False


class AddressChange(Request):
    description: str = Field(max_length=255)


class AddressWire(Wire):
    id: str
    cidr: str
    description: str
    created_at: str


def owner_list(session: Session, tenant_id: str) -> OwnerList:
    """The owners of a tenant itself, and what is to be said of their number."""
    found = tenant_owners(session, tenant_id)
    return OwnerList(owners=[user(each) for each in found], warnings=owners.warnings(found))


def detail(session: Session, row: Tenant) -> TenantDetail:
    enabled = {each.feature for each in tenants.enabled_rows(session, row.id)}
    owned = owner_list(session, row.id)
    return TenantDetail(
        id=row.id,
        name=row.name,
        snc=row.snc,
        company_id=row.organisation_id,
        description=row.description,
        features=[name for name in features() if name in enabled],
        owners=owned.owners,
        warnings=owned.warnings,
    )


def invited(made: Invited) -> InvitedUser:
    expires_at = made.expires_at.isoformat(timespec="seconds")
    return InvitedUser(user=user(made.user), invitation=Invitation(token=made.token, expires_at=expires_at))


def users(rows: list[User]) -> list[UserWire]:
    return [user(row) for row in rows]


def address(row: AllowedAddress) -> AddressWire:
    return AddressWire(id=row.id, cidr=row.network, description=row.description, created_at=row.created_at.isoformat())
