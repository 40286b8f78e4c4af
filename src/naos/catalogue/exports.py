"""Exports: OVA files on the controller for a tenant to fetch. A file is named by its export's id."""

import shutil
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.catalogue import library
from naos.catalogue.errors import ExportUnfinished
from naos.catalogue.images.region import whole
from naos.catalogue.models import Export, Template
from naos.catalogue.ovf import packing
from naos.catalogue.ovf.descriptor import Adapter, Controller, Descriptor, SourceDisk
from naos.errors import Unknown
from naos.lifecycle import Lifecycle, check_ready
from naos.units import MIB
from naos.world import World

DISKS_OF_A_CONTROLLER = 15
DEFAULT_MEMORY = 128 * MIB  # of an item that does not say
_PLACES = (*range(7), *range(8, 16))  # 7 is the controller's own


def find(session: Session, tenant_id: str, export_id: str) -> Export:
    """An export of the tenant. Raises Unknown."""
    export = session.get(Export, export_id)
    if export is None or export.tenant_id != tenant_id:
        raise Unknown("export", export_id)
    return export


def reserve(session: Session, tenant_id: str, name: str, source_id: str, source_type: str) -> Export:
    """The row of an export to come."""
    export = Export(tenant_id=tenant_id, name=name, source_id=source_id, source_type=source_type)
    session.add(export)
    session.flush()
    return export


def forgetting(export: Export) -> Undo:
    return Undo("export.forget", {"export_id": export.id}, "removed what there was of the export")


def plan_template(session: Session, tenant_id: str, template_id: str) -> Plan:
    """Export an item of a library. Raises Unknown, TemplateNotReady, TemplateNotBootable."""
    template = library.find_template(session, tenant_id, template_id)
    export = reserve(session, tenant_id, template.name, template.id, "content_library_item")
    return Plan(
        kind="template.export",
        description=f"Export template {template.name}",
        arguments={"export_id": export.id, "template_id": template.id},
        locks=(Lock(f"export:{export.id}"), library.lock(template.id, shared=True)),
        concerned=(Item(export.id, "export"), Item(template.id, "content_library_item")),
        undo=(forgetting(export),),
    )


def plan_delete(session: Session, tenant_id: str, export_id: str) -> Plan:
    export = find(session, tenant_id, export_id)
    check_ready("Export", export.name, export.lifecycle)
    export.lifecycle = Lifecycle.DELETING
    return Plan(
        kind="export.delete",
        description=f"Delete the export of {export.name}",
        arguments={"export_id": export.id},
        locks=(Lock(f"export:{export.id}"),),
        concerned=(Item(export.id, "export"),),
        undo=(Undo("export.keep", {"export_id": export.id}, "left the export as it is"),),
    )


# ---------------------------------------------------------------------------------------------------------------- files


def folder(world: World) -> Path:
    return world.settings.home / "exports"


def file(world: World, export_id: str) -> Path:
    return folder(world) / f"{export_id}.ova"


def workshop(world: World, export_id: str) -> Path:
    """Where an export's disks are until they are packed."""
    return folder(world) / export_id


def readable(world: World, export: Export) -> Path:
    """The finished file. Raises ExportUnfinished, Unknown."""
    if export.lifecycle != Lifecycle.ACTIVE:
        raise ExportUnfinished(export.name)
    place = file(world, export.id)
    if not place.is_file():
        raise Unknown("file of the export", export.id)
    return place


# ---------------------------------------------------------------------------------------------------------------- steps


def disk_file(world: World, export_id: str, position: int) -> Path:
    return workshop(world, export_id) / f"disk-{position}.vmdk"


def convert_disk(world: World, export_id: str, position: int, source: str, progress: Callable[[float], None]) -> None:
    """Bring a disk in as a VMDK; one that is there already is left alone."""
    workshop(world, export_id).mkdir(parents=True, exist_ok=True)
    target = disk_file(world, export_id, position)
    if not target.exists():
        packing.convert(source, target, progress)


def pack(world: World, export_id: str, machine: Descriptor) -> None:
    """Put descriptor, manifest and disks into one file."""
    target = file(world, export_id)
    if not target.exists():
        sources = [
            packing.Source(disk_file(world, export_id, position), disk.capacity)
            for position, disk in enumerate(machine.disks)
        ]
        packing.pack(target, machine, sources)
    shutil.rmtree(workshop(world, export_id), ignore_errors=True)
    facts = {"size": target.stat().st_size, "checksum": f"sha256:{whole(target).digest('sha256')}"}
    with world.database.write() as session:
        session.execute(sa.update(Export).where(Export.id == export_id).values(**facts))


def publish(world: World, export_id: str) -> None:
    with world.database.write() as session:
        session.execute(sa.update(Export).where(Export.id == export_id).values(lifecycle=Lifecycle.ACTIVE))


def forget(world: World, export_id: str) -> None:
    """Files, then row; absent ones are fine."""
    shutil.rmtree(workshop(world, export_id), ignore_errors=True)
    for path in (file(world, export_id), file(world, export_id).with_suffix(".part")):
        path.unlink(missing_ok=True)
    with world.database.write() as session:
        session.execute(sa.delete(Export).where(Export.id == export_id))


# ---------------------------------------------------------------------------------------------------------- descriptors


def hung_up(capacities: list[tuple[str, int]]) -> tuple[list[Controller], list[SourceDisk]]:
    """Controllers for disks, given as name and bytes in their order, and the disks at their places."""
    count = max(1, -(-len(capacities) // DISKS_OF_A_CONTROLLER))
    controllers = [
        Controller(id=f"scsi{number}", name=f"SCSI controller {number}", type="SCSI", sub_type="VirtualSCSI")
        for number in range(count)
    ]
    disks = [
        SourceDisk(
            id=f"disk{position + 1}",
            name=name,
            capacity=capacity,
            controller=f"scsi{position // DISKS_OF_A_CONTROLLER}",
            unit=_PLACES[position % DISKS_OF_A_CONTROLLER],
        )
        for position, (name, capacity) in enumerate(capacities)
    ]
    return controllers, disks


def of_template(session: Session, template: Template) -> Descriptor:
    """The item as it was taken in, with its disks as they are kept."""
    said = library.descriptor_of(template)
    disks = library.disks_of(session, template.id)
    controllers, hung = hung_up([(disk.name, disk.capacity) for disk in disks])
    sizes = {"cpu": said.cpu or 1, "memory": said.memory or DEFAULT_MEMORY}
    return said.model_copy(update={"name": template.name, "controllers": controllers, "disks": hung, **sizes})


def adapters_of(entries: list[tuple[str, str]]) -> list[Adapter]:
    """Adapters, given as network and type in their order."""
    kinds = {"VMXNET3": "VmxNet3", "E1000": "E1000", "E1000E": "E1000e"}
    return [
        Adapter(id=f"net{number}", name=f"Network adapter {number}", network=network, type=kinds.get(kind, "VmxNet3"))
        for number, (network, kind) in enumerate(entries, start=1)
    ]
