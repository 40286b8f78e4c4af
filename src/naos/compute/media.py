"""Images in drives: which one, and their copies on the blades.

A copy is named by its drive and its item, so that another image is another file, and a blade's folder tells whose it is.
"""

import re
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.catalogue import library
from naos.catalogue.errors import TemplateNotReady
from naos.catalogue.models import Library, Template
from naos.compute.models import VirtualMachine
from naos.engines.ports import DomainCdrom
from naos.errors import Unknown
from naos.lifecycle import Lifecycle
from naos.storage import controllers
from naos.storage.errors import MediumChoice, MediumUnknown, NoImage
from naos.storage.models import VirtualController
from naos.world import World

FOLDER = "/var/lib/libvirt/naos/media"
_ISO_PATH = re.compile(r"\[([^\]]+)\]\s*([^/]+?)(?:\.iso)?", re.IGNORECASE)
_NAME = re.compile(r"([0-9a-f-]{36})\.([0-9a-f-]{36})\.iso")


def path_on_blade(drive_id: str, item_id: str) -> str:
    return f"{FOLDER}/{drive_id}.{item_id}.iso"


# ---------------------------------------------------------------------------------------------------------------- items


def find_item(session: Session, tenant_id: str, *, item_id: str | None, iso_path: str | None) -> Template:
    """The image that a client names. Raises Unknown, MediumChoice, MediumUnknown, NoImage, TemplateNotReady."""
    if (item_id is None) == (iso_path is None):
        raise MediumChoice("none" if item_id is None else "both")
    item = library.find_item(session, tenant_id, item_id) if item_id else _by_path(session, tenant_id, iso_path or "")
    if item.lifecycle != Lifecycle.ACTIVE:
        raise TemplateNotReady(item.name, "deleted" if item.lifecycle == Lifecycle.DELETING else "added")
    if item.type != "iso":
        raise NoImage(item.name, item.type)
    return item


def _by_path(session: Session, tenant_id: str, iso_path: str) -> Template:
    found = _ISO_PATH.fullmatch(iso_path.strip())
    if found is None:
        raise MediumUnknown(iso_path)
    names = {found[2], f"{found[2]}.iso"}
    query = (
        sa.select(Template)
        .join(Library, Library.id == Template.library_id)
        .where(Template.tenant_id == tenant_id, Library.name == found[1], Template.name.in_(names))
        .order_by(Template.name)
    )
    item = session.scalars(query).first()
    if item is None:
        raise Unknown("image", iso_path)
    return item


def users_of(session: Session, item_id: str) -> list[str]:
    """Names of the machines that have the item in a drive."""
    query = (
        sa.select(VirtualMachine.name)
        .join(VirtualController, VirtualController.machine_id == VirtualMachine.id)
        .where(VirtualController.item_id == item_id)
        .distinct()
        .order_by(VirtualMachine.name)
    )
    return list(session.scalars(query))


library.USERS.append(users_of)


# --------------------------------------------------------------------------------------------------------------- drives


def drive(controller: VirtualController) -> DomainCdrom:
    """A drive as the guest sees it: what is in it only while it is connected."""
    shown = controller.item_id if controller.connected else None
    return controllers.as_drive(controller, path_on_blade(controller.id, shown) if shown else None)


def drives(session: Session, machine_id: str) -> list[DomainCdrom]:
    return [drive(entry) for entry in _drives(session, machine_id)]


def _drives(session: Session, machine_id: str) -> list[VirtualController]:
    return [entry for entry in controllers.of_machine(session, machine_id) if controllers.is_drive(entry)]


# ---------------------------------------------------------------------------------------------------------------- steps


def put(world: World, machine_id: str, blade: str) -> None:
    """Copy what is in the machine's drives to a blade, unless it is there."""
    with world.database.read() as session:
        wanted = [(entry.id, entry.item_id) for entry in _drives(session, machine_id) if entry.item_id]
    present = set(on_blade(world, blade)) if wanted else set()
    for drive_id, item_id in wanted:
        if (drive_id, item_id) not in present:
            bring(world, drive_id, item_id, blade)


def bring(world: World, drive_id: str, item_id: str, blade: str) -> None:
    """Copy an item for one drive; whole or not at all."""
    host = world.rack.blade_host(blade)
    host.run(["mkdir", "-p", FOLDER])
    host.put(library.image(world, item_id), path_on_blade(drive_id, item_id))


def remove(world: World, machine_id: str, blade: str) -> None:
    """Take the copies of a machine's drives off a blade; absent is fine."""
    with world.database.read() as session:
        mine = {entry.id for entry in _drives(session, machine_id)}
    if mine:
        clear(world, mine, blade)


def clear(world: World, drive_ids: Collection[str], blade: str, *, spared: str | None = None) -> None:
    """Remove a blade's copies for these drives, but the item `spared`."""
    surplus = [
        path_on_blade(drive_id, item_id)
        for drive_id, item_id in on_blade(world, blade)
        if drive_id in drive_ids and item_id != spared
    ]
    if surplus:
        world.rack.blade_host(blade).run(["rm", "-f", *surplus])


def on_blade(world: World, blade: str) -> list[tuple[str, str]]:
    """Drive and item of each copy on a blade."""
    found = world.rack.blade_host(blade).run(["ls", FOLDER], check=False)
    return [(match[1], match[2]) for name in found.stdout.split() if (match := _NAME.fullmatch(name))]
