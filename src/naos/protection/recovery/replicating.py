"""The steps of bringing a replica up to date, and of ending it. Each looks before it acts, and can be repeated."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from naos.activity.errors import Yielded
from naos.compute.models import VirtualMachine
from naos.engines.errors import Busy
from naos.errors import Unknown
from naos.insistence import insist
from naos.protection import copying
from naos.protection.copying import Order, Part, Progress, Where
from naos.protection.recovery import remnants, replicas, rules
from naos.protection.recovery.guests import standing
from naos.protection.recovery.models import Replica, ReplicaPoint
from naos.protection.recovery.rules import State
from naos.storage import disks
from naos.world import World

RETRY = timedelta(minutes=5)


def row(world: World, replica_id: str) -> Replica:
    with world.database.read() as session:
        replica = session.get(Replica, replica_id)
    if replica is None:
        raise Unknown("replica", replica_id)
    return replica


def order(world: World, replica_id: str, point_id: str | None = None) -> Order | None:
    """What the next point is to hold; None when the replica is not to have one. Raises NotReplicable."""
    with world.database.read() as session:
        replica = session.get(Replica, replica_id)
        machine = session.get(VirtualMachine, replica.machine_id) if replica is not None else None
        if replica is None or machine is None or replica.state == State.FAILED_OVER:
            return None
        parts = tuple(Part(disk.lun_id, disk.id) for disk in replicas.copied_disks(session, machine))
    where = Where("lun", replica.lun_id)
    return Order(replica.set_id, point_id or str(uuid.uuid4()), where, parts, yielding=True)


def begin(world: World, wanted: Order, machine_id: str) -> str:
    """The instant of the point."""
    return copying.begin(world, wanted, hold=standing(world, wanted, machine_id)).isoformat()


def follow(
    world: World, wanted: Order, progress: Callable[[float], None], yield_requested: Callable[[], bool]
) -> int | None:
    """Bytes that travelled; None when somebody wants to change the disks: what was copied is dropped."""
    sent = 0

    def report(found: Progress) -> None:
        nonlocal sent
        sent = found.done
        progress(found.share)
        if yield_requested():
            raise Yielded

    try:
        copying.follow(world, wanted, report)
    except Yielded:
        copying.cancel(world, wanted)
        return None
    return sent


def finish(world: World, replica_id: str, wanted: Order, instant: str, sent: int) -> None:
    """Complete at the other side, then in the tables."""
    taken = datetime.fromisoformat(instant)
    copying.finish(world, wanted, taken)
    seconds = (datetime.now(UTC) - taken).total_seconds()
    with world.database.write() as session:
        replica = session.get(Replica, replica_id)
        if replica is None or replica.set_id != wanted.set_id:
            return
        replica.point_id, replica.instant, replica.sent = wanted.point_id, taken, sent
        replica.seconds, replica.failure = max(seconds, 0.0), ""
        replica.due_at = rules.next_due(taken, replica.interval, datetime.now(UTC))
        session.merge(ReplicaPoint(point_id=wanted.point_id, replica_id=replica_id, instant=taken, sent=sent))


def prune(world: World, replica_id: str) -> int:
    """Let go of the points that are not kept, and of those that no row has; how many. One that is being read stays for now."""
    replica = row(world, replica_id)
    with world.database.read() as session:
        known = [point.point_id for point in replicas.points_of(session, [replica_id])[replica_id]]
    where, gone = Where("lun", replica.lun_id), 0
    strays = [point.id for point in copying.points(world, where, replica.set_id) if point.id not in known]
    for point_id in [*strays, *rules.surplus(known, replica.keep)]:
        try:
            copying.drop(world, where, replica.set_id, point_id)
        except Busy:
            continue
        with world.database.write() as session:
            session.execute(sa.delete(ReplicaPoint).where(ReplicaPoint.point_id == point_id))
        gone += 1
    return gone


def drop_remnants(world: World, replica_id: str) -> int:
    """Once the old side has a complete point again, the files that a failover left there are of no more use; how many."""
    replica = row(world, replica_id)
    return remnants.remove(world, replica.machine_id, replica.lun_id)


def note_failure(world: World, replica_id: str, reason: str) -> None:
    """A copy that failed is tried again soon, whatever the interval."""
    with world.database.write() as session:
        replica = session.get(Replica, replica_id)
        if replica is not None:
            replica.failure = reason
            replica.due_at = min(replica.due_at, datetime.now(UTC) + RETRY)


def forget_copies(world: World, replica_id: str) -> None:
    """Remove every point of the replica, and what the machine's arrays know since."""
    with world.database.read() as session:
        replica = session.get(Replica, replica_id)
        if replica is None:
            return
        parts = [Part(disk.lun_id, disk.id) for disk in disks.of_machine(session, replica.machine_id)]
    insist(copying.forget, world, Where("lun", replica.lun_id), replica.set_id, parts)


def forget(world: World, replica_id: str) -> None:
    with world.database.write() as session:
        replicas.forget(session, replica_id)
