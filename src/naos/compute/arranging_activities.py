"""The durable work of moves that make room or balance: live migrations, one after the other."""

from typing import Any, cast

from naos.activity import Run, workflow
from naos.compute import relocation
from naos.compute.relocation import Journey
from naos.compute.startup import start
from naos.world import World


@workflow("virtual_machine.make_room")
def make_room(run: Run, arguments: dict[str, Any]) -> str:
    """Each move is checked again when its turn comes; machines that have moved stay where they are when a later one fails."""
    world, machine_id = cast(World, run.world), arguments["machine_id"]
    _move(run, world, arguments["journeys"])
    start(run, world, machine_id, {"blade": arguments["blade"], "only": False})
    return str(machine_id)


@workflow("cpool.balance")
def balance(run: Run, arguments: dict[str, Any]) -> str:
    _move(run, cast(World, run.world), arguments["journeys"])
    return str(arguments["cpool_id"])


def _move(run: Run, world: World, journeys: list[dict[str, Any]]) -> None:
    """By itself each machine keeps to its rules, whatever the others still have before them."""
    for plain in journeys:
        relocation.travel(run, world, Journey(**plain), {})
