"""`naos vlan`: layer-2 networks over the pools' blades."""

from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import POOL, VLAN, find, find_id
from naos.cli.options import AsCsv, AsJson, NoWait, VlanName, Yes, completes
from naos.cli.output import Column, field, names, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="VLANs: layer-2 networks that span the pools.")

LIST = (
    field("NAME", "name"),
    field("TAG", "vlanId", right=True),
    Column("POOLS", lambda vlan: vlan.get("hostClusters"), names),
    field("BLADES", "hostNumber", right=True),
    field("MACHINES", "virtualMachinesNumber", right=True),
    field("STATUS", "status"),
    field("ID", "id"),
)
SHOW = (*LIST[:3], field("BLADES", "hostNames"), *LIST[4:])


@app.command("list", epilog="Example: naos vlan list --pool web")
def list_vlans(
    context: typer.Context,
    *,
    pool: Annotated[
        str | None, typer.Option(help="Only those of a pool.", autocompletion=completes(POOL), show_default=False)
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the VLANs."""
    with connect(context) as api:
        found = api.get(VLAN.path, hostClusterId=find_id(api, POOL, pool) if pool is not None else None)
    empty = "There is no VLAN yet; `naos vlan create --help` shows how to make one."
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=empty)


@app.command(epilog="Example: naos vlan show front")
def show(context: typer.Context, name: VlanName, as_json: AsJson = False) -> None:
    """Show a VLAN."""
    with connect(context) as api:
        show_object(find(api, VLAN, name), SHOW, as_json=as_json)


@app.command(epilog="Example: naos vlan create front --pool web --pool web-par2")
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new VLAN.", show_default=False)],
    pool: Annotated[
        list[str] | None,
        typer.Option(help="Pool that carries it.", autocompletion=completes(POOL)),
    ] = None,
    tag: Annotated[
        int | None, typer.Option(min=2, max=4094, help="Its tag; left out, a free one is given.", show_default=False)
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Create a VLAN and bring it to every blade of the named pools."""
    with connect(context) as api:
        body: Json = {"name": name, "hostClusterIds": [find_id(api, POOL, given) for given in pool or []]}
        if tag is not None:
            body["vlanId"] = tag
        activity = api.write("POST", VLAN.path, body)
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"Created VLAN {name}.")


@app.command(epilog="Example: naos vlan propagate front --pool web-par2")
def propagate(
    context: typer.Context,
    *,
    name: VlanName,
    pool: Annotated[list[str], typer.Option(help="Pool to bring it to.", autocompletion=completes(POOL))],
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Bring a VLAN to the blades of more pools."""
    with connect(context) as api:
        vlan = find(api, VLAN, name)
        body = {"hostClusterIds": [find_id(api, POOL, given) for given in pool]}
        activity = api.write("POST", f"{VLAN.path}/{vlan['id']}/propagations", body)
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"VLAN {name} is on {', '.join(pool)} too.")


@app.command(epilog="Example: naos vlan delete front")
def delete(
    context: typer.Context, *, name: VlanName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Delete a VLAN that no adapter uses."""
    with connect(context) as api:
        vlan = find(api, VLAN, name)
        options.confirm(f"Delete VLAN {vlan['name']} (tag {vlan['vlanId']})?", yes=yes)
        activity = api.write("DELETE", f"{VLAN.path}/{vlan['id']}")
        options.deleted(api, activity, f"VLAN {vlan['name']}", no_wait=no_wait, as_json=as_json)


def _finish(api: Api, activity_id: str, *, no_wait: bool, as_json: bool, said: str) -> None:
    ended = waiting.finish(api, activity_id, no_wait=no_wait, as_json=as_json)
    if ended is not None:
        vlan = api.get(f"{VLAN.path}/{waiting.made(ended, 'network')}")
        note(said)
        show_object(vlan, SHOW, as_json=as_json)
