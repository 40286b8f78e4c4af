"""Every route of every area, from the application's own table: no token, no permission, no shadow, no gap in the docs."""

import re
import uuid
from collections.abc import Iterator

import pytest
from api_platform import Platform
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from starlette.routing import compile_path

from naos.api.app import area_routers, requirements
from naos.tenancy.permissions import permissions

OPEN = {
    "/",
    "/health",
    "/iam/v2/auth/personal_access_token",
    "/iam/v2/auth/verification",
    "/login",
    "/login/v1/password",
    "/login/v1/accounts/activate",
    "/login/v1/accounts/confirm",
    "/login/v1/providers",
    "/login/v1/oidc/callback",
    "/login/v1/oidc/{provider_id}",
    "/login/v1/session",
    "/login/v1/session/token",
    "/docs",
    "/docs/oauth2-redirect",
    "/openapi.json",
}
UNKNOWN = "6a7d3f0e-0d5b-4f4e-9d6a-2f0c8c1b7e11"


def _guarded(platform: Platform) -> Iterator[tuple[str, str, list[tuple[str, ...]]]]:
    for method, path, groups in requirements(platform.app):
        if groups and method != "WEBSOCKET":
            yield method, re.sub(r"{[^}]+}", UNKNOWN, path), groups


def _call(client: TestClient, method: str, path: str) -> tuple[int, dict[str, object]]:
    answer = client.request(method, path, follow_redirects=False)
    assert "Location" not in answer.headers
    return answer.status_code, answer.json()["error"]


def test_only_the_known_few_need_no_permission(platform: Platform) -> None:
    free = {path for _, path, groups in requirements(platform.app) if not groups}
    assert free <= OPEN | {f"/api{path}" for path in OPEN}
    assert {"/health", "/api/health", "/iam/v2/auth/personal_access_token"} <= free


def test_every_area_is_served_at_both_roots(platform: Platform) -> None:
    served = {(method, path) for method, path, _ in requirements(platform.app)}
    bare = {(method, path) for method, path in served if not path.startswith("/api/")}
    documents = {path for path in OPEN if path.startswith(("/docs", "/openapi"))}
    assert {(method, f"/api{path}") for method, path in bare if path not in documents} == served - bare
    assert len(area_routers()) >= 2


def test_every_permission_that_a_route_names_exists(platform: Platform) -> None:
    for _, path, groups in requirements(platform.app):
        for group in groups:
            assert set(group) <= set(permissions()), path


def test_without_a_token_every_route_answers_401(platform: Platform) -> None:
    for method, path, _ in _guarded(platform):
        status, error = _call(platform.anyone, method, path)
        assert (status, error["code"], error["status"]) == (401, "identity.unauthenticated", 401), path


def test_with_each_permission_missing_every_route_answers_403_and_names_it(platform: Platform) -> None:
    clients: dict[tuple[str, ...], TestClient] = {}
    seen = 0
    for method, path, groups in _guarded(platform):
        for group in groups:
            if group not in clients:
                clients[group] = platform.member([name for name in permissions() if name not in group])
            status, error = _call(clients[group], method, path)
            assert (status, error["code"]) == (403, "identity.permission_missing"), (method, path, error)
            assert error["details"] == {"permissions": " or ".join(group)}
            seen += 1
    assert seen >= 26


def test_the_description_names_the_permissions_beside_each_operation(platform: Platform) -> None:
    schema = platform.anyone.get("/openapi.json").json()
    assert not [path for path in schema["paths"] if path.startswith("/api/")]
    assert [server["url"] for server in schema["servers"]] == ["/", "/api"]
    for method, path, groups in requirements(platform.app):
        if path in schema["paths"]:
            operation = schema["paths"][path][method.lower()]
            assert operation["x-permissions"] == [" or ".join(group) for group in groups]
            assert "Permissions: " in operation["description"]
            assert ("security" in operation) == bool(groups), path
            assert "HTTPValidationError" not in str(operation)
            assert operation["tags"], path


def test_no_route_hides_a_later_one(platform: Platform) -> None:
    """A path with a parameter, declared before a fixed one that it matches, would take its calls."""
    earlier: list[tuple[str, str, re.Pattern[str]]] = []
    for route in iter_route_contexts(platform.app.routes):
        path = route.path
        if path is None or not route.methods:
            continue
        for method in route.methods:
            sample = re.sub(r"{[^}]+}", str(uuid.uuid4()), path)
            for other, other_path, pattern in earlier:
                if other == method and pattern.match(sample):
                    pytest.fail(f"{method} {path} is hidden by {other_path}")
        earlier += [(method, path, compile_path(path)[0]) for method in route.methods]
