"""`naos affinity`: machines that run on one blade, or each on another."""

from typing import Annotated

import typer

from naos.cli import options
from naos.cli.client import Json, connect
from naos.cli.naming import MACHINE, POOL, RULE, find, find_id
from naos.cli.options import AsCsv, AsJson, Yes, completes
from naos.cli.output import Column, field, json_out, names, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Affinity rules: machines kept together, or apart.")

LIST = (
    field("NAME", "name"),
    field("TYPE", "type"),
    Column("STRENGTH", lambda rule: "must" if rule.get("must") else "should"),
    Column("ENABLED", lambda rule: "yes" if rule.get("enabled") else "no"),
    Column("HOLDS", lambda rule: "" if not rule.get("enabled") else "no" if rule.get("broken") else "yes"),
    field("POOL", "hostCluster", "name"),
    Column("MACHINES", lambda rule: rule.get("virtualMachines"), names),
    field("ID", "id"),
)
RuleName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name or id of the rule.", autocompletion=completes(RULE), show_default=False),
]
Machines = Annotated[
    list[str], typer.Option("--machine", help="A machine of the rule.", autocompletion=completes(MACHINE))
]
Should = Annotated[bool, typer.Option("--should/--must", help="Keep it where that can be, or always.")]


@app.command("list", epilog="Example: naos affinity list --pool web")
def list_rules(
    context: typer.Context,
    *,
    pool: Annotated[
        str | None, typer.Option(help="Only those of a pool.", autocompletion=completes(POOL), show_default=False)
    ] = None,
    machine: Annotated[
        str | None, typer.Option(help="Only those of a machine.", autocompletion=completes(MACHINE), show_default=False)
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the rules."""
    with connect(context) as api:
        found = api.get(
            RULE.path,
            hostClusterId=find_id(api, POOL, pool) if pool is not None else None,
            virtualMachineId=find_id(api, MACHINE, machine) if machine is not None else None,
        )
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="There is no affinity rule yet.")


@app.command(epilog="Example: naos affinity show databases")
def show(context: typer.Context, name: RuleName, as_json: AsJson = False) -> None:
    """Show a rule."""
    with connect(context) as api:
        show_object(find(api, RULE, name), LIST, as_json=as_json)


@app.command(epilog="Example: naos affinity create databases --apart --pool web --machine db-1 --machine db-2")
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new rule.", show_default=False)],
    pool: Annotated[str, typer.Option(help="Pool of its machines.", autocompletion=completes(POOL))],
    machine: Machines,
    apart: Annotated[bool, typer.Option("--apart/--together", help="Each on another blade, or all on one.")] = True,
    should: Should = False,
    disabled: Annotated[bool, typer.Option("--disabled", help="Do not let it hold yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a rule; it holds from the next start or move of its machines on."""
    with connect(context) as api:
        made: Json = api.change(
            "POST",
            RULE.path,
            {
                "name": name,
                "type": "anti-affinity" if apart else "affinity",
                "hostClusterId": find_id(api, POOL, pool),
                "virtualMachineIds": [find_id(api, MACHINE, given) for given in machine],
                "enabled": not disabled,
                "must": not should,
            },
        )
    _said(made, f"Created rule {name}.", as_json=as_json)


@app.command("set", epilog="Example: naos affinity set databases --disable")
def set_rule(
    context: typer.Context,
    *,
    name: RuleName,
    machine: Annotated[
        list[str] | None,
        typer.Option("--machine", help="All of its machines from now on.", autocompletion=completes(MACHINE)),
    ] = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Let it hold, or not.", show_default=False)
    ] = None,
    should: Annotated[
        bool | None,
        typer.Option("--should/--must", help="Keep it where that can be, or always.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change a rule's machines or strength, or switch it on or off."""
    with connect(context) as api:
        rule = find(api, RULE, name)
        body: Json = {}
        if machine:
            body["virtualMachineIds"] = [find_id(api, MACHINE, given) for given in machine]
        if enable is not None:
            body["enabled"] = enable
        if should is not None:
            body["must"] = not should
        made: Json = api.change("PATCH", f"{RULE.path}/{rule['id']}", body)
    _said(made, f"Changed rule {rule['name']}.", as_json=as_json)


@app.command(epilog="Example: naos affinity delete databases")
def delete(context: typer.Context, *, name: RuleName, yes: Yes = False) -> None:
    """Delete a rule."""
    with connect(context) as api:
        rule = find(api, RULE, name)
        options.confirm(f"Delete affinity rule {rule['name']}?", yes=yes)
        api.change("DELETE", f"{RULE.path}/{rule['id']}")
    note(f"Deleted rule {rule['name']}.")


def _said(made: Json, said: str, *, as_json: bool) -> None:
    if as_json:
        json_out(made)
    else:
        note(said)
        show_object(made, LIST)
