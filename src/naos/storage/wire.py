"""Volumes on the wire: each is a datastore."""

from pydantic import Field

from naos.ids import ResourceId
from naos.names import Name
from naos.storage.space_wire import Space, VolumeAlarm
from naos.wire import Reference, Request, Whole, Wire


class Datastore(Wire):
    """`accessible`: 1 when its array answered last, else 0. `associated_folder`: its datastore cluster, or else its zone.
    `bandwidth`: the most that it may read and write, in bytes a second; null where the catalogue caps nothing.
    `encrypted`: nothing of its disks lies on the array in clear. From `storage_class` on they are naos' own additions."""

    id: str
    name: str
    machine_manager: Reference
    moref: str
    max_capacity: int
    free_capacity: int
    accessible: int
    maintenance_mode: bool = False
    unique_id: str
    type: str = "VMFS"
    virtual_machines_number: int
    hosts_number: int
    hosts_names: list[str]
    associated_folder: str
    storage_class: str
    iops: int | None
    bandwidth: int | None
    encrypted: bool
    datacenter: Reference
    datastore_cluster: Reference | None
    status: str
    space: Space
    triggered_alarms: list[VolumeAlarm]


class DatastoreClusterMetrics(Wire):
    """Bytes, and how disks are placed: once, when they are made, by free space. naos moves none afterwards, so that what would
    steer that is off and zero."""

    free_capacity: int
    max_capacity: int
    enabled: bool = True
    default_vm_behavior: str = "manual"
    load_balance_interval: int = 0
    space_threshold_mode: str = "freeSpace"
    space_utilization_threshold: int = 0
    min_space_utilization_difference: int = 0
    reservable_percent_threshold: int = 0
    reservable_threshold_mode: str = "manual"
    io_latency_threshold: int = 0
    io_load_imbalance_threshold: int = 0
    io_load_balance_enabled: bool = False


class DatastoreCluster(Wire):
    """`datastores`: their ids. `storage_class` is naos' own addition."""

    id: str
    name: str
    moref: str
    datastores: list[str]
    metrics: DatastoreClusterMetrics
    machine_manager: Reference
    datacenter: Reference
    storage_class: str


class ClusterRequest(Request):
    """`datastore_ids`: volumes of one zone, class and encryption, each in no other cluster."""

    name: Name
    datastore_ids: list[ResourceId] = Field(min_length=1, max_length=64)


class ClusterChange(Request):
    """Another name, volumes to add, volumes to take out (their disks stay on them)."""

    id: ResourceId
    name: Name | None = None
    add: list[ResourceId] = Field(default_factory=list, max_length=64)
    remove: list[ResourceId] = Field(default_factory=list, max_length=64)


class LunRequest(Request):
    """`capacity`: bytes, in the class's steps. `encrypted`: at rest, for good."""

    name: Name
    datacenter_id: str = Field(description="Id or name of the availability zone.")
    storage_class: str = Field(description="essential, standard, premium, enterprise, ultra or mass.")
    capacity: Whole
    encrypted: bool = False


class LunChange(Request):
    """Either `capacity`, the new size in bytes, or `storage_class`, the new IOPS class."""

    id: ResourceId
    capacity: Whole | None = None
    storage_class: str | None = Field(default=None, max_length=32)
