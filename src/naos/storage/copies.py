"""The copy engine of the areas: disks of any volumes, as they are at one instant, to other volumes or their own.

A `Leg` is one disk's way. Legs of one source volume begin at one instant; for legs of several, the caller sees to it that
nothing is written while `begin` runs. Legs are plain values, so that they can be a step's and a compensation's arguments.

What a copy writes to another volume counts among that volume's operations, in turn with the machines'; what it reads does not
count. So that machines keep most of what they pay for, a copy is held to a quarter of the operations of the slower volume.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.catalogue.models import Template
from naos.engines.errors import EngineError, Unreachable
from naos.engines.ports import DiskCopy, JobState, NbdAddress, Provisioning
from naos.errors import Unknown
from naos.insistence import insist
from naos.storage import luns, space
from naos.storage.models import Disk, Lun
from naos.storage.rules import check_disk_size, check_room
from naos.world import World

PIECE = 2**20  # bytes: what one operation of a copy carries where a disk is full
SHARE = 4  # a copy takes one operation in so many
FIRST_LOOK, LONGEST_WAIT = 0.02, 1.0  # seconds between looks
STANDSTILL = 300.0  # seconds without one more byte


@dataclass(frozen=True)
class Leg:
    """Disk `source_id` of volume `source_lun` becomes disk `disk_id` of volume `target_lun`.

    epoch: under which the target exports the empty disk that receives it; without meaning within one volume.
    """

    source_lun: str
    source_id: str
    target_lun: str
    disk_id: str
    epoch: int

    @property
    def is_local(self) -> bool:
        return self.source_lun == self.target_lun

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def legs_of(plain: Iterable[dict[str, Any]]) -> list[Leg]:
    return [Leg(**entry) for entry in plain]


def speed(world: World, source_lun: str, target_lun: str) -> int | None:
    """Bytes a second that a copy between two volumes may take; None where neither has a limit."""
    limits = [spec.iops for _, spec in (luns.spec(world, lun_id) for lun_id in {source_lun, target_lun}) if spec.iops]
    return min(limits) * PIECE // SHARE if limits else None


# --------------------------------------------------------------------------------------------------------------- checks


def needed(session: Session, world: World, disk: Disk, present_lun: Lun) -> int:
    """Bytes that a copy of the disk takes on its volume. Raises what the array does when it does not answer."""
    if disk.provisioning != "dynamic":
        return disk.capacity
    facts = world.rack.array(present_lun.array).disk(present_lun.id, disk.id)
    allocated = disk.capacity if facts is None else facts.allocated
    if disk.backing is not None:
        template = session.get(Template, disk.backing)
        allocated += disk.capacity if template is None else template.virtual_size
    return min(allocated, disk.capacity)


def check_fits(session: Session, world: World, wanted: Sequence[tuple[Disk, Lun]]) -> None:
    """Whether copies of these disks fit onto the volumes, together. Raises VolumeRoom, DiskSize, Overcommitted with the
    numbers."""
    for lun in {lun.id: lun for _, lun in wanted}.values():
        coming = [disk for disk, target in wanted if target.id == lun.id]
        for disk in coming:
            check_disk_size(lun.name, disk.capacity, lun_capacity=lun.capacity)
        space.check_promise(session, lun, sum(disk.capacity for disk in coming))
        total = sum(needed(session, world, disk, session.get_one(Lun, disk.lun_id)) for disk in coming)
        what = f"a copy of {coming[0].name}" if len(coming) == 1 else f"a copy of {len(coming)} disks"
        check_room(lun.name, what, needed=total, free=luns.usage(world, lun.id).free)


# ---------------------------------------------------------------------------------------------------------------- steps


def begin(world: World, legs: Sequence[Leg]) -> None:
    """Start every copy; those that have begun are left alone, unless an earlier call began only some: then all begin anew."""
    groups = _groups(legs)
    begun = [_state(world, group) is not None for group in groups]
    if all(begun):
        return
    if any(begun):
        cancel(world, legs)
    for group in groups:
        array, lun = luns.spec(world, group[0].source_lun)
        paces = [pace for leg in group if (pace := speed(world, leg.source_lun, leg.target_lun)) is not None]
        wanted = [_copy(world, leg) for leg in group]
        world.rack.array(array).begin_copies(lun, wanted, speed=min(paces, default=None))


def follow(world: World, legs: Sequence[Leg], progress: Callable[[float], None]) -> None:
    """Wait until every copy is complete. Raises EngineError for one that failed, Unreachable when nothing moves any more."""
    wait, moved, until = FIRST_LOOK, -1, time.monotonic() + STANDSTILL
    while True:
        states = [_look(world, group) for group in _groups(legs)]
        done, total = sum(state.done for state in states), sum(state.total for state in states)
        if not any(state.running for state in states):
            return
        if done != moved:
            moved, until = done, time.monotonic() + STANDSTILL
        elif time.monotonic() > until:
            raise Unreachable("the array", "copying", f"nothing moves after {done} of {total} bytes")
        progress(done / total if total else 0.0)
        time.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT)


def finish(world: World, legs: Sequence[Leg]) -> None:
    """Take the results, and close the targets. Raises EngineError when a target's daemon was lost before it had all."""
    for group in _groups(legs):
        array, lun = luns.spec(world, group[0].source_lun)
        insist(world.rack.array(array).finish_copies, lun, [_copy(world, leg) for leg in group])
    for leg in legs:
        if not leg.is_local:
            _check_whole(world, leg)


def cancel(world: World, legs: Sequence[Leg]) -> None:
    """End those that are under way; complete and absent ones are left alone."""
    for leg in legs:
        try:
            array, lun = luns.spec(world, leg.source_lun)
        except Unknown:
            continue
        insist(world.rack.array(array).cancel_jobs, lun.id, leg.disk_id)


def _check_whole(world: World, leg: Leg) -> None:
    """A daemon that died has lost its exports: one that still has this one has taken, and will write, everything."""
    array, lun = luns.spec(world, leg.target_lun)
    if insist(world.rack.array(array).contents, lun.id).exports.get(leg.disk_id) != leg.epoch:
        reason = "its daemon was lost before the copy was safe; begin again"
        raise EngineError(array, f"copying disk {leg.source_id} to volume {leg.target_lun}", reason)


def _groups(legs: Sequence[Leg]) -> list[list[Leg]]:
    """By source volume."""
    found: dict[str, list[Leg]] = {}
    for leg in legs:
        found.setdefault(leg.source_lun, []).append(leg)
    return list(found.values())


def _look(world: World, group: Sequence[Leg]) -> JobState:
    array, lun = luns.spec(world, group[0].source_lun)
    return world.rack.array(array).copies(lun, [_copy(world, leg) for leg in group])


def _state(world: World, group: Sequence[Leg]) -> JobState | None:
    """How far a volume's legs are, None when they have not all begun."""
    with suppress(EngineError):
        return _look(world, group)
    return None


def _copy(world: World, leg: Leg) -> DiskCopy:
    return DiskCopy(leg.source_id, leg.disk_id, None if leg.is_local else address(world, leg))


def address(world: World, leg: Leg) -> NbdAddress:
    """Where a leg's target is exported."""
    array, lun = luns.spec(world, leg.target_lun)
    return luns.address(world, array, lun, f"{leg.disk_id}.{leg.epoch}")


# ------------------------------------------------------------------------------------------------- targets that are disks


def open_target(world: World, leg: Leg) -> None:
    """Make the empty disk that receives a leg, and export it; within one volume the copy makes it itself.

    The array has the export before the table says so: a volume's recovery would wait for a copy that takes hours.
    """
    with world.database.read() as session:
        disk = session.get(Disk, leg.disk_id)
        if disk is None:
            raise Unknown("disk", leg.disk_id)
    if leg.is_local:
        return
    make_target(world, leg, disk)
    with world.database.write() as session:
        values = {"epoch": leg.epoch, "exported": True}
        session.execute(sa.update(Disk).where(Disk.id == leg.disk_id).values(**values))


def make_target(world: World, leg: Leg, disk: Disk) -> None:
    """An empty disk on the leg's target volume, exported."""
    array, lun = luns.spec(world, leg.target_lun)
    world.rack.array(array).create_disk(lun, leg.disk_id, disk.capacity, Provisioning(disk.provisioning))
    world.rack.array(array).export_disk(lun, leg.disk_id, leg.epoch)
