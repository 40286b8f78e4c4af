"""`naos blade`: the hosts of the tenant's pools."""

from typing import Annotated

import typer

from naos.cli import maintenance
from naos.cli.client import connect
from naos.cli.naming import BLADE, POOL, ZONE, find, find_id
from naos.cli.options import AsCsv, AsJson, BladeName, completes
from naos.cli.output import Column, field, gib, mib, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Blades: the hosts in the pools.")
app.add_typer(maintenance.app, name="maintenance")

LIST = (
    field("NAME", "name"),
    field("POOL", "hostCluster", "name"),
    field("REACHED", "metrics", "connected"),
    field("CORES", "metrics", "cpu", "cpuCores", right=True),
    field("MEMORY", "metrics", "memory", "memorySize", show=gib, right=True),
    field("IN USE", "metrics", "memory", "memoryUsage", show=mib, right=True),
    Column("MACHINES", lambda blade: len(blade.get("virtualMachines") or []), right=True),
    field("ACCELERATION", "acceleration"),
    field("MAINTENANCE", "maintenance"),
    field("ID", "id"),
)
SHOW = (*LIST[:3], field("HYPERVISOR", "metrics", "esx", "fullName"), *LIST[3:])


@app.command("list", epilog="Example: naos blade list --pool web")
def list_blades(
    context: typer.Context,
    *,
    pool: Annotated[
        str | None, typer.Option(help="Only those of a pool.", autocompletion=completes(POOL), show_default=False)
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="Only those of a zone.", autocompletion=completes(ZONE), show_default=False)
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the blades of the pools."""
    with connect(context) as api:
        found = api.get(
            BLADE.path,
            hostClusterId=find_id(api, POOL, pool) if pool is not None else None,
            datacenterId=find_id(api, ZONE, zone) if zone is not None else None,
        )
    empty = "No pool has a blade yet; `naos pool create --help` shows how to make one."
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=empty)


@app.command(epilog="Example: naos blade show par1-blade1")
def show(context: typer.Context, name: BladeName, as_json: AsJson = False) -> None:
    """Show a blade."""
    with connect(context) as api:
        show_object(find(api, BLADE, name), SHOW, as_json=as_json)
