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

from naos.engines.array import silent_clients
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

    def __init__(self, where: str, place: Place, runner: asyncio.Runner, client: QMPClient) -> None:
        self.where, self._place, self._runner, self._client = where, place, runner, client

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """The command's answer.

        Raises DaemonRefused with the daemon's words, Unreachable when it went away or does not answer in time.
        """
        return _run(self.where, self._place, self._runner, self._client.execute(command, arguments), command, ANSWER)


@contextlib.contextmanager
def session(place: Place, *, dead: Callable[[], bool] = lambda: False) -> Iterator[Monitor]:
    """Raises Unreachable when no daemon answers; Gone at once when nobody does and `dead`, asked only then, says that it is dead."""
    where = f"{place.where}, volume {place.lun_id}"
    with _turn(where, place.socket), place.host.socket(place.socket) as path, asyncio.Runner() as runner:
        client = _connected(where, place, runner, path, dead)
        try:
            yield Monitor(where, place, runner, client)
        finally:
            with contextlib.suppress(Unreachable, DaemonRefused):
                _run(where, place, runner, client.disconnect(), "disconnect", 5.0)


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


def _connected(where: str, place: Place, runner: asyncio.Runner, path: str, dead: Callable[[], bool]) -> QMPClient:
    """Tried again for a moment: a daemon that starts does not listen yet, and the library takes an event that comes before
    the greeting, or before its first answer, for these."""
    began, asked = time.monotonic(), False
    while True:
        client = QMPClient("naos")
        client.logger.disabled = True  # every failure is raised; the library's own copy would be noise
        try:
            _run(where, place, runner, client.connect(path), "connect", CONNECT)
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


def _run(
    where: str, place: Place, runner: asyncio.Runner, work: Coroutine[Any, Any, T], what: str, deadline: float
) -> T:
    """While there is no answer, clients that the daemon may be waiting for are looked at again and again."""
    task, end = runner.get_loop().create_task(work), time.monotonic() + deadline
    try:
        while not runner.run(_ended(task, min(silent_clients.PATIENCE, end - time.monotonic()))):
            if time.monotonic() >= end:
                task.cancel()
                runner.run(_ended(task, None))
                raise Unreachable(where, what, f"no answer within {deadline:g} s")
            silent_clients.cut_off(place)
        return task.result()
    except ExecuteError as error:
        raise DaemonRefused(where, what, str(error)) from error
    except (QMPError, OSError, EOFError) as error:
        raise Unreachable(where, what, str(error) or type(error).__name__) from error


async def _ended(task: asyncio.Task[Any], seconds: float | None) -> bool:
    done, _ = await asyncio.wait({task}, timeout=None if seconds is None else max(seconds, 0.0))
    return bool(done)
