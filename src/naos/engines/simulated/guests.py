"""What happens to guests when the world around them changes. Every function works in its caller's transaction."""

from naos.engines.ports import PowerState
from naos.engines.simulated import copies, points
from naos.engines.simulated.store import Db

_AT = "(host, port) IN (SELECT address, port FROM luns WHERE id = ?)"  # attachments at a LUN's address
ALIVE = (PowerState.RUNNING, PowerState.PAUSED, PowerState.IO_ERROR, PowerState.STOPPING)


def is_alive(state: str) -> bool:
    return state in ALIVE


def report(db: Db, blade: str, domain_id: str, *kinds: str) -> None:
    """Leave events for whoever listens to the blade."""
    rows = [(blade, domain_id, kind) for kind in kinds]
    db.executemany("INSERT INTO events (blade, domain, kind) VALUES (?, ?, ?)", rows)


def export_name(disk_id: str, epoch: int) -> str:
    return f"{disk_id}.{epoch}"


def refused(db: Db, host: str, port: int, name: str) -> str | None:
    """Why an export's address does not answer, or None when it does."""
    disk_id, _, epoch = name.rpartition(".")
    lun = db.execute("SELECT id, daemon FROM luns WHERE address = ? AND port = ?", (host, port)).fetchone()
    if lun is None or not lun["daemon"]:
        return f"nothing listens on {host} port {port}"
    row = db.execute("SELECT epoch FROM exports WHERE disk = ? AND lun = ?", (disk_id, lun["id"])).fetchone()
    if row is None or str(row["epoch"]) != epoch:
        return f"there is no export {name}"
    return None


def is_detached(db: Db, blade: str) -> bool:
    """Whether the blade has lost its storage network."""
    (detached,) = db.execute("SELECT detached FROM engines WHERE name = ?", (blade,)).fetchone()
    return bool(detached)


def cut_export(db: Db, lun_id: str, disk_id: str) -> None:
    """Remove the disk's export from a LUN; whoever uses it there waits with an I/O error."""
    if db.execute("DELETE FROM exports WHERE disk = ? AND lun = ?", (disk_id, lun_id)).rowcount:
        stall(db, f"disk = ? AND {_AT}", (disk_id, lun_id))


def lose_daemon(db: Db, lun_id: str, *, clean: bool = False) -> None:
    """The LUN's daemon is gone: its exports and jobs with it, and its guests wait. clean: what it knew is kept."""
    points.lose(db, lun_id, clean=clean)
    db.execute("UPDATE luns SET daemon = 0 WHERE id = ?", (lun_id,))
    db.execute("UPDATE disks SET flattened = NULL WHERE lun = ?", (lun_id,))
    copies.lose(db, lun_id)
    if db.execute("DELETE FROM exports WHERE lun = ?", (lun_id,)).rowcount:
        stall(db, _AT, (lun_id,))


def stall(db: Db, attached: str, values: tuple[str, ...]) -> None:
    """Pause the running guests whose attachments match, as their I/O error policy asks."""
    using = f"SELECT blade, domain FROM attachments WHERE {attached}"  # noqa: S608 - conditions of this package only
    query = f"SELECT blade, id FROM domains WHERE state = ? AND (blade, id) IN ({using})"  # noqa: S608 - as above
    found = db.execute(query, (PowerState.RUNNING, *values)).fetchall()
    for blade, domain_id in found:
        set_state(db, blade, domain_id, PowerState.IO_ERROR)
        report(db, blade, domain_id, "io-error")


def set_state(db: Db, blade: str, domain_id: str, state: PowerState) -> None:
    db.execute("UPDATE domains SET state = ? WHERE blade = ? AND id = ?", (state, blade, domain_id))


def end(db: Db, blade: str, domain_id: str, state: PowerState = PowerState.STOPPED, *, ended: bool = True) -> None:
    """The guest runs no more; what was plugged in only for this run is gone. ended: by the guest or an order."""
    for table in ("attachments", "ports", "mirrors"):
        db.execute(f"DELETE FROM {table} WHERE blade = ? AND domain = ?", (blade, domain_id))  # noqa: S608 - as above
    db.execute(
        "UPDATE domains SET state = ?, live = NULL, memory = 0, moving = 0, ended = ? WHERE blade = ? AND id = ?",
        (state, ended, blade, domain_id),
    )


def lose_power(db: Db, blade: str) -> None:
    """The blade is off: no guest runs, and the bridges are gone; definitions and files stay."""
    query = "SELECT id, state, ended FROM domains WHERE blade = ?"
    for domain_id, state, ended in db.execute(query, (blade,)).fetchall():
        end(db, blade, domain_id, ended=bool(ended) and not is_alive(state))
    db.execute("DELETE FROM vlans WHERE blade = ?", (blade,))
    db.execute("UPDATE engines SET powered = 0 WHERE name = ?", (blade,))
