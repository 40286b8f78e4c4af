"""The shapes of tenancy on the wire. Names and types are those that the public Terraform provider decodes."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from naos.ids import ResourceId
from naos.names import Name
from naos.tenancy.models import Organisation, PersonalAccessToken, Tenant, User
from naos.tenancy.permissions import Feature, Permission, features
from naos.tenancy.rules import to_milliseconds


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Credential(BaseModel):
    """Id and secret of a personal access token."""

    id: str = Field(max_length=255)
    secret: str = Field(max_length=255)


class Company(_Wire):
    id: str
    name: str


class TenantWire(_Wire):
    id: str
    name: str
    snc: bool
    company_id: str


class UserWire(_Wire):
    id: str
    internal_id: str
    name: str
    type: str
    source: list[str]
    source_id: str
    email_verified: bool
    email: str


class Role(_Wire):
    """A permission. `description` is naos's own addition."""

    id: str
    name: str
    description: str


class FeatureWire(_Wire):
    id: str
    name: str
    sub_features: list["FeatureWire"]


class FeatureAssignment(_Wire):
    feature_id: str
    tenant_id: str


class TenantAssignment(_Wire):
    user_id: str
    tenant_id: str
    role_id: str


class TokenWire(_Wire):
    """A personal access token. `expirationDate`: milliseconds since the epoch, as text. `secret`: only when made."""

    id: str
    name: str
    secret: str | None = None
    roles: list[str]
    expiration_date: str
    user_id: str
    tenant_id: str
    tenant_name: str


class TokenCreation(_Wire, extra="forbid"):
    """`roles`: ids of permissions that the caller holds. `expirationDate`: milliseconds since the epoch.

    tenantId: the tenant to make it in, where the caller holds these permissions too; left out, the session's own.
    """

    name: Name
    roles: list[str]
    expiration_date: int
    tenant_id: ResourceId | None = None


class Deleted(_Wire):
    id: str


def company(organisation: Organisation) -> Company:
    return Company(id=organisation.id, name=organisation.name)


def tenant(row: Tenant) -> TenantWire:
    return TenantWire(id=row.id, name=row.name, snc=row.snc, company_id=row.organisation_id)


def user(row: User) -> UserWire:
    return UserWire(
        id=row.id,
        internal_id=row.internal_id,
        name=row.name,
        type=row.type,
        source=row.source,
        source_id=row.source_id,
        email_verified=row.email_verified,
        email=row.email,
    )


def role(permission: Permission) -> Role:
    return Role(id=permission.id, name=permission.name, description=permission.description)


def token(row: PersonalAccessToken, tenant_name: str, secret: str | None = None) -> TokenWire:
    return TokenWire(
        id=row.id,
        name=row.name,
        secret=secret,
        roles=row.roles,
        expiration_date=str(to_milliseconds(row.expires_at)),
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        tenant_name=tenant_name,
    )


def feature_tree() -> list[FeatureWire]:
    every = features().values()

    def wire(feature: Feature) -> FeatureWire:
        below = [wire(child) for child in every if child.parent == feature.name]
        return FeatureWire(id=feature.id, name=feature.name, sub_features=below)

    return [wire(feature) for feature in every if feature.parent is None]
