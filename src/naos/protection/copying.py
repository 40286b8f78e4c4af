"""The copy engine: the disks of a set as they are at one instant, brought to a place in another zone as its next point.

An `Order` says what and where. The steps `prepare`, `begin`, `follow`, `finish` can each be repeated, and `cancel` undoes them at
any moment; `take` is all of them. Orders are plain values, so that they can be a step's and a compensation's arguments.

Only what changed since the place's last point travels, under TLS with a key of the point's own. Where an array does not know for
certain what changed, the disk is compared with the checksums that the place keeps, and only the differences travel.
The place's earlier points stay as they are until the new one is complete, and afterwards.

Disks of one volume are copied as of one instant by the array itself. For a set on several volumes the caller gives a `hold`, inside
which nothing is written: a paused or a frozen machine (`frozen`).
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from naos.engines.errors import Busy, EngineError, Missing, Unreachable
from naos.engines.ports import Hypervisor, Incoming, JobState, Outgoing, Point, PointStore, Verdict
from naos.errors import Unknown
from naos.insistence import insist
from naos.storage import luns
from naos.world import World

FIRST_LOOK, LONGEST_WAIT = 0.02, 1.0  # seconds between looks
WORTH_GOING_ON = 64 * 2**20
"""Bytes of an unfinished point from which on the next one goes on from it, rather than sending them again."""
STANDSTILL = 300.0  # seconds without one more byte
STEP, STEPS_SEEN = 2**20, 8
"""Bytes that an array sends at once, and how many times as long as a slow copy takes for them it may seem to stand still."""
IMPATIENT = 15.0  # the same for a copy that yields: guests' writes may be waiting for it
_TURN = 60.0  # seconds that a copy waits for another one of the same disk
_AVERAGE = 10.0  # seconds over which a rate is measured


@dataclass(frozen=True)
class Where:
    """kind: ``vault``, `name` is the inventory's; ``lun``, `name` is the id of the volume that keeps the points."""

    kind: Literal["vault", "lun"]
    name: str


@dataclass(frozen=True)
class Part:
    """A disk, and the volume that it is on at this moment."""

    lun_id: str
    disk_id: str


@dataclass(frozen=True)
class Order:
    """A point to take.

    set_id: what is copied together to this place, an id that lives as long as there are points of it (one for a policy's machine, one
    for a replicated volume). speed: bytes a second for each disk. yielding: a snapshot or another size of a disk ends this copy
    rather than being refused while it goes on.
    """

    set_id: str
    point_id: str
    where: Where
    parts: tuple[Part, ...]
    speed: int | None = None
    yielding: bool = False

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of(plain: dict[str, Any]) -> "Order":
        parts = tuple(Part(**part) for part in plain["parts"])
        return Order(**{**plain, "where": Where(**plain["where"]), "parts": parts})


@dataclass(frozen=True)
class Progress:
    """How far a copy is. rate: bytes a second of late; left: seconds, None while nobody can say."""

    done: int
    total: int
    rate: float
    left: float | None

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 1.0


def store_of(world: World, where: Where) -> PointStore:
    """Raises Unknown for a volume that is gone, Missing for a vault that the inventory does not have."""
    if where.kind == "vault":
        return world.rack.vault_points(where.name)
    array, lun = luns.spec(world, where.name)
    return world.rack.array(array).points(lun.id)


def points(world: World, where: Where, set_id: str) -> list[Point]:
    """The complete points of a set, oldest first."""
    return store_of(world, where).points(set_id)


# ---------------------------------------------------------------------------------------------------------------- steps


def take(
    world: World,
    order: Order,
    *,
    hold: Callable[[], AbstractContextManager[Any]] = nullcontext,
    progress: Callable[[Progress], None] = lambda _progress: None,
) -> Point:
    """Take a point; what was begun is taken back when it fails. Raises as the steps do."""
    try:
        prepare(world, order)
        instant = begin(world, order, hold=hold)
        follow(world, order, progress)
        return finish(world, order, instant)
    except BaseException:
        with contextlib.suppress(EngineError):  # the first failure is the one to hear of
            cancel(world, order, keep=True)
        raise


def prepare(world: World, order: Order) -> None:
    """See to it that every disk's changes since the place's last point are known, then open the place's doors.

    A disk that the place has no point of, or one of a larger size, will travel whole; but when much of it has arrived with a point that
    was broken off, only what that lacks or has of an earlier moment does. Raises Missing for a disk that is not on its
    volume, NoSpace, Unreachable.
    """
    store = store_of(world, order.where)
    present = store.points(order.set_id)
    if any(point.id == order.point_id for point in present):
        return
    left = _worth(store, order)
    incoming = []
    for lun_id, disk_ids in _volumes(order).items():
        array, lun = luns.spec(world, lun_id)
        known = world.rack.array(array).known_bases(lun, order.set_id, disk_ids)
        for disk_id in disk_ids:
            facts = world.rack.array(array).disk(lun_id, disk_id)
            if facts is None:
                raise Missing(array, f"disk {disk_id}", f"volume {lun_id} does not hold it")
            base = _base(present, disk_id, facts.size)
            since = left.get((disk_id, facts.size, base))
            if since is not None:
                _compare(world, order, lun_id, disk_id, since)
            elif base is not None and base not in known[disk_id]:
                _compare(world, order, lun_id, disk_id, base)
            incoming.append(Incoming(disk_id, facts.size, base, since or base))
    store.receive(order.set_id, order.point_id, incoming)


def begin(world: World, order: Order, *, hold: Callable[[], AbstractContextManager[Any]] = nullcontext) -> datetime:
    """Start every copy, within `hold`; returns the instant of the point. Repeated, it returns the same.

    A disk that another copy works on is waited for, for a minute. Raises Busy, EngineError.
    """
    until = time.monotonic() + _TURN
    while True:
        try:  # asked anew each time: the place is to know that blocks may be sent again
            doors = store_of(world, order.where).doors(order.set_id, order.point_id)
        except Missing:
            point = _present(world, order)
            if point is None:
                raise
            return point.instant
        groups = [(*luns.spec(world, lun_id), disk_ids) for lun_id, disk_ids in _volumes(order).items()]
        try:
            with hold():
                instants = [
                    world.rack.array(array).begin_point(
                        lun,
                        order.set_id,
                        order.point_id,
                        [Outgoing(disk_id, doors[disk_id][0].since, doors[disk_id][1]) for disk_id in disk_ids],
                        speed=order.speed,
                        yielding=order.yielding,
                    )
                    for array, lun, disk_ids in groups
                ]
            return min(instants)
        except Busy:
            _end(world, order, complete=False)  # those that had begun are of another instant than the rest will be
            if time.monotonic() > until:
                raise
        time.sleep(LONGEST_WAIT)


def look(world: World, order: Order) -> JobState:
    """How far the copies are, together. Raises EngineError for a point that will never be complete."""
    states = []
    for lun_id, disk_ids in _volumes(order).items():
        array, lun = luns.spec(world, lun_id)
        states.append(world.rack.array(array).point(lun, order.point_id, disk_ids))
    return JobState(
        running=any(state.running for state in states),
        done=sum(state.done for state in states),
        total=sum(state.total for state in states),
    )


def follow(world: World, order: Order, progress: Callable[[Progress], None] = lambda _progress: None) -> None:
    """Wait until every copy has ended well. Raises EngineError for one that failed, Unreachable when nothing moves any more."""
    wait, began = FIRST_LOOK, time.monotonic()
    standstill = IMPATIENT if order.yielding else STANDSTILL
    if order.speed is not None:
        standstill = max(standstill, STEPS_SEEN * STEP / order.speed)
    moved, until = -1, began + standstill
    marks = [(began, 0)]
    while True:
        state, now = _look(world, order), time.monotonic()
        if state is None:
            return
        if state.done != moved:
            moved, until = state.done, now + standstill
        elif now > until:
            raise Unreachable("the array", "copying", f"nothing moves after {state.done} of {state.total} bytes")
        marks = [mark for mark in marks if mark[0] > now - _AVERAGE] or marks[-1:]
        rate = (state.done - marks[0][1]) / (now - marks[0][0]) if now > marks[0][0] else 0.0
        marks.append((now, state.done))
        left = (state.total - state.done) / rate if rate > 0 else None
        progress(Progress(state.done, state.total, max(rate, 0.0), 0.0 if not state.running else left))
        if not state.running:
            return
        time.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT, max(FIRST_LOOK, (left or LONGEST_WAIT) / 2))


def pace(world: World, order: Order, speed: int | None) -> None:
    """Let what is under way of a point go on at another speed: bytes a second for each disk. Raises EngineError."""
    for lun_id, disk_ids in _volumes(order).items():
        array, lun = luns.spec(world, lun_id)
        world.rack.array(array).pace_point(lun, order.point_id, disk_ids, speed)


def finish(world: World, order: Order, instant: datetime) -> Point:
    """Make the point complete at its place, and the base of the next one. Repeated, it returns the same.

    Raises EngineError when a copy or the receiving side was lost before all was safe: take another point.
    """
    state = _look(world, order)
    if state is not None:
        for lun_id, disk_ids in _volumes(order).items():
            array, lun = luns.spec(world, lun_id)
            insist(world.rack.array(array).close_point, lun, order.point_id, disk_ids)
    point = store_of(world, order.where).seal(order.set_id, order.point_id, instant)
    _end(world, order, complete=True)
    return point


def cancel(world: World, order: Order, *, keep: bool = False) -> None:
    """End what is under way and drop what was received, or keep it for the next point to go on from; a complete point stays.
    Everything can be absent."""
    if _present(world, order) is not None:
        _end(world, order, complete=True)
        return
    _end(world, order, complete=False)
    with contextlib.suppress(Unknown):
        store = store_of(world, order.where)
        insist(store.suspend if keep else store.abandon, order.set_id, order.point_id)


# --------------------------------------------------------------------------------------------------- what became of points


def drop(world: World, where: Where, set_id: str, point_id: str) -> None:
    """Remove a point for good; its neighbours stay whole. Raises Busy while it is being read."""
    store_of(world, where).drop(set_id, point_id)


def verify(world: World, where: Where, set_id: str, point_id: str, *, pace: int | None = None) -> Verdict:
    """Read a point and compare it with the checksums of its arrival. Raises Missing."""
    return store_of(world, where).verify(set_id, point_id, pace=pace)


def forget(world: World, where: Where, set_id: str, parts: Sequence[Part]) -> None:
    """Remove every point of a set, and what the disks' arrays know since then."""
    for part in parts:
        with contextlib.suppress(Unknown, EngineError):  # what stays known there is of no use, and does no harm
            array, _ = luns.spec(world, part.lun_id)
            world.rack.array(array).forget_set(part.lun_id, set_id, [part.disk_id])
    with contextlib.suppress(Unknown):
        store_of(world, where).forget(set_id)


# ------------------------------------------------------------------------------------------------------------ a guest's part


@dataclass
class Freeze:
    """file_systems: how many were frozen. held: whether they were still frozen when the block ended: then what began within it
    is of a guest at rest."""

    file_systems: int
    held: bool = False


@contextlib.contextmanager
def frozen(hypervisor: Hypervisor, domain_id: str, *, limit: int = 10) -> Iterator[Freeze]:
    """A guest's file systems at rest inside, for at most `limit` seconds; the blade itself thaws them then, whatever happens.

    Raises GuestRefused without an agent that answers.
    """
    found = Freeze(hypervisor.freeze(domain_id, limit=limit))
    thawed = 0
    try:
        yield found
    finally:
        with contextlib.suppress(EngineError):  # the blade thaws it
            thawed = hypervisor.thaw(domain_id)
        found.held = thawed > 0


# ------------------------------------------------------------------------------------------------------------- plumbing


def _volumes(order: Order) -> dict[str, list[str]]:
    """Disks by volume, in the order's order."""
    found: dict[str, list[str]] = {}
    for part in order.parts:
        found.setdefault(part.lun_id, []).append(part.disk_id)
    return found


def _base(present: Sequence[Point], disk_id: str, size: int) -> str | None:
    """The newest point that has the disk; none when the disk was larger then: it was brought back to an earlier size."""
    for point in reversed(present):
        for disk in point.disks:
            if disk.disk_id == disk_id:
                return point.id if disk.size <= size else None
    return None


def _look(world: World, order: Order) -> JobState | None:
    """As `look`; None for a point that is complete."""
    try:
        return look(world, order)
    except EngineError:
        if _present(world, order) is None:
            raise
        return None


def _worth(store: PointStore, order: Order) -> dict[tuple[str, int, str | None], str]:
    """What another unfinished point of the set has received: its id by disk, size and base."""
    found = store.unfinished(order.set_id)
    if found is None or found.point_id == order.point_id:
        return {}
    store.suspend(order.set_id, found.point_id)
    return {
        (disk.disk_id, disk.size, disk.base): found.point_id for disk, stored in found.disks if stored >= WORTH_GOING_ON
    }


def _compare(world: World, order: Order, lun_id: str, disk_id: str, base: str) -> None:
    array, lun = luns.spec(world, lun_id)
    with tempfile.TemporaryDirectory(prefix="naos-") as folder:
        file = Path(folder, "checksums")
        store_of(world, order.where).checksums(order.set_id, base, disk_id, file)
        world.rack.array(array).compare(lun, order.set_id, base, disk_id, file, pace=order.speed)


def _present(world: World, order: Order) -> Point | None:
    try:
        store = store_of(world, order.where)
    except Unknown:
        return None
    return next((point for point in store.points(order.set_id) if point.id == order.point_id), None)


def _end(world: World, order: Order, *, complete: bool) -> None:
    for lun_id, disk_ids in _volumes(order).items():
        try:
            array, lun = luns.spec(world, lun_id)
        except Unknown:
            continue
        end = partial(world.rack.array(array).end_point, complete=complete)
        insist(end, lun, order.set_id, order.point_id, disk_ids)
