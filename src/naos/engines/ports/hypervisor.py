"""Machines on a blade."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from naos.engines.ports.files import GuestFiles
from naos.engines.ports.volumes import IoCounters, NbdAddress


class PowerState(StrEnum):
    """What the hypervisor says a domain is doing."""

    RUNNING = "running"
    PAUSED = "paused"  # paused by someone's order
    IO_ERROR = "io-error"  # paused by the hypervisor because a disk did not answer: `resume` once the array is back
    STOPPING = "stopping"
    STOPPED = "stopped"
    CRASHED = "crashed"
    ABSENT = "absent"  # not defined on this blade


@dataclass(frozen=True)
class DomainDisk:
    """A disk as the guest sees it: `unit` 0 is the boot disk (vda); `id` becomes the serial number.

    bus: ``virtio``, a PCI device of its own; ``scsi``: target `slot` of the SCSI controller with index `controller`; ``lsi``: the
    same, of an lsilogic controller.
    """

    id: str
    unit: int
    source: NbdAddress
    bus: str = "virtio"
    controller: int = 0
    slot: int = 0


@dataclass(frozen=True)
class DomainController:
    """kind ``scsi`` (models virtio-scsi, lsilogic, lsisas1068) or ``usb`` (ehci, qemu-xhci). index: unique among its kind."""

    id: str
    kind: str
    model: str
    index: int


@dataclass(frozen=True)
class DomainCdrom:
    """A drive. bus ``ide``: `place` is 0 to 3 on the board's own IDE bus; ``scsi``: the index of the SCSI controller that it is
    alone on, which comes and goes with it. path: the image on the blade that is in it, None for an empty one."""

    id: str
    bus: str
    place: int
    path: str | None = None


@dataclass(frozen=True)
class DomainNic:
    """An adapter: `bridge` is what the fabric returned for its VLAN; `connected` is the link state.

    model: virtio, vmxnet3, e1000 or e1000e.
    """

    id: str
    unit: int
    mac: str
    bridge: str
    connected: bool = True
    mtu: int = 1500
    model: str = "virtio"


@dataclass(frozen=True)
class Processor:
    """What a guest can be shown. features: every one of them by name, sorted. definition: what a driver makes a guest's processor of."""

    model: str
    features: Sequence[str]
    definition: str


@dataclass(frozen=True)
class BladeGpu:
    """A GPU that can be handed to a guest. address: on the PCI bus, ``0000:3b:00.0``."""

    address: str
    name: str


@dataclass(frozen=True)
class DomainSpec:
    """A machine to define. `id` is both libvirt's name and UUID; `title` is the user's name (any Unicode), display only.

    memory: bytes. cdrom: path on the blade of a seed, or None. cdroms: the drives beside the seed's.
    firmware: bios or efi. secure_boot: an EFI that starts only what is signed. boot_delay: milliseconds of the boot menu.
    boot_retry: milliseconds after which a start from nothing is tried again, None for never. told: names and files of the blade
    that the guest reads through its firmware's configuration device. nested: show the processor's virtualisation.
    removable_vcpus: a running guest may be asked to give vCPUs back. processor: what it is shown, where hardware helps; None for
    what its blade has. gpus: PCI addresses of those that are handed to it.
    """

    id: str
    title: str
    vcpus: int
    cores_per_socket: int
    memory: int
    disks: Sequence[DomainDisk] = ()
    nics: Sequence[DomainNic] = ()
    cdrom: str | None = None
    controllers: Sequence[DomainController] = ()
    cdroms: Sequence[DomainCdrom] = ()
    firmware: str = "bios"
    secure_boot: bool = False
    boot_delay: int = 0
    boot_retry: int | None = None
    told: Sequence[tuple[str, str]] = ()
    nested: bool = False
    windows: bool = False
    max_vcpus: int | None = None
    max_memory: int | None = None
    removable_vcpus: bool = False
    processor: Processor | None = None
    gpus: Sequence[str] = ()


@dataclass(frozen=True)
class Endpoint:
    """A console address. kind `vnc`: host and port; kind `serial`: reached through `Hypervisor.serial`."""

    kind: str
    host: str
    port: int


@dataclass(frozen=True)
class DomainStatistics:
    """Cumulative counters of a running domain since its start, and its present memory (bytes)."""

    cpu_time_ns: int
    memory_actual: int
    memory_rss: int
    block: Mapping[str, Mapping[str, int]]  # disk id -> read_ops, read_bytes, write_ops, write_bytes
    net: Mapping[str, Mapping[str, int]]  # MAC -> rx_bytes, rx_packets, tx_bytes, tx_packets


@dataclass(frozen=True)
class DomainSample:
    """A running domain at a glance: processor time since its start, bytes of the blade's memory, and whether something in the
    guest listens on the agent's line. waited_ns: how long, since its start, each of its processors wanted to run on average and the
    blade had none for it. swapped: bytes that the guest wrote to its swap or read from it; ballooned: bytes that it gave back."""

    cpu_time_ns: int
    memory: int
    agent: bool
    waited_ns: int = 0
    swapped: int = 0
    ballooned: int = 0


@dataclass(frozen=True)
class BladeFacts:
    """What a blade says of itself."""

    hostname: str
    libvirt_version: str
    hypervisor_version: str
    acceleration: str  # "kvm" or "tcg": what guests are started with
    memory: int
    cpus: int
    free_memory: int


@dataclass(frozen=True)
class DomainEvent:
    """A change of state that the hypervisor reported: started, stopped, suspended, resumed, io-error, crashed, defined, undefined."""

    blade: str
    domain_id: str
    kind: str


@dataclass(frozen=True)
class MigrationLimits:
    """How a running machine may move. bandwidth: bytes a second, None for as fast as it goes. downtime: milliseconds that its guest may
    stand still at the end. patience: seconds after which a guest that changes its memory faster than that goes over runs on at the
    target, and fetches the rest from there (post-copy); None for never: it is only slowed down then.
    """

    bandwidth: int | None = None
    downtime: int = 300
    patience: float | None = None


class SerialStream(Protocol):
    """A duplex serial console. `receive` blocks until bytes come and returns b"" at the end."""

    def send(self, data: bytes) -> None: ...
    def receive(self) -> bytes: ...
    def close(self) -> None: ...


class Hypervisor(Protocol):
    """One blade's hypervisor."""

    name: str

    def facts(self) -> BladeFacts: ...
    def processor(self) -> Processor:
        """What guests can be shown here."""

    def gpus(self) -> list[BladeGpu]:
        """Those that can be handed to guests, by address."""

    def baseline(self, processors: Sequence[Processor]) -> Processor:
        """What all of these blades' guests can be shown. Raises EngineError where they have nothing in common."""

    def domains(self) -> dict[str, PowerState]:
        """Every domain defined or running here: id -> state."""

    def state(self, domain_id: str) -> PowerState: ...
    def was_ended(self, domain_id: str) -> bool:
        """Whether a stopped domain was ended by its guest or by an order, as far as the blade knows: it may know from before
        it was booted. False for one that runs, that crashed, that went with the blade's power, and when nothing is known."""

    def define(self, spec: DomainSpec) -> str:
        """Define, or redefine losslessly when it exists: what `spec` does not speak of stays. Returns the inactive XML."""

    def define_xml(self, xml: str) -> None:
        """Define from XML kept earlier (a machine brought to another blade)."""

    def xml(self, domain_id: str) -> str:
        """The inactive XML, secrets included."""

    def undefine(self, domain_id: str) -> None: ...
    def start(self, domain_id: str) -> None:
        """Start; a running domain is left alone."""

    def pause(self, domain_id: str) -> None:
        """Stop the guest's processors; every write that it has begun is done when this returns. Raises for one that is stopped."""

    def resume(self, domain_id: str) -> None: ...
    def shutdown(self, domain_id: str) -> None:
        """Press the ACPI button; returns at once."""

    def power_off(self, domain_id: str) -> None:
        """Cut the power; a stopped or absent domain is left alone."""

    def reset(self, domain_id: str) -> None: ...
    def migrate(
        self,
        domain_id: str,
        target: "Hypervisor",
        *,
        limits: MigrationLimits = MigrationLimits(),
        progress: Callable[[float], None] = lambda _share: None,
    ) -> None:
        """Move a running domain live; its definition moves too. A repeated call finds the domain at the target and finishes."""

    def abort_migration(self, domain_id: str) -> None:
        """It stays where it is, and nothing of it is at the target; none that is going on is fine. One that runs at its target
        already (post-copy) is no longer ended."""

    def abandon_arrival(self, domain_id: str) -> None:
        """Remove what waits here for the rest of a move, and has never run here; its source, if it is still there, goes on. One
        that runs, is stopped or absent is left alone. `start` does it, too."""

    def keep_memory(self, domain_id: str, memory_id: str, room: int) -> int:
        """Pause a running domain and save its memory and the state of its devices on the blade, under an id: `room` bytes at the most.
        Returns how many. It stays paused, and can be resumed at any time. Repeated, it begins anew.

        Raises NoSpace before it is paused, Unsupported for one whose state cannot be saved.
        """

    def send_memory(self, memory_id: str, target: NbdAddress) -> str:
        """Write what was saved here to an export that is as large, from its beginning; it is on the array when this returns. Returns
        its checksum."""

    def fetch_memory(self, memory_id: str, source: NbdAddress, size: int, checksum: str) -> None:
        """Bring saved memory of `size` bytes here; one that is here is left alone. checksum: as `send_memory` said, "" for unknown.
        Raises NoSpace, EngineError when it is another."""

    def restore_memory(self, domain_id: str, memory_id: str) -> None:
        """Start a defined domain from memory that is here, paused: nothing of it has run when this returns. It uses the disks and
        networks of its definition. One that is active is left alone. Raises Missing, EngineError."""

    def drop_memory(self, domain_id: str, memory_id: str) -> None:
        """Remove what is here of saved memory, ending a save that goes on; absent is fine. The domain's state is left alone."""

    def mirror_disk(
        self,
        domain_id: str,
        disk: DomainDisk,
        *,
        speed: int | None = None,
        progress: Callable[[float], None] = lambda _share: None,
    ) -> None:
        """Copy a running guest's disk to `disk.source`, an empty disk of the same size, and return when both are the same and
        every further write goes to both. A repeated call joins. speed: bytes a second of the first pass, None: no limit.
        """

    def switch_disk(self, domain_id: str, disk: DomainDisk) -> None:
        """The guest uses `disk.source` alone from here on, in its definition too. Raises EngineError unless it is mirrored."""

    def drop_mirror(self, domain_id: str, disk_id: str) -> None:
        """End a mirror that was not switched to; none is fine. The guest keeps the disk that it has."""

    def disk_source(self, domain_id: str, disk_id: str) -> NbdAddress | None:
        """Where the running guest's disk is, or a stopped machine's was at its stop; None when it does not have it."""

    def attach_disk(self, domain_id: str, disk: DomainDisk) -> None:
        """To the definition, and to the guest when it runs."""

    def detach_disk(self, domain_id: str, disk_id: str) -> None:
        """Returns when the guest has let go; raises GuestRefused after the deadline."""

    def disk_resized(self, domain_id: str, disk_id: str, size: int) -> None:
        """Tell a running guest that its disk is now `size` bytes."""

    def attach_controller(self, domain_id: str, controller: DomainController) -> None:
        """To the definition, and to the guest when it runs; raises Unsupported for one that a running guest cannot be given."""

    def detach_controller(self, domain_id: str, controller_id: str) -> None:
        """Returns when the guest has let go; raises GuestRefused after the deadline."""

    def put_cdrom(self, domain_id: str, drive: DomainCdrom) -> None:
        """A drive with what is in it: a new one, or another image, or none, in one that is there. A running guest sees it at
        once; one that keeps the door shut has it opened by force. Raises Unsupported for a new IDE drive while it runs."""

    def detach_cdrom(self, domain_id: str, drive_id: str) -> None: ...
    def attach_nic(self, domain_id: str, nic: DomainNic) -> None: ...
    def update_nic(self, domain_id: str, nic: DomainNic) -> None:
        """Another bridge, or the link up or down, without the guest losing the card."""

    def detach_nic(self, domain_id: str, nic_id: str) -> None: ...
    def resize(self, domain_id: str, *, vcpus: int, cores_per_socket: int, memory: int) -> None:
        """In the definition; live when the domain runs and was started with room for it, else raises Unsupported.

        Raises GuestRefused for vCPUs that the guest does not give back.
        """

    def variables(self, domain_id: str) -> bytes:
        """What the firmware of an EFI domain has stored here. Raises EngineError when there is nothing."""

    def put_variables(self, domain_id: str, kept: bytes, *, secure: bool, setup: bool) -> None:
        """Before a start: what the firmware had stored, or nothing for fresh ones (`secure`: with the keys of secure boot).
        setup: this start ends in the firmware's own screens. A running domain is left alone."""

    def endpoints(self, domain_id: str) -> list[Endpoint]: ...
    def serial(self, domain_id: str) -> SerialStream:
        """Open the live serial console; a second opener takes it over."""

    def serial_log(self, domain_id: str, *, last_bytes: int = 65536) -> str:
        """What the guest has written to its serial console since its last start."""

    def statistics(self, domain_id: str) -> DomainStatistics: ...
    def freeze(self, domain_id: str, *, limit: int = 10) -> int:
        """Freeze the guest's file systems through its agent; returns how many. Raises GuestRefused without an agent.

        They are thawed after `limit` seconds by the blade itself, whatever becomes of the caller.
        """

    def thaw(self, domain_id: str) -> int:
        """How many file systems were thawed: 0 when they had been thawed before, or the guest's kernel did it at the blade's word.

        Raises GuestRefused when the guest may stand frozen (see `stuck`).
        """

    def stuck(self) -> list[str]:
        """Ids of guests that may stand frozen: nobody inside heard the word to go on, and they have written nothing since."""

    def let_go(self, address: str, port: int, seconds: float) -> int:
        """Break guests' connections to an array's daemon that have waited for an answer for so long; how many."""

    def agent_ping(self, domain_id: str) -> bool: ...
    def guest_files(self, domain_id: str) -> GuestFiles:
        """The files of a running guest with an agent."""

    def agent_version(self, domain_id: str) -> str:
        """Of the guest's agent. Raises GuestRefused without one."""

    def set_clock(self, domain_id: str) -> None:
        """Set the guest's clock to what it is now, through its agent. Raises GuestRefused without one."""

    def samples(self) -> dict[str, DomainSample]:
        """Every running domain at a glance; one that is busy is left out."""

    def disk_counters(self) -> dict[str, IoCounters]:
        """What the guests here have asked of each disk, by its id, since they have had it, from the asking to the answer.

        Asks every running domain but those that a longer job works on. Starts to count latencies where nobody did yet.
        """

    def events(self) -> Iterator[DomainEvent]:
        """Block for, and yield, changes of state until the hypervisor is closed; survives reconnections."""

    def close(self) -> None: ...
