"""Wherever the controller is killed, its successor ends the activity done or undone, and leaves no orphan."""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from crash_matrix import SCENARIOS, Place, prepare, read_points, recover, run, strike, unique
from postgres_server import Server, server

KILLED = -9
FENCED, TRIES = 70, 4
"""A controller that had no processor for its heartbeat ends itself before it comes to its point: another one is sent."""
EFFECT = ": after-effect"
AT_ONCE = 3
"""Cases side by side: most of a case is waiting until the dead controller counts as dead."""
FIRST_OF_ALL = (
    *("machine create", "machine start", "machine stop", "machine migrate", "machine delete"),
    *("disk create", "disk extend", "disk delete", "VLAN create"),
)
EVERYWHERE = ("machine create",)
"""Killed on SQLite after every step of these and three steps of the others.
`make soak` kills all that there are at every point, on both."""


class Rooms:
    """Copies of a prepared platform, on SQLite files or PostgreSQL databases."""

    def __init__(self, folder: Path, postgres: Server | None) -> None:
        self._folder, self._postgres = folder, postgres
        self._template = unique("prepared")

    @property
    def on_postgres(self) -> bool:
        return self._postgres is not None

    def first(self) -> Place:
        folder = self._folder / "prepared"
        folder.mkdir()
        return Place(folder, self._postgres.create(self._template) if self._postgres else None)

    @contextmanager
    def copy(self) -> Iterator[Place]:
        name = unique("case")
        folder = self._folder / name
        shutil.copytree(self._folder / "prepared", folder)
        try:
            yield Place(folder, self._postgres.create(name, self._template) if self._postgres else None)
        finally:
            shutil.rmtree(folder)
            if self._postgres:
                self._postgres.drop(name)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def rooms(request: pytest.FixtureRequest, tmp_path: Path) -> Rooms:
    return Rooms(tmp_path, request.getfixturevalue("postgres") if request.param == "postgresql" else None)


def kill_everywhere(
    rooms: Rooms,
    name: str,
    wanted: str,
    *,
    few: bool = False,
    acts: tuple[Callable[..., None], ...] = (prepare, strike, recover),
    sure: bool = True,
) -> None:
    """`wanted`: the end of a point's name that chooses the points, empty for all; few: only the first, one amid, and the last. acts: how
    a place is prepared, struck and recovered; sure: whether a controller comes to as many points each time."""
    prepare, strike, recover = acts
    assert run(prepare, rooms.first(), name) == 0
    with rooms.copy() as whole:
        assert run(strike, whole, name, None) == 0
        points = read_points(whole)
    chosen = [index for index, point in enumerate(points) if point.endswith(wanted)]
    assert len(chosen) >= 1, points
    if few:
        chosen = sorted({chosen[0], chosen[len(chosen) // 2], chosen[-1]})

    def strike_at(index: int) -> None:
        where = f"killed at {points[index]} ({index})"
        for _ in range(TRIES):
            with rooms.copy() as place:
                ended = run(strike, place, name, index)
                if ended == FENCED:
                    continue
                assert ended in ((KILLED,) if sure else (KILLED, 0)), where
                recovered = next((code for _ in range(TRIES) if (code := run(recover, place, name)) != FENCED), FENCED)
                assert recovered == 0, where
                _check(json.loads((place.folder / "outcome.json").read_text(encoding="utf-8")), where)
                return
        pytest.fail(f"{where}: the machine is too busy for controllers to stay alive")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in [pool.submit(strike_at, index) for index in chosen]:
            future.result()


def _check(outcome: dict[str, Any], where: str) -> None:
    assert outcome["findings"] == [], where
    assert outcome["state"] in ("completed", "failed"), where
    assert "Not undone" not in (outcome["reason"] or ""), where


@pytest.mark.parametrize(
    ("rooms", "name"),
    [
        *(("sqlite", name) for name in FIRST_OF_ALL),
        *(pytest.param("postgresql", name, marks=pytest.mark.soak) for name in ("machine create", "machine migrate")),
    ],
    indirect=["rooms"],
)
def test_a_kill_after_a_step(rooms: Rooms, name: str) -> None:
    """The hardest moment of each: its effect is there, and nothing says so."""
    kill_everywhere(rooms, name, EFFECT, few=rooms.on_postgres or name not in EVERYWHERE)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_after_every_step(rooms: Rooms, name: str) -> None:
    kill_everywhere(rooms, name, EFFECT)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_at_every_point(rooms: Rooms, name: str) -> None:
    kill_everywhere(rooms, name, "")
