"""Takes the points of replicated volumes, on the controller that leads: one thread a volume, so that none waits for another's copy.

The row holds what is under way: whoever leads next ends it first. The age of the last complete point is measured at every look,
and the alarm is given while there is time to do something.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
import structlog

from naos.activity import Engine
from naos.activity.watch import Watch
from naos.engines.errors import EngineError
from naos.engines.ports import Point
from naos.errors import NaosError
from naos.lifecycle import Lifecycle
from naos.protection import copying
from naos.protection.copying import Order, Progress
from naos.protection.replication import pacing, replications, rules
from naos.protection.replication.models import LunReplication
from naos.protection.replication.rules import Health
from naos.world import World

PERIOD_SECONDS = 1.0
_NOTED_EVERY = 1.0  # seconds between notes of a copy's progress
_log = structlog.get_logger()


class Replicator(Watch):
    """clock: what the time is, for tests."""

    name = "replicator"

    def __init__(
        self,
        world: World,
        engine: Engine,
        *,
        period: float = PERIOD_SECONDS,
        clock: Callable[[], datetime] = replications.utc_now,
    ) -> None:
        super().__init__(engine, period)
        self._world, self._clock = world, clock
        self._cycles: dict[str, threading.Thread] = {}
        self._attempts: dict[str, tuple[datetime, datetime]] = {}  # when the last one began and ended, by `_steady`

    def stop(self) -> None:
        """Points that are being taken end first, broken off."""
        super().stop()
        for thread in self._cycles.values():
            thread.join()

    def look(self) -> None:
        """One round: watch the ages, begin the points that are due."""
        now = self._clock()
        with self._world.database.read() as session:
            query = sa.select(LunReplication).where(LunReplication.lifecycle == Lifecycle.ACTIVE)
            rows = list(session.scalars(query))
        self._cycles = {name: thread for name, thread in self._cycles.items() if thread.is_alive()}
        for row in rows:
            self._watch(row, now)
            began, ended = self._attempts.get(row.id, (None, None))
            due = rules.next_start(began, ended, row.failures)
            if row.id not in self._cycles and (due is None or due <= _steady()) and not self._stop.is_set():
                thread = threading.Thread(target=self._attempt, args=(row.id,), name="replication", daemon=True)
                self._cycles[row.id] = thread
                thread.start()

    def _watch(self, row: LunReplication, now: datetime) -> None:
        """Give the alarm, once, and take it back."""
        since = None if row.running_since is None else now - row.running_since
        found = rules.health(row.instant, now, took=timedelta(seconds=row.took), running_for=since)
        danger = found in (Health.ENDANGERED, Health.BROKEN)
        if danger and row.alarmed_at is None:
            reached = rules.age(row.instant, now)
            _log.warning(
                "replication.alarm",
                replication=row.id,
                lun=row.lun_id,
                health=found,
                age=str(reached),
                failure=row.failure,
            )
            replications.note(self._world, row.id, alarmed_at=now)
        elif not danger and row.alarmed_at is not None:
            _log.info("replication.recovered", replication=row.id, lun=row.lun_id)
            replications.note(self._world, row.id, alarmed_at=None)

    def _attempt(self, replication_id: str) -> None:
        began = _steady()
        try:
            self.take(replication_id)
        except Exception as error:
            if not isinstance(error, NaosError):
                _log.exception("replication.failed", replication=replication_id)
            self._note_failure(replication_id, str(error) or type(error).__name__)
        finally:
            self._attempts[replication_id] = (began, _steady())

    def take(self, replication_id: str) -> None:
        """End what another controller had begun, then take a point. Raises NaosError."""
        with self._world.database.read() as session:
            row = session.get(LunReplication, replication_id)
            if row is None or row.lifecycle != Lifecycle.ACTIVE:
                return
            left = None if row.running_id is None else replications.order(session, row, row.running_id)
            order = replications.order(session, row, str(uuid.uuid4()))
        if left is not None:
            copying.cancel(self._world, left)
        replications.follow(self._world, row)
        now, began = self._clock(), _steady()
        replications.note(self._world, row.id, running_id=order.point_id, running_since=now, done=0, total=0)
        if not order.parts:
            self._note_end(row, None, now, began, 0)
            return
        noted = _Noted(self._world, row.id, order, self._stop, self._clock)
        point = self._copy(order, noted)
        self._note_end(row, point.id, point.instant, began, noted.total)
        self._tidy(row)

    def _copy(self, order: Order, noted: "_Noted") -> Point:
        """As `copying.take`, at the speed of the hour: what travels is limited, not what is only read to compare it."""
        try:
            copying.prepare(self._world, order)
            paced = replace(order, speed=noted.speed())
            instant = copying.begin(self._world, paced)
            copying.follow(self._world, paced, noted)
            return copying.finish(self._world, order, instant)
        except BaseException:
            with contextlib.suppress(EngineError):  # the first failure is the one to hear of
                copying.cancel(self._world, order, keep=True)
            raise

    def _tidy(self, row: LunReplication) -> None:
        """Only the last point is kept; one that is being read stays until the next time."""
        place = replications.where(row)
        for old in copying.points(self._world, place, row.id)[:-1]:
            try:
                copying.drop(self._world, place, row.id, old.id)
            except EngineError as error:
                _log.info("replication.point_stays", replication=row.id, point=old.id, reason=str(error))
                return

    def _note_end(
        self, row: LunReplication, point_id: str | None, instant: datetime, began: datetime, total: int
    ) -> None:
        took = (_steady() - began).total_seconds()
        values = {"point_id": point_id, "instant": instant, "took": took, "travelled": total}
        idle = {"running_id": None, "running_since": None, "failure": "", "failures": 0}
        replications.note(self._world, row.id, **values, **idle)

    def _note_failure(self, replication_id: str, reason: str) -> None:
        _log.warning("replication.point_failed", replication=replication_id, reason=reason)
        idle = {"running_id": None, "running_since": None}
        failures = LunReplication.failures + 1
        replications.note(self._world, replication_id, **idle, failure=reason, failures=failures)


def _steady() -> datetime:
    """What passes whatever is done to the clock: one that is set back by an hour does not stop the points for that long."""
    return datetime.fromtimestamp(time.monotonic(), UTC)


class _Noted:
    """Keeps a copy's progress in the row, now and then, and the copy at the speed that the row says then. Raises EngineError when
    the controller stops."""

    def __init__(
        self,
        world: World,
        replication_id: str,
        order: Order,
        stop: threading.Event,
        clock: Callable[[], datetime],
    ) -> None:
        self._world, self._id, self._order, self._stop, self._clock = world, replication_id, order, stop, clock
        self._at = 0.0
        self._speed: int | None = None
        self.total = 0

    def speed(self) -> int:
        """What each disk may take at this moment."""
        with self._world.database.read() as session:
            row = session.get(LunReplication, self._id)
        limit = None if row is None else replications.pace(row).at(self._clock())
        shared = pacing.share(limit, len(self._order.parts))
        self._speed = pacing.even(self.total) if shared is None else shared
        return self._speed

    def __call__(self, progress: Progress) -> None:
        self.total = progress.total
        if self._stop.is_set():
            raise EngineError("this controller", "taking a point", "it is being stopped; the next one begins again")
        if time.monotonic() >= self._at:
            self._at = time.monotonic() + _NOTED_EVERY
            replications.note(self._world, self._id, done=progress.done, total=progress.total)
            before = self._speed
            if self.speed() != before:
                copying.pace(self._world, self._order, self._speed)
