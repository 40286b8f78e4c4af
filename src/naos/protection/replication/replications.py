"""Replicated volumes: checks, and the steps that activities are made of."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan, Undo
from naos.engines.errors import Missing
from naos.errors import Unknown
from naos.insistence import insist
from naos.lifecycle import Lifecycle, check_ready
from naos.protection import copying
from naos.protection.copying import Order, Part, Where
from naos.protection.replication import pacing, rules
from naos.protection.replication.errors import ReplicatedAlready, ReplicatedClass, VolumeReplicated
from naos.protection.replication.models import LunReplication
from naos.protection.replication.pacing import Pace
from naos.storage import daemons, luns
from naos.storage.models import Disk, Lun
from naos.storage.rules import check_array_room
from naos.world import World

ENDING = 60.0  # seconds that the end of a replication waits for the point that is being taken


def find(session: Session, tenant_id: str, reference: str) -> LunReplication:
    """A replication of the tenant, by its id or that of either of its volumes. Raises Unknown."""
    either = sa.or_(
        *(column == reference for column in (LunReplication.id, LunReplication.lun_id, LunReplication.replica_id))
    )
    found = session.scalar(sa.select(LunReplication).where(LunReplication.tenant_id == tenant_id, either))
    if found is None:
        raise Unknown("replication", reference)
    return found


def of_volume(session: Session, lun_id: str) -> LunReplication | None:
    """The replication that a volume is the source or the replica of."""
    either = sa.or_(LunReplication.lun_id == lun_id, LunReplication.replica_id == lun_id)
    return session.scalar(sa.select(LunReplication).where(either))


def order(session: Session, replication: LunReplication, point_id: str) -> Order:
    """A point of every disk that is on the volume now."""
    query = sa.select(Disk.id).where(Disk.lun_id == replication.lun_id, Disk.lifecycle == Lifecycle.ACTIVE)
    parts = tuple(Part(replication.lun_id, disk_id) for disk_id in session.scalars(query.order_by(Disk.id)))
    return Order(replication.id, point_id, where(replication), parts, yielding=True)


def pace(replication: LunReplication) -> Pace:
    return pacing.pace_of(replication.speed, replication.windows, replication.time_zone)


def where(replication: LunReplication) -> Where:
    return Where("lun", replication.replica_id)


# ---------------------------------------------------------------------------------------------------------------- plans


@dataclass(frozen=True)
class Limits:
    """What a client says of the speed; None: as it is, or no limit. windows: `08:00-18:00` -> bytes a second."""

    speed: int | None = None
    windows: Mapping[str, int] | None = None
    time_zone: str | None = None


def plan_create(
    session: Session,
    world: World,
    *,
    tenant_id: str,
    lun_id: str,
    zone: str,
    mode: str,
    limits: Limits = Limits(),
) -> Plan:
    """Reserve the replica: as large as the volume, of its class, in another zone of the region."""
    rules.check_mode(mode)
    lun = luns.find(session, tenant_id, lun_id)
    present = of_volume(session, lun.id)
    if present is not None:
        role = "source" if present.lun_id == lun.id else "replica"
        raise ReplicatedAlready(lun.name, present.id, role)
    check_ready("Volume", lun.name, lun.lifecycle)
    rules.check_clear(lun.name, encrypted=lun.encrypted)
    rules.check_class(lun.name, lun.storage_class, _classes(world))
    regions = {region.name: [entry.name for entry in region.zones] for region in world.inventory.regions}
    rules.check_zone(lun.name, lun.zone, zone, regions, {array.zone for array in world.inventory.arrays})
    made = luns.plan_create(
        session,
        world,
        tenant_id=tenant_id,
        name=f"{lun.name} (replica)",
        zone=zone,
        storage_class=lun.storage_class,
        size=lun.capacity,
    )
    row = LunReplication(
        tenant_id=tenant_id,
        lun_id=lun.id,
        replica_id=made.arguments["lun_id"],
        grown=lun.capacity,
        shaped=lun.storage_class,
        speed=0,
        windows={},
        time_zone="UTC",
    )
    _limit(row, lun.name, limits)
    session.add(row)
    session.flush()
    return Plan(
        kind="replication.create",
        description=f"Replicate volume {lun.name} from {lun.zone} to {zone}",
        arguments={"replication_id": row.id, "replica_id": row.replica_id},
        locks=(luns.lock(lun.id, shared=True), *made.locks),
        concerned=(Item(lun.id, "datastore"),),
        undo=(*made.undo, Undo("replication.forget", {"replication_id": row.id}, "forgot the replication")),
    )


def _limit(row: LunReplication, name: str, limits: Limits) -> None:
    """Raises LimitTooLow, LimitWindow, TimeZoneUnknown."""
    speed = row.speed if limits.speed is None else limits.speed
    windows = row.windows if limits.windows is None else dict(limits.windows)
    time_zone = row.time_zone if limits.time_zone is None else limits.time_zone
    pacing.check(name, speed, windows, time_zone)
    row.speed, row.windows, row.time_zone = speed, windows, time_zone


def plan_change(session: Session, *, tenant_id: str, reference: str, limits: Limits) -> Plan:
    """How fast points travel, from now on: also the one that is being taken. Raises as `_limit` does."""
    row = find(session, tenant_id, reference)
    lun = session.get(Lun, row.lun_id)
    name = row.lun_id if lun is None else lun.name
    _limit(row, name, limits)
    return Plan(
        kind="replication.note",
        description=f"Change how fast the points of volume {name} travel",
        arguments={"replication_id": row.id},
        concerned=(Item(row.lun_id, "datastore"),),
        type="ReplicationActivity",
    )


def plan_delete(session: Session, *, tenant_id: str, reference: str) -> Plan:
    """End a replication: its points, and the replica with its space, go."""
    row = find(session, tenant_id, reference)
    lun = session.get(Lun, row.lun_id)
    name = row.lun_id if lun is None else lun.name
    check_ready("The replication of volume", name, row.lifecycle)
    row.lifecycle = Lifecycle.DELETING
    return Plan(
        kind="replication.delete",
        description=f"End the replication of volume {name}",
        arguments={"replication_id": row.id, "replica_id": row.replica_id},
        locks=(luns.lock(row.lun_id, shared=True), luns.lock(row.replica_id)),
        concerned=(Item(row.lun_id, "datastore"),),
        undo=(Undo("replication.keep", {"replication_id": row.id}, "left the replication as it is"),),
    )


# --------------------------------------------------------------------------------------------- what befalls the volumes


def guard_deletion(session: Session, lun: Lun) -> None:
    """Raises VolumeReplicated."""
    row = of_volume(session, lun.id)
    if row is None:
        return
    source = session.get(Lun, row.lun_id)
    role = "source" if row.lun_id == lun.id else "replica"
    raise VolumeReplicated(lun.name, role, source.name if source is not None else row.lun_id)


def follow_growth(session: Session, world: World, lun: Lun, size: int) -> None:
    """The replica of a volume that grows grows too: its space is reserved at once. Raises ArrayFull, VolumeReplicated."""
    replica = _replica(session, lun)
    if replica is None:
        return
    array = next(entry for entry in world.inventory.arrays if entry.name == replica.array)
    others = sa.select(sa.func.coalesce(sa.func.sum(Lun.capacity), 0))
    taken = session.scalar(others.where(Lun.array == replica.array, Lun.id != replica.id)) or 0
    check_array_room(array.name, capacity=array.capacity, taken=taken, size=size)
    replica.capacity = size


def follow_class(session: Session, world: World, lun: Lun, storage_class: str) -> None:
    """The replica is always of the volume's class. Raises ReplicatedClass, VolumeReplicated."""
    replica = _replica(session, lun)
    if replica is None:
        return
    classes = _classes(world)
    if classes.get(storage_class) not in rules.OFFERED_IOPS:
        raise ReplicatedClass(lun.name, storage_class, ", ".join(rules.offered(classes)))
    replica.storage_class = storage_class


def guard(session: Session, world: World, lun: Lun, change: luns.Change) -> None:
    """What `luns.GUARDS` asks."""
    if change.size is not None:
        follow_growth(session, world, lun, change.size)
    elif change.storage_class is not None:
        follow_class(session, world, lun, change.storage_class)
    else:
        guard_deletion(session, lun)


luns.GUARDS.append(guard)


def _replica(session: Session, lun: Lun) -> Lun | None:
    """Of a source. Raises VolumeReplicated for a replica, which only follows."""
    row = of_volume(session, lun.id)
    if row is None:
        return None
    if row.replica_id == lun.id:
        guard_deletion(session, lun)
    return session.get(Lun, row.replica_id)


def _classes(world: World) -> dict[str, int | None]:
    return {name: kind.iops_per_to for name, kind in world.storage.classes.items()}


# ---------------------------------------------------------------------------------------------------------------- steps


def publish(world: World, replication_id: str) -> None:
    """The replica is there: points may come."""
    with world.database.write() as session:
        row = session.get(LunReplication, replication_id)
        if row is not None:
            session.execute(sa.update(Lun).where(Lun.id == row.replica_id).values(lifecycle=Lifecycle.REPLICA))
            row.lifecycle = Lifecycle.ACTIVE
    if row is not None:
        luns.measure(world, row.replica_id)


def stop(world: World, replication_id: str) -> None:
    """No point is being taken when this returns; one that goes on for long is broken off."""
    until = time.monotonic() + ENDING
    while (row := _row(world, replication_id)) is not None and row.running_id is not None:
        if time.monotonic() > until:
            with world.database.read() as session:
                running = order(session, row, row.running_id)
            copying.cancel(world, running)
            return
        time.sleep(0.1)


def remove(world: World, replication_id: str) -> None:
    """The points, what the source knows since them, and the replica. Repeated, what is gone is left alone."""
    row = _row(world, replication_id)
    if row is None:
        return
    with world.database.read() as session:
        parts = order(session, row, row.id).parts
    with suppress(Unknown, Missing):
        daemons.ensure(world, row.replica_id)
        copying.forget(world, where(row), row.id, parts)
    luns.unmake(world, row.replica_id)


def forget(world: World, replication_id: str) -> None:
    row = _row(world, replication_id)
    if row is None:
        return
    with world.database.write() as session:
        session.execute(sa.delete(LunReplication).where(LunReplication.id == replication_id))
    luns.forget(world, row.replica_id)


def keep(world: World, replication_id: str) -> None:
    """A deletion that failed leaves one that goes on."""
    with world.database.write() as session:
        mine = (LunReplication.id == replication_id, LunReplication.lifecycle == Lifecycle.DELETING)
        session.execute(sa.update(LunReplication).where(*mine).values(lifecycle=Lifecycle.ACTIVE))


def follow(world: World, row: LunReplication) -> None:
    """Tell the replica's array what became of the source: its size, its class."""
    array, wanted = luns.spec(world, row.replica_id)
    with world.database.read() as session:
        replica = session.get_one(Lun, row.replica_id)
        shaped = replica.storage_class
    if (row.grown, row.shaped) == (wanted.capacity, shaped):
        return
    insist(world.rack.array(array).resize_lun, wanted)
    insist(world.rack.array(array).limit_lun, wanted)
    note(world, row.id, grown=wanted.capacity, shaped=shaped)


def note(world: World, replication_id: str, **values: object) -> None:
    with world.database.write() as session:
        session.execute(sa.update(LunReplication).where(LunReplication.id == replication_id).values(**values))


def _row(world: World, replication_id: str) -> LunReplication | None:
    with world.database.read() as session:
        return session.get(LunReplication, replication_id)


def utc_now() -> datetime:
    return datetime.now(UTC)
