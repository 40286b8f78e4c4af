"""What logging in refuses. A log-in that fails says no more than it must to who may be a stranger."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class LoginRefused(NaosError):
    code: ClassVar[str] = "login.refused"
    status: ClassVar[int] = 401
    sentence: ClassVar[str] = "The log-in was refused: {reason}."
    reason: str


@dataclass(eq=False)
class LoginLocked(NaosError):
    code: ClassVar[str] = "login.locked"
    status: ClassVar[int] = 429
    sentence: ClassVar[str] = (
        "After {failures} failed attempts in a row this account takes the next one in {seconds} s; "
        "an organisation owner can give a new link with `naos login link`."
    )
    failures: int
    seconds: int


@dataclass(eq=False)
class NotLoggedIn(NaosError):
    code: ClassVar[str] = "login.session_missing"
    status: ClassVar[int] = 401
    sentence: ClassVar[str] = "This browser is not logged in, or its session has ended; log in at /login."


@dataclass(eq=False)
class CrossSite(NaosError):
    code: ClassVar[str] = "login.cross_site"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = "The request came from a page of {origin}; sessions are used by pages of {own} only."
    origin: str
    own: str


@dataclass(eq=False)
class PasswordWeak(NaosError):
    code: ClassVar[str] = "login.password_weak"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "This password cannot be taken: {reason}. Four words that nobody would put together make a good one."
    )
    reason: str


@dataclass(eq=False)
class LinkInvalid(NaosError):
    code: ClassVar[str] = "login.link_invalid"
    status: ClassVar[int] = 404
    sentence: ClassVar[str] = "This link was used, replaced or has expired; ask an organisation owner for another one."


@dataclass(eq=False)
class LinkRefused(NaosError):
    code: ClassVar[str] = "login.link_refused"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = (
        "A link lets its holder act with all of an account's rights, so it is given by organisation owners whose token carries "
        "all of theirs; {reason}."
    )
    reason: str


@dataclass(eq=False)
class ProviderUnusable(NaosError):
    code: ClassVar[str] = "login.provider_unusable"
    status: ClassVar[int] = 502
    sentence: ClassVar[str] = "The identity provider at {issuer} cannot be used: {reason}."
    retryable: ClassVar[bool] = True
    issuer: str
    reason: str


@dataclass(eq=False)
class IssuerInvalid(NaosError):
    code: ClassVar[str] = "login.issuer_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "The issuer {issuer!r} cannot be used: {reason}; write it as the provider does, https://..."
    )
    issuer: str
    reason: str


@dataclass(eq=False)
class TenantRefused(NaosError):
    code: ClassVar[str] = "login.no_tenant"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = "You hold no permission in {tenant}; a tenant owner can grant some."
    tenant: str
