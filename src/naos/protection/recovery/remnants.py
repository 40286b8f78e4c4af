"""What a failover leaves on the old side, and how that is cut off for good.

A disk's row names the one volume that it is on, and naos exports it nowhere else: from the switch on, whatever brings the old volume
up (its array's return, a repair) exports nothing of it. What may still be exported there by a daemon that nobody could reach is cut
before the old side is used for anything.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.compute import steps
from naos.compute.models import VirtualMachine
from naos.engines.errors import EngineError
from naos.errors import Unknown
from naos.insistence import insist
from naos.protection.recovery.errors import StillUnfenced
from naos.protection.recovery.models import Remnant
from naos.storage import luns
from naos.storage.models import Disk, Lun, SnapshotMemory
from naos.world import World

_log = structlog.get_logger()


def of_machines(session: Session, machine_ids: Sequence[str]) -> list[Remnant]:
    query = sa.select(Remnant).where(Remnant.machine_id.in_(list(machine_ids)))
    return list(session.scalars(query.order_by(Remnant.lun_id, Remnant.disk_id)))


def leave(session: Session, disk: Disk, machine: VirtualMachine | None, *, fenced: bool) -> None:
    """To be called where the disk's row is about to name another volume."""
    session.merge(
        Remnant(
            lun_id=disk.lun_id,
            disk_id=disk.id,
            machine_id=machine.id if machine is not None else "",
            blade=machine.blade if machine is not None else None,
            fenced=fenced,
            since=datetime.now(UTC),
        )
    )


def leave_memories(session: Session, machine_id: str) -> None:
    """What the machine's snapshots held of memory is left with them: nothing is written to it any more."""
    for memory in session.scalars(sa.select(SnapshotMemory).where(SnapshotMemory.machine_id == machine_id)):
        where = {"lun_id": memory.lun_id, "disk_id": memory.snapshot_id, "machine_id": machine_id, "blade": None}
        session.merge(Remnant(**where, fenced=not memory.exported, since=datetime.now(UTC)))
        session.delete(memory)


def check_fenced(session: Session, machine_ids: Sequence[str]) -> None:
    """Raises StillUnfenced while anything of the machines' old sides may still be written to."""
    open_ones = [remnant for remnant in of_machines(session, machine_ids) if not remnant.fenced]
    if open_ones:
        arrays = {session.get_one(Lun, remnant.lun_id).array for remnant in open_ones}
        raise StillUnfenced(len(open_ones), ", ".join(sorted(arrays)))


def owed(world: World) -> list[Remnant]:
    """Those of which something may still be exported, or defined on a blade."""
    with world.database.read() as session:
        query = sa.select(Remnant).where(sa.or_(Remnant.fenced.is_(False), Remnant.blade.is_not(None)))
        return list(session.scalars(query.order_by(Remnant.disk_id)))


def settle(world: World, remnant: Remnant) -> bool:
    """Cut what is exported of a disk on its old volume, then end the machine that ran there. Whether nothing is owed any more.

    The blade may be away for longer than the array: without an export its guest can write nothing any more.
    """
    try:
        array, _ = luns.spec(world, remnant.lun_id)
        if not remnant.fenced:
            world.rack.array(array).fence_disk(remnant.lun_id, remnant.disk_id)
            _log.warning("recovery.fenced", disk=remnant.disk_id, volume=remnant.lun_id)
            _note(world, remnant, fenced=True)
            with suppress(EngineError):
                world.rack.array(array).give_back(remnant.lun_id, remnant.machine_id)
        clean_blade(world, remnant.machine_id, remnant.blade)
    except Unknown:
        pass  # volume or machine are gone
    except EngineError as error:
        _log.info("recovery.not_settled_yet", disk=remnant.disk_id, reason=str(error))
        return False
    _note(world, remnant, fenced=True, blade=None)
    return True


def _note(world: World, remnant: Remnant, **values: object) -> None:
    with world.database.write() as session:
        mine = (Remnant.lun_id == remnant.lun_id, Remnant.disk_id == remnant.disk_id)
        session.execute(sa.update(Remnant).where(*mine).values(**values))


def leave_blade(world: World, machine_id: str, blade: str | None) -> None:
    """A machine that has changed its side is ended and undefined where it was, now or when that blade answers."""
    with suppress(EngineError):
        clean_blade(world, machine_id, blade)
        with world.database.write() as session:
            session.execute(sa.update(Remnant).where(Remnant.machine_id == machine_id).values(blade=None))


def clean_blade(world: World, machine_id: str, blade: str | None) -> None:
    """End and undefine a machine where it was; where it is now nothing is touched."""
    if blade is None:
        return
    with world.database.read() as session:
        machine = session.get(VirtualMachine, machine_id)
    if machine is not None and machine.blade == blade:
        return
    world.rack.hypervisor(blade).power_off(machine_id)
    steps.undefine(world, machine_id, blade)


def remove(world: World, machine_id: str, lun_id: str | None = None) -> int:
    """Delete the files that were left of a machine (on one volume, or on all); how many. Raises StillUnfenced."""
    with world.database.read() as session:
        found = [row for row in of_machines(session, [machine_id]) if lun_id in (None, row.lun_id)]
        check_fenced(session, [machine_id] if found else [])
    return _remove(world, found)


def remove_on(world: World, lun_id: str) -> int:
    """Delete all files that were left on a volume; how many."""
    with world.database.read() as session:
        query = sa.select(Remnant).where(Remnant.lun_id == lun_id, Remnant.fenced.is_(True))
        found = list(session.scalars(query.order_by(Remnant.disk_id)))
    return _remove(world, found)


def _remove(world: World, found: Sequence[Remnant]) -> int:
    for row in found:
        with suppress(EngineError):  # a blade that does not answer is the doctor's
            clean_blade(world, row.machine_id, row.blade)
        with world.database.read() as session:
            disk = session.get(Disk, row.disk_id)
        if disk is None or disk.lun_id != row.lun_id:  # what came back is in use there
            with suppress(Unknown):
                array, _ = luns.spec(world, row.lun_id)
                insist(world.rack.array(array).delete_disk, row.lun_id, row.disk_id)
        with world.database.write() as session:
            session.execute(sa.delete(Remnant).where(Remnant.lun_id == row.lun_id, Remnant.disk_id == row.disk_id))
    return len(found)
