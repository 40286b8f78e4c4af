"""`naos blade maintenance`: emptying blades, and opening them again."""

from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Json, connect
from naos.cli.naming import BLADE, find
from naos.cli.options import AsJson, BladeName, NoWait, Yes
from naos.cli.output import Column, field, json_out, note, show_list
from naos.cli.placement import BLOCKERS

app = typer.Typer(no_args_is_help=True, help="Maintenance: blades that take no machine for a while.")

MOVES = (
    field("MACHINE", "virtualMachine", "name"),
    field("FROM", "source", "name"),
    field("TO", "target", "name"),
    field("STATE", "state"),
    Column("DONE", lambda move: f"{move['progression'] * 100:.0f} %", right=True),
    field("WHY", "reason"),
)
PLAN = (
    field("STAGE", "stage", right=True),
    field("MACHINE", "virtualMachine", "name"),
    field("FROM", "source", "name"),
    field("TO", "target", "name"),
)
STATES = {
    "": "takes machines",
    "entering": "is being emptied",
    "cancelling": "is being given back its machines",
    "maintenance": "is in maintenance",
}


@app.command(epilog="Example: naos blade maintenance show par1-blade1")
def show(context: typer.Context, name: BladeName, as_json: AsJson = False) -> None:
    """Show whether a blade is in maintenance, and what became of its machines."""
    with connect(context) as api:
        blade = find(api, BLADE, name)
        found: Json = api.get(f"{BLADE.path}/{blade['id']}/maintenance")
    if as_json:
        json_out(found)
        return
    if found["machines"]:
        show_list(found["machines"], MOVES)
    note(f"{blade['name']} {STATES[found['state']]}.")


@app.command(epilog="Example: naos blade maintenance enter par1-blade1 --dry-run")
def enter(
    context: typer.Context,
    *,
    name: BladeName,
    parallel: Annotated[int, typer.Option(min=1, max=8, help="How many machines leave side by side.")] = 2,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the moves, or what is in the way. Nothing moves.")
    ] = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Move every machine off a blade while it runs; the blade takes none until it leaves maintenance."""
    with connect(context) as api:
        blade = find(api, BLADE, name)
        path = f"{BLADE.path}/{blade['id']}/maintenance"
        if dry_run:
            _show_plan(blade, api.get(path), as_json=as_json)
            return
        options.confirm(f"Move {len(blade['virtualMachines'])} machine(s) off {blade['name']}?", yes=yes)
        ended = waiting.finish(
            api, api.write("POST", path, {"parallelMigrations": parallel}), no_wait=no_wait, as_json=as_json
        )
        if ended is not None and as_json:
            json_out(api.get(path))
        elif ended is not None:
            note(f"{blade['name']} is in maintenance.")


def _show_plan(blade: Json, found: Json, *, as_json: bool) -> None:
    if as_json:
        json_out(found)
        return
    plan = found["plan"]
    if plan is None:
        note(f"{blade['name']} {STATES[found['state']]}.")
    elif plan["possible"]:
        moves = [{**move, "stage": number} for number, stage in enumerate(plan["stages"], 1) for move in stage]
        show_list(moves, PLAN, empty=f"No machine runs on {blade['name']}.")
    else:
        show_list(plan["blockers"], BLOCKERS)
        blamed = f" In the way: {'; '.join(plan['blame'])}." if plan["blame"] else ""
        note(f"{blade['name']} cannot be emptied.{blamed} What helps: {', '.join(plan['remedies'])}.")


@app.command("exit", epilog="Example: naos blade maintenance exit par1-blade1")
def leave(context: typer.Context, *, name: BladeName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Let a blade take machines again; some move to it as the automation of its pool says."""
    with connect(context) as api:
        blade = find(api, BLADE, name)
        path = f"{BLADE.path}/{blade['id']}/maintenance"
        ended = waiting.finish(api, api.write("DELETE", path), no_wait=no_wait, as_json=as_json)
        if ended is not None and as_json:
            json_out(api.get(path))
        elif ended is not None:
            note(f"{blade['name']} takes machines again.")


@app.command(epilog="Example: naos blade maintenance cancel par1-blade1")
def cancel(context: typer.Context, *, name: BladeName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Call the emptying of a blade off: what has left it comes back."""
    with connect(context) as api:
        blade = find(api, BLADE, name)
        path = f"{BLADE.path}/{blade['id']}/maintenance"
        ended = waiting.finish(api, api.write("POST", f"{path}/cancel"), no_wait=no_wait, as_json=as_json)
        if ended is not None and as_json:
            json_out(api.get(path))
        elif ended is not None:
            note(f"{blade['name']} takes machines again, and has back what had left it.")
