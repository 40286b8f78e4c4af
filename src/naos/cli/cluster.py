"""`naos cluster`: datastore clusters, volumes among which disks are placed by free space."""

from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import COMPUTE, VOLUME, ZONE, Kind, find, find_id
from naos.cli.options import AsCsv, AsJson, NoWait, Yes, completes
from naos.cli.output import Column, field, gib, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Datastore clusters: volumes that stand for each other.")

CLUSTER = Kind("datastore cluster", f"{COMPUTE}/datastore_clusters", "naos cluster list")

ClusterName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name or id of the datastore cluster.",
        autocompletion=completes(CLUSTER),
        show_default=False,
    ),
]
LIST = (
    field("NAME", "name"),
    field("ZONE", "datacenter", "name"),
    field("CLASS", "storageClass"),
    Column("VOLUMES", lambda cluster: len(cluster.get("datastores") or []), right=True),
    field("SIZE", "metrics", "maxCapacity", show=gib, right=True),
    field("FREE", "metrics", "freeCapacity", show=gib, right=True),
    field("ID", "id"),
)


@app.command("list", epilog="Example: naos cluster list --zone par1")
def list_clusters(
    context: typer.Context,
    *,
    zone: Annotated[
        str | None, typer.Option(help="Only those of a zone.", autocompletion=completes(ZONE), show_default=False)
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the datastore clusters."""
    with connect(context) as api:
        found = api.get(CLUSTER.path, datacenterId=find_id(api, ZONE, zone) if zone is not None else None)
    empty = "There is no datastore cluster yet; `naos cluster create --help` shows how to make one."
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=empty)


@app.command(epilog="Example: naos cluster show fast")
def show(context: typer.Context, name: ClusterName, as_json: AsJson = False) -> None:
    """Show a datastore cluster."""
    with connect(context) as api:
        show_object(find(api, CLUSTER, name), LIST, as_json=as_json)


@app.command(epilog="Example: naos cluster create fast --volume fast-1 --volume fast-2")
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new cluster.", show_default=False)],
    volume: Annotated[list[str], typer.Option(help="Volume to gather.", autocompletion=completes(VOLUME))],
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Gather volumes of one zone and class."""
    with connect(context) as api:
        body = {"name": name, "datastoreIds": [find_id(api, VOLUME, given) for given in volume]}
        activity = api.write("POST", CLUSTER.path, body)
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"Created datastore cluster {name}.")


@app.command(epilog="Example: naos cluster change fast --add fast-3 --remove fast-1")
def change(
    context: typer.Context,
    *,
    name: ClusterName,
    rename: Annotated[str | None, typer.Option(metavar="NAME", help="Its new name.", show_default=False)] = None,
    add: Annotated[
        list[str] | None, typer.Option(help="Volume to add.", autocompletion=completes(VOLUME), show_default=False)
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(help="Volume to take out; its disks stay.", autocompletion=completes(VOLUME), show_default=False),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Give a cluster another name, further volumes, or fewer."""
    with connect(context) as api:
        body: Json = {"id": find_id(api, CLUSTER, name)}
        if rename is not None:
            body["name"] = rename
        for key, given in (("add", add), ("remove", remove)):
            body[key] = [find_id(api, VOLUME, volume) for volume in given or []]
        activity = api.write("PATCH", CLUSTER.path, body)
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"Changed datastore cluster {name}.")


MOVES = (
    field("MACHINE", "virtualMachine", "name"),
    field("FROM", "source", "name"),
    field("TO", "target", "name"),
    field("SIZE", "size", show=gib, right=True),
    field("OPERATIONS/S", "operations", right=True),
    field("WHY", "reason"),
)


@app.command(epilog="Example: naos cluster rebalance fast --dry-run")
def rebalance(
    context: typer.Context,
    *,
    name: ClusterName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would move, and move nothing.")] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Move disks from full and busy volumes of a cluster, and from those in maintenance, to others; live where machines run."""
    with connect(context) as api:
        cluster_id = find_id(api, CLUSTER, name)
        if dry_run:
            found = api.get(f"{CLUSTER.path}/{cluster_id}/recommendations")
            show_list(found, MOVES, as_json=as_json, as_csv=as_csv, empty="Nothing would move.")
            return
        ended = waiting.finish(
            api, api.write("POST", f"{CLUSTER.path}/rebalance", {"id": cluster_id}), no_wait=no_wait, as_json=as_json
        )
        if ended is not None:
            note(f"Rebalanced datastore cluster {name}.")
            show_object(api.get(f"{CLUSTER.path}/{cluster_id}"), LIST, as_json=as_json)


@app.command(epilog="Example: naos cluster delete fast")
def delete(
    context: typer.Context, *, name: ClusterName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Forget a cluster; its volumes and their disks stay."""
    with connect(context) as api:
        cluster = find(api, CLUSTER, name)
        options.confirm(f"Forget datastore cluster {cluster['name']} (its volumes stay)?", yes=yes)
        activity = api.write("DELETE", f"{CLUSTER.path}/{cluster['id']}")
        options.deleted(api, activity, f"datastore cluster {cluster['name']}", no_wait=no_wait, as_json=as_json)


def _finish(api: Api, activity_id: str, *, no_wait: bool, as_json: bool, said: str) -> None:
    ended = waiting.finish(api, activity_id, no_wait=no_wait, as_json=as_json)
    if ended is not None:
        note(said)
        found = api.get(f"{CLUSTER.path}/{waiting.made(ended, 'datastore_cluster')}")
        show_object(found, LIST, as_json=as_json)
