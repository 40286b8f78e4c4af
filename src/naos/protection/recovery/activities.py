"""The durable work of recovery: replicas and the direction of copies here, tests and failovers in modules of their own."""

from collections.abc import Callable
from typing import Any

from naos.activity import Run, Undo, undo, workflow
from naos.activity.errors import Yielded
from naos.errors import NaosError
from naos.protection import copying
from naos.protection.copying import Order
from naos.protection.recovery import (
    conditions,
    failing_over,
    plans,
    rehearsal,
    remnants,
    replicating,
    reversing,
)
from naos.protection.recovery.course import world_of
from naos.protection.recovery.scopes import Scope
from naos.world import World

__all__ = ["conditions", "failing_over", "rehearsal"]  # imported for their effect: what they register


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
    world, replica_id = world_of(run), str(arguments["replica_id"])
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
    world, replica_id = world_of(run), str(arguments["replica_id"])
    run.step("remove its points", replicating.forget_copies, world, replica_id)
    run.step("forget it", replicating.forget, world, replica_id)
    return replica_id


@workflow("recovery.reverse")
def reverse(run: Run, arguments: dict[str, Any]) -> str:
    world, scope = world_of(run), Scope.of(arguments["scope"])
    run.step("check that the old side is cut off", reversing.check, world, scope)
    run.step("remove what was left on replicated volumes", reversing.clear, world, scope)
    run.step("turn the direction", reversing.turn, world, scope, run.activity_id)
    return scope.subject_id


@workflow("recovery.discard")
def discard(run: Run, arguments: dict[str, Any]) -> str:
    world = world_of(run)
    for machine_id in arguments["machine_ids"]:
        run.step("delete what it left behind", remnants.remove, world, machine_id)
    return str(arguments["subject_id"])
