"""Volumes on the wire: each is a datastore."""

from pydantic import Field

from naos.ids import ResourceId
from naos.names import Name
from naos.wire import Reference, Request, Whole, Wire


class Datastore(Wire):
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
    datacenter: Reference
    status: str


class LunRequest(Request):
    """`capacity`: bytes, in the class's steps."""

    name: Name
    datacenter_id: str = Field(description="Id or name of the availability zone.")
    storage_class: str = Field(description="essential, standard, premium, enterprise, ultra or mass.")
    capacity: Whole


class GrowthRequest(Request):
    """`capacity`: the new size in bytes."""

    id: ResourceId
    capacity: Whole
