"""`naos placement`: why machines are where they are, and moves that make room or balance."""

from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Json, connect
from naos.cli.naming import BLADE, MACHINE, POOL, find, find_id
from naos.cli.options import AsJson, MachineName, NoWait, PoolName, Yes, completes
from naos.cli.output import Column, field, gib, json_out, note, show_list

app = typer.Typer(no_args_is_help=True, help="Where machines run, and why.")

BLADES = (
    field("BLADE", "host", "name"),
    Column("CHOSEN", lambda blade: "yes" if blade.get("chosen") else "no"),
    field("FREE", "freeMemory", show=gib, right=True),
    field("VCPUS", "vcpus", right=True),
    field("MACHINES", "machines", right=True),
    Column("WHY", lambda blade: ("it is there; " if blade.get("present") else "") + str(blade.get("reason", ""))),
)
MOVES = (
    field("MACHINE", "virtualMachine", "name"),
    field("FROM", "source", "name"),
    field("TO", "target", "name"),
    field("WHY", "reason"),
)

BLOCKERS = (
    Column("MACHINE", lambda blocker: (blocker.get("virtualMachine") or {}).get("name", "-")),
    Column("BLADE", lambda blocker: (blocker.get("host") or {}).get("name", "any")),
    field("RULE", "rule"),
    field("WHY", "reason"),
    field("WHAT HELPS", "remedy"),
)


@app.command(epilog="Example: naos placement explain web-1")
def explain(context: typer.Context, *, machine: MachineName, as_json: AsJson = False) -> None:
    """Show every blade of a machine's pool, and why it would or would not be chosen."""
    with connect(context) as api:
        found: Json = api.get(f"{MACHINE.path}/{find_id(api, MACHINE, machine)}/placement")
    if as_json:
        json_out(found)
        return
    show_list(found["blades"], BLADES)
    if found.get("refusal"):
        note(found["refusal"])
    if found.get("plan"):
        _show_plan(found["plan"])


@app.command(epilog="Example: naos placement plan web --vm big-1")
def plan(
    context: typer.Context,
    *,
    name: PoolName,
    vm: Annotated[
        str | None,
        typer.Option("--vm", help="For a stopped machine.", autocompletion=completes(MACHINE), show_default=False),
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="For one of so many vCPUs.", show_default=False)] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE", parser=options.size, help=f"For one of this memory: {options.SIZE_HELP}", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the fewest moves that make room for a machine. Nothing moves."""
    if (vm is None) == (cpus is None and memory is None):
        raise typer.BadParameter("say which machine (--vm), or how large it would be (--memory, --cpus)")
    with connect(context) as api:
        pool = find(api, POOL, name)
        asked: Json = {"cpu": cpus, "memory": memory}
        if vm is not None:
            asked["virtualMachineId"] = find_id(api, MACHINE, vm)
        found: Json = api.get(f"{POOL.path}/{pool['id']}/placement_plan", **asked)
    if as_json:
        json_out(found)
    else:
        _show_plan(found)


def _show_plan(found: Json) -> None:
    if found["moves"]:
        show_list(found["moves"], MOVES)
    if found["possible"]:
        moves = f"after {len(found['moves'])} move(s)" if found["moves"] else "as things are"
        note(f"There is room on {found['host']['name']} {moves}.")
    else:
        verdict = "No moves make room" if found["proven"] else "No plan was found"
        note(f"{verdict}. In the way: {'; '.join(found['blame'])}.")


@app.command(epilog="Example: naos placement start big-1")
def start(context: typer.Context, *, machine: MachineName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Start a machine, and first move as few running ones as that takes out of its way."""
    with connect(context) as api:
        found = find(api, MACHINE, machine)
        activity = api.write("POST", f"{MACHINE.path}/{found['id']}/placement")
        ended = waiting.finish(api, activity, no_wait=no_wait, as_json=as_json)
        if ended is not None and as_json:
            json_out(ended)
        elif ended is not None:
            note(f"Started {found['name']}.")


@app.command(epilog="Example: naos placement balance web --apply")
def balance(
    context: typer.Context,
    *,
    name: PoolName,
    apply: Annotated[bool, typer.Option("--apply", help="Make the moves.")] = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Show the moves that would mend broken affinity rules and balance a pool, or make them."""
    with connect(context) as api:
        pool = find(api, POOL, name)
        path = f"{POOL.path}/{pool['id']}/recommendations"
        found: Json = api.get(path)
        moves = found["moves"]
        if not apply:
            if as_json:
                json_out(found)
            else:
                apart = (
                    f"The blades of {pool['name']} are {found['gap']:.0f} points apart, of {found['balanceThreshold']}"
                )
                show_list(moves, MOVES, empty=f"{apart}: nothing needs to move.")
            return
        options.confirm(f"Move {len(moves)} machine(s) of pool {pool['name']}?", yes=yes)
        ended = waiting.finish(api, api.write("POST", path), no_wait=no_wait, as_json=as_json)
        if ended is not None and as_json:
            json_out(ended)
        elif ended is not None:
            note(f"Moved {len(moves)} machine(s) of pool {pool['name']}.")


def check_migration(
    context: typer.Context,
    *,
    name: MachineName,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="BLADE",
            help="Only to that blade, of any pool; left out, to each of its pool.",
            autocompletion=completes(BLADE),
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show everything that keeps a machine from moving, blade by blade, and what would help. Nothing moves."""
    with connect(context) as api:
        asked: Json = {"hostId": find_id(api, BLADE, to)} if to is not None else {}
        found: Json = api.get(f"{MACHINE.path}/{find_id(api, MACHINE, name)}/migration_check", **asked)
    if as_json:
        json_out(found)
        return
    if found["blockers"]:
        show_list(found["blockers"], BLOCKERS)
    goals = ", ".join(host["host"]["name"] for host in found["hosts"] if host["possible"] and not host["present"])
    if not goals:
        note(f"{name} can go to no other blade.")
    else:
        note(
            f"{name} can move to {goals} while it runs."
            if found["live"]
            else f"{name} is stopped. It can start on {goals}."
        )
