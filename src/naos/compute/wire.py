"""Machines, disks and snapshots on the wire."""

from typing import Literal

from pydantic import Field
from sqlalchemy.orm import Session

from naos.compute.models import VirtualMachine
from naos.engines.ports import Provisioning
from naos.fleet.models import Cpool
from naos.fleet.wire import blade_reference, cluster_of, datacenter_of, manager_of, moref
from naos.ids import ResourceId
from naos.names import Name
from naos.network import adapters
from naos.network.models import Adapter, Vlan
from naos.network.wire import NetworkAdapter
from naos.storage import disks
from naos.storage.models import Disk, Lun
from naos.units import MIB
from naos.wire import Reference, Request, Whole, Wire

PowerWord = Literal["running", "stopped"]


class OperatingSystem(Wire):
    name: str = "Linux (64-bit)"


class Storage(Wire):
    committed: int
    uncommitted: int


class Machine(Wire):
    """A machine; `host`, `seed` and `status` are naos' own additions."""

    id: str
    name: str
    moref: str
    machine_manager: Reference
    datacenter: Reference
    host_cluster: Reference
    datastore: Reference
    host: Reference | None
    consolidation_needed: bool = False
    template: bool = False
    power_state: PowerWord
    num_cores_per_socket: int
    cpu: int
    memory: int
    operating_system: OperatingSystem = OperatingSystem()
    cpu_hot_add_enabled: bool
    cpu_hot_remove_enabled: bool = False
    memory_hot_add_enabled: bool
    distributed_virtual_port_group_ids: list[str]
    snapshoted: bool = False
    triggered_alarms: list[dict[str, str]] = Field(default_factory=list)
    storage: Storage
    addresses: list[str]
    status: str


class VirtualDisk(Wire):
    id: str
    name: str
    virtual_machine_id: str
    machine_manager: Reference
    datastore: Reference
    capacity: int
    disk_unit_number: int
    instant_access: bool = False
    native_id: str
    disk_path: str
    provisioning_type: Provisioning
    disk_mode: str
    editable: bool = True
    status: str


class Endpoint(Wire):
    """`kind` vnc: host and port on the blade's own network; `kind` serial: a WebSocket path of this API."""

    kind: str
    host: str
    port: int
    path: str


class MachineCreation(Request):
    """A machine from scratch: no disk, no adapter, powered off."""

    name: Name = "New Virtual Machine"
    datacenter_id: ResourceId | None = None
    host_cluster_id: ResourceId
    host_id: str | None = None
    datastore_id: ResourceId
    memory: Whole = 32 * MIB
    cpu: Whole = 1


class AdapterWish(Request):
    """An adapter of a machine to deploy. `address`: ``10.1.0.11/24`` for the guest; left out, it asks DHCP."""

    network_id: ResourceId
    mac_address: str | None = None
    address: str | None = Field(default=None, max_length=64)
    gateway: str | None = Field(default=None, max_length=64)


class DeployOption(Request):
    id: str = Field(max_length=255)
    value: str = Field(max_length=MIB)


class Deployment(Request):
    """A machine from a template. `deploy_options`: cloud-init's `hostname`, `public-keys`, `user-data` and `network-config`
    (both base64), `instance-id`, `password`. `cpu`, `memory`, `disk_capacity` and `network_adapters` are naos' own."""

    content_library_item_id: ResourceId
    name: Name
    host_cluster_id: ResourceId
    host_id: str | None = None
    datastore_id: ResourceId
    datacenter_id: ResourceId | None = None
    power_on: bool = False
    disks_provisioning_type: Provisioning = Provisioning.DYNAMIC
    deploy_options: list[DeployOption] = Field(default_factory=list, max_length=64)
    cpu: Whole = 1
    memory: Whole = 128 * MIB
    disk_capacity: Whole | None = None
    network_adapters: list[AdapterWish] = Field(default_factory=list, max_length=16)


class MachineUpdate(Request):
    """0 leaves a value as it is."""

    id: ResourceId
    ram: Whole = 0
    cpu: Whole = 0
    core_per_socket: Whole = 0


class PowerChange(Request):
    """`shutdown` presses the power button and waits for the guest; `off` cuts the power."""

    id: ResourceId
    power_action: Literal["on", "off", "shutdown", "reset"]
    datacenter_id: ResourceId | None = None
    timeout: Whole = Field(default=120, ge=1, le=3600, description="Seconds that a shutdown waits for the guest.")


class Renaming(Request):
    id: ResourceId
    name: Name


class Relocation(Request):
    virtual_machines: list[ResourceId] = Field(min_length=1, max_length=1)
    priority: Literal["highPriority", "defaultPriority", "lowPriority"] = "highPriority"
    datacenter_id: ResourceId | None = None
    host_id: str | None = None
    host_cluster_id: ResourceId | None = None
    datastore_id: ResourceId | None = None


class DiskCreation(Request):
    virtual_machine_id: ResourceId
    capacity: Whole
    provisioning_type: Provisioning = Provisioning.DYNAMIC
    disk_mode: Literal["persistent"] = "persistent"
    datastore_id: ResourceId | None = None


class DiskUpdate(Request):
    id: ResourceId
    new_capacity: Whole


class AdapterCreation(Request):
    virtual_machine_id: ResourceId
    network_id: ResourceId
    type: str = Field(default="VMXNET3", max_length=16)
    mac_address: str | None = None


class AdapterUpdate(Request):
    id: ResourceId
    new_network_id: ResourceId | None = None
    auto_connect: bool | None = None
    mac_address: str | None = None


class AdapterAction(Request):
    id: ResourceId


def machine_wire(session: Session, machine: VirtualMachine) -> Machine:
    """A machine as clients see it."""
    cpool = session.get_one(Cpool, machine.cpool_id)
    lun = session.get_one(Lun, machine.lun_id)
    attached = disks.of_machine(session, machine.id)
    plugged = adapters.of_machine(session, machine.id)
    return Machine(
        id=machine.id,
        name=machine.name,
        moref=moref("vm-", machine.id),
        machine_manager=manager_of(session, cpool.zone),
        datacenter=datacenter_of(session, cpool.zone),
        host_cluster=cluster_of(session, cpool.id),
        datastore=Reference(id=lun.id, name=lun.name),
        host=blade_reference(session, machine.blade),
        power_state="running" if machine.power == "running" else "stopped",
        num_cores_per_socket=machine.cores_per_socket,
        cpu=machine.cpu,
        memory=machine.memory,
        cpu_hot_add_enabled=machine.hot_add_cpu,
        memory_hot_add_enabled=machine.hot_add_memory,
        distributed_virtual_port_group_ids=[adapter.vlan_id for adapter in plugged],
        storage=Storage(committed=sum(disk.capacity for disk in attached), uncommitted=0),
        addresses=[entry["address"] for entry in machine.seed.get("addresses", []) if entry.get("address")],
        status=machine.lifecycle,
    )


def disk_wire(session: Session, disk: Disk) -> VirtualDisk:
    """A disk as clients see it."""
    lun = session.get_one(Lun, disk.lun_id)
    return VirtualDisk(
        id=disk.id,
        name=disk.name,
        virtual_machine_id=disk.machine_id or "",
        machine_manager=manager_of(session, lun.zone),
        datastore=Reference(id=lun.id, name=lun.name),
        capacity=disk.capacity,
        disk_unit_number=disk.unit,
        native_id=disk.id,
        disk_path=f"[{lun.name}] disks/{disk.id}.qcow2",
        provisioning_type=Provisioning(disk.provisioning),
        disk_mode=disk.mode,
        status=disk.lifecycle,
    )


def adapter_wire(session: Session, adapter: Adapter) -> NetworkAdapter:
    """An adapter as clients see it."""
    vlan = session.get_one(Vlan, adapter.vlan_id)
    return NetworkAdapter(
        id=adapter.id,
        virtual_machine_id=adapter.machine_id,
        name=f"Network adapter {adapter.unit + 1}",
        network=Reference(id=vlan.id, name=vlan.name),
        type=adapter.type,
        mac_type=adapter.mac_type,
        mac_address=adapter.mac,
        connected=adapter.connected,
        auto_connect=adapter.auto_connect,
    )
