"""The durable work of protection."""

from typing import Any, cast

from naos.activity import Run, undo, workflow
from naos.protection import assignments, conditions, inventory
from naos.protection.backup import activities as _backup  # noqa: F401 - its workflows and compensations
from naos.protection.backup import instant_activities as _instant  # noqa: F401 - the same
from naos.protection.files import activities as _files  # noqa: F401 - the same
from naos.protection.recovery import activities as _recovery  # noqa: F401 - the same
from naos.protection.replication import activities as _replication  # noqa: F401 - the same
from naos.world import World

__all__ = ["conditions"]  # imported for its effect: it has its say about every machine


@workflow("backup_policy.create", steps=0)
@workflow("backup_policy.hold", steps=0)
@workflow("backup_policy.release", steps=0)
@workflow("backup_policy.delete", steps=0)
def note_policy(run: Run, arguments: dict[str, Any]) -> str:
    """The rows changed when the request was checked."""
    del run
    return str(arguments["policy_id"])


@workflow("backup_policy.assign_machines", steps=1)
def assign_machines(run: Run, arguments: dict[str, Any]) -> str:
    world = cast(World, run.world)
    run.step(
        "replace the policies",
        assignments.replace_of_machines,
        world,
        arguments["machine_ids"],
        arguments["policy_ids"],
    )
    return str(arguments["machine_ids"][0])


@workflow("backup_policy.assign_disk", steps=1)
def assign_disk(run: Run, arguments: dict[str, Any]) -> str:
    world = cast(World, run.world)
    run.step("replace the policies", assignments.replace_of_disk, world, arguments["disk_id"], arguments["policy_ids"])
    return str(arguments["disk_id"])


@workflow("backup_job.inventory", steps=2)
def take_inventory(run: Run, arguments: dict[str, Any]) -> str:
    world, activity_id = cast(World, run.world), run.activity_id
    run.step(
        "open the run",
        inventory.open_run,
        world,
        arguments["job"],
        arguments["tenant_id"],
        activity_id,
        undo=inventory.close_run(activity_id),
    )
    run.step("look", _look, world, arguments, activity_id)
    return str(arguments["job"])


def _look(world: World, arguments: dict[str, Any], activity_id: str) -> None:
    machines, tenant_id = arguments["machines"], arguments["tenant_id"]
    seen = inventory.look_at_machines(world, tenant_id) if machines else inventory.look_at_vaults(world)
    inventory.end_run(world, activity_id, seen)


@undo("backup_run.fail")
def _fail_run(world: World, arguments: dict[str, Any]) -> None:
    inventory.end_run(world, arguments["activity_id"], None)
