"""Virtual controllers: what a machine's disks hang on, USB controllers, and drives for images. Rows and rules."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.engines.ports import DomainCdrom, DomainController, DomainDisk, NbdAddress
from naos.errors import Unknown
from naos.lifecycle import Lifecycle
from naos.storage.errors import (
    ControllerFull,
    ControllerInUse,
    ControllerUnsupported,
    NotADrive,
    NotForDisks,
    SubTypeMisplaced,
    TooManyControllers,
)
from naos.storage.models import Disk, VirtualController
from naos.storage.rules import next_unit
from naos.world import World

PER_TYPE = 4
DISKS_EACH, DISKS_ON_PARAVIRTUAL = 15, 64
PARAVIRTUAL = "ParaVirtual"
CD = "CD/DVD"
_IDE_PLACES = (1, 2, 3)
"""The first one of the board's four is the seed's."""


@dataclass(frozen=True)
class Device:
    """What the guest gets. kind: pci, scsi, usb, ide. disks: how many fit on it. pluggable: into a running guest."""

    kind: str
    model: str
    disks: int
    pluggable: bool
    summary: str


DEVICES = {
    "virtio-blk": Device("pci", "", 24, True, "virtio-blk: every disk is a PCI device of its own"),
    "virtio-scsi": Device("scsi", "virtio-scsi", DISKS_ON_PARAVIRTUAL, True, "Paravirtual SCSI (virtio-scsi)"),
    "lsilogic": Device("scsi", "lsilogic", 7, False, "LSI Logic (53C895A)"),
    "lsisas1068": Device("scsi", "lsisas1068", 8, False, "LSI Logic SAS (SAS1068)"),
    "ehci": Device("usb", "ehci", 0, False, "USB 2.0 (EHCI)"),
    "xhci": Device("usb", "qemu-xhci", 0, False, "USB 3 (xHCI)"),
    "cd-ide": Device("ide", "", 0, False, "IDE drive"),
    "cd-scsi": Device("scsi", "virtio-scsi", 0, True, "SCSI drive (virtio-scsi)"),
}
_SCSI = {"": "virtio-scsi", PARAVIRTUAL: "virtio-scsi", "LSILogic": "lsilogic", "LSILogicSAS": "lsisas1068"}
_USB = {"USB2": "ehci", "USB3": "xhci"}


# ---------------------------------------------------------------------------------------------------------------- rules


def device_for(kind: str, sub_type: str, *, running: bool, ide_is_free: bool = True) -> str:
    """The device behind a controller of that wire type.

    running: whether the guest must take it while it runs. Raises ControllerUnsupported, SubTypeMisplaced.
    """
    if sub_type and kind != "SCSI":
        raise SubTypeMisplaced(kind, sub_type)
    if kind == "NVME":
        raise ControllerUnsupported(
            "an NVMe controller",
            "the hypervisor's NVMe device cannot be moved between blades",
            "a SCSI controller of sub type ParaVirtual, which is as fast and moves live",
        )
    if sub_type == "BusLogic":
        raise ControllerUnsupported(
            "a BusLogic controller",
            "the hypervisor has no such device",
            "the sub type ParaVirtual, LSILogic or LSILogicSAS",
        )
    if kind == CD:
        return "cd-scsi" if running or not ide_is_free else "cd-ide"
    return _SCSI[sub_type] if kind == "SCSI" else _USB[kind]


def check_count(machine: str, kind: str, present: int) -> None:
    """Raises TooManyControllers."""
    if present >= PER_TYPE:
        raise TooManyControllers(machine, kind, present, PER_TYPE)


def capacity(controller: VirtualController) -> int:
    """How many disks a controller carries: what the offer allows, and what the device can."""
    device = DEVICES[controller.device]
    if device.kind == "pci":
        return device.disks
    allowed = DISKS_ON_PARAVIRTUAL if controller.sub_type == PARAVIRTUAL else DISKS_EACH
    return min(device.disks, allowed)


def label(controller: VirtualController) -> str:
    if controller.type == CD:
        return f"CD/DVD drive {controller.number + 1}"
    return f"{controller.type} controller {controller.number}"


def is_drive(controller: VirtualController) -> bool:
    return controller.type == CD


# ----------------------------------------------------------------------------------------------------------------- rows


def find(session: Session, tenant_id: str, controller_id: str) -> VirtualController:
    """A controller of the tenant. Raises Unknown."""
    controller = session.get(VirtualController, controller_id)
    if controller is None or controller.tenant_id != tenant_id:
        raise Unknown("virtual controller", controller_id)
    return controller


def find_drive(session: Session, tenant_id: str, controller_id: str) -> VirtualController:
    """Raises Unknown, NotADrive."""
    controller = find(session, tenant_id, controller_id)
    if not is_drive(controller):
        raise NotADrive(label(controller))
    return controller


def of_machine(session: Session, machine_id: str) -> list[VirtualController]:
    """The machine's controllers in a stable order."""
    query = sa.select(VirtualController).where(VirtualController.machine_id == machine_id)
    return list(session.scalars(query.order_by(VirtualController.type, VirtualController.number)))


def reserve(
    session: Session,
    *,
    tenant_id: str,
    machine_id: str,
    machine_name: str,
    kind: str,
    sub_type: str = "",
    running: bool = False,
    lifecycle: Lifecycle = Lifecycle.CREATING,
) -> VirtualController:
    """Add the row of a controller to come. Raises TooManyControllers, ControllerUnsupported, SubTypeMisplaced."""
    present = of_machine(session, machine_id)
    alike = [entry for entry in present if entry.type == kind]
    check_count(machine_name, kind, len(alike))
    taken = {entry.place for entry in present if entry.device == "cd-ide"}
    free = [place for place in _IDE_PLACES if place not in taken]
    number = next_unit({entry.number for entry in alike})
    device = device_for(kind, sub_type, running=running, ide_is_free=bool(free))
    place = free[0] if device == "cd-ide" else number
    if DEVICES[device].kind == "scsi":  # drives' own controllers are counted too: libvirt fills gaps with its own
        place = next_unit({entry.place for entry in present if DEVICES[entry.device].kind == "scsi"})
    controller = VirtualController(
        tenant_id=tenant_id,
        machine_id=machine_id,
        type=kind,
        sub_type=sub_type,
        number=number,
        device=device,
        place=place,
        lifecycle=lifecycle,
    )
    session.add(controller)
    session.flush()
    return controller


def default(session: Session, *, tenant_id: str, machine_id: str) -> VirtualController:
    """Where a disk goes that names no controller: the PCI bus, whose row is made when it is not there."""
    query = sa.select(VirtualController).where(
        VirtualController.machine_id == machine_id, VirtualController.device == "virtio-blk"
    )
    found = session.scalar(query)
    if found is None:
        found = VirtualController(
            tenant_id=tenant_id,
            machine_id=machine_id,
            type="PCI",
            number=0,
            device="virtio-blk",
            lifecycle=Lifecycle.ACTIVE,
        )
        session.add(found)
        session.flush()
    return found


def free_slot(session: Session, controller: VirtualController, machine_name: str) -> int:
    """Raises NotForDisks, ControllerFull."""
    limit = capacity(controller)
    if limit == 0:
        raise NotForDisks(label(controller))
    taken = set(session.scalars(sa.select(Disk.slot).where(Disk.controller_id == controller.id)))
    if len(taken) >= limit:
        raise ControllerFull(machine_name, label(controller), len(taken), limit)
    return next_unit(taken)


def check_unused(session: Session, controller: VirtualController) -> None:
    """Raises ControllerInUse, naming the disks."""
    query = sa.select(Disk.name).where(Disk.controller_id == controller.id).order_by(Disk.unit)
    names = list(session.scalars(query))
    if names:
        raise ControllerInUse(label(controller), len(names), ", ".join(names))


def disks_by_controller(session: Session, controller_ids: Sequence[str]) -> dict[str, list[str]]:
    """Disk ids of each controller, in the order of their slots; one query for all."""
    found: dict[str, list[str]] = {}
    query = sa.select(Disk.controller_id, Disk.id).where(Disk.controller_id.in_(controller_ids)).order_by(Disk.slot)
    for controller_id, disk_id in session.execute(query):
        found.setdefault(str(controller_id), []).append(disk_id)
    return found


def set_active(world: World, controller_id: str) -> None:
    with world.database.write() as session:
        session.execute(
            sa.update(VirtualController).where(VirtualController.id == controller_id).values(lifecycle=Lifecycle.ACTIVE)
        )


def forget(world: World, controller_id: str) -> None:
    with world.database.write() as session:
        session.execute(sa.delete(VirtualController).where(VirtualController.id == controller_id))


# ---------------------------------------------------------------------------------------------------- for the hypervisor


def as_domain(controller: VirtualController, index: int | None = None) -> DomainController:
    """index: among USB controllers, which are counted together."""
    device = DEVICES[controller.device]
    return DomainController(controller.id, device.kind, device.model, controller.place if index is None else index)


def domain_controllers(session: Session, machine_id: str) -> list[DomainController]:
    """What the machine is defined with, beside drives and what every machine has."""
    rows = [entry for entry in of_machine(session, machine_id) if not is_drive(entry)]
    usb = [entry for entry in rows if DEVICES[entry.device].kind == "usb"]
    scsi = [as_domain(entry) for entry in rows if DEVICES[entry.device].kind == "scsi"]
    return [*scsi, *(as_domain(entry, index) for index, entry in enumerate(usb))]


def as_drive(controller: VirtualController, path: str | None) -> DomainCdrom:
    return DomainCdrom(controller.id, DEVICES[controller.device].kind, controller.place, path)


def as_seen(session: Session, disk: Disk, address: NbdAddress) -> DomainDisk:
    """A disk as the hypervisor needs it."""
    controller = session.get(VirtualController, disk.controller_id) if disk.controller_id else None
    if controller is None or controller.device == "virtio-blk":
        return DomainDisk(disk.id, disk.unit, address)
    bus = "lsi" if controller.device == "lsilogic" else "scsi"
    return DomainDisk(disk.id, disk.unit, address, bus, controller.place, disk.slot)
