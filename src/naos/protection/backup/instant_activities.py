"""The durable work of instant starts."""

from typing import Any, cast

from naos.activity import Run, undo, workflow
from naos.compute import cloning
from naos.compute.startup import start
from naos.protection.backup import instant_holds, instant_steps, restoring
from naos.protection.backup.activities import bring_network
from naos.protection.backup.restore_wire import Mode
from naos.protection.backup.restores import State
from naos.storage import disks
from naos.world import World

if instant_holds.forget_disk not in disks.FORGET_HOOKS:
    disks.FORGET_HOOKS.append(instant_holds.forget_disk)
if instant_holds.resting not in disks.MOVED_OTHERWISE:
    disks.MOVED_OTHERWISE.append(instant_holds.resting)


def _world(run: Run) -> World:
    return cast(World, run.world)


@workflow("restore_point.instant_start")
def instant_start(run: Run, arguments: dict[str, Any]) -> str:
    """The machine runs when this ends; its disks move in afterwards."""
    world, machine_id, restore_id = _world(run), str(arguments["machine_id"]), str(arguments["restore_id"])
    bring_network(run, world, arguments["vlan_id"])
    run.step("lay the disks over the point", instant_steps.lay, world, restore_id)
    if arguments["replace"]:
        run.step("put the disks in place", restoring.replace, world, restore_id, machine_id, arguments["fillings"])
        run.step("let them move in", instant_steps.begin, world, restore_id)
        start(run, world, machine_id)
        return machine_id
    start(run, world, machine_id)
    run.step("publish", cloning.publish, world, machine_id)
    state = State.TEST if arguments["mode"] == Mode.TEST else State.DONE
    run.step("note the restore", restoring.note, world, restore_id, state.value)
    run.step("let them move in", instant_steps.begin, world, restore_id)
    return machine_id


@undo("instant_start.forget")
def _forget(world: World, arguments: dict[str, Any]) -> bool | None:
    return instant_steps.forget(world, arguments["restore_id"])


@workflow("restore_point.move_in", steps=2)
def move_in(run: Run, arguments: dict[str, Any]) -> str:
    world, restore_id = _world(run), str(arguments["restore_id"])
    run.step("bring in what the vault holds", instant_steps.move, world, restore_id, run.progress, run.yield_requested)
    run.step("let the point go", instant_steps.finish, world, restore_id)
    return restore_id


@workflow("instant_start.speed", steps=0)
def note_speed(run: Run, arguments: dict[str, Any]) -> str:
    """The row changed when the request was checked."""
    del run
    return str(arguments["restore_id"])
