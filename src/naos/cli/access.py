"""`naos access`: the networks that the token's tenant takes calls from."""

from contextlib import suppress
from typing import Annotated

import typer

from naos.cli import options
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure
from naos.cli.identity import IAM
from naos.cli.naming import normal_id
from naos.cli.options import AsCsv, AsJson, Yes
from naos.cli.output import field, json_out, moment, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Networks that the tenant takes calls from; none listed is everywhere.")

PATH = f"{IAM}/allowed_addresses"
LIST = (
    field("NETWORK", "cidr"),
    field("DESCRIPTION", "description"),
    field("SINCE", "createdAt", show=moment),
    field("ID", "id"),
)
Network = Annotated[
    str, typer.Argument(metavar="NETWORK", help="A network or one address, or its id in the list.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Also when this refuses one's own address from then on.")]


@app.command("list", epilog="Example: naos access list")
def list_networks(context: typer.Context, *, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the networks that the tenant takes calls from."""
    with connect(context) as api:
        found = api.get(PATH)
    empty = "Calls are taken from everywhere; `naos access allow --help` shows how to change that."
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=empty)


@app.command(epilog="Example: naos access show 203.0.113.0/24")
def show(context: typer.Context, *, network: Network, as_json: AsJson = False) -> None:
    """Show one of the networks."""
    with connect(context) as api:
        show_object(_find(api, network), LIST, as_json=as_json)


@app.command(epilog="Example: naos access allow 203.0.113.0/24 --description Office")
def allow(
    context: typer.Context,
    *,
    network: Annotated[
        str,
        typer.Argument(metavar="NETWORK", help="A network such as 203.0.113.0/24, or one address.", show_default=False),
    ],
    description: Annotated[str, typer.Option(metavar="TEXT", help="Whose network it is.", show_default=False)] = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Take calls from one more network. The first one listed shuts out everybody else."""
    with connect(context) as api:
        body: Json = {"cidr": network, "description": description, "force": force}
        show_object(api.change("POST", PATH, body), LIST, as_json=as_json)


@app.command(epilog="Example: naos access describe 203.0.113.0/24 'Head office'")
def describe(
    context: typer.Context,
    *,
    network: Network,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The new description.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Change the description of a network."""
    with connect(context) as api:
        changed = api.change("PATCH", f"{PATH}/{_find(api, network)['id']}", {"description": text})
        show_object(changed, LIST, as_json=as_json)


@app.command(epilog="Example: naos access remove 203.0.113.0/24")
def remove(
    context: typer.Context, *, network: Network, force: Force = False, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Take no more calls from a network; without any left, calls are taken from everywhere."""
    with connect(context) as api:
        found = _find(api, network)
        options.confirm(f"Take no more calls from {found['cidr']}?", yes=yes)
        ended = api.change("DELETE", f"{PATH}/{found['id']}{'?force=true' if force else ''}")
        note(f"Removed {found['cidr']}.")
    if as_json:
        json_out(ended)


def _find(api: Api, reference: str) -> Json:
    """An entry by its network, in any spelling, or its id. Raises Failure."""
    from naos.addresses import parse_network

    identifier, wanted = normal_id(reference), reference.strip()
    with suppress(ValueError):
        wanted = str(parse_network(reference))
    for entry in api.get(PATH):
        if identifier == entry["id"] or wanted == entry["cidr"]:
            found: Json = entry
            return found
    raise Failure(f"{reference!r} is not in the list; `naos access list` shows it.", status=404)
