"""Disks: rows, and the steps on one disk that machine activities are made of.

A disk is exported only while a machine runs with it; every export has a new epoch, so whoever held an older one is cut off.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Lock
from naos.engines.errors import EngineError
from naos.engines.ports import DomainDisk, NbdAddress, Provisioning
from naos.errors import Unknown
from naos.insistence import insist
from naos.lifecycle import Lifecycle
from naos.storage import controllers, luns, snapshots, space
from naos.storage.models import Disk, Lun, SnapshotDisk, VirtualController
from naos.storage.rules import NONPERSISTENT, PERSISTENT, check_disk_size, check_growth, check_room, next_unit
from naos.world import World

FLATTEN_POLL_SECONDS = 0.2
FORGET_HOOKS: list[Callable[[Session, str], None]] = []
"""Areas above storage append to it: each removes its rows of the disk with that id, in the transaction that removes the disk's."""

MOVED_OTHERWISE: list[Callable[[], sa.ColumnElement[bool]]] = []
"""Areas above storage append to it: each says of which disks it brings in by itself what they share with something else."""


def find(session: Session, tenant_id: str, disk_id: str) -> Disk:
    """A disk of the tenant. Raises Unknown."""
    disk = session.get(Disk, disk_id)
    if disk is None or disk.tenant_id != tenant_id:
        raise Unknown("disk", disk_id)
    return disk


def flatten_lock(disk_id: str) -> Lock:
    """What keeps the background copy of a clone apart from changes that cannot share the disk with it."""
    return Lock(f"flatten:{disk_id}")


def of_machine(session: Session, machine_id: str) -> list[Disk]:
    """The machine's disks in the order of their units."""
    return list(session.scalars(sa.select(Disk).where(Disk.machine_id == machine_id).order_by(Disk.unit)))


def reserve(
    session: Session,
    world: World,
    *,
    lun: Lun,
    machine_id: str,
    machine_name: str,
    size: int,
    provisioning: Provisioning = Provisioning.DYNAMIC,
    mode: str = PERSISTENT,
    backing: str | None = None,
    controller: VirtualController | None = None,
) -> Disk:
    """Add the row of a disk to come; without a controller it becomes a device of the PCI bus.

    Raises InMaintenance, DiskSize, VolumeRoom, Overcommitted, ControllerFull, NotForDisks.
    """
    space.check_open(session, lun)
    check_disk_size(lun.name, size, lun_capacity=lun.capacity)
    space.check_promise(session, lun, size)
    if provisioning is not Provisioning.DYNAMIC:
        check_room(lun.name, "a reserved disk", needed=size, free=luns.usage(world, lun.id).free)
    disk = Disk(
        tenant_id=lun.tenant_id,
        lun_id=lun.id,
        capacity=size,
        provisioning=provisioning.value,
        mode=mode,
        backing=backing,
    )
    hang_up(session, disk, machine_id, machine_name, controller)
    session.add(disk)
    session.flush()
    return disk


def hang_up(
    session: Session, disk: Disk, machine_id: str, machine_name: str, controller: VirtualController | None = None
) -> None:
    """Give a disk its place in a machine, and the name that goes with it. Raises ControllerFull, NotForDisks."""
    if controller is None:
        controller = controllers.default(session, tenant_id=disk.tenant_id, machine_id=machine_id)
    slot = controllers.free_slot(session, controller, machine_name)
    unit = next_unit({present.unit for present in of_machine(session, machine_id)})
    disk.machine_id, disk.unit, disk.name = machine_id, unit, f"Hard disk {unit + 1}"
    disk.controller_id, disk.slot = controller.id, slot


def take_down(world: World, disk_id: str) -> None:
    """The disk belongs to no machine from now on; its file stays."""
    _update(world, disk_id, machine_id=None, controller_id=None)


def check_extend(session: Session, disk: Disk, size: int) -> None:
    """Raises DiskSize, DiskShrinks, SnapshotHolds, Overcommitted."""
    lun = session.get_one(Lun, disk.lun_id)
    check_growth(disk.name, present=disk.capacity, wanted=size)
    check_disk_size(lun.name, size, lun_capacity=lun.capacity)
    if size > disk.capacity:
        snapshots.check_free(session, disk, "grown")
        space.check_promise(session, lun, size - disk.capacity)


def _row(world: World, disk_id: str) -> Disk:
    with world.database.read() as session:
        disk = session.get(Disk, disk_id)
        if disk is None:
            raise Unknown("disk", disk_id)
        return disk


def _update(world: World, disk_id: str, **values: Any) -> None:
    with world.database.write() as session:
        session.execute(sa.update(Disk).where(Disk.id == disk_id).values(**values))


def create(world: World, disk_id: str) -> None:
    """Make an empty disk on its volume."""
    disk = _row(world, disk_id)
    array, lun = luns.spec(world, disk.lun_id)
    world.rack.array(array).create_disk(lun, disk.id, disk.capacity, Provisioning(disk.provisioning))


def backing_of(world: World, disk_id: str) -> str | None:
    """The id of the image that the disk begins with, or still shares blocks with."""
    return _row(world, disk_id).backing


def clone_template(world: World, disk_id: str, image: Path) -> None:
    """Make a disk with its template's content, copy-on-write unless its space is reserved; the template is brought onto the
    volume when it is not there yet."""
    disk = _row(world, disk_id)
    if disk.backing is None:
        raise Unknown("template of disk", disk_id)
    name, lun = luns.spec(world, disk.lun_id)
    array = world.rack.array(name)
    if not array.template_staged(lun.id, disk.backing):
        array.stage_template(lun.id, disk.backing, image, key=lun.key)
    provisioning = Provisioning(disk.provisioning)
    if provisioning is Provisioning.DYNAMIC:
        array.clone_template(lun, disk.id, disk.backing, disk.capacity)
    else:  # a disk that has all its space shares none of it
        array.create_disk(lun, disk.id, disk.capacity, provisioning, template_id=disk.backing)
        _update(world, disk_id, backing=None)


@contextmanager
def read(world: World, disk_id: str) -> Iterator[str]:
    """A socket of this machine at which a disk that nothing uses is served over NBD, read-only."""
    disk = _row(world, disk_id)
    array, lun = luns.spec(world, disk.lun_id)
    with world.rack.array(array).read_disk(lun.id, disk.id, key=lun.key) as socket:
        yield socket


def copy(world: World, source_id: str, disk_id: str) -> None:
    """Make a full, independent copy of a disk of the same volume, as it is at this moment."""
    disk = _row(world, disk_id)
    array, lun = luns.spec(world, disk.lun_id)
    world.rack.array(array).copy_disk(lun, source_id, disk_id)


def set_active(world: World, disk_id: str) -> None:
    _update(world, disk_id, lifecycle=Lifecycle.ACTIVE)


def flatten(world: World, disk_id: str, progress: Callable[[float], None], yield_requested: Callable[[], bool]) -> None:
    """Make a clone independent of its template; ends early when the disk goes away or another change needs it."""
    while not yield_requested():
        try:
            disk = _row(world, disk_id)
        except Unknown:
            return
        if disk.backing is None:
            return
        name, lun = luns.spec(world, disk.lun_id)
        job = world.rack.array(name).flatten(lun, disk_id)
        if not job.running:
            if job.error is None:
                _update(world, disk_id, backing=None)
            return
        progress(job.done / job.total if job.total else 0.0)
        time.sleep(FLATTEN_POLL_SECONDS)
    stop_flattening(world, disk_id)


def resting_on_backing() -> sa.ColumnElement[bool]:
    """Disks that cannot be made independent now: snapshots in the image rest on the template as the disk does, and the image
    of a volatile disk in use is not written. And those that others see to."""
    held = sa.exists().where(SnapshotDisk.disk_id == Disk.id)
    otherwise = (condition() for condition in MOVED_OTHERWISE)
    return sa.or_(held, sa.and_(Disk.mode == NONPERSISTENT, Disk.exported.is_(True)), *otherwise)


def stop_flattening(world: World, disk_id: str) -> None:
    disk = _row(world, disk_id)
    array, lun = luns.spec(world, disk.lun_id)
    world.rack.array(array).cancel_jobs(lun.id, disk_id)


def export(world: World, disk_id: str) -> DomainDisk:
    """Export under a new epoch; whoever used an older one can never write again."""
    with world.database.write() as session:
        disk = session.get(Disk, disk_id)
        if disk is None:
            raise Unknown("disk", disk_id)
        disk.epoch += 1
        disk.exported = True
        session.flush()
    if disk.mode == NONPERSISTENT:
        stop_flattening(world, disk_id)
    return address_of(world, disk_id)


def address_of(world: World, disk_id: str) -> DomainDisk:
    """Where a disk is exported now (asked of the array, which repeats its answer), as the hypervisor needs it."""
    disk = _row(world, disk_id)
    array, lun = luns.spec(world, disk.lun_id)
    volatile = disk.mode == NONPERSISTENT
    return _as_seen(world, disk, world.rack.array(array).export_disk(lun, disk.id, disk.epoch, volatile=volatile))


def parked(world: World, disk_id: str) -> DomainDisk:
    """How a disk of a stopped machine stands in its definition: an address that answers to nobody."""
    disk = _row(world, disk_id)
    array, lun = luns.spec(world, disk.lun_id)
    return _as_seen(world, disk, luns.address(world, array, lun, f"{disk.id}.{disk.epoch}"))


def _as_seen(world: World, disk: Disk, address: NbdAddress) -> DomainDisk:
    with world.database.read() as session:
        return controllers.as_seen(session, disk, address)


def set_mode(world: World, disk_id: str, mode: str) -> None:
    _update(world, disk_id, mode=mode)


def fence(world: World, disk_id: str) -> None:
    """Cut every export of a disk. The table says so first: a recovery that reads it never brings the export back."""
    try:
        disk = _row(world, disk_id)
    except Unknown:
        return
    _update(world, disk_id, exported=False)
    array, lun = luns.spec(world, disk.lun_id)
    insist(world.rack.array(array).fence_disk, lun.id, disk_id)


def resize(world: World, disk_id: str, size: int) -> None:
    disk = _row(world, disk_id)
    array, lun = luns.spec(world, disk.lun_id)
    try:
        world.rack.array(array).resize_disk(lun, disk_id, size)
    except EngineError:
        # the answer may be lost after the disk has grown, and grown disks stay so
        facts = world.rack.array(array).disk(lun.id, disk_id)
        if facts is None or facts.size < size:
            raise
    _update(world, disk_id, capacity=size)


def delete(world: World, disk_id: str) -> None:
    """Remove the disk's file; the row stays until `forget`, so a half-done deletion is never lost from sight."""
    try:
        disk = _row(world, disk_id)
    except Unknown:
        return
    _update(world, disk_id, exported=False)
    array, lun = luns.spec(world, disk.lun_id)
    insist(world.rack.array(array).delete_disk, lun.id, disk_id)


def forget(world: World, disk_id: str) -> None:
    with world.database.write() as session:
        for hook in FORGET_HOOKS:
            hook(session, disk_id)
        session.execute(sa.delete(Disk).where(Disk.id == disk_id))


def remove(world: World, disk_id: str) -> None:
    """File, then row."""
    delete(world, disk_id)
    forget(world, disk_id)
