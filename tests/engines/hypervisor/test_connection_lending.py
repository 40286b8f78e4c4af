"""Calls on one blade: no two threads use one connection, and a few are kept for the next calls."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from naos.engines.hypervisor import connection as subject
from naos.engines.hypervisor.connection import MOST_IDLE, Connection


@pytest.fixture
def blade() -> Iterator[Connection]:
    """libvirt's own test driver: connections without a daemon."""
    made = Connection("blade", "test:///default")
    yield made
    made.close()


def at_once(blade: Connection, number: int) -> list[Any]:
    """The connections of so many calls that are all under way together."""
    together = threading.Barrier(number, timeout=10)
    found: list[Any] = []

    def hold(connection: Any) -> None:
        together.wait()
        found.append(connection)

    threads = [threading.Thread(target=blade.call, args=("holding", hold)) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == number
    return found


def test_calls_that_are_under_way_together_have_connections_of_their_own(blade: Connection) -> None:
    assert len({id(connection) for connection in at_once(blade, 6)}) == 6


def test_the_next_call_takes_one_that_is_kept(blade: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(blade, MOST_IDLE + 3)
    monkeypatch.setattr(blade, "_connect", lambda _what: pytest.fail("another connection"))
    assert len({id(connection) for connection in at_once(blade, MOST_IDLE)}) == MOST_IDLE


def test_one_that_was_lost_is_not_lent_again(blade: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = at_once(blade, 2)
    alive = subject._is_alive
    monkeypatch.setattr(subject, "_is_alive", lambda each: each not in lost and alive(each))
    assert blade.call("asking", lambda connection: connection) not in lost


def test_a_stream_has_a_connection_that_serves_nothing_else(blade: Connection) -> None:
    apart = blade.call_apart("opening", lambda connection: connection)
    assert apart not in at_once(blade, 3)
    assert apart.isAlive() == 1
    with pytest.raises(ZeroDivisionError):
        blade.call_apart("opening", lambda _connection: 1 / 0)
