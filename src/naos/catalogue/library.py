"""Content libraries and templates: checks, files and steps. A file is named by its template's id, never by its name."""

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.catalogue.errors import SourceAmbiguous, TemplateInUse, TemplateNotBootable, TemplateNotReady
from naos.catalogue.images import intake, remarks
from naos.catalogue.models import Library, Template, TemplateDisk, Upload
from naos.catalogue.ovf.descriptor import MOST_DISKS, Adapter, Descriptor
from naos.errors import NameTaken, Unknown
from naos.lifecycle import Lifecycle, check_ready
from naos.names import listing
from naos.units import TIB
from naos.world import World

DEFAULT_LIBRARY = "Templates"
LARGEST_IMAGE = 16 * TIB
"""Bytes that an image may claim to hold: the largest volume is not much more."""

USERS: list[Callable[[Session, str], list[str]]] = []
"""Who may need an item: each area that leans on one adds a function from its id to the names of those that do
("machine web-1, in its CD drive"). An item that has some is not deleted."""


def check_unused(session: Session, template: Template) -> None:
    """Raises TemplateInUse."""
    users = [name for users_of in USERS for name in users_of(session, template.id)]
    if users:
        raise TemplateInUse(template.name, len(users), listing(users))


def ensure_default(session: Session, tenant_id: str) -> Library:
    """The tenant's first library, made when it is not there."""
    found = session.scalar(sa.select(Library).where(Library.tenant_id == tenant_id, Library.name == DEFAULT_LIBRARY))
    if found is None:
        found = Library(tenant_id=tenant_id, name=DEFAULT_LIBRARY)
        session.add(found)
        session.flush()
    return found


def find(session: Session, tenant_id: str, library_id: str) -> Library:
    """A library of the tenant. Raises Unknown."""
    library = session.get(Library, library_id)
    if library is None or library.tenant_id != tenant_id:
        raise Unknown("content library", library_id)
    return library


def find_item(session: Session, tenant_id: str, template_id: str) -> Template:
    """A template of the tenant in whatever state. Raises Unknown."""
    template = session.get(Template, template_id)
    if template is None or template.tenant_id != tenant_id:
        raise Unknown("template", template_id)
    return template


def find_template(session: Session, tenant_id: str, template_id: str) -> Template:
    """A template that machines can be cloned from. Raises Unknown, TemplateNotReady, TemplateNotBootable."""
    template = find_item(session, tenant_id, template_id)
    if template.lifecycle != Lifecycle.ACTIVE:
        raise TemplateNotReady(template.name, "deleted" if template.lifecycle == Lifecycle.DELETING else "added")
    if template.type == "iso":
        raise TemplateNotBootable(template.name, template.type)
    return template


def lock(template_id: str, *, shared: bool = False) -> Lock:
    return Lock(f"template:{template_id}", shared=shared)


def plan_add(
    session: Session,
    *,
    tenant_id: str,
    library_id: str,
    name: str,
    description: str,
    upload_id: str | None,
    url: str | None,
    checksum: str | None,
    hardware: dict[str, Any],
) -> Plan:
    """Reserve a template's name; the activity fetches, checks and keeps the image. hardware: as `described` takes it."""
    library = find(session, tenant_id, library_id)
    if (upload_id is None) == (url is None):
        raise SourceAmbiguous("both" if url else "neither")
    if upload_id is not None:
        upload = session.get(Upload, upload_id)
        if upload is None or upload.tenant_id != tenant_id:
            raise Unknown("upload", upload_id)
    taken = sa.select(Template.id).where(Template.library_id == library_id, Template.name == name)
    if session.scalar(taken):
        raise NameTaken("template", name)
    template = Template(tenant_id=tenant_id, library_id=library.id, name=name, description=description)
    session.add(template)
    session.flush()
    source = {"upload_id": upload_id, "url": url, "checksum": checksum}
    arguments = {"template_id": template.id, **source, "hardware": hardware}
    return Plan(
        kind="template.add",
        description=f"Add template {name}",
        arguments=arguments,
        locks=(lock(template.id), *((Lock(f"upload:{upload_id}"),) if upload_id else ())),
        concerned=(Item(template.id, "content_library_item"),),
        undo=(Undo("template.forget", {"template_id": template.id}, f"gave the name {name} back"),),
    )


def plan_delete(session: Session, tenant_id: str, template_id: str) -> Plan:
    """Delete a template. Clones of it that are under way finish first; finished ones never needed its file."""
    template = find_item(session, tenant_id, template_id)
    check_ready("Template", template.name, template.lifecycle)
    check_unused(session, template)
    template.lifecycle = Lifecycle.DELETING
    return Plan(
        kind="template.delete",
        description=f"Delete template {template.name}",
        arguments={"template_id": template.id},
        locks=(lock(template.id),),
        concerned=(Item(template.id, "content_library_item"),),
        undo=(Undo("template.keep", {"template_id": template.id}, "left the template as it is"),),
    )


# ---------------------------------------------------------------------------------------------------------------- files


def uploads(world: World) -> Path:
    return world.settings.library / "uploads"


def image(world: World, image_id: str) -> Path:
    """Where the library keeps the file of an item's disk, or of an ISO: its first disk has the item's id."""
    return world.settings.library / f"{image_id}.img"


def image_id(template_id: str, position: int) -> str:
    """The id of an item's disk: always the same, so that a repeated step finds its own files."""
    return template_id if position == 0 else str(uuid.uuid5(uuid.UUID(template_id), str(position)))


def disks_of(session: Session, template_id: str) -> list[TemplateDisk]:
    """The item's disks in order; an ISO has none."""
    wanted = sa.select(TemplateDisk).where(TemplateDisk.template_id == template_id)
    return list(session.scalars(wanted.order_by(TemplateDisk.position)))


def image_ids(session: Session) -> dict[str, str]:
    """The id of every file that the library has to keep, with that of its item."""
    found = {template_id: template_id for template_id in session.scalars(sa.select(Template.id))}
    return found | {disk.id: disk.template_id for disk in session.scalars(sa.select(TemplateDisk))}


def is_kept(session: Session, image_id: str) -> bool:
    """Whether the file of this id belongs to an item."""
    return session.get(Template, image_id) is not None or session.get(TemplateDisk, image_id) is not None


def descriptor_of(template: Template) -> Descriptor:
    """What the item declares; nothing for a bare image."""
    return Descriptor.model_validate(template.descriptor)


# ---------------------------------------------------------------------------------------------------------------- steps


def bring_in(
    world: World,
    template_id: str,
    upload_id: str | None,
    url: str | None,
    checksum: str | None,
    hardware: dict[str, Any],
    progress: Callable[[float], None],
) -> None:
    """Check the image and keep it; what it turned out to be goes into the rows. Raises what the intake raises."""
    world.settings.library.mkdir(parents=True, exist_ok=True)
    taken = intake.accept_item(
        uploads(world) / upload_id if upload_id is not None else str(url),
        lambda position: image(world, image_id(template_id, position)),
        checksum=checksum,
        max_virtual_size=LARGEST_IMAGE,
        progress=progress,
        namespace=world.settings.download_namespace,
    )
    first = taken.disks[0]
    kept = [image(world, image_id(template_id, position)) for position in range(len(taken.disks))]
    warnings = [told for path in kept for told in remarks.of_image(path)] if taken.format != "iso" else []
    with world.database.write() as session:
        template = session.get_one(Template, template_id)
        template.type = "iso" if taken.format == "iso" else "ovf"
        template.source = taken.format
        template.size = sum(disk.size for disk in taken.disks)
        template.virtual_size = first.capacity
        template.checksum = first.checksum
        template.warnings = sorted(set(warnings))
        template.descriptor = described(taken.descriptor, hardware).model_dump() if template.type == "ovf" else {}
        session.execute(sa.delete(TemplateDisk).where(TemplateDisk.template_id == template_id))
        if template.type == "ovf":
            session.add_all(_rows(template_id, taken.disks))


def described(said: Descriptor | None, hardware: dict[str, Any]) -> Descriptor:
    """What an image says of its machine, and what its owner says: `cpu`, `memory` in bytes, names of `networks`."""
    found = said if said is not None else Descriptor()
    sizes = {key: hardware[key] for key in ("cpu", "memory") if hardware.get(key) is not None}
    if "cpu" in sizes:
        sizes["cores_per_socket"] = 1
    networks = hardware.get("networks") or []
    if networks and not found.adapters:
        sizes |= {"networks": sorted(set(networks)), "adapters": adapters_on(networks)}
    return found.model_copy(update=sizes)


def adapters_on(networks: Sequence[str]) -> list[Adapter]:
    return [
        Adapter(id=f"net{number}", name=f"Network adapter {number}", network=network, type="VmxNet3")
        for number, network in enumerate(networks, start=1)
    ]


def _rows(template_id: str, disks: list[intake.DiskFacts]) -> list[TemplateDisk]:
    return [
        TemplateDisk(
            id=image_id(template_id, position),
            template_id=template_id,
            position=position,
            name=disk.name,
            controller=disk.controller,
            capacity=disk.capacity,
            size=disk.size,
            populated=disk.populated,
            checksum=disk.checksum,
        )
        for position, disk in enumerate(disks)
    ]


def publish(world: World, template_id: str) -> None:
    with world.database.write() as session:
        session.get_one(Template, template_id).lifecycle = Lifecycle.ACTIVE


def drop_upload(world: World, upload_id: str) -> None:
    (uploads(world) / upload_id).unlink(missing_ok=True)
    with world.database.write() as session:
        session.execute(sa.delete(Upload).where(Upload.id == upload_id))


def remove_image(world: World, template_id: str) -> None:
    for position in range(MOST_DISKS):
        intake.discard(image(world, image_id(template_id, position)))


def check_unused_still(world: World, template_id: str) -> None:
    """Somebody may have taken to the item since its deletion was asked for. Raises TemplateInUse."""
    with world.database.read() as session:
        template = session.get(Template, template_id)
        if template is not None:
            check_unused(session, template)


def forget(world: World, template_id: str) -> None:
    remove_image(world, template_id)
    with world.database.write() as session:
        session.execute(sa.delete(TemplateDisk).where(TemplateDisk.template_id == template_id))
        session.execute(sa.delete(Template).where(Template.id == template_id))
