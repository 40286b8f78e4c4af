"""Every route with every id of another tenant's object: absent, never its data, never an effect on it.

A route with a parameter or a field whose kind `known_kinds` does not know fails here.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_operations import Operation, operations
from known_kinds import FILTERS, NO_IDS, PATHS, QUIET, SHARED, body_of, kind_of, own_path, path_kind, path_of, query_of
from simulated_platform import platform_in
from two_tenants import MARK, Home, rows_about, settle_in, vaulted_inventory


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home]]:
    """Mine and theirs. Theirs are of another organisation."""
    folder: Path = tmp_path_factory.mktemp("two-tenants")
    (folder / "inventory.toml").write_text(vaulted_inventory(5), encoding="utf-8")
    with platform_in(folder, blades_per_zone=5) as platform:
        mine = settle_in(platform, "mine")
        theirs = settle_in(replace(platform, client=platform.stranger("rivals"), made={}), MARK)
        yield mine, theirs


@pytest.fixture(scope="module")
def document(homes: tuple[Home, Home]) -> dict[str, Any]:
    found: dict[str, Any] = homes[0].client.get("/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def walk(document: dict[str, Any]) -> list[Operation]:
    return list(operations(document))


def test_every_parameter_that_holds_an_id_is_of_a_known_kind(walk: list[Operation]) -> None:
    for operation in walk:
        assert set(operation.in_path) <= set(PATHS), operation
        unknown = set(operation.query) - set(FILTERS) - NO_IDS
        assert not unknown, (str(operation), unknown)


@pytest.fixture
def unharmed(homes: tuple[Home, Home]) -> Iterator[None]:
    """Nothing of theirs is another afterwards."""
    _, theirs = homes
    before = rows_about(theirs.platform, theirs.ids)
    assert sum(len(rows) for rows in before.values()) > len(theirs.ids)
    yield
    after = rows_about(theirs.platform, theirs.ids)
    assert after == before


def check(operation: Operation, answer: Any, theirs: Home, foreign: str, what: str) -> None:
    """The answer to a call with one foreign id: absent, in the one shape, and without a word of the object."""
    assert MARK not in answer.text, (str(operation), what)
    hidden = {other for kind, other in theirs.ids.items() if kind not in {"job", "offer"}} - {foreign}
    assert not [other for other in hidden if other in answer.text], (str(operation), what, answer.text)
    assert "Location" not in answer.headers, (str(operation), what)
    if operation.method == "GET" and answer.status_code == 200:
        empty = len(answer.text.splitlines()) == 1 if operation.path.endswith("/export") else answer.json() == []
        assert empty, (str(operation), what, answer.text)
        return
    if str(operation) in QUIET and answer.status_code == 204:
        return
    error = answer.json()["error"]
    assert answer.status_code in {403, 404, 422}, (str(operation), what, answer.text)
    assert not error["code"].startswith("api."), (str(operation), what, answer.text)
    if answer.status_code == 404 and len(operation.in_path) + (operation.body is not None) == 1:
        assert foreign in answer.text, (str(operation), what, answer.text)


@pytest.mark.usefixtures("unharmed")
def test_a_foreign_id_in_a_path_is_absent(homes: tuple[Home, Home], document: dict[str, Any]) -> None:
    mine, theirs = homes
    tried = 0
    for operation in operations(document):
        own = own_path(mine, operation)
        for name in operation.in_path:
            kind = path_kind(operation, name)
            if kind == SHARED:
                continue
            foreign = theirs.ids[kind]
            call: dict[str, Any] = {"params": query_of(mine, operation)}
            if operation.body is not None:
                call["json"] = body_of(mine, document, operation)[0]
            answer = mine.client.request(
                operation.method, path_of(operation, {**own, name: foreign}), **call, follow_redirects=False
            )
            check(operation, answer, theirs, foreign, name)
            tried += 1
    assert tried > 40


@pytest.mark.usefixtures("unharmed")
def test_a_foreign_id_in_a_filter_finds_nothing(homes: tuple[Home, Home], walk: list[Operation]) -> None:
    mine, theirs = homes
    tried = 0
    for operation in walk:
        own = own_path(mine, operation)
        for name in operation.query:
            if operation.method == "GET" and FILTERS.get(name, SHARED) != SHARED:
                foreign = theirs.ids[FILTERS[name]]
                params = {**query_of(mine, operation), name: foreign}
                answer = mine.client.get(path_of(operation, own), params=params)
                check(operation, answer, theirs, foreign, name)
                tried += 1
    assert tried > 10


@pytest.mark.usefixtures("unharmed")
def test_a_foreign_id_in_a_body_is_absent(homes: tuple[Home, Home], document: dict[str, Any]) -> None:
    mine, theirs = homes
    tried = 0
    for operation in operations(document):
        if operation.body is None or operation.path.startswith(("/iam/v2/auth", "/login/")):
            continue
        own = own_path(mine, operation)
        _, places = body_of(mine, document, operation)
        for place in places:
            kind = kind_of(operation, place.field)
            if kind in {None, SHARED, "offer"}:
                continue
            foreign = theirs.ids[str(kind)]
            body, _ = body_of(mine, document, operation, str(place.steps[0]))
            answer = mine.client.request(
                operation.method,
                path_of(operation, own),
                json=place.put(body, foreign),
                params=query_of(mine, operation),
            )
            check(operation, answer, theirs, foreign, ".".join(str(step) for step in place.steps))
            tried += 1
    assert tried > 20


@pytest.mark.usefixtures("unharmed")
def test_no_list_shows_anything_of_theirs(homes: tuple[Home, Home], walk: list[Operation]) -> None:
    mine, theirs = homes
    hidden = {identifier for kind, identifier in theirs.ids.items() if kind not in {"job", "offer"}}
    for operation in walk:
        if operation.method != "GET" or operation.path in {"/platform/v1/doctor", "/activity/v1/activities/stream"}:
            continue
        own = own_path(mine, operation)
        answer = mine.client.get(path_of(operation, own), params=query_of(mine, operation))
        assert MARK not in answer.text, operation
        if not operation.path.startswith("/audit"):  # which has what I asked for, by their ids
            assert not [identifier for identifier in hidden if identifier in answer.text], operation
