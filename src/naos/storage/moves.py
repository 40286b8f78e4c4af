"""A disk's way to another volume, under the id that it has: steps that activities are made of.

While it is on its way the disk's row stays with the old volume, and a `DiskMove` says where it will be. `land` changes both in
one transaction: whoever reads the tables sees the disk on one volume or on the other, and its export with it.
"""

import sqlalchemy as sa

from naos.engines.ports import DomainDisk
from naos.errors import Unknown
from naos.insistence import insist
from naos.storage import controllers, copies, luns
from naos.storage.copies import Leg
from naos.storage.models import Disk, DiskMove
from naos.world import World


def leg(world: World, disk_id: str, lun_id: str) -> Leg | None:
    """The disk's way to another volume; None when it is there already."""
    disk = _row(world, disk_id)
    if disk.lun_id == lun_id:
        return None
    return Leg(disk.lun_id, disk_id, lun_id, disk_id, disk.epoch + 1)


def open_target(world: World, leg: Leg) -> None:
    """The empty disk on the other volume, exported, and the note that it is there."""
    copies.make_target(world, leg, _row(world, leg.disk_id))
    with world.database.write() as session:
        if session.get(DiskMove, leg.disk_id) is None:
            session.add(DiskMove(disk_id=leg.disk_id, lun_id=leg.target_lun, epoch=leg.epoch))


def as_seen(world: World, leg: Leg) -> DomainDisk:
    """The disk as the guest will see it on its new volume."""
    with world.database.read() as session:
        disk = session.get(Disk, leg.disk_id)
        if disk is None:
            raise Unknown("disk", leg.disk_id)
        return controllers.as_seen(session, disk, copies.address(world, leg))


def land(world: World, leg: Leg) -> None:
    """From here on the disk is on its new volume, whole in itself. A repeated call finds it there."""
    with world.database.write() as session:
        session.execute(sa.delete(DiskMove).where(DiskMove.disk_id == leg.disk_id))
        moved = {"lun_id": leg.target_lun, "epoch": leg.epoch, "backing": None}
        session.execute(sa.update(Disk).where(Disk.id == leg.disk_id, Disk.lun_id == leg.source_lun).values(**moved))


def has_landed(world: World, leg: Leg) -> bool:
    return _row(world, leg.disk_id).lun_id == leg.target_lun


def close_target(world: World, leg: Leg) -> None:
    """The disk of a stopped machine is exported for the copy only."""
    array, lun = luns.spec(world, leg.target_lun)
    insist(world.rack.array(array).fence_disk, lun.id, leg.disk_id)


def remove_source(world: World, leg: Leg) -> None:
    """What the disk left on its old volume."""
    _delete(world, leg.source_lun, leg.disk_id)


def abandon(world: World, leg: Leg) -> None:
    """The disk stays where it is: end its copy, and remove what is on the other volume."""
    copies.cancel(world, [leg])
    with world.database.write() as session:
        session.execute(sa.delete(DiskMove).where(DiskMove.disk_id == leg.disk_id))
    _delete(world, leg.target_lun, leg.disk_id)


def _delete(world: World, lun_id: str, disk_id: str) -> None:
    try:
        array, lun = luns.spec(world, lun_id)
    except Unknown:
        return
    insist(world.rack.array(array).delete_disk, lun.id, disk_id)


def _row(world: World, disk_id: str) -> Disk:
    with world.database.read() as session:
        disk = session.get(Disk, disk_id)
        if disk is None:
            raise Unknown("disk", disk_id)
        return disk
