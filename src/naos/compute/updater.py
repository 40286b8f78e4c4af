"""Takes hypervisor updates through their cpools, on the controller that leads: one blade at a time, from activity to activity.

Every activity is submitted under a key of update, blade and phase, so that a successor finds what its predecessor began. The first
blade that fails ends the update: it stays as it is, and the others are not touched.
"""

from collections.abc import Callable

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Caller, Engine, Plan
from naos.activity.models import Activity, State
from naos.activity.watch import Watch
from naos.compute import machines, maintenance, starting, updates
from naos.compute.models import Power, VirtualMachine
from naos.errors import NaosError
from naos.fleet import builds
from naos.fleet.models import Blade, BladeUpdate, Cpool, PoolUpdate
from naos.world import World

PERIOD_SECONDS = 1.0
SHUTDOWN_SECONDS = 60
SYSTEM = "naos"

_log = structlog.get_logger()


class Updater(Watch):
    name = "updater"

    def __init__(self, world: World, engine: Engine, *, period: float = PERIOD_SECONDS) -> None:
        super().__init__(engine, period)
        self._world = world

    def look(self) -> None:
        """One round over the updates that are not over: each goes on as far as it can at once."""
        with self._world.database.read() as session:
            found = list(session.scalars(sa.select(PoolUpdate.id).where(PoolUpdate.state.in_(builds.OPEN))))
        for update_id in found:
            while self._advance(update_id) and not self.is_stopping():
                pass

    # ---------------------------------------------------------------------------------------------------------- phases

    def _advance(self, update_id: str) -> bool:
        """Whether there is more to do at once."""
        with self._world.database.read() as session:
            update = session.get_one(PoolUpdate, update_id)
            if update.state not in builds.OPEN:  # another look ended it meanwhile
                return False
            rows = session.scalars(sa.select(BladeUpdate).where(BladeUpdate.update_id == update_id))
            left = sorted((row for row in rows if row.phase != "done"), key=lambda row: row.place)
        if not left:
            return self._end(update, updates.DONE)
        entry = left[0]
        if entry.phase == "waiting" and update.state == updates.ENDING:
            return self._end(update, updates.STOPPED, "it was cancelled")
        try:
            return self._PHASES[entry.phase](self, update, entry)
        except NaosError as refusal:
            return self._fail(update, entry, str(refusal))

    def _begin(self, update: PoolUpdate, entry: BladeUpdate) -> bool:
        with self._world.database.read() as session:
            cpool = session.get_one(Cpool, update.cpool_id)
            present = self._running(session, entry.blade)
            found = maintenance.evacuation_of(session, self._world, cpool, entry.blade)
        if entry.rested:
            return self._go(entry, "installing")
        if found.stages is None and update.downtime:
            return self._go(entry, "stopping", machines=present)
        return self._go(entry, "emptying")

    @staticmethod
    def _running(session: Session, blade: str) -> list[str]:
        query = sa.select(VirtualMachine.id).where(VirtualMachine.blade == blade, VirtualMachine.reserved > 0)
        return list(session.scalars(query.order_by(VirtualMachine.name)))

    def _stopping(self, update: PoolUpdate, entry: BladeUpdate) -> bool:
        """Every machine is asked to shut down; one that does not is switched off."""
        ended = True
        for machine_id in entry.machines:
            asked = self._machine_activity(
                update,
                entry,
                machine_id,
                "shutdown",
                lambda session, machine_id=machine_id: machines.plan_shutdown(  # type: ignore[misc]
                    session, update.tenant_id, machine_id, seconds=SHUTDOWN_SECONDS
                ),
                Power.STOPPED,
            )
            if asked is not None and asked.state == State.FAILED:
                asked = self._machine_activity(
                    update,
                    entry,
                    machine_id,
                    "power off",
                    lambda session, machine_id=machine_id: machines.plan_power_off(  # type: ignore[misc]
                        session, update.tenant_id, machine_id
                    ),
                    Power.STOPPED,
                )
                if asked is not None and asked.state == State.FAILED:
                    return self._fail(update, entry, asked.reason or "a machine does not stop")
            ended = ended and (asked is None or asked.state == State.COMPLETED)
        return self._go(entry, "emptying") if ended else False

    def _emptying(self, update: PoolUpdate, entry: BladeUpdate) -> bool:
        return self._work(
            update,
            entry,
            lambda session: maintenance.plan_enter(
                session, self._world, update.tenant_id, self._blade_id(session, entry)
            ),
            "installing",
        )

    def _installing(self, update: PoolUpdate, entry: BladeUpdate) -> bool:
        after = "opening" if not entry.rested else "done"
        return self._work(
            update, entry, lambda session: updates.plan_install(session, entry.blade, update.build_id), after
        )

    def _opening(self, update: PoolUpdate, entry: BladeUpdate) -> bool:
        return self._work(
            update,
            entry,
            lambda session: maintenance.plan_exit(
                session, self._world, update.tenant_id, self._blade_id(session, entry)
            ),
            "starting" if entry.machines else "done",
        )

    def _starting(self, update: PoolUpdate, entry: BladeUpdate) -> bool:
        """One that does not start fails the update: whoever is told can look."""
        ended = True
        for machine_id in entry.machines:
            asked = self._machine_activity(
                update,
                entry,
                machine_id,
                "start",
                lambda session, machine_id=machine_id: starting.plan_power_on(session, update.tenant_id, machine_id),  # type: ignore[misc]
                Power.RUNNING,
            )
            if asked is not None and asked.state == State.FAILED:
                return self._fail(update, entry, asked.reason or "a machine does not start")
            ended = ended and (asked is None or asked.state == State.COMPLETED)
        return self._go(entry, "done") if ended else False

    _PHASES: dict[str, Callable[["Updater", PoolUpdate, BladeUpdate], bool]] = {  # noqa: RUF012 - a table of methods
        "waiting": _begin,
        "stopping": _stopping,
        "emptying": _emptying,
        "installing": _installing,
        "opening": _opening,
        "starting": _starting,
    }

    # ----------------------------------------------------------------------------------------------------- submissions

    def _work(self, update: PoolUpdate, entry: BladeUpdate, check: Callable[[Session], Plan], after: str) -> bool:
        """The phase's one activity: begun, waited for, or followed by the next phase."""
        activity = self._submitted(update, f"{entry.blade}:{entry.phase}", check)
        if entry.activity_id != activity.id:
            self._note(entry, activity_id=activity.id)
        if activity.state == State.FAILED:
            return self._fail(update, entry, activity.reason or "it did not say why")
        return self._go(entry, after) if activity.state == State.COMPLETED else False

    def _machine_activity(
        self,
        update: PoolUpdate,
        entry: BladeUpdate,
        machine_id: str,
        what: str,
        check: Callable[[Session], Plan],
        wanted: Power,
    ) -> Activity | None:
        """None for a machine that is as wanted, or is gone."""
        with self._world.database.read() as session:
            machine = session.get(VirtualMachine, machine_id)
        if machine is None or machine.power == wanted:
            return None
        return self._submitted(update, f"{entry.blade}:{what}:{machine_id}", check)

    def _submitted(self, update: PoolUpdate, what: str, check: Callable[[Session], Plan]) -> Activity:
        """Under its key: the second time it is the same activity, as it is by then."""
        key = f"update:{update.id}:{what}"
        known = self._engine.submit_now(check, Caller(update.tenant_id, SYSTEM, key, what))
        with self._world.database.read() as session:
            return session.get_one(Activity, known.id)

    @staticmethod
    def _blade_id(session: Session, entry: BladeUpdate) -> str:
        return session.scalars(sa.select(Blade.id).where(Blade.name == entry.blade)).one()

    # ----------------------------------------------------------------------------------------------------------- notes

    def _go(self, entry: BladeUpdate, phase: str, **values: object) -> bool:
        self._note(entry, phase=phase, activity_id=None, **values)
        return True

    def _note(self, entry: BladeUpdate, **values: object) -> None:
        with self._world.database.write() as session:
            mine = sa.update(BladeUpdate).where(
                BladeUpdate.update_id == entry.update_id,
                BladeUpdate.blade == entry.blade,
                BladeUpdate.phase == entry.phase,  # a leader that was slow does not take a step of its successor's back
            )
            session.execute(mine.values(**values))

    def _fail(self, update: PoolUpdate, entry: BladeUpdate, reason: str) -> bool:
        self._note(entry, phase="failed", reason=reason)
        return self._end(update, updates.FAILED, f"{entry.blade}: {reason}")

    def _end(self, update: PoolUpdate, state: str, reason: str = "") -> bool:
        _log.info("update.ended", update=update.id, cpool=update.cpool_id, state=state, reason=reason)
        with self._world.database.write() as session:
            updates.end(session.get_one(PoolUpdate, update.id), state, reason)
        return False
