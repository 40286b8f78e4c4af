"""A test: copies of the machines come up from their points, beside them, and go again."""

from typing import Any

from naos.activity import Run, Undo, undo, workflow
from naos.compute import steps
from naos.protection.recovery import reports, scopes, trying
from naos.protection.recovery.course import Course, members, named, note_ready, start_all, wait, world_of
from naos.protection.recovery.scopes import Copy, Scope
from naos.world import World


@workflow("recovery.test")
def test(run: Run, arguments: dict[str, Any]) -> str:
    """Nothing of the machines or their replication is touched; all that is made goes again, whatever happens."""
    world, scope, made = world_of(run), Scope.of(arguments["scope"]), arguments["made"]
    run_id, found = str(arguments["run_id"]), []
    course = Course(run, run_id)
    clearing = Undo("recovery.clear_test", arguments, "removed the test's machines, disks and network")
    course.step(
        "make the test's network", trying.make_network, world, scope, run.tenant_id, made["vlan"], undo=clearing
    )
    for plain in arguments["copies"]:
        copy = Copy.of(plain)
        holding = (world, copy, run_id, named(scope, copy), arguments["point_id"])
        copy = Copy.of(course.step(f"hold the point of {named(scope, copy)}", trying.hold_point, *holding))
        found.append(copy)
        held = run.step("look what the point holds", scopes.held, world, copy)
        for member in members(scope, copy):
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
        course.step(f"leave it up for {arguments['hold']} s", wait, arguments["hold"])
    run.step("see how long it took", note_ready, world, run_id)
    course.step("clean up", _clear, world, arguments)
    run.step("sign the report", _close_well, world, run_id, found)
    return run_id


def _disks_of(world: World, machine_id: str, held: list[str]) -> list[str]:
    return [disk_id for disk_id in steps.disk_ids(world, machine_id) if disk_id in held]


def _clear(world: World, arguments: dict[str, Any]) -> None:
    found = [Copy.of(plain) for plain in arguments["copies"]]
    trying.clear(world, Scope.of(arguments["scope"]), arguments["made"], found, arguments["run_id"])


@undo("recovery.clear_test")
def _clear_test(world: World, arguments: dict[str, Any]) -> None:
    _clear(world, arguments)


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
