"""Snapshots of machines: plans and durable work."""

import time
from typing import Any, cast

import structlog
from sqlalchemy.orm import Session

from naos.activity import Item, Plan, Run, Undo, undo, workflow
from naos.compute import hooks, machines, plans, rules, snapshot_memory, steps
from naos.compute.models import Power, VirtualMachine
from naos.engines.errors import GuestRefused
from naos.engines.ports import Hypervisor, PowerState
from naos.errors import Changed, Unknown
from naos.insistence import insist
from naos.lifecycle import Lifecycle, check_ready
from naos.storage import disks, luns, memories, snapshots, space
from naos.storage.errors import QuiesceRefused
from naos.storage.models import Snapshot
from naos.world import World

FREEZE_SECONDS = 10
"""The longest that a guest's file systems stand still; its blade thaws them by itself then."""
_log = structlog.get_logger()


def _item(snapshot_id: str) -> Item:
    return Item(snapshot_id, "snapshot")


def plan_take(
    session: Session,
    tenant_id: str,
    *,
    machine_id: str,
    name: str,
    description: str,
    quiesce: bool,
    memory: bool,
) -> Plan:
    """Reserve a snapshot of the machine's persistent disks. A stopped machine's file systems are at rest already. memory: of the
    running guest, too.

    Raises NothingToSnapshot, TooManySnapshots, SnapshotRoom, and with memory what `snapshot_memory.check_kept` and
    `memories.reserve` raise.
    """
    machine = machines.find(session, tenant_id, machine_id)
    if memory:
        snapshot_memory.check_kept(session, machine, quiesce=quiesce)
    snapshot = snapshots.reserve(
        session,
        tenant_id=tenant_id,
        machine_id=machine.id,
        machine_name=machine.name,
        name=name,
        description=description,
    )
    if memory:
        memories.reserve(
            session, snapshot_id=snapshot.id, machine_id=machine.id, lun_id=machine.lun_id, memory=machine.memory
        )
    room = space.check_snapshot(session, snapshots.volumes(session, snapshot.id))
    told = "; ".join(filter(None, (room, snapshots.pauses(session, snapshot.id))))
    forget = Undo("snapshot.forget", {"snapshot_id": snapshot.id}, f"gave the name {name} back")
    return _plan(
        session,
        machine,
        "snapshot.create",
        f"Take snapshot {name} of {machine.name}{' with its memory' if memory else ''}"
        + (f" (warning: {told})" if told else ""),
        snapshot.id,
        undo=(forget,),
        quiesce=quiesce,
        memory=memory,
    )


def plan_revert(session: Session, tenant_id: str, snapshot_id: str, *, memory: bool = True) -> Plan:
    """Only while the machine is off: what a running guest knows of its disks would be wrong from one moment to the next.

    memory: go on from the memory that the snapshot holds, if it does; otherwise the disks alone go back. Raises HardwareChanged and
    what the start conditions raise, for the former.
    """
    snapshot = snapshots.find(session, tenant_id, snapshot_id)
    check_ready("Snapshot", snapshot.name, snapshot.lifecycle)
    machine = machines.find(session, tenant_id, snapshot.machine_id)
    rules.check_stopped(machine.name, machine.power, f"power it off to go back to snapshot {snapshot.name}")
    memory = memory and snapshot.id in memories.of(session, [snapshot.id])
    if memory:
        hooks.check_start(session, machine)
        snapshot_memory.check_hardware(session, machine, snapshot)
    description = f"Take {machine.name} back to {snapshot.name}" + (", memory and all" if memory else "")
    return _plan(session, machine, "snapshot.revert", description, snapshot.id, memory=memory)


def plan_delete(session: Session, tenant_id: str, snapshot_id: str) -> Plan:
    """Running or not. What the disks hold, and every other snapshot, stays as it is."""
    snapshot = snapshots.find(session, tenant_id, snapshot_id)
    machine = machines.find(session, tenant_id, snapshot.machine_id)
    keep = Undo("snapshot.keep", {"snapshot_id": snapshot.id}, "left the snapshot as it is")
    description = f"Delete snapshot {snapshot.name} of {machine.name}"
    plan = _plan(session, machine, "snapshot.delete", description, snapshot.id, undo=(keep,))
    if snapshot.lifecycle == Lifecycle.ACTIVE:
        snapshot.lifecycle = Lifecycle.DELETING
    return plan


def plan_consolidate(session: Session, tenant_id: str, machine_id: str) -> Plan:
    """Remove from the disks what no snapshot of the list stands for any more."""
    machine = machines.find(session, tenant_id, machine_id)
    return _plan(session, machine, "snapshot.consolidate", f"Consolidate the disks of {machine.name}", None)


def _plan(
    session: Session,
    machine: VirtualMachine,
    kind: str,
    description: str,
    snapshot_id: str | None,
    *,
    undo: tuple[Undo, ...] = (),
    **arguments: Any,
) -> Plan:
    item = _item(snapshot_id) if snapshot_id is not None else machines.item(machine.id)
    locks = tuple(disks.flatten_lock(disk.id) for disk in disks.of_machine(session, machine.id))
    held = {lock.resource for lock in machines.locks_of(session, machine)}
    for memory in memories.of(session, [snapshot_id] if snapshot_id is not None else []).values():
        where = luns.lock(memory.lun_id, shared=True)
        locks = (*locks, where) if where.resource not in held else locks
    return plans.of_device(
        session, machine, kind, description, item, locks=locks, undo=undo, snapshot_id=snapshot_id, **arguments
    )


# ----------------------------------------------------------------------------------------------------------------- work


@workflow("snapshot.create")
def take(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id, snapshot_id = (cast(World, run.world), arguments["machine_id"], arguments["snapshot_id"])
    run.step("stop making disks independent", _stop_flattening, world, machine_id)
    back = {"machine_id": machine_id, "snapshot_id": snapshot_id}
    quiesced = False
    if arguments["memory"]:
        snapshot_memory.take(run, world, machine_id, snapshot_id)
    else:
        quiesced = run.step(
            "take the disks",
            _take,
            world,
            machine_id,
            snapshot_id,
            arguments["quiesce"],
            undo=Undo("snapshot.drop", back, "took the snapshot out of the disks"),
        )
    run.step("publish", _publish, world, snapshot_id, quiesced)
    return str(snapshot_id)


def _stop_flattening(world: World, machine_id: str) -> None:
    for disk_id in steps.disk_ids(world, machine_id):
        disks.stop_flattening(world, disk_id)


def _take(world: World, machine_id: str, snapshot_id: str, quiesce: bool) -> bool:  # noqa: FBT001 - a step's argument
    """All disks at one instant; says whether the guest's file systems were at rest then.

    One volume's disks are taken in one transaction of its daemon. Of several volumes no daemon knows of the others, so the
    guest stands still meanwhile: its file systems frozen by its agent, for FREEZE_SECONDS at most, or its processors. A call
    after a crash in that moment finds it standing, and lets it go on.
    """
    if not steps.is_running(world, machine_id):
        snapshots.take(world, snapshot_id)
        return True
    with world.database.read() as session:
        spread = len(snapshots.volumes(session, snapshot_id)) > 1
    hypervisor = world.rack.hypervisor(steps.home(world, machine_id))
    if quiesce:
        return _take_frozen(world, hypervisor, machine_id, snapshot_id, spread=spread)
    _take_standing(world, hypervisor, machine_id, snapshot_id, spread=spread)
    return False


def _take_frozen(world: World, hypervisor: Hypervisor, machine_id: str, snapshot_id: str, *, spread: bool) -> bool:
    began = time.monotonic()
    try:
        frozen = hypervisor.freeze(machine_id, limit=FREEZE_SECONDS)
    except GuestRefused as error:
        raise QuiesceRefused(steps.row(world, machine_id).name, error.reason) from error
    try:
        _take_standing(world, hypervisor, machine_id, snapshot_id, spread=spread)
    finally:
        thawed = insist(hypervisor.thaw, machine_id)
    _log.info("snapshot.quiesced", machine=machine_id, seconds=round(time.monotonic() - began, 2), systems=frozen)
    # Fewer than were frozen: its blade had thawed it, so it was writing when the disks were taken.
    return bool(frozen) and thawed >= frozen


def _take_standing(world: World, hypervisor: Hypervisor, machine_id: str, snapshot_id: str, *, spread: bool) -> None:
    if not spread:
        snapshots.take(world, snapshot_id)
        return
    try:
        hypervisor.pause(machine_id)
        snapshots.take(world, snapshot_id)
    finally:
        insist(hypervisor.resume, machine_id)


def _publish(world: World, snapshot_id: str, quiesced: bool) -> None:  # noqa: FBT001 - a step's argument
    snapshots.publish(world, snapshot_id, quiesced=quiesced)


@workflow("snapshot.revert")
def revert(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id, snapshot_id = (cast(World, run.world), arguments["machine_id"], arguments["snapshot_id"])
    run.step("check that it is stopped", _check_stopped, world, machine_id, snapshot_id)
    if arguments["memory"]:
        run.step("check that it has what it had", snapshot_memory.check_still, world, machine_id, snapshot_id)
    run.step("stop making disks independent", _stop_flattening, world, machine_id)
    if arguments["memory"]:
        snapshot_memory.go_back(run, world, machine_id, snapshot_id)
    else:
        run.step("bring the disks back", snapshots.revert, world, snapshot_id)
        run.step("note where it is", snapshots.make_current, world, snapshot_id)
    return str(snapshot_id)


def _check_stopped(world: World, machine_id: str, snapshot_id: str) -> None:
    machine = steps.row(world, machine_id)
    with world.database.read() as session:
        snapshot = session.get(Snapshot, snapshot_id)
    if snapshot is None or snapshot.lifecycle != Lifecycle.ACTIVE:
        raise Changed(f"snapshot {snapshot_id}", "it is being deleted")
    power = Power.RUNNING if steps.is_running(world, machine_id) else machine.power
    rules.check_stopped(machine.name, power, f"power it off to go back to snapshot {snapshot.name}")


@workflow("snapshot.delete")
def delete(run: Run, arguments: dict[str, Any]) -> str:
    """Forward only: the row goes last."""
    world, machine_id, snapshot_id = (cast(World, run.world), arguments["machine_id"], arguments["snapshot_id"])
    run.step("stop making disks independent", _stop_flattening, world, machine_id)
    run.step("take it out of the disks", snapshots.drop, world, snapshot_id)
    run.step("remove its memory", memories.remove, world, snapshot_id)
    run.step("forget", snapshots.forget, world, snapshot_id)
    return str(snapshot_id)


@workflow("snapshot.consolidate")
def consolidate(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = cast(World, run.world), arguments["machine_id"]
    run.step("stop making disks independent", _stop_flattening, world, machine_id)
    for lun_id, found in run.step("look for remains", snapshots.strays, world, machine_id).items():
        for name, disk_ids in found.items():
            run.step("remove remains", snapshots.drop_strays, world, lun_id, name, disk_ids)
    return str(machine_id)


@undo("snapshot.forget")
def _forget(world: World, arguments: dict[str, Any]) -> None:
    memories.remove(world, arguments["snapshot_id"])
    snapshots.forget(world, arguments["snapshot_id"])


@undo("snapshot.drop")
def _drop(world: World, arguments: dict[str, Any]) -> None:
    """A guest that stands still for it goes on first. One whose disks are of one volume did not, unless its memory was taken: its blade
    may be lost."""
    try:
        machine = steps.row(world, arguments["machine_id"])
    except Unknown:
        machine = None
    with world.database.read() as session:
        spread = len(snapshots.volumes(session, arguments["snapshot_id"])) > 1
        memory = memories.of(session, [arguments["snapshot_id"]])
    if memory and machine is not None:
        snapshot_memory.let_go(world, machine, arguments["snapshot_id"])
    elif spread and machine is not None and machine.blade is not None:
        hypervisor = world.rack.hypervisor(machine.blade)
        if insist(hypervisor.state, machine.id) == PowerState.PAUSED:
            hypervisor.resume(machine.id)
    snapshots.drop(world, arguments["snapshot_id"])


@undo("snapshot.keep")
def _keep(world: World, arguments: dict[str, Any]) -> bool:
    with world.database.write() as session:
        snapshot = session.get(Snapshot, arguments["snapshot_id"])
        if snapshot is not None:
            snapshot.lifecycle = Lifecycle.ACTIVE
    return False
