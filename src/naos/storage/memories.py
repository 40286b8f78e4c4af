"""The memory that snapshots hold: rows, and the steps on the arrays.

It lies in a disk of its own on the machine's volume, under the snapshot's id, so that it is encrypted, limited, counted and served as
every disk there is. All of its space is reserved before the guest is stopped for it.
"""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.engines.errors import NoSpace
from naos.engines.ports import NbdAddress, Provisioning
from naos.errors import Unknown
from naos.insistence import insist
from naos.storage import luns, space
from naos.storage.memory_errors import MemoryRoom
from naos.storage.models import Lun, SnapshotMemory
from naos.units import MIB
from naos.world import World

_DEVICES = 64 * MIB
"""More than the state of all devices takes; the screen's memory is the most of it."""


def size_for(memory: int) -> int:
    """Bytes for a guest of so many: each page goes with a few bytes that name it."""
    return -(-(memory + memory // 256 + _DEVICES) // MIB) * MIB


def reserve(session: Session, *, snapshot_id: str, machine_id: str, lun_id: str, memory: int) -> SnapshotMemory:
    """Add the row of what is to be kept. memory: bytes of the guest's. Raises InMaintenance, Overcommitted."""
    lun, size = session.get_one(Lun, lun_id), size_for(memory)
    space.check_open(session, lun)
    space.check_promise(session, lun, size)
    row = SnapshotMemory(snapshot_id=snapshot_id, machine_id=machine_id, lun_id=lun_id, capacity=size, hardware={})
    session.add(row)
    session.flush()
    return row


def of(session: Session, snapshot_ids: Collection[str]) -> Mapping[str, SnapshotMemory]:
    """By the snapshot's id; one statement for any number."""
    rows = session.scalars(sa.select(SnapshotMemory).where(SnapshotMemory.snapshot_id.in_(snapshot_ids)))
    return {row.snapshot_id: row for row in rows}


def of_machine(session: Session, machine_id: str) -> list[str]:
    """Ids of the machine's snapshots that hold memory."""
    query = sa.select(SnapshotMemory.snapshot_id).where(SnapshotMemory.machine_id == machine_id)
    return list(session.scalars(query.order_by(SnapshotMemory.snapshot_id)))


def row(world: World, snapshot_id: str) -> SnapshotMemory:
    """Raises Unknown."""
    with world.database.read() as session:
        found = session.get(SnapshotMemory, snapshot_id)
    if found is None:
        raise Unknown("memory of snapshot", snapshot_id)
    return found


# ---------------------------------------------------------------------------------------------------------------- steps


def make(world: World, snapshot_id: str, machine_name: str) -> None:
    """Set the space aside. Raises MemoryRoom."""
    memory = row(world, snapshot_id)
    array, lun = luns.spec(world, memory.lun_id)
    try:
        world.rack.array(array).create_disk(lun, snapshot_id, memory.capacity, Provisioning.STATIC_DIFFERED)
    except NoSpace as error:
        with world.database.read() as session:
            name = session.get_one(Lun, memory.lun_id).name
        free = luns.usage(world, memory.lun_id).free
        raise MemoryRoom.of(machine_name, name, size=memory.capacity, free=free) from error


def note(world: World, snapshot_id: str, length: int, hardware: Mapping[str, Any]) -> None:
    """What was saved, and of which machine."""
    _update(world, snapshot_id, length=length, hardware=dict(hardware))


def note_checksum(world: World, snapshot_id: str, checksum: str) -> None:
    """Of what is on the volume, as it left the blade."""
    _update(world, snapshot_id, checksum=checksum)


def open_way(world: World, snapshot_id: str) -> NbdAddress:
    """Where it is written or read from now on, under a new epoch: who began before does so no more."""
    with world.database.write() as session:
        memory = session.get(SnapshotMemory, snapshot_id)
        if memory is None:
            raise Unknown("memory of snapshot", snapshot_id)
        memory.epoch += 1
        memory.exported = True
        session.flush()
    array, lun = luns.spec(world, memory.lun_id)
    return world.rack.array(array).export_disk(lun, snapshot_id, memory.epoch)


def close_way(world: World, snapshot_id: str) -> None:
    """The table says so first, as for a disk. What holds no memory is left alone."""
    try:
        memory = row(world, snapshot_id)
    except Unknown:
        return
    _update(world, snapshot_id, exported=False)
    array, lun = luns.spec(world, memory.lun_id)
    insist(world.rack.array(array).fence_disk, lun.id, snapshot_id)


def remove(world: World, snapshot_id: str) -> None:
    """The disk, then the row; what holds no memory is left alone."""
    try:
        memory = row(world, snapshot_id)
    except Unknown:
        return
    _update(world, snapshot_id, exported=False)
    array, lun = luns.spec(world, memory.lun_id)
    insist(world.rack.array(array).delete_disk, lun.id, snapshot_id)
    with world.database.write() as session:
        session.execute(sa.delete(SnapshotMemory).where(SnapshotMemory.snapshot_id == snapshot_id))


def _update(world: World, snapshot_id: str, **values: Any) -> None:
    with world.database.write() as session:
        session.execute(sa.update(SnapshotMemory).where(SnapshotMemory.snapshot_id == snapshot_id).values(**values))
