"""A simulated blade's hypervisor. Guests execute nothing: their counters stay 0, except for what `Faults.write` writes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from naos.engines.errors import Busy, EngineError, GuestRefused, Missing, Unsupported
from naos.engines.ports import (
    LATENCY_BOUNDS_NS,
    BladeFacts,
    BladeGpu,
    DomainCdrom,
    DomainController,
    DomainDisk,
    DomainEvent,
    DomainNic,
    DomainSample,
    DomainSpec,
    DomainStatistics,
    Endpoint,
    Hypervisor,
    IoCounters,
    MigrationLimits,
    NbdAddress,
    PowerState,
    Processor,
    SerialStream,
)
from naos.engines.ports.files import GuestFiles
from naos.engines.simulated import definitions, firmware, guests, memories, mirrors, running
from naos.engines.simulated.calls import SimulatedEngine, checked_id
from naos.engines.simulated.consoles import Consoles
from naos.engines.simulated.events import Events
from naos.engines.simulated.guest_files import SimulatedGuestFiles
from naos.engines.simulated.running import Domain
from naos.engines.simulated.store import Db, Store


class SimulatedHypervisor(SimulatedEngine):
    port = "hypervisor"

    def __init__(self, name: str, store: Store, events: Events, consoles: Consoles) -> None:
        super().__init__(name, store)
        self._events, self._consoles = events, consoles

    def close(self) -> None:
        """Ends the blade's listeners."""
        self._events.end(self.name)

    def events(self) -> Iterator[DomainEvent]:
        return self._events.listen(self.name)

    # ---------------------------------------------------------------------------------------------------------- looking

    def facts(self) -> BladeFacts:
        with self._call("facts") as db:
            row = db.execute("SELECT memory, cpus FROM engines WHERE name = ?", (self.name,)).fetchone()
            free = running.free_memory(db, self.name)
        return BladeFacts(self.name, "simulated", "simulated", "simulated", row["memory"], row["cpus"], free)

    def processor(self) -> Processor:
        with self._call("processor") as db:
            return running.processor(running.features(db, self.name))

    def gpus(self) -> list[BladeGpu]:
        with self._call("gpus") as db:
            rows = db.execute(
                "SELECT address, name FROM gpus WHERE blade = ? ORDER BY address", (self.name,)
            ).fetchall()
        return [BladeGpu(row["address"], row["name"]) for row in rows]

    def baseline(self, processors: Sequence[Processor]) -> Processor:
        """Raises EngineError where they have nothing in common."""
        with self._call("baseline"):
            shared = set.intersection(*(set(entry.features) for entry in processors)) if processors else set()
        if not shared:
            raise EngineError(self.name, "comparing processors", "they have no feature in common")
        return running.processor(shared)

    def domains(self) -> dict[str, PowerState]:
        with self._call("domains") as db:
            rows = db.execute("SELECT id, state FROM domains WHERE blade = ?", (self.name,)).fetchall()
        return {row["id"]: PowerState(row["state"]) for row in rows}

    def state(self, domain_id: str) -> PowerState:
        with self._call("state") as db:
            domain = running.find(db, self.name, domain_id)
        return domain.state if domain else PowerState.ABSENT

    def was_ended(self, domain_id: str) -> bool:
        with self._call("was_ended") as db:
            query = "SELECT state, ended FROM domains WHERE blade = ? AND id = ?"
            row = db.execute(query, (self.name, domain_id)).fetchone()
        return row is not None and row["state"] == PowerState.STOPPED and bool(row["ended"])

    def xml(self, domain_id: str) -> str:
        with self._call("xml") as db:
            return self._get(db, domain_id).xml

    def statistics(self, domain_id: str) -> DomainStatistics:
        with self._live("statistics", domain_id) as (db, domain):
            rows = db.execute(
                "SELECT * FROM attachments WHERE blade = ? AND domain = ?", (self.name, domain_id)
            ).fetchall()
        net = {
            nic.mac: dict.fromkeys(("rx_bytes", "rx_packets", "tx_bytes", "tx_packets"), 0)
            for nic in definitions.nics(domain.live or "")
        }
        block = {
            row["disk"]: {
                "read_ops": 0,
                "read_bytes": 0,
                "write_ops": row["write_operations"],
                "write_bytes": row["write_bytes"],
            }
            for row in rows
        }
        return DomainStatistics(0, domain.memory, domain.memory, block, net)

    # ------------------------------------------------------------------------------------------------------- definition

    def define(self, spec: DomainSpec) -> str:
        checked_id(self.name, spec.id)
        with self._call("define") as db:
            domain = running.find(db, self.name, spec.id)
            xml = definitions.define(spec, domain.xml if domain else None)
            running.keep(db, self.name, spec.id, xml, known=domain is not None)
        return xml

    def define_xml(self, xml: str) -> None:
        with self._call("define_xml") as db:
            try:
                domain_id = definitions.identity(xml)
            except ValueError as error:
                raise EngineError(self.name, "define", str(error)) from error
            running.keep(db, self.name, domain_id, xml, known=running.find(db, self.name, domain_id) is not None)

    def undefine(self, domain_id: str) -> None:
        """An absent one is left alone. Raises Busy while it runs."""
        with self._call("undefine") as db:
            domain = running.find(db, self.name, domain_id)
            if domain is None:
                return
            if domain.alive:
                raise Busy(self.name, f"domain {domain_id}", f"it is {domain.state}; power it off first")
            db.execute("DELETE FROM domains WHERE blade = ? AND id = ?", (self.name, domain_id))
            guests.report(db, self.name, domain_id, "undefined")
            firmware.remove(self._store.folder, self.name, domain_id)

    def variables(self, domain_id: str) -> bytes:
        with self._call("variables"):
            return firmware.read(self._store.folder, self.name, domain_id)

    def put_variables(self, domain_id: str, kept: bytes, *, secure: bool, setup: bool) -> None:
        with self._call("put_variables") as db:
            domain = running.find(db, self.name, domain_id)
            if domain is None or not domain.alive:
                firmware.write(self._store.folder, self.name, domain_id, kept, secure=secure, setup=setup)

    def resize(self, domain_id: str, *, vcpus: int, cores_per_socket: int, memory: int) -> None:
        with self._call("resize") as db:
            domain = self._get(db, domain_id)
            if domain.live is not None:
                running.resize(db, domain, vcpus=vcpus, cores_per_socket=cores_per_socket, memory=memory)
            xml = definitions.resized(domain.xml, vcpus, cores_per_socket, memory, room=False)
            running.keep(db, self.name, domain_id, xml, known=True)

    # ------------------------------------------------------------------------------------------------------------ power

    def start(self, domain_id: str) -> None:
        """Raises EngineError when a disk's address does not answer, a bridge or the cdrom is not there, NoSpace for memory."""
        with self._call("start") as db:
            domain = self._get(db, domain_id)
            if not domain.alive:
                running.launch(db, domain, self._store.folder)
                guests.report(db, self.name, domain_id, "started")

    def pause(self, domain_id: str) -> None:
        """Raises EngineError for one that waits for a disk."""
        with self._live("pause", domain_id) as (db, domain):
            if domain.state not in (PowerState.RUNNING, PowerState.PAUSED):
                raise EngineError(self.name, f"pausing domain {domain_id}", f"it is {domain.state}")
            guests.set_state(db, self.name, domain_id, PowerState.PAUSED)
            guests.report(db, self.name, domain_id, "suspended")

    def resume(self, domain_id: str) -> None:
        """A guest whose disk still does not answer waits on, as a real one would after its next request."""
        with self._live("resume", domain_id) as (db, domain):
            if domain.state not in (PowerState.PAUSED, PowerState.IO_ERROR):
                return
            guests.report(db, self.name, domain_id, "resumed")
            if running.silent_disks(db, domain):
                guests.set_state(db, self.name, domain_id, PowerState.IO_ERROR)
                guests.report(db, self.name, domain_id, "io-error")
            else:
                guests.set_state(db, self.name, domain_id, PowerState.RUNNING)

    def shutdown(self, domain_id: str) -> None:
        """A running guest obeys at once; one that waits for a disk does not notice."""
        with self._live("shutdown", domain_id) as (db, domain):
            if domain.state == PowerState.RUNNING:
                guests.end(db, self.name, domain_id)
                guests.report(db, self.name, domain_id, "stopped")

    def power_off(self, domain_id: str) -> None:
        with self._call("power_off") as db:
            domain = running.find(db, self.name, domain_id)
            if domain is not None and domain.alive:
                guests.end(db, self.name, domain_id)
                guests.report(db, self.name, domain_id, "stopped")

    def reset(self, domain_id: str) -> None:
        with self._live("reset", domain_id) as (db, domain):
            db.execute("DELETE FROM silent_agents WHERE domain = ?", (domain_id,))
            running.greet(db, domain)
            if domain.state == PowerState.IO_ERROR and not running.silent_disks(db, domain):
                guests.set_state(db, self.name, domain_id, PowerState.RUNNING)

    # -------------------------------------------------------------------------------------------------------- migration

    def migrate(
        self,
        domain_id: str,
        target: Hypervisor,
        *,
        limits: MigrationLimits = MigrationLimits(),
        progress: Callable[[float], None] = lambda _share: None,
    ) -> None:
        """Two moments, with `progress` between them: the journey starts, the domain is at the target."""
        del limits  # nothing takes time here
        if not isinstance(target, SimulatedHypervisor):
            raise Unsupported(self.name, f"moving to {target.name}", "it is not of this simulated rack")
        if target.name == self.name or self._has_arrived(domain_id, target):
            return
        with self._live("migrate", domain_id) as (db, domain):
            if domain.state not in (PowerState.RUNNING, PowerState.PAUSED):
                raise EngineError(self.name, f"moving domain {domain_id}", f"it is {domain.state}")
            db.execute("UPDATE domains SET moving = 1 WHERE blade = ? AND id = ?", (self.name, domain_id))
        progress(0.0)
        with target._call("receive"):  # noqa: SLF001 - the target's own reachability
            pass
        progress(0.5)
        with self._call("arrive") as db:
            domain = self._get(db, domain_id)
            if not domain.moving:
                raise EngineError(self.name, f"moving domain {domain_id}", "it was called off")
            target._require_contact(db, "migrate")  # noqa: SLF001 - as above
            running.hand_over(db, domain, target.name, self._store.folder)
            firmware.hand_over(self._store.folder, self.name, target.name, domain_id)
        progress(1.0)

    def _has_arrived(self, domain_id: str, target: "SimulatedHypervisor") -> bool:
        with target._call("state") as db:  # noqa: SLF001 - the same call of another blade
            there = running.find(db, target.name, domain_id)
            here = running.find(db, self.name, domain_id)
        return there is not None and there.alive and (here is None or not here.alive)

    def abort_migration(self, domain_id: str) -> None:
        with self._call("abort_migration") as db:
            db.execute("UPDATE domains SET moving = 0 WHERE blade = ? AND id = ?", (self.name, domain_id))

    def abandon_arrival(self, domain_id: str) -> None:
        """A domain arrives here in one moment: there is never a part of one."""
        del domain_id
        with self._call("abandon_arrival"):
            return

    # ----------------------------------------------------------------------------------------------------------- memory

    def keep_memory(self, domain_id: str, memory_id: str, room: int) -> int:
        with self._live("keep_memory", domain_id) as (db, domain):
            if domain.state not in (PowerState.RUNNING, PowerState.PAUSED):
                raise EngineError(self.name, f"saving the memory of domain {domain_id}", f"it is {domain.state}")
            size = memories.keep(self._store.folder, domain, checked_id(self.name, memory_id), room)
            guests.set_state(db, self.name, domain_id, PowerState.PAUSED)
            guests.report(db, self.name, domain_id, "suspended")
        return size

    def send_memory(self, memory_id: str, target: NbdAddress) -> str:
        with self._call("send_memory") as db:
            return memories.send(db, self._store.folder, self.name, memory_id, target)

    def fetch_memory(self, memory_id: str, source: NbdAddress, size: int, checksum: str) -> None:
        with self._call("fetch_memory") as db:
            memories.fetch(db, self._store.folder, self.name, memory_id, source, size, checksum)

    def restore_memory(self, domain_id: str, memory_id: str) -> None:
        with self._call("restore_memory") as db:
            domain = self._get(db, domain_id)
            if not domain.alive:
                memories.restore(db, self._store.folder, domain, memory_id)
                guests.report(db, self.name, domain_id, "started", "suspended")

    def drop_memory(self, domain_id: str, memory_id: str) -> None:
        del domain_id  # no save outlives its call here
        with self._call("drop_memory"):
            memories.drop(self._store.folder, self.name, memory_id)

    # ---------------------------------------------------------------------------------------------------------- storage

    def mirror_disk(
        self,
        domain_id: str,
        disk: DomainDisk,
        *,
        speed: int | None = None,
        progress: Callable[[float], None] = lambda _share: None,
    ) -> None:
        """Two moments, with `progress` between them: the copy begins, both sides are the same."""
        del speed  # nothing takes time here
        with self._live("mirror_disk", domain_id) as (db, domain):
            if mirrors.begin(db, domain, disk):
                return
        progress(0.5)
        with self._call("mirrored") as db:
            mirrors.check(db, self._get(db, domain_id), disk)
        progress(1.0)

    def switch_disk(self, domain_id: str, disk: DomainDisk) -> None:
        with self._live("switch_disk", domain_id) as (db, domain):
            mirrors.switch(db, domain, disk)
            self._keep(db, domain, definitions.with_disk(domain.xml, disk))

    def drop_mirror(self, domain_id: str, disk_id: str) -> None:
        with self._call("drop_mirror") as db:
            domain = running.find(db, self.name, domain_id)
            if domain is not None:
                mirrors.drop(db, domain, disk_id)

    def disk_source(self, domain_id: str, disk_id: str) -> NbdAddress | None:
        with self._call("disk_source") as db:
            domain = running.find(db, self.name, domain_id)
        return None if domain is None else mirrors.source(domain, disk_id)

    # ---------------------------------------------------------------------------------------------------------- devices

    def attach_disk(self, domain_id: str, disk: DomainDisk) -> None:
        with self._call("attach_disk") as db:
            domain = self._get(db, domain_id)
            running.plug_disk(db, domain, disk)
            self._keep(db, domain, definitions.with_disk(domain.xml, disk))

    def detach_disk(self, domain_id: str, disk_id: str) -> None:
        """An absent disk is left alone. Raises GuestRefused while the guest waits for a disk: it cannot let go."""
        with self._call("detach_disk") as db:
            domain = self._get(db, domain_id)
            if domain.live is not None and disk_id in {disk.id for disk in definitions.disks(domain.live)}:
                if domain.state != PowerState.RUNNING:
                    raise GuestRefused(self.name, f"letting disk {disk_id} go", f"the guest is {domain.state}")
                running.unplug_disk(db, domain, disk_id)
            self._keep(db, domain, definitions.without_disk(domain.xml, disk_id))

    def disk_resized(self, domain_id: str, disk_id: str, size: int) -> None:
        del size  # a simulated guest never looks at it
        with self._live("disk_resized", domain_id) as (_db, domain):
            if disk_id not in {disk.id for disk in definitions.disks(domain.live or "")}:
                raise Missing(self.name, f"disk {disk_id} of domain {domain_id}", "the guest does not have it")

    def attach_controller(self, domain_id: str, controller: DomainController) -> None:
        with self._call("attach_controller") as db:
            domain = self._get(db, domain_id)
            running.plug_controller(db, domain, controller)
            self._keep(db, domain, definitions.with_controller(domain.xml, controller))

    def detach_controller(self, domain_id: str, controller_id: str) -> None:
        with self._call("detach_controller") as db:
            domain = self._get(db, domain_id)
            running.unplug_controller(db, domain, controller_id)
            self._keep(db, domain, definitions.without_controller(domain.xml, controller_id))

    def put_cdrom(self, domain_id: str, drive: DomainCdrom) -> None:
        with self._call("put_cdrom") as db:
            domain = self._get(db, domain_id)
            running.put_drive(db, domain, drive, self._store.folder)
            self._keep(db, domain, definitions.with_drive(domain.xml, drive))

    def detach_cdrom(self, domain_id: str, drive_id: str) -> None:
        with self._call("detach_cdrom") as db:
            domain = self._get(db, domain_id)
            running.unplug_drive(db, domain, drive_id)
            self._keep(db, domain, definitions.without_drive(domain.xml, drive_id))

    def attach_nic(self, domain_id: str, nic: DomainNic) -> None:
        with self._call("attach_nic") as db:
            domain = self._get(db, domain_id)
            running.plug_nic(db, domain, nic)
            self._keep(db, domain, definitions.with_nic(domain.xml, nic))

    def update_nic(self, domain_id: str, nic: DomainNic) -> None:
        with self._call("update_nic") as db:
            domain = self._get(db, domain_id)
            if nic.id not in {present.id for present in definitions.nics(domain.live or domain.xml)}:
                raise Missing(self.name, f"adapter {nic.id} of domain {domain_id}", "it was never attached")
            running.plug_nic(db, domain, nic)
            self._keep(db, domain, definitions.with_nic(domain.xml, nic))

    def detach_nic(self, domain_id: str, nic_id: str) -> None:
        with self._call("detach_nic") as db:
            domain = self._get(db, domain_id)
            running.unplug_nic(db, domain, nic_id)
            self._keep(db, domain, definitions.without_nic(domain.xml, nic_id))

    # --------------------------------------------------------------------------------------------------- inside a guest

    def endpoints(self, domain_id: str) -> list[Endpoint]:
        """The serial line only: there is no screen to look at."""
        with self._live("endpoints", domain_id):
            return [Endpoint("serial", "", 0)]

    def serial(self, domain_id: str) -> SerialStream:
        with self._live("serial", domain_id):
            return self._consoles.open(self.name, domain_id)

    def serial_log(self, domain_id: str, *, last_bytes: int = 65536) -> str:
        with self._call("serial_log") as db:
            text = self._get(db, domain_id).console
        return text.encode()[-last_bytes:].decode(errors="replace") if last_bytes > 0 else ""

    def freeze(self, domain_id: str, *, limit: int = 10) -> int:
        """One file system a disk."""
        del limit  # a simulated guest is never kept waiting
        return self._ask_agent("freeze", domain_id)

    def thaw(self, domain_id: str) -> int:
        with self._live("thaw", domain_id) as (db, domain):
            silent = db.execute("SELECT obeys FROM silent_agents WHERE domain = ?", (domain_id,)).fetchone()
            if silent is not None:
                db.execute("UPDATE silent_agents SET stuck = NOT obeys WHERE domain = ?", (domain_id,))
            elif domain.state != PowerState.RUNNING:
                raise GuestRefused(self.name, f"thawing domain {domain_id}", f"the guest is {domain.state}")
            else:
                return len(definitions.disks(domain.live or ""))
        if not silent["obeys"]:
            raise GuestRefused(
                self.name, f"thawing domain {domain_id}", "its agent does not answer, and nothing was written since"
            )
        return 0

    def stuck(self) -> list[str]:
        query = (
            "SELECT domains.id FROM domains JOIN silent_agents ON silent_agents.domain = domains.id "
            "WHERE blade = ? AND state = ? AND stuck ORDER BY domains.id"
        )
        with self._call("stuck") as db:
            return [row["id"] for row in db.execute(query, (self.name, PowerState.RUNNING))]

    def let_go(self, address: str, port: int, seconds: float) -> int:
        """Guests have no connections here, and ask their disks themselves."""
        del address, port, seconds
        with self._call("let_go"):
            return 0

    def agent_ping(self, domain_id: str) -> bool:
        with self._call("agent_ping") as db:
            domain = running.find(db, self.name, domain_id)
        return domain is not None and domain.state == PowerState.RUNNING

    def guest_files(self, domain_id: str) -> GuestFiles:
        self._ask_agent("guest_files", domain_id)
        return SimulatedGuestFiles(self._store.folder / "guests" / domain_id)

    def agent_version(self, domain_id: str) -> str:
        self._ask_agent("agent_version", domain_id)
        return "7.2.22"

    def set_clock(self, domain_id: str) -> None:
        """A file of the guest's that nobody else writes."""
        self._ask_agent("set_clock", domain_id)
        guest = self._store.folder / "guests" / domain_id
        guest.mkdir(parents=True, exist_ok=True)
        (guest / "clock-was-set").touch()

    def samples(self) -> dict[str, DomainSample]:
        """No processor time passes; every running guest has an agent."""
        with self._call("samples") as db:
            rows = db.execute("SELECT id, state, memory FROM domains WHERE blade = ?", (self.name,)).fetchall()
        return {
            row["id"]: DomainSample(0, row["memory"], agent=row["state"] == PowerState.RUNNING)
            for row in rows
            if guests.is_alive(row["state"])
        }

    def disk_counters(self) -> dict[str, IoCounters]:
        """Every write of a guest takes a millisecond."""
        with self._call("disk_counters") as db:
            rows = db.execute("SELECT * FROM attachments WHERE blade = ?", (self.name,)).fetchall()
        took = sum(bound <= 10**6 for bound in LATENCY_BOUNDS_NS)
        return {
            row["disk"]: IoCounters(
                0,
                row["write_operations"],
                0,
                row["write_bytes"],
                row["write_operations"] * 10**6,
                tuple(row["write_operations"] * (step == took) for step in range(len(LATENCY_BOUNDS_NS) + 1)),
            )
            for row in rows
        }

    def _ask_agent(self, method: str, domain_id: str) -> int:
        with self._live(method, domain_id) as (_db, domain):
            if domain.state != PowerState.RUNNING:
                raise GuestRefused(self.name, f"{method} of domain {domain_id}", f"the guest is {domain.state}")
        return len(definitions.disks(domain.live or ""))

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _get(self, db: Db, domain_id: str) -> Domain:
        domain = running.find(db, self.name, domain_id)
        if domain is None:
            raise Missing(self.name, f"domain {domain_id}", "it is not defined here")
        return domain

    @contextmanager
    def _live(self, method: str, domain_id: str) -> Iterator[tuple[Db, Domain]]:
        """A call for a running domain only. Raises Missing for one that is not defined, EngineError for a stopped one."""
        with self._call(method) as db:
            domain = self._get(db, domain_id)
            if not domain.alive:
                raise EngineError(self.name, f"{method} of domain {domain_id}", f"it is {domain.state}")
            yield db, domain

    def _keep(self, db: Db, domain: Domain, xml: str) -> None:
        if xml != domain.xml:
            running.keep(db, self.name, domain.id, xml, known=True)
