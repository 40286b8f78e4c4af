"""What a browser sends and is sent: cookies, origins, and where it may be led back to."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from joserfc.jwk import OctKey

from naos.api.services import ServicesOf
from naos.login import sealing, sessions
from naos.login.errors import CrossSite
from naos.login.models import BrowserSession
from naos.tenancy.dependencies import AuthorityOf
from naos.tenancy.models import User

SESSION_COOKIE, PENDING_COOKIE = "naos_session", "naos_login"
PAGE = "/login"


def own_url(request: Request, services: ServicesOf) -> str:
    """How browsers reach this API, without a slash at the end: `NAOS_PUBLIC_URL`, or what this one asked for."""
    return services.settings.public_url or str(request.base_url).rstrip("/")


OwnUrl = Annotated[str, Depends(own_url)]


def check_origin(request: Request, own: OwnUrl) -> None:
    """Browsers name the page that a request comes from; other pages' are refused. Raises CrossSite."""
    origin = request.headers.get("Origin")
    parts = urlsplit(own)
    if origin is not None and origin != f"{parts.scheme}://{parts.netloc}":
        raise CrossSite(origin[:200], own)


SameOrigin = Depends(check_origin)


def current(request: Request, services: ServicesOf, authority: AuthorityOf) -> tuple[BrowserSession, User]:
    """The browser's session. Raises NotLoggedIn."""
    now = authority.now()
    with services.database.write() as session:
        row, user = sessions.find(session, request.cookies.get(SESSION_COOKIE), now)
        row.used_at = now
        return row, user


Current = Annotated[tuple[BrowserSession, User], Depends(current)]


def keep(response: Response, own: str, name: str, value: str, seconds: int, *, strict: bool) -> None:
    """Set a cookie that no script reads. strict: never sent when another site leads here."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        httponly=True,
        secure=own.startswith("https:"),
        samesite="strict" if strict else "lax",
        path="/",
    )


def drop(response: Response, name: str) -> None:
    response.delete_cookie(name, path="/", httponly=True)


def way_back(path: str) -> str:
    """A path of this API, and nothing that leads elsewhere; else the log-in page."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if plain else PAGE


def sealing_key(services: ServicesOf) -> OctKey:
    return sealing.open_key(services.settings.home / "keys")


KeyOf = Annotated[OctKey, Depends(sealing_key)]
