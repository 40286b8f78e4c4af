"""Writes of `/iam/v2`: tenants, accounts, owners and rights. All answer at once, without an activity."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.errors import Unknown
from naos.identity import Identity
from naos.tenancy import accounts, grants, members, owners, rules, tenants, wire
from naos.tenancy import administration_wire as own
from naos.tenancy.dependencies import AuthorityOf
from naos.tenancy.permissions import permissions
from naos.tenancy.tenants import TenantRequest

router = APIRouter()

Reader = Annotated[Identity, Depends(require("iam_read"))]
Writer = Annotated[Identity, Depends(require("iam_read", "iam_write"))]

# ----------------------------------------------------------------------------------------------------------------- tenants


@router.post("/tenants", status_code=201)
def create_tenant(body: own.TenantCreation, identity: Writer, services: ServicesOf) -> own.TenantDetail:
    """Make a tenant, of which the caller becomes the first owner. For owners of the organisation."""
    wanted = TenantRequest(body.name, body.description, body.snc, body.features)
    with services.database.write() as session:
        return own.detail(session, tenants.create(session, identity, wanted))


@router.get("/tenants/{tenant_id}")
def read_tenant(tenant_id: ResourceId, identity: Reader, services: ServicesOf) -> own.TenantDetail:
    """A tenant in which the caller holds anything, with its features and owners."""
    with services.database.read() as session:
        return own.detail(session, members.find_tenant(session, identity, tenant_id))


@router.patch("/tenants/{tenant_id}")
def change_tenant(
    tenant_id: ResourceId, body: own.TenantChange, identity: Writer, services: ServicesOf
) -> own.TenantDetail:
    """Rename or describe a tenant. For owners of the organisation."""
    with services.database.write() as session:
        found = tenants.change(session, identity, tenant_id, name=body.name, description=body.description)
        return own.detail(session, found)


@router.put("/tenants/{tenant_id}/features")
def set_features(
    tenant_id: ResourceId, body: own.FeatureChoice, identity: Writer, services: ServicesOf
) -> own.TenantDetail:
    """Enable exactly these features; one of which the tenant still has objects stays. For owners of the organisation."""
    with services.database.write() as session:
        return own.detail(session, tenants.set_features(session, identity, tenant_id, body.features))


@router.delete("/tenants/{tenant_id}")
def delete_tenant(tenant_id: ResourceId, identity: Writer, services: ServicesOf) -> wire.Deleted:
    """Delete an empty tenant, with its rights and tokens. For owners of the organisation."""
    with services.database.write() as session:
        tenants.delete(session, identity, tenant_id)
    return wire.Deleted(id=tenant_id)


# ---------------------------------------------------------------------------------------------------------------- accounts


@router.post("/users", status_code=201)
def invite_user(
    body: own.UserInvitation, identity: Writer, services: ServicesOf, giver: AuthorityOf
) -> own.InvitedUser:
    """Make an account without any rights; its invitation is in this answer only. For owners of the organisation."""
    with services.database.write() as session:
        made = accounts.invite(session, identity, name=body.name, email=body.email, now=giver.now())
        return own.invited(made)


@router.post("/users/{user_id}/invitations", status_code=201)
def invite_again(user_id: ResourceId, identity: Writer, services: ServicesOf, giver: AuthorityOf) -> own.InvitedUser:
    """A new invitation of an account that is not confirmed; the one before is void. For owners of the organisation."""
    with services.database.write() as session:
        return own.invited(accounts.invite_again(session, identity, user_id, giver.now()))


@router.post("/auth/verification")
def verify_user(body: own.Verification, services: ServicesOf, giver: AuthorityOf) -> wire.UserWire:
    """Confirm the address of an account with the token of its invitation, once. Needs no session."""
    with services.database.write() as session:
        return wire.user(accounts.confirm(session, body.token, giver.now()))


@router.patch("/users/{user_id}")
def rename_user(user_id: ResourceId, body: own.UserChange, identity: Writer, services: ServicesOf) -> wire.UserWire:
    """Rename an account: one's own, or any for owners of the organisation."""
    with services.database.write() as session:
        return wire.user(accounts.rename(session, identity, user_id, body.name))


@router.delete("/users/{user_id}")
def delete_user(user_id: ResourceId, identity: Writer, services: ServicesOf) -> wire.Deleted:
    """Delete an account that owns nothing, with its rights and tokens. For owners of the organisation."""
    with services.database.write() as session:
        accounts.delete(session, identity, user_id)
    return wire.Deleted(id=user_id)


# ------------------------------------------------------------------------------------------------------------------ owners


@router.get("/companies/{company_id}/owners")
def list_organisation_owners(company_id: ResourceId, identity: Reader, services: ServicesOf) -> list[wire.UserWire]:
    """Who owns the organisation."""
    _check_company(company_id, identity)
    with services.database.read() as session:
        return own.users(members.organisation_owners(session, company_id))


@router.put("/companies/{company_id}/owners/{user_id}")
def add_organisation_owner(
    company_id: ResourceId, user_id: ResourceId, identity: Writer, services: ServicesOf
) -> list[wire.UserWire]:
    """Make a user an owner of the organisation, and so of its tenants. For its owners."""
    _check_company(company_id, identity)
    with services.database.write() as session:
        owners.add_organisation_owner(session, identity, user_id)
        return own.users(members.organisation_owners(session, company_id))


@router.delete("/companies/{company_id}/owners/{user_id}")
def remove_organisation_owner(
    company_id: ResourceId, user_id: ResourceId, identity: Writer, services: ServicesOf
) -> list[wire.UserWire]:
    """Take the ownership of the organisation from another owner. For its owners."""
    _check_company(company_id, identity)
    with services.database.write() as session:
        owners.remove_organisation_owner(session, identity, user_id)
        return own.users(members.organisation_owners(session, company_id))


@router.get("/tenants/{tenant_id}/owners")
def list_tenant_owners(tenant_id: ResourceId, identity: Reader, services: ServicesOf) -> own.OwnerList:
    """Who was made an owner of the tenant; the organisation's owners own it too."""
    with services.database.read() as session:
        return own.owner_list(session, members.find_tenant(session, identity, tenant_id).id)


@router.put("/tenants/{tenant_id}/owners/{user_id}")
def add_tenant_owner(
    tenant_id: ResourceId, user_id: ResourceId, identity: Writer, services: ServicesOf
) -> own.OwnerList:
    """Make a user an owner of the tenant. For its owners."""
    with services.database.write() as session:
        owners.add_tenant_owner(session, identity, tenant_id, user_id)
        return own.owner_list(session, tenant_id)


@router.delete("/tenants/{tenant_id}/owners/{user_id}")
def remove_tenant_owner(
    tenant_id: ResourceId, user_id: ResourceId, identity: Writer, services: ServicesOf
) -> own.OwnerList:
    """Take the ownership of the tenant from another owner. For its owners; the last one stays."""
    with services.database.write() as session:
        owners.remove_tenant_owner(session, identity, tenant_id, user_id)
        return own.owner_list(session, tenant_id)


# ------------------------------------------------------------------------------------------------------------------ rights


@router.post("/assignments/tenant", status_code=201)
def give_rights(body: own.Grant, identity: Writer, services: ServicesOf) -> list[wire.TenantAssignment]:
    """Give a user permissions in the session's tenant; the answer is all that the user holds there then."""
    grants.check_tenant(identity, body.tenant_id)
    names = [permission.name for permission in rules.of_roles(body.role_ids)]
    with services.database.write() as session:
        grants.grant(session, identity, body.user_id, names)
        held = members.effective_permissions(session, body.user_id, body.tenant_id)
    return _held(body.user_id, body.tenant_id, held)


@router.delete("/assignments/tenant")
def take_rights(
    identity: Writer,
    services: ServicesOf,
    user: Annotated[ResourceId, Query(alias="userId")],
    tenant: Annotated[ResourceId, Query(alias="tenantId")],
    role: Annotated[list[str], Query(alias="roleId", max_length=1000)],
) -> list[wire.TenantAssignment]:
    """Take permissions (`roleId`, repeated) in the session's tenant back; the answer is what the user still holds."""
    grants.check_tenant(identity, tenant)
    names = [permission.name for permission in rules.of_roles(role)]
    with services.database.write() as session:
        grants.withdraw(session, identity, user, names)
        held = members.effective_permissions(session, user, tenant)
    return _held(user, tenant, held)


def _held(user_id: str, tenant_id: str, held: frozenset[str]) -> list[wire.TenantAssignment]:
    return [
        wire.TenantAssignment(user_id=user_id, tenant_id=tenant_id, role_id=permission.id)
        for permission in permissions().values()
        if permission.name in held
    ]


def _check_company(company_id: str, identity: Identity) -> None:
    if company_id != identity.organisation_id:
        raise Unknown("company", company_id)
