"""Makes recommended moves by itself where a cpool's automation says so, on the controller that leads.

`manual`: never. `partial`: those that mend a broken affinity rule. `full`: those for balance too. A cpool with a blade that takes no
machine, or with an activity in hand, is left alone: what is being done there comes first.
"""

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Caller, Engine, Plan
from naos.activity.models import UNFINISHED, Activity, ActivityLock
from naos.activity.watch import Watch
from naos.compute import arranging, choosing
from naos.compute.arranging_errors import NothingToMove
from naos.compute.balance import MANUAL, PARTIAL
from naos.errors import NaosError
from naos.fleet import cpools
from naos.fleet.models import Cpool
from naos.lifecycle import Lifecycle
from naos.world import World

PERIOD_SECONDS = 60.0
SYSTEM = "naos"
"""The actor of activities that nobody asked for."""

_log = structlog.get_logger()


class Balancer(Watch):
    name = "balancer"

    def __init__(self, world: World, engine: Engine, *, period: float = PERIOD_SECONDS) -> None:
        super().__init__(engine, period)
        self._world = world

    def look(self) -> list[str]:
        """One round over the cpools that are not `manual`; the activities that it began."""
        query = sa.select(Cpool).where(Cpool.automation != MANUAL, Cpool.lifecycle == Lifecycle.ACTIVE)
        with self._world.database.read() as session:
            chosen = [cpool for cpool in session.scalars(query) if self._is_quiet(session, cpool)]
        return [begun for cpool in chosen if (begun := self._begin(cpool)) is not None]

    def _is_quiet(self, session: Session, cpool: Cpool) -> bool:
        candidates = choosing.candidates(session, self._world, cpool)
        if any(candidate.closed or not candidate.connected for candidate in candidates):
            return False
        working = (
            sa.select(ActivityLock.activity_id)
            .join(Activity, Activity.id == ActivityLock.activity_id)
            .where(ActivityLock.resource == cpools.lock(cpool.id).resource, Activity.state.in_(UNFINISHED))
            .where(Activity.preemptible.is_(False))
        )
        return session.scalar(working.limit(1)) is None

    def _begin(self, cpool: Cpool) -> str | None:
        def check(session: Session) -> Plan:
            mending_only = cpool.automation == PARTIAL
            return arranging.plan_balance(session, self._world, cpool.tenant_id, cpool.id, mending_only=mending_only)

        with self._world.database.read() as session:  # without the engine's lock: most rounds find nothing
            try:
                check(session)
            except NothingToMove:
                return None
        try:
            return self._engine.submit_now(check, Caller(cpool.tenant_id, SYSTEM)).id
        except NaosError as refusal:
            _log.info("balancer.left_alone", cpool=cpool.id, reason=str(refusal))
            return None
