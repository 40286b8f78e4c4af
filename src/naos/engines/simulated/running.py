"""Domains of simulated blades: what is defined, what a running one has plugged in. In the caller's transaction."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from naos.engines.errors import Busy, EngineError, NoSpace, Unsupported
from naos.engines.ports import DomainCdrom, DomainController, DomainDisk, DomainNic, PowerState, Processor
from naos.engines.simulated import definitions, guests
from naos.engines.simulated.host import place_of
from naos.engines.simulated.store import Db

PROCESSOR = "avx avx2 fpu sse2"
"""What blades have that nobody gave another processor."""


@dataclass(frozen=True)
class Domain:
    """`live`: the definition that it runs with, None when it does not run. memory: bytes that it takes on its blade."""

    blade: str
    id: str
    state: PowerState
    xml: str
    live: str | None
    memory: int
    console: str
    moving: bool

    @property
    def alive(self) -> bool:
        return guests.is_alive(self.state)


def find(db: Db, blade: str, domain_id: str) -> Domain | None:
    row = db.execute("SELECT * FROM domains WHERE blade = ? AND id = ?", (blade, domain_id)).fetchone()
    if row is None:
        return None
    state, moving = PowerState(row["state"]), bool(row["moving"])
    return Domain(blade, row["id"], state, row["xml"], row["live"], row["memory"], row["console"], moving)


def keep(db: Db, blade: str, domain_id: str, xml: str, *, known: bool) -> None:
    """Write the inactive definition."""
    if known:
        db.execute("UPDATE domains SET xml = ? WHERE blade = ? AND id = ?", (xml, blade, domain_id))
    else:
        row = (blade, domain_id, PowerState.STOPPED, xml)
        db.execute("INSERT INTO domains (blade, id, state, xml) VALUES (?, ?, ?, ?)", row)
    guests.report(db, blade, domain_id, "defined")


def features(db: Db, blade: str) -> set[str]:
    """What the blade's processor has."""
    row = db.execute("SELECT features FROM processors WHERE blade = ?", (blade,)).fetchone()
    return set((row["features"] if row is not None else PROCESSOR).split())


def processor(found: Iterable[str]) -> Processor:
    names = tuple(sorted(found))
    return Processor(f"simulated-{len(names)}", names, " ".join(names))


def _check_processor(db: Db, xml: str, blade: str, what: str) -> None:
    """Raises EngineError when the blade lacks what the guest is shown, as a real one does."""
    missing = definitions.processor(xml) - features(db, blade)
    if missing:
        raise EngineError(blade, what, f"its processor lacks {', '.join(sorted(missing))}")


def _check_gpus(db: Db, domain_id: str, xml: str, blade: str, what: str) -> None:
    """Raises EngineError for a GPU that is not there, or that another running guest has."""
    wanted = set(definitions.gpus(xml))
    if not wanted:
        return
    there = {row["address"] for row in db.execute("SELECT address FROM gpus WHERE blade = ?", (blade,))}
    query = "SELECT live FROM domains WHERE blade = ? AND id <> ? AND live IS NOT NULL"
    taken = {address for row in db.execute(query, (blade, domain_id)) for address in definitions.gpus(row["live"])}
    if wanted - there or wanted & taken:
        raise EngineError(blade, what, f"GPUs {', '.join(sorted((wanted - there) | (wanted & taken)))} cannot be had")


def free_memory(db: Db, blade: str) -> int:
    (memory,) = db.execute("SELECT memory FROM engines WHERE name = ?", (blade,)).fetchone()
    (taken,) = db.execute("SELECT COALESCE(SUM(memory), 0) FROM domains WHERE blade = ?", (blade,)).fetchone()
    return int(memory - taken)


def launch(db: Db, domain: Domain, folder: Path) -> None:
    """Run the inactive definition, or raise and change nothing."""
    _plug_all(db, domain, domain.xml, domain.blade, folder)
    values = (PowerState.RUNNING, domain.xml, definitions.size(domain.xml).memory, domain.blade, domain.id)
    db.execute("UPDATE domains SET state = ?, live = ?, memory = ? WHERE blade = ? AND id = ?", values)
    db.execute("UPDATE domains SET console = '' WHERE blade = ? AND id = ?", (domain.blade, domain.id))
    greet(db, domain)


def greet(db: Db, domain: Domain) -> None:
    """What a simulated guest prints when it starts."""
    line = f"simulated guest {domain.id} on {domain.blade}\n"
    db.execute("UPDATE domains SET console = console || ? WHERE blade = ? AND id = ?", (line, domain.blade, domain.id))


def hand_over(db: Db, domain: Domain, target: str, folder: Path) -> None:
    """The running domain is at the target from now on, its definition too; its counters go with it."""
    live = domain.live or domain.xml
    counters = db.execute(
        "SELECT disk, write_operations, write_bytes FROM attachments WHERE blade = ? AND domain = ?",
        (domain.blade, domain.id),
    ).fetchall()
    guests.end(db, domain.blade, domain.id)
    db.execute("DELETE FROM domains WHERE blade = ? AND id = ?", (domain.blade, domain.id))
    db.execute("DELETE FROM domains WHERE blade = ? AND id = ?", (target, domain.id))
    _plug_all(db, domain, live, target, folder)
    db.execute(
        "INSERT INTO domains (blade, id, state, xml, live, memory, console) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (target, domain.id, domain.state, domain.xml, live, domain.memory, domain.console),
    )
    for disk_id, operations, size in counters:
        db.execute(
            "UPDATE attachments SET write_operations = ?, write_bytes = ? WHERE blade = ? AND domain = ? AND disk = ?",
            (operations, size, target, domain.id, disk_id),
        )
    guests.report(db, domain.blade, domain.id, "stopped", "undefined")
    guests.report(db, target, domain.id, "defined", "started", "resumed")


def _plug_all(db: Db, domain: Domain, xml: str, blade: str, folder: Path) -> None:
    what = f"starting domain {domain.id}"
    needed, free = definitions.size(xml).memory, free_memory(db, blade)
    if needed > free:
        raise NoSpace(blade, f"the memory of domain {domain.id}", f"it needs {needed} bytes, {free} are free")
    _check_processor(db, xml, blade, what)
    _check_gpus(db, domain.id, xml, blade, what)
    for path in definitions.images(xml).values():
        if not place_of(folder, blade, path).is_file():
            raise EngineError(blade, what, f"there is no file {path}")
    for disk in definitions.disks(xml):
        _attach(db, blade, domain.id, disk, what)
    for nic in definitions.nics(xml):
        _join(db, blade, domain.id, nic, what)


def _attach(db: Db, blade: str, domain_id: str, disk: DomainDisk, what: str) -> None:
    source = disk.source
    reason = guests.refused(db, source.host, source.port, source.name)
    if reason is not None:
        raise EngineError(blade, what, f"disk {disk.id}: {reason}")
    db.execute(
        "INSERT INTO attachments (blade, domain, disk, host, port, name) VALUES (?, ?, ?, ?, ?, ?)",
        (blade, domain_id, disk.id, source.host, source.port, source.name),
    )


def _join(db: Db, blade: str, domain_id: str, nic: DomainNic, what: str) -> None:
    tag = nic.bridge.removeprefix("nv")
    if not db.execute("SELECT 1 FROM vlans WHERE blade = ? AND 'nv' || tag = ?", (blade, nic.bridge)).fetchone():
        raise EngineError(blade, what, f"adapter {nic.id}: there is no bridge {nic.bridge} (VLAN {tag})")
    db.execute(
        "INSERT OR REPLACE INTO ports (blade, domain, nic, mac, bridge, connected) VALUES (?, ?, ?, ?, ?, ?)",
        (blade, domain_id, nic.id, nic.mac.lower(), nic.bridge, nic.connected),
    )


def silent_disks(db: Db, domain: Domain) -> list[str]:
    """Ids of the running domain's disks whose export does not answer."""
    rows = db.execute("SELECT * FROM attachments WHERE blade = ? AND domain = ?", (domain.blade, domain.id)).fetchall()
    if guests.is_detached(db, domain.blade):
        return [row["disk"] for row in rows]
    return [row["disk"] for row in rows if guests.refused(db, row["host"], row["port"], row["name"])]


# -------------------------------------------------------------------------------------------------- plugging, while it runs


def _keep_live(db: Db, domain: Domain, live: str) -> None:
    db.execute("UPDATE domains SET live = ? WHERE blade = ? AND id = ?", (live, domain.blade, domain.id))


def plug_disk(db: Db, domain: Domain, disk: DomainDisk) -> None:
    """Nothing when it does not run, or has it so. Raises Busy when it has it from another address."""
    if domain.live is None:
        return
    present = {held.id: held for held in definitions.disks(domain.live)}
    if disk.id in present:
        if present[disk.id] != disk:
            raise Busy(domain.blade, f"disk {disk.id}", f"the guest has it as {present[disk.id].source.name}")
        return
    if disk.unit in {held.unit for held in present.values()}:
        raise Busy(domain.blade, f"unit {disk.unit} of domain {domain.id}", "another disk has it")
    _attach(db, domain.blade, domain.id, disk, f"attaching disk {disk.id}")
    _keep_live(db, domain, definitions.with_disk(domain.live, disk))


def unplug_disk(db: Db, domain: Domain, disk_id: str) -> None:
    db.execute(
        "DELETE FROM attachments WHERE blade = ? AND domain = ? AND disk = ?", (domain.blade, domain.id, disk_id)
    )
    _keep_live(db, domain, definitions.without_disk(domain.live or "", disk_id))


def plug_controller(db: Db, domain: Domain, controller: DomainController) -> None:
    if domain.live is not None and controller.id not in definitions.controllers(domain.live):
        if controller.model != "virtio-scsi":
            what = f"plugging a {controller.model} controller into a running machine"
            raise Unsupported(domain.blade, what, "stop the machine first")
        _keep_live(db, domain, definitions.with_controller(domain.live, controller))


def unplug_controller(db: Db, domain: Domain, controller_id: str) -> None:
    if domain.live is not None:
        _keep_live(db, domain, definitions.without_controller(domain.live, controller_id))


def put_drive(db: Db, domain: Domain, drive: DomainCdrom, folder: Path) -> None:
    """Raises Unsupported for a new IDE drive while it runs, EngineError for an image that is not there."""
    if domain.live is None:
        return
    if drive.bus == "ide" and drive.id not in definitions.drives(domain.live):
        raise Unsupported(domain.blade, "plugging an IDE drive into a running machine", "stop the machine first")
    if drive.path is not None and not place_of(folder, domain.blade, drive.path).is_file():
        raise EngineError(domain.blade, f"filling drive {drive.id}", f"there is no file {drive.path}")
    _keep_live(db, domain, definitions.with_drive(domain.live, drive))


def unplug_drive(db: Db, domain: Domain, drive_id: str) -> None:
    if domain.live is not None:
        _keep_live(db, domain, definitions.without_drive(domain.live, drive_id))


def plug_nic(db: Db, domain: Domain, nic: DomainNic) -> None:
    """Plug in, or change, an adapter of a running domain."""
    if domain.live is not None:
        _join(db, domain.blade, domain.id, nic, f"attaching adapter {nic.id}")
        _keep_live(db, domain, definitions.with_nic(domain.live, nic))


def unplug_nic(db: Db, domain: Domain, nic_id: str) -> None:
    if domain.live is not None:
        db.execute("DELETE FROM ports WHERE blade = ? AND domain = ? AND nic = ?", (domain.blade, domain.id, nic_id))
        _keep_live(db, domain, definitions.without_nic(domain.live, nic_id))


def resize(db: Db, domain: Domain, *, vcpus: int, cores_per_socket: int, memory: int) -> None:
    """Raises Unsupported when the domain was not started with room for it, NoSpace when the blade has none."""
    live = domain.live or domain.xml
    size = definitions.size(live)
    fewest = 1 if size.removable else size.vcpus
    if not fewest <= vcpus <= size.maximum_vcpus:
        raise Unsupported(domain.blade, f"{vcpus} vCPUs while it runs", f"{fewest} to {size.maximum_vcpus} are")
    if not size.memory <= memory <= size.maximum_memory:
        bounds = f"{size.memory} to {size.maximum_memory} are"
        raise Unsupported(domain.blade, f"{memory} bytes of memory while it runs", bounds)
    more, free = memory - size.memory, free_memory(db, domain.blade)
    if more > free:
        raise NoSpace(domain.blade, f"{more} bytes more for domain {domain.id}", f"{free} are free")
    _keep_live(db, domain, definitions.resized(live, vcpus, cores_per_socket, memory, room=True))
    db.execute("UPDATE domains SET memory = ? WHERE blade = ? AND id = ?", (memory, domain.blade, domain.id))
