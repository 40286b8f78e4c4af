"""The durable work of machines."""

import time
from typing import Any, cast

from naos.activity import Run, Undo, undo, workflow
from naos.catalogue import library
from naos.compute import affinity, firmware, machines, rules, snapshot_memory, steps, strays, swapping
from naos.compute import arranging_activities as _arranging  # noqa: F401 - its workflows
from naos.compute import cloning as _cloning  # noqa: F401 - its workflow
from naos.compute import configuring as _configuring  # noqa: F401 - its workflows and compensations
from naos.compute import exporting as _exporting  # noqa: F401 - its workflow
from naos.compute import maintenance_activities as _maintenance  # noqa: F401 - its workflows and compensations
from naos.compute import pool_activities as _pool_activities  # noqa: F401 - its workflows and compensations
from naos.compute import relocation as _relocation  # noqa: F401 - its workflow and compensations
from naos.compute import update_activities as _updates  # noqa: F401 - its workflows
from naos.compute.errors import GuestIgnored
from naos.compute.models import Power, VirtualMachine
from naos.compute.startup import start
from naos.errors import Unknown
from naos.fleet import cpools
from naos.lifecycle import keep
from naos.network import vlans
from naos.storage import disks
from naos.world import World

SHUTDOWN_POLL_SECONDS = 0.25


def _world(run: Run) -> World:
    return cast(World, run.world)


@workflow("virtual_machine.create")
def create(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = _world(run), arguments["machine_id"]
    for disk_id in arguments["disks"]:
        run.step(
            "make the disk",
            _make_disk,
            world,
            disk_id,
            undo=Undo("disk.remove", {"disk_id": disk_id}, "removed the disk"),
        )
    if arguments["power_on"]:
        start(run, world, machine_id)
    run.step("publish", steps.set_active, world, machine_id)
    return str(machine_id)


def _make_disk(world: World, disk_id: str) -> None:
    image_id = disks.backing_of(world, disk_id)
    if image_id is None:
        disks.create(world, disk_id)
    else:
        disks.clone_template(world, disk_id, library.image(world, image_id))


@workflow("virtual_machine.power_on")
def power_on(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = _world(run), arguments["machine_id"]
    if not run.step("look", steps.may_run, world, machine_id):
        start(run, world, machine_id, arguments)
    return str(machine_id)


@workflow("virtual_machine.power_off")
def power_off(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = _world(run), arguments["machine_id"]
    _stop(run, world, machine_id)
    return str(machine_id)


def _stop(run: Run, world: World, machine_id: str) -> None:
    run.step("cut the power", steps.cut_power, world, machine_id)
    run.step("keep the firmware's variables", firmware.keep, world, machine_id)
    for disk_id in run.step("list the disks", steps.disk_ids, world, machine_id):
        run.step("cut a disk's export", disks.fence, world, disk_id)
    run.step("give the swap file back", swapping.give_back, world, machine_id)
    run.step("note that it is stopped", steps.record_stopped, world, machine_id)


@workflow("virtual_machine.shutdown")
def shutdown(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = _world(run), arguments["machine_id"]
    run.step("press the power button", steps.press_button, world, machine_id)
    run.step("wait for the guest", _await_stop, run, world, machine_id, arguments["seconds"])
    _stop(run, world, machine_id)
    return str(machine_id)


def _await_stop(run: Run, world: World, machine_id: str, seconds: int) -> None:
    started = time.monotonic()
    while steps.is_running(world, machine_id):
        waited = time.monotonic() - started
        if waited > seconds:
            raise GuestIgnored(steps.row(world, machine_id).name, seconds)
        run.progress(waited / seconds)
        time.sleep(SHUTDOWN_POLL_SECONDS)


@workflow("virtual_machine.reset")
def reset(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = _world(run), arguments["machine_id"]
    run.step("reset", steps.reset, world, machine_id)
    return str(machine_id)


@workflow("virtual_machine.settle")
def settle(run: Run, arguments: dict[str, Any]) -> str:
    """A guest that stopped by itself, or whose blade lost power: fence its disks and say that it is stopped. One that runs though
    it was noted as stopped, as after a start that was given up and took effect later, is ended, unless it has all its disks and its
    memory still: then only the note was wrong."""
    world, machine_id = _world(run), arguments["machine_id"]
    if run.step("look", steps.is_running, world, machine_id):
        if run.step("look whether it should", _should_run, world, machine_id):
            run.step("note that it runs", steps.record_running, world, machine_id)
        else:
            _stop(run, world, machine_id)
        return str(machine_id)
    elsewhere = run.step("look elsewhere", strays.where_it_runs, world, machine_id)
    if elsewhere is None:
        _stop(run, world, machine_id)
    else:
        run.step("note where it runs", strays.note_place, world, machine_id, elsewhere)
    return str(machine_id)


def _should_run(world: World, machine_id: str) -> bool:
    machine = steps.row(world, machine_id)
    with world.database.read() as session:
        whole = all(disk.exported for disk in disks.of_machine(session, machine_id))
    return machine.power == Power.RUNNING or (machine.reserved > 0 and whole)


@workflow("virtual_machine.delete")
def delete(run: Run, arguments: dict[str, Any]) -> str:
    """Forward only: the row goes last, so a deletion that fails half-way is seen and can be repeated."""
    world, machine_id = _world(run), arguments["machine_id"]
    run.step("check that it is stopped", _check_stopped, world, machine_id)
    for blade in run.step("list the blades", steps.siblings, world, machine_id):
        run.step(f"take it off {blade}", steps.undefine, world, machine_id, blade)
    for disk_id in run.step("list the disks", steps.disk_ids, world, machine_id):
        run.step("remove a disk", disks.remove, world, disk_id)
    run.step("remove the memory that snapshots hold", snapshot_memory.remove_all, world, machine_id)
    run.step("forget", steps.forget, world, machine_id)
    return str(machine_id)


def _check_stopped(world: World, machine_id: str) -> None:
    machine = steps.row(world, machine_id)
    rules.check_stopped(machine.name, Power.RUNNING if steps.is_running(world, machine_id) else machine.power)


@workflow("virtual_machine.rename")
def rename(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = _world(run), arguments["machine_id"]
    run.step("rename", _rename, world, machine_id, arguments["name"])
    return str(machine_id)


def _rename(world: World, machine_id: str, name: str) -> None:
    """The name was free when the request was accepted; of two that waited for it, one is told so here."""
    with world.database.write() as session:
        machine = session.get(VirtualMachine, machine_id)
        if machine is None:
            raise Unknown("virtual machine", machine_id)
        machines.check_name(session, machine.tenant_id, name, but=machine_id)
        machine.name = name


@workflow("cpool.delete")
def delete_cpool(run: Run, arguments: dict[str, Any]) -> str:
    world, cpool_id = _world(run), arguments["cpool_id"]
    run.step("take its VLANs off", _withdraw_vlans, world, cpool_id)
    run.step("forget its rules", affinity.forget_pool, world, cpool_id)
    run.step("give the blades back", cpools.forget, world, cpool_id)
    return str(cpool_id)


def _withdraw_vlans(world: World, cpool_id: str) -> None:
    for vlan_id in vlans.carried_by(world, cpool_id):
        vlans.drop_pools(world, vlan_id, [cpool_id])


@undo("virtual_machine.keep")
def _keep(world: World, arguments: dict[str, Any]) -> bool:
    with world.database.write() as session:
        keep(session, VirtualMachine, arguments["machine_id"])
    return False


@undo("virtual_machine.forget")
def _forget(world: World, arguments: dict[str, Any]) -> None:
    steps.forget(world, arguments["machine_id"])


@undo("virtual_machine.release")
def _release(world: World, arguments: dict[str, Any]) -> None:
    steps.release(world, arguments["machine_id"])


@undo("virtual_machine.undefine")
def _undefine(world: World, arguments: dict[str, Any]) -> None:
    steps.undefine(world, arguments["machine_id"], arguments["blade"])


@undo("virtual_machine.power_off")
def _power_off(world: World, arguments: dict[str, Any]) -> None:
    steps.cut_power(world, arguments["machine_id"])
    steps.record_stopped(world, arguments["machine_id"])
