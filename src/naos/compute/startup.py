"""How a machine starts: placed, connected, its disks exported, defined, its power on."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from naos.activity import Run, Undo
from naos.compute import firmware, hooks, seeds, steps, swapping
from naos.network import adapters
from naos.storage import disks
from naos.world import World


def start(run: Run, world: World, machine_id: str, wishes: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Place, connect, export, define, start: each undone when a later one fails.

    wishes: `blade` to start on if it has room, `only` there or nowhere; `setup`: into the firmware's own screens.
    """
    run.step("check that it may start", hooks.check_start_of, world, machine_id)
    blade = run.step(
        "choose a blade",
        steps.place,
        world,
        machine_id,
        wishes.get("blade"),
        wishes.get("only", False),
        undo=Undo("virtual_machine.release", {"machine_id": machine_id}, "gave the memory back"),
    )
    swapping.at_start(run, world, machine_id)
    run.step("bring the networks", steps.bring_networks, world, machine_id, blade)
    run.step("put the cables in", adapters.connect_at_start, world, machine_id)
    run.step(
        "put the seed",
        seeds.put,
        world,
        machine_id,
        blade,
        undo=Undo(
            "virtual_machine.undefine", {"machine_id": machine_id, "blade": blade}, f"took the definition off {blade}"
        ),
    )
    run.step("bring the firmware's variables", _bring_firmware, world, machine_id, blade, wishes.get("setup", False))
    export_disks(run, world, machine_id)
    run.step("define", steps.define, world, machine_id, blade)
    run.step("tidy earlier blades", steps.undefine_elsewhere, world, machine_id, blade)
    run.step(
        "start",
        steps.start,
        world,
        machine_id,
        blade,
        undo=Undo("virtual_machine.power_off", {"machine_id": machine_id}, "cut the power"),
    )
    run.step("note that it runs", steps.record_running, world, machine_id)


def export_disks(run: Run, world: World, machine_id: str) -> None:
    """Under new epochs; undone, the exports are cut."""
    for disk_id in run.step("list the disks", steps.disk_ids, world, machine_id):
        run.step(
            "export a disk",
            _export,
            world,
            disk_id,
            undo=Undo("disk.fence", {"disk_id": disk_id}, "cut the disk's export"),
        )


def _bring_firmware(world: World, machine_id: str, blade: str, setup: bool) -> None:  # noqa: FBT001 - of a step
    firmware.bring(world, machine_id, blade, setup=setup)


def _export(world: World, disk_id: str) -> None:
    disks.export(world, disk_id)
