"""What tests do to a simulated world, from whichever process has its folder."""

from pathlib import Path

from naos.engines.errors import EngineError, Missing
from naos.engines.ports import Array, Chassis, Fabric, Host, Hypervisor, PointStore, PowerState
from naos.engines.simulated import guests, volumes
from naos.engines.simulated.calls import encode_error
from naos.engines.simulated.store import Db, Store

PORTS: dict[str, type] = {
    "hypervisor": Hypervisor,
    "array": Array,
    "fabric": Fabric,
    "chassis": Chassis,
    "host": Host,
    "points": PointStore,
}
_WHERE = "the simulated world"


class Faults:
    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def of(cls, folder: Path) -> "Faults":
        """On a world that another process works with."""
        return cls(Store(folder))

    def close(self) -> None:
        self._store.close()

    def cut(self, name: str) -> None:
        """Nothing reaches the blade or the array any more; its guests run on, their disks too. Chassis answer still."""
        self._reach(name, reachable=False)

    def join(self, name: str) -> None:
        self._reach(name, reachable=True)

    def detach(self, blade: str) -> None:
        """The blade loses its storage network, and only that: its guests wait with an I/O error."""
        with self._store.transaction() as db:
            db.execute("UPDATE engines SET detached = 1 WHERE name = ?", (blade,))
            guests.stall(db, "blade = ?", (blade,))

    def attach(self, blade: str) -> None:
        """The storage network is back; guests wait until they are resumed."""
        with self._store.transaction() as db:
            db.execute("UPDATE engines SET detached = 0 WHERE name = ?", (blade,))

    def give_processor(self, blade: str, *features: str) -> None:
        """The blade's processor has these, and nothing else. What runs there runs on."""
        with self._store.transaction() as db:
            db.execute("INSERT OR REPLACE INTO processors (blade, features) VALUES (?, ?)", (blade, " ".join(features)))

    def give_gpus(self, blade: str, *addresses: str) -> None:
        """The blade has a GPU at each of these PCI addresses, and no other."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM gpus WHERE blade = ?", (blade,))
            rows = [(blade, address, "simulated GPU") for address in addresses]
            db.executemany("INSERT INTO gpus (blade, address, name) VALUES (?, ?, ?)", rows)

    def kill_daemon(self, lun_id: str) -> None:
        """SIGKILL for the LUN's daemon: its guests wait with an I/O error until it is back and they are resumed."""
        with self._store.transaction() as db:
            self._lun(db, lun_id)
            guests.lose_daemon(db, lun_id)

    def flip(self, place: str, set_id: str, point_id: str, disk_id: str, offset: int = 0) -> None:
        """A bit of a point's disk flips at rest. place: the vault's name, or the id of the volume that keeps it."""
        with self._store.transaction() as db:
            db.execute("INSERT INTO damages VALUES (?, ?, ?, ?, ?)", (place, set_id, point_id, disk_id, offset))

    def fill(self, lun_id: str, *, left: int = 0) -> None:
        """Take all of the LUN's free space but `left` bytes."""
        with self._store.transaction() as db:
            lun = self._lun(db, lun_id)
            ballast = max(lun["ballast"] + lun["capacity"] - volumes.used(db, lun) - left, 0)
            db.execute("UPDATE luns SET ballast = ? WHERE id = ?", (ballast, lun_id))

    def empty(self, lun_id: str) -> None:
        """Give back what `fill` took."""
        with self._store.transaction() as db:
            self._lun(db, lun_id)
            db.execute("UPDATE luns SET ballast = 0 WHERE id = ?", (lun_id,))

    def fail_next(self, method: str, error: EngineError, *, engine: str | None = None, late: bool = False) -> None:
        """The next call of ``port.method`` (``array.export_disk``), on `engine` or on any, raises this, once.

        late: after it has done its work (the answer is lost), else before. Raises ValueError for what is no method.
        """
        port, _, name = method.partition(".")
        if not callable(getattr(PORTS.get(port), name, None)) or name.startswith("_"):
            raise ValueError(f"{method} is no method of a port; ports: {', '.join(sorted(PORTS))}")
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO faults (method, engine, error, late) VALUES (?, ?, ?, ?)",
                (method, engine, encode_error(error), late),
            )

    def lose_agent(self, domain_id: str, *, obeys: bool) -> None:
        """The guest's agent dies as soon as it has frozen the file systems. obeys: its kernel thaws them at its keyboard's word."""
        with self._store.transaction() as db:
            db.execute("INSERT OR REPLACE INTO silent_agents (domain, obeys) VALUES (?, ?)", (domain_id, obeys))

    def crash(self, blade: str, domain_id: str) -> None:
        """The running guest's hypervisor process dies."""
        with self._store.transaction() as db:
            self._alive(db, blade, domain_id)
            guests.end(db, blade, domain_id, PowerState.CRASHED, ended=False)
            guests.report(db, blade, domain_id, "crashed")

    def write(self, blade: str, domain_id: str, disk_id: str, size: int) -> bool:
        """The guest writes `size` new bytes. False, and the guest waits, when the disk does not answer or the LUN is full."""
        with self._store.transaction() as db:
            if self._alive(db, blade, domain_id) != PowerState.RUNNING:
                return False
            key = (blade, domain_id, disk_id)
            query = "SELECT * FROM attachments WHERE blade = ? AND domain = ? AND disk = ?"
            attached = db.execute(query, key).fetchone()
            if attached is None:
                raise Missing(blade, f"disk {disk_id} of domain {domain_id}", "the guest does not have it")
            lost = guests.is_detached(db, blade) or guests.refused(
                db, attached["host"], attached["port"], attached["name"]
            )
            if lost or not _grow(db, attached, size):
                guests.stall(db, "blade = ? AND domain = ?", (blade, domain_id))
                return False
            counters = "write_operations = write_operations + 1, write_bytes = write_bytes + ?"
            where = "blade = ? AND domain = ? AND disk = ?"
            db.execute(f"UPDATE attachments SET {counters} WHERE {where}", (size, *key))  # noqa: S608 - two constants
            return True

    def _reach(self, name: str, *, reachable: bool) -> None:
        with self._store.transaction() as db:
            if not db.execute("UPDATE engines SET reachable = ? WHERE name = ?", (reachable, name)).rowcount:
                raise Missing(_WHERE, f"blade or array {name}", "the inventory does not name it")

    @staticmethod
    def _lun(db: Db, lun_id: str) -> volumes.Row:
        row: volumes.Row | None = db.execute("SELECT * FROM luns WHERE id = ?", (lun_id,)).fetchone()
        if row is None:
            raise Missing(_WHERE, f"volume {lun_id}", "no array holds it")
        return row

    @staticmethod
    def _alive(db: Db, blade: str, domain_id: str) -> PowerState:
        row = db.execute("SELECT state FROM domains WHERE blade = ? AND id = ?", (blade, domain_id)).fetchone()
        if row is None or not guests.is_alive(row["state"]):
            raise Missing(blade, f"running domain {domain_id}", "it does not run here")
        return PowerState(row["state"])


def _grow(db: Db, attached: volumes.Row, size: int) -> bool:
    """Count written bytes on the LUN that the guest uses. False when it has no room for them."""
    address = (attached["host"], attached["port"])
    lun = db.execute("SELECT * FROM luns WHERE address = ? AND port = ?", address).fetchone()
    row = db.execute("SELECT * FROM disks WHERE id = ? AND lun = ?", (attached["disk"], lun["id"])).fetchone()
    allocated = min(row["size"], row["allocated"] + size)
    more = max(allocated, row["reserved"]) - max(row["allocated"], row["reserved"])
    if more > lun["capacity"] - volumes.used(db, lun):
        return False
    db.execute("UPDATE disks SET allocated = ? WHERE id = ? AND lun = ?", (allocated, row["id"], lun["id"]))
    return True
