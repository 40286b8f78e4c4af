"""The durable work of replicated volumes."""

from typing import Any, cast

from naos.activity import Run, Undo, undo, workflow
from naos.protection.replication import replications
from naos.storage import luns
from naos.world import World


@workflow("replication.create", steps=2)
def create(run: Run, arguments: dict[str, Any]) -> str:
    """The first point is taken afterwards, and those that follow."""
    world, replica_id = cast(World, run.world), arguments["replica_id"]
    taken_back = Undo("lun.unmake", {"lun_id": replica_id}, "removed the replica from its array")
    run.step("make the replica", luns.make, world, replica_id, undo=taken_back)
    run.step("publish", replications.publish, world, arguments["replication_id"])
    return str(arguments["replication_id"])


@workflow("replication.note", steps=0)
def note(run: Run, arguments: dict[str, Any]) -> str:
    """The row changed when the request was checked."""
    del run
    return str(arguments["replication_id"])


@workflow("replication.delete", steps=3)
def delete(run: Run, arguments: dict[str, Any]) -> str:
    world, replication_id = cast(World, run.world), arguments["replication_id"]
    run.step("wait for the point that is being taken", replications.stop, world, replication_id)
    run.step("remove the points and the replica", replications.remove, world, replication_id)
    run.step("forget", replications.forget, world, replication_id)
    return str(replication_id)


@undo("replication.forget")
def _forget(world: World, arguments: dict[str, Any]) -> None:
    replications.forget(world, arguments["replication_id"])


@undo("replication.keep")
def _keep(world: World, arguments: dict[str, Any]) -> bool:
    replications.keep(world, arguments["replication_id"])
    return False
