"""Disks of a machine: plans and durable work. A running guest gets and loses them while it runs."""

import re
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Run, Undo, undo, workflow
from naos.compute import machines, plans, rules, steps
from naos.compute.models import VirtualMachine
from naos.engines.ports import Provisioning
from naos.errors import Changed, Unknown
from naos.fleet.models import Cpool
from naos.lifecycle import check_ready
from naos.storage import clusters, controllers, disks, luns, snapshots
from naos.storage.errors import DatastoreChoice, DiskElsewhere, DiskPath, DiskUnattached, VolatileDisk
from naos.storage.models import Disk, Lun, VirtualController
from naos.storage.rules import NONPERSISTENT
from naos.world import World

_PATH = re.compile(r"\[([^\]]+)\] disks/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.qcow2")


def _item(disk_id: str) -> Item:
    return Item(disk_id, "virtual_disk")


def _lock(disk_id: str) -> Lock:
    """What keeps two machines from taking the same unattached disk."""
    return Lock(f"virtual_disk:{disk_id}")


def _owner(session: Session, tenant_id: str, disk: Disk) -> VirtualMachine:
    if disk.machine_id is None:
        raise DiskUnattached(disk.id)
    return machines.find(session, tenant_id, disk.machine_id)


def plan_create_disk(
    session: Session,
    world: World,
    tenant_id: str,
    *,
    machine_id: str,
    size: int,
    provisioning: Provisioning,
    mode: str,
    controller_id: str | None = None,
    lun_id: str | None = None,
    cluster_id: str | None = None,
) -> Plan:
    """Reserve a new disk of a machine: on the volume named, on one of the cluster named, or on the machine's own."""
    machine = machines.find(session, tenant_id, machine_id)
    lun = _volume(session, tenant_id, machine, size, lun_id, cluster_id)
    disk = disks.reserve(
        session,
        world,
        lun=lun,
        machine_id=machine.id,
        machine_name=machine.name,
        size=size,
        provisioning=provisioning,
        mode=mode,
        controller=_controller(session, tenant_id, machine, controller_id),
    )
    forget = Undo("disk.forget", {"disk_id": disk.id}, "gave the disk's slot back")
    description = f"Add {disk.name} to {machine.name}"
    return plans.of_device(
        session,
        machine,
        "disk.create",
        description,
        _item(disk.id),
        locks=(luns.lock(lun.id, shared=True),),
        undo=(forget,),
        disk_id=disk.id,
    )


def _volume(
    session: Session, tenant_id: str, machine: VirtualMachine, size: int, lun_id: str | None, cluster_id: str | None
) -> Lun:
    if lun_id is not None and cluster_id is not None:
        raise DatastoreChoice("both")
    if cluster_id is not None:
        lun = clusters.choose(session, clusters.find(session, tenant_id, cluster_id).id, size)
    else:
        lun = luns.find_ready(session, tenant_id, lun_id or machine.lun_id)
    cpool = session.get_one(Cpool, machine.cpool_id)
    rules.check_zones(volume=lun.name, volume_zone=lun.zone, cpool=cpool.name, cpool_zone=cpool.zone)
    return lun


def _controller(
    session: Session, tenant_id: str, machine: VirtualMachine, controller_id: str | None
) -> VirtualController | None:
    """A controller of the machine. Raises Unknown for another machine's, NotReady for one that is going."""
    if controller_id is None:
        return None
    found = controllers.find(session, tenant_id, controller_id)
    if found.machine_id != machine.id:
        raise Unknown("virtual controller", controller_id)
    check_ready("Controller", controllers.label(found), found.lifecycle)
    _check_pluggable(machine, found, "add a disk to")
    return found


def _check_pluggable(machine: VirtualMachine, controller: VirtualController | None, what: str) -> None:
    """Raises WrongPower for a controller whose disks a running guest neither gets nor gives back."""
    if controller is not None and not controllers.DEVICES[controller.device].pluggable:
        rules.check_stopped(machine.name, machine.power, f"power it off to {what} {controllers.label(controller)}")


def _check_leaving(session: Session, machine: VirtualMachine, disk: Disk) -> None:
    held = session.get(VirtualController, disk.controller_id) if disk.controller_id else None
    _check_pluggable(machine, held, "take a disk from")


def plan_update_disk(
    session: Session, tenant_id: str, disk_id: str, *, size: int | None = None, mode: str | None = None
) -> Plan:
    """Grow a disk, or change its mode; None leaves a value as it is. A size that would shrink it is refused when the activity
    runs, as the wire API's users expect."""
    disk = disks.find(session, tenant_id, disk_id)
    machine = _owner(session, tenant_id, disk)
    wanted = mode if mode not in (None, disk.mode) else None
    if wanted is not None:
        snapshots.check_free(session, disk, f"made {wanted}")
        if NONPERSISTENT in (wanted, disk.mode):
            rules.check_stopped(
                machine.name, machine.power, f"power it off to change {disk.name} from or to {NONPERSISTENT}"
            )
    growth = size if size not in (None, disk.capacity) else None
    if growth is not None and growth > disk.capacity:
        snapshots.check_free(session, disk, "grown")
        if disk.mode == NONPERSISTENT and machine.power == "running":
            raise VolatileDisk(disk.name, "grown")
    changes = [f"grow to {growth} bytes" if growth is not None else "", f"make {wanted}" if wanted else ""]
    said = " and ".join(change for change in changes if change) or "leave as it is"
    return plans.of_device(
        session,
        machine,
        "disk.extend",
        f"{disk.name} of {machine.name}: {said}",
        _item(disk.id),
        locks=(disks.flatten_lock(disk.id),),
        disk_id=disk.id,
        size=growth,
        mode=wanted,
    )


def plan_delete_disk(session: Session, tenant_id: str, disk_id: str) -> Plan:
    """Also of a disk that belongs to no machine."""
    disk = disks.find(session, tenant_id, disk_id)
    snapshots.check_free(session, disk, "deleted")
    locks = (disks.flatten_lock(disk.id), _lock(disk.id))
    if disk.machine_id is None:
        return Plan(
            kind="disk.delete",
            description=f"Delete disk {disk.id}, which belongs to no machine",
            arguments={"machine_id": None, "disk_id": disk.id},
            locks=(*locks, luns.lock(disk.lun_id, shared=True)),
            concerned=(_item(disk.id),),
        )
    machine = machines.find(session, tenant_id, disk.machine_id)
    _check_leaving(session, machine, disk)
    description = f"Delete {disk.name} of {machine.name}"
    return plans.of_device(session, machine, "disk.delete", description, _item(disk.id), locks=locks, disk_id=disk.id)


def plan_mount_disk(session: Session, tenant_id: str, *, machine_id: str, path: str) -> Plan:
    """Give a machine a disk whose file is there. One that it has already is an activity that ends at once.

    Raises DiskPath for what is no disk's path, Unknown for a file that is no disk of the tenant, DiskElsewhere.
    """
    machine = machines.find(session, tenant_id, machine_id)
    disk = _by_path(session, tenant_id, path)
    if disk.machine_id not in (None, machine.id):
        raise DiskElsewhere(disk.id, machines.name_of(session, str(disk.machine_id)))
    lun = session.get_one(Lun, disk.lun_id)
    cpool = session.get_one(Cpool, machine.cpool_id)
    rules.check_zones(volume=lun.name, volume_zone=lun.zone, cpool=cpool.name, cpool_zone=cpool.zone)
    return plans.of_device(
        session,
        machine,
        "disk.mount",
        f"Mount {path} in {machine.name}",
        _item(disk.id),
        locks=(_lock(disk.id), luns.lock(disk.lun_id, shared=True)),
        disk_id=disk.id,
    )


def _by_path(session: Session, tenant_id: str, path: str) -> Disk:
    found = _PATH.fullmatch(path)
    if found is None:
        raise DiskPath(path)
    query = (
        sa.select(Disk)
        .join(Lun, Lun.id == Disk.lun_id)
        .where(Disk.tenant_id == tenant_id, Lun.tenant_id == tenant_id, Lun.name == found[1], Disk.id == found[2])
    )
    disk = session.scalar(query)
    if disk is None:
        raise Unknown("disk", path)
    check_ready("Disk", disk.name, disk.lifecycle)
    return disk


def plan_unmount_disk(session: Session, tenant_id: str, disk_id: str) -> Plan:
    """Take a disk from its machine and keep its file. One that has no machine is an activity that ends at once."""
    disk = disks.find(session, tenant_id, disk_id)
    snapshots.check_free(session, disk, "unmounted")
    if disk.machine_id is None:
        return Plan(
            kind="disk.unmount",
            description=f"Disk {disk.id} belongs to no machine",
            arguments={"machine_id": None, "disk_id": disk.id},
            locks=(_lock(disk.id),),
            concerned=(_item(disk.id),),
        )
    machine = machines.find(session, tenant_id, disk.machine_id)
    _check_leaving(session, machine, disk)
    description = f"Unmount {disk.name} of {machine.name}"
    return plans.of_device(
        session, machine, "disk.unmount", description, _item(disk.id), locks=(_lock(disk.id),), disk_id=disk.id
    )


def plan_flatten(session: Session, disk_id: str) -> Plan:
    """Background work: a clone becomes independent of its template. Its only lock keeps a second one away."""
    disk = session.get(Disk, disk_id)
    if disk is None:
        raise Unknown("disk", disk_id)
    return Plan(
        kind="disk.flatten",
        description=f"Make {disk.name} independent of its template",
        arguments={"disk_id": disk.id},
        locks=(disks.flatten_lock(disk.id),),
        concerned=(_item(disk.id),),
        preemptible=True,
    )


# ----------------------------------------------------------------------------------------------------------------- work


@workflow("disk.create")
def create_disk(run: Run, arguments: dict[str, Any]) -> str:
    world, disk_id = cast(World, run.world), arguments["disk_id"]
    run.step(
        "make the disk",
        disks.create,
        world,
        disk_id,
        undo=Undo("disk.remove", {"disk_id": disk_id}, "removed the disk"),
    )
    _plug_in(run, world, arguments)
    run.step("publish", disks.set_active, world, disk_id)
    return str(disk_id)


def _plug_in(run: Run, world: World, arguments: dict[str, Any]) -> None:
    machine_id, disk_id = arguments["machine_id"], arguments["disk_id"]
    if run.step("look whether it runs", steps.is_running, world, machine_id):
        taken = Undo("disk.detach", {"machine_id": machine_id, "disk_id": disk_id}, "took the disk from the guest")
        run.step("attach", attach, world, machine_id, disk_id, undo=taken)


def attach(world: World, machine_id: str, disk_id: str) -> None:
    """A repeated call finds the present export and gives the guest the same address again."""
    with world.database.read() as session:
        exported = session.get_one(Disk, disk_id).exported
    attached = disks.address_of(world, disk_id) if exported else disks.export(world, disk_id)
    world.rack.hypervisor(steps.home(world, machine_id)).attach_disk(machine_id, attached)


def detach(world: World, machine_id: str, disk_id: str) -> None:
    """From the guest first; the array lets go only of what the guest has let go."""
    if steps.is_running(world, machine_id):
        world.rack.hypervisor(steps.home(world, machine_id)).detach_disk(machine_id, disk_id)
    disks.fence(world, disk_id)


@workflow("disk.extend")
def extend_disk(run: Run, arguments: dict[str, Any]) -> str:
    world, disk_id, size, mode = (
        cast(World, run.world),
        arguments["disk_id"],
        arguments["size"],
        arguments.get("mode"),
    )
    if size is not None:
        run.step("check the size", _check_extend, world, disk_id, size)
        run.step("stop making it independent", disks.stop_flattening, world, disk_id)
        run.step("grow the disk", disks.resize, world, disk_id, size)
        run.step("tell the guest", _tell_size, world, arguments["machine_id"], disk_id, size)
    if mode is not None:
        run.step("note the mode", _set_mode, world, arguments["machine_id"], disk_id, mode)
    return str(disk_id)


def _check_extend(world: World, disk_id: str, size: int) -> None:
    with world.database.read() as session:
        disk = session.get(Disk, disk_id)
        if disk is None:
            raise Unknown("disk", disk_id)
        disks.check_extend(session, disk, size)


def _tell_size(world: World, machine_id: str, disk_id: str, size: int) -> None:
    if steps.is_running(world, machine_id):
        world.rack.hypervisor(steps.home(world, machine_id)).disk_resized(machine_id, disk_id, size)


def _set_mode(world: World, machine_id: str, disk_id: str, mode: str) -> None:
    """A machine that was started meanwhile, or snapshotted, keeps the mode that it has."""
    running = steps.is_running(world, machine_id)
    with world.database.write() as session:
        disk = session.get_one(Disk, disk_id)
        snapshots.check_free(session, disk, f"made {mode}")
        if running and NONPERSISTENT in (mode, disk.mode):
            raise Changed(f"machine {machines.name_of(session, machine_id)}", "it runs")
        disk.mode = mode


@workflow("disk.delete")
def delete_disk(run: Run, arguments: dict[str, Any]) -> str:
    world, disk_id = cast(World, run.world), arguments["disk_id"]
    if arguments["machine_id"] is not None:
        run.step("check that no snapshot has it", _check_free, world, disk_id, "deleted")
        run.step("take it from the guest", detach, world, arguments["machine_id"], disk_id)
    else:
        run.step("check that no machine has it", _check_unattached, world, disk_id)
    run.step("remove the disk", disks.remove, world, disk_id)
    return str(disk_id)


def _check_free(world: World, disk_id: str, change: str) -> None:
    with world.database.read() as session:
        disk = session.get(Disk, disk_id)
        if disk is not None:
            snapshots.check_free(session, disk, change)


def _check_unattached(world: World, disk_id: str) -> None:
    with world.database.read() as session:
        disk = session.get(Disk, disk_id)
        if disk is not None and disk.machine_id is not None:
            raise DiskElsewhere(disk.id, machines.name_of(session, disk.machine_id))


@workflow("disk.mount")
def mount_disk(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id, disk_id = cast(World, run.world), arguments["machine_id"], arguments["disk_id"]
    back = Undo("disk.take_down", {"disk_id": disk_id, "machine_id": machine_id}, "left the disk without a machine")
    if run.step("look where it is", _is_mounted, world, machine_id, disk_id):
        return str(disk_id)
    run.step("give it a place", _hang_up, world, machine_id, disk_id, undo=back)
    _plug_in(run, world, arguments)
    return str(disk_id)


def _is_mounted(world: World, machine_id: str, disk_id: str) -> bool:
    with world.database.read() as session:
        disk = session.get(Disk, disk_id)
        if disk is None:
            raise Unknown("disk", disk_id)
        if disk.machine_id not in (None, machine_id):
            raise DiskElsewhere(disk_id, machines.name_of(session, str(disk.machine_id)))
        return disk.machine_id == machine_id


def _hang_up(world: World, machine_id: str, disk_id: str) -> None:
    with world.database.write() as session:
        disk = session.get_one(Disk, disk_id)
        if disk.machine_id is None:
            disks.hang_up(session, disk, machine_id, machines.name_of(session, machine_id))


@workflow("disk.unmount")
def unmount_disk(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id, disk_id = cast(World, run.world), arguments["machine_id"], arguments["disk_id"]
    if machine_id is not None:
        run.step("check that no snapshot has it", _check_free, world, disk_id, "unmounted")
        run.step("take it from the guest", detach, world, machine_id, disk_id)
        run.step("forget its machine", disks.take_down, world, disk_id)
    return str(disk_id)


@workflow("disk.flatten")
def flatten_disk(run: Run, arguments: dict[str, Any]) -> str:
    world, disk_id = cast(World, run.world), arguments["disk_id"]
    run.step("copy what the template holds", disks.flatten, world, disk_id, run.progress, run.yield_requested)
    return str(disk_id)


@undo("disk.detach")
def _undo_attach(world: World, arguments: dict[str, Any]) -> None:
    detach(world, arguments["machine_id"], arguments["disk_id"])


@undo("disk.take_down")
def _undo_mount(world: World, arguments: dict[str, Any]) -> None:
    disks.fence(world, arguments["disk_id"])
    disks.take_down(world, arguments["disk_id"])
