"""Snapshots with memory: what must be so, and the durable work.

The guest stands still while its memory is saved on its blade and its disks are taken, both of the same instant; it goes on at once,
and what was saved is carried to its volume meanwhile. Going back, the memory is on the new blade before the disks are changed, and
nothing of the guest runs before that is on record: a call after a crash never starts it from the same memory twice.
"""

import time
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Run, Undo, undo
from naos.compute import firmware, hooks, seeds, snapshot_hardware, steps, swapping
from naos.compute.models import MachineGpus, MachineProcessor, Power, VirtualMachine
from naos.compute.startup import export_disks
from naos.engines.errors import EngineError, Unsupported
from naos.engines.ports import Hypervisor, PowerState
from naos.errors import Unknown
from naos.insistence import insist
from naos.storage import disks, memories, snapshots
from naos.storage.memory_errors import (
    HardwareChanged,
    MemoryBesideDisks,
    MemoryOfDevices,
    MemoryOfStopped,
    MemoryQuiesced,
    MemoryTooLarge,
    ProcessorLacks,
)
from naos.storage.models import Snapshot
from naos.storage.rules import PERSISTENT
from naos.units import TIB, size_text
from naos.world import World

MOST = 3 * TIB // 2
"""Bytes of memory that a snapshot holds."""
_log = structlog.get_logger()


def check_kept(session: Session, machine: VirtualMachine, *, quiesce: bool) -> None:
    """Whether the machine's memory can be kept. Raises MemoryOfStopped, MemoryTooLarge, MemoryBesideDisks, MemoryOfDevices,
    MemoryQuiesced."""
    if quiesce:
        raise MemoryQuiesced
    if machine.power != Power.RUNNING:
        raise MemoryOfStopped(machine.name)
    if machine.memory > MOST:
        raise MemoryTooLarge(machine.name, size_text(machine.memory), size_text(MOST))
    devices = session.scalar(sa.select(MachineGpus.count).where(MachineGpus.machine_id == machine.id))
    if devices:
        raise MemoryOfDevices(machine.name, devices)
    beside = [disk for disk in disks.of_machine(session, machine.id) if disk.mode != PERSISTENT]
    if beside:
        raise MemoryBesideDisks(machine.name, ", ".join(f"{disk.name}: {disk.mode}" for disk in beside))


def check_hardware(session: Session, machine: VirtualMachine, snapshot: Snapshot) -> None:
    """Raises HardwareChanged unless the guest would find what it had."""
    memory = memories.of(session, [snapshot.id])[snapshot.id]
    found = snapshot_hardware.differences(memory.hardware, snapshot_hardware.read(session, machine))
    if found:
        raise HardwareChanged(machine.name, snapshot.name, "; ".join(found))


# --------------------------------------------------------------------------------------------------------------- taking


def take(run: Run, world: World, machine_id: str, snapshot_id: str) -> None:
    """Room, then memory and disks while the guest stands still, then the way to the volume. The room is given back with the name."""
    back = {"machine_id": machine_id, "snapshot_id": snapshot_id}
    run.step("set the memory's space aside", _make_room, world, machine_id, snapshot_id)
    run.step(
        "take memory and disks",
        _take_both,
        world,
        machine_id,
        snapshot_id,
        undo=Undo("snapshot.drop", back, "took the snapshot out of the disks"),
    )
    run.step("carry the memory to the volume", _carry, world, machine_id, snapshot_id)
    run.step("tidy the blade", _tidy, world, machine_id, snapshot_id)


def _make_room(world: World, machine_id: str, snapshot_id: str) -> None:
    memories.make(world, snapshot_id, steps.row(world, machine_id).name)


def _take_both(world: World, machine_id: str, snapshot_id: str) -> None:
    """A call after a crash begins anew: what was taken before belongs to an instant that is over. It finds the guest standing, or
    running; either way it goes on at the end."""
    memory = memories.row(world, snapshot_id)
    hypervisor = world.rack.hypervisor(steps.home(world, machine_id))
    snapshots.drop(world, snapshot_id)
    with world.database.read() as session:
        hardware = snapshot_hardware.read(session, session.get_one(VirtualMachine, machine_id))
    began = time.monotonic()
    try:
        length = hypervisor.keep_memory(machine_id, snapshot_id, memory.capacity)
        saved = time.monotonic()
        snapshots.take(world, snapshot_id)
    finally:
        go_on(hypervisor, machine_id)
    stood, saving = round(time.monotonic() - began, 3), round(saved - began, 3)
    _log.info("snapshot.memory", machine=machine_id, bytes=length, stood=stood, saving=saving)
    memories.note(world, snapshot_id, length, hardware)


def go_on(hypervisor: Hypervisor, machine_id: str) -> None:
    """Let a guest go on that stands still; one that has stopped, or waits for a disk, is left to those who see to that."""
    if insist(hypervisor.state, machine_id) == PowerState.PAUSED:
        insist(hypervisor.resume, machine_id)


def _carry(world: World, machine_id: str, snapshot_id: str) -> None:
    hypervisor = world.rack.hypervisor(steps.home(world, machine_id))
    checksum = hypervisor.send_memory(snapshot_id, memories.open_way(world, snapshot_id))
    memories.note_checksum(world, snapshot_id, checksum)
    memories.close_way(world, snapshot_id)


def _tidy(world: World, machine_id: str, snapshot_id: str) -> None:
    insist(world.rack.hypervisor(steps.home(world, machine_id)).drop_memory, machine_id, snapshot_id)


def let_go(world: World, machine: VirtualMachine, snapshot_id: str) -> None:
    """Give up: nothing of it stays on the blade, and the guest goes on."""
    if machine.blade is not None:
        hypervisor = world.rack.hypervisor(machine.blade)
        insist(hypervisor.drop_memory, machine.id, snapshot_id)
        go_on(hypervisor, machine.id)


# ----------------------------------------------------------------------------------------------------------- going back


def go_back(run: Run, world: World, machine_id: str, snapshot_id: str) -> None:
    """As a start, but from the memory; the disks go back once all that can fail before is done."""
    run.step("check that it may start", hooks.check_start_of, world, machine_id)
    blade = run.step(
        "choose a blade",
        steps.place,
        world,
        machine_id,
        undo=Undo("virtual_machine.release", {"machine_id": machine_id}, "gave the memory back"),
    )
    run.step("look at its processor", _check_processor, world, snapshot_id, blade)
    swapping.at_start(run, world, machine_id)
    run.step("bring the networks", steps.bring_networks, world, machine_id, blade)
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
    run.step("bring the firmware's variables", _bring_firmware, world, machine_id, blade)
    run.step(
        "bring the memory to the blade",
        _fetch,
        world,
        snapshot_id,
        blade,
        undo=Undo(
            "snapshot.leave_memory",
            {"machine_id": machine_id, "snapshot_id": snapshot_id, "blade": blade},
            f"took the memory off {blade}",
        ),
    )
    run.step("bring the disks back", snapshots.revert, world, snapshot_id)
    run.step("note where it is", snapshots.make_current, world, snapshot_id)
    export_disks(run, world, machine_id)
    run.step("define", steps.define, world, machine_id, blade)
    run.step("tidy earlier blades", steps.undefine_elsewhere, world, machine_id, blade)
    run.step(
        "bring it back from its memory",
        _restore,
        world,
        machine_id,
        snapshot_id,
        blade,
        undo=Undo("virtual_machine.power_off", {"machine_id": machine_id}, "cut the power"),
    )
    run.step("let it go on", _let_run, world, machine_id, blade)
    run.step("note that it runs", steps.record_running, world, machine_id)
    run.step("tell it the time", _tell_time, world, machine_id, blade)
    run.step("take the memory off the blade", leave, world, machine_id, snapshot_id, blade)


def check_still(world: World, machine_id: str, snapshot_id: str) -> None:
    """The hardware, once more where nothing else can change it."""
    with world.database.read() as session:
        machine = session.get_one(VirtualMachine, machine_id)
        check_hardware(session, machine, session.get_one(Snapshot, snapshot_id))


def _check_processor(world: World, snapshot_id: str, blade: str) -> None:
    """Raises ProcessorLacks for a blade that cannot show the guest what it was shown."""
    shown = set(memories.row(world, snapshot_id).hardware["features"])
    if shown:
        with suppress(Unsupported):  # it cannot say; then guests are shown what the emulator has
            missing = shown - set(world.rack.hypervisor(blade).processor().features)
            if missing:
                with world.database.read() as session:
                    name = session.get_one(Snapshot, snapshot_id).name
                raise ProcessorLacks(name, ", ".join(sorted(missing)), blade)


def _bring_firmware(world: World, machine_id: str, blade: str) -> None:
    """What it has stored comes with the memory; a file must be there for it."""
    firmware.bring(world, machine_id, blade, setup=False)


def _fetch(world: World, snapshot_id: str, blade: str) -> None:
    kept = memories.row(world, snapshot_id)
    way = memories.open_way(world, snapshot_id)
    world.rack.hypervisor(blade).fetch_memory(snapshot_id, way, kept.length, kept.checksum)
    memories.close_way(world, snapshot_id)


def _restore(world: World, machine_id: str, snapshot_id: str, blade: str) -> None:
    """What the guest is shown is noted first, as at a start."""
    features = memories.row(world, snapshot_id).hardware["features"]
    if features:
        with world.database.write() as session:
            session.merge(MachineProcessor(machine_id=machine_id, features=features))
    world.rack.hypervisor(blade).restore_memory(machine_id, snapshot_id)


def _let_run(world: World, machine_id: str, blade: str) -> None:
    """A call after a crash may find that it ran, and has stopped by itself since."""
    go_on(world.rack.hypervisor(blade), machine_id)


def _tell_time(world: World, machine_id: str, blade: str) -> str:
    """For the activity's log. A guest whose agent does not hear it has the clock that it had."""
    hypervisor = world.rack.hypervisor(blade)
    try:
        insist(hypervisor.set_clock, machine_id)
    except EngineError as error:
        _log.info("snapshot.clock_left", machine=machine_id, reason=str(error))
        return f"its clock is left as it was: {error}"
    return "its clock is set"


def leave(world: World, machine_id: str, snapshot_id: str, blade: str) -> None:
    """The way is closed, and nothing of the memory stays on the blade."""
    memories.close_way(world, snapshot_id)
    insist(world.rack.hypervisor(blade).drop_memory, machine_id, snapshot_id)


def remove_all(world: World, machine_id: str) -> None:
    """Of a machine that goes."""
    with world.database.read() as session:
        kept = memories.of_machine(session, machine_id)
    for snapshot_id in kept:
        memories.remove(world, snapshot_id)


@undo("snapshot.leave_memory")
def _leave(world: World, arguments: dict[str, Any]) -> None:
    try:
        steps.row(world, arguments["machine_id"])
    except Unknown:
        return
    leave(world, arguments["machine_id"], arguments["snapshot_id"], arguments["blade"])
