"""The durable work of maintenance: emptying a blade, calling that off, opening it again."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from typing import Any, cast

import sqlalchemy as sa

from naos.activity import Run, Undo, undo, workflow
from naos.activity.execution import Throttle
from naos.compute import maintenance, movements, relocation, seeds, steps
from naos.compute.errors import NoRoom, PoolFull
from naos.compute.maintenance_errors import EvacuationStopped, MaintenanceCancelled
from naos.compute.models import VirtualMachine
from naos.compute.relocation import Journey
from naos.engines.errors import EngineError
from naos.errors import NaosError
from naos.fleet import cpools, processors
from naos.fleet.models import Blade, BladeMove, Cpool, Maintenance
from naos.insistence import insist
from naos.network import vlans
from naos.world import World

LOOK_SECONDS = 0.25
"""How soon an evacuation notices that it was called off."""


@dataclass(frozen=True)
class Trip:
    """One machine's live migration within its cpool. back: it returns to where it was."""

    machine_id: str
    cpool_id: str
    source: str
    target: str
    back: bool = False


@workflow("blade.enter_maintenance")
def enter(run: Run, arguments: dict[str, Any]) -> str:
    """Stage by stage; called off, or failed, the blade takes machines again. Machines that had moved come back when it was called
    off, and stay where they are when one of them failed."""
    world, blade = cast(World, run.world), arguments["blade"]
    stages = run.step("plan the moves", _plan, world, blade, arguments["cpool_id"], arguments["movable"])
    run.step("write the moves down", _write_down, world, blade, stages)
    along = {trip["machine_id"]: trip["target"] for stage in stages for trip in stage}
    moved: list[Trip] = []
    for stage in stages:
        result = _travel(run, world, blade, [Trip(**trip) for trip in stage], along, arguments["at_once"])
        moved += [Trip(**trip) for trip in result["moved"]]
        if result["cancelled"]:
            break
        if result["failed"]:
            left = sum(len(entry) for entry in stages) - len(moved)
            failed = "; ".join(result["failed"].values())
            raise EvacuationStopped(blade, failed, len(moved), f"; {left} did not move")
    if not run.step("note that it is in maintenance", _close, world, blade):
        _bring_back(run, world, blade, moved, arguments["at_once"])
    return str(blade)


def _plan(world: World, blade: str, cpool_id: str, movable: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Again, as things are now that the machines are held."""
    with world.database.read() as session:
        cpool = session.get_one(Cpool, cpool_id)
        found = maintenance.evacuation_of(session, world, cpool, blade, frozenset(movable))
    maintenance.check_emptied(blade, found)
    return [
        [vars(Trip(move.machine_id, cpool_id, move.source, move.target)) for move in stage]
        for stage in found.stages or ()
    ]


def _write_down(world: World, blade: str, stages: Sequence[Sequence[dict[str, Any]]]) -> None:
    trips = [Trip(**trip) for stage in stages for trip in stage]
    with world.database.write() as session:
        session.execute(sa.delete(BladeMove).where(BladeMove.blade == blade))
        query = sa.select(VirtualMachine.id, VirtualMachine.name)
        found = session.execute(query.where(VirtualMachine.id.in_([trip.machine_id for trip in trips])))
        names = {machine_id: name for machine_id, name in found}  # noqa: C416 - rows, which dict takes for none
        session.add_all(
            BladeMove(
                blade=blade,
                machine_id=trip.machine_id,
                name=names[trip.machine_id],
                source=trip.source,
                target=trip.target,
                place=place,
            )
            for place, trip in enumerate(trips)
        )


def _close(world: World, blade: str) -> bool:
    """False when it was called off."""
    with world.database.write() as session:
        row = session.scalars(sa.select(Blade).where(Blade.name == blade).with_for_update()).one()
        if row.maintenance == Maintenance.CANCELLING:
            return False
        if row.maintenance != Maintenance.RESTING:
            maintenance.set_state(session, blade, Maintenance.RESTING)
        return True


# --------------------------------------------------------------------------------------------------------------- moving


def _travel(
    run: Run, world: World, blade: str, trips: Sequence[Trip], along: dict[str, str], at_once: int
) -> dict[str, Any]:
    """Move some machines side by side. `moved`: the trips that ended well; `failed`: machine id -> why; `cancelled`."""
    going = []
    for plain in run.step("look which of them run", _running, world, [vars(trip) for trip in trips]):
        trip = Trip(**plain)
        try:
            _make_ready(run, world, trip, along)
        except (NoRoom, PoolFull):
            if not trip.back:
                raise
            run.step("note that it stays away", _note, world, blade, trip.machine_id, "moved", "no room to return")
            continue
        going.append(trip)
    plain_trips = [vars(trip) for trip in going]
    result: dict[str, Any] = run.step("move", _move_all, world, blade, plain_trips, at_once, run.progress)
    for plain in result["moved"]:
        run.step("clean the old blade", seeds.remove, world, plain["machine_id"], plain["source"])
    return result


def _running(world: World, trips: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A machine that has stopped since needs no move: it is placed anew when it starts."""
    found = []
    for plain in trips:
        trip = Trip(**plain)
        row = steps.row(world, trip.machine_id)
        if row.reserved and row.blade == trip.source:
            found.append(plain)
    return found


def _make_ready(run: Run, world: World, trip: Trip, along: dict[str, str]) -> None:
    own = {"machine_id": trip.machine_id}
    run.step(
        "set the memory aside at the target",
        steps.claim,
        world,
        trip.machine_id,
        trip.cpool_id,
        trip.target,
        along,
        undo=Undo("virtual_machine.drop_claim", own, "gave the memory at the target back"),
    )
    run.step("bring the networks", steps.bring_networks, world, trip.machine_id, trip.target)
    abandon = {**own, "blade": trip.target, "cpool_id": trip.cpool_id}
    run.step(
        "put the seed",
        seeds.put,
        world,
        trip.machine_id,
        trip.target,
        undo=Undo("virtual_machine.abandon_move", abandon, f"cleaned {trip.target}"),
    )


def _move_all(
    world: World, blade: str, plain_trips: Sequence[dict[str, Any]], at_once: int, report: Callable[[float], None]
) -> dict[str, Any]:
    """No further move begins once one has failed or all are called off; then those under way are aborted."""
    trips = [Trip(**plain) for plain in plain_trips]
    outcome: dict[str, Any] = {"moved": [], "failed": {}, "cancelled": False}
    halt, gone = Event(), Event()
    with ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="evacuation") as pool:
        futures: dict[Future[str], Trip] = {
            pool.submit(_move_one, world, blade, trip, halt, gone): trip for trip in trips
        }
        pending = set(futures)
        try:
            while pending:
                done, pending = wait(pending, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    _take(world, blade, futures[future], future.result(), outcome, halt)
                if trips and not trips[0].back and _is_called_off(world, blade):
                    outcome["cancelled"] = True
                    halt.set()
                    _abort(world, [futures[future] for future in pending if future.running()])
                report((len(trips) - len(pending)) / len(trips))
        except BaseException:
            halt.set()
            gone.set()
            raise
    return outcome


def _take(world: World, blade: str, trip: Trip, reason: str, outcome: dict[str, Any], halt: Event) -> None:
    if reason == _LEFT:
        _note(world, blade, trip.machine_id, "left")
    elif reason:
        _note(world, blade, trip.machine_id, "left" if outcome["cancelled"] else "failed", reason)
        if not outcome["cancelled"]:
            outcome["failed"][trip.machine_id] = reason
            halt.set()
    else:
        outcome["moved"].append(vars(trip))


_LEFT = "left"


class _Gone(Exception):
    """The controller stops; the move goes on without it."""


def _move_one(world: World, blade: str, trip: Trip, halt: Event, gone: Event) -> str:
    """ "" when it has arrived, `_LEFT` when it never began, else why it stays."""
    if steps.row(world, trip.machine_id).blade != trip.target:
        if halt.is_set():
            return _LEFT
        _note(world, blade, trip.machine_id, "moving")
        due = Throttle(1.0)

        def progress(share: float) -> None:
            if gone.is_set():
                raise _Gone
            if due():
                _note(world, blade, trip.machine_id, "moving", share=share)

        try:
            steps.move(world, trip.machine_id, trip.source, trip.target, progress)
        except NaosError as error:
            return str(error)
        movements.record_arrival(world, trip.machine_id, trip.target, trip.cpool_id)
    _note(world, blade, trip.machine_id, "returned" if trip.back else "moved", share=1.0)
    return ""


def _is_called_off(world: World, blade: str) -> bool:
    return maintenance.state_of(world, blade) == Maintenance.CANCELLING


def _abort(world: World, trips: Sequence[Trip]) -> None:
    for trip in trips:
        with suppress(EngineError):  # it has arrived meanwhile, or says itself what is wrong
            world.rack.hypervisor(trip.source).abort_migration(trip.machine_id)


def _note(world: World, blade: str, machine_id: str, state: str, reason: str = "", *, share: float = 0.0) -> None:
    with world.database.write() as session:
        session.execute(
            sa.update(BladeMove)
            .where(BladeMove.blade == blade, BladeMove.machine_id == machine_id)
            .values(state=state, reason=reason, share=share)
        )


# ------------------------------------------------------------------------------------------------------------ and back


def _bring_back(run: Run, world: World, blade: str, moved: Sequence[Trip], at_once: int) -> None:
    """The blade is open again, and everything is where it was. Raises MaintenanceCancelled, always."""
    run.step("open it again", _reopen, world, blade)
    trips = [Trip(trip.machine_id, trip.cpool_id, trip.target, trip.source, back=True) for trip in reversed(moved)]
    along = {trip.machine_id: trip.target for trip in trips}
    returned = _travel(run, world, blade, trips, along, at_once)["moved"] if trips else []
    raise MaintenanceCancelled(blade, len(returned))


def _reopen(world: World, blade: str) -> None:
    with world.database.write() as session:
        maintenance.set_state(session, blade, Maintenance.OPEN)


@undo("blade.reopen")
def _undo_reopen(world: World, arguments: dict[str, Any]) -> bool:
    """False when it is open already."""
    blade = arguments["blade"]
    if maintenance.state_of(world, blade) == Maintenance.OPEN:
        return False
    _reopen(world, blade)
    return True


@workflow("blade.cancel_maintenance")
def cancel(run: Run, arguments: dict[str, Any]) -> str:
    """Runs once the evacuation has ended, which has brought everything back."""
    run.step("see that it is open", _see_open, cast(World, run.world), arguments["blade"])
    return str(arguments["blade"])


def _see_open(world: World, blade: str) -> None:
    """An evacuation that could not take itself back has left the blade closed: that is ended here."""
    if maintenance.state_of(world, blade) == Maintenance.CANCELLING:
        _reopen(world, blade)


@workflow("blade.exit_maintenance")
def leave(run: Run, arguments: dict[str, Any]) -> str:
    """A machine that cannot move after all stays where it is: the blade is open."""
    world, blade = cast(World, run.world), arguments["blade"]
    run.step("see that it answers", cpools.verify_blade, world, blade)
    for vlan_id in run.step("list its VLANs", vlans.carried_by, world, arguments["cpool_id"]):
        run.step("bring a VLAN", insist, vlans.bring, world, vlan_id, blade)
    run.step("compute the baseline of the processors", processors.settle, world, arguments["cpool_id"])
    run.step("open it", _reopen, world, blade)
    for plain in arguments["journeys"]:
        with suppress(NoRoom, PoolFull):
            relocation.travel(run, world, Journey(**plain), {})
    return str(blade)
