"""The durable work of backup: a run, the copy of one machine in it, what becomes of restore points."""

from typing import Any, cast

from naos.activity import Run, Undo, undo, workflow
from naos.activity.errors import Yielded
from naos.compute import cloning
from naos.compute.activities import delete as delete_machine
from naos.compute.activities import power_off
from naos.compute.startup import start
from naos.errors import NaosError
from naos.network import vlans
from naos.protection.backup import points, restores, restoring, runs, taking
from naos.protection.backup.restore_wire import Mode
from naos.protection.backup.restores import State
from naos.protection.copying import Order
from naos.storage import disks
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
    copied = run.step("copy", taking.follow, world, order, run.progress, taking.Courtesy(world, run.activity_id))
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


# -------------------------------------------------------------------------------------------------------------- restore


@workflow("restore_point.restore")
def restore(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id, restore_id = _world(run), str(arguments["machine_id"]), arguments["restore_id"]
    bring_network(run, world, arguments["vlan_id"])
    for filling in arguments["fillings"]:
        run.step(
            "make room for a disk",
            disks.create,
            world,
            filling["disk_id"],
            undo=restores.unmaking(restore_id, filling["disk_id"]),
        )
    reading = {"point_id": arguments["point_id"], "restore_id": restore_id}
    for number, filling in enumerate(arguments["fillings"]):
        run.step(
            "fill a disk",
            restoring.fill,
            world,
            arguments["point_id"],
            restore_id,
            filling["source_id"],
            filling["disk_id"],
            run.progress,
            undo=None if number else Undo("restore.end_reading", reading, "ended the reading of the point"),
        )
    run.step("end the reading of the point", restoring.end_serving, world, arguments["point_id"], restore_id)
    if arguments["replace"]:
        run.step("put the disks in place", restoring.replace, world, restore_id, machine_id, arguments["fillings"])
    else:
        if arguments["power_on"]:
            start(run, world, machine_id)
        run.step("publish", cloning.publish, world, machine_id)
        state = State.TEST if arguments["mode"] == Mode.TEST else State.DONE
        run.step("note the restore", restoring.note, world, restore_id, state.value)
    return machine_id


def bring_network(run: Run, world: World, vlan_id: str | None) -> None:
    if vlan_id is None:
        return
    for blade in run.step("list the blades", vlans.blades_with, world, vlan_id):
        back = Undo("vlan.withdraw", {"vlan_id": vlan_id, "blade": blade}, f"took the isolated network off {blade}")
        run.step(f"bring the isolated network to {blade}", vlans.bring, world, vlan_id, blade, undo=back)
    run.step("open the isolated network", vlans.set_active, world, vlan_id)


@workflow("restore_point.boot_test")
def boot_test(run: Run, arguments: dict[str, Any]) -> str:
    """Ends well however the guest does: what it did is noted with the point, and nothing stays of the test."""
    world, machine_id = _world(run), str(arguments["machine_id"])
    try:
        restore(run, arguments)
    except NaosError as error:
        said = f"failed: it could not be restored: {error}"
        run.step("note why it failed", restoring.note_boot, world, arguments["point_id"], said)
        raise
    try:
        start(run, world, machine_id)
        found = run.step("wait for a sign of life", restoring.await_life, world, machine_id, run.progress)
    except NaosError as error:
        found = f"failed: {error}"
    run.step("note how it did", restoring.note_boot, world, arguments["point_id"], found)
    clean_restore_up(run, arguments)
    return str(arguments["point_id"])


@undo("restore.end_reading")
def _end_reading(world: World, arguments: dict[str, Any]) -> None:
    restoring.end_serving(world, arguments["point_id"], arguments["restore_id"])


@undo("restore.forget")
def _forget_restore(world: World, arguments: dict[str, Any]) -> None:
    restoring.forget(world, arguments["restore_id"])


@undo("restore.remove_disk")
def _remove_disk(world: World, arguments: dict[str, Any]) -> bool | None:
    """A disk that was put in its place already stays: the machine has it."""
    if not restoring.is_under_way(world, arguments["restore_id"]):
        return False
    disks.remove(world, arguments["disk_id"])
    return None


@workflow("restore.confirm")
def confirm_restore(run: Run, arguments: dict[str, Any]) -> str:
    world = _world(run)
    for disk_id in arguments["old_disks"]:
        run.step("remove an old disk", disks.remove, world, disk_id)
    run.step("note the restore", restoring.note, world, arguments["restore_id"], State.DONE.value)
    return str(arguments["restore_id"])


@workflow("restore.take_back")
def take_restore_back(run: Run, arguments: dict[str, Any]) -> str:
    world, restore_id = _world(run), arguments["restore_id"]
    going = run.step("put the old disks in place", restoring.swap_back, world, restore_id, arguments["machine_id"])
    for disk_id in going:
        run.step("remove a restored disk", disks.remove, world, disk_id)
    run.step("note the restore", restoring.note, world, restore_id, State.DONE.value)
    return str(restore_id)


@workflow("restore.clean_up")
def clean_restore_up(run: Run, arguments: dict[str, Any]) -> str:
    world = _world(run)
    power_off(run, arguments)
    delete_machine(run, arguments)
    _drop_network(run, world, arguments["vlan_id"])
    run.step("note the restore", restoring.note, world, arguments["restore_id"], State.DONE.value)
    return str(arguments["restore_id"])


@workflow("restore.convert")
def convert_restore(run: Run, arguments: dict[str, Any]) -> str:
    world = _world(run)
    run.step("move the adapters", restoring.move_adapters, world, arguments["machine_id"], arguments["vlans"])
    _drop_network(run, world, arguments["vlan_id"])
    run.step("note the restore", restoring.note, world, arguments["restore_id"], State.DONE.value)
    return str(arguments["machine_id"])


def _drop_network(run: Run, world: World, vlan_id: str | None) -> None:
    if vlan_id is not None:
        run.step("take the isolated network off", vlans.withdraw, world, vlan_id)
        run.step("forget the isolated network", vlans.forget, world, vlan_id)
