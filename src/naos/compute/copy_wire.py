"""Clones and moves on the wire."""

from typing import Literal

from pydantic import Field

from naos.compute.relocation import MOST_MACHINES, DiskPlacement, Wish
from naos.ids import ResourceId
from naos.names import Name
from naos.wire import Request


class Cloning(Request):
    """A copy of a machine; what is left out is as the source has it. The source may run: the copies are of one instant."""

    name: Name
    power_on: bool = False
    datacenter_id: ResourceId | None = None
    host_cluster_id: ResourceId | None = None
    host_id: str | None = Field(default=None, max_length=255)
    datastore_cluster_id: ResourceId | None = None
    datastore_id: ResourceId | None = None


class AdapterNetwork(Request):
    network_adapter_id: ResourceId
    network_id: ResourceId


class DiskPlace(Request):
    virtual_disk_id: ResourceId
    virtual_machine_id: ResourceId | None = None
    datastore_id: ResourceId | None = None
    datastore_cluster_id: ResourceId | None = None


class Relocation(Request):
    """Where machines shall be; what is left out stays as it is.

    `datastoreId` takes the disks that lie on the machine's present datastore; `diskPlacements` go before it, disk by disk.
    `priority` is accepted and changes nothing: machines move one after the other, at the volumes' own pace.
    """

    virtual_machines: list[ResourceId] = Field(min_length=1, max_length=MOST_MACHINES)
    priority: Literal["highPriority", "defaultPriority", "lowPriority"] = "highPriority"
    datacenter_id: ResourceId | None = None
    host_id: str | None = Field(default=None, max_length=255)
    host_cluster_id: ResourceId | None = None
    datastore_id: ResourceId | None = None
    datastore_cluster_id: ResourceId | None = None
    network_data: list[AdapterNetwork] = Field(default_factory=list, max_length=256)
    disk_placements: list[DiskPlace] = Field(default_factory=list, max_length=256)

    def wish(self) -> Wish:
        return Wish(
            datacenter_id=self.datacenter_id,
            cpool_id=self.host_cluster_id,
            blade_id=self.host_id,
            lun_id=self.datastore_id,
            cluster_id=self.datastore_cluster_id,
            networks={entry.network_adapter_id: entry.network_id for entry in self.network_data},
            placements=[
                DiskPlacement(
                    entry.virtual_disk_id, entry.virtual_machine_id, entry.datastore_id, entry.datastore_cluster_id
                )
                for entry in self.disk_placements
            ],
        )
