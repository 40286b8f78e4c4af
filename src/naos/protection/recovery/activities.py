"""The durable work of recovery. Up to the moment at which the first machine changes its side a failover is undone when it fails;
from there on it only goes forward, and what does not come up is said in its report."""

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from naos.activity import Run, Undo, undo, workflow
from naos.activity.errors import Yielded
from naos.compute import steps
from naos.errors import NaosError
from naos.protection import copying
from naos.protection.copying import Order
from naos.protection.recovery import (
    conditions,
    guests,
    plans,
    remnants,
    replicating,
    reports,
    reversing,
    rules,
    scopes,
    starting,
    switching,
    trying,
)
from naos.protection.recovery.models import RecoveryRun
from naos.protection.recovery.rules import Kind
from naos.protection.recovery.scopes import Copy, Member, Scope
from naos.world import World

__all__ = ["conditions"]  # imported for its effect: it has its say about every machine


def _world(run: Run) -> World:
    return cast(World, run.world)


@workflow("replica.note", steps=0)
def note_replica(run: Run, arguments: dict[str, Any]) -> str:
    """The row changed when the request was checked."""
    del run
    return str(arguments["replica_id"])


@workflow("recovery_plan.note", steps=0)
def note_plan(run: Run, arguments: dict[str, Any]) -> str:
    """The rows changed when the request was checked."""
    del run
    return str(arguments["plan_id"])


@undo("replica.forget")
def _forget_replica(world: World, arguments: dict[str, Any]) -> None:
    replicating.forget(world, arguments["replica_id"])


@undo("recovery_plan.forget")
def _forget_plan(world: World, arguments: dict[str, Any]) -> None:
    with world.database.write() as session:
        plans.forget(session, arguments["plan_id"])


# ---------------------------------------------------------------------------------------------------------- replicating


@workflow("virtual_machine.replicate", steps=6)
def replicate(run: Run, arguments: dict[str, Any]) -> str:
    world, replica_id = _world(run), str(arguments["replica_id"])
    try:
        plain = run.step("decide what to copy", _order, world, replica_id)
        if plain is not None:
            wanted = Order.of(plain)
            machine_id = replicating_machine(world, replica_id)
            instant, sent = _take(run, world, wanted, lambda: replicating.begin(world, wanted, machine_id))
            run.step("complete the point", replicating.finish, world, replica_id, wanted, instant, sent)
            run.step("let earlier points go", replicating.prune, world, replica_id)
            run.step("remove what a failover left", replicating.drop_remnants, world, replica_id)
    except NaosError as error:
        run.step("note why it failed", replicating.note_failure, world, replica_id, str(error))
        raise
    return replica_id


def replicating_machine(world: World, replica_id: str) -> str:
    return replicating.row(world, replica_id).machine_id


def _order(world: World, replica_id: str) -> dict[str, Any] | None:
    wanted = replicating.order(world, replica_id)
    return wanted.plain() if wanted is not None else None


def _take(run: Run, world: World, wanted: Order, begin: Callable[[], str]) -> tuple[str, int]:
    """A point's copy up to its completion: its instant, and the bytes that travelled. Raises Yielded when somebody waits."""
    ending = Undo("recovery.cancel_copy", {"order": wanted.plain()}, "dropped what had been copied")
    run.step("find out what changed", copying.prepare, world, wanted, undo=ending)
    instant = run.step("begin at one instant", begin)
    sent = run.step("copy", replicating.follow, world, wanted, run.progress, run.yield_requested)
    if sent is None:
        raise Yielded
    return str(instant), int(sent)


@undo("recovery.cancel_copy")
def _cancel_copy(world: World, arguments: dict[str, Any]) -> None:
    copying.cancel(world, Order.of(arguments["order"]))


@workflow("replica.stop", steps=2)
def stop_replica(run: Run, arguments: dict[str, Any]) -> str:
    """Forward only: the row goes last."""
    world, replica_id = _world(run), str(arguments["replica_id"])
    run.step("remove its points", replicating.forget_copies, world, replica_id)
    run.step("forget it", replicating.forget, world, replica_id)
    return replica_id


@workflow("recovery.reverse")
def reverse(run: Run, arguments: dict[str, Any]) -> str:
    world, scope = _world(run), Scope.of(arguments["scope"])
    run.step("check that the old side is cut off", reversing.check, world, scope)
    run.step("remove what was left on replicated volumes", reversing.clear, world, scope)
    run.step("turn the direction", reversing.turn, world, scope, run.activity_id)
    return scope.subject_id


@workflow("recovery.discard")
def discard(run: Run, arguments: dict[str, Any]) -> str:
    world = _world(run)
    for machine_id in arguments["machine_ids"]:
        run.step("delete what it left behind", remnants.remove, world, machine_id)
    return str(arguments["subject_id"])


# --------------------------------------------------------------------------------------------------------------- a run


class Course:
    """The steps of one run: each is noted with its times, under its number."""

    def __init__(self, run: Run, run_id: str) -> None:
        self._run, self.world, self._run_id, self._number = run, _world(run), run_id, 0

    def step(
        self,
        name: str,
        function: Callable[..., Any],
        *args: Any,
        member: Member | None = None,
        undo: Undo | None = None,
    ) -> Any:
        self._number += 1
        machine_id = member.machine_id if member is not None else None
        noted = (self.world, self._run_id, self._number, name, machine_id)
        return self._run.step(name, reports.timed, *noted, function, *args, undo=undo)

    def judge(self, remark: str, *, failed: bool) -> None:
        """Of the step before."""
        self._run.step("note what is missing", reports.judge, self.world, self._run_id, self._number, remark, failed)


@undo("recovery_run.close")
def _close(world: World, arguments: dict[str, Any]) -> None:
    reports.close(world, arguments["run_id"], {}, "it was given up, and what had begun was taken back")


def start_all(course: Course, scope: Scope, place_of: Callable[[Member], str], *, ruled: bool = True) -> None:
    """Start the machines turn by turn, then wait for their signs of life. One that fails stops no other."""
    by_id = {member.machine_id: member for member in scope.members}
    world = course.world
    for group in rules.turns(rules.Turn(one.machine_id, one.turn, one.delay) for one in scope.members):
        waited, up = 0, []
        for one in group:
            member = by_id[one.machine_id]
            if one.delay > waited:
                course.step(f"wait {one.delay - waited} s", _wait, one.delay - waited)
                waited = one.delay
            failure = course.step(
                f"start {member.name}", starting.bring_up, world, place_of(member), ruled, member=member
            )
            if failure:
                course.judge(failure, failed=True)
            else:
                up.append(member)
        for member in up:
            _await_life(course, member, place_of(member))


def _await_life(course: Course, member: Member, machine_id: str) -> None:
    if member.check == rules.Check.NONE:
        return
    awaited = (machine_id, member.check, member.expects, member.patience)
    missing = course.step(f"see {member.name} live", guests.await_life, course.world, *awaited, member=member)
    if missing:
        course.judge(missing, failed=True)


def _wait(seconds: int) -> None:
    time.sleep(seconds)


# ------------------------------------------------------------------------------------------------------------------ test


@workflow("recovery.test")
def test(run: Run, arguments: dict[str, Any]) -> str:
    """Nothing of the machines or their replication is touched; all that is made goes again, whatever happens."""
    world, scope, made = _world(run), Scope.of(arguments["scope"]), arguments["made"]
    run_id, found = str(arguments["run_id"]), []
    course = Course(run, run_id)
    clearing = Undo("recovery.clear_test", arguments, "removed the test's machines, disks and network")
    course.step(
        "make the test's network", trying.make_network, world, scope, run.tenant_id, made["vlan"], undo=clearing
    )
    for plain in arguments["copies"]:
        copy = Copy.of(plain)
        holding = (world, copy, run_id, _named(scope, copy), arguments["point_id"])
        copy = Copy.of(course.step(f"hold the point of {_named(scope, copy)}", trying.hold_point, *holding))
        found.append(copy)
        held = run.step("look what the point holds", scopes.held, world, copy)
        for member in _members(scope, copy):
            test_id = made[member.machine_id]
            making = (world, scope, member, copy, test_id, made["vlan"], held)
            course.step(f"make a machine like {member.name}", trying.make_machine, *making, member=member)
            for disk_id in run.step("list its disks", _disks_of, world, member.machine_id, held):
                target = trying.disk_id_of(test_id, disk_id)
                filling = (world, copy, run_id, disk_id, target)
                course.step(f"fill a disk of {member.name}", trying.fill, *filling, member=member)
        run.step("end the reading of the point", trying.end_reading, world, copy, run_id)
    start_all(course, scope, lambda member: str(made[member.machine_id]), ruled=False)
    if arguments["hold"]:
        course.step(f"leave it up for {arguments['hold']} s", _wait, arguments["hold"])
    run.step("see how long it took", _note_ready, world, run_id)
    course.step("clean up", _clear, world, arguments)
    run.step("sign the report", _close_well, world, run_id, found)
    return run_id


def _members(scope: Scope, copy: Copy) -> list[Member]:
    return [member for member in scope.members if member.machine_id in copy.machine_ids]


def _disks_of(world: World, machine_id: str, held: list[str]) -> list[str]:
    return [disk_id for disk_id in steps.disk_ids(world, machine_id) if disk_id in held]


def _clear(world: World, arguments: dict[str, Any]) -> None:
    found = [Copy.of(plain) for plain in arguments["copies"]]
    trying.clear(world, Scope.of(arguments["scope"]), arguments["made"], found, arguments["run_id"])


@undo("recovery.clear_test")
def _clear_test(world: World, arguments: dict[str, Any]) -> None:
    _clear(world, arguments)


def _note_ready(world: World, run_id: str) -> None:
    """The recovery time is up to here; cleaning up is not part of it."""
    with world.database.write() as session:
        row = session.get(RecoveryRun, run_id)
        if row is not None and "readyAfter" not in row.report:
            row.report = {"readyAfter": round((datetime.now(UTC) - row.started_at).total_seconds(), 3)}


def _close_well(world: World, run_id: str, found: list[Copy]) -> None:
    points = [
        {
            "kind": copy.kind,
            "id": copy.id,
            "pointId": copy.point_id,
            "instant": copy.instant,
            "machines": list(copy.machine_ids),
        }
        for copy in found
    ]
    reports.close(world, run_id, {"points": points})


# -------------------------------------------------------------------------------------------------------------- failover


@workflow("recovery.failover")
def failover(run: Run, arguments: dict[str, Any]) -> str:
    world, scope, kind = _world(run), Scope.of(arguments["scope"]), Kind(arguments["kind"])
    run_id, down = str(arguments["run_id"]), bool(arguments["source_is_down"])
    course = Course(run, run_id)
    found = []
    for copy in (Copy.of(plain) for plain in arguments["copies"]):
        going_on = Undo("recovery.go_on", {"copy": copy.plain()}, "went on replicating")
        name = _named(scope, copy)
        course.step(
            f"take no further point of {name}", switching.pause, world, copy, kind != Kind.UNPLANNED, undo=going_on
        )
        choosing = (world, copy, name, arguments["point_id"])
        found.append(Copy.of(course.step(f"see the point of {name}", switching.choose_point, *choosing)))
    leaving = _with_copies(scope, found)
    if kind == Kind.UNPLANNED:
        cut = _cut_off(course, leaving, down)
    else:
        _shut_down(course, leaving)
        found = [_last_increment(run, course, scope, copy) for copy in found]
        cut = {member.machine_id: True for member in leaving.members}
    placed: dict[str, str] = {}
    for copy in found:
        adopted = course.step(f"make the point of {_named(scope, copy)} its disks", switching.adopt, world, copy)
        placed |= dict.fromkeys(adopted, copy.lun_id)
    for member in leaving.members:
        own = [copy for copy in found if member.machine_id in copy.machine_ids]
        moving = (world, scope, member, own, placed, cut[member.machine_id])
        course.step(f"move {member.name} to its other side", switching.switch, *moving, member=member)
    for copy in found:
        run.step("forget what the old side knows", switching.forget_base, world, copy)
    start_all(course, scope, lambda member: member.machine_id)
    run.step("see how long it took", _note_ready, world, run_id)
    run.step("sign the report", _close_failover, world, run_id, found, kind.value, cut)
    return run_id


@undo("recovery.go_on")
def _go_on(world: World, arguments: dict[str, Any]) -> bool:
    return switching.go_on(world, Copy.of(arguments["copy"]))


def _with_copies(scope: Scope, found: list[Copy]) -> Scope:
    """Without the machines that an earlier run has moved: they are only started, if they do not run."""
    moving = {machine_id for copy in found for machine_id in copy.machine_ids}
    return replace(scope, members=tuple(member for member in scope.members if member.machine_id in moving))


def _named(scope: Scope, copy: Copy) -> str:
    return ", ".join(member.name for member in _members(scope, copy))


def _cut_off(course: Course, scope: Scope, down: bool) -> dict[str, bool]:  # noqa: FBT001
    """Before anything is written at the other side. By machine: whether its exports are certainly cut."""
    cut = {}
    for member in scope.members:
        how = course.step(
            f"cut {member.name} off", switching.cut_off, course.world, member.machine_id, scope, down, member=member
        )
        course.step(
            f"end {member.name}", switching.end_at_source, course.world, member.machine_id, scope, member=member
        )
        cut[member.machine_id] = switching.is_cut(how)
    return cut


def _shut_down(course: Course, scope: Scope) -> None:
    """In the order that is the reverse of starting; undone, they start again where they were."""
    world = course.world
    order = [
        one for group in rules.turns(rules.Turn(m.machine_id, m.turn, m.delay) for m in scope.members) for one in group
    ]
    by_id = {member.machine_id: member for member in scope.members}
    for one in reversed(order):
        member = by_id[one.machine_id]
        back = {"machine_id": member.machine_id, "home_cpool_id": scope.home_cpool_id}
        if course.step(f"look at {member.name}", _runs, world, member.machine_id, member=member):
            again = Undo("recovery.restart", back, f"started {member.name} again where it was")
            course.step(
                f"shut {member.name} down",
                guests.shut_down,
                world,
                member.machine_id,
                scope.shutdown,
                member=member,
                undo=again,
            )
        course.step(f"cut {member.name} off", starting.stop, world, member.machine_id, member=member)


def _runs(world: World, machine_id: str) -> bool:
    return steps.is_running(world, machine_id)


@undo("recovery.restart")
def _restart(world: World, arguments: dict[str, Any]) -> bool:
    return starting.restart_at_home(world, arguments)


def _last_increment(run: Run, course: Course, scope: Scope, copy: Copy) -> Copy:
    """What was written since the last point, of machines that are off: nothing is lost."""
    world, named = course.world, _named(scope, copy)
    plain = run.step("decide what to copy last", _last_order, world, copy, run.activity_id)
    wanted = Order.of(plain)
    ending = Undo("recovery.cancel_copy", {"order": plain}, "dropped what had been copied")
    course.step(f"find out what {named} changed", copying.prepare, world, wanted, undo=ending)
    instant = course.step(f"begin the last copy of {named}", _begin, world, wanted)
    course.step(f"copy what {named} wrote last", _follow, world, wanted, run.progress)
    course.step(f"complete the last point of {named}", _finish, world, wanted, instant)
    return replace(copy, point_id=wanted.point_id, instant=instant)


def _last_order(world: World, copy: Copy, activity_id: str) -> dict[str, Any]:
    point_id = str(uuid.uuid5(uuid.UUID(activity_id), copy.set_id))
    return scopes.order(world, copy, point_id).plain()


def _begin(world: World, wanted: Order) -> str:
    return copying.begin(world, wanted).isoformat()


def _follow(world: World, wanted: Order, progress: Callable[[float], None]) -> str:
    """How much travelled, in words."""
    sent = replicating.follow(world, wanted, progress, lambda: False)
    return f"{sent} bytes"


def _finish(world: World, wanted: Order, instant: str) -> None:
    copying.finish(world, wanted, datetime.fromisoformat(instant))


def _close_failover(world: World, run_id: str, found: list[Copy], kind: str, cut: dict[str, bool]) -> None:
    """What is lost: nothing of a planned one; else what was written after each point's instant, up to the beginning of the run."""
    with world.database.read() as session:
        began = session.get_one(RecoveryRun, run_id).started_at
    points = []
    for copy in found:
        age = rules.worst_age(datetime.fromisoformat(copy.instant), began) if copy.instant else None
        lost = 0.0 if kind != Kind.UNPLANNED else age
        points.append(
            {
                "kind": copy.kind,
                "id": copy.id,
                "pointId": copy.point_id,
                "instant": copy.instant,
                "machines": list(copy.machine_ids),
                "lostSeconds": round(lost, 3) if lost is not None else None,
            }
        )
    unfenced = sorted(machine_id for machine_id, done in cut.items() if not done)
    reports.close(world, run_id, {"points": points, "notYetFenced": unfenced})
