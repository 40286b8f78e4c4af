"""Clones: a machine like another one, with copies of its disks as they are at one instant."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Lock, Plan, Run, Undo, workflow
from naos.compute import destinations, hooks, instants, machines, rules, steps
from naos.compute.models import Power, VirtualMachine
from naos.compute.startup import start
from naos.database import Base
from naos.errors import Changed
from naos.fleet import cpools
from naos.fleet.models import Cpool
from naos.lifecycle import Lifecycle, check_ready
from naos.network import adapters, vlans
from naos.network.models import Adapter, Vlan
from naos.storage import copies, disks
from naos.storage.copies import Leg
from naos.storage.models import Disk, Lun, VirtualController
from naos.world import World

# What a clone does not take over; everything else, whatever is added to the tables, it does.
_OWN_OF_MACHINE = frozenset(
    {
        *("id", "cpool_id", "lun_id", "name", "power", "blade", "moving_to", "reserved", "seed"),
        *("extra_config", "definition", "lifecycle", "generation", "created_at"),
    }
)
_OWN_OF_DISK = frozenset(
    {
        *("id", "lun_id", "machine_id", "controller_id", "backing", "epoch", "exported", "lifecycle", "created_at"),
    }
)
_OWN_OF_CONTROLLER = frozenset({"id", "machine_id", "item_id", "connected"})
_OWN_OF_ADAPTER = frozenset({"id", "machine_id", "mac", "mac_key", "mac_type", "lifecycle"})

# An identity, and addresses that two machines cannot both have.
IDENTITY_IN_SEED = frozenset(
    {
        *("instance_id", "revision", "hostname", "addresses", "network_config"),
        *("customised", "customised_by", "own_network"),
    }
)
IDENTITY_IN_CONFIG = frozenset(
    {"guestinfo.metadata", "guestinfo.metadata.encoding", "guestinfo.afterburn.initrd.network-kargs"}
)


@dataclass(frozen=True)
class CloneRequest:
    """A copy of machine `source_id`; what is None is as the source has it."""

    source_id: str
    name: str
    power_on: bool = False
    datacenter_id: str | None = None
    cpool_id: str | None = None
    blade_id: str | None = None
    lun_id: str | None = None
    cluster_id: str | None = None


def plan_clone(session: Session, world: World, tenant_id: str, request: CloneRequest) -> Plan:
    """Reserve a clone's name, rows and addresses; the activity copies the disks.

    The source may run. It keeps its snapshots, tags and policies for itself.
    """
    source = machines.find(session, tenant_id, request.source_id)
    check_ready("Machine", source.name, source.lifecycle)
    machines.check_name(session, tenant_id, request.name)
    cpool = destinations.pool_of(
        session,
        source,
        cpool_id=request.cpool_id,
        blade_id=request.blade_id,
        datacenter_id=request.datacenter_id,
    )
    blade = machines.blade_name(session, cpool, request.blade_id)
    machines.check_size(world, cpool, source.cpu, source.memory)
    originals = disks.of_machine(session, source.id)
    targets = _volumes(session, source, cpool, originals, request)
    copies.check_fits(session, world, [(disk, targets[disk.id]) for disk in originals])
    if request.power_on:
        destinations.blade_with_room(session, world, source, cpool, blade, new=True)
    clone = _reserve_machine(session, source, cpool, targets[""], blade, request.name)
    if request.power_on:
        hooks.check_start(session, clone)
    legs = _reserve_disks(session, source, clone, originals, targets)
    _reserve_adapters(session, source, clone, cpool)
    return Plan(
        kind="virtual_machine.clone",
        description=f"Clone {source.name} as {clone.name}",
        arguments={
            "source_id": source.id,
            "machine_id": clone.id,
            "legs": [leg.plain() for leg in legs],
            "power_on": request.power_on,
        },
        # No lock on volumes: their growth and recovery need not wait for a copy, and what holds a disk is not deleted.
        locks=(
            machines.lock(clone.id),
            Lock(machines.lock(source.id).resource, shared=True),
            *(disks.flatten_lock(disk.id) for disk in originals),
            cpools.lock(cpool.id, shared=True),
        ),
        concerned=(machines.item(clone.id), machines.item(source.id)),
        undo=(Undo("virtual_machine.forget", {"machine_id": clone.id}, f"gave the name {clone.name} back"),),
    )


def _volumes(
    session: Session, source: VirtualMachine, cpool: Cpool, originals: list[Disk], request: CloneRequest
) -> dict[str, Lun]:
    """Where each disk's copy goes, by the disk's id; under "" the machine's own volume."""
    size = sum(disk.capacity for disk in originals)
    named = destinations.volume_of(
        session, source, lun_id=request.lun_id, cluster_id=request.cluster_id, size=size, present=[source.lun_id]
    )
    home = named or session.get_one(Lun, source.lun_id)
    if named is None and home.zone != cpool.zone:
        raise destinations.name_a_volume(session, source, cpool.zone)
    found = {"": home} | {disk.id: named or session.get_one(Lun, disk.lun_id) for disk in originals}
    for lun in found.values():
        check_ready("Volume", lun.name, lun.lifecycle)
        rules.check_zones(volume=lun.name, volume_zone=lun.zone, cpool=cpool.name, cpool_zone=cpool.zone)
    return found


def _taken_over(row: Base, own: Collection[str]) -> dict[str, Any]:
    """The values of a row's columns, but its own."""
    columns = sa.inspect(type(row)).column_attrs
    return {column.key: getattr(row, column.key) for column in columns if column.key not in own}


def _without(values: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _reserve_machine(
    session: Session, source: VirtualMachine, cpool: Cpool, lun: Lun, blade: str | None, name: str
) -> VirtualMachine:
    clone = VirtualMachine(
        **_taken_over(source, _OWN_OF_MACHINE),
        cpool_id=cpool.id,
        lun_id=lun.id,
        name=name,
        blade=blade,
        power=Power.STOPPED,
        seed=_without(source.seed, IDENTITY_IN_SEED),
        extra_config=_without(source.extra_config, IDENTITY_IN_CONFIG),
    )
    session.add(clone)
    session.flush()
    return clone


def _reserve_disks(
    session: Session,
    source: VirtualMachine,
    clone: VirtualMachine,
    originals: list[Disk],
    targets: Mapping[str, Lun],
) -> list[Leg]:
    hung = sa.select(VirtualController).where(VirtualController.machine_id == source.id)
    controllers: dict[str | None, str | None] = {None: None}
    for controller in session.scalars(hung.order_by(VirtualController.type, VirtualController.number)):
        made = VirtualController(**_taken_over(controller, _OWN_OF_CONTROLLER), machine_id=clone.id)
        session.add(made)
        session.flush()
        controllers[controller.id] = made.id
    legs = []
    for disk in originals:
        copy = Disk(
            **_taken_over(disk, _OWN_OF_DISK),
            lun_id=targets[disk.id].id,
            machine_id=clone.id,
            controller_id=controllers.get(disk.controller_id),
        )
        session.add(copy)
        session.flush()
        legs.append(Leg(disk.lun_id, disk.id, copy.lun_id, copy.id, 1))
    return legs


def _reserve_adapters(session: Session, source: VirtualMachine, clone: VirtualMachine, cpool: Cpool) -> None:
    """On the same VLANs, with MAC addresses of its own. Raises NotPropagated."""
    addresses = []
    for adapter in adapters.of_machine(session, source.id):
        vlan = session.get_one(Vlan, adapter.vlan_id)
        vlans.check_propagated(session, vlan, cpool.id, cpool.name)
        mac = adapters.free_mac(session, source.tenant_id)
        key = adapters.claim_mac(session, source.tenant_id, mac, name_of=machines.name_of)
        values = _taken_over(adapter, _OWN_OF_ADAPTER)
        session.add(Adapter(**values, machine_id=clone.id, mac=mac, mac_key=key, mac_type="ASSIGNED"))
        session.flush()
        addresses.append({"mac": mac, "address": None, "gateway": None})
    if addresses:
        clone.seed = {**clone.seed, "addresses": addresses}


# ----------------------------------------------------------------------------------------------------------------- work


@workflow("virtual_machine.clone")
def clone_machine(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id, source_id = cast(World, run.world), arguments["machine_id"], arguments["source_id"]
    legs = copies.legs_of(arguments["legs"])
    run.step("look at the source again", _look_again, world, source_id, legs)
    for leg in legs:
        run.step(
            "make room for a disk",
            copies.open_target,
            world,
            leg,
            undo=Undo("disk.remove", {"disk_id": leg.disk_id}, "removed the disk"),
        )
    if legs:
        ending = {"machine_id": source_id, "legs": arguments["legs"]}
        run.step(
            "begin the copies",
            instants.begin,
            world,
            source_id,
            legs,
            undo=Undo("copies.end", ending, "ended the copies"),
        )
        run.step("copy", copies.follow, world, legs, run.progress)
        run.step("finish the copies", copies.finish, world, legs)
    for leg in legs:
        run.step("close a disk", _close, world, leg)
    if arguments["power_on"]:
        start(run, world, machine_id)
    run.step("publish", publish, world, machine_id)
    return str(machine_id)


def _look_again(world: World, source_id: str, legs: Sequence[Leg]) -> None:
    """Its disks may have grown, moved or gone while the request waited."""
    with world.database.write() as session:
        for leg in legs:
            disk, copy = session.get(Disk, leg.source_id), session.get_one(Disk, leg.disk_id)
            if disk is None or disk.machine_id != source_id or disk.lun_id != leg.source_lun:
                name = machines.name_of(session, source_id)
                raise Changed(f"machine {name}", f"disk {leg.source_id} is not where it was")
            copy.capacity = disk.capacity


def _close(world: World, leg: Leg) -> None:
    """The copy's disk is exported for the copy only."""
    if not leg.is_local:
        disks.fence(world, leg.disk_id)


def publish(world: World, machine_id: str) -> None:
    with world.database.write() as session:
        controllers = sa.update(VirtualController).where(VirtualController.machine_id == machine_id)
        session.execute(controllers.values(lifecycle=Lifecycle.ACTIVE))
    steps.set_active(world, machine_id)
