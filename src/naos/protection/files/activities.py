"""The durable work of file restore."""

from typing import Any, cast

from naos.activity import Run, Undo, undo, workflow
from naos.protection.files import putting
from naos.world import World


@workflow("restore_point.put_back", steps=2)
def put_back(run: Run, arguments: dict[str, Any]) -> str:
    world = cast(World, run.world)
    where = {"machine_id": arguments["machine_id"], "staged": putting.staged(arguments, run.activity_id)}
    cleaning = Undo("restore_point.clean_put_back", where, "removed what was written into the machine")
    run.step("write into the machine", putting.write, world, arguments, run.activity_id, run.progress, undo=cleaning)
    run.step("put it in its place", putting.place, world, arguments, run.activity_id)
    return str(arguments["machine_id"])


@undo("restore_point.clean_put_back")
def _clean(world: World, arguments: dict[str, Any]) -> bool:
    return putting.clean(world, arguments)
