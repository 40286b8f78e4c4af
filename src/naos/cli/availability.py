"""`naos ha`: high availability of pools and machines."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from naos.cli import waiting
from naos.cli.client import Api, connect
from naos.cli.naming import MACHINE, POOL, find, find_id
from naos.cli.options import AsCsv, AsJson, MachineName, NoWait, PoolName, completes
from naos.cli.output import field, gib, moment, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="High availability: machines of a lost blade start on others.")

AVAILABILITY = "/compute/v1/vcenters/availability"


class Priority(StrEnum):
    """In which order machines are started again."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    DISABLED = "disabled"


POOL_FIELDS = (
    field("ENABLED", "enabled"),
    field("TOLERATED LOSSES", "toleratedLosses"),
    field("KEPT FREE", "keptPercent", show=lambda percent: f"{percent} %"),
    field("CONNECTED BLADES", "connectedHosts"),
    field("KEPT MEMORY", "keptMemory", show=gib),
    field("USED MEMORY", "usedMemory", show=gib),
    field("ROOM LEFT", "room", show=gib),
    field("SURVIVES THE LOSS", "survives"),
    field("FROZEN AFTER SECONDS", "frozenAfter"),
)
MACHINE_FIELDS = (
    field("PRIORITY", "priority"),
    field("BEST EFFORT", "bestEffort"),
    field("START ORDER", "startOrder"),
    field("START DELAY SECONDS", "startDelay"),
    field("RESTARTS AN HOUR", "restartLimit"),
    field("HUNG AFTER SECONDS", "hungAfter"),
)
BLADES = (
    field("NAME", "name"),
    field("CONDITION", "condition"),
    field("SINCE", "since", show=moment),
    field("REASON", "reason"),
    field("ID", "id"),
)
RECOVERIES = (
    field("MACHINE", "virtualMachineName"),
    field("LOST ON", "lostOn"),
    field("CAUSE", "cause"),
    field("PROGRESS", "progress"),
    field("STARTED ON", "startedOn"),
    field("LOST", "createdAt", show=moment),
    field("ENDED", "endedAt", show=moment),
    field("REASON", "reason"),
)


def _change(api: Api, path: str, body: dict[str, Any], *, no_wait: bool, as_json: bool) -> bool:
    """Write what was named; False when nothing was followed to its end."""
    named = {name: value for name, value in body.items() if value is not None}
    return waiting.finish(api, api.write("PATCH", path, named), no_wait=no_wait, as_json=as_json) is not None


@app.command(epilog="Example: naos ha show web")
def show(context: typer.Context, name: PoolName, as_json: AsJson = False) -> None:
    """Show a pool's settings, and the room that is left before a start is refused."""
    with connect(context) as api:
        found = api.get(f"{POOL.path}/{find_id(api, POOL, name)}/availability")
        show_object(found, POOL_FIELDS, as_json=as_json)


@app.command("set", epilog="Example: naos ha set web --on --tolerate 1")
def set_pool(
    context: typer.Context,
    *,
    name: PoolName,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Switch it on or off.", show_default=False)] = None,
    tolerate: Annotated[
        int | None,
        typer.Option(min=0, help="Keep room for the loss of so many blades; 0 keeps none.", show_default=False),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            min=0, max=90, metavar="PERCENT", help="Keep so much of all blades' memory free.", show_default=False
        ),
    ] = None,
    frozen_after: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Seconds after which a blade whose network answers, but nothing else, counts as frozen; 0 for never.",
            show_default=False,
        ),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Change a pool's settings."""
    with connect(context) as api:
        path = f"{POOL.path}/{find_id(api, POOL, name)}/availability"
        body = {"enabled": on, "toleratedLosses": tolerate, "keptPercent": keep, "frozenAfter": frozen_after}
        if _change(api, path, body, no_wait=no_wait, as_json=as_json):
            show_object(api.get(path), POOL_FIELDS, as_json=as_json)


@app.command("machine", epilog="Example: naos ha machine web-1 --priority high")
def machine(
    context: typer.Context,
    *,
    name: MachineName,
    priority: Annotated[Priority | None, typer.Option(help="When it starts again.", show_default=False)] = None,
    best_effort: Annotated[
        bool | None,
        typer.Option("--best-effort/--no-best-effort", help="After all others, and one attempt.", show_default=False),
    ] = None,
    order: Annotated[
        int | None, typer.Option(min=0, help="Within its priority; lower is first.", show_default=False)
    ] = None,
    delay: Annotated[
        int | None, typer.Option(min=0, help="Seconds that it waits once its turn came.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Restarts an hour.", show_default=False)] = None,
    hung_after: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Reset it when its agent, which did answer, has not for so many seconds; 0 for never.",
            show_default=False,
        ),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Show a machine's settings, and change those that are named."""
    with connect(context) as api:
        path = f"{MACHINE.path}/{find(api, MACHINE, name)['id']}/availability"
        body = {
            "priority": priority,
            "bestEffort": best_effort,
            "startOrder": order,
            "startDelay": delay,
            "restartLimit": limit,
            "hungAfter": hung_after,
        }
        changes = any(value is not None for value in body.values())
        if not changes or _change(api, path, body, no_wait=no_wait, as_json=as_json):
            show_object(api.get(path), MACHINE_FIELDS, as_json=as_json)


Pool = Annotated[
    str | None, typer.Option(help="Only those of a pool.", autocompletion=completes(POOL), show_default=False)
]


@app.command(epilog="Example: naos ha blades")
def blades(context: typer.Context, *, pool: Pool = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the blades of pools with high availability, and what is known of each."""
    with connect(context) as api:
        found = api.get(f"{AVAILABILITY}/hosts", **_only(api, pool))
    empty = "No pool has high availability; `naos ha set POOL --on` switches it on."
    show_list(found, BLADES, as_json=as_json, as_csv=as_csv, empty=empty)


@app.command(epilog="Example: naos ha recoveries --unfinished")
def recoveries(
    context: typer.Context,
    *,
    pool: Pool = None,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only those that are not at their end.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List machines that were lost, and what became of them."""
    with connect(context) as api:
        found = api.get(f"{AVAILABILITY}/recoveries", unfinished=unfinished or None, **_only(api, pool))
    if not found and not as_json and not as_csv:
        note("No machine was lost.")
        return
    show_list(found, RECOVERIES, as_json=as_json, as_csv=as_csv)


def _only(api: Api, pool: str | None) -> dict[str, str]:
    return {} if pool is None else {"hostClusters[]": find_id(api, POOL, pool)}
