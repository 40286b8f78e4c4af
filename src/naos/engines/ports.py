"""The ports to the world: hosts, hypervisor, array, fabric, chassis.

Areas know only these; drivers are chosen by the inventory (see `engines.rack`). Rules for every driver:

- Every call is idempotent: check, then do. A call repeated after a crash finds its own earlier effect and returns the same.
- A call that cannot enforce what it is asked for (a limit, a fence) raises `Unsupported`; it never accepts silently.
- Sizes are bytes, durations seconds. Ids are UUID strings and are the only names that reach files, exports and domains.
- Failures raise an `EngineError` (see `engines.errors`); whatever outlives its deadline raises `Unreachable`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

# ---------------------------------------------------------------------------------------------------------------- hosts


@dataclass(frozen=True)
class Completed:
    """What a command on a host left: exit code and decoded output (UTF-8, errors replaced)."""

    code: int
    stdout: str
    stderr: str


class Host(Protocol):
    """A machine on which commands can be run."""

    name: str

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        check: bool = True,
    ) -> Completed:
        """Run one command, never through a shell on this side; arguments are passed exactly.

        Raises CommandFailed when `check` and the exit code is not 0, Unreachable when the host or the deadline is lost.
        """

    def put(self, source: Path, target: str) -> None:
        """Copy a local file to the host: complete under `target`, or not there at all. Holes stay holes."""

    def get(self, source: str, target: Path) -> None:
        """Copy a file from the host."""

    def socket(self, path: str) -> AbstractContextManager[str]:
        """A path on this machine that reaches the unix socket `path` of the host while the context is open."""


# ----------------------------------------------------------------------------------------------------------- hypervisor


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
class NbdAddress:
    """Where a disk is exported. `name` carries the epoch, so a stale name is refused for good. tls: it is reached over TLS alone."""

    host: str
    port: int
    name: str
    tls: bool = False


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
    guest listens on the agent's line."""

    cpu_time_ns: int
    memory: int
    agent: bool


LATENCY_BOUNDS_NS = tuple(round(50_000 * 2 ** (step / 2)) for step in range(41))
"""Where the classes of latency end: from 50 microseconds in steps of the square root of 2 to 52 seconds; one more is above."""


@dataclass(frozen=True)
class IoCounters:
    """Requests that were answered since somebody began to count, their bytes, and the nanoseconds that they took, summed.

    latencies: how many took less than each of LATENCY_BOUNDS_NS, and how many longer; () where nobody counts that.
    """

    reads: int
    writes: int
    read_bytes: int
    write_bytes: int
    nanoseconds: int
    latencies: tuple[int, ...] = ()


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
        """How many file systems were thawed: 0 when they had been thawed before."""

    def agent_ping(self, domain_id: str) -> bool: ...
    def agent_version(self, domain_id: str) -> str:
        """Of the guest's agent. Raises GuestRefused without one."""

    def samples(self) -> dict[str, DomainSample]:
        """Every running domain at a glance; one that is busy is left out."""

    def disk_counters(self) -> dict[str, IoCounters]:
        """What the guests here have asked of each disk, by its id, since they have had it, from the asking to the answer.

        Asks every running domain but those that a longer job works on. Starts to count latencies where nobody did yet.
        """

    def events(self) -> Iterator[DomainEvent]:
        """Block for, and yield, changes of state until the hypervisor is closed; survives reconnections."""

    def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------------------- array


LunKey = Callable[[], bytes]
"""Gives the 32 bytes that a volume's images are encrypted with. Raises NaosError when they cannot be had; so it is asked only
when an image is made or opened, and never to cut one off."""


@dataclass(frozen=True)
class LunSpec:
    """A volume: a file system of `capacity` bytes, its disks together limited to `iops` operations and `bandwidth` bytes a second
    (None: no limit), reads and writes alike.

    port: TCP port of its NBD server on the array's address. key: None for a volume whose images are not encrypted.
    clients: names of the blades and arrays that an array with TLS lets in.
    """

    id: str
    capacity: int
    iops: int | None
    port: int
    bandwidth: int | None = None
    key: LunKey | None = field(default=None, repr=False, compare=False)
    clients: Sequence[str] = ()


class Provisioning(StrEnum):
    """Terraform's names for thin, thick lazy zeroed and thick eager zeroed."""

    DYNAMIC = "dynamic"
    STATIC_DIFFERED = "staticDiffered"
    STATIC_IMMEDIATE = "staticImmediate"


@dataclass(frozen=True)
class ExportedDisk:
    """A disk that a running machine uses: re-made by `ensure_daemon` exactly so.

    volatile: its writes go to a file of this epoch, which goes when the export is fenced.
    """

    id: str
    epoch: int
    volatile: bool = False


@dataclass(frozen=True)
class LunUsage:
    capacity: int
    used: int
    free: int


@dataclass(frozen=True)
class DiskFacts:
    """What the image file says: virtual size, bytes allocated, the backing template or disk if it still has one."""

    id: str
    size: int
    allocated: int
    backing: str | None
    snapshots: Sequence[str] = ()


@dataclass(frozen=True)
class LunContents:
    """What lies on a LUN, for comparing with the tables."""

    disks: Sequence[str]
    templates: Sequence[str]
    exports: Mapping[str, int]  # disk id -> epoch
    foreign: Sequence[str] = ()  # file names that naos did not make
    volatile: Sequence[tuple[str, int]] = ()  # disk id and epoch of writes that are to be dropped
    aside: Sequence[str] = ()  # ids for which space is set aside
    damaged: Sequence[str] = ()  # ids of disks and templates whose images were met in disorder, and are served no more


@dataclass(frozen=True)
class JobState:
    """A background block job: `done` and `total` in bytes; finished when it is no longer running."""

    running: bool
    done: int = 0
    total: int = 0
    error: str | None = None


@dataclass(frozen=True)
class DiskCopy:
    """A copy to make of a volume's disk. target: where the empty disk that receives it is exported, on another volume of this
    or of another array; None makes the disk `disk_id` on the same volume."""

    source_id: str
    disk_id: str
    target: NbdAddress | None = None


@dataclass(frozen=True)
class Peer:
    """A blade as the array sees it: how many connections it has to the array's disks, the bytes that were received over those,
    and whether it answers the array."""

    connections: int
    received: int
    answers: bool


@dataclass(frozen=True)
class Door:
    """Where one disk of a point is written or read: NBD under TLS, with a key of this session alone.

    key: hexadecimal, secret; whoever has it may use the door until the session ends. user: whom the key belongs to.
    """

    address: NbdAddress
    key: str = field(repr=False)
    user: str = "naos"


@dataclass(frozen=True)
class Outgoing:
    """One disk's way into a point. base: the point that the store has this disk of and over which the new one is received;
    None when the whole disk travels. door: where the store receives it."""

    disk_id: str
    base: str | None
    door: Door


class PointSource(Protocol):
    """The side of an array from which points are taken. A set is what is copied together to one place (the disks of a volume,
    of a machine), under an id of its own; a point is the set at one instant.

    What changed since a point is known by a bitmap that carries the ids of set and point. It is begun with the point's own copy, in
    the same transaction, and counts only while it is whole: after the sudden death of a daemon, and for a disk that was brought
    back to a snapshot or moved, there is none. Then `compare` makes a new one; nothing is ever guessed.
    """

    def known_bases(self, lun: LunSpec, set_id: str, disk_ids: Sequence[str]) -> dict[str, frozenset[str]]:
        """For every disk the points since whose instants each change of it is known for certain; of the points of this set.

        Raises Missing for a disk that is not there.
        """

    def compare(
        self, lun: LunSpec, set_id: str, point_id: str, disk_id: str, checksums: Path, *, pace: int | None = None
    ) -> int:
        """Make a point a known base of a disk: what differs from its checksums (a file of `PointStore.checksums`) counts as
        changed, and every write from now on. Returns the bytes that differ. The disk may be in use; it is read once, and
        nothing travels.

        pace: bytes a second that are read, None for as fast as it goes.
        """

    def begin_point(
        self,
        lun: LunSpec,
        set_id: str,
        point_id: str,
        parts: Sequence[Outgoing],
        *,
        speed: int | None = None,
        yielding: bool = False,
    ) -> datetime:
        """Begin to copy disks of one volume as they all are at one instant, which is returned; they may be in use. A repeated
        call returns the same instant.

        speed: bytes a second for each disk. yielding: whoever wants to change a disk (a snapshot, another size) ends this copy
        rather than being told that it is busy. Raises Busy while another job works on one of the disks, Missing, and EngineError
        for a base that is not known.
        """

    def point(self, lun: LunSpec, point_id: str, disk_ids: Sequence[str]) -> JobState:
        """How far the copies are, together: `total` is what has to travel. Raises EngineError when one failed, was ended, or was
        lost with the volume's daemon."""

    def close_point(self, lun: LunSpec, point_id: str, disk_ids: Sequence[str]) -> None:
        """Let the doors of complete copies go, all that was written to them flushed. Raises Busy while one goes on."""

    def end_point(self, lun: LunSpec, set_id: str, point_id: str, disk_ids: Sequence[str], *, complete: bool) -> None:
        """Take the copies off the list, ending those that go on. complete: the store has the point: it becomes the base of what
        follows, and what was known since earlier ones is forgotten. Otherwise those stay, and the point is forgotten."""

    def forget_set(self, lun_id: str, set_id: str, disk_ids: Sequence[str]) -> None:
        """Forget what is known since points of this set; absent disks are left alone, and so is an absent volume."""


class Array(PointSource, Protocol):
    """One zone's block storage."""

    name: str

    def peers(self, addresses: Sequence[str]) -> dict[str, Peer]:
        """What the array sees of the blades at these addresses, each of which is in the answer."""

    def luns(self) -> list[str]:
        """Ids of the LUNs that exist on the array."""

    def create_lun(self, lun: LunSpec) -> None: ...
    def delete_lun(self, lun_id: str) -> None:
        """Refuses (Busy) while it holds a disk or an export."""

    def resize_lun(self, lun: LunSpec) -> None:
        """Growth only, online."""

    def limit_lun(self, lun: LunSpec) -> None:
        """Apply `lun.iops` and `lun.bandwidth` to the running daemon, under its clients' requests."""

    def admit(self, lun: LunSpec) -> None:
        """On an array with TLS let `lun.clients` in, and nobody else from now on."""

    def usage(self, lun_id: str) -> LunUsage: ...
    def device_counters(self) -> dict[str, IoCounters]:
        """What the blocks below each served LUN did, whoever asked: guests, copies, the file system itself. By LUN id; no LUN's
        daemon is asked."""

    def contents(self, lun_id: str) -> LunContents: ...
    def ensure_daemon(self, lun: LunSpec, exported: Sequence[ExportedDisk]) -> bool:
        """Bring the LUN's daemon to exactly this: mounted, running, limited, these exports and no others.

        Returns True when the daemon had to be started (guests may be paused and want a resume).
        """

    def stop_daemon(self, lun_id: str) -> None:
        """End the daemon and unmount, cleanly (bitmaps are written)."""

    def set_aside(self, lun_id: str, holder: str, size: int) -> None:
        """Bring what is kept of the LUN for `holder`, an id, to `size` bytes of blocks that nothing else can have. NoSpace when
        they are not there: then it has what it had."""

    def give_back(self, lun_id: str, holder: str) -> None:
        """Free them; an absent holder is left alone, and so is an absent LUN."""

    def template_staged(self, lun_id: str, template_id: str) -> bool: ...
    def stage_template(self, lun_id: str, template_id: str, image: Path, *, key: LunKey | None = None) -> None:
        """Bring a qcow2 image (no backing file) onto the LUN as a read-only base for clones. key: the LUN's."""

    def drop_template(self, lun_id: str, template_id: str) -> None:
        """Refuses (Busy) while a disk still backs on it."""

    def create_disk(
        self, lun: LunSpec, disk_id: str, size: int, provisioning: Provisioning, *, template_id: str | None = None
    ) -> None:
        """An empty disk, or one with a staged template's content: then its space is reserved, and it shares nothing."""

    def clone_template(self, lun: LunSpec, disk_id: str, template_id: str, size: int) -> None:
        """A copy-on-write disk of at least the template's size."""

    def copy_disk(self, lun: LunSpec, source_id: str, disk_id: str) -> None:
        """A full, independent, point-in-time copy within the LUN; the source may be in use."""

    def begin_copies(self, lun: LunSpec, wanted: Sequence[DiskCopy], *, speed: int | None = None) -> None:
        """Begin to copy disks of one volume as they all are at one instant; they may be in use. Those that have begun go on.

        speed: bytes a second for each of them, None for as fast as it goes.
        """

    def copies(self, lun: LunSpec, wanted: Sequence[DiskCopy]) -> JobState:
        """How far the copies are, together. Raises EngineError when one failed, or ended with the volume's daemon."""

    def finish_copies(self, lun: LunSpec, wanted: Sequence[DiskCopy]) -> None:
        """Take the results of complete copies, and let their targets go; those taken earlier are left alone."""

    def flatten(self, lun: LunSpec, disk_id: str) -> JobState:
        """Start, or report, the job that makes a clone independent. Not running and without error: it is independent."""

    def fill_disk(self, lun: LunSpec, disk_id: str, reader: str, door: Door, *, speed: int | None = None) -> JobState:
        """Start, or report, the job that makes what is behind a door the content of a disk that nothing uses. Not running and
        without error: it is. reader: the id that the door was opened for. speed: bytes a second."""

    def cancel_jobs(self, lun_id: str, disk_id: str) -> None: ...
    def resize_disk(self, lun: LunSpec, disk_id: str, size: int) -> None: ...
    def disk(self, lun_id: str, disk_id: str) -> DiskFacts | None: ...
    def read_disk(self, lun_id: str, disk_id: str, *, key: LunKey | None = None) -> AbstractContextManager[str]:
        """A unix socket of this machine at which a disk that nothing uses is served over NBD, read-only, under the empty name,
        while the context is open. key: the LUN's. Raises Missing, and Busy for a disk in use."""

    def delete_disk(self, lun_id: str, disk_id: str) -> None:
        """Cuts its exports, ends its jobs, closes its nodes, removes its files. An absent disk is left alone."""

    def export_disk(self, lun: LunSpec, disk_id: str, epoch: int, *, volatile: bool = False) -> NbdAddress:
        """Export under `epoch`, and cut every older epoch off first: its clients can never write again.

        volatile: what is written in this epoch is kept apart, and dropped when the disk is fenced.
        """

    def fence_disk(self, lun_id: str, disk_id: str) -> None:
        """Cut every export of the disk, wait until none is left, and drop what was written to volatile ones."""

    def snapshot_disks(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        """One point in time for all of them."""

    def revert_disks(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        """Refuses (Busy) while one is exported."""

    def delete_snapshot(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None: ...
    def points(self, lun_id: str) -> "PointStore":
        """Points of other volumes' disks that are kept on this one, which must be served while they are worked with."""

    def adopt_point(self, lun: LunSpec, set_id: str, point_id: str) -> list[str]:
        """Make the disks of a set's last point, kept on this volume, disks of it, under their own ids; returns these. The set's
        earlier points go, and then the set. A repeated call finds them there."""


# --------------------------------------------------------------------------------------------------------------- points


@dataclass(frozen=True)
class Incoming:
    """A disk that a point is to have. base: the complete point of the set whose disk it is received over, None for none. since: what
    the place has of it already, when that is more: an unfinished point that goes on as this one."""

    disk_id: str
    size: int
    base: str | None
    since: str | None = None


@dataclass(frozen=True)
class Unfinished:
    """What was received of a point that was never completed: each disk, and the bytes that it takes."""

    point_id: str
    disks: Sequence[tuple[Incoming, int]]


@dataclass(frozen=True)
class DiskPoint:
    """One disk of a complete point. base: the point that holds what this one shares with it; it changes when points are dropped.
    stored: bytes that this point's own part takes."""

    disk_id: str
    size: int
    base: str | None
    stored: int


@dataclass(frozen=True)
class Point:
    """A complete point. instant: when its disks were so, by the clock of whoever took it."""

    id: str
    set_id: str
    instant: datetime
    disks: Sequence[DiskPoint]

    @property
    def stored(self) -> int:
        return sum(disk.stored for disk in self.disks)


@dataclass(frozen=True)
class Damage:
    """What a verification found: the disk, and where in it, in bytes; what is there instead."""

    disk_id: str
    offset: int
    length: int
    reason: str


@dataclass(frozen=True)
class Verdict:
    """read: bytes whose checksums were computed anew."""

    read: int
    damages: Sequence[Damage]


class PointStore(Protocol):
    """A place that keeps points: a vault, or a volume of an array. Sets, points and disks go by their ids.

    A point is complete or not there: the one before stays usable until the new one is, whatever happens, and so do all others. Within
    a set points follow each other; each holds only what changed, and each can be read whole. Checksums of every 64 KiB that a point
    holds are kept from its arrival on. All calls of one set wait for each other.
    """

    name: str

    def sets(self) -> list[str]: ...
    def points(self, set_id: str) -> list[Point]:
        """The complete ones, oldest first; none of an unknown set."""

    def receive(self, set_id: str, point_id: str, disks: Sequence[Incoming]) -> dict[str, Door]:
        """Be ready to receive a point: doors by disk. A repeated call returns the same ones. What another unfinished point of the
        set had received is dropped, unless a disk goes on from it (`Incoming.since`).

        Raises Missing for a base that is not there, NoSpace, Busy when the point is complete already.
        """

    def doors(self, set_id: str, point_id: str) -> dict[str, tuple[Incoming, Door]]:
        """Of a point that is being received. Raises Missing for any other."""

    def seal(self, set_id: str, point_id: str, instant: datetime) -> Point:
        """Close the doors and make the point complete: flushed, checksums computed. A repeated call returns it.

        Raises EngineError when the receiving side died meanwhile, so that nobody knows what it has: receive it anew.
        """

    def unfinished(self, set_id: str) -> Unfinished | None:
        """What there is of a point that is not complete, whether or not it is still being received."""

    def suspend(self, set_id: str, point_id: str) -> None:
        """Close an unfinished point's doors and keep what was received: the next point can go on from there."""

    def abandon(self, set_id: str, point_id: str) -> None:
        """Drop what was received of an unfinished point; a complete or an absent one is left alone."""

    def checksums(self, set_id: str, point_id: str, disk_id: str, target: Path) -> None:
        """Write the checksums of a point's whole disk to a file of this machine, for `PointSource.compare`; of an unfinished point,
        whose doors are closed, those of what was received. Raises Missing."""

    def drop(self, set_id: str, point_id: str) -> None:
        """Remove a point and free its space: what later points share with it becomes theirs, and no other changes. An absent
        one is left alone. Raises Busy while it, or the one that follows, is being read, or one is being received over it."""

    def forget(self, set_id: str) -> None:
        """Remove a set with all of its points, and what is being received. Raises Busy while one is being read."""

    def verify(self, set_id: str, point_id: str, *, pace: int | None = None) -> Verdict:
        """Read a point's disks whole and compare them with the checksums of their arrival. pace: bytes a second."""

    def serve(self, set_id: str, point_id: str, reader: str) -> dict[str, Door]:
        """Let a point be read: doors by disk, until `end_serving`. reader: an id; every reader has its own doors."""

    def end_serving(self, set_id: str, reader: str) -> None: ...
    def usage(self) -> LunUsage:
        """Of the file system that the points are in."""


# --------------------------------------------------------------------------------------------------------------- fabric


@dataclass(frozen=True)
class VlanSpec:
    """A layer-2 network: `tag` 1-4094 is its VLAN id and, on a routed fabric, its VNI. `peers`: fabric addresses of all
    other blades that carry it."""

    tag: int
    peers: Sequence[str] = field(default=())


class Fabric(Protocol):
    """One blade's share of the network."""

    name: str

    def ensure_vlan(self, vlan: VlanSpec) -> str:
        """Make the VLAN's bridge, joined to its peers and to no one else; returns the bridge's name."""

    def remove_vlan(self, tag: int) -> None:
        """Refuses (Busy) while a guest's port is on it."""

    def bridge(self, tag: int) -> str:
        """The name that `ensure_vlan` gives the bridge of `tag`."""

    def vlans(self) -> dict[int, list[str]]:
        """What is there: tag -> peers."""

    def learned_macs(self, tag: int) -> dict[str, str]:
        """MAC address -> port, as the bridge has learned them."""


# -------------------------------------------------------------------------------------------------------------- chassis


class BladePower(StrEnum):
    ON = "on"
    OFF = "off"
    CHANGING = "changing"


class Chassis(Protocol):
    """Power control of one blade."""

    name: str

    def power(self) -> BladePower: ...
    def on(self) -> None: ...
    def off(self) -> None:
        """Cut the power and return when the blade is certainly off."""

    def reset(self) -> None: ...


# ----------------------------------------------------------------------------------------------------------------- rack


class Rack(Protocol):
    """Every engine of a platform, by the names that the inventory gives."""

    def hypervisor(self, blade: str) -> Hypervisor: ...
    def fabric(self, blade: str) -> Fabric: ...
    def chassis(self, blade: str) -> Chassis: ...
    def blade_host(self, blade: str) -> Host: ...
    def array(self, array: str) -> Array: ...
    def array_host(self, array: str) -> Host: ...
    def vault_host(self, vault: str) -> Host: ...
    def vault_points(self, vault: str) -> PointStore:
        """What a vault keeps."""

    def close(self) -> None: ...
