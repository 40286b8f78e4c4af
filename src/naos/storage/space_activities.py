"""The durable work of keeping space."""

from typing import Any, cast

from naos.activity import Run, undo, workflow
from naos.storage import luns, reserve
from naos.world import World


@workflow("lun.policy", steps=2)
def set_policy(run: Run, arguments: dict[str, Any]) -> str:
    world, lun_id, size = cast(World, run.world), arguments["lun_id"], arguments["reserve"]
    noted = {key: arguments[key] for key in ("headroom", "snapshots") if arguments.get(key) is not None}
    if size is not None:
        run.step("set the reserve aside", reserve.keep, world, lun_id, size, False, undo=reserve.undo_of(lun_id))
        noted |= {"reserve": size, "released": False}
    if (percent := arguments.get("overcommitment")) is not None:
        noted |= {"overcommitment": percent or None}
    run.step("note it", _note, world, lun_id, noted)
    return str(lun_id)


@workflow("lun.release_reserve", steps=2)
def release(run: Run, arguments: dict[str, Any]) -> str:
    """Guests that wait for space go on when their controller looks next."""
    world, lun_id = cast(World, run.world), arguments["lun_id"]
    run.step("note that it is released", _note, world, lun_id, {"released": True})
    run.step("give it up", reserve.as_noted, world, lun_id)
    run.step("measure", luns.measure, world, lun_id)
    return str(lun_id)


@workflow("lun.maintenance", steps=0)
def note_maintenance(run: Run, arguments: dict[str, Any]) -> str:
    """The row changed when the request was checked."""
    del run
    return str(arguments["lun_id"])


def _note(world: World, lun_id: str, values: dict[str, Any]) -> None:
    reserve.note(world, lun_id, **values)


@undo("lun.reserve_as_noted")
def _as_noted(world: World, arguments: dict[str, Any]) -> None:
    reserve.as_noted(world, arguments["lun_id"])
