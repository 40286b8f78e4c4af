"""The repairs that cannot lose data, and the activity that applies them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from naos.activity import Plan, Run, workflow
from naos.activity.locks import release
from naos.catalogue import library
from naos.compute import maintenance, media, seeds, steps, swapping
from naos.compute.models import Power
from naos.doctor.examine import examine
from naos.doctor.findings import Finding
from naos.engines.ports import PowerState
from naos.fleet.models import Maintenance
from naos.migrations import blade_loads
from naos.network import vlans
from naos.storage import daemons, disks, memories, reserve, swap
from naos.world import World

Repair = Callable[[World, Mapping[str, str]], None]


def _settle(world: World, arguments: Mapping[str, str]) -> None:
    machine_id = arguments["machine_id"]
    if steps.is_running(world, machine_id):
        steps.update(world, machine_id, power=Power.RUNNING, reserved=steps.row(world, machine_id).memory)
        return
    for disk_id in steps.disk_ids(world, machine_id):
        disks.fence(world, disk_id)
    swapping.give_back(world, machine_id)
    steps.record_stopped(world, machine_id)


def _undefine(world: World, arguments: Mapping[str, str]) -> None:
    """Looks once more: a domain that runs by now is left alone."""
    hypervisor = world.rack.hypervisor(arguments["blade"])
    if hypervisor.state(arguments["domain_id"]) == PowerState.STOPPED:
        hypervisor.undefine(arguments["domain_id"])


def _recover(world: World, arguments: Mapping[str, str]) -> None:
    daemons.ensure(world, arguments["lun_id"])


def _bring_vlan(world: World, arguments: Mapping[str, str]) -> None:
    vlans.bring(world, arguments["vlan_id"], arguments["blade"])


def _take_vlan(world: World, arguments: Mapping[str, str]) -> None:
    world.rack.fabric(arguments["blade"]).remove_vlan(int(arguments["tag"]))


def _drop_base(world: World, arguments: Mapping[str, str]) -> None:
    world.rack.array(arguments["array"]).drop_template(arguments["lun_id"], arguments["template_id"])


def _remove_seed(world: World, arguments: Mapping[str, str]) -> None:
    seeds.remove(world, arguments["machine_id"], arguments["blade"])


def _remove_image(world: World, arguments: Mapping[str, str]) -> None:
    path = media.path_on_blade(arguments["drive_id"], arguments["item_id"])
    world.rack.blade_host(arguments["blade"]).run(["rm", "-f", path])


def _bring_image(world: World, arguments: Mapping[str, str]) -> None:
    media.bring(world, arguments["drive_id"], arguments["item_id"], arguments["blade"])


def _forget_upload(world: World, arguments: Mapping[str, str]) -> None:
    library.drop_upload(world, arguments["upload_id"])


def _release_locks(world: World, arguments: Mapping[str, str]) -> None:
    with world.database.write() as session:
        release(session, arguments["activity_id"])


def _recount(world: World, _arguments: Mapping[str, str]) -> None:
    with world.database.write() as session:
        blade_loads.recount(session.connection())


def _drop_claim(world: World, arguments: Mapping[str, str]) -> None:
    steps.drop_claim(world, arguments["machine_id"])


def _fit_swap(world: World, arguments: Mapping[str, str]) -> None:
    swapping.fit(world, arguments["machine_id"])


def _fit_reserve(world: World, arguments: Mapping[str, str]) -> None:
    reserve.as_noted(world, arguments["lun_id"])


def _drop_swap(world: World, arguments: Mapping[str, str]) -> None:
    """Looks once more: a guest that runs after all keeps its room."""
    machine_id, lun_id = arguments["machine_id"], arguments["lun_id"]
    if not swapping.is_used(world, machine_id, lun_id):
        swap.remove_stray(world, machine_id, lun_id)


def _reopen_blade(world: World, arguments: Mapping[str, str]) -> None:
    with world.database.write() as session:
        maintenance.set_state(session, arguments["blade"], Maintenance.OPEN)


def _remove_memory(world: World, arguments: Mapping[str, str]) -> None:
    memories.remove(world, arguments["snapshot_id"])


REPAIRS: dict[str, Repair] = {
    "blade.reopen": _reopen_blade,
    "swap.fit": _fit_swap,
    "swap.drop": _drop_swap,
    "memory.remove": _remove_memory,
    "reserve.fit": _fit_reserve,
    "load.recount": _recount,
    "claim.drop": _drop_claim,
    "machine.settle": _settle,
    "domain.undefine": _undefine,
    "lun.recover": _recover,
    "vlan.bring": _bring_vlan,
    "vlan.take": _take_vlan,
    "base.drop": _drop_base,
    "seed.remove": _remove_seed,
    "image.remove": _remove_image,
    "image.bring": _bring_image,
    "upload.forget": _forget_upload,
    "lock.release": _release_locks,
}


def plan(findings: Sequence[Finding]) -> Plan:
    """Apply the safe repairs of these findings. `undo.retry` is the engine's own and is not among them."""
    chosen = [finding for finding in findings if finding.action in REPAIRS]
    return Plan(
        kind="doctor.repair",
        description=f"Repair {len(chosen)} difference(s) between tables and world",
        arguments={"repairs": [{"action": item.action, "arguments": dict(item.arguments)} for item in chosen]},
        type="InventoryActivity",
    )


@workflow("doctor.repair")
def repair(run: Run, arguments: dict[str, Any]) -> str:
    """Each difference is looked for once more before it is mended: the world may have moved on."""
    world = cast(World, run.world)
    for wanted in arguments["repairs"]:
        run.step(f"repair {wanted['action']}", _repair, world, wanted["action"], wanted["arguments"])
    return f"{len(arguments['repairs'])} repaired"


def _repair(world: World, action: str, arguments: dict[str, str]) -> None:
    still_there = any(item.action == action and dict(item.arguments) == arguments for item in examine(world))
    if still_there:
        REPAIRS[action](world, arguments)
