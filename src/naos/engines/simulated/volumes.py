"""What lies on simulated volumes, and the space that it takes. In the caller's transaction."""

import json
import sqlite3
from collections.abc import Mapping

from naos.engines.ports import ExportedDisk, JobState
from naos.engines.simulated.store import Db

Row = sqlite3.Row
FLATTEN_CALLS = 4


def disk(db: Db, lun_id: str, disk_id: str) -> Row | None:
    row: Row | None = db.execute("SELECT * FROM disks WHERE id = ? AND lun = ?", (disk_id, lun_id)).fetchone()
    return row


def template(db: Db, lun_id: str, template_id: str) -> Row | None:
    query = "SELECT * FROM templates WHERE lun = ? AND id = ?"
    row: Row | None = db.execute(query, (lun_id, template_id)).fetchone()
    return row


def used(db: Db, lun: Row) -> int:
    """Bytes taken on a volume, ballast included."""
    query = (
        "SELECT (SELECT COALESCE(SUM(MAX(allocated, reserved)), 0) FROM disks WHERE lun = :lun)"
        " + (SELECT COALESCE(SUM(allocated), 0) FROM templates WHERE lun = :lun)"
        " + (SELECT COALESCE(SUM(size), 0) FROM aside WHERE lun = :lun)"
    )
    (taken,) = db.execute(query, {"lun": lun["id"]}).fetchone()
    points = db.execute("SELECT disks FROM points WHERE place = ?", (lun["id"],)).fetchall()
    kept = sum(entry[3] for row in points for entry in json.loads(row["disks"]))
    return int(taken + kept + lun["ballast"])


def backing_size(db: Db, row: Row) -> int:
    """Bytes that a clone still shares with its template."""
    if row["backing"] is None:
        return 0
    shared = template(db, row["lun"], row["backing"])
    return int(shared["allocated"]) if shared is not None else 0


def flatten_further(db: Db, lun: Row, row: Row, shared: int | None = None) -> JobState:
    """Start the copy of a clone's shared blocks, or bring it on by one step. shared: their bytes, where they are no template's."""
    total = max(backing_size(db, row) if shared is None else shared, 1)
    if total > lun["capacity"] - used(db, lun):
        db.execute("UPDATE disks SET flattened = NULL WHERE id = ? AND lun = ?", (row["id"], row["lun"]))
        return JobState(running=False, total=total, error="No space left on device")
    done = 0 if row["flattened"] is None else row["flattened"] + 1
    if done < FLATTEN_CALLS:
        db.execute("UPDATE disks SET flattened = ? WHERE id = ? AND lun = ?", (done, row["id"], row["lun"]))
        return JobState(running=True, done=total * done // FLATTEN_CALLS, total=total)
    db.execute(
        "UPDATE disks SET flattened = NULL, backing = NULL, allocated = MIN(size, allocated + ?) WHERE id = ? AND lun = ?",
        (total, row["id"], row["lun"]),
    )
    return JobState(running=False, done=total, total=total)


def keep_scratch(db: Db, lun_id: str, disk: ExportedDisk) -> None:
    """Where a volatile disk's writes of this epoch go."""
    if disk.volatile:
        values = (disk.id, lun_id, disk.epoch)
        db.execute("INSERT OR REPLACE INTO scratches (disk, lun, epoch) VALUES (?, ?, ?)", values)


def drop_scratch(db: Db, lun_id: str, disk_id: str, *, spared: int | None = None) -> None:
    """Drop what was written in every epoch but `spared`."""
    query = "DELETE FROM scratches WHERE disk = ? AND lun = ? AND epoch IS NOT ?"
    db.execute(query, (disk_id, lun_id, spared))


def drop_scratches(db: Db, lun_id: str, wanted: Mapping[str, int]) -> None:
    """Drop what no export of these epochs writes."""
    for disk_id, epoch in db.execute("SELECT disk, epoch FROM scratches WHERE lun = ?", (lun_id,)).fetchall():
        if wanted.get(disk_id) != epoch:
            drop_scratch(db, lun_id, disk_id)
