"""The API against its own description: whatever is sent, no fault, and no answer out of shape; as each kind of caller."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from simulated_platform import Platform, furnished_in, logged_in

from naos.tenancy.rules import to_milliseconds
from naos.tenancy.tokens import utc_now

CHECKS = (not_a_server_error, content_type_conformance, response_schema_conformance)
QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example]
SOAK_EXAMPLES = 200
ENDLESS = {"/activity/v1/activities/stream"}
"""Answers that go on until the caller leaves; their own tests read them."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder: Path = tmp_path_factory.mktemp("schema")
    with furnished_in(folder) as there:
        there.deploy("described", powerOn=False)
        yield there


def walk(platform: Platform, headers: dict[str, str], examples: int, mode: GenerationMode) -> int:
    """Send `examples` calls to every operation as one caller; how many were sent."""
    schema = openapi.from_asgi("/openapi.json", platform.client.app)
    sent = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        assert operation is not None, found
        if operation.path in ENDLESS:
            continue

        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            derandomize=examples < SOAK_EXAMPLES,
            phases=[Phase.generate],
            suppress_health_check=QUIET,
        )
        @given(operation.as_strategy(generation_mode=mode))
        def call(case: Case) -> None:
            nonlocal sent
            sent += 1
            answer = case.call(headers=headers)
            assert answer.elapsed < 10.0, f"{case.method} {case.path} took {answer.elapsed} s"
            case.validate_response(answer, checks=list(CHECKS))

        with suppress(Unsatisfiable):  # an operation that takes nothing cannot be given anything wrong
            call()
    return sent


def caller(platform: Platform, names: list[str]) -> dict[str, str]:
    """The header of a user of the platform's tenant who holds exactly `names`."""
    roles = {role["name"]: role["id"] for role in platform.get("/iam/v2/roles")}
    body = {"name": " ".join(names), "roles": [roles[name] for name in names]}
    body["expirationDate"] = to_milliseconds(utc_now() + timedelta(days=1))
    made = platform.client.post("/iam/v2/personal_access_tokens", json=body).json()
    client = logged_in(TestClient(platform.client.app), made["id"], made["secret"])
    return {"Authorization": client.headers["Authorization"]}


def owner(platform: Platform) -> dict[str, str]:
    return {"Authorization": platform.client.headers["Authorization"]}


def test_as_an_owner(platform: Platform) -> None:
    assert walk(platform, owner(platform), 1, GenerationMode.POSITIVE) > 100


def test_as_a_user_with_few_rights(platform: Platform) -> None:
    headers = caller(platform, ["compute_iaas_vmware_read", "activity_read"])
    assert walk(platform, headers, 1, GenerationMode.POSITIVE) > 50


def test_as_nobody(platform: Platform) -> None:
    assert walk(platform, {}, 1, GenerationMode.POSITIVE) > 50


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_as_an_owner_for_long(platform: Platform, mode: GenerationMode) -> None:
    walk(platform, owner(platform), SOAK_EXAMPLES, mode)
    assert platform.settled() == []
