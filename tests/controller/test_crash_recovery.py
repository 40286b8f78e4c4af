"""Wherever the controller is killed in what replication and recovery do, what was restorable is so afterwards, and nothing is there twice."""

from collections.abc import Iterator
from pathlib import Path

import crash_recovery
import pytest
from crash_recovery import CYCLE, OF_CALLS, SCENARIOS
from postgres_server import Server, server
from test_crash_matrix import EFFECT, Rooms, kill_everywhere

STEPS = (crash_recovery.prepare, crash_recovery.strike, crash_recovery.recover)
CALLS = (crash_recovery.prepare, crash_recovery.strike_call, crash_recovery.recover)
pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def rooms(request: pytest.FixtureRequest, tmp_path: Path) -> Rooms:
    return Rooms(tmp_path, request.getfixturevalue("postgres") if request.param == "postgresql" else None)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_after_every_step_of_recovery(rooms: Rooms, name: str) -> None:
    kill_everywhere(rooms, name, EFFECT, acts=STEPS)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_at_every_point_of_recovery(rooms: Rooms, name: str) -> None:
    kill_everywhere(rooms, name, "", acts=STEPS)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OF_CALLS)
def test_a_kill_before_every_call_that_has_to_do_with_points(rooms: Rooms, name: str) -> None:
    """Of a volume's cycle no step is written down: whoever leads next ends what its row says."""
    kill_everywhere(rooms, name, "", acts=CALLS, few=rooms.on_postgres and name != CYCLE, sure=False)
