"""Logging in, on the wire."""

from datetime import datetime

from pydantic import Field

from naos.names import Name
from naos.wire import Request, Wire

Secret = Field(min_length=1, max_length=1024)


class PasswordLogin(Request):
    """`code`: what the second factor shows, or a recovery code. `organisationId`: for an address that several know."""

    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)
    code: str = Field(max_length=64)
    organisation_id: str | None = Field(default=None, max_length=36)


class Activation(Request):
    """`linkToken`: what an organisation owner was given for you."""

    link_token: str = Secret
    password: str = Field(max_length=1024)


class Confirmation(Request):
    link_token: str = Secret
    code: str = Field(max_length=64)


class Enrolment(Wire):
    """For an authenticator program: `uri`, or `secret` by hand."""

    email: str
    secret: str
    uri: str


class RecoveryCodes(Wire):
    """Each replaces the second factor once. They are not shown again."""

    recovery_codes: list[str]


class TenantChoice(Wire):
    id: str
    name: str


class SessionWire(Wire):
    """Who is logged in, how, until when at most, and in which tenants they hold anything."""

    user_id: str
    name: str
    email: str
    method: str
    expires_at: datetime
    tenants: list[TenantChoice]


class TenantWish(Request):
    tenant_id: str = Field(max_length=36)


class SessionToken(Wire):
    """`token`: for the header `Authorization: Bearer`, as with a personal access token."""

    token: str


class ProviderChoice(Wire):
    """`path`: where the browser goes to log in with it."""

    id: str
    name: str
    path: str


class ProviderCreation(Request):
    """`issuer`: as the provider writes it. Register `redirectUri`, which the answer shows, with the provider. `trustEmail`: it
    verifies every mail address, though its answers do not say so."""

    name: Name
    issuer: str = Field(max_length=1024)
    client_id: str = Field(min_length=1, max_length=255)
    client_secret: str = Secret
    trust_email: bool = False


class ProviderWire(Wire):
    id: str
    name: str
    issuer: str
    client_id: str
    trust_email: bool
    redirect_uri: str


class LinkWire(Wire):
    """`linkToken`: shown this once; `address`: the page where it is used."""

    user_id: str
    link_token: str
    address: str
    expires_at: datetime


class Ended(Wire):
    ended: bool = True
