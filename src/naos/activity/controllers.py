"""Which controllers are alive, which of them leads, and how one that is cut off ends itself.

On PostgreSQL each controller writes a heartbeat every second, by the database's clock. One that could not do so for `fence`
seconds (by its own monotonic clock) ends its process; the others take it for dead after `dead` seconds and adopt its work. `dead` is
longer than `fence`, so the two never work at once. On SQLite a file lock says that there is one controller only.
"""

import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import InstrumentedAttribute

from naos.activity.errors import ControllerRunning
from naos.activity.models import Activity, Controller, State, now
from naos.database import Database

log = structlog.get_logger()


@dataclass(frozen=True)
class Timing:
    """Seconds. heartbeat: between two; fence: without one, until the controller ends itself; dead: without one, until others
    take it for dead; poll: how often the dispatcher looks for work that nobody told it about."""

    heartbeat: float = 1.0
    fence: float = 4.0
    dead: float = 6.0
    poll: float = 0.5

    def __post_init__(self) -> None:
        if not self.heartbeat < self.fence < self.dead - self.heartbeat / 2:
            raise ValueError("a controller must end itself well before the others take it for dead")


@dataclass(frozen=True)
class _Seen:
    """What the last successful heartbeat saw. `at`: monotonic seconds, from before it was sent."""

    leader: str
    at: float


def end_process(reason: str) -> None:
    """The fence: no exit handlers, no flushing, nothing that could still write."""
    log.critical("controller fences itself", reason=reason)
    os._exit(70)


class Membership:
    """This process's place among the controllers."""

    def __init__(self, url: str, build: str, timing: Timing, fence: Callable[[str], None] = end_process) -> None:
        self.id = str(uuid.uuid4())
        self.timing = timing
        self._build = build
        self._fence = fence
        self._database = Database(url)  # of its own: a heartbeat never waits for a connection that work holds
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._file: TextIO | None = None
        self._seen = _Seen(self.id, time.monotonic())

    @property
    def alone(self) -> bool:
        """On SQLite there is never another controller."""
        return self._database.is_sqlite

    def is_leader(self) -> bool:
        return self._seen.leader == self.id and (self.alone or self._silence() < self.timing.fence)

    def is_fenced(self) -> bool:
        """Has this controller gone so long without a heartbeat that others may take its work?"""
        return not self.alone and self._silence() >= self.timing.fence

    def join(self) -> None:
        """Become a controller. Raises ControllerRunning when a SQLite file has one already."""
        if self.alone:
            self._file = _lock_beside(self._database)
        with self._database.write() as session:
            if self.alone:
                session.execute(sa.delete(Controller))
            moment = now()
            session.add(
                Controller(
                    id=self.id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    build=self._build,
                    started_at=moment if self.alone else sa.func.clock_timestamp(),
                    heartbeat_at=moment if self.alone else sa.func.clock_timestamp(),
                )
            )
        if self.alone:
            return
        self.beat()
        for target in (self._beat_for_ever, self._watch_for_ever):
            thread = threading.Thread(target=target, name=f"naos-{target.__name__.strip('_')}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def leave(self) -> None:
        """Stop being a controller; what it has not finished is free to be adopted at once."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        with self._database.write() as session:
            session.execute(sa.delete(Controller).where(Controller.id == self.id))
        self._database.close()
        if self._file is not None:
            self._file.close()

    def beat(self) -> None:
        """One heartbeat, and a look at the others."""
        started = time.monotonic()
        with self._database.write() as session:
            session.execute(sa.text("SET LOCAL statement_timeout = 2000"))
            alive = session.execute(
                sa.update(Controller)
                .where(Controller.id == self.id)
                .values(heartbeat_at=sa.func.clock_timestamp())
                .returning(Controller.id)
            ).scalar()
            leader = session.scalar(self.live(Controller.id).order_by(Controller.started_at, Controller.id).limit(1))
        if alive is None:
            self._fence("the other controllers took this one for dead")
        elif leader is not None:
            self._seen = _Seen(leader, started)

    def live(self, column: InstrumentedAttribute[str]) -> sa.Select[str]:
        """A query for that column of the live controllers, judged by the database's clock when it runs."""
        return sa.select(column) if self.alone else sa.select(column).where(_age() < self.timing.dead)

    def forget_dead(self) -> None:
        """Remove the rows of controllers long dead that no running activity names any more."""
        if self.alone:
            return
        with self._database.write() as session:
            busy = sa.select(Activity.controller_id).where(
                Activity.state == State.RUNNING, Activity.controller_id.is_not(None)
            )
            session.execute(sa.delete(Controller).where(_age() > 10 * self.timing.dead, Controller.id.not_in(busy)))

    def _silence(self) -> float:
        return time.monotonic() - self._seen.at

    def _beat_for_ever(self) -> None:
        while not self._stop.wait(self.timing.heartbeat):
            try:
                self.beat()
            except Exception as error:
                log.warning("heartbeat failed", error=str(error), age=round(self._silence(), 1))

    def _watch_for_ever(self) -> None:
        """A thread of its own: the heartbeat's may hang in the database's client."""
        while not self._stop.wait(0.2):
            if self.is_fenced():
                self._fence(f"no heartbeat for {self._silence():.1f} s")
                return


def _age() -> sa.Extract:
    """Seconds since a controller's heartbeat, by the database's clock."""
    return sa.extract("epoch", sa.func.clock_timestamp() - Controller.heartbeat_at)


def _lock_beside(database: Database) -> TextIO:
    """An exclusive lock on a file beside the SQLite file, held until this process ends."""
    path = Path(f"{database.engine.url.database}.controller")
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        pid = file.read().strip() or "unknown"
        file.close()
        raise ControllerRunning(pid, str(database.engine.url.database)) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
