"""Requests about what a machine is: its creation, its configuration, its power, its guest."""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from naos.compute.customisation import AdapterSetting, Customisation
from naos.ids import ResourceId
from naos.names import Name
from naos.units import MIB
from naos.wire import Request, Whole, Wire

Flag = Annotated[bool, Strict()]
Natural = Annotated[Whole, Field(ge=0, lt=2**63)]
Text = Annotated[str, Field(max_length=255)]


class MachineCreation(Request):
    """A machine from scratch: no disk, no adapter, powered off. It goes to the cpool that is given, else to that of the host, else
    to the emptiest of the datacenter; its disks to the datastore, else to the emptiest of the cluster or the zone."""

    name: Name = "New Virtual Machine"
    datacenter_id: ResourceId | None = None
    host_cluster_id: ResourceId | None = None
    host_id: Text | None = None
    datastore_id: ResourceId | None = None
    datastore_cluster_id: ResourceId | None = None
    memory: Whole = 32 * MIB
    cpu: Whole = 1
    guest_operating_system_moref: Text | None = None


class BootChange(Request):
    """What is left out stays. Times in milliseconds."""

    boot_delay: Natural | None = None
    boot_retry_delay: Natural | None = None
    boot_retry_enabled: Flag | None = None
    enter_bios_setup: Flag | None = Field(default=None, alias="enterBIOSSetup")
    firmware: Literal["bios", "efi"] | None = None
    efi_secure_boot_enabled: Flag | None = None


class MachineUpdate(Request):
    """0 leaves `ram`, `cpu` and `corePerSocket` as they are; what is left out stays."""

    id: ResourceId
    ram: Whole = 0
    memory_reservation: Natural | None = None
    cpu: Whole = 0
    core_per_socket: Whole = 0
    hot_cpu_add: Flag | None = None
    hot_cpu_remove: Flag | None = None
    hot_mem_add: Flag | None = None
    boot_options: BootChange | None = None
    expose_hardware_virtualization: Flag | None = None

    def changes(self) -> dict[str, Any]:
        """As columns of a machine."""
        boot = self.boot_options or BootChange()
        return {
            "memory": self.ram,
            "memory_reservation": self.memory_reservation,
            "cpu": self.cpu,
            "cores_per_socket": self.core_per_socket,
            "hot_add_cpu": self.hot_cpu_add,
            "hot_remove_cpu": self.hot_cpu_remove,
            "hot_add_memory": self.hot_mem_add,
            "boot_delay": boot.boot_delay,
            "boot_retry_delay": boot.boot_retry_delay,
            "boot_retry": boot.boot_retry_enabled,
            "enter_setup": boot.enter_bios_setup,
            "firmware": boot.firmware,
            "secure_boot": boot.efi_secure_boot_enabled,
            "nested": self.expose_hardware_virtualization,
        }


class PowerRecommendation(Wire):
    """Where a machine could start. `key` is the blade's number in its cpool."""

    key: int
    host_cluster_id: str
    host_id: str
    host_cluster_name: str
    host_name: str


class RecommendationChosen(Request):
    """`hostId`: start there or not at all. Without it, `key` names the blade to prefer. Empty texts say nothing."""

    key: Whole | None = None
    host_cluster_id: Text = ""
    host_id: Text = ""
    host_cluster_name: Text = ""
    host_name: Text = ""


class PowerChange(Request):
    """`shutdown` presses the power button and waits for the guest; `off` cuts the power. `forceEnterBIOS`: this start ends in the
    setup of an EFI firmware."""

    id: ResourceId
    power_action: Literal["on", "off", "shutdown", "reset"]
    datacenter_id: ResourceId | None = None
    timeout: Whole = Field(default=120, ge=1, le=3600, description="Seconds that a shutdown waits for the guest.")
    force_enter_bios: Flag = Field(default=False, alias="forceEnterBIOS")
    recommendation: RecommendationChosen | None = None


class GuestOperatingSystem(Wire):
    moref: str
    family: str
    full_name: str


class GuestChange(Request):
    guest_operating_system_moref: Text


class AdapterChange(Request):
    """`macAddress` left out: the next adapter in order. `ipAddress` left out: the guest asks DHCP."""

    mac_address: Text | None = None
    ip_address: Text | None = None
    subnet_mask: Text | None = None
    gateway: Text | None = None


class NetworkConfig(Request):
    hostname: Annotated[str, Field(min_length=1, max_length=253)]
    domain: Text = ""
    dns_server_list: list[Text] = Field(default_factory=list, max_length=16)
    dns_suffix_list: list[Text] = Field(default_factory=list, max_length=16)
    adapters: list[AdapterChange] = Field(default_factory=list, max_length=64)


class CustomizeGuest(Request):
    """`windowsConfig` is refused with the reason."""

    network_config: NetworkConfig
    windows_config: dict[str, Any] | None = None

    def wish(self) -> Customisation:
        asked = self.network_config
        adapters = [
            AdapterSetting(
                entry.mac_address or None, entry.ip_address or None, entry.subnet_mask or None, entry.gateway or None
            )
            for entry in asked.adapters
        ]
        return Customisation(asked.hostname, asked.domain, asked.dns_server_list, asked.dns_suffix_list, adapters)
