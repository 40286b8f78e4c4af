"""The watcher: the part of the leading controller that looks at blades of cpools with high availability, and acts.

It looks and submits; what must be done is an activity like any other. The tables hold what another leader needs to go on.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Caller, Engine, Plan
from naos.activity.models import UNFINISHED, Activity
from naos.activity.submission import is_unfinished
from naos.activity.unwinding import left_to_undo
from naos.activity.watch import Watch
from naos.availability import hung, recoveries, settings
from naos.availability.detection import LOST, Condition, Sight, Verdict
from naos.availability.manager import Case, Decisions, Loss, Manager, Member, Pool
from naos.availability.models import OPEN, BladeCondition, MachineAvailability, PoolAvailability, Progress, Recovery
from naos.availability.rules import MISSING, Settings
from naos.availability.watching import Lookout
from naos.compute import hooks, movements
from naos.compute.models import Power, VirtualMachine
from naos.engines.errors import EngineError
from naos.engines.ports import PowerState
from naos.errors import NaosError
from naos.fleet import cpools
from naos.fleet.models import Cpool, Maintenance
from naos.fleet.rules import lent_memory, resting
from naos.insistence import insist
from naos.lifecycle import Lifecycle
from naos.world import World

PERIOD_SECONDS = 0.25
LOOK_SECONDS = 0.5
LONGEST_PAUSE = 30.0
SYSTEM = "naos"
RESTING = "resting"
"""Of a case that waits between two attempts."""

_log = structlog.get_logger()


class _Post:
    """A thread that looks at one blade, time after time; `sight` is the latest look."""

    def __init__(self, lookout: Lookout, condition: Callable[[], Condition]) -> None:
        self.lookout, self._condition = lookout, condition
        self.sight: Sight | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="availability lookout", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self.sight = self.lookout.look(self._condition())
            except Exception:
                _log.exception("availability.look_failed")
            self._stop.wait(LOOK_SECONDS)

    def stop(self) -> None:
        self._stop.set()
        self.lookout.close()


@dataclass
class _Found:
    """What the tables say of one cpool."""

    pool: Pool
    members: list[Member]
    cases: list[Case]
    tenants: dict[str, str]


class Watcher(Watch):
    name = "availability"

    def __init__(self, world: World, engine: Engine, *, period: float = PERIOD_SECONDS) -> None:
        super().__init__(engine, period)
        self._world = world
        self._manager, self._posts = Manager(), dict[str, _Post]()
        self._hung = hung.Patience()
        self._pauses: dict[str, tuple[float, float]] = {}
        self._seen: set[str] = set()

    def stop(self) -> None:
        super().stop()
        self.rest()

    def rest(self) -> None:
        for post in self._posts.values():
            post.stop()
        self._manager, self._posts, self._pauses = Manager(), {}, {}
        self._seen, self._hung = set(), hung.Patience()

    def look(self) -> None:
        """One round over every cpool that high availability cares for."""
        with self._world.database.read() as session:
            conditions = {row.blade: row for row in session.scalars(sa.select(BladeCondition))}
            found = self._read(session, conditions)
        watched = {blade for entry in found for blade in entry.pool.blades}
        for gone in self._posts.keys() - watched:
            self._posts.pop(gone).stop()
        for entry in found:
            self._man(entry.pool, conditions)
            sights = {blade: post.sight for blade in entry.pool.blades if (post := self._posts[blade]).sight}
            known = {blade: sight for blade, sight in sights.items() if sight is not None}
            now = time.monotonic()
            cases = [self._held_back(case, now) for case in entry.cases]
            decided = self._manager.look(now, entry.pool, known, entry.members, cases)
            self._act(entry, decided, now)
            others = {blade: row for blade, row in conditions.items() if blade not in decided.noted}
            self._correct(entry.pool, others, known)
            self._look_at_guests(entry, now)
            self._calm(entry, conditions, now)

    # ---------------------------------------------------------------------------------------------------------- reading

    def _read(self, session: Session, conditions: dict[str, BladeCondition]) -> list[_Found]:
        rows = {row.cpool_id: row for row in session.scalars(sa.select(PoolAvailability))}
        if not rows:
            return []
        unfinished = recoveries.unfinished(session)
        self._take_back(session, unfinished)
        found = []
        for cpool in session.scalars(sa.select(Cpool).where(Cpool.id.in_(rows), Cpool.lifecycle == Lifecycle.ACTIVE)):
            row = rows[cpool.id]
            rows_of_blades = cpools.blades_of(session, [cpool.id])
            blades = [blade.name for blade in rows_of_blades]
            shut = {blade.name: resting(blade.maintenance) for blade in rows_of_blades if blade.maintenance}
            empty = frozenset(row.name for row in rows_of_blades if row.maintenance == Maintenance.RESTING)
            cases = [case for case in unfinished if case.cpool_id == cpool.id]
            known = [conditions[blade] for blade in blades if blade in conditions]
            lost = any(entry.condition in LOST for entry in known)
            if not (row.enabled or cases or lost):
                continue
            troubled = bool(cases) or any(entry.condition != Condition.HEALTHY or entry.shaken for entry in known)
            troubled = troubled or any(self._manager.condition(blade) != Condition.HEALTHY for blade in blades)
            closed = {**hooks.closed_blades(session, cpool.id), **shut} if cases else {}
            memory, of_blade = (lent_memory(size, cpool.memory_overcommit) for size in (cpool.memory, row.blade_memory))
            pool = Pool(
                cpool.id, blades, memory, of_blade, row.frozen_after, active=row.enabled, closed=closed, resting=empty
            )
            members = self._members(session, cpool.id, all_of_them=troubled)
            shown = [Case(case.id, case.machine_id, case.progress) for case in cases]
            tenants = {member.id: cpool.tenant_id for member in members}
            found.append(_Found(pool, members, shown, tenants))
        return found

    @staticmethod
    def _members(session: Session, cpool_id: str, *, all_of_them: bool) -> list[Member]:
        """While everything is well, only the machines whose guests are asked how they are."""
        query = (
            sa.select(
                VirtualMachine.id,
                VirtualMachine.blade,
                VirtualMachine.power,
                VirtualMachine.memory,
                VirtualMachine.reserved,
                MachineAvailability,
            )
            .outerjoin(MachineAvailability, MachineAvailability.machine_id == VirtualMachine.id)
            .where(VirtualMachine.cpool_id == cpool_id, VirtualMachine.lifecycle == Lifecycle.ACTIVE)
        )
        if not all_of_them:
            query = query.where(MachineAvailability.hung_after > 0)
        return [
            Member(
                machine_id,
                blade,
                power == Power.RUNNING,
                memory,
                reserved,
                settings.of_row(own) if own is not None else Settings(),
            )
            for machine_id, blade, power, memory, reserved, own in session.execute(query)
        ]

    def _take_back(self, session: Session, unfinished: list[Recovery]) -> None:
        """A recovery whose activity has ended without it, as when it was given up after several crashes, waits again."""
        ids = [row.activity_id for row in unfinished if row.activity_id is not None]
        busy = set(session.scalars(sa.select(Activity.id).where(Activity.id.in_(ids), Activity.state.in_(UNFINISHED))))
        for row in unfinished:
            if row.progress != Progress.WAITING and row.activity_id is not None and row.activity_id not in busy:
                if row.progress == Progress.STARTING:
                    recoveries.note(self._world, row.id, Progress.WAITING)
                else:
                    self._again(row)

    def _again(self, row: Recovery) -> None:
        """An isolation that failed, as when the array did not answer, is tried again."""
        if self._is_due(row.id, time.monotonic()):
            self._submit(
                lambda session: recoveries.plan_loss(session, row.machine_id, row.blade, row.cause),
                row.tenant_id,
                recovery_id=row.id,
            )

    # --------------------------------------------------------------------------------------------------------- watching

    def _man(self, pool: Pool, conditions: dict[str, BladeCondition]) -> None:
        """Have somebody look at each blade; a lost one that was cleaned is a blade like any other again."""
        entries = {entry.name: entry for entry in self._world.inventory.blades}
        addresses = [entries[blade].storage_address for blade in pool.blades if blade in entries]
        for blade in pool.blades:
            row = conditions.get(blade)
            self._manager.learn(blade, Condition(row.condition) if row is not None else Condition.HEALTHY)
            if self._manager.condition(blade) in LOST and row is not None and row.condition not in LOST:
                self._manager.rejoined(blade)
            if blade not in self._posts:
                lookout = Lookout(self._world, entries[blade], addresses, seen=row is not None and row.seen)
                self._posts[blade] = _Post(lookout, lambda blade=blade: self._manager.condition(blade))  # type: ignore[misc]
            if self._posts[blade].lookout.seen and blade not in self._seen:
                self._seen.add(blade)
                if row is None or not row.seen:
                    self._keep(blade, seen=True)

    def _calm(self, entry: _Found, conditions: dict[str, BladeCondition], now: float) -> None:
        """A blade that answers again after it did not: what is missing there at the first look went with it; later it did not."""
        for blade in entry.pool.blades:
            row, domains = conditions.get(blade), self._posts[blade].lookout.domains
            if row is None or not row.shaken or self._manager.condition(blade) != Condition.HEALTHY:
                continue
            for member in entry.members:
                missing = domains.get(member.id, PowerState.ABSENT) in (PowerState.ABSENT, PowerState.STOPPED)
                expected = entry.pool.active and member.running and member.blade == blade
                if expected and missing and self._is_gone(blade, member.id):
                    self._isolate(entry, Loss(member.id, blade, MISSING), now)
            self._keep(blade, shaken=False)
            self._undo_what_was_left()

    def _is_gone(self, blade: str, machine_id: str) -> bool:
        """Asked again: the latest look may be from before the machine was started, which the tables have since. One that its
        guest or an order ended is none that went with the blade."""
        hypervisor = self._world.rack.hypervisor(blade)
        with suppress(EngineError):
            gone = hypervisor.state(machine_id) in (PowerState.ABSENT, PowerState.STOPPED)
            return gone and not hypervisor.was_ended(machine_id)
        return False

    def _undo_what_was_left(self) -> None:
        """What a failed activity could not take back, as its blade did not answer, is tried again."""
        with self._world.database.read() as session:
            left = [activity.id for activity in left_to_undo(session)]
        for activity_id in left:
            with suppress(NaosError):
                self._engine.retry_undo(activity_id)

    def _keep(self, blade: str, **values: object) -> None:
        with self._world.database.write() as session:
            row = session.get(BladeCondition, blade)
            if row is None:
                row = BladeCondition(blade=blade, condition=Condition.HEALTHY)
                session.add(row)
            for name, value in values.items():
                setattr(row, name, value)

    # ----------------------------------------------------------------------------------------------------------- acting

    def _act(self, entry: _Found, decided: Decisions, now: float) -> None:
        for blade, verdict in decided.noted.items():
            self._note_condition(blade, verdict)
        for loss in decided.isolate:
            self._isolate(entry, loss, now)
        for recovery_id, blade in decided.start.items():
            machine_id = next(case.machine_id for case in entry.cases if case.id == recovery_id)
            self._pause(recovery_id, now)
            self._submit(
                lambda session, recovery_id=recovery_id, blade=blade: recoveries.plan_recover(  # type: ignore[misc]
                    session, recovery_id, blade
                ),
                entry.tenants[machine_id],
                recovery_id=recovery_id,
            )
        for recovery_id, reason in decided.waiting.items():
            self._explain(recovery_id, reason)
        isolating = {case.machine_id for case in entry.cases if case.progress == Progress.ISOLATING}
        for blade in decided.rejoin:
            here = [member for member in entry.members if member.blade == blade]
            if not any(member.running or member.id in isolating for member in here):
                self._submit(lambda _session, blade=blade: recoveries.plan_rejoin(blade), SYSTEM)  # type: ignore[misc]

    def _correct(self, pool: Pool, conditions: Mapping[str, BladeCondition], sights: Mapping[str, Sight]) -> None:
        """A trouble that was noted and that nobody would note the end of: of a blade that rests since, or by a controller before
        this one."""
        for blade in pool.blades:
            row = conditions.get(blade)
            troubled = row is not None and row.condition not in LOST and row.condition != Condition.HEALTHY
            if not troubled or self._manager.condition(blade) != Condition.HEALTHY:
                continue
            if blade in pool.resting:
                self._note_condition(blade, Verdict(Condition.HEALTHY, "it is in maintenance, where nobody misses it"))
            elif blade in sights and sights[blade].answers:
                self._note_condition(blade, Verdict(Condition.HEALTHY))

    def _note_condition(self, blade: str, verdict: Verdict) -> None:
        say = _log.info if verdict.condition == Condition.HEALTHY else _log.warning
        say("availability.blade", blade=blade, condition=verdict.condition, reason=verdict.reason)
        values: dict[str, object] = {
            "condition": verdict.condition,
            "reason": verdict.reason,
            "since": datetime.now(UTC),
        }
        if verdict.condition != Condition.HEALTHY:
            values["shaken"] = True
        self._keep(blade, **values)

    def _isolate(self, entry: _Found, loss: Loss, now: float) -> None:
        if self._is_due(loss.machine_id, now):
            self._submit(
                lambda session: recoveries.plan_loss(session, loss.machine_id, loss.blade, loss.cause),
                entry.tenants[loss.machine_id],
            )
            if loss.cause == Condition.STORAGE_LOST:  # the activity would wait for a move that cannot end
                threading.Thread(target=self._end_move, args=(loss,), name="availability move", daemon=True).start()

    def _end_move(self, loss: Loss) -> None:
        try:
            if insist(movements.end_hung, self._world, loss.machine_id, loss.blade):
                _log.warning("availability.move_ended", machine=loss.machine_id, blade=loss.blade)
        except NaosError as error:
            _log.warning("availability.move_not_ended", machine=loss.machine_id, blade=loss.blade, reason=str(error))

    def _explain(self, recovery_id: str, reason: str) -> None:
        """Why it waits, and one alarm for each reason."""
        with self._world.database.read() as session:
            row = session.get(Recovery, recovery_id)
        if row is not None and row.reason != reason and row.progress == Progress.WAITING:
            recoveries.note(self._world, recovery_id, reason=reason)
            _log.warning("availability.waits", machine=row.machine_id, recovery=recovery_id, reason=reason)

    def _look_at_guests(self, entry: _Found, now: float) -> None:
        for machine_id in self._hung.look(self._world, entry.members, now) if entry.pool.active else ():
            self._submit(lambda session, machine_id=machine_id: hung.plan_reset(session, machine_id), SYSTEM)  # type: ignore[misc]

    # ----------------------------------------------------------------------------------------------------------- pauses

    def _held_back(self, case: Case, now: float) -> Case:
        """One whose last attempt failed a moment ago is left alone for a while, ever longer."""
        due, _ = self._pauses.get(case.id, (0.0, 0.0))
        return replace(case, progress=RESTING) if case.progress == Progress.WAITING and due > now else case

    def _pause(self, key: str, now: float) -> None:
        _, last = self._pauses.get(key, (0.0, 0.0))
        pause = min(last * 2 or 1.0, LONGEST_PAUSE)
        self._pauses[key] = (now + pause, pause)

    def _is_due(self, key: str, now: float) -> bool:
        if self._pauses.get(key, (0.0, 0.0))[0] > now:
            return False
        self._pause(key, now)
        return True

    def _submit(self, check: Callable[[Session], Plan], tenant_id: str, *, recovery_id: str | None = None) -> None:
        """Once, while one like it is unfinished; the recovery that it is about remembers it."""

        def once(session: Session) -> Plan:
            plan = check(session)
            if is_unfinished(session, plan):
                raise _InHand
            return plan

        with suppress(_InHand):
            try:
                activity = self._engine.submit_now(once, Caller(tenant_id, SYSTEM))
            except NaosError as error:
                _log.info("availability.refused", reason=str(error))
                return
            recovery_id = recovery_id or activity.arguments.get("recovery_id")
            if recovery_id is not None:
                with self._world.database.write() as session:
                    session.execute(
                        sa.update(Recovery)
                        .where(Recovery.id == recovery_id, Recovery.progress.in_(OPEN))
                        .values(activity_id=activity.id)
                    )


class _InHand(Exception):
    """An activity that is unfinished does this already."""
