"""`naos tag`: words that people put on their machines."""

from typing import Annotated
from urllib.parse import quote

import typer

from naos.cli.client import connect
from naos.cli.naming import MACHINE, find_id
from naos.cli.options import AsCsv, AsJson, MachineName
from naos.cli.output import field, json_out, note, show_list

app = typer.Typer(no_args_is_help=True, help="Tags of machines: one value for each key.")

TAGS = "/tag/v1/tags"
LIST = (field("KEY", "key"), field("VALUE", "value"))
Key = Annotated[str, typer.Argument(metavar="KEY", help="Key of the tag.", show_default=False)]


@app.command("list", epilog="Example: naos tag list web-1")
def list_tags(context: typer.Context, *, machine: MachineName, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the tags of a machine."""
    with connect(context) as api:
        found = api.get(f"{TAGS}/resources/{find_id(api, MACHINE, machine)}")
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=f"{machine} has no tag.")


@app.command("set", epilog="Example: naos tag set web-1 owner billing")
def set_tag(
    context: typer.Context,
    *,
    machine: MachineName,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value; may be empty.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Give a machine a tag, or its tag another value."""
    with connect(context) as api:
        resource = {"uuid": find_id(api, MACHINE, machine), "type": "vcenter_virtual_machine", "source": "vmware"}
        (written,) = api.change("POST", TAGS, {"key": key, "value": value, "resources": [resource]})
    if as_json:
        json_out(written)
    else:
        note(f"{machine} has {key}={value}.")


@app.command(epilog="Example: naos tag remove web-1 owner")
def remove(context: typer.Context, *, machine: MachineName, key: Key) -> None:
    """Remove a tag from a machine."""
    with connect(context) as api:
        api.change("DELETE", f"{TAGS}/resources/{find_id(api, MACHINE, machine)}/keys/{quote(key, safe='')}")
    note(f"{machine} has no tag {key}.")
