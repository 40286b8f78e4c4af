"""GPUs of blades, each handed whole to one machine by PCI passthrough: counted when a blade is verified, held from start to stop."""

from collections.abc import Mapping, Sequence
from typing import cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.fleet.models import Blade, Cpool, Gpu
from naos.world import World

# Built once, of the table alone: most machines have none, and every start asks.
_TABLE = cast(sa.Table, Gpu.__table__)
_RELEASED = _TABLE.update().values(machine_id=None).where(_TABLE.c.machine_id == sa.bindparam("held_by"))


def look(world: World, blade: str) -> None:
    """Ask a blade of a model with GPUs which it has, and note them. What a machine holds stays noted though it is gone."""
    with world.database.read() as session:
        model = world.blades.models.get(session.scalars(sa.select(Blade.model).where(Blade.name == blade)).one())
    if model is None or model.gpus is None:
        return
    found = {gpu.address: gpu.name for gpu in world.rack.hypervisor(blade).gpus()}
    with world.database.write() as session:
        known = {row.address: row for row in of_blade(session, blade)}
        for address, name in found.items():
            if address in known:
                known[address].name = name
            else:
                session.add(Gpu(blade=blade, address=address, name=name))
        for address, row in known.items():
            if address not in found and row.machine_id is None:
                session.delete(row)


def of_blade(session: Session, blade: str) -> list[Gpu]:
    """By address."""
    return list(session.scalars(sa.select(Gpu).where(Gpu.blade == blade).order_by(Gpu.address)))


def of_machine(session: Session, machine_id: str) -> list[Gpu]:
    """Those that it holds, by address."""
    return list(session.scalars(sa.select(Gpu).where(Gpu.machine_id == machine_id).order_by(Gpu.blade, Gpu.address)))


def free(session: Session, tenant_id: str, machine_id: str) -> Mapping[str, int]:
    """How many the machine could have on each blade of the tenant's: those that nobody else holds. Every blade is there."""
    mine = sa.or_(Gpu.machine_id.is_(None), Gpu.machine_id == machine_id)
    rows = session.execute(
        sa.select(Blade.name, sa.func.count(Gpu.address))
        .join(Cpool, Cpool.id == Blade.cpool_id)
        .outerjoin(Gpu, sa.and_(Gpu.blade == Blade.name, mine))
        .where(Cpool.tenant_id == tenant_id)
        .group_by(Blade.name)
    )
    return {name: int(count) for name, count in rows}


def hold(session: Session, machine_id: str, blade: str, count: int) -> Sequence[str]:
    """Have the machine hold so many of the blade's, and none of any other; their addresses. To be called under the cpool's lock, once
    it is known that they are free."""
    if count == 0:
        session.execute(_RELEASED, {"held_by": machine_id})
        return []
    release(session, machine_id)
    session.flush()
    chosen = [row for row in of_blade(session, blade) if row.machine_id is None][:count]
    for row in chosen:
        row.machine_id = machine_id
    return [row.address for row in chosen]


def release(session: Session, machine_id: str) -> None:
    session.execute(sa.update(Gpu).where(Gpu.machine_id == machine_id).values(machine_id=None))
