"""The steps of one test or failover, as they are noted in its report, and how machines come up in their order."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from naos.activity import Run, Undo, undo
from naos.protection.recovery import guests, reports, rules, starting
from naos.protection.recovery.models import RecoveryRun
from naos.protection.recovery.scopes import Copy, Member, Scope
from naos.world import World


def world_of(run: Run) -> World:
    return cast(World, run.world)


class Course:
    """The steps of one run: each is noted with its times, under its number."""

    def __init__(self, run: Run, run_id: str) -> None:
        self._run, self.world, self._run_id, self._number = run, world_of(run), run_id, 0

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
                course.step(f"wait {one.delay - waited} s", wait, one.delay - waited)
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


def wait(seconds: int) -> None:
    time.sleep(seconds)


def note_ready(world: World, run_id: str) -> None:
    """The recovery time is up to here; cleaning up is not part of it."""
    with world.database.write() as session:
        row = session.get(RecoveryRun, run_id)
        if row is not None and "readyAfter" not in row.report:
            row.report = {"readyAfter": round((datetime.now(UTC) - row.started_at).total_seconds(), 3)}


def members(scope: Scope, copy: Copy) -> list[Member]:
    return [member for member in scope.members if member.machine_id in copy.machine_ids]


def named(scope: Scope, copy: Copy) -> str:
    return ", ".join(member.name for member in members(scope, copy))
