"""Virtual controllers of a machine, and the drives for images among them: plans and durable work."""

from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan, Run, Undo, undo, workflow
from naos.catalogue import library
from naos.compute import machines, media, plans, rules, steps
from naos.compute.models import Power
from naos.errors import Unknown
from naos.lifecycle import Lifecycle, check_ready
from naos.storage import controllers
from naos.storage.models import VirtualController
from naos.world import World


def _item(controller_id: str) -> Item:
    return Item(controller_id, "virtual_controller")


def plan_create_controller(
    session: Session, tenant_id: str, *, machine_id: str, kind: str, sub_type: str | None
) -> Plan:
    """Reserve a controller. A running machine gets what can be plugged in; for the rest it is to be stopped first."""
    machine = machines.find(session, tenant_id, machine_id)
    controller = controllers.reserve(
        session,
        tenant_id=tenant_id,
        machine_id=machine.id,
        machine_name=machine.name,
        kind=kind,
        sub_type=sub_type or "",
        running=machine.power == Power.RUNNING,
    )
    device = controllers.DEVICES[controller.device]
    if not device.pluggable:
        rules.check_stopped(machine.name, machine.power, f"power it off to add: {device.summary}")
    what = controllers.label(controller)
    forget = Undo("controller.forget", {"controller_id": controller.id}, f"gave the place of {what} back")
    return plans.of_device(
        session,
        machine,
        "controller.create",
        f"Add {what} to {machine.name}",
        _item(controller.id),
        undo=(forget,),
        controller_id=controller.id,
    )


def plan_delete_controller(session: Session, tenant_id: str, controller_id: str) -> Plan:
    """Refused while disks hang on it, and on a running machine for what cannot be unplugged."""
    controller = controllers.find(session, tenant_id, controller_id)
    machine = machines.find(session, tenant_id, controller.machine_id)
    controllers.check_unused(session, controller)
    device = controllers.DEVICES[controller.device]
    if not device.pluggable:
        rules.check_stopped(machine.name, machine.power, f"power it off to remove: {device.summary}")
    plan = plans.of_device(
        session,
        machine,
        "controller.delete",
        f"Remove {controllers.label(controller)} from {machine.name}",
        _item(controller.id),
        undo=(Undo("controller.keep", {"controller_id": controller.id}, "left the controller as it is"),),
        controller_id=controller.id,
    )
    if controller.lifecycle == Lifecycle.ACTIVE:
        controller.lifecycle = Lifecycle.DELETING
    return plan


def plan_mount(
    session: Session, tenant_id: str, controller_id: str, *, item_id: str | None, iso_path: str | None
) -> Plan:
    """Put an image into a drive; the guest sees it once the drive is connected."""
    controller = controllers.find_drive(session, tenant_id, controller_id)
    check_ready("Drive", controllers.label(controller), controller.lifecycle)
    item = media.find_item(session, tenant_id, item_id=item_id, iso_path=iso_path)
    return _plan_drive(session, tenant_id, controller, f"Mount {item.name}", item_id=item.id, template_id=item.id)


def plan_unmount(session: Session, tenant_id: str, controller_id: str) -> Plan:
    controller = controllers.find_drive(session, tenant_id, controller_id)
    return _plan_drive(session, tenant_id, controller, "Unmount what is", item_id=None)


def plan_connect(session: Session, tenant_id: str, controller_id: str, *, connected: bool) -> Plan:
    controller = controllers.find_drive(session, tenant_id, controller_id)
    word = "Connect what is" if connected else "Disconnect what is"
    return _plan_drive(session, tenant_id, controller, word, connected=connected)


def _plan_drive(
    session: Session,
    tenant_id: str,
    controller: VirtualController,
    what: str,
    *,
    template_id: str | None = None,
    **changes: Any,
) -> Plan:
    """The item stays in the library while an activity is about to put it into a drive."""
    machine = machines.find(session, tenant_id, controller.machine_id)
    return plans.of_device(
        session,
        machine,
        "drive.update",
        f"{what} in {controllers.label(controller)} of {machine.name}",
        _item(controller.id),
        locks=(library.lock(template_id, shared=True),) if template_id else (),
        controller_id=controller.id,
        changes=changes,
    )


# ----------------------------------------------------------------------------------------------------------------- work


@workflow("controller.create")
def create_controller(run: Run, arguments: dict[str, Any]) -> str:
    world, controller_id = cast(World, run.world), arguments["controller_id"]
    run.step(
        "plug it in",
        _plug_in,
        world,
        arguments["machine_id"],
        controller_id,
        undo=Undo("controller.detach", arguments, "took the controller from the guest"),
    )
    run.step("publish", controllers.set_active, world, controller_id)
    return str(controller_id)


def _row(world: World, controller_id: str) -> VirtualController:
    with world.database.read() as session:
        controller = session.get(VirtualController, controller_id)
        if controller is None:
            raise Unknown("virtual controller", controller_id)
        return controller


def _plug_in(world: World, machine_id: str, controller_id: str) -> None:
    """Into a running guest; a stopped machine is defined with it when it starts."""
    controller = _row(world, controller_id)
    if controller.device == "virtio-blk" or not steps.is_running(world, machine_id):
        return
    hypervisor = world.rack.hypervisor(steps.home(world, machine_id))
    if controllers.is_drive(controller):
        hypervisor.put_cdrom(machine_id, media.drive(controller))
    else:
        hypervisor.attach_controller(machine_id, controllers.as_domain(controller))


def _unplug(world: World, machine_id: str, controller_id: str) -> None:
    try:
        controller = _row(world, controller_id)
    except Unknown:
        return
    if controller.device != "virtio-blk" and steps.is_running(world, machine_id):
        hypervisor = world.rack.hypervisor(steps.home(world, machine_id))
        if controllers.is_drive(controller):
            hypervisor.detach_cdrom(machine_id, controller_id)
        else:
            hypervisor.detach_controller(machine_id, controller_id)
    _clear(world, machine_id, controller_id, None)


def _clear(world: World, machine_id: str, controller_id: str, spared: str | None) -> None:
    """Remove the copies of images that are no longer in the drive, from the blade that the machine is on."""
    blade = steps.row(world, machine_id).blade
    if blade is not None:
        media.clear(world, {controller_id}, blade, spared=spared)


@workflow("controller.delete")
def delete_controller(run: Run, arguments: dict[str, Any]) -> str:
    world, controller_id = cast(World, run.world), arguments["controller_id"]
    run.step("check that nothing hangs on it", _check_unused, world, controller_id)
    run.step("unplug it", _unplug, world, arguments["machine_id"], controller_id)
    run.step("forget", controllers.forget, world, controller_id)
    return str(controller_id)


def _check_unused(world: World, controller_id: str) -> None:
    """A disk may have come while the request waited."""
    with world.database.read() as session:
        controller = session.get(VirtualController, controller_id)
        if controller is not None:
            controllers.check_unused(session, controller)


@workflow("drive.update")
def update_drive(run: Run, arguments: dict[str, Any]) -> str:
    """The copy comes before the guest is told of it, and goes after."""
    world, machine_id, controller_id = (cast(World, run.world), arguments["machine_id"], arguments["controller_id"])
    changes = arguments["changes"]
    before = run.step("look what is in it", _contents, world, controller_id)
    back = {"machine_id": machine_id, "controller_id": controller_id, "changes": {key: before[key] for key in changes}}
    run.step(
        "note the change",
        _record,
        world,
        controller_id,
        changes,
        undo=Undo("drive.restore", back, "left the drive as it was"),
    )
    run.step("bring the image", _bring, world, machine_id, controller_id)
    run.step("show it to the guest", _show, world, machine_id, controller_id)
    run.step("remove what was in it", _tidy, world, machine_id, controller_id)
    return str(controller_id)


def _contents(world: World, controller_id: str) -> dict[str, Any]:
    controller = _row(world, controller_id)
    return {"item_id": controller.item_id, "connected": controller.connected}


def _record(world: World, controller_id: str, changes: dict[str, Any]) -> None:
    with world.database.write() as session:
        session.execute(sa.update(VirtualController).where(VirtualController.id == controller_id).values(**changes))


def _bring(world: World, machine_id: str, controller_id: str) -> None:
    """A machine that has no definition on a blade gets its images when it starts."""
    controller, machine = _row(world, controller_id), steps.row(world, machine_id)
    if controller.item_id is None or machine.blade is None or not steps.is_running(world, machine_id):
        return
    if (controller_id, controller.item_id) not in media.on_blade(world, machine.blade):
        media.bring(world, controller_id, controller.item_id, machine.blade)


def _show(world: World, machine_id: str, controller_id: str) -> None:
    if steps.is_running(world, machine_id):
        world.rack.hypervisor(steps.home(world, machine_id)).put_cdrom(
            machine_id, media.drive(_row(world, controller_id))
        )


def _tidy(world: World, machine_id: str, controller_id: str) -> None:
    _clear(world, machine_id, controller_id, _row(world, controller_id).item_id)


@undo("controller.forget")
def _forget(world: World, arguments: dict[str, Any]) -> None:
    controllers.forget(world, arguments["controller_id"])


@undo("controller.detach")
def _detach(world: World, arguments: dict[str, Any]) -> None:
    _unplug(world, arguments["machine_id"], arguments["controller_id"])


@undo("controller.keep")
def _keep(world: World, arguments: dict[str, Any]) -> bool:
    with world.database.read() as session:
        present = session.get(VirtualController, arguments["controller_id"])
    if present is not None:
        controllers.set_active(world, arguments["controller_id"])
    return False


@undo("drive.restore")
def _restore(world: World, arguments: dict[str, Any]) -> None:
    """The image that was in it is there again before the other one's copy goes."""
    machine_id, controller_id = arguments["machine_id"], arguments["controller_id"]
    _record(world, controller_id, arguments["changes"])
    _bring(world, machine_id, controller_id)
    _show(world, machine_id, controller_id)
    _tidy(world, machine_id, controller_id)
