"""The HTTP API: every area's routes, at `/` and under `/api`, behind one set of rules."""

import importlib
import pkgutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header
from fastapi.dependencies.models import Dependant
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.routing import iter_route_contexts
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.routing import BaseRoute

import naos
from naos.api import errors, holdings, metrics
from naos.api.auditing import audited
from naos.api.authentication import Requirement, alternatives
from naos.api.client_address import forwarded
from naos.api.dispatch import Directory, dispatched
from naos.api.paths import PREFIX
from naos.api.rate_limit import limited
from naos.api.services import Services, ServicesOf
from naos.audit.journal import Journal
from naos.tenancy.tokens import Authority, steady, utc_now

VERSION = version("naos")


class Fault(BaseModel):
    """`code`: stable for ever. `message`: the rule, the numbers and the remedy. `details`: the same as fields."""

    code: str
    status: int | str
    message: str
    details: dict[str, Any]


class Refusal(BaseModel):
    """The one shape of every answer that is not a success."""

    error: Fault


REFUSAL = {"$ref": "#/components/schemas/Refusal"}


class Health(BaseModel):
    status: str
    version: str
    controller: str


own = APIRouter(tags=["Controller"])


@own.get("/health")
def health(services: ServicesOf) -> Health:
    """Whether the controller answers, and which one it is. Needs no token."""
    return Health(status="ok", version=VERSION, controller=services.controller_id)


@own.get("/", include_in_schema=False)
def welcome(accept: Annotated[str, Header()] = "") -> Response:
    """Where to look next."""
    pages = {"documentation": "/docs", "openapi": "/openapi.json", "health": "/health"}
    if "text/html" not in accept:
        return JSONResponse({"name": "naos", "version": VERSION, **pages})
    links = "".join(f'<li><a href="{path}">{name}</a></li>' for name, path in pages.items())
    return HTMLResponse(f"<!doctype html><title>naos</title><h1>naos {VERSION}</h1><ul>{links}</ul>")


def create_app(
    services: Services,
    *,
    now: Callable[[], datetime] = utc_now,
    monotonic: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The API of one controller. Raises KeyUnusable when a signing key is weak or can be read by others."""
    settings = services.settings
    authority = Authority(
        services.database,
        settings.home / "keys",
        timedelta(seconds=settings.token_lifetime_seconds),
        steady(now, monotonic),
    )
    authority.open()
    journal = Journal(services.database, settings.home / "keys", months=settings.audit_months, now=now)
    journal.open()
    app = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="naos",
        version=VERSION,
        description="Infrastructure as a service on one's own racks. Every write answers with an activity to follow.",
        servers=[{"url": "/"}, {"url": PREFIX}],
        redirect_slashes=False,
        max_body_size=errors.BODY_LIMIT,
    )
    app.state.services, app.state.authority, app.state.identify = services, authority, authority.identify
    app.state.journal = journal
    app.add_middleware(audited, journal=journal)
    errors.install(app)
    if settings.requests_per_second is not None:
        app.add_middleware(limited, rate=settings.requests_per_second, clock=monotonic)
    if settings.trusted_proxies:
        app.add_middleware(forwarded, trusted=settings.trusted_proxies)
    holdings.install()
    app.router.routes.extend(_routes())
    app.router.middleware_stack = dispatched(  # type: ignore[assignment] # any ASGI application will do
        app.router.middleware_stack, _directory()
    )
    _describe_permissions(app)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """Every area's routes at both roots; the same for each app of a process, since reading all of them takes most of a second."""
    refusals: dict[int | str, dict[str, Any]] = {"4XX": {"model": Refusal}, "5XX": {"model": Refusal}}
    every = APIRouter()
    for router in (own, metrics.router, *area_routers()):
        every.include_router(router, responses=refusals)
        every.include_router(router, prefix=PREFIX, include_in_schema=False)
    return every.routes


@cache
def _directory() -> Directory:
    return Directory((own, metrics.router, *area_routers()))


def area_routers() -> list[APIRouter]:
    """The `router` of each area: a package of naos with a module `routes` is one; and what it has `beside` that, elsewhere in the
    tree of paths."""
    modules = area_modules("routes")
    return [router for module in modules for router in (module.router, *getattr(module, "beside", ()))]


def area_modules(room: str) -> list[ModuleType]:
    """The module `room` of each area that has one, imported."""
    areas = sorted(module.name for module in pkgutil.iter_modules(naos.__path__) if module.ispkg)
    names = [f"naos.{area}.{room}" for area in areas]
    return [importlib.import_module(name) for name in names if find_spec(name) is not None]


def requirements(app: FastAPI) -> Iterator[tuple[str, str, list[tuple[str, ...]]]]:
    """Every operation of the API: method, path, and of which groups of permissions it needs one each."""
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        if isinstance(dependant, Dependant) and route.path is not None:
            groups = [group for needed in _needed(dependant) for group in needed.groups]
            for method in sorted(route.methods or {"WEBSOCKET"}):
                yield method, route.path_format or route.path, groups


def _needed(dependant: Dependant) -> Iterator[Requirement]:
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Requirement):
            yield dependency.call
        yield from _needed(dependency)


def _describe_permissions(app: FastAPI) -> None:
    """Write the permissions beside each operation of the API's description."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            for method, path, groups in requirements(app):
                operation = schema["paths"].get(path, {}).get(method.lower())
                if operation is not None:
                    for status in {"4XX", "5XX"} & set(operation["responses"]):  # JSON, also where success is text
                        operation["responses"][status]["content"] = {"application/json": {"schema": REFUSAL}}
                    needed = [alternatives(group) for group in groups]
                    operation["x-permissions"] = needed
                    shown = ", ".join(f"`{item}`" for item in needed) or "none"
                    operation["description"] = f"{operation.get('description', '')}\n\nPermissions: {shown}.".strip()
        return plain()

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend its description
