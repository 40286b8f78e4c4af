"""Volumes: checks, and the steps that activities are made of.

Every step takes the world and ids, looks before it acts, and can be repeated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.engines.errors import EngineError
from naos.engines.ports import ExportedDisk, LunSpec, LunUsage, NbdAddress
from naos.errors import NameTaken, Unknown
from naos.fleet.models import Blade, Cpool
from naos.insistence import insist
from naos.inventory.catalogues import StorageClass, bandwidth_limit, iops_limit
from naos.inventory.model import Array
from naos.lifecycle import Lifecycle, check_ready
from naos.names import itself, listing
from naos.storage import space, volume_keys
from naos.storage.cluster_errors import LastOfCluster
from naos.storage.errors import ClassUnknown, LunInUse, NoArray
from naos.storage.master_keys import Keyring, Master
from naos.storage.memory_errors import MemoryHolds
from naos.storage.models import (
    ClusterMember,
    DatastoreCluster,
    Disk,
    DiskMove,
    Lun,
    LunSample,
    SnapshotMemory,
    SpacePoint,
    SwapFile,
    VolumeFigure,
    VolumePolicy,
    WaitingMachine,
)
from naos.storage.rules import NONPERSISTENT, check_array_room, check_lun_size, check_volume_growth, next_port
from naos.units import size_text
from naos.world import World

GUARDS: list[Callable[[Session, World, Lun, "Change"], None]] = []
"""Areas above append to it when they are imported. Each is asked, when the request is checked, about what is to become of a volume;
it raises a NaosError to refuse, and may note what must follow."""


@dataclass(frozen=True)
class Change:
    """What is to become of a volume: another size in bytes, another class, or, with neither, its end."""

    size: int | None = None
    storage_class: str | None = None


def check_guards(session: Session, world: World, lun: Lun, change: Change) -> None:
    """Raises what a guard raises."""
    for guard in GUARDS:
        guard(session, world, lun, change)


def find(session: Session, tenant_id: str, lun_id: str) -> Lun:
    """A volume of the tenant. Raises Unknown."""
    lun = session.get(Lun, lun_id)
    if lun is None or lun.tenant_id != tenant_id:
        raise Unknown("volume", lun_id)
    return lun


def find_ready(session: Session, tenant_id: str, lun_id: str) -> Lun:
    """A volume of the tenant that something new may lean on. Raises Unknown, NotReady."""
    lun = find(session, tenant_id, lun_id)
    check_ready("Volume", lun.name, lun.lifecycle)
    return lun


def find_open(session: Session, tenant_id: str, lun_id: str) -> Lun:
    """A volume of the tenant on which something new may be placed. Raises Unknown, NotReady, InMaintenance."""
    lun = find_ready(session, tenant_id, lun_id)
    space.check_open(session, lun)
    return lun


def lock(lun_id: str, *, shared: bool = False) -> Lock:
    return Lock(f"lun:{lun_id}", shared=shared)


def spec(world: World, lun_id: str) -> tuple[str, LunSpec]:
    """The array's name and what the array must know of the volume."""
    with world.database.read() as session:
        lun = session.get(Lun, lun_id)
        if lun is None:
            raise Unknown("volume", lun_id)
        return lun.array, _spec(session, world, lun)


def _spec(session: Session, world: World, lun: Lun) -> LunSpec:
    kind, wrapped, key = class_of(world, lun.storage_class), lun.wrapped_key, None
    if wrapped is not None:
        key = partial(volume_keys.unwrapped, Keyring.of(world.settings), lun.id, wrapped)
    iops, bandwidth = iops_limit(kind, lun.capacity), bandwidth_limit(kind)
    return LunSpec(lun.id, lun.capacity, iops, lun.port, bandwidth, key, _clients(session, world, lun))


def address(world: World, array: str, lun: LunSpec, name: str) -> NbdAddress:
    """Where an export of a volume is reached."""
    entry = next(entry for entry in world.inventory.arrays if entry.name == array)
    return NbdAddress(str(entry.address), lun.port, name, entry.tls is not None)


def admit(world: World, lun_id: str) -> None:
    """Let the blades in that the tenant's cpools have now; nothing to do for an array that answers in clear."""
    array, wanted = spec(world, lun_id)
    world.rack.array(array).admit(wanted)


def _clients(session: Session, world: World, lun: Lun) -> tuple[str, ...]:
    """Who may reach the volume's exports: the blades of the tenant's cpools in its zone, and the arrays, for copies. Nobody is
    named for an array that answers in clear."""
    if all(array.tls is None for array in world.inventory.arrays if array.name == lun.array):
        return ()
    return tuple(sorted({*blades(session, lun), *(array.name for array in world.inventory.arrays)}))


def blades(session: Session, lun: Lun) -> list[str]:
    """Those whose guests may use the volume."""
    query = sa.select(Blade.name).join(Cpool, Cpool.id == Blade.cpool_id)
    return list(session.scalars(query.where(Cpool.tenant_id == lun.tenant_id, Blade.zone == lun.zone)))


def class_of(world: World, name: str) -> StorageClass:
    """Raises ClassUnknown, naming those that there are."""
    try:
        return world.storage.classes[name]
    except KeyError:
        raise ClassUnknown(name, ", ".join(sorted(world.storage.classes))) from None


def _array_of(world: World, zone: str) -> Array:
    for array in world.inventory.arrays:
        if array.zone == zone:
            return array
    raise NoArray(zone, ", ".join(sorted({array.zone for array in world.inventory.arrays})) or "none")


def _taken(session: Session, array: str) -> int:
    return session.scalar(sa.select(sa.func.coalesce(sa.func.sum(Lun.capacity), 0)).where(Lun.array == array)) or 0


# ---------------------------------------------------------------------------------------------------------------- plans


def plan_create(
    session: Session,
    world: World,
    *,
    tenant_id: str,
    name: str,
    zone: str,
    storage_class: str,
    size: int,
    master: Master | None = None,
) -> Plan:
    """Reserve a volume's name, space and port; the activity makes it real. master: wraps the key of an encrypted volume."""
    kind = class_of(world, storage_class)
    check_lun_size(kind.name, size, minimum=kind.minimum, maximum=kind.maximum, step=kind.step)
    array = _array_of(world, zone)
    check_array_room(array.name, capacity=array.capacity, taken=_taken(session, array.name), size=size)
    if session.scalar(sa.select(Lun.id).where(Lun.tenant_id == tenant_id, Lun.name == name)):
        raise NameTaken("volume", name)
    ports = set(session.scalars(sa.select(Lun.port).where(Lun.array == array.name)))
    lun = Lun(
        tenant_id=tenant_id,
        name=name,
        zone=zone,
        array=array.name,
        storage_class=storage_class,
        capacity=size,
        port=next_port(array.first_port, ports),
    )
    session.add(lun)
    session.flush()
    if master is not None:
        lun.wrapped_key = volume_keys.fresh(master, lun.id)
    return Plan(
        kind="lun.create",
        description=f"Create {'encrypted ' if lun.encrypted else ''}volume {name}: {size_text(size)} {kind.name} in {zone}",
        arguments={"lun_id": lun.id},
        locks=(lock(lun.id),),
        concerned=(Item(lun.id, "datastore"),),
        undo=(Undo("lun.forget", {"lun_id": lun.id}, f"gave the name {name} and its space back"),),
    )


def plan_extend(session: Session, world: World, *, tenant_id: str, lun_id: str, size: int) -> Plan:
    """Grow a volume and, with it, its IOPS limit."""
    lun = find_ready(session, tenant_id, lun_id)
    kind = class_of(world, lun.storage_class)
    check_volume_growth(lun.name, present=lun.capacity, wanted=size)
    check_lun_size(kind.name, size, minimum=kind.minimum, maximum=kind.maximum, step=kind.step)
    array = _array_of(world, lun.zone)
    taken = _taken(session, array.name) - lun.capacity
    check_array_room(array.name, capacity=array.capacity, taken=taken, size=size)
    check_guards(session, world, lun, Change(size=size))
    return Plan(
        kind="lun.extend",
        description=f"Grow volume {lun.name} from {size_text(lun.capacity)} to {size_text(size)}",
        arguments={"lun_id": lun.id, "size": size},
        locks=(lock(lun.id),),
        concerned=(Item(lun.id, "datastore"),),
    )


def plan_delete(
    session: Session, world: World, *, tenant_id: str, lun_id: str, name_of: Callable[[Session, str], str] = itself
) -> Plan:
    """Delete an empty volume; from here on nothing new may use it. `name_of`: a machine's name by its id."""
    lun = find_ready(session, tenant_id, lun_id)
    check_empty(session, lun, name_of)
    check_not_last(session, lun)
    check_guards(session, world, lun, Change())
    lun.lifecycle = Lifecycle.DELETING
    return Plan(
        kind="lun.delete",
        description=f"Delete volume {lun.name}",
        arguments={"lun_id": lun.id},
        locks=(lock(lun.id),),
        concerned=(Item(lun.id, "datastore"),),
        undo=(Undo("lun.keep", {"lun_id": lun.id}, "left the volume as it is"),),
    )


def plan_recover(session: Session, lun_id: str) -> Plan:
    """Bring a volume's daemon back with every limit and export that the tables have."""
    lun = session.get(Lun, lun_id)
    if lun is None:
        raise Unknown("volume", lun_id)
    return Plan(
        kind="lun.recover",
        description=f"Bring volume {lun.name} back",
        arguments={"lun_id": lun.id},
        locks=(lock(lun.id),),
        concerned=(Item(lun.id, "datastore"),),
    )


def plan_drop_base(session: Session, lun_id: str, template_id: str) -> Plan:
    """Remove the base of a template that is gone, once no disk shares blocks with it."""
    lun = session.get(Lun, lun_id)
    if lun is None:
        raise Unknown("volume", lun_id)
    return Plan(
        kind="base.drop",
        description=f"Remove the base of a deleted template from volume {lun.name}",
        arguments={"lun_id": lun.id, "template_id": template_id},
        locks=(lock(lun.id, shared=True),),
        concerned=(Item(lun.id, "datastore"),),
    )


def check_not_last(session: Session, lun: Lun) -> None:
    """Raises LastOfCluster for a volume without which its datastore cluster would be empty."""
    mine = sa.select(ClusterMember.cluster_id).where(ClusterMember.lun_id == lun.id).scalar_subquery()
    others = sa.select(ClusterMember.lun_id).where(ClusterMember.cluster_id == mine, ClusterMember.lun_id != lun.id)
    name = session.scalar(sa.select(DatastoreCluster.name).where(DatastoreCluster.id == mine))
    if name is not None and session.scalar(others.limit(1)) is None:
        raise LastOfCluster(lun.name, name)


def check_empty(session: Session, lun: Lun, name_of: Callable[[Session, str], str] = itself) -> None:
    """Raises LunInUse, naming the disks' machines, or MemoryHolds."""
    coming = sa.select(DiskMove.disk_id).where(DiskMove.lun_id == lun.id)
    disks = list(session.scalars(sa.select(Disk).where(sa.or_(Disk.lun_id == lun.id, Disk.id.in_(coming)))))
    if disks:
        machines = {
            name_of(session, disk.machine_id) if disk.machine_id else f"unattached disk {disk.id}" for disk in disks
        }
        raise LunInUse(lun.name, len(disks), listing(machines))
    kept = list(session.scalars(sa.select(SnapshotMemory.machine_id).where(SnapshotMemory.lun_id == lun.id)))
    if kept:
        raise MemoryHolds(lun.name, len(kept), listing({name_of(session, machine_id) for machine_id in kept}))


# ---------------------------------------------------------------------------------------------------------------- steps


def make(world: World, lun_id: str) -> None:
    array, wanted = spec(world, lun_id)
    world.rack.array(array).create_lun(wanted)
    world.rack.array(array).ensure_daemon(wanted, exported(world, lun_id))


def set_active(world: World, lun_id: str) -> None:
    measure(world, lun_id)
    with world.database.write() as session:
        session.execute(sa.update(Lun).where(Lun.id == lun_id).values(lifecycle=Lifecycle.ACTIVE))


def unmake(world: World, lun_id: str) -> None:
    """End the daemon and remove the volume; an absent one is left alone."""
    try:
        array, _ = spec(world, lun_id)
    except Unknown:
        return
    insist(world.rack.array(array).delete_lun, lun_id)


def drop_base(world: World, lun_id: str, template_id: str) -> None:
    array, _ = spec(world, lun_id)
    world.rack.array(array).drop_template(lun_id, template_id)


def forget(world: World, lun_id: str) -> None:
    with world.database.write() as session:
        session.execute(sa.delete(ClusterMember).where(ClusterMember.lun_id == lun_id))
        session.execute(sa.delete(LunSample).where(LunSample.lun_id == lun_id))
        session.execute(sa.delete(VolumeFigure).where(VolumeFigure.object_id == lun_id))
        for table in (SwapFile, SpacePoint, VolumePolicy, WaitingMachine):
            session.execute(sa.delete(table).where(table.lun_id == lun_id))
        session.execute(sa.delete(Lun).where(Lun.id == lun_id))


def record_capacity(world: World, lun_id: str, size: int) -> None:
    with world.database.write() as session:
        session.execute(sa.update(Lun).where(Lun.id == lun_id).values(capacity=size))


def grow(world: World, lun_id: str, size: int) -> None:
    array, present = spec(world, lun_id)
    world.rack.array(array).resize_lun(replace(present, capacity=size))


def apply_limit(world: World, lun_id: str) -> None:
    array, wanted = spec(world, lun_id)
    world.rack.array(array).limit_lun(wanted)
    measure(world, lun_id)


def exported(world: World, lun_id: str) -> Sequence[ExportedDisk]:
    """The disks that running machines use or that copies fill, by the tables."""
    with world.database.read() as session:
        rows = session.scalars(sa.select(Disk).where(Disk.lun_id == lun_id, Disk.exported.is_(True)))
        found = [ExportedDisk(disk.id, disk.epoch, disk.mode == NONPERSISTENT) for disk in rows]
        coming = session.scalars(sa.select(DiskMove).where(DiskMove.lun_id == lun_id))
        found += [ExportedDisk(move.disk_id, move.epoch) for move in coming]
        open_ones = SnapshotMemory.lun_id == lun_id, SnapshotMemory.exported.is_(True)
        carried = session.scalars(sa.select(SnapshotMemory).where(*open_ones))
        return [*found, *(ExportedDisk(memory.snapshot_id, memory.epoch) for memory in carried)]


def usage(world: World, lun_id: str) -> LunUsage:
    """What the array says at this moment. Raises EngineError when it does not answer."""
    array, _ = spec(world, lun_id)
    return world.rack.array(array).usage(lun_id)


def measure(world: World, lun_id: str) -> None:
    """Keep what the array says of the volume's space, for lists and placement; that it does not answer is kept too."""
    try:
        found = usage(world, lun_id)
    except EngineError:
        note_silence(world, lun_id)
        return
    values = {"used": found.used, "free": found.free, "reachable": True, "measured_at": datetime.now(UTC)}
    with world.database.write() as session:
        lun = session.get(Lun, lun_id)
        if lun is not None:
            session.merge(LunSample(lun_id=lun_id, **values))
            space.watch(session, lun, found.used, datetime.now(UTC))


def note_silence(world: World, lun_id: str) -> None:
    """Keep that the array does not answer, beside what it said last; written when it is news."""
    with world.database.read() as session:
        sample = session.get(LunSample, lun_id)
    if sample is not None and sample.reachable:
        with world.database.write() as session:
            session.execute(sa.update(LunSample).where(LunSample.lun_id == lun_id).values(reachable=False))
