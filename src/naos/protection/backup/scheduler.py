"""What the leading controller does for backup: it begins runs that are due, hands out their machines, and sees to it that points
are verified and let go. Whatever it begins is an activity like any other."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Caller, Engine, Plan
from naos.activity.models import UNFINISHED, Activity
from naos.activity.watch import Watch
from naos.errors import Changed, NaosError
from naos.protection import policies
from naos.protection.backup import points, restores, restoring, runs, taking, terms
from naos.protection.backup.models import BackupPlan, BackupTask, RestorePoint
from naos.protection.backup.points import PointState
from naos.protection.backup.runs import TaskStatus
from naos.protection.backup.schedule import CLOCK_ERROR, due_between
from naos.protection.models import BackupPolicy, BackupSchedule
from naos.world import World

PERIOD_SECONDS = 0.25
DUE_SECONDS = 1.0
AT_ONCE = 4
"""Machines that are copied at the same time."""
SWEEP_SECONDS = 300.0
AGAIN = timedelta(hours=1)
"""A point that could not be verified or booted is left alone for so long: others have their turn."""
SYSTEM = "naos"
"""The actor of activities that nobody asked for."""
_log = structlog.get_logger()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Scheduler(Watch):
    """Hands out machines once a period, and looks what is due less often. clock: what the time is."""

    name = "backup scheduler"

    def __init__(
        self,
        world: World,
        engine: Engine,
        *,
        period: float = PERIOD_SECONDS,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        super().__init__(engine, period)
        self._world, self._clock = world, clock
        self._swept = self._looked = time.monotonic()
        self._tried: dict[str, datetime] = {}  # points that were to be verified or booted, and when

    def round(self) -> None:
        self._hand_out()
        if time.monotonic() - self._looked > DUE_SECONDS:
            self._looked = time.monotonic()
            self.look()
        if time.monotonic() - self._swept > SWEEP_SECONDS:
            self._swept = time.monotonic()
            self.sweep()

    def look(self) -> None:
        """Runs that are due, then machines that wait."""
        now = self._clock()
        with self._world.database.read() as session:
            storing = [policy.id for policy in self._storing(session)]
            rows = {row.policy_id: row for row in session.scalars(sa.select(BackupPlan))}
            schedules = policies.schedules_of(session, storing)
        due = [key for key in storing if _may_be_due(rows.get(key), schedules[key], now)]
        for policy_id in due:
            self._begin(policy_id, now)
        self._hand_out()

    def _storing(self, session: Session) -> list[BackupPolicy]:
        query = sa.select(BackupPolicy).where(BackupPolicy.zone.is_not(None))
        return list(session.scalars(query.order_by(BackupPolicy.name, BackupPolicy.id)))

    def _begin(self, policy_id: str, now: datetime) -> None:
        with self._world.database.read() as session:
            tenant_id = session.get_one(BackupPolicy, policy_id).tenant_id

        def check(session: Session) -> Plan:
            plan = runs.plan_due(session, policy_id, now)
            if plan is None:
                raise _Nothing
            return plan

        try:
            self._engine.submit_now(check, Caller(tenant_id, SYSTEM))
        except _Nothing:
            self._note(policy_id, now)
        except NaosError as refusal:
            _log.warning("backup.not_begun", policy=policy_id, reason=str(refusal))

    def _note(self, policy_id: str, now: datetime) -> None:
        """What was decided without a run: the check's transaction was given up with it."""
        with suppress(_Nothing), self._world.database.write() as session:
            if runs.plan_due(session, policy_id, now) is not None:
                raise _Nothing  # it is to be begun after all: the next look does

    def _hand_out(self) -> None:
        with self._world.database.read() as session:
            counts = sa.select(sa.func.count()).select_from(BackupTask).where(BackupTask.status == TaskStatus.RUNNING)
            free = AT_ONCE - (session.scalar(counts) or 0)
            waiting = sa.select(BackupTask).where(BackupTask.status == TaskStatus.WAITING)
            order = (BackupTask.run_number, BackupTask.name, BackupTask.machine_id)
            chosen = list(session.scalars(waiting.order_by(*order).limit(max(free, 0)))) if free > 0 else []
        for task in chosen:
            self._submit(task)

    def _submit(self, task: BackupTask) -> None:
        def check(session: Session) -> Plan:
            row = session.get(BackupTask, (task.run_number, task.machine_id))
            if row is None or row.status != TaskStatus.WAITING:
                raise Changed("the task", "somebody else has it")
            return taking.plan(session, row)

        try:
            self._engine.submit_now(check, Caller(task.tenant_id, SYSTEM))
        except Changed:
            return
        except NaosError as refusal:
            with self._world.database.write() as session:
                runs.end_task(session, task.run_number, task.machine_id, TaskStatus.FAILED, str(refusal))

    # ---------------------------------------------------------------------------------------------- points of long ago

    def sweep(self) -> None:
        """Sets with points that their policy keeps no longer (its terms changed, an immutability ended), the point whose
        verification is due longest, and a machine whose boot test is due."""
        now = self._clock()
        self._tried = {key: at for key, at in self._tried.items() if now - AGAIN < at <= now}
        with self._world.database.read() as session:
            rows = session.execute(sa.select(RestorePoint.set_id, RestorePoint.tenant_id).distinct()).all()
            going = [(set_id, tenant_id) for set_id, tenant_id in rows if points.expiring(session, set_id, now)]
            checked = self._to_verify(session, now)
            booted = self._to_boot(session, now)
        for set_id, tenant_id in going:
            self._sweep_set(set_id, tenant_id)
        if checked is not None:
            self._verify(checked)
        if booted is not None:
            self._boot(booted)

    def _sweep_set(self, set_id: str, tenant_id: str) -> None:
        def check(session: Session) -> Plan:
            return Plan(
                kind="restore_points.expire",
                description=f"Let {len(points.expiring(session, set_id, self._clock()))} restore points go that are not kept any longer",
                arguments={"set_id": set_id},
                locks=(points.lock(set_id),),
                type="BackupActivity",
            )

        self._quietly(check, Caller(tenant_id, SYSTEM))

    def _to_verify(self, session: Session, now: datetime) -> RestorePoint | None:
        """One at a time: nothing while another is being read."""
        reading = sa.select(Activity.id).where(Activity.kind == "restore_point.verify", Activity.state.in_(UNFINISHED))
        if session.scalar(reading.limit(1)) is not None:
            return None
        for policy in self._storing(session):
            every = terms.read(session, policy).verify_days
            if not every:
                continue
            seen = sa.func.coalesce(RestorePoint.verified_at, RestorePoint.taken_at)
            query = sa.select(RestorePoint).where(
                RestorePoint.policy_id == policy.id,
                RestorePoint.state == PointState.GOOD,
                RestorePoint.id.not_in(list(self._tried)),
                seen < now - timedelta(days=every),
            )
            found = session.scalar(query.order_by(seen).limit(1))
            if found is not None:
                return found
        return None

    def _to_boot(self, session: Session, now: datetime) -> RestorePoint | None:
        """The newest good point of a machine of which none was booted for long enough; one at a time."""
        busy = sa.select(Activity.id).where(Activity.kind == "restore_point.boot_test", Activity.state.in_(UNFINISHED))
        if session.scalar(busy.limit(1)) is not None:
            return None
        for policy in self._storing(session):
            every = terms.read(session, policy).boot_days
            if not every:
                continue
            recent = sa.select(RestorePoint.set_id).where(
                RestorePoint.policy_id == policy.id, RestorePoint.booted_at >= now - timedelta(days=every)
            )
            query = sa.select(RestorePoint).where(
                RestorePoint.policy_id == policy.id,
                RestorePoint.state == PointState.GOOD,
                RestorePoint.id.not_in(list(self._tried)),
                RestorePoint.set_id.not_in(recent),
            )
            found = session.scalar(query.order_by(RestorePoint.taken_at.desc()).limit(1))
            if found is not None:
                return found
        return None

    def _boot(self, point: RestorePoint) -> None:
        def check(session: Session) -> Plan:
            return restores.plan_boot_test(session, self._world, point.tenant_id, point.id)

        self._tried[point.id] = self._clock()
        refusal = self._quietly(check, Caller(point.tenant_id, SYSTEM))
        if refusal is not None and not refusal.retryable:
            restoring.note_boot(self._world, point.id, f"failed: it could not be begun: {refusal}")

    def _verify(self, point: RestorePoint) -> None:
        def check(session: Session) -> Plan:
            return points.plan_verify(session, point.tenant_id, point.id)

        self._tried[point.id] = self._clock()
        self._quietly(check, Caller(point.tenant_id, SYSTEM))

    def _quietly(self, check: Callable[[Session], Plan], caller: Caller) -> NaosError | None:
        """Why it was not begun, if so."""
        try:
            self._engine.submit_now(check, caller)
        except NaosError as refusal:
            _log.info("backup_scheduler.left_alone", reason=str(refusal))
            return refusal
        return None


def _may_be_due(row: BackupPlan | None, schedules: Sequence[BackupSchedule], now: datetime) -> bool:
    """Without the engine's lock: at most looks there is nothing to write."""
    if row is None or row.handled_until > now + CLOCK_ERROR:
        return True
    found = terms.of(row, terms.schedules_of(schedules))
    return bool(due_between(found.rhythms, found.zone, row.handled_until, now))


class _Nothing(Exception):
    """Nothing is to be begun."""
