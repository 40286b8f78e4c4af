"""Bad input to every write of the API, from its own description: refused in words, or a failed activity; nothing breaks."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from api_operations import Operation, operations
from known_kinds import SHARED, body_of, kind_of, own_path, path_of, query_of
from simulated_platform import platform_in
from two_tenants import Home, settle_in, vaulted_inventory

LOGINS = ("/iam/v2/auth/", "/login/")
TEXTS = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"x"',
    "a broken object": b"{",
    "not a number": b'{"name": NaN}',
    "beyond any number": b'{"name": 1e999}',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "invalid UTF-8": b'{"name": "\xff\xfe\xc3\x28"}',
    "half a surrogate": b'{"name": "\\ud800"}',
    "NUL": b'{"name": "a\\u0000b"}',
    "a long number": b'{"name": ' + b"9" * 5000 + b"}",
}
LONG = b'{"name": "' + b"x" * 10 * 2**20 + b'"}'
NUMBERS = [-1, -(2**63), 2**63, 2**64, 2**80, -(2**80), 1.5, "1", True, None, [], {}]
WORDS = ["a\r\nSet-Cookie: b=c\r\nLocation: x", "x" * 70_000, 7, ["a"]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder: Path = tmp_path_factory.mktemp("bad-bodies")
    (folder / "inventory.toml").write_text(vaulted_inventory(3), encoding="utf-8")
    with platform_in(folder, blades_per_zone=3) as platform:
        yield settle_in(platform, "mine")


@pytest.fixture(scope="module")
def writes(home: Home) -> list[tuple[Operation, str, dict[str, Any], dict[str, str], list[Any]]]:
    """Every operation that takes a body of JSON, but the logins: itself, its path, a sound body, its query, its ids."""
    document = home.client.get("/openapi.json").json()
    found = []
    for operation in operations(document):
        if operation.body is None or operation.path.startswith(LOGINS):
            continue
        body, places = body_of(home, document, operation)
        found.append(
            (operation, path_of(operation, own_path(home, operation)), body, query_of(home, operation), places)
        )
    assert len(found) > 25
    return found


def refused(home: Home, operation: Operation, what: Any, answer: Any) -> None:
    """A refusal in the one shape, or an activity that fails."""
    assert answer.status_code < 500, (str(operation), what, answer.text)
    assert not {"set-cookie", "x-evil"} & {name.lower() for name in answer.headers}
    if answer.is_success and "Location" in answer.headers:
        ended = home.platform.ended(answer.headers["Location"])
        assert "failed" in ended["state"], (str(operation), what, ended["state"])
        return
    assert not answer.is_success, (str(operation), what, answer.text)
    error = answer.json()["error"]
    assert set(error) == {"code", "status", "message", "details"}
    assert error["code"] != "naos.internal", (str(operation), what, error)


def test_a_field_that_there_is_not_is_named(home: Home, writes: list[Any]) -> None:
    for operation, path, body, query, _ in writes:
        answer = home.client.request(operation.method, path, params=query, json={**body, "colour": "red"})
        refused(home, operation, "colour", answer)
        error = answer.json()["error"]
        if operation.path.endswith("/extra_config"):  # whose fields are keys of the guest's
            assert error["details"]["key"] == "colour", error
            continue
        assert error["code"] == "api.fields_invalid", (str(operation), error)
        assert "body.colour" in [fault["field"] for fault in error["details"]["fields"]], (str(operation), error)


@pytest.mark.parametrize("what", TEXTS)
def test_what_is_no_object_is_refused(home: Home, writes: list[Any], what: str) -> None:
    headers = {"Content-Type": "application/json"}
    for operation, path, _, query, _ in writes:
        if operation.optional and what in ("nothing", "null"):
            continue
        answer = home.client.request(operation.method, path, params=query, content=TEXTS[what], headers=headers)
        assert answer.status_code in {400, 422}, (str(operation), what, answer.text)
        refused(home, operation, what, answer)


def test_ten_megabytes_are_too_many(home: Home, writes: list[Any]) -> None:
    for operation, path, _, query, _ in writes:
        answer = home.client.request(
            operation.method, path, params=query, content=LONG, headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "api.body_too_large"), operation


def leaves(value: Any, steps: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every plain value of a body, and where it is."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*steps, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*steps, number))
    else:
        yield steps, value


def changed(body: dict[str, Any], steps: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy: Any = deepcopy(body)
    inner = copy
    for step in steps[:-1]:
        inner = inner[step]
    inner[steps[-1]] = value
    return dict(copy)


def test_numbers_that_are_none_or_out_of_range(home: Home, writes: list[Any]) -> None:
    tried = 0
    for operation, path, body, query, _ in writes:
        for steps, value in leaves(body):
            if isinstance(value, bool) or not isinstance(value, int):
                continue
            for wrong in NUMBERS:
                answer = home.client.request(operation.method, path, params=query, json=changed(body, steps, wrong))
                if answer.is_success and wrong is None:
                    continue  # as good as left out
                refused(home, operation, (steps, wrong), answer)
                tried += 1
    assert tried > 50


def test_texts_that_are_none(home: Home, writes: list[Any]) -> None:
    tried = 0
    for operation, path, body, query, _ in writes:
        for steps, value in leaves(body):
            if not isinstance(value, str):
                continue
            for wrong in WORDS:
                answer = home.client.request(operation.method, path, params=query, json=changed(body, steps, wrong))
                assert answer.status_code < 500, (str(operation), steps, wrong, answer.text)
                assert "set-cookie" not in answer.headers
                if not isinstance(wrong, str):
                    refused(home, operation, (steps, wrong), answer)
                elif "Location" in answer.headers:
                    assert answer.headers["Location"] != "x"
                    home.platform.ended(answer.headers["Location"])
                tried += 1
    assert tried > 100


def test_ids_of_other_kinds_are_no_ids(home: Home, writes: list[Any]) -> None:
    """An id that exists, of something else: as unknown as one that does not."""
    document = home.client.get("/openapi.json").json()
    tried = 0
    for operation, path, _, query, places in writes:
        for place in places:
            kind = kind_of(operation, place.field)
            if kind in {None, SHARED, "job", "resource", "offer"}:
                continue
            other = home.ids["vlan" if kind != "vlan" else "disk"]
            body, _ = body_of(home, document, operation, str(place.steps[0]))
            answer = home.client.request(operation.method, path, params=query, json=place.put(body, other))
            assert answer.status_code in {403, 404, 422}, (str(operation), place, answer.text)
            refused(home, operation, place, answer)
            tried += 1
    assert tried > 20


def test_after_all_that_tables_and_world_agree(home: Home) -> None:
    assert home.platform.settled() == []
    assert json.loads(home.client.get("/health").text)["status"] == "ok"
