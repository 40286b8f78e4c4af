"""One blade's hypervisor, through libvirt."""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import libvirt
import structlog

from naos.engines.errors import Busy, EngineError, Missing, Unsupported
from naos.engines.hypervisor import acceleration as accelerations
from naos.engines.hypervisor import (
    agent,
    boot,
    console_log,
    counters,
    drives,
    freezing,
    hotplug,
    memory,
    migration,
    mirroring,
    nvram,
    passthrough,
    processors,
    reading,
    resuming,
    stale,
    xml,
)
from naos.engines.hypervisor.connection import Change, Connection
from naos.engines.hypervisor.domains import Domains, checked
from naos.engines.hypervisor.guest_files import AgentFiles
from naos.engines.hypervisor.serial import Serial
from naos.engines.hypervisor.states import ACTIVE, LOG_TAIL, LOGS, missed_kinds, was_ended, was_ended_by
from naos.engines.hypervisor.xml import Traits
from naos.engines.ports import (
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
    Host,
    Hypervisor,
    IoCounters,
    MigrationLimits,
    NbdAddress,
    PowerState,
    Processor,
    SerialStream,
)
from naos.engines.ports.files import GuestFiles

_POLL = 0.1  # seconds
_RETRY = 1.0  # seconds between attempts to see a lost blade again

_log = structlog.get_logger()


@dataclass(frozen=True)
class Deadlines:
    """Seconds. `detach`: for the guest to let a device go. Small questions have `connection.CALL`."""

    start: float = 60.0
    stop: float = 40.0
    detach: float = 30.0
    resized: float = 10.0
    migrate: float = 3600.0


class LibvirtHypervisor:
    """The blade `name` at a libvirt `uri` (qemu+tcp, qemu+tls, qemu+ssh or qemu+unix); `host` runs commands on it.

    acceleration: "kvm", "tcg", or None for what the probe stored on the host: without a probe that is "tcg", as a device
    file proves nothing (see `acceleration`).
    """

    def __init__(
        self, name: str, uri: str, host: Host, acceleration: str | None, *, deadlines: Deadlines = Deadlines()
    ) -> None:
        if acceleration not in (None, accelerations.KVM, accelerations.TCG):
            raise Unsupported(name, f"acceleration {acceleration!r}", "there are kvm and tcg")
        self.name = name
        self._host = host
        self._acceleration = acceleration
        self._deadlines = deadlines
        self._address = urlsplit(uri).hostname or "127.0.0.1"
        self._connection = Connection(name, uri)
        self._domains = Domains(self._connection)

    # ------------------------------------------------------------------------------------------------------------ blade

    def facts(self) -> BladeFacts:
        """Sizes in bytes."""
        return self._connection.call(
            "reading a blade's facts", lambda connection: reading.facts(connection, self.acceleration())
        )

    def processor(self) -> Processor:
        """Raises Unsupported when libvirt has no model for it."""
        kind = self.acceleration()
        return self._connection.call(
            "reading a blade's processor", lambda connection: processors.read(self.name, connection, kind)
        )

    def gpus(self) -> list[BladeGpu]:
        return self._connection.call("reading a blade's GPUs", passthrough.gpus)

    def baseline(self, found: Sequence[Processor]) -> Processor:
        kind, described = self.acceleration(), [entry.definition for entry in found]
        return self._connection.call(
            "comparing processors", lambda connection: processors.common(connection, kind, described)
        )

    def acceleration(self) -> str:
        """What guests are started with: "kvm" or "tcg"."""
        if self._acceleration is None:
            self._acceleration = accelerations.stored(self._host)
        if self._acceleration is None:
            _log.warning("hypervisor.acceleration_not_probed", blade=self.name, used=accelerations.TCG)
            return accelerations.TCG
        return self._acceleration

    def domains(self) -> dict[str, PowerState]:
        return self._domains.states()

    def state(self, domain_id: str) -> PowerState:
        return self._domains.state(domain_id)

    def was_ended(self, domain_id: str) -> bool:
        """As libvirt remembers, or from the machine's log, which outlives libvirt and the blade's power."""
        try:
            known = was_ended(*self._domains.state_and_reason(domain_id))
        except Missing:
            return False
        if known is not None:
            return known
        log = self._host.run(["tail", "-c", str(LOG_TAIL), f"{LOGS}/{checked(self.name, domain_id)}.log"], check=False)
        return was_ended_by(log.stdout)

    def close(self) -> None:
        """Let go of the blade; `events` ends."""
        self._connection.close()

    # ------------------------------------------------------------------------------------------------------- definition

    def define(self, spec: DomainSpec) -> str:
        """Define, or redefine losslessly; returns the inactive XML. Raises Unsupported for nested virtualisation that the blade
        does not lend."""
        checked(self.name, spec.id)
        if spec.nested and self.acceleration() == accelerations.KVM and not self._lends_virtualisation():
            raise Unsupported(self.name, "nested virtualisation", "its KVM module was loaded without `nested=1`")
        try:
            root = self._domains.inactive(spec.id)
        except Missing:
            root = xml.new(spec, self._traits())
        else:
            xml.converge(root, spec, self._traits())
        if spec.processor is not None and self.acceleration() == accelerations.KVM:
            processors.show(root, spec.processor)
            boot.set_nested(root, nested=spec.nested, offered=spec.processor.features)
        return self._domains.redefine(root)

    def define_xml(self, xml: str) -> None:
        """Define from XML kept earlier, fitted to this blade's acceleration and address. Raises EngineError for what is no XML."""
        self._domains.redefine(reading.kept(self.name, xml, self._traits()))

    def xml(self, domain_id: str) -> str:
        return self._domains.definition(domain_id)

    def _lends_virtualisation(self) -> bool:
        places = [f"/sys/module/kvm_{maker}/parameters/nested" for maker in ("intel", "amd")]
        return any(word in ("Y", "1") for word in self._host.run(["cat", *places], check=False).stdout.split())

    def variables(self, domain_id: str) -> bytes:
        """Raises EngineError when it has none here."""
        return nvram.read(self._host, checked(self.name, domain_id))

    def put_variables(self, domain_id: str, kept: bytes, *, secure: bool, setup: bool) -> None:
        """A running domain is left alone."""
        if self.state(checked(self.name, domain_id)) not in ACTIVE:
            nvram.write(self._host, domain_id, kept, secure=secure, setup=setup)

    def undefine(self, domain_id: str) -> None:
        """Also removes its console log. Raises Busy while it runs: without its definition it would be lost at its stop."""
        state = self.state(domain_id)
        if state in ACTIVE:
            raise Busy(self.name, f"machine {domain_id}", f"it is {state}; power it off first")
        self._domains.undefine(domain_id)
        console_log.remove(self._host, domain_id)

    # ------------------------------------------------------------------------------------------------------------ power

    def start(self, domain_id: str) -> None:
        """Start; one that is on its way down is waited for, a running one is left alone. Raises Missing."""
        until = time.monotonic() + self._deadlines.start
        self.abandon_arrival(domain_id)
        while (state := self.state(domain_id)) == PowerState.STOPPING and time.monotonic() < until:
            time.sleep(_POLL)
        if state in ACTIVE:
            return
        if state == PowerState.CRASHED:
            self.power_off(domain_id)  # the remains of a guest kept for analysis
        console_log.begin(self._host, domain_id)

        def create(domain: libvirt.virDomain) -> None:
            if not domain.isActive():
                domain.create()

        self._domains.on(domain_id, f"starting machine {domain_id}", create, self._deadlines.start)

    def pause(self, domain_id: str) -> None:
        """Raises EngineError for one that does not run, or waits for a disk: what it has written is not settled then."""
        resuming.pause(self._domains, domain_id)

    def resume(self, domain_id: str) -> None:
        """One whose disks are still away has stopped again when this returns."""
        resuming.resume(self._domains, domain_id)

    def shutdown(self, domain_id: str) -> None:
        def press(domain: libvirt.virDomain) -> None:
            if domain.isActive():
                domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

        self._domains.on(domain_id, f"pressing the button of machine {domain_id}", press)

    def power_off(self, domain_id: str) -> None:
        def cut(domain: libvirt.virDomain) -> None:
            try:
                if domain.isActive():
                    domain.destroyFlags(0)
            except libvirt.libvirtError:
                if domain.isActive():
                    raise

        try:
            self._domains.on(domain_id, f"powering off machine {domain_id}", cut, self._deadlines.stop)
        except Missing:
            return

    def reset(self, domain_id: str) -> None:
        self._domains.on(domain_id, f"resetting machine {domain_id}", lambda domain: domain.reset(0))

    # -------------------------------------------------------------------------------------------------------- migration

    def migrate(
        self,
        domain_id: str,
        target: Hypervisor,
        *,
        limits: MigrationLimits = MigrationLimits(),
        progress: Callable[[float], None] = lambda _share: None,
    ) -> None:
        """Move a running domain live; a repeated call joins or finishes an earlier one.

        Raises EngineError when it stayed here (and is not at the target), Unreachable when a blade was lost meanwhile.
        """
        if not isinstance(target, LibvirtHypervisor):
            raise Unsupported(self.name, f"a move to {target.name}", "it is not driven by libvirt")
        if target.name == self.name:
            raise Unsupported(self.name, f"a move to {target.name}", "the machine is there")
        sides = self._side(), target._side()  # noqa: SLF001
        migration.migrate(domain_id, *sides, limits, progress, self._deadlines.migrate)

    def abort_migration(self, domain_id: str) -> None:
        try:
            migration.abort(self._domains, domain_id, self._deadlines.stop)
        except Missing:
            return

    def abandon_arrival(self, domain_id: str) -> None:
        if migration.waits(domain_id, self._side()):
            self.power_off(domain_id)

    # ----------------------------------------------------------------------------------------------------------- memory

    def keep_memory(self, domain_id: str, memory_id: str, room: int) -> int:
        return memory.keep(self._domains, self._host, domain_id, memory_id, room)

    def send_memory(self, memory_id: str, target: NbdAddress) -> str:
        return memory.send(self._host, checked(self.name, memory_id), target)

    def fetch_memory(self, memory_id: str, source: NbdAddress, size: int, checksum: str) -> None:
        memory.fetch(self._host, checked(self.name, memory_id), source, size, checksum)

    def restore_memory(self, domain_id: str, memory_id: str) -> None:
        memory.restore(self._domains, self._host, domain_id, memory_id, self._traits())

    def drop_memory(self, domain_id: str, memory_id: str) -> None:
        memory.settle(self._domains, domain_id)
        memory.drop(self._host, checked(self.name, memory_id))

    # ---------------------------------------------------------------------------------------------------------- storage

    def mirror_disk(
        self,
        domain_id: str,
        disk: DomainDisk,
        *,
        speed: int | None = None,
        progress: Callable[[float], None] = lambda _share: None,
    ) -> None:
        mirroring.mirror(self._domains, self._host, domain_id, disk, speed, progress)

    def switch_disk(self, domain_id: str, disk: DomainDisk) -> None:
        mirroring.switch(self._domains, self._host, domain_id, disk)

    def drop_mirror(self, domain_id: str, disk_id: str) -> None:
        try:
            mirroring.drop(self._domains, self._host, domain_id, disk_id)
        except Missing:
            return

    def disk_source(self, domain_id: str, disk_id: str) -> NbdAddress | None:
        return mirroring.source(self._domains, domain_id, disk_id)

    # ---------------------------------------------------------------------------------------------------------- devices

    def attach_disk(self, domain_id: str, disk: DomainDisk) -> None:
        """Raises Busy when the guest holds the disk through another export."""
        checked(self.name, disk.id)
        hotplug.attach_disk(self._domains, domain_id, disk)

    def detach_disk(self, domain_id: str, disk_id: str) -> None:
        """Returns when the guest has let go; raises GuestRefused after the deadline."""
        hotplug.detach(self._domains, domain_id, checked(self.name, disk_id), self._deadlines.detach)

    def disk_resized(self, domain_id: str, disk_id: str, size: int) -> None:
        hotplug.disk_resized(self._domains, domain_id, disk_id, size, self._deadlines.resized)

    def attach_controller(self, domain_id: str, controller: DomainController) -> None:
        hotplug.attach_controller(self._domains, domain_id, controller)

    def detach_controller(self, domain_id: str, controller_id: str) -> None:
        hotplug.detach(self._domains, domain_id, controller_id, self._deadlines.detach)

    def put_cdrom(self, domain_id: str, drive: DomainCdrom) -> None:
        if drive.path is None:
            self._host.run(["touch", drives.NOTHING])
        hotplug.put_cdrom(self._domains, domain_id, drive)

    def detach_cdrom(self, domain_id: str, drive_id: str) -> None:
        """The controller that it was alone on goes with it."""
        for device_id in (drive_id, drives.bus_id(drive_id)):
            hotplug.detach(self._domains, domain_id, device_id, self._deadlines.detach)

    def attach_nic(self, domain_id: str, nic: DomainNic) -> None:
        checked(self.name, nic.id)
        hotplug.attach_nic(self._domains, domain_id, nic)

    def update_nic(self, domain_id: str, nic: DomainNic) -> None:
        """Raises Missing, or Unsupported for another MAC or MTU while it runs."""
        hotplug.update_nic(self._domains, domain_id, nic)

    def detach_nic(self, domain_id: str, nic_id: str) -> None:
        hotplug.detach(self._domains, domain_id, checked(self.name, nic_id), self._deadlines.detach)

    def resize(self, domain_id: str, *, vcpus: int, cores_per_socket: int, memory: int) -> None:
        """memory: bytes. Raises Unsupported, with nothing changed, for what the running guest cannot be given; GuestRefused for
        vCPUs that it keeps."""
        hotplug.resize(
            self._domains,
            domain_id,
            vcpus=vcpus,
            cores_per_socket=cores_per_socket,
            memory=memory,
            deadline=self._deadlines.detach,
        )

    # --------------------------------------------------------------------------------------------------------- consoles

    def endpoints(self, domain_id: str) -> list[Endpoint]:
        """None while it does not run."""
        live = self._domains.live(domain_id)
        if live is None:
            return []
        screens = [Endpoint("vnc", host, port) for host, port in xml.consoles(live)]
        return [*screens, Endpoint("serial", self._address, 0)]

    def serial(self, domain_id: str) -> SerialStream:
        """Open the live serial console; a second opener takes it over. Raises EngineError while it does not run."""

        checked(self.name, domain_id)

        def open_console(connection: libvirt.virConnect) -> Serial:
            domain = connection.lookupByUUIDString(domain_id)
            stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
            domain.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
            return Serial(self.name, stream)

        return self._connection.call_apart(f"opening the console of machine {domain_id}", open_console)

    def serial_log(self, domain_id: str, *, last_bytes: int = 65536) -> str:
        """Raises Missing for a machine that is not defined here."""
        if self.state(domain_id) == PowerState.ABSENT:
            raise Missing(self.name, f"machine {domain_id}", "it has no console here")
        return console_log.read(self._host, domain_id, last_bytes)

    # ------------------------------------------------------------------------------------------------------------ guest

    def statistics(self, domain_id: str) -> DomainStatistics:
        """Raises EngineError while it does not run."""
        return self._domains.on(
            domain_id,
            f"reading the counters of machine {domain_id}",
            lambda domain: reading.statistics(self.name, domain),
        )

    def freeze(self, domain_id: str, *, limit: int = 10) -> int:
        """Raises GuestRefused without an agent, or when it takes longer than `limit` seconds to come to rest."""
        return freezing.freeze(self._domains, self._host, domain_id, limit)

    def thaw(self, domain_id: str) -> int:
        return freezing.thaw(self._domains, self._host, domain_id)

    def stuck(self) -> list[str]:
        return freezing.stuck(self._domains, self._host)

    def let_go(self, address: str, port: int, seconds: float) -> int:
        return stale.let_go(self._host, address, port, seconds)

    def guest_files(self, domain_id: str) -> GuestFiles:
        return AgentFiles(self._domains, checked(self.name, domain_id))

    def agent_ping(self, domain_id: str) -> bool:
        return agent.ping(self._domains, domain_id)

    def agent_version(self, domain_id: str) -> str:
        return agent.version(self._domains, domain_id)

    def set_clock(self, domain_id: str) -> None:
        agent.set_clock(self._domains, domain_id)

    def samples(self) -> dict[str, DomainSample]:
        return self._connection.call("looking at every machine", reading.samples)

    def disk_counters(self) -> dict[str, IoCounters]:
        return self._connection.call("counting requests to disks", counters.read)

    def events(self) -> Iterator[DomainEvent]:
        """Changes from this call on, until `close`; after a lost connection also what must have happened meanwhile."""
        return self._events(self._connection.subscribe())

    def _events(self, changes: queue.SimpleQueue[Change]) -> Iterator[DomainEvent]:
        seen: dict[str, PowerState] | None = None
        look = True
        try:
            while not self._connection.is_closed:
                if look:
                    try:
                        now = self.domains()
                    except EngineError:
                        time.sleep(_RETRY)
                        continue
                    missed = missed_kinds(seen, now) if seen is not None else []
                    seen, look = now, False
                    yield from (DomainEvent(self.name, domain_id, kind) for domain_id, kind in missed)
                change = changes.get()
                if change is None:
                    look = True
                    continue
                seen = reading.after(seen or {}, *change)
                yield DomainEvent(self.name, *change)
        finally:
            self._connection.unsubscribe(changes)

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _traits(self) -> Traits:
        return Traits(self.acceleration(), self._address)

    def _side(self) -> migration.Side:
        return migration.Side(self._domains, self._host, self._traits())
