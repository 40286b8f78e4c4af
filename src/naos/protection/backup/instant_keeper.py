"""What the leading controller does for machines that run from a vault: it keeps the vault serving, and lets their disks move in, again
and again until they have. Each move is an activity like any other."""

import threading
import time
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from naos.activity import Caller, Engine, Plan
from naos.activity.locks import is_free
from naos.activity.submission import is_unfinished
from naos.engines.errors import EngineError
from naos.errors import Changed, NaosError, Unknown
from naos.protection.backup import instant, instant_steps, restoring
from naos.protection.backup.instant import State
from naos.protection.backup.instant_models import InstantStart
from naos.world import World

PERIOD_SECONDS = 2.0
MOVE_AFTER_SECONDS = 15.0
"""From the start on, a guest boots undisturbed."""
SHORTEST_PAUSE, LONGEST_PAUSE = 5.0, 300.0  # seconds between moves that do not get on
SYSTEM = "naos"
_log = structlog.get_logger()


class InstantKeeper:
    """Looks once a period."""

    def __init__(self, world: World, engine: Engine, *, period: float = PERIOD_SECONDS) -> None:
        self._world, self._engine, self._period = world, engine, period
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="instant keeper", daemon=True)
        self._due: dict[str, tuple[float, float, int]] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stop.wait(self._period):
            if not self._engine.is_leader():
                continue
            try:
                self.look()
            except Exception:
                _log.exception("instant_keeper.look_failed")

    def look(self) -> None:
        with self._world.database.read() as session:
            found = instant.unfinished(session)
        for row in found:
            try:
                self._look_at(row)
            except Unknown:
                continue  # it was undone meanwhile
        for gone in self._due.keys() - {row.restore_id for row in found}:
            del self._due[gone]

    def _look_at(self, row: InstantStart) -> None:
        try:
            if row.state == State.MOVING and instant_steps.finish(self._world, row.restore_id):
                return
            self._find_vault(row)
        except EngineError as error:
            if row.state == State.MOVING:
                instant_steps.note(self._world, row.restore_id, f"{instant_steps.AWAY}{error}")
            return
        if row.state == State.MOVING and self._is_due(row):
            self._begin(row)

    def _find_vault(self, row: InstantStart) -> None:
        try:
            instant_steps.find_vault(self._world, row.restore_id)
        finally:
            with self._world.database.read() as session:
                now = session.get(InstantStart, row.restore_id)
            if now is None or now.state == State.DONE:  # whoever saw to that ended the reading, perhaps too early
                restoring.end_serving(self._world, row.point_id, row.restore_id)

    def _is_due(self, row: InstantStart) -> bool:
        """A move that brings nothing in is begun anew after ever longer pauses."""
        if row.moving_at is None or datetime.now(UTC) - row.moving_at < timedelta(seconds=MOVE_AFTER_SECONDS):
            return False
        due, pause, before = self._due.get(row.restore_id, (0.0, SHORTEST_PAUSE, -1))
        now = time.monotonic()
        if now < due:
            return False
        with self._world.database.read() as session:
            done = instant.shown(session, [row])[0].done
        pause = min(pause * 2, LONGEST_PAUSE) if done == before else SHORTEST_PAUSE
        self._due[row.restore_id] = (now + pause, pause, done)
        return True

    def _begin(self, row: InstantStart) -> None:
        def check(session: Session) -> Plan:
            plan = instant.plan_move(session, row.restore_id)
            if not plan.locks or is_unfinished(session, plan) or not is_free(session, plan.locks):
                raise Changed("the move", "it is under way, or something else needs its disks")
            return plan

        try:
            self._engine.submit_now(check, Caller(row.tenant_id, SYSTEM))
        except Changed:
            return
        except NaosError as refusal:
            _log.warning("instant_keeper.refused", restore=row.restore_id, reason=str(refusal))
