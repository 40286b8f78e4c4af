"""`naos zone`: availability zones."""

import typer

from naos.cli.client import connect
from naos.cli.naming import ZONE
from naos.cli.options import AsCsv, AsJson
from naos.cli.output import field, show_list

app = typer.Typer(no_args_is_help=True, help="Availability zones.")

LIST = (field("NAME", "name"), field("REGION", "machineManager", "name"), field("ID", "id"))


@app.command("list", epilog="Example: naos zone list")
def list_zones(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the availability zones."""
    with connect(context) as api:
        found = api.get(ZONE.path)
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="The inventory has no zone.")
