"""Deployments on the wire (wire-API section 4.11)."""

from pydantic import Field

from naos.engines.ports import Provisioning
from naos.ids import ResourceId
from naos.names import Name
from naos.units import MIB
from naos.wire import Request, Whole


class AdapterWish(Request):
    """An adapter of a machine to deploy. `address`: ``10.1.0.11/24`` for the guest; left out, it asks DHCP."""

    network_id: ResourceId
    mac_address: str | None = None
    address: str | None = Field(default=None, max_length=64)
    gateway: str | None = Field(default=None, max_length=64)


class DeployOption(Request):
    id: str = Field(max_length=255)
    value: str = Field(max_length=2 * MIB)


class NetworkMapping(Request):
    """Which network an adapter of the item is on. `network_adapter_id`: the adapter's id or name, or its network's name."""

    network_adapter_id: str = Field(max_length=255)
    network_id: ResourceId


class Deployment(Request):
    """A machine from an item of a library. `deploy_options`: the item's own properties by their ids, and cloud-init's `hostname`,
    `public-keys`, `user-data` and `network-config` (both base64), `instance-id`, `password`, `seedfrom`.

    Left out, `host_cluster_id` follows from `host_id`, else it is the cpool with the most free memory in the zone. `cpu`,
    `memory`, `disk_capacity` and `network_adapters` are naos' own and take the place of what the item says.
    """

    content_library_item_id: ResourceId
    name: Name
    host_cluster_id: ResourceId | None = None
    host_id: str | None = None
    datastore_id: ResourceId
    datacenter_id: ResourceId | None = None
    power_on: bool = False
    disks_provisioning_type: Provisioning = Provisioning.DYNAMIC
    deploy_options: list[DeployOption] = Field(default_factory=list, max_length=600)
    network_data: list[NetworkMapping] = Field(default_factory=list, max_length=64)
    cpu: Whole | None = None
    memory: Whole | None = None
    disk_capacity: Whole | None = None
    network_adapters: list[AdapterWish] | None = Field(default=None, max_length=16)
