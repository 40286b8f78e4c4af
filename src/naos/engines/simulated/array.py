"""A simulated array: it keeps sizes, backings, snapshots and exports, and no contents.

Space is counted: a disk takes what it has reserved or written, a clone nothing of its template's blocks until it is
flattened. A flattening goes on by a quarter at each call that asks for it, so that tests need no clock.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from naos.engines.errors import Busy, Missing, NoSpace, Unreachable, Unsupported
from naos.engines.ports import (
    DiskCopy,
    DiskFacts,
    ExportedDisk,
    IoCounters,
    JobState,
    LunContents,
    LunKey,
    LunSpec,
    LunUsage,
    NbdAddress,
    Peer,
    Provisioning,
)
from naos.engines.simulated import copies, guests, points, volumes
from naos.engines.simulated.calls import checked_id
from naos.engines.simulated.images import virtual_size, zeroes
from naos.engines.simulated.laying import SimulatedLaying
from naos.engines.simulated.store import Db, Store
from naos.engines.simulated.volumes import Row

IMAGE_OVERHEAD = 256 * 1024
"""Bytes that an empty image takes."""


class SimulatedArray(SimulatedLaying):
    port = "array"

    def __init__(self, name: str, store: Store, address: str, capacity: int) -> None:
        super().__init__(name, store)
        self._address, self._capacity = address, capacity

    def peers(self, addresses: Sequence[str]) -> dict[str, Peer]:
        """A blade answers while it has power and its storage network. What its running guests have been given to write counts."""
        with self._call("peers") as db:
            return {address: self._peer(db, address) for address in addresses}

    def _peer(self, db: Db, address: str) -> Peer:
        row = db.execute(
            "SELECT name FROM engines WHERE address = ? AND powered AND NOT detached", (address,)
        ).fetchone()
        if row is None:
            return Peer(0, 0, answers=False)
        query = (
            "SELECT COUNT(*) AS connections, COALESCE(SUM(write_bytes), 0) AS received FROM attachments"
            " WHERE blade = ? AND host = ?"
        )
        found = db.execute(query, (row["name"], self._address)).fetchone()
        return Peer(found["connections"], found["received"], answers=True)

    # --------------------------------------------------------------------------------------------------------- volumes

    def luns(self) -> list[str]:
        with self._call("luns") as db:
            rows = db.execute("SELECT id FROM luns WHERE array = ? ORDER BY id", (self.name,)).fetchall()
        return [row["id"] for row in rows]

    def create_lun(self, lun: LunSpec) -> None:
        checked_id(self.name, lun.id)
        with self._call("create_lun") as db:
            if self._find(db, lun.id) is not None:
                return
            self._check_capacity(db, lun.id, lun.capacity)
            if db.execute("SELECT 1 FROM luns WHERE array = ? AND port = ?", (self.name, lun.port)).fetchone():
                raise Busy(self.name, f"port {lun.port}", "another volume has it")
            values = (lun.id, self.name, self._address, lun.capacity, lun.iops, lun.bandwidth, lun.port)
            fields = "id, array, address, capacity, iops, bandwidth, port"
            db.execute(f"INSERT INTO luns ({fields}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608 - fields of this file

    def delete_lun(self, lun_id: str) -> None:
        """Its templates go with it; an absent one is left alone."""
        with self._call("delete_lun") as db:
            if self._find(db, lun_id) is None:
                return
            (disks,) = db.execute("SELECT COUNT(*) FROM disks WHERE lun = ?", (lun_id,)).fetchone()
            if disks:
                raise Busy(self.name, f"volume {lun_id}", f"it holds {disks} disk(s)")
            if points.stored(db, lun_id):
                raise Busy(self.name, f"volume {lun_id}", "it holds points of other volumes' disks")
            db.execute("DELETE FROM templates WHERE lun = ?", (lun_id,))
            db.execute("DELETE FROM aside WHERE lun = ?", (lun_id,))
            db.execute("DELETE FROM luns WHERE id = ?", (lun_id,))

    def resize_lun(self, lun: LunSpec) -> None:
        with self._call("resize_lun") as db:
            self._grow(db, self._get(db, lun.id), lun)

    def limit_lun(self, lun: LunSpec) -> None:
        with self._call("limit_lun") as db:
            self._served(db, lun.id)
            db.execute("UPDATE luns SET iops = ?, bandwidth = ? WHERE id = ?", (lun.iops, lun.bandwidth, lun.id))

    def admit(self, lun: LunSpec) -> None:
        """Nobody is kept out."""

    def usage(self, lun_id: str) -> LunUsage:
        """Raises Unreachable while the daemon is gone, with which a real volume is not mounted."""
        with self._call("usage") as db:
            row = self._served(db, lun_id)
            used = volumes.used(db, row)
        return LunUsage(row["capacity"], used, row["capacity"] - used)

    def device_counters(self) -> dict[str, IoCounters]:
        """Every write of a guest is one of the device, and takes no time."""
        query = (
            "SELECT luns.id, SUM(a.write_operations) AS writes, SUM(a.write_bytes) AS bytes FROM luns"
            " LEFT JOIN attachments a ON a.host = luns.address AND a.port = luns.port"
            " WHERE luns.array = ? AND luns.daemon = 1 GROUP BY luns.id"
        )
        with self._call("device_counters") as db:
            rows = db.execute(query, (self.name,)).fetchall()
        return {row["id"]: IoCounters(0, row["writes"] or 0, 0, row["bytes"] or 0, 0) for row in rows}

    def contents(self, lun_id: str) -> LunContents:
        """Raises Unreachable while the daemon is gone: nobody can say what is exported."""
        with self._call("contents") as db:
            self._served(db, lun_id)
            disks, templates = (
                [row["id"] for row in db.execute(f"SELECT id FROM {table} WHERE lun = ? ORDER BY id", (lun_id,))]  # noqa: S608 - two tables of this file
                for table in ("disks", "templates")
            )
            exports = {
                row["disk"]: row["epoch"] for row in db.execute("SELECT * FROM exports WHERE lun = ?", (lun_id,))
            }
            volatile = db.execute("SELECT disk, epoch FROM scratches WHERE lun = ?", (lun_id,)).fetchall()
            holders = db.execute("SELECT holder FROM aside WHERE lun = ? ORDER BY holder", (lun_id,)).fetchall()
        return LunContents(
            disks,
            templates,
            exports,
            (),
            [(row["disk"], row["epoch"]) for row in volatile],
            [row["holder"] for row in holders],
        )

    def ensure_daemon(self, lun: LunSpec, exported: Sequence[ExportedDisk]) -> bool:
        with self._call("ensure_daemon") as db:
            row = self._get(db, lun.id)
            started = not row["daemon"]
            values = (lun.iops, lun.bandwidth, lun.id)
            db.execute("UPDATE luns SET daemon = 1, iops = ?, bandwidth = ? WHERE id = ?", values)
            if lun.capacity > row["capacity"]:
                self._grow(db, row, lun)
            wanted = {disk.id: disk.epoch for disk in exported}
            for present in db.execute("SELECT disk, epoch FROM exports WHERE lun = ?", (lun.id,)).fetchall():
                if wanted.get(present["disk"]) != present["epoch"]:
                    guests.cut_export(db, lun.id, present["disk"])
            for disk_id, epoch in wanted.items():
                self._disk(db, lun.id, disk_id)
                db.execute(
                    "INSERT OR REPLACE INTO exports (disk, lun, epoch) VALUES (?, ?, ?)", (disk_id, lun.id, epoch)
                )
            volumes.drop_scratches(db, lun.id, wanted)
            for disk in exported:
                volumes.keep_scratch(db, lun.id, disk)
        return started

    def stop_daemon(self, lun_id: str) -> None:
        with self._call("stop_daemon") as db:
            guests.lose_daemon(db, lun_id, clean=True)

    def set_aside(self, lun_id: str, holder: str, size: int) -> None:
        checked_id(self.name, holder)
        with self._call("set_aside") as db:
            lun = self._get(db, lun_id)
            query = "SELECT COALESCE(SUM(size), 0) FROM aside WHERE lun = ? AND holder = ?"
            (present,) = db.execute(query, (lun_id, holder)).fetchone()
            self._take(db, lun, size - present, f"{size - present} bytes to set aside for {holder}")
            db.execute("INSERT OR REPLACE INTO aside (lun, holder, size) VALUES (?, ?, ?)", (lun_id, holder, size))

    def give_back(self, lun_id: str, holder: str) -> None:
        with self._call("give_back") as db:
            db.execute("DELETE FROM aside WHERE lun = ? AND holder = ?", (lun_id, holder))

    # -------------------------------------------------------------------------------------------------------- templates

    def template_staged(self, lun_id: str, template_id: str) -> bool:
        with self._call("template_staged") as db:
            self._served(db, lun_id)
            return volumes.template(db, lun_id, template_id) is not None

    def stage_template(self, lun_id: str, template_id: str, image: Path, *, key: LunKey | None = None) -> None:
        if key is not None:
            key()  # what an encrypted volume needs must be there
        checked_id(self.name, template_id)
        size, allocated = virtual_size(self.name, image), image.stat().st_size
        with self._call("stage_template") as db:
            lun = self._served(db, lun_id)
            if volumes.template(db, lun_id, template_id) is None:
                self._take(db, lun, allocated, f"template {template_id}")
                values = (lun_id, template_id, size, allocated)
                db.execute("INSERT INTO templates (lun, id, size, allocated) VALUES (?, ?, ?, ?)", values)

    def drop_template(self, lun_id: str, template_id: str) -> None:
        with self._call("drop_template") as db:
            self._served(db, lun_id)
            query = "SELECT id FROM disks WHERE lun = ? AND backing = ? LIMIT 1"
            user = db.execute(query, (lun_id, template_id)).fetchone()
            if user is not None:
                raise Busy(self.name, f"template {template_id}", f"disk {user['id']} still backs on it")
            db.execute("DELETE FROM templates WHERE lun = ? AND id = ?", (lun_id, template_id))

    # ------------------------------------------------------------------------------------------------------------ disks

    def create_disk(
        self, lun: LunSpec, disk_id: str, size: int, provisioning: Provisioning, *, template_id: str | None = None
    ) -> None:
        reserved = 0 if provisioning is Provisioning.DYNAMIC else size
        with self._call("create_disk") as db:
            if template_id is not None and volumes.template(db, lun.id, template_id) is None:
                raise Missing(self.name, f"template {template_id} on volume {lun.id}", "stage it first")
            self._add(db, lun.id, disk_id, size=size, reserved=reserved)

    def clone_template(self, lun: LunSpec, disk_id: str, template_id: str, size: int) -> None:
        with self._call("clone_template") as db:
            template = volumes.template(db, lun.id, template_id)
            if template is None:
                raise Missing(self.name, f"template {template_id} on volume {lun.id}", "stage it first")
            self._add(db, lun.id, disk_id, size=max(size, template["size"]), backing=template_id)

    def copy_disk(self, lun: LunSpec, source_id: str, disk_id: str) -> None:
        with self._call("copy_disk") as db:
            source = self._disk(db, lun.id, source_id)
            allocated = source["allocated"] + volumes.backing_size(db, source)
            self._add(db, lun.id, disk_id, size=source["size"], allocated=min(allocated, source["size"]))

    def flatten(self, lun: LunSpec, disk_id: str) -> JobState:
        """A job that finds no space is reported with its error, and starts anew at the next call."""
        with self._call("flatten") as db:
            served = self._served(db, lun.id)
            disk = self._disk(db, lun.id, disk_id)
            if disk["backing"] is None:
                return JobState(running=False, done=disk["size"], total=disk["size"])
            return volumes.flatten_further(db, served, disk)

    def cancel_jobs(self, lun_id: str, disk_id: str) -> None:
        with self._call("cancel_jobs") as db:
            db.execute("UPDATE disks SET flattened = NULL WHERE id = ? AND lun = ?", (disk_id, lun_id))
            copies.end(db, lun_id, disk_id)

    def begin_copies(self, lun: LunSpec, wanted: Sequence[DiskCopy], *, speed: int | None = None) -> None:
        del speed  # nothing takes time here
        with self._call("begin_copies") as db:
            self._served(db, lun.id)
            for copy in wanted:
                self._disk(db, lun.id, copy.source_id)
            copies.begin(db, self.name, lun.id, wanted)

    def copies(self, lun: LunSpec, wanted: Sequence[DiskCopy]) -> JobState:
        """A quarter further at each call."""
        with self._call("copies") as db:
            self._served(db, lun.id)
            return copies.further(db, self.name, lun.id, wanted)

    def finish_copies(self, lun: LunSpec, wanted: Sequence[DiskCopy]) -> None:
        with self._call("finish_copies") as db:
            self._served(db, lun.id)
            for copy in copies.finished(db, self.name, lun.id, wanted):
                source = self._disk(db, lun.id, copy.source_id)
                allocated = min(source["allocated"] + volumes.backing_size(db, source), source["size"])
                if copy.target is None:
                    self._add(db, lun.id, copy.disk_id, size=source["size"], allocated=allocated)
                copies.deliver(db, lun.id, copy, allocated)

    def resize_disk(self, lun: LunSpec, disk_id: str, size: int) -> None:
        with self._call("resize_disk") as db:
            volume, disk = self._served(db, lun.id), self._disk(db, lun.id, disk_id)
            more = size - disk["size"]
            if more < 0:
                raise Unsupported(
                    self.name, f"disk {disk_id} of {size} bytes", f"it has {disk['size']} and never shrinks"
                )
            if more and disk["flattened"] is not None:
                raise Busy(self.name, f"disk {disk_id}", "a job works on it")
            reserved = disk["reserved"] + more if disk["reserved"] else 0
            self._take(db, volume, reserved - disk["reserved"], f"disk {disk_id}")
            points.make_way(db, lun.id, disk_id)
            values = (size, reserved, disk_id, lun.id)
            db.execute("UPDATE disks SET size = ?, reserved = ? WHERE id = ? AND lun = ?", values)

    def disk(self, lun_id: str, disk_id: str) -> DiskFacts | None:
        """Raises Unreachable while the daemon is gone: without its mount a volume looks empty."""
        with self._call("disk") as db:
            self._served(db, lun_id)
            row = volumes.disk(db, lun_id, disk_id)
            if row is None:
                return None
            found = db.execute("SELECT id FROM snapshots WHERE disk = ? ORDER BY rowid", (disk_id,)).fetchall()
        allocated = max(row["allocated"], row["reserved"])
        return DiskFacts(disk_id, row["size"], allocated, row["backing"], [entry["id"] for entry in found])

    @contextmanager
    def read_disk(self, lun_id: str, disk_id: str, *, key: LunKey | None = None) -> Iterator[str]:
        """Nothing but zeroes: no contents are kept."""
        if key is not None:
            key()
        with self._call("read_disk") as db:
            self._served(db, lun_id)
            size = self._disk(db, lun_id, disk_id)["size"]
            if db.execute("SELECT 1 FROM exports WHERE disk = ?", (disk_id,)).fetchone():
                raise Busy(self.name, f"disk {disk_id}", "it is exported; power its machine off first")
        with zeroes(size) as socket:
            yield socket

    def delete_disk(self, lun_id: str, disk_id: str) -> None:
        with self._call("delete_disk") as db:
            if volumes.disk(db, lun_id, disk_id) is not None:
                guests.cut_export(db, lun_id, disk_id)
                copies.end(db, lun_id, disk_id)
                points.forget_disk(db, lun_id, disk_id)
                db.execute("DELETE FROM disks WHERE id = ? AND lun = ?", (disk_id, lun_id))
                if db.execute("SELECT 1 FROM disks WHERE id = ?", (disk_id,)).fetchone() is None:
                    volumes.drop_scratch(db, lun_id, disk_id)
                db.execute("DELETE FROM snapshots WHERE disk = ?", (disk_id,))

    # ---------------------------------------------------------------------------------------------------------- exports

    def export_disk(self, lun: LunSpec, disk_id: str, epoch: int, *, volatile: bool = False) -> NbdAddress:
        """Raises Busy when it is exported under a newer epoch."""
        with self._call("export_disk") as db:
            row = self._served(db, lun.id)
            self._disk(db, lun.id, disk_id)
            query = "SELECT epoch FROM exports WHERE disk = ? AND lun = ?"
            present = db.execute(query, (disk_id, lun.id)).fetchone()
            if present is not None and present["epoch"] > epoch:
                raise Busy(self.name, f"disk {disk_id}", f"it is exported under the newer epoch {present['epoch']}")
            if present is not None and present["epoch"] < epoch:
                guests.cut_export(db, lun.id, disk_id)
            db.execute("INSERT OR REPLACE INTO exports (disk, lun, epoch) VALUES (?, ?, ?)", (disk_id, lun.id, epoch))
            volumes.drop_scratch(db, lun.id, disk_id, spared=epoch)
            volumes.keep_scratch(db, lun.id, ExportedDisk(disk_id, epoch, volatile))
        return NbdAddress(self._address, row["port"], guests.export_name(disk_id, epoch))

    def fence_disk(self, lun_id: str, disk_id: str) -> None:
        with self._call("fence_disk") as db:
            if volumes.disk(db, lun_id, disk_id) is not None:
                guests.cut_export(db, lun_id, disk_id)
                volumes.drop_scratch(db, lun_id, disk_id)

    # -------------------------------------------------------------------------------------------------------- snapshots

    def snapshot_disks(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        with self._call("snapshot_disks") as db:
            self._served(db, lun.id)
            for disk_id in disk_ids:
                disk = self._disk(db, lun.id, disk_id)
                values = (snapshot_id, disk_id, disk["size"], disk["allocated"])
                db.execute("INSERT OR IGNORE INTO snapshots (id, disk, size, allocated) VALUES (?, ?, ?, ?)", values)

    def held_by_snapshots(self, lun_id: str, disk_ids: Sequence[str]) -> dict[str, int]:
        """What was written from each snapshot to the next one."""
        found: dict[str, int] = {}
        with self._call("held_by_snapshots") as db:
            self._get(db, lun_id)
            for disk_id in disk_ids:
                disk = volumes.disk(db, lun_id, disk_id)
                after = disk["allocated"] if disk is not None else 0
                query = "SELECT id, allocated FROM snapshots WHERE disk = ? ORDER BY rowid DESC"
                for row in db.execute(query, (disk_id,)):
                    found[row["id"]] = found.get(row["id"], 0) + max(after - row["allocated"], 0)
                    after = row["allocated"]
        return found

    def revert_disks(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        with self._call("revert_disks") as db:
            self._served(db, lun.id)
            for disk_id in disk_ids:
                self._disk(db, lun.id, disk_id)
                if db.execute("SELECT 1 FROM exports WHERE disk = ? AND lun = ?", (disk_id, lun.id)).fetchone():
                    raise Busy(self.name, f"disk {disk_id}", "it is exported; power its machine off first")
                query = "SELECT size FROM snapshots WHERE disk = ? AND id = ?"
                row = db.execute(query, (disk_id, snapshot_id)).fetchone()
                if row is None:
                    raise Missing(self.name, f"snapshot {snapshot_id} of disk {disk_id}", "it was never taken")
                points.forget_disk(db, lun.id, disk_id)
                db.execute("UPDATE disks SET size = ? WHERE id = ? AND lun = ?", (row["size"], disk_id, lun.id))

    def delete_snapshot(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        with self._call("delete_snapshot") as db:
            self._served(db, lun.id)
            for disk_id in disk_ids:
                db.execute("DELETE FROM snapshots WHERE disk = ? AND id = ?", (disk_id, snapshot_id))

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _find(self, db: Db, lun_id: str) -> Row | None:
        row: Row | None = db.execute("SELECT * FROM luns WHERE id = ? AND array = ?", (lun_id, self.name)).fetchone()
        return row

    def _get(self, db: Db, lun_id: str) -> Row:
        row = self._find(db, lun_id)
        if row is None:
            raise Missing(self.name, f"volume {lun_id}", "it is not on this array")
        return row

    def _served(self, db: Db, lun_id: str) -> Row:
        row = self._get(db, lun_id)
        if not row["daemon"]:
            raise Unreachable(self.name, f"volume {lun_id}", "its daemon does not run")
        return row

    def _disk(self, db: Db, lun_id: str, disk_id: str) -> Row:
        row = volumes.disk(db, lun_id, disk_id)
        if row is None:
            raise Missing(self.name, f"disk {disk_id}", f"volume {lun_id} does not hold it")
        return row

    def _take(self, db: Db, lun: Row, wanted: int, what: str) -> None:
        free = lun["capacity"] - volumes.used(db, lun)
        if wanted > free:
            raise NoSpace(self.name, what, f"volume {lun['id']} has {free} bytes free, {wanted} are needed")

    def _add(
        self,
        db: Db,
        lun_id: str,
        disk_id: str,
        *,
        size: int,
        reserved: int = 0,
        allocated: int = IMAGE_OVERHEAD,
        backing: str | None = None,
    ) -> None:
        """A disk that is there already, so, is left alone; one that differs is somebody else's. Raises Busy, NoSpace."""
        lun = self._served(db, lun_id)
        checked_id(self.name, disk_id)
        present = volumes.disk(db, lun_id, disk_id)
        if present is not None:
            if present["size"] < size:
                raise Busy(self.name, f"the id {disk_id}", f"a disk of {present['size']} bytes has it")
            return
        self._take(db, lun, max(allocated, reserved), f"disk {disk_id}")
        values = (disk_id, lun_id, size, allocated, reserved, backing)
        db.execute("INSERT INTO disks (id, lun, size, allocated, reserved, backing) VALUES (?, ?, ?, ?, ?, ?)", values)

    def _check_capacity(self, db: Db, lun_id: str, wanted: int) -> None:
        query = "SELECT COALESCE(SUM(capacity), 0) FROM luns WHERE array = ? AND id != ?"
        (taken,) = db.execute(query, (self.name, lun_id)).fetchone()
        free = self._capacity - taken
        if wanted > free:
            raise NoSpace(self.name, f"volume {lun_id}", f"the array has {free} bytes free, {wanted} are needed")

    def _grow(self, db: Db, present: Row, lun: LunSpec) -> None:
        if lun.capacity < present["capacity"]:
            reason = f"it has {present['capacity']} and never shrinks"
            raise Unsupported(self.name, f"volume {lun.id} of {lun.capacity} bytes", reason)
        self._check_capacity(db, lun.id, lun.capacity)
        db.execute("UPDATE luns SET capacity = ? WHERE id = ?", (lun.capacity, lun.id))
