"""Points: disks as they were at one instant, and where they are kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from naos.engines.ports.volumes import JobState, LunSpec, LunUsage, NbdAddress


@dataclass(frozen=True)
class Door:
    """Where one disk of a point is written or read: NBD under TLS, with a key of this session alone.

    key: hexadecimal, secret; whoever has it may use the door until the session ends. user: whom the key belongs to.
    """

    address: NbdAddress
    key: str = field(repr=False)
    user: str = "naos"


@dataclass(frozen=True)
class Outgoing:
    """One disk's way into a point. base: the point that the store has this disk of and over which the new one is received;
    None when the whole disk travels. door: where the store receives it."""

    disk_id: str
    base: str | None
    door: Door


class PointSource(Protocol):
    """The side of an array from which points are taken. A set is what is copied together to one place (the disks of a volume,
    of a machine), under an id of its own; a point is the set at one instant.

    What changed since a point is known by a bitmap that carries the ids of set and point. It is begun with the point's own copy, in
    the same transaction, and counts only while it is whole: after the sudden death of a daemon, and for a disk that was brought
    back to a snapshot or moved, there is none. Then `compare` makes a new one; nothing is ever guessed.
    """

    def known_bases(self, lun: LunSpec, set_id: str, disk_ids: Sequence[str]) -> dict[str, frozenset[str]]:
        """For every disk the points since whose instants each change of it is known for certain; of the points of this set.

        Raises Missing for a disk that is not there.
        """

    def compare(
        self, lun: LunSpec, set_id: str, point_id: str, disk_id: str, checksums: Path, *, pace: int | None = None
    ) -> int:
        """Make a point a known base of a disk: what differs from its checksums (a file of `PointStore.checksums`) counts as
        changed, and every write from now on. Returns the bytes that differ. The disk may be in use; it is read once, and
        nothing travels.

        pace: bytes a second that are read, None for as fast as it goes.
        """

    def begin_point(
        self,
        lun: LunSpec,
        set_id: str,
        point_id: str,
        parts: Sequence[Outgoing],
        *,
        speed: int | None = None,
        yielding: bool = False,
    ) -> datetime:
        """Begin to copy disks of one volume as they all are at one instant, which is returned; they may be in use. A repeated
        call returns the same instant.

        speed: bytes a second for each disk. yielding: whoever wants to change a disk (a snapshot, another size) ends this copy
        rather than being told that it is busy. Raises Busy while another job works on one of the disks, Missing, and EngineError
        for a base that is not known.
        """

    def point(self, lun: LunSpec, point_id: str, disk_ids: Sequence[str]) -> JobState:
        """How far the copies are, together: `total` is what has to travel. Raises EngineError when one failed, was ended, or was
        lost with the volume's daemon."""

    def pace_point(self, lun: LunSpec, point_id: str, disk_ids: Sequence[str], speed: int | None) -> None:
        """From now on the copies that go on travel at `speed` bytes a second each, None for as fast as it goes."""

    def close_point(self, lun: LunSpec, point_id: str, disk_ids: Sequence[str]) -> None:
        """Let the doors of complete copies go. Raises Busy while one goes on."""

    def end_point(self, lun: LunSpec, set_id: str, point_id: str, disk_ids: Sequence[str], *, complete: bool) -> None:
        """Take the copies off the list, ending those that go on. complete: the store has the point: it becomes the base of what
        follows, and what was known since earlier ones is forgotten. Otherwise those stay, and the point is forgotten."""

    def forget_set(self, lun_id: str, set_id: str, disk_ids: Sequence[str]) -> None:
        """Forget what is known since points of this set; absent disks are left alone, and so is an absent volume."""


@dataclass(frozen=True)
class Incoming:
    """A disk that a point is to have. base: the complete point of the set whose disk it is received over, None for none. since: what
    the place has of it already, when that is more: an unfinished point that goes on as this one."""

    disk_id: str
    size: int
    base: str | None
    since: str | None = None


@dataclass(frozen=True)
class Unfinished:
    """What was received of a point that was never completed: each disk, and the bytes that it takes."""

    point_id: str
    disks: Sequence[tuple[Incoming, int]]


@dataclass(frozen=True)
class DiskPoint:
    """One disk of a complete point. base: the point that holds what this one shares with it; it changes when points are dropped.
    stored: bytes that this point's own part takes."""

    disk_id: str
    size: int
    base: str | None
    stored: int


@dataclass(frozen=True)
class Point:
    """A complete point. instant: when its disks were so, by the clock of whoever took it."""

    id: str
    set_id: str
    instant: datetime
    disks: Sequence[DiskPoint]

    @property
    def stored(self) -> int:
        return sum(disk.stored for disk in self.disks)


@dataclass(frozen=True)
class Damage:
    """What a verification found: the disk, and where in it, in bytes; what is there instead."""

    disk_id: str
    offset: int
    length: int
    reason: str


@dataclass(frozen=True)
class Verdict:
    """read: bytes whose checksums were computed anew."""

    read: int
    damages: Sequence[Damage]


class PointStore(Protocol):
    """A place that keeps points: a vault, or a volume of an array. Sets, points and disks go by their ids.

    A point is complete or not there: the one before stays usable until the new one is, whatever happens, and so do all others. Within
    a set points follow each other; each holds only what changed, and each can be read whole. Checksums of every 64 KiB that a point
    holds are kept from its arrival on. All calls of one set wait for each other.
    """

    name: str

    def sets(self) -> list[str]: ...
    def points(self, set_id: str) -> list[Point]:
        """The complete ones, oldest first; none of an unknown set."""

    def receive(self, set_id: str, point_id: str, disks: Sequence[Incoming]) -> dict[str, Door]:
        """Be ready to receive a point: doors by disk. A repeated call returns the same ones. What another unfinished point of the
        set had received is dropped, unless a disk goes on from it (`Incoming.since`).

        Raises Missing for a base that is not there, NoSpace, Busy when the point is complete already.
        """

    def doors(self, set_id: str, point_id: str) -> dict[str, tuple[Incoming, Door]]:
        """Of a point that is being received. Raises Missing for any other."""

    def seal(self, set_id: str, point_id: str, instant: datetime) -> Point:
        """Close the doors and make the point complete: flushed, checksums computed. A repeated call returns it.

        Raises EngineError when the receiving side died meanwhile, so that nobody knows what it has: receive it anew.
        """

    def unfinished(self, set_id: str) -> Unfinished | None:
        """What there is of a point that is not complete, whether or not it is still being received."""

    def suspend(self, set_id: str, point_id: str) -> None:
        """Close an unfinished point's doors and keep what was received: the next point can go on from there."""

    def abandon(self, set_id: str, point_id: str) -> None:
        """Drop what was received of an unfinished point; a complete or an absent one is left alone."""

    def checksums(self, set_id: str, point_id: str, disk_id: str, target: Path) -> None:
        """Write the checksums of a point's whole disk to a file of this machine, for `PointSource.compare`; of an unfinished point,
        whose doors are closed, those of what was received. Raises Missing."""

    def drop(self, set_id: str, point_id: str) -> None:
        """Remove a point and free its space: what later points share with it becomes theirs, and no other changes. An absent
        one is left alone. Raises Busy while it, or the one that follows, is being read, or one is being received over it."""

    def forget(self, set_id: str) -> None:
        """Remove a set with all of its points, and what is being received. Raises Busy while one is being read."""

    def verify(self, set_id: str, point_id: str, *, pace: int | None = None) -> Verdict:
        """Read a point's disks whole and compare them with the checksums of their arrival. pace: bytes a second."""

    def serve(self, set_id: str, point_id: str, reader: str) -> dict[str, Door]:
        """Let a point be read: doors by disk, until `end_serving`. reader: an id; every reader has its own doors."""

    def end_serving(self, set_id: str, reader: str) -> None: ...
    def at_rest(self) -> str:
        """What encrypts all that is kept here where it lies: `fscrypt`, `dm-crypt`, or "" for nothing."""

    def usage(self) -> LunUsage:
        """Of the file system that the points are in."""
