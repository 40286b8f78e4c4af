"""Copies of a machine's disks as they are at one instant, whatever volumes they lie on."""

from collections.abc import Sequence
from typing import Any

from naos.activity import undo
from naos.compute import steps
from naos.engines.ports import PowerState
from naos.errors import Changed, Unknown
from naos.insistence import insist
from naos.storage import copies
from naos.storage.copies import Leg
from naos.world import World


def begin(world: World, machine_id: str, legs: Sequence[Leg]) -> None:
    """Begin to copy; crash-consistent. One volume's daemon begins all its copies in one transaction, while the guest runs.

    Of several volumes no daemon knows of the others: the guest's processors stand still for the moment in which all begin,
    with every request of it answered. A call after a crash in that moment finds it standing, and lets it go on.
    """
    spread = len({leg.source_lun for leg in legs}) > 1
    if not spread or not steps.is_running(world, machine_id):
        copies.begin(world, legs)
        return
    hypervisor = world.rack.hypervisor(steps.home(world, machine_id))
    try:
        hypervisor.pause(machine_id)  # inside: its answer may be lost after it was done
        copies.begin(world, legs)
    finally:
        insist(hypervisor.resume, machine_id)


def end(world: World, machine_id: str, legs: Sequence[Leg]) -> None:
    """End copies that are not complete, and let a guest go on that stands still for them."""
    copies.cancel(world, legs)
    try:
        blade = steps.home(world, machine_id)
    except (Unknown, Changed):
        return
    hypervisor = world.rack.hypervisor(blade)
    if insist(hypervisor.state, machine_id) == PowerState.PAUSED:
        hypervisor.resume(machine_id)


@undo("copies.end")
def _end(world: World, arguments: dict[str, Any]) -> None:
    end(world, arguments["machine_id"], copies.legs_of(arguments["legs"]))
