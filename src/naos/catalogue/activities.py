"""The durable work of templates."""

from typing import Any, cast

from naos.activity import Run, Undo, undo, workflow
from naos.catalogue import library
from naos.catalogue.models import Template
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
