"""Moves of machines: to another blade, cpool or zone, of their disks to other volumes, of their adapters to other networks.

A running machine moves without its guest noticing, a stopped one by copying what is at rest. Its id and its disks' stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Run, Undo, workflow
from naos.compute import affinity, destinations, hooks, machines, movements, rules, seeds, steps, swapping
from naos.compute.errors import PlacementUnsupported
from naos.compute.models import Power, VirtualMachine
from naos.errors import Changed, Unknown
from naos.fleet import cpools
from naos.fleet.models import Blade, Cpool
from naos.insistence import insist
from naos.lifecycle import check_ready, check_staying
from naos.names import listing
from naos.network import adapters, vlans
from naos.network.models import Vlan
from naos.storage import copies, disks, luns, snapshots
from naos.storage.models import Disk, Lun
from naos.storage.rules import NONPERSISTENT
from naos.world import World

MOST_MACHINES = 20  # in one request; they move one after the other


@dataclass(frozen=True)
class DiskPlacement:
    """Where one disk goes. machine_id: whose it is said to be."""

    disk_id: str
    machine_id: str | None = None
    lun_id: str | None = None
    cluster_id: str | None = None


@dataclass(frozen=True)
class Wish:
    """Where machines shall be; what is None stays as it is. networks: adapter id -> VLAN id."""

    datacenter_id: str | None = None
    cpool_id: str | None = None
    blade_id: str | None = None
    lun_id: str | None = None
    cluster_id: str | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    placements: Sequence[DiskPlacement] = ()


@dataclass(frozen=True)
class Journey:
    """What one machine's move comes to. blade: None leaves it, or the choice of it, to the activity.

    disks: disk id -> volume, of those that move only. before, after: adapter id -> VLAN, to be joined before or after the
    machine changes its blade.
    """

    machine_id: str
    cpool_id: str
    blade: str | None
    lun_id: str
    disks: dict[str, str]
    before: dict[str, str]
    after: dict[str, str]


def plan_relocate(session: Session, world: World, tenant_id: str, machine_ids: Sequence[str], wish: Wish) -> Plan:
    """Move machines. The placement that they have already is a move that ends at once."""
    chosen = [machines.find(session, tenant_id, machine_id) for machine_id in dict.fromkeys(machine_ids)]
    _check_named(session, tenant_id, chosen, wish)
    along = {machine.id: _named(session, wish.blade_id) for machine in chosen}
    journeys = [_journey(session, world, machine, wish, along) for machine in chosen]
    coming = [
        (session.get_one(Disk, disk_id), session.get_one(Lun, lun_id))
        for journey in journeys
        for disk_id, lun_id in journey.disks.items()
    ]
    copies.check_fits(session, world, coming)
    locks = [
        lock for machine, journey in zip(chosen, journeys, strict=True) for lock in _locks(session, machine, journey)
    ]
    return Plan(
        kind="virtual_machine.migrate",
        description="; ".join(_description(session, *pair) for pair in zip(chosen, journeys, strict=True))[:500],
        arguments={"journeys": [asdict(journey) for journey in journeys]},
        locks=tuple(locks),
        concerned=(
            *(machines.item(machine.id) for machine in chosen),
            *(Item(disk.id, "virtual_disk") for disk, _ in coming),
        ),
    )


def _locks(session: Session, machine: VirtualMachine, journey: Journey) -> list[Lock]:
    """A move of disks holds no volume: their growth and recovery need not wait for a copy that takes hours."""
    networks = {*journey.before.values(), *journey.after.values()}
    held = [
        *machines.locks_of(session, machine),
        cpools.lock(journey.cpool_id, shared=True),
        *(vlans.lock(vlan_id, shared=True) for vlan_id in networks),
        *(disks.flatten_lock(disk_id) for disk_id in journey.disks),
    ]
    return [lock for lock in held if not (journey.disks and lock.resource.startswith("lun:"))]


def _description(session: Session, machine: VirtualMachine, journey: Journey) -> str:
    goals = [journey.blade] if journey.blade not in (None, machine.blade) else []
    if journey.cpool_id != machine.cpool_id:
        goals.append(f"cpool {session.get_one(Cpool, journey.cpool_id).name}")
    volumes = sorted({session.get_one(Lun, lun_id).name for lun_id in journey.disks.values()})
    goals += [f"volume {name}" for name in volumes]
    networks = {*journey.before.values(), *journey.after.values()}
    goals += sorted(f"VLAN {session.get_one(Vlan, vlan_id).name}" for vlan_id in networks)
    return f"Move {machine.name} to {', '.join(map(str, goals))}" if goals else f"Confirm where {machine.name} is"


# --------------------------------------------------------------------------------------------------------------- checks


def _check_named(session: Session, tenant_id: str, chosen: Sequence[VirtualMachine], wish: Wish) -> None:
    """Every disk and adapter that is named belongs to one of the machines."""
    names = listing(machine.name for machine in chosen)
    ids = {machine.id for machine in chosen}
    for placement in wish.placements:
        disk = disks.find(session, tenant_id, placement.disk_id)
        if disk.machine_id not in ids or placement.machine_id not in (None, disk.machine_id):
            raise PlacementUnsupported(
                names, f"disk {disk.name} ({disk.id}) is not of the machine that is named with it"
            )
    for adapter_id in wish.networks:
        if adapters.find(session, tenant_id, adapter_id).machine_id not in ids:
            raise PlacementUnsupported(names, f"adapter {adapter_id} is another machine's")


def _journey(
    session: Session, world: World, machine: VirtualMachine, wish: Wish, along: Mapping[str, str | None]
) -> Journey:
    check_staying("Machine", machine.name, machine.lifecycle)
    present = session.get_one(Cpool, machine.cpool_id)
    cpool = destinations.pool_of(
        session, machine, cpool_id=wish.cpool_id, blade_id=wish.blade_id, datacenter_id=wish.datacenter_id
    )
    blade = machines.blade_name(session, cpool, wish.blade_id)
    home, moving = volumes_of(session, machine, cpool, wish)
    before, after = networks_of(session, machine, present, cpool, wish)
    if cpool.id != present.id:
        affinity.check_leaving(session, machine)
        machines.check_size(world, cpool, machine.cpu, machine.memory)
    if machine.power == Power.RUNNING:
        _check_live(session, world, machine, present, cpool, blade, along)
    return Journey(machine.id, cpool.id, blade, home, moving, before, after)


def _named(session: Session, blade_id: str | None) -> str | None:
    return session.scalar(sa.select(Blade.name).where(sa.or_(Blade.id == blade_id, Blade.name == blade_id)))


def _check_live(
    session: Session,
    world: World,
    machine: VirtualMachine,
    present: Cpool,
    cpool: Cpool,
    blade: str | None,
    along: Mapping[str, str | None],
) -> None:
    _check_model(machine, present, cpool)
    if cpool.id != present.id:
        hooks.check_memory(session, machine, cpool.id, machine.memory)
    if cpool.id != present.id or blade not in (None, machine.blade):
        destinations.blade_with_room(session, world, machine, cpool, blade, new=False, along=along)


def _check_model(machine: VirtualMachine, present: Cpool, cpool: Cpool) -> None:
    if cpool.model != present.model:
        raise PlacementUnsupported(
            machine.name,
            f"it runs on a blade of model {present.model} and cpool {cpool.name} has model {cpool.model}; a running machine"
            " moves between blades of one model only. Power it off, move it, and power it on",
        )


def volumes_of(session: Session, machine: VirtualMachine, cpool: Cpool, wish: Wish) -> tuple[str, dict[str, str]]:
    """The machine's own volume afterwards, and the disks that move.

    A volume named for the machine takes the disks that lie on its present one; disks that were placed apart stay there, unless
    they are named, or the machine leaves the zone.
    """
    attached = disks.of_machine(session, machine.id)
    named = destinations.volume_of(
        session,
        machine,
        lun_id=wish.lun_id,
        cluster_id=wish.cluster_id,
        size=sum(disk.capacity for disk in attached),
        present=[machine.lun_id],
    )
    placed = {placement.disk_id: placement for placement in wish.placements}
    moving: dict[str, str] = {}
    for disk in attached:
        here = session.get_one(Lun, disk.lun_id)
        target = here
        if disk.id in placed:
            target = _placed(session, machine, disk, placed[disk.id]) or here
        elif named is not None and (disk.lun_id == machine.lun_id or here.zone != cpool.zone):
            target = named
        if target.zone != cpool.zone and target is here:
            raise destinations.name_a_volume(session, machine, cpool.zone)
        rules.check_zones(volume=target.name, volume_zone=target.zone, cpool=cpool.name, cpool_zone=cpool.zone)
        if target.id != here.id:
            _check_movable(session, machine, disk, running=machine.power == Power.RUNNING)
            moving[disk.id] = target.id
    return _home(session, machine, cpool, attached, moving, named), moving


def _placed(session: Session, machine: VirtualMachine, disk: Disk, placement: DiskPlacement) -> Lun | None:
    return destinations.volume_of(
        session,
        machine,
        lun_id=placement.lun_id,
        cluster_id=placement.cluster_id,
        size=disk.capacity,
        present=[disk.lun_id],
    )


def _home(
    session: Session,
    machine: VirtualMachine,
    cpool: Cpool,
    attached: Sequence[Disk],
    moving: Mapping[str, str],
    named: Lun | None,
) -> str:
    """The volume that the machine is said to be on: the one named, else its boot disk's."""
    home = named.id if named is not None else machine.lun_id
    if named is None and attached:
        home = moving.get(attached[0].id, home)
    lun = luns.find(session, machine.tenant_id, home)
    if lun.zone != cpool.zone:
        raise destinations.name_a_volume(session, machine, cpool.zone)
    return lun.id


def _check_movable(session: Session, machine: VirtualMachine, disk: Disk, *, running: bool) -> None:
    check_ready("Disk", disk.name, disk.lifecycle)
    snapshots.check_free(session, disk, "moved to another volume")
    if disk.mode == NONPERSISTENT:
        remedy = (
            "power it off first: what it has written to a non-persistent disk is dropped at its stop and cannot move"
        )
        rules.check_stopped(machine.name, Power.RUNNING if running else Power.STOPPED, remedy)


def networks_of(
    session: Session, machine: VirtualMachine, present: Cpool, cpool: Cpool, wish: Wish
) -> tuple[dict[str, str], dict[str, str]]:
    """Adapters that change their VLAN: before the machine leaves its blade where that can be, else afterwards."""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for adapter in adapters.of_machine(session, machine.id):
        old = session.get_one(Vlan, adapter.vlan_id)
        wanted = wish.networks.get(adapter.id, old.id)
        if wanted == old.id and cpool.id == present.id:
            continue
        new = vlans.find_ready(session, machine.tenant_id, wanted)
        vlans.check_propagated(session, new, cpool.id, cpool.name)
        if wanted == old.id:
            continue
        if machine.power == Power.STOPPED or present.id in vlans.pools_of(session, new.id):
            before[adapter.id] = new.id
        elif cpool.id in vlans.pools_of(session, old.id):
            after[adapter.id] = new.id
        else:
            raise PlacementUnsupported(
                machine.name,
                f"cpool {present.name} does not carry VLAN {new.name} and cpool {cpool.name} does not carry {old.name}, so that"
                " a running guest would lose its network; propagate one of them, or power the machine off first",
            )
    return before, after


# ----------------------------------------------------------------------------------------------------------------- work


@workflow("virtual_machine.migrate")
def migrate(run: Run, arguments: dict[str, Any]) -> str:
    """One machine after the other; those that have arrived stay there when a later one fails."""
    journeys = [Journey(**plain) for plain in arguments["journeys"]]
    along = {journey.machine_id: journey.blade for journey in journeys}
    for journey in journeys:
        travel(run, cast(World, run.world), journey, along)
    return journeys[0].machine_id


def travel(run: Run, world: World, journey: Journey, along: Mapping[str, str | None]) -> None:
    """Move one machine. along: those that move with it, which are where they go."""
    machine_id = journey.machine_id
    running = run.step("look whether it runs", steps.is_running, world, machine_id)
    run.step("check again", _check_again, world, journey, running)
    if running:
        swapping.at_move(run, world, machine_id, journey.lun_id)
    legs = copies.legs_of(run.step("list the disks that move", movements.legs, world, journey.disks))
    if legs and running:
        movements.move_live(run, world, machine_id, legs)
    elif legs:
        movements.move_at_rest(run, world, machine_id, legs)
    movements.join_networks(run, world, machine_id, journey.before)
    if running:
        _migrate(run, world, journey, along)
    else:
        run.step("bring it to its place", _place_at_rest, world, journey)
    movements.join_networks(run, world, machine_id, journey.after)
    run.step("note its volume", _note_volume, world, machine_id, journey.lun_id)
    if running:
        run.step("give the old swap file back", swapping.leave_behind, world, machine_id)


def _check_again(world: World, journey: Journey, running: bool) -> None:  # noqa: FBT001 - of a step
    """What may have changed while the request waited: a snapshot taken, a machine started, a disk gone or another's."""
    with world.database.read() as session:
        machine = session.get(VirtualMachine, journey.machine_id)
        if machine is None:
            raise Unknown("virtual machine", journey.machine_id)
        present, cpool = session.get_one(Cpool, machine.cpool_id), session.get_one(Cpool, journey.cpool_id)
        if running:
            _check_model(machine, present, cpool)
        for disk_id in journey.disks:
            disk = session.get(Disk, disk_id)
            if disk is None or disk.machine_id != machine.id:
                raise Changed(f"machine {machine.name}", f"disk {disk_id} is not its disk any more")
            _check_movable(session, machine, disk, running=running)


def _migrate(run: Run, world: World, journey: Journey, along: Mapping[str, str | None]) -> None:
    machine_id, cpool_id = journey.machine_id, journey.cpool_id
    source = run.step("look where it is", _blade, world, machine_id)
    target = run.step(
        "choose the target",
        steps.claim,
        world,
        machine_id,
        cpool_id,
        journey.blade,
        along,
        undo=Undo("virtual_machine.drop_claim", {"machine_id": machine_id}, "gave the memory at the target back"),
    )
    if source != target:
        run.step("bring the networks", steps.bring_networks, world, machine_id, target)
        abandon = {"machine_id": machine_id, "blade": target, "cpool_id": cpool_id}
        run.step(
            "put the seed",
            seeds.put,
            world,
            machine_id,
            target,
            undo=Undo("virtual_machine.abandon_move", abandon, f"cleaned {target}"),
        )
        run.step("move", steps.move, world, machine_id, source, target, run.progress)
        run.step("note the new blade", movements.record_arrival, world, machine_id, target, cpool_id)
        run.step("clean the old blade", seeds.remove, world, machine_id, source)


def _blade(world: World, machine_id: str) -> str | None:
    return steps.row(world, machine_id).blade


def _place_at_rest(world: World, journey: Journey) -> None:
    """A stopped machine is defined on one blade of its cpool at most; it is placed when it starts."""
    machine = steps.row(world, journey.machine_id)
    stays = machine.cpool_id == journey.cpool_id
    blade = journey.blade if journey.blade is not None or not stays else machine.blade
    movements.undefine_everywhere_but(world, machine.id, blade, [machine.cpool_id, journey.cpool_id])
    moves = (machine.cpool_id, machine.blade) != (journey.cpool_id, blade)
    if moves:
        steps.update(world, machine.id, cpool_id=journey.cpool_id, blade=blade)
    if blade is not None and (moves or journey.disks):
        insist(steps.bring_networks, world, machine.id, blade)
        insist(steps.define, world, machine.id, blade)


def _note_volume(world: World, machine_id: str, lun_id: str) -> None:
    if steps.row(world, machine_id).lun_id != lun_id:
        steps.update(world, machine_id, lun_id=lun_id)
