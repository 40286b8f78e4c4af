"""The durable work of templates."""

from collections.abc import Callable
from typing import Any, cast

from naos.activity import Run, Undo, undo, workflow
from naos.catalogue import exports, library
from naos.catalogue.models import Export, Template
from naos.catalogue.ovf import packing
from naos.catalogue.ovf.descriptor import Descriptor
from naos.lifecycle import keep
from naos.world import World


@workflow("template.add", steps=2)
def add_template(run: Run, arguments: dict[str, Any]) -> str:
    world, template_id, upload_id = cast(World, run.world), arguments["template_id"], arguments["upload_id"]
    run.step(
        "check and keep the image",
        library.bring_in,
        world,
        template_id,
        upload_id,
        arguments["url"],
        arguments["checksum"],
        arguments.get("hardware", {}),
        run.progress,
        undo=Undo("template.remove_image", {"template_id": template_id}, "removed the image"),
    )
    run.step("publish", library.publish, world, template_id)
    if upload_id is not None:
        run.step("drop the upload", library.drop_upload, world, upload_id)
    return str(template_id)


@workflow("template.delete", steps=2)
def delete_template(run: Run, arguments: dict[str, Any]) -> str:
    world = cast(World, run.world)
    run.step("check that nobody needs it", library.check_unused_still, world, arguments["template_id"])
    run.step("forget", library.forget, world, arguments["template_id"])
    return str(arguments["template_id"])


@workflow("template.export")
def export_template(run: Run, arguments: dict[str, Any]) -> str:
    world, export_id, template_id = cast(World, run.world), arguments["export_id"], arguments["template_id"]
    said = Descriptor.model_validate(run.step("describe it", _describe, world, template_id))
    for position in range(len(said.disks)):
        run.step("copy a disk", _copy_disk, world, export_id, template_id, position, run.progress)
    run.step("pack", exports.pack, world, export_id, said)
    run.step("publish", exports.publish, world, export_id)
    return str(export_id)


def _describe(world: World, template_id: str) -> dict[str, Any]:
    with world.database.read() as session:
        return exports.of_template(session, session.get_one(Template, template_id)).model_dump()


def _copy_disk(
    world: World, export_id: str, template_id: str, position: int, progress: Callable[[float], None]
) -> None:
    source = packing.of_image(library.image(world, library.image_id(template_id, position)))
    exports.convert_disk(world, export_id, position, source, progress)


@workflow("export.delete", steps=1)
def delete_export(run: Run, arguments: dict[str, Any]) -> str:
    run.step("forget", exports.forget, cast(World, run.world), arguments["export_id"])
    return str(arguments["export_id"])


@undo("export.keep")
def _keep_export(world: World, arguments: dict[str, Any]) -> bool:
    with world.database.write() as session:
        keep(session, Export, arguments["export_id"])
    return False


@undo("export.forget")
def _forget_export(world: World, arguments: dict[str, Any]) -> None:
    exports.forget(world, arguments["export_id"])


@undo("template.keep")
def _keep(world: World, arguments: dict[str, Any]) -> bool:
    with world.database.write() as session:
        keep(session, Template, arguments["template_id"])
    return False


@undo("template.remove_image")
def _remove_image(world: World, arguments: dict[str, Any]) -> None:
    library.remove_image(world, arguments["template_id"])


@undo("template.forget")
def _forget(world: World, arguments: dict[str, Any]) -> None:
    library.forget(world, arguments["template_id"])
