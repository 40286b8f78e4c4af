"""The activity engine: accepts writes, grants their locks, runs them, and takes over what a dead controller left.

The tables of `activity.models` are the truth. An activity that is running belongs to one controller under a fencing token
(`attempt`); whoever takes it over raises the token, and the old owner can write nothing more.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import locks, submission
from naos.activity.controllers import Membership, Timing
from naos.activity.durable import Durable, Memory, system_database_url
from naos.activity.errors import Abandoned, BuildChanged, Halted, NothingToUndo, Yielded
from naos.activity.execution import Boundary, Execution, Services
from naos.activity.models import UNFINISHED, Activity, Controller, State, now
from naos.activity.plan import Caller, Lock, Plan
from naos.activity.registry import find_workflow
from naos.activity.run import Run, named
from naos.activity.unwinding import left_to_undo, summary, unwind, without_gone
from naos.database import Database
from naos.errors import NaosError

log = structlog.get_logger()

MAXIMUM_DEATHS = 3
UNDO_PAUSES = (0.5, 2.0, 5.0)
DRAIN_SECONDS = 30.0
FORGET_AFTER_SECONDS = 5.0
BATCH = 50


def _let_go(session: Session, activity_id: str) -> None:
    """To be adopted again, as after a death: so a fault that stays ends in `Abandoned`, not in an activity without end."""
    session.execute(sa.update(Activity).where(Activity.id == activity_id).values(controller_id=None))


def _no_boundary(_kind: str, _step: str, _moment: str) -> None:
    return


class Engine:
    """One controller's engine; there is one in a process, as there is one DBOS.

    build: which naos this is; an activity that another build left unfinished is undone and failed, not continued.
    boundary: see `execution.Services`; for tests that kill the controller there.
    """

    def __init__(
        self,
        database: Database,
        world: Any,
        *,
        build: str = version("naos"),
        timing: Timing | None = None,
        boundary: Boundary = _no_boundary,
        undo_pauses: tuple[float, ...] = UNDO_PAUSES,
        maximum_deaths: int = MAXIMUM_DEATHS,
    ) -> None:
        self._database, self._build = database, build
        self._maximum_deaths = maximum_deaths
        self._membership = Membership(database.url, build, timing or Timing())
        self._durable = Durable(system_database_url(database.url), self._membership.id, self._perform)
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._ended = threading.Condition()
        self._active = 0
        self._remembered: deque[tuple[float, str]] = deque()
        self._dispatcher = threading.Thread(target=self._dispatch_for_ever, name="naos-dispatcher", daemon=True)
        self._services = Services(
            database=database,
            world=world,
            controller_id=self._membership.id,
            remember=self._durable.step,
            broken_off=self._broken_off,
            boundary=boundary,
            sleep=self._sleep,
            undo_pauses=undo_pauses,
        )

    @property
    def controller_id(self) -> str:
        return self._membership.id

    def is_leader(self) -> bool:
        return self._membership.is_leader()

    # ---------------------------------------------------------------------------------------------- start and stop

    def start(self) -> None:
        """Become a controller and go on with what dead ones left. Raises ControllerRunning."""
        self._membership.join()
        self._durable.launch()
        self._adopt_orphans()
        self._dispatcher.start()

    def stop(self) -> None:
        """Let steps that run come to their end, for at most `DRAIN_SECONDS`; unfinished activities go on elsewhere, or
        here at the next start."""
        self._stopping.set()
        self._wake.set()
        self._dispatcher.join()
        with self._ended:
            drained = self._ended.wait_for(lambda: self._active == 0, DRAIN_SECONDS)
        self._durable.close()
        if drained:
            self._membership.leave()
        else:
            log.warning("controller stops while steps still run", running=self._active)

    # ------------------------------------------------------------------------------------------------------ submit

    def submit_now(self, check: Callable[[Session], Plan], caller: Caller) -> Activity:
        """Check, then start: `check` reads, refuses by raising, reserves rows, and returns the plan; all of it is one
        transaction with the activity's own row.

        Raises what `check` raises, IdempotencyConflict, IdempotencyKeyInvalid. The same key and request: the same activity.
        """
        submission.check_key(caller)
        with self._database.write() as session:
            locks.serialise(session)
            replayed = submission.replayed(session, caller)
            if replayed is not None:
                return replayed
            plan = check(session)
            find_workflow(plan.kind)
            activity = submission.insert(session, plan, caller, build=self._build, controller_id=self.controller_id)
        self._services.boundary(activity.kind, "submit", "recorded")
        if activity.state == State.RUNNING:
            self._durable.start(activity.workflow_id, activity.id)
        return activity

    def retry_undo(self, activity_id: str) -> Activity:
        """Try again to take back what a failed activity has left. Raises NothingToUndo."""

        def check(session: Session) -> Plan:
            failed = {activity.id: activity for activity in left_to_undo(session)}.get(activity_id)
            if failed is None:
                known = session.get(Activity, activity_id)
                raise NothingToUndo(activity_id, known.state if known else "unknown")
            return Plan(
                kind="activity.undo",
                description=f"Take back what is left of: {failed.description}",
                arguments={"activity_id": activity_id},
                locks=tuple(Lock(item["resource"], shared=item["shared"]) for item in failed.locks),
                type=failed.type,
            )

        with self._database.read() as session:
            known = session.get(Activity, activity_id)
            tenant_id = known.tenant_id if known else ""
        return self.submit_now(check, Caller(tenant_id, "naos"))

    def wait(self, activity_id: str, timeout: float = 60.0) -> Activity:
        """The activity once it has ended. Raises TimeoutError after `timeout` seconds."""
        end = time.monotonic() + timeout
        while True:
            with self._database.read() as session:
                activity = session.get_one(Activity, activity_id)
            if activity.state not in UNFINISHED:
                return activity
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{activity.description} is {activity.state} after {timeout:g} s (step: {activity.step})"
                )
            with self._ended:
                self._ended.wait(0.05)

    # ---------------------------------------------------------------------------------------------------- dispatch

    def _dispatch_for_ever(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._membership.timing.poll)
            self._wake.clear()
            try:
                self._start_waiting()
                self._adopt_orphans()
                self._forget_old()
            except Exception:
                log.exception("dispatcher failed; trying again")
                self._stopping.wait(1.0)

    def _start_waiting(self) -> None:
        while not self._stopping.is_set():
            with self._database.read() as session:
                if not locks.startable(session, limit=1):
                    return
            with self._database.write() as session:
                locks.serialise(session)
                chosen = locks.startable(session, limit=BATCH)
                for activity in chosen:
                    activity.state, activity.controller_id = State.RUNNING, self.controller_id
                    activity.attempt += 1
                    activity.started_at = activity.started_at or now()
            for activity in chosen:
                self._durable.start(activity.workflow_id, activity.id)

    def _adopt_orphans(self) -> None:
        """Take over the running activities whose controller is dead."""
        with self._database.read() as session:
            orphans = list(session.scalars(self._orphaned().with_only_columns(Activity.id)))
        for activity_id in orphans:
            with self._database.write() as session:
                query = self._orphaned().where(Activity.id == activity_id).with_for_update(skip_locked=True)
                activity = session.scalar(query)
                if activity is None:
                    continue
                activity.controller_id = self.controller_id
                activity.attempt += 1
                activity.deaths += 1
                memory = self._durable.memory(activity.workflow_id)
                if memory is Memory.FINISHED:
                    activity.round += 1
            log.warning("activity adopted", activity_id=activity_id, kind=activity.kind, memory=memory.value)
            if memory is Memory.UNFINISHED:
                self._durable.take_over(activity.workflow_id)
            else:
                self._durable.start(activity.workflow_id, activity.id)
        self._membership.forget_dead()

    def _orphaned(self) -> sa.Select[Activity]:
        live = self._membership.live(Controller.id)
        return (
            sa.select(Activity)
            .where(
                Activity.state == State.RUNNING,
                sa.or_(Activity.controller_id.is_(None), Activity.controller_id.not_in(live)),
            )
            .order_by(Activity.sequence)
        )

    def _forget_old(self) -> None:
        """DBOS need not remember the steps of what has ended."""
        old: list[str] = []
        while self._remembered and self._remembered[0][0] < time.monotonic() - FORGET_AFTER_SECONDS:
            old.append(self._remembered.popleft()[1])
        if old:
            self._durable.forget(old)

    def _sleep(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def _broken_off(self) -> str | None:
        if self._stopping.is_set():
            return "the controller stops"
        return "the controller is fenced" if self._membership.is_fenced() else None

    # ----------------------------------------------------------------------------------------------------- perform

    def _perform(self, activity_id: str) -> None:
        """What a DBOS workflow does, from its beginning or again after a crash."""
        with self._counted(), structlog.contextvars.bound_contextvars(activity_id=activity_id):
            with self._database.read() as session:
                activity = session.get_one(Activity, activity_id)
            if activity.state != State.RUNNING or activity.controller_id != self.controller_id:
                raise Halted("the activity is not this controller's")
            execution = self._execution(activity)
            try:
                self._work(execution, activity)
            except Halted:
                log.info("activity halted", kind=activity.kind)
                raise
            except Exception as error:
                execution.write(partial(_let_go, activity_id=activity_id))
                log.exception("the engine failed; the activity starts again", kind=activity.kind, reason=str(error))
                raise
            self._remembered.append((time.monotonic(), activity.workflow_id))
        self._wake.set()

    def _work(self, execution: Execution, activity: Activity) -> None:
        if activity.undoing:
            self._undo(execution)
            return
        refusal = self._refusal_to_continue(activity)
        if refusal is not None:
            self._fail(replace(execution, deaths=0), refusal)
            return
        try:
            workflow = find_workflow(activity.kind)
            result = workflow.function(Run(execution, workflow.steps), activity.arguments)
        except Yielded:
            self._give_way(execution)
        except Exception as error:
            execution.check()
            self._fail(execution, named(error))
        else:
            self._end(execution, State.COMPLETED, result=result, progression=1.0)

    def _refusal_to_continue(self, activity: Activity) -> NaosError | None:
        if activity.build != self._build:
            return BuildChanged(activity.build, self._build)
        if activity.deaths > self._maximum_deaths:
            return Abandoned(activity.deaths)
        return None

    def _fail(self, execution: Execution, error: Exception) -> None:
        retryable = isinstance(error, NaosError) and error.retryable

        def change(session: Session) -> None:
            values = {"undoing": True, "reason": str(error), "retryable": retryable, "deaths": execution.deaths}
            session.execute(sa.update(Activity).where(Activity.id == execution.activity_id).values(**values))

        log.warning("activity failed", kind=execution.kind, reason=str(error))
        execution.boundary("fail", "before")
        execution.write(change)
        execution.boundary("fail", "recorded")
        self._undo(execution)

    def _undo(self, execution: Execution) -> None:
        unwind(execution, maximum_deaths=self._maximum_deaths)
        with self._database.read() as session:
            undone, words = summary(session, execution.activity_id)
            activity = session.get_one(Activity, execution.activity_id)
            reason, concerned = activity.reason or "", without_gone(session, activity)
        self._end(execution, State.FAILED, undone=undone, reason=reason + words, concerned=concerned)

    def _end(self, execution: Execution, state: State, **values: Any) -> None:
        def change(session: Session) -> None:
            activity = session.get_one(Activity, execution.activity_id)
            moment = max(
                now(), activity.started_at or activity.created_at
            )  # a clock that was set back ends nothing before it began
            ended = sa.update(Activity).where(Activity.id == execution.activity_id)
            session.execute(ended.values(state=state, stopped_at=moment, **values))
            locks.release(session, execution.activity_id)

        execution.boundary("end", "before")
        execution.write(change)
        execution.boundary("end", "recorded")

    def _give_way(self, execution: Execution) -> None:
        """Back to the end of the queue; the next round starts from the first step."""

        def change(session: Session) -> None:
            locks.serialise(session)
            locks.requeue(session, execution.activity_id)
            activity = session.get_one(Activity, execution.activity_id)
            activity.state, activity.controller_id = State.WAITING, None
            activity.round += 1

        execution.write(change)

    def _execution(self, activity: Activity) -> Execution:
        return Execution(
            services=self._services,
            activity_id=activity.id,
            kind=activity.kind,
            tenant_id=activity.tenant_id,
            actor_id=activity.actor_id,
            attempt=activity.attempt,
            deaths=activity.deaths,
            preemptible=activity.preemptible,
        )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._ended:
            self._active += 1
        try:
            yield
        finally:
            with self._ended:
                self._active -= 1
                self._ended.notify_all()
