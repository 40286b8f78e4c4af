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
    """Where a disk is exported. `name` carries the epoch, so a stale name is refused for good."""

    host: str
    port: int
    name: str


@dataclass(frozen=True)
class DomainDisk:
    """A disk as the guest sees it: `unit` 0 is the boot disk (vda); `id` becomes the serial number."""

    id: str
    unit: int
    source: NbdAddress


@dataclass(frozen=True)
class DomainNic:
    """An adapter: `bridge` is what the fabric returned for its VLAN; `connected` is the link state."""

    id: str
    unit: int
    mac: str
    bridge: str
    connected: bool = True
    mtu: int = 1500


@dataclass(frozen=True)
class DomainSpec:
    """A machine to define. `id` is both libvirt's name and UUID; `title` is the user's name (any Unicode), display only.

    memory: bytes. cdrom: path on the blade of a seed or installation image, or None. extra_config: guest information keys.
    """

    id: str
    title: str
    vcpus: int
    cores_per_socket: int
    memory: int
    disks: Sequence[DomainDisk] = ()
    nics: Sequence[DomainNic] = ()
    cdrom: str | None = None
    firmware: str = "bios"
    max_vcpus: int | None = None
    max_memory: int | None = None


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


class SerialStream(Protocol):
    """A duplex serial console. `receive` blocks until bytes come and returns b"" at the end."""

    def send(self, data: bytes) -> None: ...
    def receive(self) -> bytes: ...
    def close(self) -> None: ...


class Hypervisor(Protocol):
    """One blade's hypervisor."""

    name: str

    def facts(self) -> BladeFacts: ...
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

    def resume(self, domain_id: str) -> None: ...
    def shutdown(self, domain_id: str) -> None:
        """Press the ACPI button; returns at once."""

    def power_off(self, domain_id: str) -> None:
        """Cut the power; a stopped or absent domain is left alone."""

    def reset(self, domain_id: str) -> None: ...
    def migrate(
        self, domain_id: str, target: "Hypervisor", *, progress: Callable[[float], None] = lambda _share: None
    ) -> None:
        """Move a running domain live; its definition moves too. A repeated call finds the domain at the target and finishes."""

    def abort_migration(self, domain_id: str) -> None: ...
    def attach_disk(self, domain_id: str, disk: DomainDisk) -> None:
        """To the definition, and to the guest when it runs."""

    def detach_disk(self, domain_id: str, disk_id: str) -> None:
        """Returns when the guest has let go; raises GuestRefused after the deadline."""

    def disk_resized(self, domain_id: str, disk_id: str, size: int) -> None:
        """Tell a running guest that its disk is now `size` bytes."""

    def attach_nic(self, domain_id: str, nic: DomainNic) -> None: ...
    def update_nic(self, domain_id: str, nic: DomainNic) -> None:
        """Another bridge, or the link up or down, without the guest losing the card."""

    def detach_nic(self, domain_id: str, nic_id: str) -> None: ...
    def resize(self, domain_id: str, *, vcpus: int, cores_per_socket: int, memory: int) -> None:
        """In the definition; live when the domain runs and was started with room for it, else raises Unsupported."""

    def endpoints(self, domain_id: str) -> list[Endpoint]: ...
    def serial(self, domain_id: str) -> SerialStream:
        """Open the live serial console; a second opener takes it over."""

    def serial_log(self, domain_id: str, *, last_bytes: int = 65536) -> str:
        """What the guest has written to its serial console since its last start."""

    def statistics(self, domain_id: str) -> DomainStatistics: ...
    def freeze(self, domain_id: str) -> int:
        """Freeze the guest's file systems through its agent; returns how many. Raises GuestRefused without an agent."""

    def thaw(self, domain_id: str) -> int: ...
    def agent_ping(self, domain_id: str) -> bool: ...
    def events(self) -> Iterator[DomainEvent]:
        """Block for, and yield, changes of state until the hypervisor is closed; survives reconnections."""

    def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------------------- array


@dataclass(frozen=True)
class LunSpec:
    """A volume: a file system of `capacity` bytes, its disks together limited to `iops` operations a second (None: no limit).

    port: TCP port of its NBD server on the array's address.
    """

    id: str
    capacity: int
    iops: int | None
    port: int


class Provisioning(StrEnum):
    """Terraform's names for thin, thick lazy zeroed and thick eager zeroed."""

    DYNAMIC = "dynamic"
    STATIC_DIFFERED = "staticDiffered"
    STATIC_IMMEDIATE = "staticImmediate"


@dataclass(frozen=True)
class ExportedDisk:
    """A disk that a running machine uses: re-made by `ensure_daemon` exactly so."""

    id: str
    epoch: int


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


@dataclass(frozen=True)
class JobState:
    """A background block job: `done` and `total` in bytes; finished when it is no longer running."""

    running: bool
    done: int = 0
    total: int = 0
    error: str | None = None


class Array(Protocol):
    """One zone's block storage."""

    name: str

    def luns(self) -> list[str]:
        """Ids of the LUNs that exist on the array."""

    def create_lun(self, lun: LunSpec) -> None: ...
    def delete_lun(self, lun_id: str) -> None:
        """Refuses (Busy) while it holds a disk or an export."""

    def resize_lun(self, lun: LunSpec) -> None:
        """Growth only, online."""

    def limit_lun(self, lun: LunSpec) -> None:
        """Apply `lun.iops` to the running daemon."""

    def usage(self, lun_id: str) -> LunUsage: ...
    def contents(self, lun_id: str) -> LunContents: ...
    def ensure_daemon(self, lun: LunSpec, exported: Sequence[ExportedDisk]) -> bool:
        """Bring the LUN's daemon to exactly this: mounted, running, limited, these exports and no others.

        Returns True when the daemon had to be started (guests may be paused and want a resume).
        """

    def stop_daemon(self, lun_id: str) -> None:
        """End the daemon and unmount, cleanly (bitmaps are written)."""

    def template_staged(self, lun_id: str, template_id: str) -> bool: ...
    def stage_template(self, lun_id: str, template_id: str, image: Path) -> None:
        """Bring a qcow2 image (no backing file) onto the LUN as a read-only base for clones."""

    def drop_template(self, lun_id: str, template_id: str) -> None:
        """Refuses (Busy) while a disk still backs on it."""

    def create_disk(self, lun: LunSpec, disk_id: str, size: int, provisioning: Provisioning) -> None: ...
    def clone_template(self, lun: LunSpec, disk_id: str, template_id: str, size: int) -> None:
        """A copy-on-write disk of at least the template's size."""

    def copy_disk(self, lun: LunSpec, source_id: str, disk_id: str) -> None:
        """A full, independent, point-in-time copy within the LUN; the source may be in use."""

    def flatten(self, lun: LunSpec, disk_id: str) -> JobState:
        """Start, or report, the job that makes a clone independent. Not running and without error: it is independent."""

    def cancel_jobs(self, lun_id: str, disk_id: str) -> None: ...
    def resize_disk(self, lun: LunSpec, disk_id: str, size: int) -> None: ...
    def disk(self, lun_id: str, disk_id: str) -> DiskFacts | None: ...
    def delete_disk(self, lun_id: str, disk_id: str) -> None:
        """Cuts its exports, ends its jobs, closes its nodes, removes its files. An absent disk is left alone."""

    def export_disk(self, lun: LunSpec, disk_id: str, epoch: int) -> NbdAddress:
        """Export under `epoch`, and cut every older epoch off first: its clients can never write again."""

    def fence_disk(self, lun_id: str, disk_id: str) -> None:
        """Cut every export of the disk and wait until none is left."""

    def snapshot_disks(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        """One point in time for all of them."""

    def revert_disks(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        """Refuses (Busy) while one is exported."""

    def delete_snapshot(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None: ...


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
    def close(self) -> None: ...
