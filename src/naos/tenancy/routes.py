"""Logging in, and reading who is who: `/iam/v2`."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from pydantic import ValidationError

from naos.api.authentication import require
from naos.api.client_address import client_address
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.errors import Unknown
from naos.identity import Identity
from naos.ids import normal_id
from naos.tenancy import access_routes, administration_routes, members, tokens, wire
from naos.tenancy.dependencies import AuthorityOf
from naos.tenancy.models import Organisation, Tenant, TenantFeature, User
from naos.tenancy.permissions import features, permissions, permissions_by_id
from naos.tenancy.tokens import TokenRequest

router = APIRouter(prefix="/iam/v2", tags=["Identities and permissions"])

Reader = Annotated[Identity, Depends(require("iam_read"))]
# Terraform's token resource works with `iam_offline_access` alone, so that permission reads tokens too.
TokenReader = Annotated[Identity, Depends(require(("iam_read", "iam_offline_access")))]
TokenWriter = Annotated[Identity, Depends(require("iam_offline_access"))]


@router.post(
    "/auth/personal_access_token",
    response_class=PlainTextResponse,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": wire.Credential.model_json_schema()}
                for kind in ("application/json", "application/x-www-form-urlencoded")
            },
        }
    },
)
async def login(request: Request, giver: AuthorityOf) -> str:
    """Exchange a personal access token for a session: the answer is the bare JWT, as text."""
    form = request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
    try:
        credential = (
            wire.Credential.model_validate(dict(await request.form()))
            if form
            else wire.Credential.model_validate_json(await request.body())
        )
    except ValidationError as error:
        faults = [{"loc": ("body", *fault["loc"]), "msg": fault["msg"]} for fault in error.errors(include_input=False)]
        raise RequestValidationError(faults) from error
    return await run_in_threadpool(giver.login, credential.id, credential.secret, client_address(request))


@router.get("/companies/{company_id}")
def read_company(company_id: ResourceId, identity: Reader, services: ServicesOf) -> wire.Company:
    """The caller's organisation."""
    with services.database.read() as session:
        found = session.get(Organisation, company_id)
        if found is None or found.id != identity.organisation_id:
            raise Unknown("company", company_id)
        return wire.company(found)


@router.get("/tenants")
def list_tenants(identity: Reader, services: ServicesOf) -> list[wire.TenantWire]:
    """The tenants in which the caller holds anything; the session's own comes first."""
    with services.database.read() as session:
        return [wire.tenant(tenant) for tenant in members.tenants_of(session, identity)]


@router.get("/users")
def list_users(
    identity: Reader, services: ServicesOf, company: Annotated[str | None, Query(alias="companyId")] = None
) -> list[wire.UserWire]:
    """The users of the caller's organisation."""
    if company not in (None, identity.organisation_id):
        return []
    with services.database.read() as session:
        mine = sa.select(User).where(User.organisation_id == identity.organisation_id).order_by(User.name, User.id)
        return [wire.user(user) for user in session.scalars(mine)]


@router.get("/users/{user_id}")
def read_user(user_id: ResourceId, identity: Reader, services: ServicesOf) -> wire.UserWire:
    """A user of the caller's organisation."""
    with services.database.read() as session:
        found = session.get(User, user_id)
        if found is None or found.organisation_id != identity.organisation_id:
            raise Unknown("user", user_id)
        return wire.user(found)


@router.get("/roles")
def list_roles(_identity: Reader) -> list[wire.Role]:
    """Every permission there is."""
    return [wire.role(permission) for permission in permissions().values()]


@router.get("/roles/{role_id}")
def read_role(role_id: ResourceId, _identity: Reader) -> wire.Role:
    """One permission."""
    found = permissions_by_id().get(role_id)
    if found is None:
        raise Unknown("role", role_id)
    return wire.role(found)


@router.get("/features")
def list_features(_identity: Reader) -> list[wire.FeatureWire]:
    """What a tenant can have enabled, as a tree."""
    return wire.feature_tree()


@router.get("/features/assignments")
def list_feature_assignments(
    identity: Reader, services: ServicesOf, tenant: Annotated[str, Query(alias="tenantId")]
) -> list[wire.FeatureAssignment]:
    """What a tenant has enabled."""
    with services.database.read() as session:
        if tenant not in {seen.id for seen in members.tenants_of(session, identity)}:
            return []
        enabled = set(session.scalars(sa.select(TenantFeature.feature).where(TenantFeature.tenant_id == tenant)))
    shown = enabled | {features()[name].parent for name in enabled if name in features()}
    return [
        wire.FeatureAssignment(feature_id=feature.id, tenant_id=tenant)
        for feature in features().values()
        if feature.name in shown
    ]


@router.get("/assignments/tenant")
def list_tenant_assignments(
    identity: Reader,
    services: ServicesOf,
    user: Annotated[str, Query(alias="userId")],
    tenant: Annotated[str, Query(alias="tenantId")],
    role: Annotated[str | None, Query(alias="roleId")] = None,
) -> list[wire.TenantAssignment]:
    """What a user holds in a tenant."""
    with services.database.read() as session:
        if tenant not in {seen.id for seen in members.tenants_of(session, identity)}:
            return []
        held = members.effective_permissions(session, normal_id(user) or "", tenant)
    return [
        wire.TenantAssignment(user_id=user, tenant_id=tenant, role_id=permission.id)
        for permission in permissions().values()
        if permission.name in held and role in (None, permission.id)
    ]


@router.get("/personal_access_tokens", response_model_exclude_none=True)
def list_tokens(identity: TokenReader, services: ServicesOf) -> list[wire.TokenWire]:
    """The caller's tokens in this tenant; those of all its users for a holder of `iam_write`."""
    with services.database.read() as session:
        name = session.scalars(sa.select(Tenant.name).where(Tenant.id == identity.tenant_id)).one()
        return [wire.token(token, name) for token in tokens.visible_tokens(session, identity)]


@router.get("/personal_access_tokens/{token_id}", response_model_exclude_none=True)
def read_token(token_id: ResourceId, identity: TokenReader, services: ServicesOf) -> wire.TokenWire:
    """One token, without its secret."""
    with services.database.read() as session:
        name = session.scalars(sa.select(Tenant.name).where(Tenant.id == identity.tenant_id)).one()
        return wire.token(tokens.find_token(session, identity, token_id), name)


@router.post("/personal_access_tokens", status_code=201)
def create_token(
    body: wire.TokenCreation, identity: TokenWriter, services: ServicesOf, giver: AuthorityOf
) -> wire.TokenWire:
    """Make a token of the caller in this tenant, or in another. Its secret is in this answer and never shown again."""
    wanted = TokenRequest(name=body.name, roles=body.roles, expires_at=body.expiration_date, tenant_id=body.tenant_id)
    with services.database.write() as session:
        issued = tokens.create_token(session, identity, wanted, giver.now())
        name = session.scalars(sa.select(Tenant.name).where(Tenant.id == issued.token.tenant_id)).one()
    return wire.token(issued.token, name, issued.secret)


@router.delete("/personal_access_tokens/{token_id}")
def delete_token(token_id: ResourceId, identity: TokenWriter, services: ServicesOf, giver: AuthorityOf) -> wire.Deleted:
    """Delete a token; its sessions end with their next call."""
    with services.database.write() as session:
        tokens.revoke_token(session, identity, token_id, giver.now())
    return wire.Deleted(id=token_id)


for _more in (administration_routes.router, access_routes.router):
    router.include_router(_more)
