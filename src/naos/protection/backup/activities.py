"""The durable work of backup: a run, the copy of one machine in it, what becomes of restore points."""

from typing import Any, cast

from naos.activity import Run, Undo, undo, workflow
from naos.activity.errors import Yielded
from naos.errors import NaosError
from naos.protection.backup import points, runs, taking
from naos.protection.copying import Order
from naos.world import World


def _world(run: Run) -> World:
    return cast(World, run.world)


@workflow("backup_policy.terms", steps=0)
@workflow("backup_quota.set", steps=0)
def note(run: Run, arguments: dict[str, Any]) -> str:
    """The rows changed when the request was checked."""
    del run
    return str(arguments["id"])


@workflow("backup_job.protect", steps=2)
def protect(run: Run, arguments: dict[str, Any]) -> str:
    world, activity_id = _world(run), run.activity_id
    abandoning = Undo("backup_run.abandon", {"activity_id": activity_id}, "noted that the run failed")
    number = run.step("open the run", runs.open_run, world, arguments, activity_id, undo=abandoning)
    run.step("wait for the machines", runs.follow, world, number, run.progress)
    return str(arguments["job"])


@undo("backup_run.abandon")
def _abandon(world: World, arguments: dict[str, Any]) -> None:
    runs.abandon(world, arguments["activity_id"])


@workflow("virtual_machine.backup", steps=6)
def back_up(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = _world(run), str(arguments["machine_id"])
    try:
        plain = run.step("decide what to copy", taking.reserve, world, arguments, run.activity_id)
        if plain is not None:
            _take(run, world, arguments, Order.of(plain))
    except NaosError as error:
        run.step("note why it failed", taking.note_failure, world, arguments, str(error))
        raise
    return machine_id


def _take(run: Run, world: World, arguments: dict[str, Any], order: Order) -> None:
    run.step("find out what changed", taking.prepare, world, order)
    begun = run.step("begin at one instant", taking.begin, world, order, arguments)
    copied = run.step("copy", taking.follow, world, order, run.progress, run.yield_requested)
    if copied is None:
        raise Yielded
    run.step("complete the point", taking.finish, world, order, arguments, begun, copied)
    run.step("let go of what is not kept any longer", points.expire, world, order.set_id)


@undo("virtual_machine.backup")
def _give_up(world: World, arguments: dict[str, Any]) -> None:
    taking.give_up(world, arguments)


@workflow("restore_point.delete", steps=1)
def delete_point(run: Run, arguments: dict[str, Any]) -> str:
    point_id = str(arguments["point_id"])
    run.step("delete it in the vault", points.delete, _world(run), point_id, arguments["force"])
    return point_id


@undo("restore_point.keep")
def _keep_point(world: World, arguments: dict[str, Any]) -> bool:
    return points.keep(world, arguments["point_id"])


@workflow("restore_point.verify", steps=1)
def verify_point(run: Run, arguments: dict[str, Any]) -> str:
    point_id = str(arguments["point_id"])
    run.step("read and compare", points.verify, _world(run), point_id)
    return point_id


@workflow("restore_points.expire", steps=1)
def expire_points(run: Run, arguments: dict[str, Any]) -> str:
    run.step("let go of what is not kept any longer", points.expire, _world(run), arguments["set_id"])
    return str(arguments["set_id"])
