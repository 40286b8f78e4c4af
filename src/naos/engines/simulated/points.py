"""Simulated points: what they hold of which disks is kept, and how much, but no contents.

A copy goes on by a quarter at each look. What changed since a point is what the guests have written since, by their counters.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from naos.engines.errors import Busy, EngineError, Missing, NoSpace, Unreachable
from naos.engines.ports import (
    Damage,
    DiskPoint,
    Door,
    Incoming,
    JobState,
    LunSpec,
    LunUsage,
    NbdAddress,
    Outgoing,
    Point,
    Unfinished,
    Verdict,
)
from naos.engines.simulated import volumes
from naos.engines.simulated.calls import SimulatedEngine, checked_id
from naos.engines.simulated.host import place_of
from naos.engines.simulated.store import Db, Store

LOOKS = 4
LEAST = 65536
"""Bytes of a point's own part at the least."""
VAULT_BYTES = 2**42
PORT = 20809


class SimulatedPointStore(SimulatedEngine):
    """place: the vault's name, or the id of the volume that keeps the points."""

    port = "points"

    def __init__(self, engine: str, store: Store, place: str, address: str, lun_id: str | None = None) -> None:
        super().__init__(engine, store)
        self._place, self._address, self._lun = place, address, lun_id

    def sets(self) -> list[str]:
        with self._served("sets") as db:
            rows = db.execute("SELECT DISTINCT set_id FROM points WHERE place = ?", (self._place,)).fetchall()
        return sorted(row["set_id"] for row in rows)

    def points(self, set_id: str) -> list[Point]:
        with self._served("points") as db:
            return [_point(row) for row in self._rows(db, set_id) if row["complete"]]

    def receive(self, set_id: str, point_id: str, disks: Sequence[Incoming]) -> dict[str, Door]:
        for text in (set_id, point_id, *(disk.disk_id for disk in disks)):
            checked_id(self.name, text)
        with self._served("receive") as db:
            self._check_served(db)
            present = self._find(db, set_id, point_id)
            if present is not None and present["complete"]:
                raise Busy(self.name, f"point {point_id}", "it is complete")
            for disk in disks:
                if disk.base is not None and disk.disk_id not in self._sizes(db, set_id, disk.base):
                    raise Missing(self.name, f"disk {disk.disk_id} of point {disk.base}", "it was dropped")
            wanted = json.dumps([[disk.disk_id, disk.size, disk.base, 0] for disk in disks])
            if present is None or [entry[:3] for entry in json.loads(present["disks"])] != [
                entry[:3] for entry in json.loads(wanted)
            ]:
                gone = (self._place, set_id)
                db.execute("DELETE FROM points WHERE place = ? AND set_id = ? AND complete = 0", gone)
                values = (self._place, set_id, point_id, wanted)
                db.execute("INSERT INTO points (place, set_id, id, disks) VALUES (?, ?, ?, ?)", values)
        return {disk.disk_id: self._door(point_id, disk.disk_id) for disk in disks}

    def doors(self, set_id: str, point_id: str) -> dict[str, tuple[Incoming, Door]]:
        with self._served("doors") as db:
            row = self._find(db, set_id, point_id)
            if row is None or row["complete"]:
                raise Missing(self.name, f"point {point_id}", "it is not being received")
            return {
                disk_id: (Incoming(disk_id, size, base, base), self._door(point_id, disk_id))
                for disk_id, size, base, _ in json.loads(row["disks"])
            }

    def seal(self, set_id: str, point_id: str, instant: datetime) -> Point:
        with self._served("seal") as db:
            row = self._find(db, set_id, point_id)
            if row is None:
                raise Missing(self.name, f"point {point_id}", "it is not being received")
            if not row["complete"]:
                self._check_room(db, sum(entry[3] for entry in json.loads(row["disks"])))
                values = (instant.isoformat(), self._place, set_id, point_id)
                db.execute(
                    "UPDATE points SET complete = 1, instant = ? WHERE place = ? AND set_id = ? AND id = ?", values
                )
            return _point(self._find(db, set_id, point_id))

    def unfinished(self, set_id: str) -> Unfinished | None:
        """Never worth going on from."""
        with self._served("unfinished") as db:
            del db, set_id
        return None

    def suspend(self, set_id: str, point_id: str) -> None:
        self.abandon(set_id, point_id)

    def abandon(self, set_id: str, point_id: str) -> None:
        with self._served("abandon") as db:
            values = (self._place, set_id, point_id)
            db.execute("DELETE FROM points WHERE place = ? AND set_id = ? AND id = ? AND complete = 0", values)

    def checksums(self, set_id: str, point_id: str, disk_id: str, target: Path) -> None:
        with self._served("checksums") as db:
            if disk_id not in self._sizes(db, set_id, point_id):
                raise Missing(self.name, f"disk {disk_id} of point {point_id}", "the point is without it")
        target.write_bytes(b"")

    def drop(self, set_id: str, point_id: str) -> None:
        """What a later point shares with it becomes that one's."""
        with self._served("drop") as db:
            row = self._find(db, set_id, point_id)
            if row is None or not row["complete"]:
                return
            self._check_unread(db, set_id)
            gone = {entry[0]: entry for entry in json.loads(row["disks"])}
            for other in self._rows(db, set_id):
                disks = json.loads(other["disks"])
                for entry in disks:
                    if entry[2] == point_id:
                        if not other["complete"]:
                            raise Busy(self.name, f"point {point_id}", "another one is being received over it")
                        below = gone[entry[0]]
                        entry[2], entry[3] = below[2], min(max(below[3], entry[3]), entry[1])
                db.execute("UPDATE points SET disks = ? WHERE number = ?", (json.dumps(disks), other["number"]))
            db.execute("DELETE FROM points WHERE number = ?", (row["number"],))

    def forget(self, set_id: str) -> None:
        with self._served("forget") as db:
            self._check_unread(db, set_id)
            db.execute("DELETE FROM points WHERE place = ? AND set_id = ?", (self._place, set_id))

    def verify(self, set_id: str, point_id: str, *, pace: int | None = None) -> Verdict:
        del pace
        with self._served("verify") as db:
            sizes = self._sizes(db, set_id, point_id)
            values = (self._place, set_id, point_id)
            query = "SELECT disk, offset FROM damages WHERE place = ? AND set_id = ? AND point = ?"
            rows = db.execute(query, values).fetchall()
        reason = "the data differ from their checksum"
        return Verdict(sum(sizes.values()), [Damage(row["disk"], row["offset"], LEAST, reason) for row in rows])

    def serve(self, set_id: str, point_id: str, reader: str) -> dict[str, Door]:
        checked_id(self.name, reader)
        with self._served("serve") as db:
            sizes = self._sizes(db, set_id, point_id)
            db.execute("INSERT OR REPLACE INTO readers VALUES (?, ?, ?, ?)", (self._place, set_id, reader, point_id))
        return {disk_id: self._door(point_id, disk_id) for disk_id in sizes}

    def end_serving(self, set_id: str, reader: str) -> None:
        with self._served("end_serving") as db:
            values = (self._place, set_id, reader)
            db.execute("DELETE FROM readers WHERE place = ? AND set_id = ? AND reader = ?", values)

    def at_rest(self) -> str:
        """What somebody wrote to /encrypted-by of the vault's host."""
        with self._served("at_rest"):
            file = place_of(self._store.folder, self._place, "/encrypted-by")
            return file.read_text(encoding="ascii").strip() if file.exists() else ""

    def usage(self) -> LunUsage:
        with self._served("usage") as db:
            used = stored(db, self._place)
            capacity = VAULT_BYTES
            if self._lun is not None:
                row = db.execute("SELECT * FROM luns WHERE id = ?", (self._lun,)).fetchone()
                capacity, used = row["capacity"], volumes.used(db, row)
        return LunUsage(capacity, used, capacity - used)

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _served(self, method: str) -> AbstractContextManager[Db]:
        return self._call(method)

    def _check_served(self, db: Db) -> None:
        if self._lun is not None:
            row = db.execute("SELECT daemon FROM luns WHERE id = ?", (self._lun,)).fetchone()
            if row is None or not row["daemon"]:
                raise Unreachable(self.name, f"volume {self._lun}", "nothing is mounted there")

    def _check_room(self, db: Db, more: int) -> None:
        if self._lun is None:
            return
        row = db.execute("SELECT * FROM luns WHERE id = ?", (self._lun,)).fetchone()
        free = row["capacity"] - volumes.used(db, row) + more  # what is received is counted already
        if free < more:
            raise NoSpace(self.name, "a point", f"{free} bytes are free, {more} are needed")

    def _check_unread(self, db: Db, set_id: str) -> None:
        values = (self._place, set_id)
        if db.execute("SELECT 1 FROM readers WHERE place = ? AND set_id = ?", values).fetchone():
            raise Busy(self.name, f"set {set_id}", "its points are being read, or one is being received")

    def _rows(self, db: Db, set_id: str) -> list[Any]:
        query = "SELECT * FROM points WHERE place = ? AND set_id = ? ORDER BY number"
        return list(db.execute(query, (self._place, set_id)))

    def _find(self, db: Db, set_id: str, point_id: str) -> Any:
        return next((row for row in self._rows(db, set_id) if row["id"] == point_id), None)

    def _sizes(self, db: Db, set_id: str, point_id: str) -> dict[str, int]:
        row = self._find(db, set_id, point_id)
        if row is None or not row["complete"]:
            raise Missing(self.name, f"point {point_id}", "it was never completed here, or it was dropped")
        return {disk_id: size for disk_id, size, _, _ in json.loads(row["disks"])}

    def _door(self, point_id: str, disk_id: str) -> Door:
        return Door(NbdAddress(self._address, PORT, disk_id), door_key(point_id, disk_id))


def door_key(point_id: str, disk_id: str) -> str:
    return uuid.uuid5(uuid.UUID(point_id), disk_id).hex


def stored(db: Db, place: str) -> int:
    """Bytes that a place's points take."""
    rows = db.execute("SELECT disks FROM points WHERE place = ?", (place,)).fetchall()
    return sum(entry[3] for row in rows for entry in json.loads(row["disks"]))


def lose(db: Db, lun_id: str, *, clean: bool) -> None:
    """A volume's daemon has ended; one that was killed has not kept what is known."""
    db.execute("DELETE FROM outgoing WHERE lun = ?", (lun_id,))
    if not clean:
        db.execute("DELETE FROM known WHERE lun = ?", (lun_id,))


def forget_disk(db: Db, lun_id: str, disk_id: str) -> None:
    """It is gone, or its content changed unseen."""
    for table in ("outgoing", "known"):
        db.execute(f"DELETE FROM {table} WHERE lun = ? AND disk = ?", (lun_id, disk_id))  # noqa: S608 - two tables of this file


def make_way(db: Db, lun_id: str, disk_id: str) -> None:
    """Copies that yield end."""
    db.execute("DELETE FROM outgoing WHERE lun = ? AND disk = ? AND yielding", (lun_id, disk_id))


class SimulatedSourcing(SimulatedEngine):
    """An array's side of points."""

    _address: str

    def known_bases(self, lun: LunSpec, set_id: str, disk_ids: Sequence[str]) -> dict[str, frozenset[str]]:
        with self._source("known_bases", lun, disk_ids) as db:
            return {disk_id: _known(db, lun.id, disk_id, set_id) for disk_id in disk_ids}

    def compare(
        self, lun: LunSpec, set_id: str, point_id: str, disk_id: str, checksums: Path, *, pace: int | None = None
    ) -> int:
        del checksums, pace
        with self._source("compare", lun, [disk_id]) as db:
            _know(db, lun.id, disk_id, set_id, point_id)
        return 0

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
        del speed  # nothing takes time here
        with self._source("begin_point", lun, [part.disk_id for part in parts]) as db:
            going = _going(db, lun.id, point_id)
            if len(going) == len(parts):
                return datetime.fromisoformat(going[0]["instant"])
            instant = datetime.now(UTC)
            for part in parts:
                if db.execute("SELECT 1 FROM copies WHERE lun = ? AND source = ?", (lun.id, part.disk_id)).fetchone():
                    raise Busy(self.name, f"disk {part.disk_id}", "a copy job works on it")
                known = _known(db, lun.id, part.disk_id, set_id)
                if part.base is not None and part.base not in known:
                    reason = f"what changed since point {part.base} is not known; compare them first"
                    raise EngineError(self.name, f"an increment of disk {part.disk_id}", reason)
                total = _changed(db, lun.id, part.disk_id, set_id, part.base)
                values = (lun.id, part.disk_id, set_id, point_id, total, instant.isoformat(), yielding)
                fields = "lun, disk, set_id, point, total, instant, yielding"
                db.execute(f"INSERT OR REPLACE INTO outgoing ({fields}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608 - fields of this file
                _know(db, lun.id, part.disk_id, set_id, point_id)
        return instant

    def point(self, lun: LunSpec, point_id: str, disk_ids: Sequence[str]) -> JobState:
        with self._source("point", lun, disk_ids) as db:
            return self._further(db, lun, point_id, disk_ids)

    def pace_point(self, lun: LunSpec, point_id: str, disk_ids: Sequence[str], speed: int | None) -> None:
        del point_id, speed  # nothing takes time here
        with self._source("pace_point", lun, disk_ids):
            pass

    def close_point(self, lun: LunSpec, point_id: str, disk_ids: Sequence[str]) -> None:
        with self._source("close_point", lun, disk_ids) as db:
            for row in _going(db, lun.id, point_id):
                if row["done"] < row["total"]:
                    raise Busy(self.name, f"point {point_id}", "its copies go on")

    def end_point(self, lun: LunSpec, set_id: str, point_id: str, disk_ids: Sequence[str], *, complete: bool) -> None:
        with self._call("end_point") as db:
            db.execute("DELETE FROM outgoing WHERE lun = ? AND point = ?", (lun.id, point_id))
            for disk_id in disk_ids:
                unequal = "!=" if complete else "="
                query = f"DELETE FROM known WHERE lun = ? AND disk = ? AND set_id = ? AND point {unequal} ?"  # noqa: S608 - one of two signs
                db.execute(query, (lun.id, disk_id, set_id, point_id))

    def forget_set(self, lun_id: str, set_id: str, disk_ids: Sequence[str]) -> None:
        with self._call("forget_set") as db:
            for disk_id in disk_ids:
                db.execute("DELETE FROM known WHERE lun = ? AND disk = ? AND set_id = ?", (lun_id, disk_id, set_id))

    def points(self, lun_id: str) -> SimulatedPointStore:
        return SimulatedPointStore(self.name, self._store, lun_id, self._address, lun_id)

    def adopt_point(self, lun: LunSpec, set_id: str, point_id: str) -> list[str]:
        with self._source("adopt_point", lun, ()) as db:
            query = "SELECT * FROM points WHERE place = ? AND set_id = ? AND complete ORDER BY number"
            rows = db.execute(query, (lun.id, set_id)).fetchall()
            if not rows or rows[-1]["id"] != point_id:
                raise Missing(self.name, f"point {point_id}", "it is not the set's last one")
            disks = json.loads(rows[-1]["disks"])
            for disk_id, size, _, own in disks:
                fields = "id, lun, size, allocated, reserved, backing"
                values = (disk_id, lun.id, size, min(max(own, LEAST), size), 0, None)
                db.execute(f"INSERT OR IGNORE INTO disks ({fields}) VALUES (?, ?, ?, ?, ?, ?)", values)  # noqa: S608 - fields of this file
            db.execute("DELETE FROM points WHERE place = ? AND set_id = ?", (lun.id, set_id))
        return [disk[0] for disk in disks]

    def fill_disk(self, lun: LunSpec, disk_id: str, reader: str, door: Door, *, speed: int | None = None) -> JobState:
        """Done at once: the disk takes what its point and those below it do."""
        del speed
        with self._source("fill_disk", lun, [disk_id]) as db:
            row = db.execute("SELECT * FROM readers WHERE reader = ?", (reader,)).fetchone()
            if row is None:
                raise EngineError(self.name, f"filling disk {disk_id}", f"nobody answers at {door.address}")
            if db.execute("SELECT 1 FROM exports WHERE disk = ?", (disk_id,)).fetchone():
                raise Busy(self.name, f"disk {disk_id}", "it is exported")
            query = "SELECT * FROM points WHERE place = ? AND set_id = ? AND complete = 1"
            rows = db.execute(query, (row["place"], row["set_id"])).fetchall()
            disks = {entry["id"]: {disk[0]: disk for disk in json.loads(entry["disks"])} for entry in rows}
            taken, point = 0, row["point"]
            while point is not None:
                _, _, point, own = disks[point][door.address.name]
                taken += own
            db.execute("UPDATE disks SET allocated = MIN(size, ?) WHERE id = ? AND lun = ?", (taken, disk_id, lun.id))
            size = volumes.disk(db, lun.id, disk_id)["size"]  # type: ignore[index]
        return JobState(running=False, done=size, total=size)

    @contextmanager
    def _source(self, method: str, lun: LunSpec, disk_ids: Sequence[str]) -> Iterator[Db]:
        """A call about disks of a served volume. Raises Missing, Unreachable."""
        with self._call(method) as db:
            row = db.execute("SELECT daemon FROM luns WHERE id = ?", (lun.id,)).fetchone()
            if row is None:
                raise Missing(self.name, f"volume {lun.id}", "it is not on this array")
            if not row["daemon"]:
                raise Unreachable(self.name, f"volume {lun.id}", "its daemon does not run")
            for disk_id in disk_ids:
                if volumes.disk(db, lun.id, disk_id) is None:
                    raise Missing(self.name, f"disk {disk_id}", f"volume {lun.id} does not hold it")
            yield db

    def _further(self, db: Db, lun: LunSpec, point_id: str, disk_ids: Sequence[str]) -> JobState:
        rows = {row["disk"]: row for row in _going(db, lun.id, point_id)}
        done = total = 0
        for disk_id in disk_ids:
            row = rows.get(disk_id)
            if row is None:
                reason = "the copy was ended, or ended with the volume's daemon; begin again"
                raise EngineError(self.name, f"copying disk {disk_id}", reason)
            receiving = db.execute("SELECT * FROM points WHERE id = ? AND complete = 0", (point_id,)).fetchone()
            if receiving is None:
                raise EngineError(self.name, f"copying disk {disk_id}", "its door is shut")
            now = min(row["done"] + max(row["total"] // LOOKS, 1), row["total"])
            where = (now, lun.id, disk_id, point_id)
            db.execute("UPDATE outgoing SET done = ? WHERE lun = ? AND disk = ? AND point = ?", where)
            disks = [
                [*entry[:3], max(now, LEAST) if entry[0] == disk_id else entry[3]]
                for entry in json.loads(receiving["disks"])
            ]
            db.execute("UPDATE points SET disks = ? WHERE number = ?", (json.dumps(disks), receiving["number"]))
            done, total = done + now, total + row["total"]
        return JobState(running=done < total, done=done, total=total)


def _point(row: Any) -> Point:
    disks = [DiskPoint(*entry) for entry in json.loads(row["disks"])]
    return Point(row["id"], row["set_id"], datetime.fromisoformat(row["instant"]), disks)


def _going(db: Db, lun_id: str, point_id: str) -> list[Any]:
    return list(db.execute("SELECT * FROM outgoing WHERE lun = ? AND point = ?", (lun_id, point_id)))


def _known(db: Db, lun_id: str, disk_id: str, set_id: str) -> frozenset[str]:
    query = "SELECT point FROM known WHERE lun = ? AND disk = ? AND set_id = ?"
    return frozenset(row["point"] for row in db.execute(query, (lun_id, disk_id, set_id)))


def _written(db: Db, disk_id: str) -> int:
    (count,) = db.execute("SELECT COALESCE(SUM(write_bytes), 0) FROM attachments WHERE disk = ?", (disk_id,)).fetchone()
    return int(count)


def _know(db: Db, lun_id: str, disk_id: str, set_id: str, point_id: str) -> None:
    values = (lun_id, disk_id, set_id, point_id, _written(db, disk_id))
    db.execute("INSERT OR REPLACE INTO known (lun, disk, set_id, point, written) VALUES (?, ?, ?, ?, ?)", values)


def _changed(db: Db, lun_id: str, disk_id: str, set_id: str, base: str | None) -> int:
    """Bytes that travel."""
    row = volumes.disk(db, lun_id, disk_id)
    assert row is not None  # noqa: S101 - callers look
    if base is None:
        return max(min(int(row["allocated"]) + volumes.backing_size(db, row), int(row["size"])), LEAST)
    query = "SELECT written FROM known WHERE lun = ? AND disk = ? AND set_id = ? AND point = ?"
    (before,) = db.execute(query, (lun_id, disk_id, set_id, base)).fetchone()
    now = _written(db, disk_id)
    return min(max(now - int(before) if now >= before else now, 0), int(row["size"]))
