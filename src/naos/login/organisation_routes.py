"""What an organisation's owners set up for log-ins: identity providers, and links for local accounts."""

from typing import Annotated

from fastapi import APIRouter, Depends
from joserfc.jwk import OctKey

from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.identity import Identity
from naos.login import accounts, browser, providers, sealing, wire
from naos.login.browser import KeyOf, OwnUrl
from naos.login.models import IdentityProvider
from naos.login.oidc import Registration
from naos.tenancy.dependencies import AuthorityOf
from naos.tenancy.wire import Deleted

router = APIRouter(prefix="/iam/v2", tags=["Log-in"])
Reader = Annotated[Identity, Depends(require("iam_read"))]
Writer = Annotated[Identity, Depends(require("iam_read", "iam_write"))]
_CALLBACK = "/login/v1/oidc/callback"


def registration(provider: IdentityProvider, key: OctKey, own: str) -> Registration:
    secret = sealing.unseal(key, provider.client_secret)
    return Registration(provider.issuer, provider.client_id, secret, own + _CALLBACK)


def _wire(provider: IdentityProvider, own: str) -> wire.ProviderWire:
    return wire.ProviderWire(
        id=provider.id,
        name=provider.name,
        issuer=provider.issuer,
        client_id=provider.client_id,
        trust_email=provider.trust_email,
        redirect_uri=own + _CALLBACK,
    )


@router.get("/identity_providers")
def list_providers(identity: Reader, services: ServicesOf, own: OwnUrl) -> list[wire.ProviderWire]:
    """The OpenID providers that the caller's organisation trusts."""
    with services.database.read() as session:
        return [_wire(entry, own) for entry in providers.of_organisation(session, identity.organisation_id)]


@router.post("/identity_providers", status_code=201)
def add_provider(
    body: wire.ProviderCreation, identity: Writer, services: ServicesOf, key: KeyOf, own: OwnUrl
) -> wire.ProviderWire:
    """Trust an OpenID provider to tell who the organisation's users are. For organisation owners."""
    with services.database.write() as session:
        made = providers.add(
            session,
            identity,
            key,
            name=body.name,
            issuer=body.issuer,
            client_id=body.client_id,
            client_secret=body.client_secret,
            trust_email=body.trust_email,
        )
    return _wire(made, own)


@router.delete("/identity_providers/{provider_id}")
def remove_provider(provider_id: ResourceId, identity: Writer, services: ServicesOf) -> Deleted:
    """Trust a provider no more. For organisation owners."""
    with services.database.write() as session:
        providers.remove(session, identity, provider_id)
    return Deleted(id=provider_id)


@router.post("/users/{user_id}/login_link", status_code=201)
def give_link(
    user_id: ResourceId, identity: Writer, services: ServicesOf, authority: AuthorityOf, own: OwnUrl
) -> wire.LinkWire:
    """A link with which a user sets password and second factor up, or up again. For organisation owners."""
    with services.database.write() as session:
        link = accounts.give_link(session, identity, user_id, authority.now())
    address = f"{own}{browser.PAGE}#link={link.token}"
    return wire.LinkWire(user_id=user_id, link_token=link.token, address=address, expires_at=link.expires_at)
