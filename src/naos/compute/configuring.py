"""The durable work of changing what a machine is set to."""

from collections.abc import Mapping
from typing import Any, cast

from naos.activity import Run, Undo, undo, workflow
from naos.compute import configuration, extra_config, guest_seed, steps, swapping
from naos.compute.models import VirtualMachine
from naos.errors import Unknown
from naos.world import World


def _world(run: Run) -> World:
    return cast(World, run.world)


@workflow("virtual_machine.update")
def update(run: Run, arguments: dict[str, Any]) -> str:
    """A running machine is given, or gives back, vCPUs and memory; everything else is noted and counts from its next start."""
    world, machine_id = _world(run), arguments["machine_id"]
    changed = run.step("check the change", _check, world, machine_id, arguments["changes"])
    hot = {key: changed[key] for key in ("cpu", "memory") if key in changed}
    looked = hot or "memory_reservation" in changed
    before = run.step("look whether it runs", _running_with, world, machine_id) if looked else None
    if before is not None:
        swapping.at_change(run, world, machine_id, changed)
    if before is not None and hot:
        memory = hot.get("memory", before["memory"])
        run.step(
            "set memory and vCPUs aside",
            steps.reserve,
            world,
            machine_id,
            memory,
            hot.get("cpu", before["cpu"]),
            undo=Undo(
                "virtual_machine.reserve",
                {"machine_id": machine_id, **before},
                "gave the additional memory and vCPUs back",
            ),
        )
        run.step("plug in or out", _resize, world, machine_id, hot)
    run.step("note it", _note, world, machine_id, changed)
    return str(machine_id)


def _check(world: World, machine_id: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The request was checked when it was accepted; since then other changes may have come first."""
    with world.database.read() as session:
        machine = session.get(VirtualMachine, machine_id)
        if machine is None:
            raise Unknown("virtual machine", machine_id)
        changed = configuration.check(session, world, machine, wanted)
        configuration.check_running(machine, changed)
        return changed


def _running_with(world: World, machine_id: str) -> dict[str, int] | None:
    machine = steps.row(world, machine_id)
    return {"memory": machine.memory, "cpu": machine.cpu} if steps.is_running(world, machine_id) else None


def _resize(world: World, machine_id: str, hot: Mapping[str, int]) -> None:
    machine = steps.row(world, machine_id)
    world.rack.hypervisor(steps.home(world, machine_id)).resize(
        machine_id,
        vcpus=hot.get("cpu", machine.cpu),
        cores_per_socket=machine.cores_per_socket,
        memory=hot.get("memory", machine.memory),
    )


def _note(world: World, machine_id: str, changed: Mapping[str, Any]) -> None:
    """Another firmware, or another kind of it, begins with fresh variables."""
    fresh = {"nvram": ""} if {"firmware", "secure_boot"} & set(changed) else {}
    if changed:
        steps.update(world, machine_id, **changed, **fresh)


@undo("virtual_machine.reserve")
def _give_back(world: World, arguments: dict[str, Any]) -> None:
    steps.reserve(world, arguments["machine_id"], arguments["memory"], arguments["cpu"])


# ---------------------------------------------------------------------------------------------------------------- guest


@workflow("virtual_machine.set_guest")
def set_guest(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = _world(run), arguments["machine_id"]
    run.step("note the guest", _set_guest, world, machine_id, arguments["guest_os"])
    return str(machine_id)


def _set_guest(world: World, machine_id: str, guest_os: str) -> None:
    with world.database.write() as session:
        machine = session.get_one(VirtualMachine, machine_id)
        configuration.check_guest(machine, guest_os)
        machine.guest_os = guest_os


@workflow("virtual_machine.customise")
def customise(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = _world(run), arguments["machine_id"]
    run.step("note the customisation", _customise, world, machine_id, arguments["change"], run.activity_id)
    return str(machine_id)


def _customise(world: World, machine_id: str, change: dict[str, Any], activity_id: str) -> None:
    """Once for each activity: a repeated step must not make the guest a new instance again."""
    with world.database.write() as session:
        machine = session.get_one(VirtualMachine, machine_id)
        configuration.check_customisable(machine)
        if machine.seed.get("customised_by") != activity_id:
            machine.seed = {**guest_seed.customised(machine.seed, change), "customised_by": activity_id}


@workflow("virtual_machine.extra_config")
def set_extra_config(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = _world(run), arguments["machine_id"]
    run.step("note the extra configuration", _set_extra_config, world, machine_id, arguments["change"])
    return str(machine_id)


def _set_extra_config(world: World, machine_id: str, change: dict[str, Any]) -> None:
    with world.database.write() as session:
        machine = session.get_one(VirtualMachine, machine_id)
        after = extra_config.merged(machine.extra_config, change)
        if after != machine.extra_config:
            machine.seed = guest_seed.reconfigured(machine.seed, machine.extra_config, after)
            machine.extra_config = after
