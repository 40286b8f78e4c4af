"""Copies between simulated volumes: they move no bytes and go on by a quarter at each call that asks for them.

Works in the caller's transaction.
"""

from collections.abc import Sequence

from naos.engines.errors import Busy, EngineError
from naos.engines.ports import DiskCopy, JobState, NbdAddress
from naos.engines.simulated.store import Db

LOOKS = 4


def begin(db: Db, where: str, lun_id: str, wanted: Sequence[DiskCopy]) -> None:
    """All of them, or none when one cannot begin; those that have begun go on."""
    present = _present(db, lun_id)
    if all(copy.disk_id in present for copy in wanted):
        return
    for copy in wanted:
        for name, source in present.items():
            if source == copy.source_id and name not in {other.disk_id for other in wanted}:
                raise Busy(where, f"disk {copy.source_id}", f"it is being copied to {name}")
        if copy.target is not None and _export_of(db, copy.target) is None:
            raise EngineError(where, f"a copy of disk {copy.source_id}", f"nothing answers at {copy.target}")
        total = db.execute("SELECT size FROM disks WHERE id = ? AND lun = ?", (copy.source_id, lun_id)).fetchone()[0]
        target = "" if copy.target is None else f"{copy.target.host} {copy.target.port} {copy.target.name}"
        values = (lun_id, copy.disk_id, copy.source_id, target, total)
        db.execute(
            "INSERT OR REPLACE INTO copies (lun, disk, source, target, done, total) VALUES (?, ?, ?, ?, 0, ?)", values
        )


def further(db: Db, where: str, lun_id: str, wanted: Sequence[DiskCopy]) -> JobState:
    """One step on. Raises EngineError for copies that ended with their daemon, or whose target does not answer any more."""
    done = total = 0
    for copy in wanted:
        row = db.execute("SELECT * FROM copies WHERE lun = ? AND disk = ?", (lun_id, copy.disk_id)).fetchone()
        if row is None:
            raise EngineError(where, f"the copy of disk {copy.source_id}", "it ended with the volume's daemon")
        if copy.target is not None and _export_of(db, copy.target) is None:
            raise EngineError(where, f"the copy of disk {copy.source_id}", "its target does not answer any more")
        now = min(row["done"] + max(row["total"] // LOOKS, 1), row["total"])
        db.execute("UPDATE copies SET done = ? WHERE lun = ? AND disk = ?", (now, lun_id, copy.disk_id))
        done, total = done + now, total + row["total"]
    return JobState(running=done < total, done=done, total=total)


def finished(db: Db, where: str, lun_id: str, wanted: Sequence[DiskCopy]) -> list[DiskCopy]:
    """Those whose result is not taken yet. Raises Busy while one is under way."""
    found = []
    for copy in wanted:
        row = db.execute("SELECT * FROM copies WHERE lun = ? AND disk = ?", (lun_id, copy.disk_id)).fetchone()
        if row is not None and row["done"] < row["total"]:
            raise Busy(where, f"the copy of disk {copy.source_id}", f"{row['done']} of {row['total']} bytes are done")
        if row is not None:
            found.append(copy)
    return found


def deliver(db: Db, lun_id: str, copy: DiskCopy, allocated: int) -> None:
    """The target holds what the source does, and the job is off the list."""
    if copy.target is not None:
        target_lun = _export_of(db, copy.target)
        values = (allocated, copy.disk_id, target_lun)
        db.execute("UPDATE disks SET allocated = MIN(size, ?) WHERE id = ? AND lun = ?", values)
    db.execute("DELETE FROM copies WHERE lun = ? AND disk = ?", (lun_id, copy.disk_id))


def end(db: Db, lun_id: str, disk_id: str) -> None:
    db.execute("DELETE FROM copies WHERE lun = ? AND (disk = ? OR source = ?)", (lun_id, disk_id, disk_id))


def lose(db: Db, lun_id: str) -> None:
    """The LUN's daemon is gone, and its jobs with it."""
    db.execute("DELETE FROM copies WHERE lun = ?", (lun_id,))


def _present(db: Db, lun_id: str) -> dict[str, str]:
    return {row["disk"]: row["source"] for row in db.execute("SELECT * FROM copies WHERE lun = ?", (lun_id,))}


def _export_of(db: Db, address: NbdAddress) -> str | None:
    """The LUN that answers under an export's address."""
    disk_id, _, epoch = address.name.rpartition(".")
    query = (
        "SELECT luns.id FROM luns JOIN exports ON exports.lun = luns.id"
        " WHERE address = ? AND port = ? AND daemon = 1 AND exports.disk = ? AND exports.epoch = ?"
    )
    row = db.execute(query, (address.host, address.port, disk_id, int(epoch or 0))).fetchone()
    return None if row is None else str(row["id"])
