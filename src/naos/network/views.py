"""VLANs and the zones' switches as clients see them; each function that asks the tables is one statement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.fleet import folders
from naos.fleet.models import Blade, Cpool, Zone
from naos.fleet.places import Places, stable_id
from naos.fleet.wire import moref
from naos.inventory.model import Inventory
from naos.network.models import Adapter, Propagation, Vlan
from naos.network.wire import Network, VirtualSwitch
from naos.wire import Reference


@dataclass
class Carrier:
    """A cpool that carries a VLAN, with its blades."""

    cpool: Reference
    zone: str
    blades: list[str] = field(default_factory=list)


def carriers(session: Session, tenant_id: str) -> Mapping[str, list[Carrier]]:
    """The cpools of each of a tenant's VLANs, by name; a VLAN that is nowhere yet is left out."""
    rows = session.execute(
        sa.select(Propagation.vlan_id, Cpool.id, Cpool.name, Cpool.zone, Blade.name)
        .join(Cpool, Cpool.id == Propagation.cpool_id)
        .outerjoin(Blade, Blade.cpool_id == Cpool.id)
        .where(Cpool.tenant_id == tenant_id)
        .order_by(Cpool.name, Cpool.id, Blade.name)
    )
    found: dict[str, dict[str, Carrier]] = {}
    for vlan_id, cpool_id, name, zone, blade in rows:
        carrier = found.setdefault(vlan_id, {}).setdefault(cpool_id, Carrier(Reference(id=cpool_id, name=name), zone))
        if blade is not None:
            carrier.blades.append(blade)
    return {vlan_id: list(pools.values()) for vlan_id, pools in found.items()}


def machines_by_vlan(session: Session, tenant_id: str) -> Mapping[str, int]:
    """How many machines have an adapter on each of a tenant's VLANs; those without one are left out."""
    rows = session.execute(
        sa.select(Adapter.vlan_id, sa.func.count(sa.distinct(Adapter.machine_id)))
        .where(Adapter.tenant_id == tenant_id)
        .group_by(Adapter.vlan_id)
    )
    return {str(vlan_id): int(count) for vlan_id, count in rows}


def network(places: Places, vlan: Vlan, carried_by: Sequence[Carrier], *, machines: int) -> Network:
    """One that no cpool carries yet belongs to the first region."""
    hosts = sorted(blade for carrier in carried_by for blade in carrier.blades)
    zones = sorted({carrier.zone for carrier in carried_by})
    first = places.regions[0]
    return Network(
        id=vlan.id,
        name=vlan.name,
        moref=moref("dvportgroup-", vlan.id),
        machine_manager=places.manager(zones[0]) if zones else Reference(id=first.id, name=first.name),
        virtual_machines_number=machines,
        host_number=len(hosts),
        host_names=hosts,
        vlan_id=vlan.tag,
        host_clusters=[carrier.cpool for carrier in carried_by],
        datacenters=[places.datacenter(zone) for zone in zones],
        status=vlan.lifecycle,
    )


def zones_of(
    places: Places,
    tenant_id: str,
    *,
    manager_id: str | None,
    datacenter_id: str | None,
    switch_id: str | None,
    folder_id: str | None,
) -> set[str] | None:
    """The ids of the zones that filters leave; None when there is no filter. An id that is not there leaves none."""
    if (manager_id, datacenter_id, switch_id, folder_id) == (None, None, None, None):
        return None
    names = places.names(manager_id=manager_id, datacenter_id=datacenter_id)
    return {
        zone.id
        for zone in places.zones
        if zone.name in names
        and switch_id in (None, switch_of(zone, tenant_id))
        and folder_id in (None, folders.folder_id(zone, tenant_id, folders.NETWORKS))
    }


# -------------------------------------------------------------------------------------------------------------- switches


def switch_of(zone: Zone, tenant_id: str) -> str:
    """The id of a zone's switch as a tenant knows it."""
    return stable_id(zone.id, f"switch {tenant_id}")


def switches(
    places: Places, inventory: Inventory, tenant_id: str, carried: Mapping[str, Sequence[Carrier]]
) -> list[VirtualSwitch]:
    """One for each zone that has blades, by name: their bridges and what joins them."""
    drivers: dict[str, set[str]] = {}
    for blade in inventory.blades:
        drivers.setdefault(blade.zone, set()).add(blade.fabric.driver)
    found = []
    for zone in places.zones:
        if zone.name in drivers:
            identifier = switch_of(zone, tenant_id)
            found.append(
                VirtualSwitch(
                    id=identifier,
                    name=f"switch-{zone.name}",
                    moref=moref("dvs-", identifier),
                    folder_id=folders.folder_id(zone, tenant_id, folders.NETWORKS),
                    machine_manager=places.manager(zone.name),
                    datacenter=places.datacenter(zone.name),
                    drivers=sorted(drivers[zone.name]),
                    vlans=sum(any(pool.zone == zone.name for pool in pools) for pools in carried.values()),
                )
            )
    return found
