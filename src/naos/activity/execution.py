"""One controller's hold on one activity: the only way in which its rows are written while it runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity.errors import Halted
from naos.activity.models import Activity, State
from naos.database import Database

log = structlog.get_logger()

Boundary = Callable[[str, str, str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """What the engine lends to every execution.

    remember: runs a step under a name, or returns what it returned before. broken_off: why executions must stop now, or
    None. boundary: told (kind, step, moment) at every point between two of which a crash makes a difference.
    sleep: waits that many seconds, less when the engine stops.
    """

    database: Database
    world: Any
    controller_id: str
    remember: Callable[[str, Callable[[], str]], str]
    broken_off: Callable[[], str | None]
    boundary: Boundary
    sleep: Callable[[float], None]
    undo_pauses: tuple[float, ...]


@dataclass(frozen=True)
class Execution:
    """`attempt` is the fencing token: once another controller has taken the activity, nothing here is written any more."""

    services: Services
    activity_id: str
    kind: str
    tenant_id: str
    actor_id: str
    attempt: int
    deaths: int
    preemptible: bool

    def check(self) -> None:
        """Raises Halted when this execution may not go on."""
        reason = self.services.broken_off()
        if reason is not None:
            raise Halted(reason)

    def boundary(self, step: str, moment: str) -> None:
        self.services.boundary(self.kind, step, moment)

    def write(self, change: Callable[[Session], T]) -> T:
        """Commit a change while the activity is still this execution's. Waits for a database that is away.

        Raises Halted when another controller has taken the activity.
        """
        pause = 0.05
        while True:
            self.check()
            try:
                with self.services.database.write() as session:
                    self._hold(session)
                    return change(session)
            except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
                log.warning("the database is away; trying again", error=str(error.orig))
                self.services.sleep(pause)
                pause = min(2 * pause, 1.0)

    def _hold(self, session: Session) -> None:
        held = session.scalar(
            sa.select(Activity.id)
            .where(
                Activity.id == self.activity_id,
                Activity.attempt == self.attempt,
                Activity.controller_id == self.services.controller_id,
                Activity.state == State.RUNNING,
            )
            .with_for_update()
        )
        if held is None:
            raise Halted("another controller has taken this activity over")


class Throttle:
    """Says yes at most once in `interval` seconds, and not in the first one."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last = time.monotonic()

    def __call__(self) -> bool:
        if time.monotonic() - self._last < self._interval:
            return False
        self._last = time.monotonic()
        return True
