"""The durable work of volumes."""

from typing import Any, cast

from naos.activity import Run, Undo, undo, workflow
from naos.lifecycle import keep
from naos.storage import classes, daemons, disks, luns
from naos.storage import space_activities as _space_activities  # noqa: F401 - its workflows and compensations
from naos.storage.models import Lun
from naos.world import World


def _world(run: Run) -> World:
    return cast(World, run.world)


@workflow("lun.create", steps=2)
def create_lun(run: Run, arguments: dict[str, Any]) -> str:
    world, lun_id = _world(run), arguments["lun_id"]
    run.step(
        "make the volume",
        luns.make,
        world,
        lun_id,
        undo=Undo("lun.unmake", {"lun_id": lun_id}, "removed the volume from its array"),
    )
    run.step("publish", luns.set_active, world, lun_id)
    return str(lun_id)


@workflow("lun.extend", steps=3)
def extend_lun(run: Run, arguments: dict[str, Any]) -> str:
    world, lun_id = _world(run), arguments["lun_id"]
    run.step("grow the volume", luns.grow, world, lun_id, arguments["size"])
    run.step("record the size", luns.record_capacity, world, lun_id, arguments["size"])
    run.step("raise the limit", luns.apply_limit, world, lun_id)
    return str(lun_id)


@workflow("lun.class", steps=2)
def change_class(run: Run, arguments: dict[str, Any]) -> str:
    world, lun_id, before = _world(run), arguments["lun_id"], arguments["before"]
    run.step(
        "record the class",
        classes.record,
        world,
        lun_id,
        arguments["storage_class"],
        undo=Undo("lun.class_back", {"lun_id": lun_id, "storage_class": before}, f"left the volume in class {before}"),
    )
    run.step("change the limit", luns.apply_limit, world, lun_id)
    return str(lun_id)


@workflow("lun.delete", steps=2)
def delete_lun(run: Run, arguments: dict[str, Any]) -> str:
    world, lun_id = _world(run), arguments["lun_id"]
    run.step("check that it is empty", _check_empty, world, lun_id)
    run.step("remove the volume", luns.unmake, world, lun_id)
    run.step("forget", luns.forget, world, lun_id)
    return str(lun_id)


@workflow("base.drop", steps=1)
def drop_base(run: Run, arguments: dict[str, Any]) -> str:
    run.step("remove the base", luns.drop_base, _world(run), arguments["lun_id"], arguments["template_id"])
    return str(arguments["template_id"])


@workflow("lun.recover", steps=1)
def recover_lun(run: Run, arguments: dict[str, Any]) -> str:
    run.step("bring the daemon back", daemons.ensure, _world(run), arguments["lun_id"])
    return str(arguments["lun_id"])


@workflow("datastore_cluster.create", steps=0)
@workflow("datastore_cluster.update", steps=0)
@workflow("datastore_cluster.delete", steps=0)
def note_cluster(run: Run, arguments: dict[str, Any]) -> str:
    """The rows changed when the request was checked."""
    del run
    return str(arguments["cluster_id"])


def _check_empty(world: World, lun_id: str) -> None:
    with world.database.read() as session:
        lun = session.get(Lun, lun_id)
        if lun is not None:
            luns.check_empty(session, lun)


@undo("lun.keep")
def _keep(world: World, arguments: dict[str, Any]) -> bool:
    with world.database.write() as session:
        keep(session, Lun, arguments["lun_id"])
    return False


@undo("lun.class_back")
def _class_back(world: World, arguments: dict[str, Any]) -> None:
    classes.take_back(world, arguments["lun_id"], arguments["storage_class"])


@undo("lun.unmake")
def _unmake(world: World, arguments: dict[str, Any]) -> None:
    luns.unmake(world, arguments["lun_id"])


@undo("lun.forget")
def _forget(world: World, arguments: dict[str, Any]) -> None:
    luns.forget(world, arguments["lun_id"])


@undo("disk.remove")
def _remove_disk(world: World, arguments: dict[str, Any]) -> None:
    disks.remove(world, arguments["disk_id"])


@undo("disk.forget")
def _forget_disk(world: World, arguments: dict[str, Any]) -> None:
    disks.forget(world, arguments["disk_id"])


@undo("disk.fence")
def _fence_disk(world: World, arguments: dict[str, Any]) -> None:
    disks.fence(world, arguments["disk_id"])
