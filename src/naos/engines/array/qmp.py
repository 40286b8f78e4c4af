"""Sessions with a volume's daemon.

The daemon serves one session at a time, and the next one waits until the first has ended. So a session is also the lock
that keeps several controllers from changing the same volume's daemon at once: what must not be torn apart happens in one
session, and a session never waits for anything long.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from qemu.qmp import ExecuteError, QMPClient, QMPError

from naos.engines.array.errors import DaemonRefused
from naos.engines.array.places import Place
from naos.engines.errors import Unreachable

ANSWER = 60.0  # seconds; a command that flushes a busy disk answers only afterwards
CONNECT = 60.0  # seconds, the wait for another session's end included
STARTING = 5.0  # seconds

T = TypeVar("T")

_turns: dict[str, threading.Lock] = {}
_turns_lock = threading.Lock()


@dataclass(eq=False)
class Gone(Unreachable):
    """There is no daemon: it is certainly dead."""


class Monitor:
    """An open session: commands are answered in order. `where` names array and volume, for messages."""

    def __init__(self, where: str, runner: asyncio.Runner, client: QMPClient) -> None:
        self.where, self._runner, self._client = where, runner, client

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """The command's answer.

        Raises DaemonRefused with the daemon's words, Unreachable when it went away or does not answer in time.
        """
        return _run(self.where, self._runner, self._client.execute(command, arguments), command, ANSWER)


@contextlib.contextmanager
def session(place: Place, *, dead: Callable[[], bool] = lambda: False) -> Iterator[Monitor]:
    """Raises Unreachable when no daemon answers; Gone at once when nobody does and `dead`, asked only then, says that it is dead."""
    where = f"{place.where}, volume {place.lun_id}"
    with _turn(where, place.socket), place.host.socket(place.socket) as path, asyncio.Runner() as runner:
        client = _connected(where, runner, path, dead)
        try:
            yield Monitor(where, runner, client)
        finally:
            with contextlib.suppress(Unreachable, DaemonRefused):
                _run(where, runner, client.disconnect(), "disconnect", 5.0)


@contextlib.contextmanager
def _turn(where: str, socket: str) -> Iterator[None]:
    """One caller of this process at a time: the daemon lets a single one wait at its door and turns the others away."""
    with _turns_lock:
        turn = _turns.setdefault(socket, threading.Lock())
    if not turn.acquire(timeout=CONNECT):
        raise Unreachable(where, "connect", f"others of this controller were served for {CONNECT:g} s")
    try:
        yield
    finally:
        turn.release()


def _connected(where: str, runner: asyncio.Runner, path: str, dead: Callable[[], bool]) -> QMPClient:
    """Tried again for a moment: a daemon that starts does not listen yet, and the library takes an event that comes before
    the greeting, or before its first answer, for these."""
    began, asked = time.monotonic(), False
    while True:
        client = QMPClient("naos")
        client.logger.disabled = True  # every failure is raised; the library's own copy would be noise
        try:
            _run(where, runner, client.connect(path), "connect", CONNECT)
        except Unreachable as error:
            # Another controller's session: asyncio reports a full queue of the daemon's door as a connection on which
            # nothing can be read.
            turned_away = isinstance(error.__cause__, QMPError) and "Errno 22" in error.reason
            if not (turned_away or asked) and dead():
                raise Gone(where, "connect", "its daemon does not run") from error
            asked = asked or not turned_away
            if time.monotonic() > began + (CONNECT if turned_away else STARTING):
                raise
            time.sleep(0.02)
        else:
            return client


def _run(where: str, runner: asyncio.Runner, work: Coroutine[Any, Any, T], what: str, deadline: float) -> T:
    try:
        return runner.run(asyncio.wait_for(work, deadline))
    except ExecuteError as error:
        raise DaemonRefused(where, what, str(error)) from error
    except TimeoutError as error:
        raise Unreachable(where, what, f"no answer within {deadline:g} s") from error
    except (QMPError, OSError, EOFError) as error:
        raise Unreachable(where, what, str(error) or type(error).__name__) from error
