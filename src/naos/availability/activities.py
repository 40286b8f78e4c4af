"""The durable work of high availability."""

import threading
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, cast

import sqlalchemy as sa
import structlog

from naos.activity import Run, workflow
from naos.availability import conditions, recoveries, rules, settings
from naos.availability.detection import Condition
from naos.availability.models import OPEN, BladeCondition, Priority, Progress, Recovery
from naos.compute import firmware, steps, strays, swapping
from naos.compute.errors import NoRoom, PoolFull
from naos.compute.models import Power, VirtualMachine
from naos.compute.startup import start
from naos.engines.errors import EngineError
from naos.engines.ports import BladePower, PowerState
from naos.errors import NaosError
from naos.lifecycle import Lifecycle
from naos.storage import disks
from naos.world import World

__all__ = ["conditions"]  # imported for its effect: it has its say about every machine

_log = structlog.get_logger()
_switching: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
ALIVE = (PowerState.RUNNING, PowerState.PAUSED, PowerState.IO_ERROR, PowerState.STOPPING)


@workflow("cpool.set_availability", steps=0)
def note_pool(run: Run, arguments: dict[str, Any]) -> str:
    """The row changed when the request was checked."""
    del run
    return str(arguments["cpool_id"])


@workflow("virtual_machine.set_availability", steps=0)
def note_machine(run: Run, arguments: dict[str, Any]) -> str:
    """The row changed when the request was checked."""
    del run
    return str(arguments["machine_id"])


# ------------------------------------------------------------------------------------------------------------ isolating


@workflow("virtual_machine.isolate")
def isolate(run: Run, arguments: dict[str, Any]) -> str:
    """Forward only: its disks are cut off at the array first, so whatever still runs there can write no more; then its power."""
    world, machine_id, recovery_id = cast(World, run.world), arguments["machine_id"], arguments["recovery_id"]
    if run.step("look", _is_to_be_isolated, world, machine_id, recovery_id):
        for disk_id in run.step("list the disks", steps.disk_ids, world, machine_id):
            run.step("cut a disk's export", disks.fence, world, disk_id)
        run.step("cut the power", _cut_power, world, machine_id, recovery_id)
        run.step("give the swap file back", swapping.give_back, world, machine_id)
        run.step("note that it waits", _note_waiting, world, machine_id, recovery_id)
    return str(machine_id)


def _is_to_be_isolated(world: World, machine_id: str, recovery_id: str) -> bool:
    """Whether it is still lost. One that moved away, or runs after all, is not."""
    with world.database.read() as session:
        recovery, machine = session.get(Recovery, recovery_id), session.get(VirtualMachine, machine_id)
    if recovery is None or machine is None or recovery.progress not in OPEN:
        return False
    if recovery.progress == Progress.WAITING:
        return False
    moved = machine.power == Power.RUNNING and machine.blade != recovery.blade
    missed = recovery.cause in (rules.CRASHED, rules.MISSING)
    runs = missed and (steps.is_running(world, machine_id) or _has_arrived(world, machine_id))
    if moved or runs:
        recoveries.note(world, recovery_id, Progress.ABANDONED, reason="it runs after all")
        return False
    return True


def _has_arrived(world: World, machine_id: str) -> bool:
    """Whether a move that was given up came to its end after all; then that is noted."""
    blade = strays.where_it_runs(world, machine_id)
    if blade is not None:
        strays.note_place(world, machine_id, blade)
    return blade is not None


def _cut_power(world: World, machine_id: str, recovery_id: str) -> str:
    """What was done, for the activity's log: the disks are cut off already, so nothing depends on it."""
    with world.database.read() as session:
        recovery = session.get_one(Recovery, recovery_id)
    if recovery.cause in (Condition.DEAD, Condition.FROZEN):
        return switch_off(world, recovery.blade)
    try:
        world.rack.hypervisor(recovery.blade).power_off(machine_id)
        firmware.keep(world, machine_id)
    except EngineError as error:
        return f"the hypervisor does not do it: {error}"
    return "powered off"


def switch_off(world: World, blade: str) -> str:
    """Switch a lost blade off, once for all machines that were on it; one whose chassis does not answer is left alone."""
    with _switching[blade]:
        chassis = world.rack.chassis(blade)
        try:
            if chassis.power() == BladePower.OFF:
                return "it is off"
            chassis.off()
        except EngineError as error:
            _log.warning("availability.not_switched_off", blade=blade, reason=str(error))
            return f"its chassis does not answer: {error}"
    _log.warning("availability.switched_off", blade=blade)
    return "switched off"


def _note_waiting(world: World, machine_id: str, recovery_id: str) -> None:
    steps.record_stopped(world, machine_id)
    with world.database.read() as session:
        own, recovery = settings.of_machine(session, machine_id), session.get_one(Recovery, recovery_id)
    if recovery.unwanted:
        recoveries.note(world, recovery_id, Progress.ABANDONED, reason=recoveries.POWERED_OFF)
    elif own.priority == Priority.DISABLED:
        recoveries.note(world, recovery_id, Progress.ABANDONED, reason="its restart priority is disabled")
    else:
        recoveries.note(world, recovery_id, Progress.WAITING)


# ------------------------------------------------------------------------------------------------------------- starting


@workflow("virtual_machine.recover")
def recover(run: Run, arguments: dict[str, Any]) -> str:
    """A start like any other, of a machine that still waits for it."""
    world, machine_id, recovery_id = cast(World, run.world), arguments["machine_id"], arguments["recovery_id"]
    if not run.step("look", _is_to_be_started, world, machine_id, recovery_id):
        return str(machine_id)
    try:
        start(run, world, machine_id, {"blade": arguments["blade"]})
    except NaosError as error:
        counts = not isinstance(error, (NoRoom, PoolFull))
        run.step("note why it did not start", _note_failure, world, machine_id, recovery_id, str(error), counts)
        raise
    run.step("note that it is back", _note_recovered, world, machine_id, recovery_id)
    return str(machine_id)


def _is_to_be_started(world: World, machine_id: str, recovery_id: str) -> bool:
    with world.database.read() as session:
        recovery, machine = session.get(Recovery, recovery_id), session.get(VirtualMachine, machine_id)
        if recovery is None or machine is None or recovery.progress != Progress.STARTING:
            return False
    if machine.power == Power.STOPPED and machine.lifecycle == Lifecycle.ACTIVE:
        return True
    recoveries.note(world, recovery_id, Progress.ABANDONED, reason="it was started, or is deleted, by somebody else")
    return False


def _note_failure(world: World, machine_id: str, recovery_id: str, reason: str, counts: bool) -> None:  # noqa: FBT001 - of a step
    """Back in the queue, unless this was its last attempt."""
    with world.database.read() as session:
        own = settings.of_machine(session, machine_id)
        recovery = session.get_one(Recovery, recovery_id)
    attempts = recovery.attempts + counts
    most = 1 if own.best_effort else own.restart_limit
    progress = Progress.ABANDONED if attempts >= most or own.best_effort else Progress.WAITING
    recoveries.note(world, recovery_id, progress, reason=reason, attempts=attempts)
    _log.warning("availability.start_failed", machine=machine_id, attempts=attempts, of=most, reason=reason)


def _note_recovered(world: World, machine_id: str, recovery_id: str) -> None:
    target = steps.row(world, machine_id).blade
    recoveries.note(world, recovery_id, Progress.RECOVERED, target=target, reason="")
    _log.warning("availability.recovered", machine=machine_id, blade=target)


# -------------------------------------------------------------------------------------------------------------- joining


@workflow("blade.rejoin", steps=2)
def rejoin(run: Run, arguments: dict[str, Any]) -> str:
    """A blade takes machines again once nothing is left on it of those that were started elsewhere."""
    world, blade = cast(World, run.world), arguments["blade"]
    run.step("remove stale machines", _remove_stale, world, blade)
    run.step("let it join", _let_join, world, blade)
    return str(blade)


def _remove_stale(world: World, blade: str) -> list[str]:
    """Domains of machines that the tables do not have running there are ended; of those that are elsewhere nothing is left."""
    hypervisor = world.rack.hypervisor(blade)
    removed = []
    for domain_id, state in hypervisor.domains().items():
        with world.database.read() as session:
            machine = session.get(VirtualMachine, domain_id)
        if machine is None or (machine.blade == blade and machine.power == Power.RUNNING):
            continue
        if state in ALIVE:
            hypervisor.power_off(domain_id)
            removed.append(domain_id)
        if machine.blade != blade:
            steps.undefine(world, domain_id, blade)
    _log.warning("availability.cleaned", blade=blade, ended=removed)
    return removed


def _let_join(world: World, blade: str) -> None:
    with world.database.write() as session:
        session.execute(
            sa.update(BladeCondition)
            .where(BladeCondition.blade == blade)
            .values(condition=Condition.HEALTHY, reason="", since=datetime.now(UTC))
        )
