"""The steps of instant starts, and of the move that follows each."""

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
import structlog

from naos.engines.errors import EngineError
from naos.engines.ports import Door, JobState, Provisioning
from naos.errors import Unknown
from naos.protection import copying
from naos.protection.backup import instant, points, restoring
from naos.protection.backup.instant import State
from naos.protection.backup.instant_models import InstantDisk, InstantStart
from naos.protection.backup.models import RestorePoint
from naos.storage import disks, luns
from naos.storage.models import Disk
from naos.world import World

LOOK_SECONDS = 0.2
NOTE_SECONDS = 2.0
AWAY = "the vault cannot be used: "
"""How a note begins that goes once the vault answers again."""
_log = structlog.get_logger()


def _row(world: World, restore_id: str) -> InstantStart:
    with world.database.read() as session:
        row = session.get(InstantStart, restore_id)
    if row is None:
        raise Unknown("instant start", restore_id)
    return row


def _update(world: World, restore_id: str, **values: Any) -> None:
    with world.database.write() as session:
        session.execute(sa.update(InstantStart).where(InstantStart.restore_id == restore_id).values(**values))


def note(world: World, restore_id: str, text: str) -> None:
    """Why it does not move in at present; "" when it does."""
    if _row(world, restore_id).note != text:
        _update(world, restore_id, note=text)
        if text:
            _log.warning("instant_start.waits", restore=restore_id, reason=text)


def serve(world: World, restore_id: str) -> dict[str, Door]:
    """Let the point be read, by the ids of its disks. Repeated, the same doors, where the vault can. Raises EngineError."""
    row = _row(world, restore_id)
    with world.database.read() as session:
        point = session.get(RestorePoint, row.point_id)
    if point is None:
        raise Unknown("restore point", row.point_id)
    return copying.store_of(world, points.where(point)).serve(point.set_id, point.id, restore_id)


def lay(world: World, restore_id: str) -> None:
    """Make each disk: it begins as the point has it, and what is written to it stays on its volume."""
    doors = serve(world, restore_id)
    with world.database.read() as session:
        query = sa.select(InstantDisk.source_id, Disk).join(Disk, Disk.id == InstantDisk.disk_id)
        found = [
            (source_id, disk) for source_id, disk in session.execute(query.where(InstantDisk.restore_id == restore_id))
        ]
    for source_id, disk in found:
        if disk.backing is None:
            raise Unknown("base of disk", disk.id)
        array, lun = luns.spec(world, disk.lun_id)
        provisioning = Provisioning(disk.provisioning)
        door = doors[source_id]
        world.rack.array(array).lay_disk(lun, disk.id, disk.backing, disk.capacity, provisioning, door)
    _update(world, restore_id, door=_address(doors))


def begin(world: World, restore_id: str) -> None:
    """It runs, or its disks are where they belong: from here on it moves in, whatever happens."""
    _update(world, restore_id, state=State.MOVING.value, moving_at=datetime.now(UTC))


def forget(world: World, restore_id: str) -> bool | None:
    """One that never came to run; of any other the machine stays, and moves in."""
    if not restoring.is_under_way(world, restore_id):
        return False
    with contextlib.suppress(Unknown):
        point_id = _row(world, restore_id).point_id
        restoring.end_serving(world, point_id, restore_id)
        with world.database.write() as session:
            session.execute(sa.delete(InstantDisk).where(InstantDisk.restore_id == restore_id))
            session.execute(sa.delete(InstantStart).where(InstantStart.restore_id == restore_id))
        restoring.end_serving(world, point_id, restore_id)  # whoever kept it served until the row had gone
    return None


# ------------------------------------------------------------------------------------------------------------- the vault


def find_vault(world: World, restore_id: str) -> None:
    """See to it that the vault serves the point, and that the arrays look for it where it does. Raises EngineError."""
    row = _row(world, restore_id)
    doors = serve(world, restore_id)
    address = _address(doors)
    back = row.note.startswith(AWAY)
    if address == row.door and not back:
        return
    if row.state == State.MOVING:
        with world.database.read() as session:
            mine = sa.select(InstantDisk).where(InstantDisk.restore_id == restore_id)
            sources = {entry.disk_id: entry.source_id for entry in session.scalars(mine)}
            open_disks = instant.resting(session, restore_id)
        for disk in open_disks:
            array, lun = luns.spec(world, disk.lun_id)
            world.rack.array(array).renew_door(lun, disk.id, doors[sources[disk.id]])
        _update(world, restore_id, door=address, note="" if back else row.note)


def _address(doors: dict[str, Door]) -> str:
    return next((f"{door.address.host}:{door.address.port}" for door in doors.values()), "")


# -------------------------------------------------------------------------------------------------------------- the move


def move(world: World, restore_id: str, progress: Callable[[float], None], yield_requested: Callable[[], bool]) -> None:
    """Bring disk after disk in; ends early when another change needs them. What has moved in stays so, whatever happens.

    Raises EngineError when one cannot go on now; why is noted.
    """
    with world.database.read() as session:
        wanted = [disk.id for disk in instant.resting(session, restore_id)]
    for disk_id in wanted:
        try:
            if not _move_disk(world, restore_id, disk_id, progress, yield_requested):
                return
        except EngineError as error:
            note(world, restore_id, str(error))
            raise


def _move_disk(
    world: World,
    restore_id: str,
    disk_id: str,
    progress: Callable[[float], None],
    yield_requested: Callable[[], bool],
) -> bool:
    """False when it gave way."""
    noted = float("-inf")
    while not yield_requested():
        with world.database.read() as session:
            disk = session.get(Disk, disk_id)
            row = session.get(InstantStart, restore_id)
        if disk is None or row is None or disk.backing is None:
            return True
        array, lun = luns.spec(world, disk.lun_id)
        state = world.rack.array(array).move_in(lun, disk_id, speed=row.speed or None)
        if state.error is not None:
            raise EngineError(array, f"moving disk {disk_id} in", state.error)
        if not state.running:
            _moved(world, disk)
            with contextlib.suppress(EngineError):  # whoever looks after the volume drops it later
                world.rack.array(array).drop_template(lun.id, disk.backing)
            return True
        if time.monotonic() - noted > NOTE_SECONDS:
            noted = time.monotonic()
            progress(_note_progress(world, restore_id, disk_id, state))
            note(world, restore_id, "")
        time.sleep(LOOK_SECONDS)
    with contextlib.suppress(Unknown):
        disks.stop_flattening(world, disk_id)
    return False


def _moved(world: World, disk: Disk) -> None:
    with world.database.write() as session:
        session.execute(sa.update(Disk).where(Disk.id == disk.id).values(backing=None))
        session.execute(sa.update(InstantDisk).where(InstantDisk.disk_id == disk.id).values(done=InstantDisk.total))


def _note_progress(world: World, restore_id: str, disk_id: str, state: JobState) -> float:
    """The share of all of its disks."""
    with world.database.write() as session:
        mine = sa.update(InstantDisk).where(InstantDisk.disk_id == disk_id)
        session.execute(mine.values(done=state.done, total=max(state.total, 1)))
        query = sa.select(sa.func.sum(InstantDisk.done), sa.func.sum(InstantDisk.total))
        done, total = session.execute(query.where(InstantDisk.restore_id == restore_id)).one()
    return float(done) / float(total)


def finish(world: World, restore_id: str) -> bool:
    """When nothing of it lies in the vault any more, the point is let go. Whether that is so."""
    row = _row(world, restore_id)
    with world.database.read() as session:
        left = instant.resting(session, restore_id)
    if left or row.state == State.STARTING:
        return False
    restoring.end_serving(world, row.point_id, restore_id)
    if row.state != State.DONE:
        _update(world, restore_id, state=State.DONE.value, ended_at=datetime.now(UTC), note="")
    restoring.end_serving(world, row.point_id, restore_id)  # whoever kept it served until the table said so
    return True
