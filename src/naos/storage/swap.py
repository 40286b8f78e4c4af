"""Swap files: space of a volume as large as the memory of a running machine that is not reserved for it on its blade.

It is there, allocated, before the machine starts, and is given back when it has stopped. The row is written before the file and goes
after it: what a crash leaves between them is seen and can be repeated.
"""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.engines.errors import NoSpace
from naos.errors import Unknown
from naos.insistence import insist
from naos.storage import luns
from naos.storage.models import Lun, SwapFile
from naos.storage.space_errors import SwapRoom
from naos.world import World


def size_for(memory: int, reservation: int) -> int:
    """Bytes: what could be taken from the machine."""
    return max(memory - reservation, 0)


def of_machine(session: Session, machine_id: str) -> dict[str, int]:
    """Bytes by id of the volume."""
    rows = session.execute(sa.select(SwapFile.lun_id, SwapFile.size).where(SwapFile.machine_id == machine_id))
    return {str(lun_id): int(size) for lun_id, size in rows}


def make(world: World, machine_id: str, machine_name: str, lun_id: str, size: int) -> None:
    """Bring the machine's swap file on a volume to `size` bytes. Raises SwapRoom, with what there was before left as it is."""
    with world.database.read() as session:
        before = of_machine(session, machine_id).get(lun_id)
    if not size:
        if before is not None:
            _drop(world, machine_id, lun_id)
        return
    if before is None or before < size:
        _note(world, machine_id, lun_id, size)
    array, _ = luns.spec(world, lun_id)
    try:
        world.rack.array(array).set_aside(lun_id, machine_id, size)
    except NoSpace as error:
        refusal = _refusal(world, machine_id, machine_name, lun_id, size, before or 0)
        if before is None:
            _forget(world, machine_id, lun_id)
        else:
            _note(world, machine_id, lun_id, before)
        raise refusal from error
    _note(world, machine_id, lun_id, size)


def drop(world: World, machine_id: str, *, spared: str | None = None) -> None:
    """Give the machine's swap files back, but that on the volume `spared`."""
    with world.database.read() as session:
        present = of_machine(session, machine_id)
    for lun_id in sorted(present.keys() - {spared}):
        _drop(world, machine_id, lun_id)


def remove_stray(world: World, machine_id: str, lun_id: str) -> None:
    """Give back what is set aside for a machine that has no use for it, with or without a row."""
    _drop(world, machine_id, lun_id)


def forget_machine(session: Session, machine_id: str) -> None:
    session.execute(sa.delete(SwapFile).where(SwapFile.machine_id == machine_id))


def _drop(world: World, machine_id: str, lun_id: str) -> None:
    try:
        array, _ = luns.spec(world, lun_id)
    except Unknown:
        return
    insist(world.rack.array(array).give_back, lun_id, machine_id)
    _forget(world, machine_id, lun_id)


def _note(world: World, machine_id: str, lun_id: str, size: int) -> None:
    with world.database.write() as session:
        session.merge(SwapFile(machine_id=machine_id, lun_id=lun_id, size=size))


def _forget(world: World, machine_id: str, lun_id: str) -> None:
    with world.database.write() as session:
        session.execute(sa.delete(SwapFile).where(SwapFile.machine_id == machine_id, SwapFile.lun_id == lun_id))


def _refusal(world: World, machine_id: str, machine_name: str, lun_id: str, size: int, before: int) -> SwapRoom:
    free = luns.usage(world, lun_id).free
    with world.database.read() as session:
        name = session.get_one(Lun, lun_id).name
        count, taken = session.execute(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(SwapFile.size), 0)).where(
                SwapFile.lun_id == lun_id, SwapFile.machine_id != machine_id
            )
        ).one()
    return SwapRoom.of(
        machine_name, name, size=size, needed=size - before, free=free, others=int(count), taken=int(taken)
    )
