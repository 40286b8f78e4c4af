"""Images in drives, writes of volatile disks and snapshots: the tables and the world, in both directions."""

from collections.abc import Iterator

from naos.compute import media
from naos.compute.models import Power
from naos.doctor.findings import Finding
from naos.doctor.snapshot import Tables
from naos.engines.ports import LunContents
from naos.lifecycle import TRANSITIONAL
from naos.storage import controllers
from naos.storage.models import Disk, Snapshot, VirtualController
from naos.storage.rules import NONPERSISTENT
from naos.world import World


def rows(tables: Tables) -> Iterator[Finding]:
    """Controllers and snapshots that an activity has left half-way."""
    entries: list[VirtualController | Snapshot] = [*tables.controllers.values(), *tables.snapshots.values()]
    for entry in entries:
        if entry.lifecycle in TRANSITIONAL and not tables.is_moving("virtual_machine", entry.machine_id):
            sentence = (
                f"device {entry.id} of machine {entry.machine_id} is {entry.lifecycle} and no activity works on it"
            )
            yield Finding("row.stuck", entry.id, sentence, "undo the activity that left it")
        if entry.machine_id not in tables.machines and not tables.is_moving("virtual_machine", entry.machine_id):
            sentence = f"device {entry.id} belongs to machine {entry.machine_id}, which is in no table"
            yield Finding("row.orphan", entry.id, sentence, "look into how it was left")


def images(world: World, tables: Tables, blade: str) -> Iterator[Finding]:
    """Copies of images on a blade."""
    present = set(media.on_blade(world, blade))
    for drive_id, item_id in sorted(present):
        drive = tables.controllers.get(drive_id)
        machine = tables.machines.get(drive.machine_id) if drive is not None else None
        if drive is not None and tables.is_moving("virtual_machine", drive.machine_id):
            continue
        if drive is None and tables.moving:
            continue
        if drive is not None and machine is not None and drive.item_id == item_id and machine.blade == blade:
            continue
        sentence = f"{blade} keeps a copy of item {item_id} for drive {drive_id}, which does not hold it there"
        arguments = {"drive_id": drive_id, "item_id": item_id, "blade": blade}
        yield Finding("image.orphan", drive_id, sentence, "remove the copy", "image.remove", arguments)
    for drive in tables.controllers.values():
        machine = tables.machines.get(drive.machine_id)
        if not controllers.is_drive(drive) or drive.item_id is None or machine is None:
            continue
        if machine.blade != blade or machine.power != Power.RUNNING or tables.is_moving("virtual_machine", machine.id):
            continue
        if (drive.id, drive.item_id) not in present:
            sentence = f"machine {machine.name} has item {drive.item_id} in a drive, and {blade} has no copy of it"
            arguments = {"drive_id": drive.id, "item_id": drive.item_id, "blade": blade}
            yield Finding("image.missing", drive.id, sentence, "bring a copy", "image.bring", arguments)


def volatile(tables: Tables, lun_id: str, contents: LunContents, still: dict[str, Disk]) -> Iterator[Finding]:
    """Writes of volatile disks. still: the volume's disks that no activity works on."""
    kept = set(contents.volatile)
    for disk_id, epoch in sorted(kept):
        disk = still.get(disk_id)
        if disk is None and (disk_id in tables.disks or tables.moving):
            continue
        if disk is None or not (disk.exported and disk.epoch == epoch and disk.mode == NONPERSISTENT):
            sentence = f"volume {lun_id} keeps writes to disk {disk_id} of epoch {epoch}, which were to be dropped"
            yield Finding("scratch.orphan", disk_id, sentence, "drop them", "lun.recover", {"lun_id": lun_id})
    for disk_id, disk in still.items():
        if disk.exported and disk.mode == NONPERSISTENT and (disk_id, disk.epoch) not in kept:
            sentence = f"disk {disk_id} should drop at power off what is written, and its writes of epoch {disk.epoch} are not apart"
            yield Finding("scratch.missing", disk_id, sentence, "power its machine off and on again")


def memories(tables: Tables, lun_id: str, contents: LunContents) -> Iterator[Finding]:
    """What snapshots hold of memory lies on its volume, and is served only while an activity writes or reads it."""
    for memory in tables.memories.values():
        if memory.lun_id != lun_id or tables.is_moving("virtual_machine", memory.machine_id):
            continue
        if memory.snapshot_id not in contents.disks:
            sentence = f"the memory that snapshot {memory.snapshot_id} holds has no file on volume {lun_id}"
            yield Finding(
                "memory.missing", memory.snapshot_id, sentence, "delete the snapshot, or go back to its disks alone"
            )
        if memory.snapshot_id not in tables.snapshots:
            sentence = f"volume {lun_id} keeps the memory of snapshot {memory.snapshot_id}, which is in no table"
            repair, arguments = "remove the memory", {"snapshot_id": memory.snapshot_id}
            yield Finding("memory.orphan", memory.snapshot_id, sentence, repair, "memory.remove", arguments)


def snapshots(world: World, tables: Tables, array: str) -> Iterator[Finding]:
    """What is in the images of disks whose machine has snapshots. What a creation that failed has left in others' images is
    taken back by its undo, or is named as an undo that failed."""
    machines = {row.machine_id for row in tables.snapshots.values()}
    for disk in tables.disks.values():
        lun = tables.luns.get(disk.lun_id)
        if disk.machine_id not in machines or tables.is_moving("virtual_machine", disk.machine_id or ""):
            continue
        if lun is None or lun.array != array or tables.is_moving("lun", lun.id):
            continue
        facts = world.rack.array(array).disk(lun.id, disk.id)
        present, wanted = set(facts.snapshots if facts else ()), tables.snapshotted.get(disk.id, set())
        for name in sorted(wanted - present):
            sentence = f"disk {disk.id} does not have snapshot {name}, which the tables have of it"
            yield Finding(
                "snapshot.missing", disk.id, sentence, "delete the snapshot: going back to it is not possible"
            )
        for name in sorted(present - set(tables.snapshots)):
            sentence = f"disk {disk.id} has snapshot {name}, which is in no table"
            yield Finding("snapshot.orphan", disk.id, sentence, "consolidate the machine's disks")
