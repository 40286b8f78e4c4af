"""Simulated disks that begin as a point has them. What a part of a point takes is what moves in."""

import json
from typing import Any

from naos.engines.errors import EngineError
from naos.engines.ports import Door, JobState, LunSpec, Provisioning
from naos.engines.simulated import volumes
from naos.engines.simulated.calls import checked_id
from naos.engines.simulated.points import SimulatedSourcing, door_key
from naos.engines.simulated.store import Db

IMAGE_OVERHEAD = 256 * 1024
"""Bytes that an empty image takes."""


class SimulatedLaying(SimulatedSourcing):
    """An array's side of disks that lie over points."""

    def lay_disk(
        self, lun: LunSpec, disk_id: str, base_id: str, size: int, provisioning: Provisioning, door: Door
    ) -> None:
        checked_id(self.name, disk_id)
        if lun.key is not None:
            lun.key()  # what an encrypted volume needs must be there
        with self._source("lay_disk", lun, ()) as db:
            if volumes.disk(db, lun.id, disk_id) is not None:
                return
            if _taken(db, door.key, door.address.name) is None:
                raise EngineError(self.name, f"disk {disk_id}", f"nobody answers at {door.address}")
            _keep(db, lun.id, base_id, door)
            # what moves in is taken of the volume then: what the template is said to take is counted once, as the disk's
            values = (lun.id, base_id, size, 0)
            db.execute("INSERT OR IGNORE INTO templates (lun, id, size, allocated) VALUES (?, ?, ?, ?)", values)
            reserved = 0 if provisioning is Provisioning.DYNAMIC else size
            fields = "id, lun, size, allocated, reserved, backing"
            row = (disk_id, lun.id, size, IMAGE_OVERHEAD, reserved, base_id)
            db.execute(f"INSERT INTO disks ({fields}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - fields of this file

    def renew_door(self, lun: LunSpec, disk_id: str, door: Door) -> None:
        with self._source("renew_door", lun, [disk_id]) as db:
            row = volumes.disk(db, lun.id, disk_id)
            if row is not None and row["backing"] is not None:
                _keep(db, lun.id, row["backing"], door)

    def move_in(self, lun: LunSpec, disk_id: str, *, speed: int | None = None) -> JobState:
        """A quarter further at each call, while the store serves the point."""
        del speed
        with self._source("move_in", lun, [disk_id]) as db:
            row: Any = volumes.disk(db, lun.id, disk_id)
            if row["backing"] is None:
                return JobState(running=False, done=row["size"], total=row["size"])
            kept = db.execute("SELECT * FROM doors WHERE lun = ? AND base = ?", (lun.id, row["backing"])).fetchone()
            taken = None if kept is None else _taken(db, kept["door_key"], kept["name"])
            if taken is None:
                db.execute("UPDATE disks SET flattened = NULL WHERE id = ? AND lun = ?", (disk_id, lun.id))
                return JobState(running=False, total=row["size"], error="Input/output error")
            served = db.execute("SELECT * FROM luns WHERE id = ?", (lun.id,)).fetchone()
            return volumes.flatten_further(db, served, row, taken)


def _keep(db: Db, lun_id: str, base_id: str, door: Door) -> None:
    values = (lun_id, base_id, door.key, door.address.name)
    db.execute("INSERT OR REPLACE INTO doors (lun, base, door_key, name) VALUES (?, ?, ?, ?)", values)


def _taken(db: Db, key: str, disk_id: str) -> int | None:
    """Bytes that a disk takes in its point and those below, while a reader is served with this key; None while none is."""
    for reader in db.execute("SELECT * FROM readers").fetchall():
        if door_key(reader["point"], disk_id) != key:
            continue
        query = "SELECT * FROM points WHERE place = ? AND set_id = ? AND complete = 1"
        rows = db.execute(query, (reader["place"], reader["set_id"])).fetchall()
        disks = {row["id"]: {disk[0]: disk for disk in json.loads(row["disks"])} for row in rows}
        taken, point = 0, reader["point"]
        while point is not None:
            _, size, point, own = disks[point][disk_id]
            taken = min(taken + own, size)
        return taken
    return None
