"""How machines change their side: cut off where they were, their point made their disks, their rows moved.

The order is the guarantee: no disk is adopted at the other side before its exports on the old one are cut, or its machine's blade is
certainly off, or a person has said that the whole zone is.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.compute import hooks, steps, swapping
from naos.compute.models import AffinityMember, Power, VirtualMachine
from naos.engines.errors import EngineError, Missing
from naos.engines.ports import BladePower
from naos.errors import NaosError, Unknown
from naos.insistence import insist
from naos.lifecycle import Lifecycle
from naos.network import adapters
from naos.protection import copying
from naos.protection.recovery import remnants, scopes
from naos.protection.recovery.errors import NoPoint, NotFenced
from naos.protection.recovery.models import RecoveryPlan, Replica, ReplicaPoint
from naos.protection.recovery.rules import State
from naos.protection.recovery.scopes import PLAN, Copy, Member, Scope
from naos.protection.replication import replications
from naos.protection.replication.models import LunReplication
from naos.storage import disks, luns, snapshots, swap
from naos.storage.models import Disk, Lun
from naos.world import World

_log = structlog.get_logger()
ATTEMPTS = 3
CUT, ENDED = "its exports are cut", "its process on the blade is ended"
OFF, SAID = "its blade is switched off", "the zone is off, as somebody said"


def is_switched(world: World, machine_id: str, scope: Scope) -> bool:
    return steps.row(world, machine_id).cpool_id == scope.cpool_id


# ------------------------------------------------------------------------------------------------------------- cutting off


def cut_off(world: World, machine_id: str, scope: Scope, source_is_down: bool) -> str:  # noqa: FBT001 - of a step
    """See to it that the machine can write nothing any more where it is; how, in words. Raises NotFenced, and then nothing was
    changed for this machine.

    Exports are cut one by one, which is enough. Where the array does not answer, the machine is ended on its blade, or the blade is
    switched off; only when neither can be known, the word of a person counts. The exports are cut when the array is back.
    """
    if is_switched(world, machine_id, scope):
        return "it has changed its side"
    machine = steps.row(world, machine_id)
    with world.database.read() as session:
        attached = disks.of_machine(session, machine_id)
    try:
        for disk in attached:
            array, lun = luns.spec(world, disk.lun_id)
            insist(world.rack.array(array).fence_disk, lun.id, disk.id)
            disks.fence(world, disk.id)
    except EngineError as error:
        _log.warning("recovery.array_silent", machine=machine.name, reason=str(error))
        silent = error.where
    else:
        return CUT
    if machine.power == Power.STOPPED:
        return "it was stopped, and a stopped machine has no export"
    blades = [blade for blade in (machine.blade, machine.moving_to) if blade]
    left = [blade for blade in blades if not _ended(world, machine_id, blade)]
    awake = [blade for blade in left if not _switched_off(world, blade)]
    if not awake:
        return OFF if left else ENDED
    if source_is_down:
        return SAID
    named = " and ".join(awake)
    raise NotFenced(machine.name, silent, f"{named} neither answers nor can be switched off through its chassis")


def _ended(world: World, machine_id: str, blade: str) -> bool:
    try:
        world.rack.hypervisor(blade).power_off(machine_id)
    except EngineError as error:
        _log.warning("recovery.blade_silent", blade=blade, reason=str(error))
        return False
    return True


def _switched_off(world: World, blade: str) -> bool:
    chassis = world.rack.chassis(blade)
    try:
        if chassis.power() != BladePower.OFF:
            chassis.off()
    except EngineError as error:
        _log.warning("recovery.chassis_silent", blade=blade, reason=str(error))
        return False
    return True


def end_at_source(world: World, machine_id: str, scope: Scope) -> None:
    """Power and definition, where somebody answers: the disks are cut off already."""
    if is_switched(world, machine_id, scope):
        return
    with suppress(EngineError):
        steps.cut_power(world, machine_id)
    with suppress(EngineError):
        swapping.give_back(world, machine_id)


def is_cut(how: str) -> bool:
    """Whether nothing at all is exported on the old side."""
    return how not in (ENDED, OFF, SAID)


# --------------------------------------------------------------------------------------------------------------- adopting


def pause(world: World, copy: Copy, patient: bool) -> None:  # noqa: FBT001 - of a step
    """No further point is taken of a replicated volume from here on; patient: one that is being taken is waited for, or broken off.
    A replica's are kept off by the activity's lock."""
    if copy.kind == "volume":
        with world.database.write() as session:
            mine = (LunReplication.id == copy.id, LunReplication.lifecycle == Lifecycle.ACTIVE)
            session.execute(sa.update(LunReplication).where(*mine).values(lifecycle=State.FAILED_OVER))
        if patient:
            replications.stop(world, copy.id)


def go_on(world: World, copy: Copy) -> bool:
    """Of a failover that was given up before its machines changed their side."""
    if copy.kind != "volume" or copy.source_lun is None:
        return False
    with world.database.write() as session:
        row = session.get(LunReplication, copy.id)
        left = session.scalar(sa.select(Disk.id).where(Disk.lun_id == copy.source_lun).limit(1))
        if row is None or row.lifecycle != State.FAILED_OVER or left is None:
            return False
        row.lifecycle, row.running_id, row.running_since = Lifecycle.ACTIVE, None, None
    return True


def choose_point(world: World, copy: Copy, name: str, chosen: str | None) -> dict[str, Any]:
    """The copy with the point that counts: the one that was asked for, else the last complete one. Raises NoPoint."""
    if chosen is None:
        found = scopes.newest(world, copy)
    else:
        present = {point.id for point in copying.points(world, copy.where, copy.set_id)}
        found = replace(copy, point_id=chosen if chosen in present else None)
    if found.point_id is None:
        raise NoPoint(name, f": {chosen} is not on its volume any more" if chosen else "")
    return found.plain()


def adopt(world: World, copy: Copy) -> list[str]:
    """Make the copy's point its disks. Later points go: they are of what was not chosen. Returns the disks that it has."""
    array, lun = luns.spec(world, copy.lun_id)
    driver = world.rack.array(array)
    store = driver.points(lun.id)
    for _ in range(ATTEMPTS):
        present = store.points(copy.set_id)
        ids = [point.id for point in present]
        if copy.point_id not in ids:
            break
        for later in reversed(ids[ids.index(copy.point_id) + 1 :]):
            insist(store.drop, copy.set_id, later)
        for disk_id in (disk.disk_id for point in present if point.id == copy.point_id for disk in point.disks):
            driver.fence_disk(lun.id, disk_id)
        try:
            return list(insist(driver.adopt_point, lun, copy.set_id, copy.point_id))
        except Missing:  # adopted by a call that was cut short, or a point came to its end in this moment
            continue
    return _adopted(world, copy)


def _adopted(world: World, copy: Copy) -> list[str]:
    """After an adoption that was cut short by a crash: what is there. Raises NoPoint when that is nothing."""
    array, lun = luns.spec(world, copy.lun_id)
    wanted = [part.disk_id for part in scopes.order(world, copy, str(copy.point_id)).parts]
    found = [disk_id for disk_id in wanted if world.rack.array(array).disk(lun.id, disk_id) is not None]
    if not found:
        raise NoPoint(", ".join(copy.machine_ids), f": {copy.point_id} is not on its volume any more")
    return found


# -------------------------------------------------------------------------------------------------------------- switching


def switch(
    world: World,
    scope: Scope,
    member: Member,
    copies: list[Copy],
    placed: Mapping[str, str],
    fenced: bool,  # noqa: FBT001 - of a step
) -> str:
    """Move the machine's rows to the other side, in one transaction; what is to be said about it. Disks that no point has stay behind,
    unattached. copies: the machine's. placed: disk -> volume, of what was adopted."""
    remarks = []
    with world.database.write() as session:
        machine = session.get(VirtualMachine, member.machine_id)
        if machine is None:
            raise Unknown("virtual machine", member.machine_id)
        if machine.cpool_id == scope.cpool_id:
            return ""
        old_blade, old_pool, old_lun = machine.blade, machine.cpool_id, machine.lun_id
        held = snapshots.of_machine(session, machine.id)
        if held:
            remarks.append(f"{len(held)} snapshot(s) stayed behind")
            snapshots.forget_machine(session, machine.id)
            remnants.leave_memories(session, machine.id)
        for disk in disks.of_machine(session, machine.id):
            if disk.id in placed:
                _settle(session, disk, machine, placed[disk.id], fenced=fenced)
            else:
                remarks.append(f"{disk.name} was added after the point, and stayed behind")
                disk.machine_id, disk.controller_id, disk.exported = None, None, False
        session.execute(sa.delete(AffinityMember).where(AffinityMember.machine_id == machine.id))
        swap.forget_machine(session, machine.id)
        hooks.power_off_wanted(session, machine.id)
        homes = {copy.source_lun: copy.lun_id for copy in copies}
        machine.cpool_id, machine.lun_id, machine.blade = scope.cpool_id, homes.get(old_lun, copies[0].lun_id), None
        machine.power, machine.reserved, machine.moving_to = Power.STOPPED, 0, None
        machine.seed = _readdressed(machine.seed, member.addresses)
        for adapter in adapters.of_machine(session, machine.id):
            adapter.vlan_id = scope.networks.get(adapter.vlan_id, adapter.vlan_id)
        for copy in copies:
            _note_copy(session, copy, placed, home_lun=old_lun, home_pool=old_pool)
        plan = session.get(RecoveryPlan, scope.subject_id) if scope.kind == PLAN else None
        if plan is not None:
            plan.state = State.FAILED_OVER
    remnants.leave_blade(world, member.machine_id, old_blade)
    return "; ".join(remarks)


def _settle(session: Session, disk: Disk, machine: VirtualMachine | None, lun_id: str, *, fenced: bool) -> None:
    remnants.leave(session, disk, machine, fenced=fenced)
    disk.lun_id, disk.backing, disk.provisioning, disk.exported = lun_id, None, "dynamic", False


def _note_copy(session: Session, copy: Copy, placed: Mapping[str, str], *, home_lun: str, home_pool: str) -> None:
    """The copy has become what it was a copy of: there is none for now."""
    if copy.kind == "machine":
        replica = session.get(Replica, copy.id)
        if replica is not None:
            replica.state, replica.home_lun_id, replica.home_cpool_id = State.FAILED_OVER, home_lun, home_pool
            replica.point_id = None
            session.execute(sa.delete(ReplicaPoint).where(ReplicaPoint.replica_id == replica.id))
        return
    row, lun = session.get(LunReplication, copy.id), session.get(Lun, copy.lun_id)
    if row is None or lun is None or lun.lifecycle == Lifecycle.ACTIVE:
        return
    row.point_id = row.instant = None
    lun.lifecycle = Lifecycle.ACTIVE
    loose = sa.select(Disk).where(Disk.lun_id == copy.source_lun, Disk.machine_id.is_(None))
    for disk in session.scalars(loose):
        if disk.id in placed:
            _settle(session, disk, None, placed[disk.id], fenced=True)  # a disk of no machine has no export


def _readdressed(seed: dict[str, Any], addresses: Mapping[str, Any]) -> dict[str, Any]:
    """The seed with other addresses, as of a new instance, so that the guest takes them in."""
    if not addresses:
        return seed
    changed = [
        {**entry, **addresses[entry["mac"]]} if entry.get("mac") in addresses else entry
        for entry in seed.get("addresses", [])
    ]
    known = {entry.get("mac") for entry in changed}
    changed += [{"mac": mac, **given} for mac, given in addresses.items() if mac not in known]
    return {**seed, "addresses": changed, "own_network": True, "revision": seed.get("revision", 0) + 1}


def addresses_of(seed: Mapping[str, Any]) -> dict[str, Any]:
    """MAC -> address and gateway, as the seed has them."""
    return {
        entry["mac"]: {"address": entry.get("address"), "gateway": entry.get("gateway")}
        for entry in seed.get("addresses", [])
        if entry.get("mac")
    }


def forget_base(world: World, copy: Copy) -> None:
    """What the old side's array knows of the set is of no more use; absent is fine."""
    with world.database.read() as session:
        left = remnants.of_machines(session, copy.machine_ids)
    for remnant in left:
        with suppress(NaosError):
            array, _ = luns.spec(world, remnant.lun_id)
            world.rack.array(array).forget_set(remnant.lun_id, copy.set_id, [remnant.disk_id])
