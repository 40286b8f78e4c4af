"""The durable work of maintenance: emptying a blade, calling that off, opening it again."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Event
from typing import Any, cast

import sqlalchemy as sa

from naos.activity import Run, Undo, undo, workflow
from naos.activity.execution import Throttle
from naos.compute import hooks, maintenance, movements, relocation, seeds, steps, strays
from naos.compute.errors import NoRoom, PoolFull
from naos.compute.maintenance_errors import CannotBeEmptied, EvacuationStopped, MaintenanceCancelled
from naos.compute.models import VirtualMachine
from naos.compute.relocation import Journey
from naos.engines.errors import EngineError
from naos.errors import NaosError
from naos.fleet import cpools, processors
from naos.fleet.models import Blade, BladeMove, Cpool, Maintenance
from naos.fleet.rules import resting
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
    off, and stay where they are when one of them failed. Where only a target was lost, as it closed or does not answer any more, the
    rest is planned anew without it."""
    world, blade = cast(World, run.world), arguments["blade"]
    cpool_id, movable = arguments["cpool_id"], arguments["movable"]
    stages = run.step("plan the moves", _plan, world, blade, cpool_id, movable)
    run.step("write the moves down", _write_down, world, blade, stages)
    moved: dict[str, Trip] = {}
    planned, avoid = set[str](), set[str]()
    while True:
        planned |= {trip["machine_id"] for stage in stages for trip in stage}
        result = _go_through(run, world, arguments, stages, moved)
        if not result["failed"]:
            break
        failed, rest = "; ".join(result["failed"].values()), None
        if result["lost"].keys() == result["failed"].keys() and not avoid >= set(result["lost"].values()):
            avoid |= set(result["lost"].values())
            run.step("let the lost targets go", _let_go, world, stages)
            found = run.step("plan the rest anew", _plan_rest, world, blade, cpool_id, movable, sorted(avoid))
            rest, failed = found["stages"], "; ".join(filter(None, (failed, found["reason"])))
        if rest is None:
            left = f"; {len(planned - moved.keys())} did not move"
            raise EvacuationStopped(blade, failed, len(moved), left)
        stages = rest
        run.step("write the rest down", _write_down, world, blade, stages, True)
    if not run.step("note that it is in maintenance", _close, world, blade):
        _bring_back(run, world, blade, list(moved.values()), arguments["at_once"])
    return str(blade)


def _go_through(
    run: Run,
    world: World,
    arguments: dict[str, Any],
    stages: Sequence[Sequence[dict[str, Any]]],
    moved: dict[str, Trip],
) -> dict[str, Any]:
    """One stage after the other, until one has a move that fails or all are called off; what came of that one, as `_travel` says.
    `moved` grows: each machine's way from where it was at first."""
    result: dict[str, Any] = {"failed": {}, "lost": {}}
    along = {trip["machine_id"]: trip["target"] for stage in stages for trip in stage}
    for stage in stages:
        trips = [Trip(**trip) for trip in stage]
        result = _travel(run, world, arguments["blade"], trips, along, arguments["at_once"])
        for plain in result["moved"]:
            trip = Trip(**plain)
            before = moved.get(trip.machine_id)
            moved[trip.machine_id] = replace(trip, source=before.source) if before is not None else trip
        if result["cancelled"]:
            return {**result, "failed": {}, "lost": {}}
        if result["failed"]:
            break
    return result


def _plan(
    world: World, blade: str, cpool_id: str, movable: Sequence[str], avoid: Sequence[str] = ()
) -> list[list[dict[str, Any]]]:
    """Again, as things are now that the machines are held."""
    with world.database.read() as session:
        cpool = session.get_one(Cpool, cpool_id)
        found = maintenance.evacuation_of(session, world, cpool, blade, frozenset(movable), frozenset(avoid))
    maintenance.check_emptied(blade, found)
    return [
        [vars(Trip(move.machine_id, cpool_id, move.source, move.target)) for move in stage]
        for stage in found.stages or ()
    ]


def _plan_rest(world: World, blade: str, cpool_id: str, movable: Sequence[str], avoid: Sequence[str]) -> dict[str, Any]:
    """`stages` of what is left, None when it has no other place: then `reason` says why."""
    try:
        return {"stages": _plan(world, blade, cpool_id, movable, avoid), "reason": ""}
    except CannotBeEmptied as error:
        return {"stages": None, "reason": str(error)}


def _let_go(world: World, stages: Sequence[Sequence[dict[str, Any]]]) -> None:
    """What was set aside and put down for moves that did not happen. A target that does not answer is tidied when it is back."""
    for trip in [Trip(**trip) for stage in stages for trip in stage]:
        if steps.row(world, trip.machine_id).blade == trip.source:
            steps.drop_claim(world, trip.machine_id)
            with suppress(EngineError):
                world.rack.hypervisor(trip.target).abandon_arrival(trip.machine_id)
                if world.rack.hypervisor(trip.target).state(trip.machine_id) not in strays.ALIVE:
                    steps.undefine(world, trip.machine_id, trip.target)


def _write_down(
    world: World,
    blade: str,
    stages: Sequence[Sequence[dict[str, Any]]],
    rest: bool = False,  # noqa: FBT001, FBT002 - of a step
) -> None:
    """rest: what has moved stays written down."""
    trips = [Trip(**trip) for stage in stages for trip in stage]
    with world.database.write() as session:
        stale = sa.delete(BladeMove).where(BladeMove.blade == blade)
        if rest:
            again = BladeMove.machine_id.in_([trip.machine_id for trip in trips])
            stale = stale.where(sa.or_(BladeMove.state != "moved", again))
        session.execute(stale)
        kept = session.scalar(sa.select(sa.func.count()).select_from(BladeMove).where(BladeMove.blade == blade)) or 0
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
            for place, trip in enumerate(trips, start=kept)
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
    """Move some machines side by side. `moved`: the trips that ended well; `failed`: machine id -> why; `lost`: of those the ones
    whose target was lost, machine id -> target; `cancelled`."""
    going, refused, lost = [], {}, {}
    for plain in run.step("look which of them run", _running, world, [vars(trip) for trip in trips]):
        trip = Trip(**plain)
        try:
            _make_ready(run, world, trip, along)
        except (NoRoom, PoolFull) as error:
            if trip.back:
                run.step("note that it stays away", _note, world, blade, trip.machine_id, "moved", "no room to return")
            else:
                refused[trip.machine_id], lost[trip.machine_id] = str(error), trip.target
                run.step("note that it has no room", _note, world, blade, trip.machine_id, "failed", str(error))
            continue
        going.append(trip)
    plain_trips = [vars(trip) for trip in going]
    result: dict[str, Any] = run.step("move", _move_all, world, blade, plain_trips, at_once, run.progress)
    for plain in result["moved"]:
        run.step("clean the old blade", seeds.remove, world, plain["machine_id"], plain["source"])
    return {**result, "failed": {**refused, **result["failed"]}, "lost": {**lost, **result["lost"]}}


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
    outcome: dict[str, Any] = {"moved": [], "failed": {}, "lost": {}, "cancelled": False}
    halt, gone = Event(), Event()
    with ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="evacuation") as pool:
        futures: dict[Future[Ending], Trip] = {
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


def _take(world: World, blade: str, trip: Trip, ending: "Ending", outcome: dict[str, Any], halt: Event) -> None:
    """A target that was lost keeps nobody from another one."""
    if ending.never_began:
        _note(world, blade, trip.machine_id, "left")
    elif ending.reason:
        _note(world, blade, trip.machine_id, "left" if outcome["cancelled"] else "failed", ending.reason)
        if not outcome["cancelled"]:
            outcome["failed"][trip.machine_id] = ending.reason
            if ending.lost:
                outcome["lost"][trip.machine_id] = trip.target
            else:
                halt.set()
    else:
        outcome["moved"].append(vars(trip))


@dataclass(frozen=True)
class Ending:
    """What came of a move: "" for the reason when it has arrived. lost: its target closed or went away, and the machine runs on
    where it was."""

    reason: str = ""
    lost: bool = False
    never_began: bool = False


class _Gone(Exception):
    """The controller stops; the move goes on without it."""


def _move_one(world: World, blade: str, trip: Trip, halt: Event, gone: Event) -> Ending:
    if steps.row(world, trip.machine_id).blade != trip.target:
        if halt.is_set():
            return Ending(never_began=True)
        closed = None if trip.back else _why_closed(world, trip)
        if closed is not None:
            return Ending(closed, lost=True)
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
            return Ending(str(error), lost=not trip.back and _lost_its_target(world, trip))
        movements.record_arrival(world, trip.machine_id, trip.target, trip.cpool_id)
    _note(world, blade, trip.machine_id, "returned" if trip.back else "moved", share=1.0)
    return Ending()


def _why_closed(world: World, trip: Trip) -> str | None:
    """Why the target takes no machine any more; None while it does."""
    with world.database.read() as session:
        row = session.scalars(sa.select(Blade).where(Blade.name == trip.target)).one()
        why = resting(row.maintenance) or hooks.closed_blades(session, trip.cpool_id).get(trip.target, "")
    why = why or ("" if row.connected else "not connected")
    return f"{trip.target}: {why}" if why else None


def _lost_its_target(world: World, trip: Trip) -> bool:
    """Whether a move failed for its target, which closed meanwhile or does not answer, and the machine runs on where it was."""
    try:
        if not steps.is_running(world, trip.machine_id):
            return False
    except EngineError:
        return False
    if _why_closed(world, trip) is not None:
        return True
    try:
        world.rack.hypervisor(trip.target).domains()
    except EngineError:
        return True
    return False


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
