"""Lists of machines: every filter is part of the one statement."""

from collections.abc import Sequence

import sqlalchemy as sa

from naos.compute.models import VirtualMachine
from naos.fleet.models import Blade, Cpool, Region, Zone
from naos.network.models import Adapter


def machines(
    tenant_id: str,
    *,
    name: str | None = None,
    manager_id: str | None = None,
    datacenter_ids: Sequence[str] = (),
    cpool_ids: Sequence[str] = (),
    blade_ids: Sequence[str] = (),
    lun_ids: Sequence[str] = (),
    vlan_ids: Sequence[str] = (),
) -> sa.Select[VirtualMachine]:
    """A tenant's machines by name. Filters are combined, an empty one lets everything through, an unknown id nothing."""
    query = sa.select(VirtualMachine).where(VirtualMachine.tenant_id == tenant_id)
    if name is not None:
        query = query.where(VirtualMachine.name == name)
    if cpool_ids:
        query = query.where(VirtualMachine.cpool_id.in_(cpool_ids))
    if lun_ids:
        query = query.where(VirtualMachine.lun_id.in_(lun_ids))
    if blade_ids:
        query = query.where(VirtualMachine.blade.in_(sa.select(Blade.name).where(Blade.id.in_(blade_ids))))
    if vlan_ids:
        query = query.where(VirtualMachine.id.in_(sa.select(Adapter.machine_id).where(Adapter.vlan_id.in_(vlan_ids))))
    if manager_id is not None or datacenter_ids:
        pools = sa.select(Cpool.id).join(Zone, Zone.name == Cpool.zone)
        if datacenter_ids:
            pools = pools.where(Zone.id.in_(datacenter_ids))
        if manager_id is not None:
            pools = pools.join(Region, Region.name == Zone.region).where(Region.id == manager_id)
        query = query.where(VirtualMachine.cpool_id.in_(pools))
    return query.order_by(VirtualMachine.name, VirtualMachine.id)
