"""Logging in with a browser: `/login`. None of these addresses takes or needs a token."""

import secrets
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from naos.api.auditing import attribute
from naos.api.client_address import client_address
from naos.api.services import ServicesOf
from naos.errors import Unknown
from naos.login import accounts, browser, oidc, organisation_routes, passwords, providers, sessions, wire
from naos.login.browser import Current, KeyOf, OwnUrl, SameOrigin
from naos.login.errors import LoginRefused
from naos.login.models import BrowserSession, IdentityProvider
from naos.tenancy import access
from naos.tenancy.dependencies import AuthorityOf
from naos.tenancy.models import User

router = APIRouter(tags=["Log-in"])
CALLBACK = "/login/v1/oidc/callback"


@router.get("/login", include_in_schema=False)
def page() -> HTMLResponse:
    """The log-in page. Its script runs by its nonce, and nothing else does."""
    nonce = secrets.token_urlsafe(16)
    text = files("naos").joinpath("data", "login.html").read_text(encoding="utf-8").replace("NONCE", nonce)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(text, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})


@router.post("/login/v1/password", dependencies=[SameOrigin])
def log_in(
    body: wire.PasswordLogin,
    request: Request,
    response: Response,
    services: ServicesOf,
    authority: AuthorityOf,
    key: KeyOf,
    own: OwnUrl,
) -> wire.SessionWire:
    """Log in with mail address, password and the second factor's code; the answer sets the session's cookie."""
    attempt = accounts.Attempt(body.email, body.password, body.code, body.organisation_id)
    with services.database.read() as session:
        known = accounts.known_hash(session, attempt)
    right_for = known if passwords.matches(known, attempt.password) else None
    with services.database.write() as session:
        found = accounts.settle(session, key, attempt, right_for, authority.now())
    if not isinstance(found, User):
        raise found
    return _welcome(response, request, services, authority, own, found, "password")


def _welcome(
    response: Response,
    request: Request,
    services: ServicesOf,
    authority: AuthorityOf,
    own: str,
    user: User,
    method: str,
) -> wire.SessionWire:
    """Begin a session and give the browser its cookie."""
    now = authority.now()
    with services.database.write() as session:
        sessions.forget_old(session, now)
        begun = sessions.begin(session, user, method, client_address(request), now)
        shown = _shown(session, begun.row, user)
    attribute(request, user_id=user.id)
    browser.keep(
        response, own, browser.SESSION_COOKIE, begun.cookie, int(sessions.LONGEST.total_seconds()), strict=True
    )
    return shown


@router.post("/login/v1/accounts/activate", dependencies=[SameOrigin])
def activate(body: wire.Activation, services: ServicesOf, authority: AuthorityOf, key: KeyOf) -> wire.Enrolment:
    """Choose a password through a link; the answer is the second factor to set up, which `confirm` waits for."""
    now = authority.now()
    with services.database.read() as session:
        user = accounts.owner_of(session, body.link_token, now)
    passwords.check(body.password, user.name, user.email, "naos")
    hashed = passwords.hashed(body.password)
    with services.database.write() as session:
        prepared = accounts.prepare(session, key, body.link_token, hashed, now)
    return wire.Enrolment(email=prepared.user.email, secret=prepared.secret, uri=prepared.uri)


@router.post("/login/v1/accounts/confirm", dependencies=[SameOrigin])
def confirm(body: wire.Confirmation, services: ServicesOf, authority: AuthorityOf, key: KeyOf) -> wire.RecoveryCodes:
    """Show the second factor's first code: the account is ready. The answer holds the recovery codes, this once."""
    with services.database.write() as session:
        codes = accounts.confirm(session, key, body.link_token, body.code, authority.now())
    return wire.RecoveryCodes(recovery_codes=codes)


# ------------------------------------------------------------------------------------------------- identity providers


@router.get("/login/v1/providers")
def list_choices(services: ServicesOf, email: Annotated[str, Query(max_length=320)]) -> list[wire.ProviderChoice]:
    """The identity providers of the organisations that know a mail address; none for one that is known nowhere."""
    with services.database.read() as session:
        found = providers.for_address(session, email)
    return [wire.ProviderChoice(id=entry.id, name=entry.name, path=f"/login/v1/oidc/{entry.id}") for entry in found]


@router.get(CALLBACK, include_in_schema=False)
def come_back(
    request: Request,
    services: ServicesOf,
    authority: AuthorityOf,
    key: KeyOf,
    own: OwnUrl,
    state: Annotated[str, Query(max_length=512)] = "",
    code: Annotated[str, Query(max_length=4096)] = "",
    error: Annotated[str, Query(max_length=256)] = "",
) -> Response:
    """Where an identity provider sends the browser back to."""
    now = authority.now()
    with services.database.write() as session:
        returned = providers.take_back(session, key, state, request.cookies.get(browser.PENDING_COOKIE), now)
    if error or not code:
        raise LoginRefused(f"{returned.provider.name} says {error or 'nothing'!r}")
    verify = oidc.trust(services.settings.login_authorities)
    known = organisation_routes.registration(returned.provider, key, own)
    metadata = oidc.discover(known.issuer, verify)
    person = oidc.redeem(known, metadata, verify, code=code, verifier=returned.verifier, nonce=returned.nonce, now=now)
    with services.database.write() as session:
        user = providers.person_to_user(session, returned.provider, person)
    response = RedirectResponse(browser.way_back(returned.return_to), 303)
    browser.drop(response, browser.PENDING_COOKIE)
    _welcome(response, request, services, authority, own, user, returned.provider.name)
    return response


@router.get("/login/v1/oidc/{provider_id}", include_in_schema=False)
def go_away(
    provider_id: str,
    services: ServicesOf,
    authority: AuthorityOf,
    key: KeyOf,
    own: OwnUrl,
    returnTo: Annotated[str, Query(max_length=1024)] = browser.PAGE,  # noqa: N803 - the wire's spelling
) -> Response:
    """Lead the browser to an identity provider."""
    with services.database.read() as session:
        provider = session.get(IdentityProvider, provider_id)
    if provider is None:
        raise Unknown("identity provider", provider_id)
    known = organisation_routes.registration(provider, key, own)
    metadata = oidc.discover(provider.issuer, oidc.trust(services.settings.login_authorities))
    with services.database.write() as session:
        started = providers.start(session, key, provider, browser.way_back(returnTo), authority.now())
    url = oidc.authorization_url(known, metadata, state=started.state, nonce=started.nonce, verifier=started.verifier)
    response = RedirectResponse(url, 303)
    seconds = int(providers.PENDING_LIFE.total_seconds())
    browser.keep(response, own, browser.PENDING_COOKIE, started.browser, seconds, strict=False)
    return response


# ---------------------------------------------------------------------------------------------------------- the session


def _shown(session: Session, row: BrowserSession, user: User) -> wire.SessionWire:
    return wire.SessionWire(
        user_id=user.id,
        name=user.name,
        email=user.email,
        method=row.method,
        expires_at=row.expires_at,
        tenants=[wire.TenantChoice(id=entry.id, name=entry.name) for entry in sessions.tenants(session, user)],
    )


@router.get("/login/v1/session")
def who(found: Current, services: ServicesOf) -> wire.SessionWire:
    """Who is logged in with this browser."""
    with services.database.read() as session:
        return _shown(session, *found)


@router.post("/login/v1/session/token", dependencies=[SameOrigin])
def enter(
    body: wire.TenantWish, found: Current, request: Request, services: ServicesOf, authority: AuthorityOf
) -> wire.SessionToken:
    """A token for the calls of this API in one tenant, with all that the user holds there; it lives half an hour."""
    row, user = found
    with services.database.read() as session:
        sessions.check_tenant(session, user, body.tenant_id)
        access.check(session, body.tenant_id, client_address(request))
    token = authority.sign(sessions.CLAIM, row.id, user.id, body.tenant_id, row.expires_at)
    attribute(request, user_id=user.id, tenant_id=body.tenant_id)
    return wire.SessionToken(token=token)


@router.delete("/login/v1/session", dependencies=[SameOrigin])
def log_out(
    found: Current,
    request: Request,
    services: ServicesOf,
    authority: AuthorityOf,
    everywhere: bool = False,  # noqa: FBT001, FBT002 - a query parameter
) -> Response:
    """End this session, or with `everywhere` all of one's own; tokens made from it end with their next call."""
    attribute(request, user_id=found[1].id)
    with services.database.write() as session:
        sessions.end(session, found[0], authority.now(), everywhere=everywhere)
    response = JSONResponse(wire.Ended().model_dump())
    browser.drop(response, browser.SESSION_COOKIE)
    return response


router.include_router(organisation_routes.router)
