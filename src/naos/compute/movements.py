"""The steps of a move: a machine's disks to other volumes, its adapters to other VLANs, itself to another blade."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from naos.activity import Run, Undo, undo
from naos.compute import seeds, steps
from naos.engines.ports import PowerState
from naos.errors import Changed, Unknown
from naos.fleet import cpools
from naos.insistence import insist
from naos.network.models import Adapter
from naos.storage import copies, disks, moves
from naos.storage.copies import Leg
from naos.world import World

# ---------------------------------------------------------------------------------------------------------------- disks


def legs(world: World, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    """The ways of the disks that are not on their volume yet. wanted: disk id -> volume."""
    found = [moves.leg(world, disk_id, lun_id) for disk_id, lun_id in wanted.items()]
    return [leg.plain() for leg in found if leg is not None]


def move_live(run: Run, world: World, machine_id: str, wanted: Sequence[Leg]) -> None:
    """One disk after the other; its guest writes to both volumes for a while, then to the new one alone.

    A disk that has been switched stays on its new volume whatever comes after.
    """
    for leg in wanted:
        _prepare(run, world, machine_id, leg)
        run.step("copy a disk under its guest", _mirror, world, machine_id, leg, run.progress)
        run.step("switch the guest over", _switch, world, machine_id, leg)
        run.step("note the new volume", moves.land, world, leg)
        run.step("remove the old disk", moves.remove_source, world, leg)


def move_at_rest(run: Run, world: World, machine_id: str, wanted: Sequence[Leg]) -> None:
    """All disks of a stopped machine at once."""
    for leg in wanted:
        _prepare(run, world, machine_id, leg)
    run.step("begin the copies", copies.begin, world, wanted)
    run.step("copy", copies.follow, world, wanted, run.progress)
    run.step("finish the copies", copies.finish, world, wanted)
    for leg in wanted:
        run.step("close a copy", moves.close_target, world, leg)
        run.step("note the new volume", moves.land, world, leg)
        run.step("remove the old disk", moves.remove_source, world, leg)


def _prepare(run: Run, world: World, machine_id: str, leg: Leg) -> None:
    run.step(
        "make room for a disk",
        moves.open_target,
        world,
        leg,
        undo=Undo("disk.stay", {"machine_id": machine_id, "leg": leg.plain()}, "left the disk on its volume"),
    )
    run.step("stop making it independent", disks.stop_flattening, world, leg.disk_id)


def _mirror(world: World, machine_id: str, leg: Leg, progress: Callable[[float], None]) -> None:
    blade = steps.home(world, machine_id)
    pace = copies.speed(world, leg.source_lun, leg.target_lun)
    seen = moves.as_seen(world, leg)
    world.rack.hypervisor(blade).mirror_disk(machine_id, seen, speed=pace, progress=progress)


def _switch(world: World, machine_id: str, leg: Leg) -> None:
    world.rack.hypervisor(steps.home(world, machine_id)).switch_disk(machine_id, moves.as_seen(world, leg))


@undo("disk.stay")
def _stay(world: World, arguments: dict[str, Any]) -> bool:
    """False for a disk that has moved: its guest has written to the new volume, so that there it stays."""
    machine_id, leg = arguments["machine_id"], Leg(**arguments["leg"])
    try:
        landed = moves.has_landed(world, leg)
    except Unknown:
        return False
    if not landed:
        landed = _is_switched(world, machine_id, leg)
    if not landed:
        moves.abandon(world, leg)
        return True
    moves.land(world, leg)
    moves.remove_source(world, leg)
    return False


def _is_switched(world: World, machine_id: str, leg: Leg) -> bool:
    """Whether the guest, running or stopped since, uses the new disk. A mirror that was not switched to is ended."""
    try:
        blade = steps.home(world, machine_id)
    except (Unknown, Changed):
        return False
    hypervisor = world.rack.hypervisor(blade)
    if insist(hypervisor.disk_source, machine_id, leg.disk_id) == copies.address(world, leg):
        if insist(hypervisor.state, machine_id) in (PowerState.RUNNING, PowerState.PAUSED, PowerState.IO_ERROR):
            hypervisor.switch_disk(machine_id, moves.as_seen(world, leg))  # the definition, too
        return True
    insist(hypervisor.drop_mirror, machine_id, leg.disk_id)
    return False


# ------------------------------------------------------------------------------------------------------------- networks


def join_networks(run: Run, world: World, machine_id: str, wanted: Mapping[str, str]) -> None:
    """wanted: adapter id -> VLAN id."""
    for adapter_id, vlan_id in wanted.items():
        old = run.step("look at an adapter", _vlan_of, world, adapter_id)
        back = {"machine_id": machine_id, "adapter_id": adapter_id, "vlan_id": old}
        run.step(
            "join another network",
            _join,
            world,
            machine_id,
            adapter_id,
            vlan_id,
            undo=Undo("adapter.rejoin", back, "brought the adapter back to its network"),
        )


def _vlan_of(world: World, adapter_id: str) -> str:
    with world.database.read() as session:
        return session.get_one(Adapter, adapter_id).vlan_id


def _join(world: World, machine_id: str, adapter_id: str, vlan_id: str) -> None:
    with world.database.write() as session:
        session.execute(sa.update(Adapter).where(Adapter.id == adapter_id).values(vlan_id=vlan_id))
    if steps.is_running(world, machine_id):
        blade = steps.home(world, machine_id)
        steps.bring_networks(world, machine_id, blade)
        world.rack.hypervisor(blade).update_nic(machine_id, steps.nic_of(world, adapter_id, blade))


@undo("adapter.rejoin")
def _rejoin(world: World, arguments: dict[str, Any]) -> None:
    _join(world, arguments["machine_id"], arguments["adapter_id"], arguments["vlan_id"])


# --------------------------------------------------------------------------------------------------------------- blades


def record_arrival(world: World, machine_id: str, blade: str, cpool_id: str) -> None:
    steps.update(world, machine_id, blade=blade, moving_to=None, cpool_id=cpool_id)


@undo("virtual_machine.drop_claim")
def _drop_claim(world: World, arguments: dict[str, Any]) -> None:
    steps.drop_claim(world, arguments["machine_id"])


@undo("virtual_machine.abandon_move")
def _abandon_move(world: World, arguments: dict[str, Any]) -> bool:
    """Clean the target of a move that did not happen. False for a machine that did arrive: it is noted there instead."""
    machine_id, target = arguments["machine_id"], arguments["blade"]
    world.rack.hypervisor(target).abandon_arrival(machine_id)
    if world.rack.hypervisor(target).state(machine_id) != PowerState.RUNNING:
        steps.undefine(world, machine_id, target)
        return True
    source = steps.row(world, machine_id).blade
    record_arrival(world, machine_id, target, arguments["cpool_id"])
    if source is not None and source != target:
        seeds.remove(world, machine_id, source)
    return False


def end_hung(world: World, machine_id: str, blade: str) -> bool:
    """End the process of a machine on a blade that has lost its disks, if it is being moved away: QEMU waits for its disks before it
    hands over, and the move would be waited for in turn. One that runs at its target already is left alone. Raises EngineError."""
    machine = steps.row(world, machine_id)
    if machine.blade != blade or machine.moving_to is None:
        return False
    if world.rack.hypervisor(machine.moving_to).state(machine_id) == PowerState.RUNNING:
        return False
    world.rack.hypervisor(blade).power_off(machine_id)
    return True


def undefine_everywhere_but(world: World, machine_id: str, blade: str | None, pools: Collection[str]) -> None:
    """A stopped machine's definitions on the connected blades of some cpools; one that runs is left alone."""
    with world.database.read() as session:
        others = [entry.name for entry in cpools.blades_of(session, pools) if entry.connected and entry.name != blade]
    for other in others:
        if insist(world.rack.hypervisor(other).state, machine_id) in steps.AT_REST:
            insist(steps.undefine, world, machine_id, other)
