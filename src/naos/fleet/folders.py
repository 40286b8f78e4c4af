"""Folders: each zone has one of machines (`vm`) and one of networks (`network`) in every tenant. They hold all that there is in the
zone, and have no rows: their ids follow from the zone's and the tenant's."""

from dataclasses import dataclass

from naos.fleet.models import Zone
from naos.fleet.places import Places, stable_id

MACHINES, NETWORKS = "vm", "network"


@dataclass(frozen=True)
class Folder:
    id: str
    name: str
    zone: str


def folder_id(zone: Zone, tenant_id: str, name: str) -> str:
    return stable_id(zone.id, f"folder {tenant_id} {name}")


def folders(places: Places, tenant_id: str) -> list[Folder]:
    """A tenant's folders, by name, then zone."""
    return [
        Folder(folder_id(zone, tenant_id, name), name, zone.name)
        for name in (NETWORKS, MACHINES)
        for zone in places.zones
    ]
