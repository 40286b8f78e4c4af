"""What the leading controller does for recovery: it begins copies that are due, cuts off what a failover left exported on an array
that did not answer, and removes what is kept of machines that are gone. Whatever takes long is an activity like any other."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Caller, Engine, Plan
from naos.activity.models import UNFINISHED, Activity
from naos.activity.submission import is_unfinished
from naos.activity.watch import Watch
from naos.compute.models import VirtualMachine
from naos.errors import Changed, NaosError
from naos.protection.recovery import remnants, replicas
from naos.protection.recovery.models import Remnant, Replica
from naos.protection.recovery.rules import State
from naos.world import World

PERIOD_SECONDS = 1.0
TIDY_SECONDS = 30.0
OWED_SECONDS = 3.0
SYSTEM = "naos"
_CLOCK_ERROR = timedelta(minutes=1)
_log = structlog.get_logger()


class Keeper(Watch):
    """Looks once a period. clock: what the time is, for tests."""

    name = "recovery keeper"

    def __init__(
        self,
        world: World,
        engine: Engine,
        *,
        period: float = PERIOD_SECONDS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(engine, period)
        self._world, self._clock = world, clock
        self._tidied = time.monotonic()
        self._asked = float("-inf")

    def round(self) -> None:
        self.look()
        if time.monotonic() - self._tidied > TIDY_SECONDS:
            self._tidied = time.monotonic()
            self.tidy()

    def look(self) -> None:
        """What is owed to the old sides first, then the copies that are due."""
        if time.monotonic() - self._asked > OWED_SECONDS:
            for remnant in remnants.owed(self._world):
                remnants.settle(self._world, remnant)
            self._asked = time.monotonic()
        with self._world.database.read() as session:
            query = sa.select(Replica).where(Replica.state == State.ACTIVE, Replica.due_at <= self._clock())
            due = list(session.scalars(query.order_by(Replica.due_at, Replica.id)))
            busy = _under_way(session) if due else set()
        for replica in due:
            if replica.id not in busy:
                self._begin(replica)

    def _begin(self, replica: Replica) -> None:
        """One copy of a machine at a time: one that takes longer than its interval delays the next, which the replica says."""

        def check(session: Session) -> Plan:
            row = session.get(Replica, replica.id)
            if row is None or row.state != State.ACTIVE or session.get(VirtualMachine, row.machine_id) is None:
                raise Changed("the replica", "it is not due any more")
            plan = replicas.plan_replicate(session, row, asked=False)
            if is_unfinished(session, plan):
                raise Changed("the replica", "its last copy goes on")
            return plan

        self._quietly(check, replica.tenant_id)

    def tidy(self) -> None:
        """Copies and files of machines that are gone; copies that wait for a time that a clock showed before it was set back."""
        self._mend_times()
        with self._world.database.read() as session:
            known = sa.select(VirtualMachine.id)
            gone = list(session.scalars(sa.select(Replica).where(Replica.machine_id.not_in(known))))
            left = list(
                session.scalars(sa.select(Remnant).where(Remnant.machine_id.not_in(known), Remnant.fenced.is_(True)))
            )
        for replica in gone:
            self._stop_replica(replica)
        for machine_id in sorted({remnant.machine_id for remnant in left}):
            try:
                remnants.remove(self._world, machine_id)
            except NaosError as refusal:
                _log.info("recovery.left_alone", machine=machine_id, reason=str(refusal))

    def _mend_times(self) -> None:
        """No copy is due later than one interval from now, but for a clock that was ahead."""
        now = self._clock()
        with self._world.database.write() as session:
            for replica in session.scalars(sa.select(Replica).where(Replica.due_at > now)):
                if replica.due_at > now + timedelta(seconds=replica.interval) + _CLOCK_ERROR:
                    _log.warning("recovery.clock_set_back", replica=replica.id, due=replica.due_at.isoformat())
                    replica.due_at = now

    def _stop_replica(self, replica: Replica) -> None:
        def check(session: Session) -> Plan:
            plan = replicas.plan_stop(session, replica.tenant_id, replica.id)
            if is_unfinished(session, plan):
                raise Changed("the replica", "it is being stopped")
            return plan

        self._quietly(check, replica.tenant_id)

    def _quietly(self, check: Callable[[Session], Plan], tenant_id: str) -> None:
        try:
            self._engine.submit_now(check, Caller(tenant_id, SYSTEM))
        except Changed:
            return
        except NaosError as refusal:
            _log.info("recovery_keeper.left_alone", reason=str(refusal))


def _under_way(session: Session) -> set[str]:
    """Replicas that are being brought up to date."""
    query = sa.select(Activity.arguments).where(
        Activity.kind == "virtual_machine.replicate", Activity.state.in_(UNFINISHED)
    )
    return {str(arguments["replica_id"]) for arguments in session.scalars(query)}
