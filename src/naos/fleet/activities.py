"""The durable work of cpools."""

from typing import Any, cast

from naos.activity import Run, undo, workflow
from naos.fleet import cpools, processors
from naos.fleet.models import Cpool
from naos.lifecycle import keep
from naos.world import World


@workflow("cpool.create")
def create_cpool(run: Run, arguments: dict[str, Any]) -> str:
    world, cpool_id = cast(World, run.world), arguments["cpool_id"]
    for blade in arguments["blades"]:
        run.step(f"verify {blade}", cpools.verify_blade, world, blade)
    run.step("compute the baseline of its processors", processors.settle, world, cpool_id)
    run.step("publish", cpools.set_active, world, cpool_id)
    return str(cpool_id)


@undo("cpool.keep")
def _keep(world: World, arguments: dict[str, Any]) -> bool:
    with world.database.write() as session:
        keep(session, Cpool, arguments["cpool_id"])
    return False


@undo("cpool.forget")
def _forget(world: World, arguments: dict[str, Any]) -> None:
    cpools.forget(world, arguments["cpool_id"])
