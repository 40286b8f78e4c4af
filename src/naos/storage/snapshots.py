"""Snapshots: rows, rules, and the steps on the arrays.

A snapshot lies inside each disk's image, under its id. So there is no chain of files that grows longer, nothing to merge when
one in the middle goes, and a disk keeps its file. One volume's disks are taken in one transaction of its daemon.
"""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.engines import layouts
from naos.engines.errors import Missing
from naos.errors import Unknown
from naos.insistence import insist
from naos.lifecycle import Lifecycle
from naos.names import listing
from naos.storage import luns
from naos.storage.errors import NothingToSnapshot, SnapshotHolds, TooManySnapshots
from naos.storage.models import Disk, Lun, Snapshot, SnapshotDisk, SnapshotPoint
from naos.storage.rules import PERSISTENT
from naos.units import size_text
from naos.world import World

PER_MACHINE = 32
LONGEST_PAUSE = 0.15
"""Seconds that a volume may answer nobody for a snapshot without a word."""


def find(session: Session, tenant_id: str, snapshot_id: str) -> Snapshot:
    """A snapshot of the tenant. Raises Unknown."""
    snapshot = session.get(Snapshot, snapshot_id)
    if snapshot is None or snapshot.tenant_id != tenant_id:
        raise Unknown("snapshot", snapshot_id)
    return snapshot


def of_machine(session: Session, machine_id: str) -> list[Snapshot]:
    """The oldest first."""
    query = sa.select(Snapshot).where(Snapshot.machine_id == machine_id).order_by(Snapshot.created_at, Snapshot.id)
    return list(session.scalars(query))


def exists(session: Session, machine_ids: Collection[str]) -> set[str]:
    """Which of these machines have a snapshot; one query for all."""
    query = sa.select(Snapshot.machine_id).where(Snapshot.machine_id.in_(machine_ids)).distinct()
    return set(session.scalars(query))


def check_free(session: Session, disk: Disk, change: str) -> None:
    """Raises SnapshotHolds when a snapshot has the disk. change: what was asked, as in "cannot be grown"."""
    query = (
        sa.select(Snapshot.name)
        .join(SnapshotDisk, SnapshotDisk.snapshot_id == Snapshot.id)
        .where(SnapshotDisk.disk_id == disk.id)
        .order_by(Snapshot.created_at)
    )
    names = list(session.scalars(query))
    if names:
        raise SnapshotHolds(disk.name, change, listing(names))


def reserve(
    session: Session, *, tenant_id: str, machine_id: str, machine_name: str, name: str, description: str
) -> Snapshot:
    """Add the row of a snapshot to come, with the disks that it shall hold. Raises TooManySnapshots, NothingToSnapshot."""
    present = of_machine(session, machine_id)
    if len(present) >= PER_MACHINE:
        raise TooManySnapshots(machine_name, len(present), PER_MACHINE)
    disks = list(session.scalars(sa.select(Disk).where(Disk.machine_id == machine_id).order_by(Disk.unit)))
    wanted = [disk for disk in disks if disk.mode == PERSISTENT and disk.lifecycle == Lifecycle.ACTIVE]
    if not wanted:
        raise NothingToSnapshot(machine_name, len(disks))
    parent = next((entry.id for entry in present if entry.current), None)
    snapshot = Snapshot(
        tenant_id=tenant_id, machine_id=machine_id, parent_id=parent, name=name, description=description
    )
    session.add(snapshot)
    session.flush()
    session.add_all(SnapshotDisk(snapshot_id=snapshot.id, disk_id=disk.id) for disk in wanted)
    session.flush()
    return snapshot


# ---------------------------------------------------------------------------------------------------------------- steps


def volumes(session: Session, snapshot_id: str) -> dict[str, list[str]]:
    """The snapshot's disks, by the volume that they lie on."""
    query = (
        sa.select(Disk.lun_id, Disk.id)
        .join(SnapshotDisk, SnapshotDisk.disk_id == Disk.id)
        .where(SnapshotDisk.snapshot_id == snapshot_id)
        .order_by(Disk.lun_id, Disk.unit)
    )
    found: dict[str, list[str]] = {}
    for lun_id, disk_id in session.execute(query):
        found.setdefault(lun_id, []).append(disk_id)
    return found


def pauses(session: Session, snapshot_id: str) -> str:
    """What is to be said of the time for which its volumes will answer nobody, "" when it is short."""
    told = []
    for lun_id, disk_ids in volumes(session, snapshot_id).items():
        sizes = session.scalars(sa.select(Disk.capacity).where(Disk.id.in_(disk_ids))).all()
        if (seconds := layouts.snapshot_seconds(sizes)) > LONGEST_PAUSE:
            name = session.scalar(sa.select(Lun.name).where(Lun.id == lun_id))
            told.append(
                f"all on volume {name} stands still for up to {seconds:.1f} s: {size_text(sum(sizes))} are noted"
            )
    return "; ".join(told)


def _volumes(world: World, snapshot_id: str) -> dict[str, list[str]]:
    with world.database.read() as session:
        return volumes(session, snapshot_id)


def take(world: World, snapshot_id: str) -> None:
    """The caller sees to it that disks of several volumes are taken at one instant."""
    for lun_id, disk_ids in _volumes(world, snapshot_id).items():
        array, lun = luns.spec(world, lun_id)
        world.rack.array(array).snapshot_disks(lun, snapshot_id, disk_ids)


def revert(world: World, snapshot_id: str) -> None:
    """Every disk of the snapshot holds again what it held; a repeated call does it once more.

    Raises Missing, with nothing changed, when one of them does not have it (a deletion that failed half-way).
    """
    wanted = _volumes(world, snapshot_id)
    for lun_id, disk_ids in wanted.items():
        array, _ = luns.spec(world, lun_id)
        for disk_id in disk_ids:
            facts = world.rack.array(array).disk(lun_id, disk_id)
            if facts is None or snapshot_id not in facts.snapshots:
                raise Missing(
                    array, f"snapshot {snapshot_id} of disk {disk_id}", "a deletion has removed it; delete the rest too"
                )
    for lun_id, disk_ids in wanted.items():
        array, lun = luns.spec(world, lun_id)
        world.rack.array(array).revert_disks(lun, snapshot_id, disk_ids)


def drop(world: World, snapshot_id: str) -> None:
    """Take the snapshot out of its disks' images; what has it no longer is left alone."""
    for lun_id, disk_ids in _volumes(world, snapshot_id).items():
        array, lun = luns.spec(world, lun_id)
        insist(world.rack.array(array).delete_snapshot, lun, snapshot_id, disk_ids)


def publish(world: World, snapshot_id: str, *, quiesced: bool) -> None:
    with world.database.write() as session:
        snapshot = session.get_one(Snapshot, snapshot_id)
        snapshot.lifecycle, snapshot.quiesced = Lifecycle.ACTIVE, quiesced
        _set_current(session, snapshot)


def make_current(world: World, snapshot_id: str) -> None:
    with world.database.write() as session:
        _set_current(session, session.get_one(Snapshot, snapshot_id))


def _set_current(session: Session, snapshot: Snapshot) -> None:
    session.execute(sa.update(Snapshot).where(Snapshot.machine_id == snapshot.machine_id).values(current=False))
    snapshot.current = True


def forget(world: World, snapshot_id: str) -> None:
    """Its children become its parent's; when it was the current one, its parent is."""
    with world.database.write() as session:
        snapshot = session.get(Snapshot, snapshot_id)
        if snapshot is None:
            return
        parent = session.get(Snapshot, snapshot.parent_id) if snapshot.parent_id else None
        if snapshot.current and parent is not None:
            parent.current = True
        session.execute(
            sa.update(Snapshot).where(Snapshot.parent_id == snapshot_id).values(parent_id=snapshot.parent_id)
        )
        for table in (SnapshotDisk, SnapshotPoint):
            session.execute(sa.delete(table).where(table.snapshot_id == snapshot_id))
        session.execute(sa.delete(Snapshot).where(Snapshot.id == snapshot_id))


def forget_machine(session: Session, machine_id: str) -> None:
    """With the machine's disks their snapshots go."""
    mine = sa.select(Snapshot.id).where(Snapshot.machine_id == machine_id)
    for table in (SnapshotDisk, SnapshotPoint):
        session.execute(sa.delete(table).where(table.snapshot_id.in_(mine)))
    session.execute(sa.delete(Snapshot).where(Snapshot.machine_id == machine_id))


def strays(world: World, machine_id: str) -> dict[str, dict[str, list[str]]]:
    """Snapshots in images of the machine's disks that no row has: volume -> snapshot -> disks. Interrupted work left them."""
    with world.database.read() as session:
        disks = list(session.scalars(sa.select(Disk).where(Disk.machine_id == machine_id)))
        known = set(session.scalars(sa.select(Snapshot.id).where(Snapshot.machine_id == machine_id)))
    found: dict[str, dict[str, list[str]]] = {}
    for disk in disks:
        array, lun = luns.spec(world, disk.lun_id)
        facts = world.rack.array(array).disk(lun.id, disk.id)
        for name in facts.snapshots if facts is not None else ():
            if name not in known:
                found.setdefault(disk.lun_id, {}).setdefault(name, []).append(disk.id)
    return found


def drop_strays(world: World, lun_id: str, snapshot_id: str, disk_ids: Sequence[str]) -> None:
    array, lun = luns.spec(world, lun_id)
    world.rack.array(array).delete_snapshot(lun, snapshot_id, disk_ids)
