"""Moving a simulated guest's disk to another export. In the caller's transaction."""

from naos.engines.errors import EngineError, Missing
from naos.engines.ports import DomainDisk, NbdAddress
from naos.engines.simulated import definitions, guests
from naos.engines.simulated.running import Domain
from naos.engines.simulated.store import Db

_MINE = "blade = ? AND domain = ? AND disk = ?"


def source(domain: Domain, disk_id: str) -> NbdAddress | None:
    """Where the running guest's disk is, or a stopped machine's was."""
    return next((disk.source for disk in definitions.disks(domain.live or domain.xml) if disk.id == disk_id), None)


def begin(db: Db, domain: Domain, disk: DomainDisk) -> bool:
    """True when the guest uses the target already."""
    present = source(domain, disk.id)
    if present is None:
        raise Missing(domain.blade, f"disk {disk.id} of domain {domain.id}", "the guest does not have it")
    if present == disk.source:
        return True
    check(db, domain, disk)
    values = (domain.blade, domain.id, disk.id, disk.source.host, disk.source.port, disk.source.name)
    db.execute(
        "INSERT OR REPLACE INTO mirrors (blade, domain, disk, host, port, name) VALUES (?, ?, ?, ?, ?, ?)", values
    )
    return False


def check(db: Db, domain: Domain, disk: DomainDisk) -> None:
    """Raises EngineError when the target does not answer; the guest keeps the disk that it has."""
    reason = guests.refused(db, disk.source.host, disk.source.port, disk.source.name)
    if reason is not None:
        drop(db, domain, disk.id)
        raise EngineError(domain.blade, f"copying disk {disk.id} to {disk.source.host}", reason)


def switch(db: Db, domain: Domain, disk: DomainDisk) -> str:
    """The live definition with the target in it."""
    live = domain.live or ""
    if source(domain, disk.id) == disk.source:
        return live
    row = db.execute(f"SELECT * FROM mirrors WHERE {_MINE}", (domain.blade, domain.id, disk.id)).fetchone()  # noqa: S608
    if row is None or NbdAddress(row["host"], row["port"], row["name"]) != disk.source:
        reason = "the two sides are not the same; copy it first"
        raise EngineError(domain.blade, f"switching disk {disk.id} to {disk.source.host}", reason)
    check(db, domain, disk)
    _deliver(db, source(domain, disk.id), disk)
    values = (disk.source.host, disk.source.port, disk.source.name, domain.blade, domain.id, disk.id)
    db.execute(f"UPDATE attachments SET host = ?, port = ?, name = ? WHERE {_MINE}", values)  # noqa: S608 - a constant
    drop(db, domain, disk.id)
    live = definitions.with_disk(live, disk)
    db.execute("UPDATE domains SET live = ? WHERE blade = ? AND id = ?", (live, domain.blade, domain.id))
    return live


def drop(db: Db, domain: Domain, disk_id: str) -> None:
    db.execute(f"DELETE FROM mirrors WHERE {_MINE}", (domain.blade, domain.id, disk_id))  # noqa: S608 - a constant


def _deliver(db: Db, old: NbdAddress | None, disk: DomainDisk) -> None:
    """What the old image had allocated, the new one has."""
    of = "SELECT id FROM luns WHERE address = ? AND port = ?"
    here, there = (
        db.execute(of, (address.host, address.port)).fetchone() for address in (old or disk.source, disk.source)
    )
    row = db.execute("SELECT allocated FROM disks WHERE id = ? AND lun = ?", (disk.id, here["id"])).fetchone()
    if row is not None:
        query = "UPDATE disks SET allocated = MIN(size, ?) WHERE id = ? AND lun = ?"
        db.execute(query, (row["allocated"], disk.id, there["id"]))
