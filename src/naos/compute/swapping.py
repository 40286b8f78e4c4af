"""When machines have a swap file: from before their start until they have stopped, on the volume that is their home."""

from collections.abc import Mapping
from typing import Any

from naos.activity import Run, Undo, undo
from naos.compute import steps
from naos.errors import Unknown
from naos.storage import space, swap
from naos.world import World


def set_aside(world: World, machine_id: str, changes: Mapping[str, int] | None = None) -> None:
    """The swap file of the machine as it is, or will be after `changes` of memory and reservation. Raises SwapRoom."""
    machine = steps.row(world, machine_id)
    wanted = {"memory": machine.memory, "memory_reservation": machine.memory_reservation, **(changes or {})}
    size = swap.size_for(wanted["memory"], wanted["memory_reservation"])
    swap.make(world, machine_id, machine.name, machine.lun_id, size)


def give_back(world: World, machine_id: str) -> None:
    """Of a machine that has stopped: it waits for no space either."""
    swap.drop(world, machine_id)
    with world.database.write() as session:
        space.note_waiting(session, machine_id, ())


def at_start(run: Run, world: World, machine_id: str) -> None:
    run.step(
        "set the swap file aside",
        set_aside,
        world,
        machine_id,
        undo=Undo("swap.give_back", {"machine_id": machine_id}, "gave the swap file's space back"),
    )


def at_change(run: Run, world: World, machine_id: str, changes: Mapping[str, int]) -> None:
    """Before a running machine's memory changes."""
    wanted = {key: changes[key] for key in ("memory", "memory_reservation") if key in changes}
    if wanted:
        run.step(
            "fit the swap file",
            set_aside,
            world,
            machine_id,
            wanted,
            undo=Undo("swap.fit", {"machine_id": machine_id}, "left the swap file as it was"),
        )


def at_move(run: Run, world: World, machine_id: str, lun_id: str) -> None:
    """Before a running machine's home becomes another volume: it has both files until it is there."""
    if run.step("look where its swap file is", _is_elsewhere, world, machine_id, lun_id):
        run.step(
            "set the swap file aside there",
            _make_there,
            world,
            machine_id,
            lun_id,
            undo=Undo("swap.fit", {"machine_id": machine_id}, "gave the swap file's space there back"),
        )


def _is_elsewhere(world: World, machine_id: str, lun_id: str) -> bool:
    return steps.row(world, machine_id).lun_id != lun_id


def _make_there(world: World, machine_id: str, lun_id: str) -> None:
    machine = steps.row(world, machine_id)
    swap.make(world, machine_id, machine.name, lun_id, swap.size_for(machine.memory, machine.memory_reservation))


def leave_behind(world: World, machine_id: str) -> None:
    """After a move: what is not on the machine's home."""
    swap.drop(world, machine_id, spared=steps.row(world, machine_id).lun_id)


def fit(world: World, machine_id: str) -> None:
    """Bring what is set aside to what the machine's row says, while it runs: one file, on its home."""
    set_aside(world, machine_id)
    leave_behind(world, machine_id)


def is_used(world: World, machine_id: str, lun_id: str) -> bool:
    """Whether the volume is the home of a machine that the hypervisor shows running."""
    try:
        return steps.row(world, machine_id).lun_id == lun_id and steps.is_running(world, machine_id)
    except Unknown:
        return False


@undo("swap.give_back")
def _give_back(world: World, arguments: dict[str, Any]) -> None:
    give_back(world, arguments["machine_id"])


@undo("swap.fit")
def _fit(world: World, arguments: dict[str, Any]) -> None:
    try:
        fit(world, arguments["machine_id"])
    except Unknown:
        give_back(world, arguments["machine_id"])
