"""VLANs and adapters on the wire."""

from pydantic import Field

from naos.ids import ResourceId
from naos.names import Name
from naos.wire import Reference, Request, Whole, Wire


class Network(Wire):
    """`vlan_id` (the tag), `host_clusters`, `datacenters` (the zones of these) and `status` are naos' own additions. `vpc` is
    left out: its presence would mean a managed layer-3 network."""

    id: str
    name: str
    moref: str
    machine_manager: Reference
    virtual_machines_number: int
    host_number: int
    host_names: list[str]
    vlan_id: int
    host_clusters: list[Reference]
    datacenters: list[Reference]
    status: str


class VirtualSwitch(Wire):
    """What joins the blades of a zone, and the zones with each other. `datacenter`, `drivers` (how VLANs reach its blades) and
    `vlans` (how many of the tenant's it carries) are naos' own additions."""

    id: str
    name: str
    moref: str
    folder_id: str
    machine_manager: Reference
    datacenter: Reference
    drivers: list[str]
    vlans: int


class VlanRequest(Request):
    """`host_cluster_ids`: the cpools that carry it. `vlan_id`: left out, a free tag is given."""

    name: Name
    host_cluster_ids: list[ResourceId] = Field(default_factory=list, max_length=64)
    vlan_id: Whole | None = None


class PropagationRequest(Request):
    """The cpools to bring a VLAN to."""

    host_cluster_ids: list[ResourceId] = Field(min_length=1, max_length=64)


class NetworkAdapter(Wire):
    id: str
    virtual_machine_id: str
    name: str
    network: Reference
    type: str
    mac_type: str
    mac_address: str
    connected: bool
    auto_connect: bool
