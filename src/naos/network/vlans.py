"""VLANs: checks, and the steps that bring them to blades."""

from collections.abc import Callable, Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.engines.ports import VlanSpec
from naos.errors import NameTaken, Unknown
from naos.fleet import cpools
from naos.fleet.models import Blade
from naos.insistence import insist
from naos.lifecycle import Lifecycle, check_ready
from naos.names import itself, listing
from naos.network.errors import NotPropagated, VlanInUse
from naos.network.models import Adapter, Propagation, Vlan
from naos.network.rules import free_tag
from naos.world import World


def find(session: Session, tenant_id: str, vlan_id: str) -> Vlan:
    """A VLAN of the tenant. Raises Unknown."""
    vlan = session.get(Vlan, vlan_id)
    if vlan is None or vlan.tenant_id != tenant_id:
        raise Unknown("VLAN", vlan_id)
    return vlan


def find_ready(session: Session, tenant_id: str, vlan_id: str) -> Vlan:
    """A VLAN of the tenant that something new may lean on. Raises Unknown, NotReady."""
    vlan = find(session, tenant_id, vlan_id)
    check_ready("VLAN", vlan.name, vlan.lifecycle)
    return vlan


def lock(vlan_id: str, *, shared: bool = False) -> Lock:
    return Lock(f"vlan:{vlan_id}", shared=shared)


def pools_of(session: Session, vlan_id: str) -> list[str]:
    return list(session.scalars(sa.select(Propagation.cpool_id).where(Propagation.vlan_id == vlan_id)))


def check_propagated(session: Session, vlan: Vlan, cpool_id: str, cpool_name: str) -> None:
    """Raises NotPropagated, naming what the cpool does carry."""
    if cpool_id in pools_of(session, vlan.id):
        return
    carried = session.scalars(
        sa.select(Vlan.name).join(Propagation, Propagation.vlan_id == Vlan.id).where(Propagation.cpool_id == cpool_id)
    )
    raise NotPropagated(vlan.name, cpool_name, ", ".join(sorted(carried)) or "none")


def plan_create(
    session: Session, *, tenant_id: str, name: str, cpool_ids: Iterable[str], tag: int | None = None
) -> Plan:
    """Reserve a name and a tag; the activity brings the VLAN to every blade of the cpools."""
    pools = [cpools.find_ready(session, tenant_id, cpool_id) for cpool_id in dict.fromkeys(cpool_ids)]
    if session.scalar(sa.select(Vlan.id).where(Vlan.tenant_id == tenant_id, Vlan.name == name)):
        raise NameTaken("VLAN", name)
    vlan = Vlan(tenant_id=tenant_id, name=name, tag=free_tag(set(session.scalars(sa.select(Vlan.tag))), tag))
    session.add(vlan)
    session.flush()
    session.add_all(Propagation(vlan_id=vlan.id, cpool_id=pool.id) for pool in pools)
    return Plan(
        kind="vlan.create",
        description=f"Create VLAN {name} (id {vlan.tag}) on {', '.join(pool.name for pool in pools) or 'no cpool yet'}",
        arguments={"vlan_id": vlan.id},
        locks=(lock(vlan.id), *(cpools.lock(pool.id, shared=True) for pool in pools)),
        concerned=(Item(vlan.id, "network"),),
        undo=(Undo("vlan.forget", {"vlan_id": vlan.id}, f"gave the name {name} and VLAN id {vlan.tag} back"),),
    )


def plan_propagate(session: Session, *, tenant_id: str, vlan_id: str, cpool_ids: Iterable[str]) -> Plan:
    """Bring a VLAN to more cpools."""
    vlan = find_ready(session, tenant_id, vlan_id)
    pools = [cpools.find_ready(session, tenant_id, cpool_id) for cpool_id in dict.fromkeys(cpool_ids)]
    new = [pool.id for pool in pools if pool.id not in pools_of(session, vlan_id)]
    return Plan(
        kind="vlan.propagate",
        description=f"Propagate VLAN {vlan.name} to {', '.join(pool.name for pool in pools)}",
        arguments={"vlan_id": vlan.id, "cpool_ids": new},
        locks=(lock(vlan.id), *(cpools.lock(pool.id, shared=True) for pool in pools)),
        concerned=(Item(vlan.id, "network"),),
    )


def plan_delete(
    session: Session, *, tenant_id: str, vlan_id: str, name_of: Callable[[Session, str], str] = itself
) -> Plan:
    """Take a VLAN that no adapter uses off every blade; from here on nothing new may use it.

    `name_of`: a machine's name by its id.
    """
    vlan = find_ready(session, tenant_id, vlan_id)
    check_unused(session, vlan, name_of)
    vlan.lifecycle = Lifecycle.DELETING
    return Plan(
        kind="vlan.delete",
        description=f"Delete VLAN {vlan.name} (id {vlan.tag})",
        arguments={"vlan_id": vlan.id},
        locks=(lock(vlan.id),),
        concerned=(Item(vlan.id, "network"),),
        undo=(Undo("vlan.keep", {"vlan_id": vlan.id}, "left the VLAN as it is"),),
    )


def plan_restore(session: Session, *, vlan_id: str, blade: str) -> Plan:
    """Bring a VLAN back to a blade that has lost it, as one does that was started anew."""
    vlan = session.get(Vlan, vlan_id)
    if vlan is None:
        raise Unknown("VLAN", vlan_id)
    return Plan(
        kind="vlan.restore",
        description=f"Bring VLAN {vlan.name} back to {blade}",
        arguments={"vlan_id": vlan.id, "blade": blade},
        locks=(lock(vlan.id),),
        concerned=(Item(vlan.id, "network"),),
    )


def check_unused(session: Session, vlan: Vlan, name_of: Callable[[Session, str], str] = itself) -> None:
    """Raises VlanInUse, naming the machines."""
    machines = list(session.scalars(sa.select(Adapter.machine_id).where(Adapter.vlan_id == vlan.id)))
    if machines:
        raise VlanInUse(vlan.name, len(machines), listing(name_of(session, machine_id) for machine_id in machines))


# ---------------------------------------------------------------------------------------------------------------- steps


def blades_with(world: World, vlan_id: str) -> list[str]:
    """Names of the blades that carry, or shall carry, the VLAN."""
    with world.database.read() as session:
        return [blade.name for blade in cpools.blades_of(session, pools_of(session, vlan_id))]


def spec_for(world: World, vlan_id: str, blade: str) -> VlanSpec:
    """The VLAN as one blade must know it: its tag, and the fabric addresses of every other blade that carries it."""
    with world.database.read() as session:
        vlan = session.get(Vlan, vlan_id)
        if vlan is None:
            raise Unknown("VLAN", vlan_id)
    others = set(blades_with(world, vlan_id)) - {blade}
    addresses = sorted(
        str(entry.fabric.address) for entry in world.inventory.blades if entry.name in others and entry.fabric.address
    )
    return VlanSpec(vlan.tag, addresses)


def bring(world: World, vlan_id: str, blade: str) -> str:
    """Make the VLAN on one blade; returns its bridge."""
    return world.rack.fabric(blade).ensure_vlan(spec_for(world, vlan_id, blade))


def take(world: World, vlan_id: str, blade: str) -> None:
    """Take the VLAN off one blade; absent is fine."""
    with world.database.read() as session:
        vlan = session.get(Vlan, vlan_id)
    if vlan is not None:
        insist(world.rack.fabric(blade).remove_vlan, vlan.tag)


def set_active(world: World, vlan_id: str) -> None:
    with world.database.write() as session:
        session.execute(sa.update(Vlan).where(Vlan.id == vlan_id).values(lifecycle=Lifecycle.ACTIVE))


def missing_pools(world: World, vlan_id: str, cpool_ids: Iterable[str]) -> list[str]:
    """Those of the cpools that do not carry the VLAN: a failure takes it off these and no others."""
    with world.database.read() as session:
        present = pools_of(session, vlan_id)
    return [pool for pool in cpool_ids if pool not in present]


def add_pools(world: World, vlan_id: str, cpool_ids: Iterable[str]) -> None:
    with world.database.write() as session:
        present = pools_of(session, vlan_id)
        session.add_all(Propagation(vlan_id=vlan_id, cpool_id=pool) for pool in cpool_ids if pool not in present)


def drop_pools(world: World, vlan_id: str, cpool_ids: Iterable[str]) -> None:
    """Take the VLAN off the blades of some cpools, then forget that they had it."""
    with world.database.read() as session:
        blades = [blade.name for blade in cpools.blades_of(session, cpool_ids)]
    for blade in blades:
        take(world, vlan_id, blade)
    with world.database.write() as session:
        session.execute(
            sa.delete(Propagation).where(Propagation.vlan_id == vlan_id, Propagation.cpool_id.in_(list(cpool_ids)))
        )


def lost_by(world: World, blade: str) -> list[Vlan]:
    """The active VLANs that a blade shall carry and does not."""
    carried = (
        sa.select(Vlan)
        .join(Propagation, Propagation.vlan_id == Vlan.id)
        .join(Blade, Blade.cpool_id == Propagation.cpool_id)
        .where(Blade.name == blade, Vlan.lifecycle == Lifecycle.ACTIVE)
    )
    with world.database.read() as session:
        wanted = list(session.scalars(carried))
    if not wanted:
        return []
    present = world.rack.fabric(blade).vlans()
    return [vlan for vlan in wanted if vlan.tag not in present]


def withdraw(world: World, vlan_id: str) -> None:
    """Take the VLAN off every blade that carries it."""
    for blade in blades_with(world, vlan_id):
        take(world, vlan_id, blade)


def forget(world: World, vlan_id: str) -> None:
    with world.database.write() as session:
        session.execute(sa.delete(Propagation).where(Propagation.vlan_id == vlan_id))
        session.execute(sa.delete(Vlan).where(Vlan.id == vlan_id))


def carried_by(world: World, cpool_id: str) -> list[str]:
    """Ids of the VLANs that a cpool carries."""
    with world.database.read() as session:
        return list(session.scalars(sa.select(Propagation.vlan_id).where(Propagation.cpool_id == cpool_id)))
