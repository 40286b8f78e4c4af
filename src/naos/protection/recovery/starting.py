"""Starting one machine so that the others' failover goes on when it does not: all of a start, taken back when a part of it fails."""

from contextlib import suppress
from typing import Any

from naos.compute import firmware, hooks, seeds, steps, swapping
from naos.engines.errors import EngineError
from naos.errors import NaosError
from naos.network import adapters
from naos.storage import disks
from naos.world import World


def bring_up(world: World, machine_id: str, ruled: bool = True) -> str:  # noqa: FBT001, FBT002 - of a step
    """Start a machine where its row says; "" when it runs, else why not. One that runs is left alone.

    ruled: False for a machine of a test, which starts whatever rules of backup or availability say. A machine whose row names the
    other side was cut off before (`switching`).
    """
    blade = None
    try:
        if steps.may_run(world, machine_id):
            steps.record_running(world, machine_id)
            return ""
        if ruled:
            hooks.check_start_of(world, machine_id)
        blade = steps.place(world, machine_id)
        swapping.set_aside(world, machine_id)
        steps.bring_networks(world, machine_id, blade)
        adapters.connect_at_start(world, machine_id)
        seeds.put(world, machine_id, blade)
        firmware.bring(world, machine_id, blade, setup=False)
        for disk_id in steps.disk_ids(world, machine_id):
            disks.export(world, disk_id)
        steps.define(world, machine_id, blade)
        steps.undefine_elsewhere(world, machine_id, blade)
        steps.start(world, machine_id, blade)
        steps.record_running(world, machine_id)
    except NaosError as error:
        bring_down(world, machine_id, blade)
        return str(error)
    return ""


def bring_down(world: World, machine_id: str, blade: str | None) -> None:
    """Take back what there is of a start; whatever does not answer is left to the doctor."""
    with suppress(NaosError):
        steps.cut_power(world, machine_id)
    for disk_id in steps.disk_ids(world, machine_id):
        with suppress(EngineError):
            disks.fence(world, disk_id)
    with suppress(NaosError):
        swapping.give_back(world, machine_id)
    if blade is not None:
        with suppress(NaosError):
            steps.undefine(world, machine_id, blade)
    steps.record_stopped(world, machine_id)


def stop(world: World, machine_id: str) -> None:
    """A machine that is off, as the end of an orderly stop: cut off, its memory given back."""
    steps.cut_power(world, machine_id)
    firmware.keep(world, machine_id)
    for disk_id in steps.disk_ids(world, machine_id):
        disks.fence(world, disk_id)
    swapping.give_back(world, machine_id)
    steps.record_stopped(world, machine_id)


def restart_at_home(world: World, arguments: dict[str, Any]) -> bool:
    """Of a failover that was given up before the machine changed its side: it runs again where it was."""
    machine_id = arguments["machine_id"]
    with suppress(NaosError):
        if steps.row(world, machine_id).cpool_id == arguments["home_cpool_id"]:
            return bring_up(world, machine_id) == ""
    return False
