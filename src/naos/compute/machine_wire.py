"""The shape in which clients see a machine; `machine_rows` writes it."""

from typing import Literal

from pydantic import Field

from naos.compute import guest_systems
from naos.wire import Reference, Wire

PowerWord = Literal["running", "stopped"]
Tools = Literal["toolsOk", "toolsNotRunning", "toolsNotInstalled"]


class OperatingSystem(Wire):
    name: str


class Storage(Wire):
    """Bytes that the machine's disks may fill, and that they may fill beyond that."""

    committed: int
    uncommitted: int = 0


class BootOptions(Wire):
    """Times in milliseconds."""

    firmware: Literal["bios", "efi"]
    boot_delay: int
    enter_bios_setup: bool = Field(serialization_alias="enterBIOSSetup")
    boot_retry_enabled: bool
    boot_retry_delay: int
    efi_secure_boot_enabled: bool


class Pair(Wire):
    key: str
    value: str


class Alarm(Wire):
    """`space`: the machine stands still, without an error in its guest, until a volume has space. `frozen`: its file systems may be
    frozen since a snapshot or a backup, and nobody inside hears the word to go on; a reset ends that."""

    id: str
    status: str


class Machine(Wire):
    """A machine. `host`, `memoryReservation`, `addresses` and `status` are naos' own additions.

    cpuUsage in MHz and memoryUsage in bytes are as last seen, seconds ago; tools is the guest's own agent.
    """

    id: str
    name: str
    moref: str
    machine_manager: Reference
    datacenter: Reference
    host_cluster: Reference
    datastore: Reference
    datastore_cluster: Reference | None
    host: Reference | None
    consolidation_needed: bool = False
    template: bool = False
    power_state: PowerWord
    hardware_version: str = guest_systems.HARDWARE
    num_cores_per_socket: int
    cpu: int
    memory: int
    memory_reservation: int
    operating_system: OperatingSystem
    operating_system_moref: str
    cpu_hot_add_enabled: bool
    cpu_hot_remove_enabled: bool
    memory_hot_add_enabled: bool
    cpu_usage: int
    memory_usage: int
    tools: Tools
    tools_version: int
    distributed_virtual_port_group_ids: list[str]
    spp_mode: str = "production"
    snapshoted: bool
    triggered_alarms: list[Alarm] = Field(default_factory=list)
    replication_config: None = None
    extra_config: list[Pair]
    storage: Storage
    boot_options: BootOptions
    expose_hardware_virtualization: bool
    addresses: list[str]
    status: str


def tools_number(version: str) -> int:
    """``7.2.22`` -> 7002022; 0 for what is no version."""
    numbers = [int(part) for part in version.split(".")[:3] if part.isascii() and part.isdigit()]
    if not numbers:
        return 0
    major, minor, micro = [*numbers, 0, 0][:3]
    return major * 1_000_000 + min(minor, 999) * 1000 + min(micro, 999)
