"""Regions, zones, blades and cpools: reading the inventory into the tables, checks and steps."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.errors import NameTaken, Unknown
from naos.fleet import gpus, processors
from naos.fleet.errors import ModelUnknown, ZoneUnknown
from naos.fleet.models import Blade, Cpool, Maintenance, PoolMemory, Region, Zone
from naos.fleet.rules import check_blade_count, check_memory, choose_blades
from naos.inventory.catalogues import BladeModel, memory_ceiling, memory_floor
from naos.inventory.model import Inventory
from naos.lifecycle import Lifecycle, check_ready
from naos.world import World


def synchronise(session: Session, inventory: Inventory) -> None:
    """Bring the inventory's regions, zones and blades into the tables; nothing is removed that is in use."""
    for region in inventory.regions:
        if session.scalar(sa.select(Region).where(Region.name == region.name)) is None:
            session.add(Region(name=region.name))
        for zone in region.zones:
            if session.scalar(sa.select(Zone).where(Zone.name == zone.name)) is None:
                session.add(Zone(name=zone.name, region=region.name))
    known = {blade.name: blade for blade in session.scalars(sa.select(Blade))}
    for entry in inventory.blades:
        blade = known.pop(entry.name, None)
        if blade is None:
            session.add(Blade(name=entry.name, zone=entry.zone, model=entry.model))
        elif blade.cpool_id is None:
            blade.zone, blade.model = entry.zone, entry.model
    for gone in known.values():
        if gone.cpool_id is None:
            session.delete(gone)


def find(session: Session, tenant_id: str, cpool_id: str) -> Cpool:
    """A cpool of the tenant. Raises Unknown."""
    cpool = session.get(Cpool, cpool_id)
    if cpool is None or cpool.tenant_id != tenant_id:
        raise Unknown("cpool", cpool_id)
    return cpool


def find_ready(session: Session, tenant_id: str, cpool_id: str) -> Cpool:
    """A cpool of the tenant that something new may lean on. Raises Unknown, NotReady."""
    cpool = find(session, tenant_id, cpool_id)
    check_ready("Cpool", cpool.name, cpool.lifecycle)
    return cpool


def find_zone(session: Session, reference: str) -> Zone:
    """A zone by id or name. Raises ZoneUnknown."""
    zone = session.scalar(sa.select(Zone).where(sa.or_(Zone.id == reference, Zone.name == reference)))
    if zone is None:
        raise ZoneUnknown(reference, ", ".join(session.scalars(sa.select(Zone.name).order_by(Zone.name))))
    return zone


def blades_of(session: Session, cpool_ids: Iterable[str]) -> list[Blade]:
    """The blades of some cpools, by name."""
    return list(session.scalars(sa.select(Blade).where(Blade.cpool_id.in_(list(cpool_ids))).order_by(Blade.name)))


def blades_by_cpool(session: Session, cpool_ids: Iterable[str]) -> dict[str, list[Blade]]:
    """The blades of some cpools, by name: one statement."""
    found: dict[str, list[Blade]] = {}
    for blade in blades_of(session, cpool_ids):
        found.setdefault(blade.cpool_id or "", []).append(blade)
    return found


def model_of(world: World, name: str) -> BladeModel:
    """A model of the blade catalogue. Raises ModelUnknown."""
    try:
        return world.blades.models[name]
    except KeyError:
        raise ModelUnknown(name, ", ".join(sorted(world.blades.models))) from None


def lock(cpool_id: str, *, shared: bool = False) -> Lock:
    return Lock(f"cpool:{cpool_id}", shared=shared)


def plan_create(
    session: Session, world: World, *, tenant_id: str, name: str, zone: str, model: str, blades: int, memory: int | None
) -> Plan:
    """Reserve free blades for a new cpool. `memory`: bytes to enable; None enables the floor."""
    kind = model_of(world, model)
    check_blade_count(blades, maximum=world.blades.maximum_blades_per_cpool)
    free = list(
        session.scalars(sa.select(Blade.name).where(Blade.zone == zone, Blade.model == model, Blade.cpool_id.is_(None)))
    )
    chosen = choose_blades(zone, model, free, blades)
    floor, ceiling = memory_floor(kind, blades), memory_ceiling(kind, blades)
    enabled = floor if memory is None else memory
    check_memory(model, blades, enabled, floor=floor, ceiling=ceiling)
    if session.scalar(sa.select(Cpool.id).where(Cpool.tenant_id == tenant_id, Cpool.name == name)):
        raise NameTaken("cpool", name)
    cpool = Cpool(tenant_id=tenant_id, name=name, zone=zone, model=model, memory=enabled)
    session.add(cpool)
    session.flush()
    session.execute(sa.update(Blade).where(Blade.name.in_(chosen)).values(cpool_id=cpool.id))
    return Plan(
        kind="cpool.create",
        description=f"Create cpool {name}: {blades} x {model} in {zone}",
        arguments={"cpool_id": cpool.id, "blades": chosen},
        locks=(lock(cpool.id),),
        concerned=(Item(cpool.id, "host_cluster"),),
        undo=(Undo("cpool.forget", {"cpool_id": cpool.id}, f"gave {', '.join(chosen)} back"),),
    )


def verify_blade(world: World, blade: str) -> None:
    """Ask the blade's hypervisor who it is, and note it. Raises what the hypervisor raises when it does not answer."""
    facts = world.rack.hypervisor(blade).facts()
    with world.database.write() as session:
        session.execute(
            sa.update(Blade)
            .where(Blade.name == blade)
            .values(connected=True, hypervisor_version=facts.hypervisor_version, acceleration=facts.acceleration)
        )
    processors.look(world, blade)
    gpus.look(world, blade)


def set_active(world: World, cpool_id: str) -> None:
    with world.database.write() as session:
        session.execute(sa.update(Cpool).where(Cpool.id == cpool_id).values(lifecycle=Lifecycle.ACTIVE))


def forget(world: World, cpool_id: str) -> None:
    with world.database.write() as session:
        mine = sa.update(Blade).where(Blade.cpool_id == cpool_id)
        session.execute(mine.values(cpool_id=None, maintenance=Maintenance.OPEN, maintenance_since=None))
        processors.forget(session, cpool_id)
        session.execute(sa.delete(PoolMemory).where(PoolMemory.cpool_id == cpool_id))
        session.execute(sa.delete(Cpool).where(Cpool.id == cpool_id))
