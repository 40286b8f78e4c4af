"""What the leading controller watches: volumes whose daemon was lost, machines that changed by themselves, blades that are
gone, clones that still share blocks with their template.

It only looks; whatever must be done is an activity like any other, under the same locks and in the same log.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Caller, Engine, Plan
from naos.activity.locks import is_free
from naos.activity.submission import is_unfinished
from naos.activity.watch import Watch
from naos.catalogue import library
from naos.compute import hooks, losses, machines, seeds, strays, virtual_disks
from naos.compute.hooks import Loss
from naos.compute.models import Power, VirtualMachine
from naos.engines.errors import EngineError
from naos.engines.ports import LunContents, PowerState
from naos.errors import NaosError, Unknown
from naos.fleet.models import Blade
from naos.lifecycle import Lifecycle
from naos.network import vlans
from naos.storage import disks, luns, reserve, space
from naos.storage.models import Disk, Lun
from naos.world import World

PERIOD_SECONDS = 1.0
PATIENCE_SECONDS = 2.0
"""How long a round waits for a look. One that takes longer goes on by itself, and its host is left to it meanwhile."""
FABRIC_PERIOD_SECONDS = 5.0
FLATTEN_AFTER_SECONDS = 60.0
BASE_PERIOD_SECONDS = 5.0
MEASURE_PERIOD_SECONDS = 15.0
RECOVER_SECONDS = 2.0  # between attempts to bring a volume back; each pause is twice the one before,
RECOVER_MOST_SECONDS = 15.0  # and not longer than this
RESUME_FULL_SECONDS = 30.0  # between attempts while a volume has hardly any space
ALIVE = (PowerState.RUNNING, PowerState.PAUSED, PowerState.STOPPING)
SYSTEM = "naos"
"""The actor of activities that nobody asked for."""

_log = structlog.get_logger()


class Supervisor(Watch):
    """Looks once a period, and at once when a hypervisor reports a change, on the controller that leads."""

    name = "supervisor"

    def __init__(self, world: World, engine: Engine, *, period: float = PERIOD_SECONDS) -> None:
        super().__init__(engine, period)
        self._world = world
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="supervisor")
        self._under_way: dict[str, Future[None]] = {}
        self._listeners: dict[str, threading.Thread] = {}
        self._fabric_due: dict[str, float] = {}
        self._base_due: dict[tuple[str, str], float] = {}
        self._measure_due: dict[str, float] = {}
        self._resume_due: dict[str, float] = {}
        self._surplus: dict[str, set[tuple[str, int]]] = {}
        self._boots = losses.Boots(world)
        self._recover_due: dict[str, tuple[float, float]] = {}

    def stop(self) -> None:
        super().stop()
        self._pool.shutdown(wait=True)

    def rest(self) -> None:
        self._boots.forget()
        self._recover_due.clear()

    def look(self) -> None:
        """One round over the whole fleet; hosts that do not answer hold up nobody but themselves."""
        with self._world.database.read() as session:
            blades = machines.blades(session)
            volumes = list(
                session.scalars(sa.select(Lun).where(Lun.lifecycle.in_((Lifecycle.ACTIVE, Lifecycle.REPLICA))))
            )
        for blade in blades:
            self._listen(blade.name)
        tasks: list[tuple[Callable[[str], None], str]] = [(self._look_at_blade, blade.name) for blade in blades]
        tasks += [(self._look_at_volume, lun.id) for lun in volumes]
        for look, subject in tasks:
            if subject not in self._under_way:
                self._under_way[subject] = self._pool.submit(self._safely, look, subject)
        wait(self._under_way.values(), PATIENCE_SECONDS)
        self._under_way = {subject: look for subject, look in self._under_way.items() if not look.done()}
        self._flatten_clones()

    def _safely(self, look: Callable[[str], None], subject: str) -> None:
        try:
            look(subject)
        except Unknown as gone:  # it, or what it held, was deleted since the round began
            _log.info("supervisor.subject_gone", subject=subject, reason=str(gone))
        except Exception:
            _log.exception("supervisor.look_failed", subject=subject)

    def _listen(self, blade: str) -> None:
        if blade not in self._listeners:
            listener = threading.Thread(target=self._events, args=(blade,), name=f"events {blade}", daemon=True)
            self._listeners[blade] = listener
            listener.start()

    def _events(self, blade: str) -> None:
        for event in self._world.rack.hypervisor(blade).events():
            _log.info("domain.event", blade=event.blade, machine=event.domain_id, kind=event.kind)
            self.wake()

    # ------------------------------------------------------------------------------------------------------ looking

    def _look_at_blade(self, blade: str) -> None:
        try:
            states = self._world.rack.hypervisor(blade).domains()
        except EngineError as error:
            self._boots.forget(blade)
            self._note_connection(blade, connected=False, reason=str(error))
            return
        with self._world.database.read() as session:
            barred = not hooks.may_join(session, blade)
        if barred:
            self._boots.forget(blade)
            self._note_connection(blade, connected=False, reason="what it ran before it was lost is not removed yet")
            return
        self._note_connection(blade, connected=True)
        with self._world.database.read() as session:
            expected = machines.running_on(session, blade)
            stopped = self._stopped_on(session, blade)
            waiting = space.waiting(session)
        missing: list[tuple[VirtualMachine, PowerState]] = []
        for machine in expected:
            state = states.get(machine.id, PowerState.ABSENT)
            if machine.id in waiting and state != PowerState.IO_ERROR:
                with self._world.database.write() as session:
                    space.note_waiting(session, machine.id, ())
            if state == PowerState.IO_ERROR:
                self._resume(machine, blade, waits=machine.id in waiting)
            elif state not in ALIVE and self._differs(machine.id, blade):
                missing.append((machine, state))
        returned = not self._boots.is_known(blade)
        self._look_after(blade, expected, missing)
        for machine in stopped:
            if states.get(machine.id) in strays.ALIVE and self._differs(machine.id, blade):
                self._settle(machine)
        at_home = {machine.id for machine in (*expected, *stopped)}
        self._look_at_strays(blade, states.keys() - at_home, set(self._seeds(blade)) - at_home if returned else set())
        self._look_at_fabric(blade)

    def _look_after(
        self, blade: str, expected: Sequence[VirtualMachine], missing: Sequence[tuple[VirtualMachine, PowerState]]
    ) -> None:
        """Machines that do not run there any more. Nothing is noted of them while the blade cannot be asked what it is booted as."""
        rebooted = self._boots.anew(blade, missing=bool(missing))
        if rebooted is None:
            return
        seen_to = True
        for machine, state in missing:
            try:
                loss = losses.loss(self._world, blade, machine.id, state, rebooted=rebooted)
            except EngineError as error:
                _log.warning("machine.loss_unknown", machine=machine.id, blade=blade, reason=str(error))
                seen_to = False
                continue
            seen_to = self._settle(machine, loss) and seen_to
        if seen_to and self._boots.is_new(blade):
            there = {machine.id for machine in expected} - {machine.id for machine, _ in missing}
            if self._runs_still(blade, there):
                self._boots.keep(blade)

    def _runs_still(self, blade: str, machine_ids: Collection[str]) -> bool:
        """Whether these run now that it is known what the blade is booted as: they were listed before that was asked."""
        try:
            states = self._world.rack.hypervisor(blade).domains()
        except EngineError:
            return False
        return all(states.get(machine_id) in strays.ALIVE for machine_id in machine_ids)

    def _seeds(self, blade: str) -> list[str]:
        try:
            return seeds.on_blade(self._world, blade)
        except EngineError:
            return []

    def _look_at_strays(self, blade: str, domains: Collection[str], seeded: Collection[str]) -> None:
        """Domains here of machines that are elsewhere; and seeds, on a blade that was away when they should have gone."""
        if not (domains or seeded):
            return
        with self._world.database.read() as session:
            found = strays.on(session, blade, {*domains, *seeded})
        for machine in found:
            state = self._world.rack.hypervisor(blade).state(machine.id)
            if state == PowerState.ABSENT and machine.id not in seeded:
                continue  # it was on its way when the blade was asked
            self._submit(partial(strays.plan_remove, machine_id=machine.id, blade=blade), tenant_id=machine.tenant_id)

    def _differs(self, machine_id: str, blade: str) -> bool:
        """A second look: table and hypervisor were read one after the other, and a machine may have started in between."""
        with self._world.database.read() as session:
            machine = session.get(VirtualMachine, machine_id)
        if machine is None or machine.blade != blade or machine.lifecycle != Lifecycle.ACTIVE:
            return False
        alive = self._world.rack.hypervisor(blade).state(machine_id) in (*ALIVE, PowerState.IO_ERROR)
        return alive != (machine.power == Power.RUNNING)

    def _look_at_fabric(self, blade: str) -> None:
        """A blade that was started anew has lost its VLANs."""
        if time.monotonic() < self._fabric_due.get(blade, 0.0):
            return
        self._fabric_due[blade] = time.monotonic() + FABRIC_PERIOD_SECONDS
        for vlan in vlans.lost_by(self._world, blade):
            self._submit(
                partial(vlans.plan_restore, vlan_id=vlan.id, blade=blade), tenant_id=vlan.tenant_id, patient=True
            )

    @staticmethod
    def _stopped_on(session: Session, blade: str) -> list[VirtualMachine]:
        query = sa.select(VirtualMachine).where(
            VirtualMachine.blade == blade,
            VirtualMachine.power == Power.STOPPED,
            VirtualMachine.lifecycle == Lifecycle.ACTIVE,
        )
        return list(session.scalars(query))

    def _note_connection(self, blade: str, *, connected: bool, reason: str = "") -> None:
        with self._world.database.read() as session:
            known = session.scalar(sa.select(Blade.connected).where(Blade.name == blade))
        if known != connected:
            _log.warning("blade.connection", blade=blade, connected=connected, reason=reason)
            with self._world.database.write() as session:
                session.execute(sa.update(Blade).where(Blade.name == blade).values(connected=connected))

    def _resume(self, machine: VirtualMachine, blade: str, *, waits: bool) -> None:
        """A guest whose disk did not answer or had no space waits, without an error, until its array is back or has space.
        waits: it is noted that it waits for space."""
        with self._world.database.read() as session:
            volumes = {disk.lun_id for disk in session.scalars(sa.select(Disk).where(Disk.machine_id == machine.id))}
        full = [lun_id for lun_id in sorted(volumes) if self._is_full(lun_id)]
        if full or waits:
            with self._world.database.write() as session:
                space.note_waiting(session, machine.id, full)
        if full and time.monotonic() < self._resume_due.get(machine.id, 0.0):
            return
        if all(self._volume_is_whole(lun_id) for lun_id in volumes):
            self._resume_due[machine.id] = time.monotonic() + RESUME_FULL_SECONDS
            _log.warning("machine.resumed", machine=machine.id, blade=blade)
            self._world.rack.hypervisor(blade).resume(machine.id)

    def _is_full(self, lun_id: str) -> bool:
        try:
            return luns.usage(self._world, lun_id).free < space.ENOUGH
        except EngineError:
            return False

    def _volume_is_whole(self, lun_id: str) -> bool:
        contents = self._contents(lun_id)
        return contents is not None and self._serves_all(lun_id, contents)

    def _contents(self, lun_id: str) -> LunContents | None:
        array, _ = luns.spec(self._world, lun_id)
        try:
            return self._world.rack.array(array).contents(lun_id)
        except EngineError:
            return None

    def _serves_all(self, lun_id: str, contents: LunContents) -> bool:
        """Whether the array serves every export that the tables have."""
        wanted = luns.exported(self._world, lun_id)
        return all(contents.exports.get(disk.id) == disk.epoch for disk in wanted)

    def _serves_more(self, lun_id: str, contents: LunContents) -> bool:
        """Whether an export stands, now and a round ago, that the tables do not have: one that is being cut is there once."""
        wanted = {disk.id: disk.epoch for disk in luns.exported(self._world, lun_id)}
        surplus = {(disk_id, epoch) for disk_id, epoch in contents.exports.items() if wanted.get(disk_id) != epoch}
        stands = bool(surplus & self._surplus.get(lun_id, set()))
        self._surplus[lun_id] = surplus
        return stands

    def _look_at_volume(self, lun_id: str) -> None:
        contents = self._contents(lun_id)
        self._measure(lun_id, answered=contents is not None)
        if contents is None or not self._serves_all(lun_id, contents) or self._serves_more(lun_id, contents):
            self._recover(lun_id)
            return
        self._recover_due.pop(lun_id, None)
        luns.admit(self._world, lun_id)
        for template_id in contents.templates:
            self._look_at_base(lun_id, template_id)

    def _recover(self, lun_id: str) -> None:
        """At once; again after a pause, ever longer, while it helps nothing: as when what its disks rest on is itself away."""
        due, pause = self._recover_due.get(lun_id, (0.0, 0.0))
        now = time.monotonic()
        if now < due:
            return
        with self._world.database.read() as session:
            under_way = is_unfinished(session, luns.plan_recover(session, lun_id))
        if not under_way:
            pause = min(pause * 2 or RECOVER_SECONDS, RECOVER_MOST_SECONDS)
            self._submit(lambda session: luns.plan_recover(session, lun_id), patient=True)
        self._recover_due[lun_id] = (now + pause, pause)

    def _measure(self, lun_id: str, *, answered: bool) -> None:
        """Keep the volume's space for lists and placement; that its array is silent is kept at once, and asked again once
        it speaks."""
        if not answered:
            self._measure_due.pop(lun_id, None)
            luns.note_silence(self._world, lun_id)
        elif time.monotonic() >= self._measure_due.get(lun_id, 0.0):
            self._measure_due[lun_id] = time.monotonic() + MEASURE_PERIOD_SECONDS
            luns.measure(self._world, lun_id)
            with self._world.database.read() as session:
                returns = reserve.may_return(session, lun_id)
            if returns:
                self._submit(partial(reserve.plan_return, lun_id=lun_id))

    def _look_at_base(self, lun_id: str, template_id: str) -> None:
        """The base of a template that is gone goes too, once its last clone has become independent."""
        if time.monotonic() < self._base_due.get((lun_id, template_id), 0.0):
            return
        with self._world.database.read() as session:
            shared = sa.select(Disk.id).where(Disk.lun_id == lun_id, Disk.backing == template_id).limit(1)
            if library.is_kept(session, template_id) or session.scalar(shared) is not None:
                return
        self._base_due[lun_id, template_id] = time.monotonic() + BASE_PERIOD_SECONDS
        self._submit(partial(luns.plan_drop_base, lun_id=lun_id, template_id=template_id))

    def _settle(self, machine: VirtualMachine, loss: Loss | None = None) -> bool:
        """Note what became of it; one that was lost may have somebody who cares for it. False when it is in other hands."""

        def check(session: Session) -> Plan:
            found = session.get(VirtualMachine, machine.id)
            special = hooks.plan_for_loss(session, found, loss) if found is not None and loss is not None else None
            return special or machines.plan_settle(session, machine.id)

        return self._submit(check, tenant_id=machine.tenant_id)

    def _flatten_clones(self) -> None:
        """One at a time, the oldest first, and none whose guest may still be booting from it."""
        settled = datetime.now(UTC) - timedelta(seconds=FLATTEN_AFTER_SECONDS)
        clones = (
            sa.select(Disk)
            .where(Disk.backing.is_not(None), Disk.lifecycle == Lifecycle.ACTIVE, Disk.created_at < settled)
            .where(sa.not_(disks.resting_on_backing()))
            .order_by(Disk.created_at)
            .limit(1)
        )
        with self._world.database.read() as session:
            oldest = list(session.scalars(clones))
        for disk in oldest:
            self._submit(partial(virtual_disks.plan_flatten, disk_id=disk.id), tenant_id=disk.tenant_id)

    # ------------------------------------------------------------------------------------------------------- acting

    def _submit(self, check: Callable[[Session], Plan], *, tenant_id: str = SYSTEM, patient: bool = False) -> bool:
        """One such activity at a time. Unless `patient`, an object that an activity works on already is left to it: then False."""
        under_way = False

        def once(session: Session) -> Plan:
            nonlocal under_way
            plan = check(session)
            under_way = is_unfinished(session, plan)
            if under_way or not (patient or is_free(session, plan.locks)):
                raise InHand
            return plan

        try:
            self._engine.submit_now(once, Caller(tenant_id, SYSTEM))
        except InHand:
            return under_way
        except NaosError as error:
            _log.warning("supervisor.refused", reason=str(error))
            return False
        return True


class InHand(Exception):
    """An unfinished activity holds what this one would need: it sees to it, or the next round does."""
