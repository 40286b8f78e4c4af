"""`naos blade gpus` and `naos vm gpus`: GPUs, and the machines that they are handed to."""

from typing import Annotated

import typer

from naos.cli import blade as blades
from naos.cli import vm
from naos.cli.client import Json, connect
from naos.cli.naming import BLADE, MACHINE, find
from naos.cli.options import AsCsv, AsJson, BladeName, MachineName
from naos.cli.output import field, json_out, note, show_list

LIST = (field("ADDRESS", "address"), field("NAME", "name"), field("MACHINE", "virtualMachine", "name"))


@blades.app.command("gpus", epilog="Example: naos blade gpus par1-blade1")
def of_blade(context: typer.Context, *, name: BladeName, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the GPUs of a blade, and which machine has each."""
    with connect(context) as api:
        blade = find(api, BLADE, name)
        found = api.get(f"{BLADE.path}/{blade['id']}/gpus")
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=f"{blade['name']} has no GPU.")


@vm.app.command("gpus", epilog="Example: naos vm gpus render-1 --count 1")
def of_machine(
    context: typer.Context,
    *,
    name: MachineName,
    count: Annotated[
        int | None,
        typer.Option(min=0, max=16, help="Give it so many from its next start on; it must be off.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how many whole GPUs a machine is given, or change it. A machine with GPUs does not move while it runs."""
    with connect(context) as api:
        path = f"{MACHINE.path}/{find(api, MACHINE, name)['id']}/gpus"
        if count is not None:
            api.change("PUT", path, {"count": count})
        found: Json = api.get(path)
    if as_json:
        json_out(found)
        return
    note(f"{name} is given {found['count']} GPU(s) at its start.")
    if found["held"]:
        show_list(found["held"], LIST[:2])
