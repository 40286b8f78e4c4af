"""A log-in with an OpenID provider: authorization code with PKCE (OpenID Connect Core 1.0, RFC 7636).

What the provider says of the user is taken from its ID token alone, after signature, issuer, audience, time and nonce.
"""

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from oauthlib.oauth2 import OAuth2Error, WebApplicationClient

from naos.login.errors import IssuerInvalid, LoginRefused, ProviderUnusable

SCOPE = "openid email profile"
DEADLINE = 10.0  # seconds for each answer of a provider
LARGEST = 1024 * 1024
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]
LEEWAY_SECONDS = 60
_DISCOVERY = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class Registration:
    """What a provider knows this platform by."""

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str


@dataclass(frozen=True)
class Metadata:
    """Where a provider's services are, as it says itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


@dataclass(frozen=True)
class Person:
    """Whom a provider says has logged in. `subject` is unique with the issuer and never given to another."""

    subject: str
    email: str
    email_verified: bool


def check_issuer(issuer: str) -> str:
    """Raises IssuerInvalid."""
    parts = urlsplit(issuer)
    if parts.scheme != "https" or not parts.hostname:
        raise IssuerInvalid(issuer[:200], "it must be an https address")
    if parts.query or parts.fragment or parts.username:
        raise IssuerInvalid(issuer[:200], "it has more than host and path (Core 1.0, section 2)")
    return issuer


def trust(authorities: Path | None) -> ssl.SSLContext:
    """The system's authorities, and those of the PEM file `authorities`."""
    context = ssl.create_default_context()
    if authorities is not None:
        context.load_verify_locations(cafile=authorities)
    return context


def discover(issuer: str, verify: ssl.SSLContext) -> Metadata:
    """Raises ProviderUnusable."""
    found = _fetch(issuer.rstrip("/") + _DISCOVERY, issuer, verify)
    if found.get("issuer") != issuer:
        raise ProviderUnusable(issuer, f"it calls itself {str(found.get('issuer'))[:200]!r}")
    places = {}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        place = found.get(name)
        if not isinstance(place, str) or urlsplit(place).scheme != "https":
            raise ProviderUnusable(issuer, f"its {name} is no https address")
        places[name] = place
    return Metadata(**places)


def authorization_url(known: Registration, metadata: Metadata, *, state: str, nonce: str, verifier: str) -> str:
    """Where the browser goes to log in."""
    client = WebApplicationClient(known.client_id)
    return str(
        client.prepare_request_uri(
            metadata.authorization_endpoint,
            redirect_uri=known.redirect_uri,
            scope=SCOPE,
            state=state,
            nonce=nonce,
            code_challenge=client.create_code_challenge(verifier, "S256"),
            code_challenge_method="S256",
        )
    )


def redeem(
    known: Registration,
    metadata: Metadata,
    verify: ssl.SSLContext,
    *,
    code: str,
    verifier: str,
    nonce: str,
    now: datetime,
) -> Person:
    """Who has logged in, for the code that the browser brought back. Raises ProviderUnusable, LoginRefused."""
    client = WebApplicationClient(known.client_id)
    body = client.prepare_request_body(
        code=code, redirect_uri=known.redirect_uri, code_verifier=verifier, include_client_id=False
    )
    try:
        with httpx.Client(verify=verify, timeout=DEADLINE, follow_redirects=False) as http:
            answered = http.post(
                metadata.token_endpoint,
                content=body,
                headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
                auth=(quote_plus(known.client_id), quote_plus(known.client_secret)),  # RFC 6749, section 2.3.1
            )
        answer = client.parse_request_body_response(answered.text[:LARGEST], scope=SCOPE)
    except OAuth2Error as error:
        raise LoginRefused(f"the identity provider did not take the code ({error.error})") from error
    except (httpx.HTTPError, ValueError) as error:
        raise ProviderUnusable(known.issuer, f"its token endpoint failed: {type(error).__name__}") from error
    token = answer.get("id_token")
    if not isinstance(token, str):
        raise ProviderUnusable(known.issuer, "its answer holds no ID token")
    claims = _claims(token, known, _keys(known, metadata, verify), nonce, now)
    return Person(
        subject=str(claims["sub"]),
        email=str(claims.get("email") or ""),
        email_verified=claims.get("email_verified") is True,
    )


def _claims(token: str, known: Registration, keys: KeySet, nonce: str, now: datetime) -> dict[str, Any]:
    """Core 1.0, section 3.1.3.7."""
    registry = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=LEEWAY_SECONDS,
        iss={"essential": True, "value": known.issuer},
        sub={"essential": True},
        aud={"essential": True, "value": known.client_id},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True, "value": nonce},
    )
    try:
        claims: dict[str, Any] = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        registry.validate(claims)
    except (JoseError, ValueError) as error:
        raise LoginRefused(f"the identity provider's ID token does not hold: {error}") from error
    if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != known.client_id:
        raise LoginRefused("the identity provider's ID token is for others too")
    return claims


def _keys(known: Registration, metadata: Metadata, verify: ssl.SSLContext) -> KeySet:
    found = _fetch(metadata.jwks_uri, known.issuer, verify)
    try:
        return KeySet.import_key_set(found)  # type: ignore[arg-type] # what it is not, it refuses
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise ProviderUnusable(known.issuer, "its keys cannot be read") from error


def _fetch(url: str, issuer: str, verify: ssl.SSLContext) -> dict[str, Any]:
    try:
        with httpx.Client(verify=verify, timeout=DEADLINE, follow_redirects=False) as client:
            answer = client.get(url)
            answer.raise_for_status()
            found = answer.json() if len(answer.content) <= LARGEST else None
    except (httpx.HTTPError, ValueError) as error:
        raise ProviderUnusable(issuer, f"{url} does not answer as it should: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise ProviderUnusable(issuer, f"{url} answers with something else than an object")
    return found
