"""Exports: a machine or a template as an OVA file of this machine."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from naos.cli import naming, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure
from naos.cli.naming import COMPUTE, MACHINE, find_id
from naos.cli.options import AsJson, MachineName, TemplateName
from naos.cli.output import gib, json_out, note
from naos.cli.progress import shares

EXPORTS = f"{COMPUTE}/exports"
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="Where the OVA file is written.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]


def export_machine(
    context: typer.Context, *, name: MachineName, output: Output, force: Force = False, as_json: AsJson = False
) -> None:
    """Write a stopped machine to an OVA file: its settings, networks and properties, and its disks as VMDK."""
    with connect(context) as api:
        _export(api, {"virtualMachineId": find_id(api, MACHINE, name)}, output, force=force, as_json=as_json)


def export_template(
    context: typer.Context, *, name: TemplateName, output: Output, force: Force = False, as_json: AsJson = False
) -> None:
    """Write a template to an OVA file."""
    with connect(context) as api:
        wanted = {"contentLibraryItemId": naming.find_template(api, name)["id"]}
        _export(api, wanted, output, force=force, as_json=as_json)


def _export(api: Api, wanted: Json, output: Path, *, force: bool, as_json: bool) -> None:
    """Have the export made, fetch it, and take it off the controller again, whatever became of it."""
    if output.exists() and not force:
        raise Failure(f"{output} exists already; choose another name, or write over it with --force.")
    made = waiting.made(waiting.follow(api, api.write("POST", EXPORTS, wanted)), "export")
    try:
        export = api.get(f"{EXPORTS}/{made}")
        _fetch(api, export, output)
    finally:
        waiting.follow(api, api.write("DELETE", f"{EXPORTS}/{made}"))
    note(f"Wrote {output} ({gib(export['size'])}).")
    if as_json:
        json_out({**export, "file": str(output)})


def _fetch(api: Api, export: Json, output: Path) -> None:
    """Whole, as its checksum says, or not there at all."""
    part = output.with_name(f".{output.name}.part")
    digest, done, size = hashlib.sha256(), 0, int(export["size"])
    try:
        with part.open("wb") as file, shares(f"Fetching {output.name} ({gib(size)})") as report:
            for chunk in api.stream(f"{EXPORTS}/{export['id']}/file"):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                report(done / size if size else 1.0)
        if export["checksum"] != f"sha256:{digest.hexdigest()}":
            raise Failure(f"What arrived of the export is not what was sent ({done} of {size} bytes); export it again.")
        part.replace(output)
    except OSError as error:
        raise Failure(f"{output} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
