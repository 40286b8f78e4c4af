"""Restores, planned from a point's description. What is decided about them afterwards is in `deciding`, steps are in `restoring`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan, Undo
from naos.compute import hooks, machines, rules
from naos.compute.models import VirtualMachine
from naos.errors import Unknown
from naos.fleet import cpools
from naos.fleet.models import Cpool
from naos.lifecycle import check_ready
from naos.names import LONGEST
from naos.network import vlans
from naos.network.models import Vlan
from naos.protection.backup import instant_holds, points, rebuilding
from naos.protection.backup.errors import (
    DisksUnknown,
    NotForProduction,
    PlaceGone,
    RestoreUndecided,
)
from naos.protection.backup.models import PointDisk, Restore, RestorePoint
from naos.protection.backup.rebuilding import Filling
from naos.protection.backup.restore_wire import Mode, NetworkChoice, RestoreRequest
from naos.storage import disks, luns, snapshots, space
from naos.storage.models import Disk, Lun
from naos.storage.rules import check_disk_size, check_room
from naos.world import World


class State(StrEnum):
    RESTORING = "restoring"
    TEST = "test"
    REPLACED = "replaced"
    DONE = "done"


def active_policies(session: Session, policy_ids: Sequence[str]) -> set[str]:
    """Of these policies, those of whose points something is in use: a test that was not cleaned up, or a machine that runs from one."""
    going = sa.select(Restore.point_id).where(Restore.state.in_((State.RESTORING, State.TEST)))
    query = sa.select(RestorePoint.policy_id).where(
        RestorePoint.policy_id.in_(policy_ids),
        sa.or_(RestorePoint.id.in_(going), RestorePoint.id.in_(instant_holds.held(session))),
    )
    return set(session.scalars(query.distinct()))


def find(session: Session, tenant_id: str, restore_id: str) -> Restore:
    """A restore of the tenant. Raises Unknown."""
    restore = session.get(Restore, restore_id)
    if restore is None or restore.tenant_id != tenant_id:
        raise Unknown("restore", restore_id)
    return restore


def of_tenant(session: Session, tenant_id: str) -> list[Restore]:
    """The newest first."""
    query = sa.select(Restore).where(Restore.tenant_id == tenant_id)
    return list(session.scalars(query.order_by(Restore.created_at.desc(), Restore.id)))


def unmaking(restore_id: str, disk_id: str) -> Undo:
    return Undo("restore.remove_disk", {"restore_id": restore_id, "disk_id": disk_id}, "removed a restored disk")


def machine_goes(session: Session, machine_id: str) -> None:
    """What was to be decided about it is decided; disks that it had before stay, without a machine."""
    mine = (Restore.machine_id == machine_id, Restore.state.in_((State.TEST, State.REPLACED)))
    done = {"state": State.DONE.value, "ended_at": datetime.now(UTC)}
    session.execute(sa.update(Restore).where(*mine).values(**done))


def is_test(session: Session, machine_id: str) -> bool:
    """Whether the machine is there for a test alone: then no rule of protection holds it back."""
    query = sa.select(Restore.id).where(
        Restore.machine_id == machine_id, Restore.mode == Mode.TEST, Restore.state.in_((State.RESTORING, State.TEST))
    )
    return session.scalar(query.limit(1)) is not None


# ----------------------------------------------------------------------------------------------------------------- plan


def plan(session: Session, world: World, tenant_id: str, point_id: str, request: RestoreRequest) -> Plan:
    """Raises Unknown, PointNotReady, DisksUnknown, PlaceGone, NotForProduction, and what making a machine does."""
    point = points.find_good(session, tenant_id, point_id)
    held = _chosen(session, point, request.disk_ids)
    choices = chosen_networks(session, tenant_id, request.networks)
    present = session.get(VirtualMachine, point.machine_id)
    restore = Restore(
        tenant_id=tenant_id,
        point_id=point.id,
        machine_id=point.machine_id,
        machine_name=point.machine_name,
        mode=request.mode.value,
        state=State.RESTORING.value,
        old_disks=[],
    )
    session.add(restore)
    session.flush()
    if request.mode is Mode.PRODUCTION and present is not None:
        return _plan_replace(session, world, point, held, present, restore, request)
    return _plan_machine(session, world, point, held, restore, request, choices)


def chosen_networks(session: Session, tenant_id: str, networks: Sequence[NetworkChoice]) -> dict[str, str]:
    """By the id of a network of then, which one to use. Raises Unknown, NotReady, whether an adapter asks for it or not."""
    return {choice.original: vlans.find_ready(session, tenant_id, choice.network_id).id for choice in networks}


def _chosen(session: Session, point: RestorePoint, wanted: Sequence[str] | None) -> list[PointDisk]:
    held = points.disks_of(session, [point.id])[point.id]
    if wanted is None:
        return list(held)
    known = {disk.disk_id for disk in held}
    strange = [disk_id for disk_id in wanted if disk_id not in known]
    if strange:
        raise DisksUnknown(", ".join(strange), ", ".join(f"{disk.name} ({disk.disk_id})" for disk in held))
    return [disk for disk in held if disk.disk_id in wanted]


def _plan_machine(
    session: Session,
    world: World,
    point: RestorePoint,
    held: Sequence[PointDisk],
    restore: Restore,
    request: RestoreRequest,
    choices: Mapping[str, str],
) -> Plan:
    """Another machine; or the machine itself again when it was deleted, under its own id, name and addresses."""
    again = request.mode is Mode.PRODUCTION
    stamp = point.taken_at.astimezone(UTC).strftime("%Y%m%d-%H%M")
    suffix = "" if again else f"-{request.mode.value}-{stamp}"
    name = request.name or point.machine_name[: LONGEST - len(suffix)] + suffix
    machines.check_name(session, point.tenant_id, name)
    description = dict(point.machine)
    cpool = _cpool(session, point, request.host_cluster_id)
    said = description["machine"]
    machines.check_size(world, cpool, said["cpu"], said["memory"])
    targets = _volumes(session, point, held, cpool, request.datastore_id)
    check_fits(session, world, point, held, targets)
    if again:
        description = {**description, "machine": {**said, "id": point.machine_id}}
    made = rebuilding.machine(
        session,
        point.tenant_id,
        description,
        name=name,
        cpool=cpool,
        lun=targets[""],
        own_identity=not again,
    )
    restore.machine_id, restore.machine_name = made.id, made.name
    isolated = None
    if request.mode is Mode.TEST:
        isolated = _isolate(session, point.tenant_id, restore, cpool)
        restore.vlan_id = isolated.id
    session.flush()
    if request.power_on:
        hooks.check_start(session, made)
    fillings = rebuilding.hang_disks(session, made, description, held, targets, same_ids=again)
    rebuilding.plug_in(session, made, description, cpool, choices=choices, isolated=isolated, same_macs=again)
    vlan_undo = (
        (Undo("vlan.forget", {"vlan_id": isolated.id}, "gave the isolated network's VLAN id back"),) if isolated else ()
    )
    return Plan(
        kind="restore_point.restore",
        description=f"Restore {point.machine_name} of {points.moment(point.taken_at)} as {name} ({request.mode.value})",
        arguments={
            "restore_id": restore.id,
            "point_id": point.id,
            "machine_id": made.id,
            "mode": request.mode.value,
            "replace": False,
            "vlan_id": restore.vlan_id,
            "fillings": [filling.plain() for filling in fillings],
            "power_on": request.power_on,
        },
        locks=(
            points.lock(point.set_id, shared=True),
            machines.lock(made.id),
            cpools.lock(cpool.id, shared=True),
            *(luns.lock(lun_id, shared=True) for lun_id in sorted({lun.id for lun in targets.values()})),
        ),
        concerned=(machines.item(made.id), points.item(point.id), Item(restore.id, "restore")),
        type="BackupActivity",
        undo=(
            Undo("restore.forget", {"restore_id": restore.id}, "forgot the restore"),
            *vlan_undo,
            Undo("virtual_machine.forget", {"machine_id": made.id}, f"gave the name {name} back"),
        ),
    )


def _plan_replace(
    session: Session,
    world: World,
    point: RestorePoint,
    held: Sequence[PointDisk],
    machine: VirtualMachine,
    restore: Restore,
    request: RestoreRequest,
) -> Plan:
    """The machine gets the point's disks in place of those that it has, which are kept beside it."""
    for what, given in (
        ("name", request.name),
        ("hostClusterId", request.host_cluster_id),
        ("networks", request.networks),
        ("powerOn", request.power_on),
    ):
        if given:
            raise NotForProduction(machine.name, what)
    check_ready("Machine", machine.name, machine.lifecycle)
    rules.check_stopped(machine.name, machine.power, "power it off first: its disks are replaced")
    undecided = sa.select(Restore.id).where(Restore.machine_id == machine.id, Restore.state == State.REPLACED)
    if session.scalar(undecided.limit(1)) is not None:
        raise RestoreUndecided(machine.name)
    cpool = session.get_one(Cpool, machine.cpool_id)
    targets = _volumes(session, point, held, cpool, request.datastore_id, present=machine)
    check_fits(session, world, point, held, targets)
    fillings = []
    for disk in held:
        old = _present(session, machine.id, disk, [other.disk_id for other in held])
        if old is not None:
            snapshots.check_free(session, old, "replaced")
        then = next(entry for entry in point.machine["disks"] if entry["id"] == disk.disk_id)
        made = Disk(
            tenant_id=point.tenant_id,
            lun_id=targets[disk.disk_id].id,
            machine_id=None,
            unit=disk.unit,
            name=disk.name,
            capacity=disk.size,
            provisioning=then["provisioning"],
            mode=then["mode"],
        )
        session.add(made)
        session.flush()
        fillings.append(Filling(disk.disk_id, made.id, old.id if old is not None else None))
    return Plan(
        kind="restore_point.restore",
        description=f"Restore {machine.name} of {points.moment(point.taken_at)} in its place",
        arguments={
            "restore_id": restore.id,
            "point_id": point.id,
            "machine_id": machine.id,
            "mode": request.mode.value,
            "replace": True,
            "vlan_id": None,
            "fillings": [filling.plain() for filling in fillings],
            "power_on": False,
        },
        locks=(
            points.lock(point.set_id, shared=True),
            *machines.locks_of(session, machine),
            *(disks.flatten_lock(disk.id) for disk in disks.of_machine(session, machine.id)),
            *(luns.lock(lun_id, shared=True) for lun_id in sorted({lun.id for lun in targets.values()})),
        ),
        concerned=(machines.item(machine.id), points.item(point.id), Item(restore.id, "restore")),
        type="BackupActivity",
        undo=(
            Undo("restore.forget", {"restore_id": restore.id}, "forgot the restore"),
            *(unmaking(restore.id, filling.disk_id) for filling in fillings),
        ),
    )


def _present(session: Session, machine_id: str, disk: PointDisk, others: Sequence[str]) -> Disk | None:
    """The machine's disk that a point's disk is, or whose place it had: what was restored before goes by another id."""
    found = session.get(Disk, disk.disk_id)
    if found is not None and found.machine_id == machine_id:
        return found
    query = sa.select(Disk).where(Disk.machine_id == machine_id, Disk.unit == disk.unit, Disk.id.not_in(others))
    return session.scalar(query)


def _cpool(session: Session, point: RestorePoint, wanted: str | None) -> Cpool:
    cpool_id = wanted or point.machine["machine"].get("cpool_id")
    cpool = session.get(Cpool, cpool_id) if cpool_id else None
    if wanted is None and (cpool is None or cpool.tenant_id != point.tenant_id):
        raise PlaceGone(point.machine_name, "cpool", "hostClusterId (--pool)")
    return cpools.find_ready(session, point.tenant_id, str(cpool_id))


def _volumes(
    session: Session,
    point: RestorePoint,
    held: Sequence[PointDisk],
    cpool: Cpool,
    wanted: str | None,
    present: VirtualMachine | None = None,
) -> dict[str, Lun]:
    """Where each disk goes, by its id of then; under "" the machine's own volume. Raises PlaceGone, InMaintenance, WrongZone."""
    then = {entry["id"]: entry["lun_id"] for entry in point.machine["disks"]}
    home = present.lun_id if present is not None else point.machine["machine"].get("lun_id")
    found: dict[str, Lun] = {}
    for key, lun_id in {"": home, **{disk.disk_id: then[disk.disk_id] for disk in held}}.items():
        if wanted is not None and (key or present is None):
            lun: Lun | None = luns.find_open(session, point.tenant_id, wanted)
        else:
            lun = session.get(Lun, lun_id) if lun_id else None
        if lun is None or lun.tenant_id != point.tenant_id or (wanted is None and lun.zone != cpool.zone):
            raise PlaceGone(point.machine_name, "volume", "datastoreId (--volume)")
        check_ready("Volume", lun.name, lun.lifecycle)
        space.check_open(session, lun)
        rules.check_zones(volume=lun.name, volume_zone=lun.zone, cpool=cpool.name, cpool_zone=cpool.zone)
        found[key] = lun
    return found


def check_fits(
    session: Session, world: World, point: RestorePoint, held: Sequence[PointDisk], targets: Mapping[str, Lun]
) -> None:
    """Before a byte is written. A disk takes no more than its points up to this one together do. Raises VolumeRoom, DiskSize."""
    query = (
        sa.select(PointDisk.disk_id, sa.func.sum(PointDisk.stored))
        .join(RestorePoint, RestorePoint.id == PointDisk.point_id)
        .where(RestorePoint.set_id == point.set_id, RestorePoint.taken_at <= point.taken_at)
        .group_by(PointDisk.disk_id)
    )
    stored = {str(disk_id): int(total) for disk_id, total in session.execute(query)}
    then = {entry["id"]: entry for entry in point.machine["disks"]}
    needed: dict[str, int] = {}
    for disk in held:
        lun = targets[disk.disk_id]
        check_disk_size(lun.name, disk.size, lun_capacity=lun.capacity)
        whole = then[disk.disk_id]["provisioning"] != "dynamic"
        size = disk.size if whole else min(stored.get(disk.disk_id, 0), disk.size)
        needed[lun.id] = needed.get(lun.id, 0) + size
    for lun in {lun.id: lun for key, lun in targets.items() if key}.values():
        free = luns.usage(world, lun.id).free
        check_room(lun.name, f"the restore of {len(held)} disk(s)", needed=needed[lun.id], free=free)


def _isolate(session: Session, tenant_id: str, restore: Restore, cpool: Cpool) -> Vlan:
    """A network on which nothing else is, of the cpool alone."""
    made = vlans.plan_create(session, tenant_id=tenant_id, name=f"restore-test-{restore.id}", cpool_ids=[cpool.id])
    return session.get_one(Vlan, made.arguments["vlan_id"])


def plan_boot_test(session: Session, world: World, tenant_id: str, point_id: str) -> Plan:
    """A test that is started, looked at for a sign of life, and cleaned up. Raises what `plan` does."""
    point = points.find_good(session, tenant_id, point_id)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name = f"{point.machine_name[:220]}-boot-test-{stamp}"
    made = plan(session, world, tenant_id, point_id, RestoreRequest(mode=Mode.TEST, name=name))
    description = f"Boot-test the restore point of {point.machine_name} of {points.moment(point.taken_at)}"
    return replace(made, kind="restore_point.boot_test", description=description)


def note(session: Session, restore_id: str, state: State) -> None:
    ended = datetime.now(UTC) if state is State.DONE else None
    session.execute(sa.update(Restore).where(Restore.id == restore_id).values(state=state.value, ended_at=ended))
