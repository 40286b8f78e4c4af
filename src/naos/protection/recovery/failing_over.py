"""A failover. Up to the moment at which the first machine changes its side it is undone when it fails; from there on it only goes
forward, and what does not come up is said in its report."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from naos.activity import Run, Undo, undo, workflow
from naos.compute import steps
from naos.protection import copying
from naos.protection.copying import Order
from naos.protection.recovery import guests, replicating, reports, rules, scopes, starting, switching
from naos.protection.recovery.course import Course, named, note_ready, start_all, world_of
from naos.protection.recovery.models import RecoveryRun
from naos.protection.recovery.rules import Kind
from naos.protection.recovery.scopes import Copy, Scope
from naos.world import World


@workflow("recovery.failover")
def failover(run: Run, arguments: dict[str, Any]) -> str:
    world, scope, kind = world_of(run), Scope.of(arguments["scope"]), Kind(arguments["kind"])
    run_id, down = str(arguments["run_id"]), bool(arguments["source_is_down"])
    course = Course(run, run_id)
    found = []
    for copy in (Copy.of(plain) for plain in arguments["copies"]):
        going_on = Undo("recovery.go_on", {"copy": copy.plain()}, "went on replicating")
        name = named(scope, copy)
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
        adopted = course.step(f"make the point of {named(scope, copy)} its disks", switching.adopt, world, copy)
        placed |= dict.fromkeys(adopted, copy.lun_id)
    for member in leaving.members:
        own = [copy for copy in found if member.machine_id in copy.machine_ids]
        moving = (world, scope, member, own, placed, cut[member.machine_id])
        course.step(f"move {member.name} to its other side", switching.switch, *moving, member=member)
    for copy in found:
        run.step("forget what the old side knows", switching.forget_base, world, copy)
    start_all(course, scope, lambda member: member.machine_id)
    run.step("see how long it took", note_ready, world, run_id)
    run.step("sign the report", _close_failover, world, run_id, found, kind.value, cut)
    return run_id


@undo("recovery.go_on")
def _go_on(world: World, arguments: dict[str, Any]) -> bool:
    return switching.go_on(world, Copy.of(arguments["copy"]))


def _with_copies(scope: Scope, found: list[Copy]) -> Scope:
    """Without the machines that an earlier run has moved: they are only started, if they do not run."""
    moving = {machine_id for copy in found for machine_id in copy.machine_ids}
    return replace(scope, members=tuple(member for member in scope.members if member.machine_id in moving))


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
    """In the order that is the reverse of starting, those of one turn at the same time; undone, they start again where they were."""
    world, by_id = course.world, {member.machine_id: member for member in scope.members}
    for group in reversed(rules.turns(rules.Turn(m.machine_id, m.turn, m.delay) for m in scope.members)):
        members = [by_id[one.machine_id] for one in reversed(group)]
        pressed: dict[str, str] = {}
        for member in members:
            back = {"machine_id": member.machine_id, "home_cpool_id": scope.home_cpool_id}
            again = Undo("recovery.restart", back, f"started {member.name} again where it was")
            if course.step(f"look at {member.name}", _runs, world, member.machine_id, member=member):
                pressing = (f"press the button of {member.name}", guests.press_button, world, member.machine_id)
                pressed[member.machine_id] = course.step(*pressing, member=member, undo=again)
        for member in members:
            if member.machine_id in pressed:
                waiting = (world, member.machine_id, pressed[member.machine_id], scope.shutdown)
                course.step(f"shut {member.name} down", guests.await_end, *waiting, member=member)
            course.step(f"cut {member.name} off", starting.stop, world, member.machine_id, member=member)


def _runs(world: World, machine_id: str) -> bool:
    return steps.is_running(world, machine_id)


@undo("recovery.restart")
def _restart(world: World, arguments: dict[str, Any]) -> bool:
    return starting.restart_at_home(world, arguments)


def _last_increment(run: Run, course: Course, scope: Scope, copy: Copy) -> Copy:
    """What was written since the last point, of machines that are off: nothing is lost."""
    world, whose = course.world, named(scope, copy)
    plain = run.step("decide what to copy last", _last_order, world, copy, run.activity_id)
    wanted = Order.of(plain)
    ending = Undo("recovery.cancel_copy", {"order": plain}, "dropped what had been copied")
    course.step(f"find out what {whose} changed", copying.prepare, world, wanted, undo=ending)
    instant = course.step(f"begin the last copy of {whose}", _begin, world, wanted)
    course.step(f"copy what {whose} wrote last", _follow, world, wanted, run.progress)
    course.step(f"complete the last point of {whose}", _finish, world, wanted, instant)
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
