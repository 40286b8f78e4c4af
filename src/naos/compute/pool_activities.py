"""The durable work of changing cpools."""

from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa

from naos.activity import Run, Undo, undo, workflow
from naos.compute import pools, steps
from naos.compute.models import VirtualMachine
from naos.errors import Changed
from naos.fleet import cpools, processors
from naos.fleet.models import Blade, Cpool, Maintenance
from naos.insistence import insist
from naos.network import vlans
from naos.world import World


def _world(run: Run) -> World:
    return cast(World, run.world)


@workflow("cpool.update")
def update(run: Run, arguments: dict[str, Any]) -> str:
    run.step("check and note it", _update, _world(run), arguments["cpool_id"], arguments["changes"])
    return str(arguments["cpool_id"])


def _update(world: World, cpool_id: str, changes: dict[str, Any]) -> None:
    with world.database.write() as session:
        cpool = session.get_one(Cpool, cpool_id)
        pools.check(session, world, cpool, changes)
        for name, value in changes.items():
            setattr(cpool, name, value)


# ----------------------------------------------------------------------------------------------------------------- join


@workflow("cpool.join")
def join(run: Run, arguments: dict[str, Any]) -> str:
    world, cpool_id = _world(run), arguments["cpool_id"]
    before = run.step("look what is enabled", _memory, world, cpool_id)
    chosen = run.step("choose blades", _choose, world, cpool_id, arguments["count"], arguments["memory"])
    for blade in chosen["blades"]:
        run.step(f"verify {blade}", cpools.verify_blade, world, blade)
    back = {"cpool_id": cpool_id, "blades": chosen["blades"], "memory": before}
    told = f"gave {', '.join(chosen['blades'])} back"
    run.step(
        "take the blades",
        _take,
        world,
        cpool_id,
        chosen["blades"],
        chosen["memory"],
        undo=Undo("cpool.give_back", back, told),
    )
    run.step("compute the baseline of its processors", processors.settle, world, cpool_id)
    _refresh(run, world, cpool_id)
    return str(cpool_id)


def _memory(world: World, cpool_id: str) -> int:
    with world.database.read() as session:
        return session.get_one(Cpool, cpool_id).memory


def _choose(world: World, cpool_id: str, count: int, memory: int | None) -> dict[str, Any]:
    with world.database.read() as session:
        blades, enabled = pools.choose_joining(session, world, session.get_one(Cpool, cpool_id), count, memory)
    return {"blades": blades, "memory": enabled}


def _take(world: World, cpool_id: str, blades: Sequence[str], memory: int) -> None:
    """Two cpools may have chosen the same free blade; one of them is told so."""
    with world.database.write() as session:
        for blade in session.scalars(sa.select(Blade).where(Blade.name.in_(blades)).with_for_update()):
            if blade.cpool_id not in (None, cpool_id):
                raise Changed(f"blade {blade.name}", "another cpool has taken it")
            blade.cpool_id = cpool_id
        session.get_one(Cpool, cpool_id).memory = memory


def _refresh(run: Run, world: World, cpool_id: str) -> None:
    """The cpool's VLANs on every blade that has them: one blade more or less changes the peers of all others."""
    for vlan_id in run.step("list the VLANs", vlans.carried_by, world, cpool_id):
        for blade in run.step("list its blades", vlans.blades_with, world, vlan_id):
            run.step(f"bring a VLAN to {blade}", vlans.bring, world, vlan_id, blade)


@undo("cpool.give_back")
def _give_back(world: World, arguments: dict[str, Any]) -> None:
    cpool_id, blades = arguments["cpool_id"], arguments["blades"]
    with world.database.write() as session:
        mine = sa.update(Blade).where(Blade.name.in_(blades), Blade.cpool_id == cpool_id)
        session.execute(mine.values(cpool_id=None))
        session.get_one(Cpool, cpool_id).memory = arguments["memory"]
    processors.settle(world, cpool_id)
    _withdraw(world, cpool_id, blades)


def _withdraw(world: World, cpool_id: str, blades: Sequence[str]) -> None:
    """Take the cpool's VLANs off blades that are not in it any more, and tell the others."""
    for vlan_id in vlans.carried_by(world, cpool_id):
        for blade in blades:
            vlans.take(world, vlan_id, blade)
        for blade in vlans.blades_with(world, vlan_id):
            insist(vlans.bring, world, vlan_id, blade)


# ---------------------------------------------------------------------------------------------------------------- leave


@workflow("cpool.leave")
def leave(run: Run, arguments: dict[str, Any]) -> str:
    world, cpool_id, blade = _world(run), arguments["cpool_id"], arguments["blade"]
    before = run.step("look what is enabled", _memory, world, cpool_id)
    memory = run.step("check that it may leave", _check_leaving, world, cpool_id, blade, arguments["memory"])
    for machine_id in run.step("list the stopped machines there", _defined_on, world, blade):
        run.step("take a stopped machine off", _take_off, world, machine_id, blade)
    back = {"cpool_id": cpool_id, "blade": blade, "memory": before}
    run.step(
        "note that it has left",
        _note_left,
        world,
        cpool_id,
        blade,
        memory,
        undo=Undo("cpool.rejoin", back, f"kept {blade} in the cpool"),
    )
    run.step("compute the baseline of its processors", processors.settle, world, cpool_id)
    run.step("take its VLANs off", _withdraw, world, cpool_id, [blade])
    return str(cpool_id)


def _check_leaving(world: World, cpool_id: str, blade: str, memory: int | None) -> int:
    with world.database.read() as session:
        return pools.check_leaving(session, world, session.get_one(Cpool, cpool_id), blade, memory)


def _defined_on(world: World, blade: str) -> list[str]:
    with world.database.read() as session:
        return list(session.scalars(sa.select(VirtualMachine.id).where(VirtualMachine.blade == blade)))


def _take_off(world: World, machine_id: str, blade: str) -> None:
    """It is placed anew when it starts."""
    insist(steps.undefine, world, machine_id, blade)
    steps.update(world, machine_id, blade=None)


def _note_left(world: World, cpool_id: str, blade: str, memory: int) -> None:
    with world.database.write() as session:
        mine = sa.update(Blade).where(Blade.name == blade, Blade.cpool_id == cpool_id)
        session.execute(mine.values(cpool_id=None, maintenance=Maintenance.OPEN, maintenance_since=None))
        session.get_one(Cpool, cpool_id).memory = memory


@undo("cpool.rejoin")
def _rejoin(world: World, arguments: dict[str, Any]) -> None:
    """Unless another cpool has it by now."""
    cpool_id, blade = arguments["cpool_id"], arguments["blade"]
    with world.database.write() as session:
        mine = sa.update(Blade).where(Blade.name == blade, Blade.cpool_id.is_(None))
        session.execute(mine.values(cpool_id=cpool_id))
        session.get_one(Cpool, cpool_id).memory = arguments["memory"]
    for vlan_id in vlans.carried_by(world, cpool_id):
        for name in vlans.blades_with(world, vlan_id):
            insist(vlans.bring, world, vlan_id, name)
