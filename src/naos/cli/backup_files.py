"""`naos backup files`: what is in a restore point, downloaded, or put back into a machine."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from naos.cli import waiting
from naos.cli.backup import POINTS, PointName, app, find_point, moment
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure
from naos.cli.naming import MACHINE, find_id
from naos.cli.options import AsCsv, AsJson, NoWait, completes
from naos.cli.output import field, gib, note, plain, show_list

files = typer.Typer(no_args_is_help=True, help="Files of restore points: list, download, put back.")
app.add_typer(files, name="files")

PAGE = 1000
VOLUMES = (
    field("VOLUME", "id"),
    field("NAME", "name"),
    field("SIZE", "size", show=gib, right=True),
    field("TYPE", "type"),
    field("LABEL", "label"),
    field("PROBLEM", "problem"),
    field("NOTE", "note"),
)
FILES = (
    field("NAME", "name"),
    field("TYPE", "type"),
    field("SIZE", "size", right=True),
    field("MODIFIED", "modifiedAt", show=moment),
    field("MODE", "mode"),
    field("TARGET", "target"),
    field("NOTE", "note"),
)


class Format(StrEnum):
    """How something is downloaded, as `--format` names it."""

    RAW = "raw"
    TAR = "tar"
    ZIP = "zip"


VolumeName = Annotated[
    str | None,
    typer.Option("--volume", metavar="ID", help="Of the point; needed where several can be read.", show_default=False),
]
PathName = Annotated[
    str, typer.Argument(metavar="PATH", help="As `list` shows it, from the volume's root.", show_default=False)
]


def _volume(api: Api, point: Json, wanted: str | None) -> str:
    """The wanted one, or the only one that can be read."""
    if wanted is not None:
        return wanted
    readable = [volume for volume in api.get(f"{POINTS}/{point['id']}/volumes") if volume["readable"]]
    if len(readable) == 1:
        return str(readable[0]["id"])
    if not readable:
        raise Failure("Nothing in the restore point can be read; `naos backup files volumes` says why.")
    choices = ", ".join(f"{volume['id']} ({plain(volume['name'])})" for volume in readable)
    raise Failure(f"The restore point has several volumes; choose one with --volume: {choices}.")


@files.command(epilog="Example: naos backup files volumes web-1")
def volumes(context: typer.Context, *, point: PointName, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the partitions, logical volumes and disks of a restore point."""
    with connect(context) as api:
        found = api.get(f"{POINTS}/{find_point(api, point)['id']}/volumes")
    show_list(found, VOLUMES, as_json=as_json, as_csv=as_csv)


@files.command("list", epilog="Example: naos backup files list web-1 /etc")
def list_files(
    context: typer.Context,
    *,
    point: PointName,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder.")] = "/",
    volume: VolumeName = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List a folder of a restore point. Bytes of names that are no text are written %XX."""
    found: list[Any] = []
    with connect(context) as api:
        taken = find_point(api, point)
        wanted = _volume(api, taken, volume)
        after: str | None = ""
        while after is not None:
            page = api.get(f"{POINTS}/{taken['id']}/files", volume=wanted, path=path, after=after, limit=PAGE)
            found += page["files"]
            after = page["next"]
    show_list(found, FILES, as_json=as_json, as_csv=as_csv, empty="The folder is empty.")


@files.command(epilog="Example: naos backup files get web-1 /etc/fstab")
def get(
    context: typer.Context,
    *,
    point: PointName,
    path: PathName,
    volume: VolumeName = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Where to write it; by default its name, here."),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="raw: a file as it is. tar, zip: a folder, or a file, as an archive.")
    ] = Format.RAW,
) -> None:
    """Download a file, or a folder as an archive. Nothing that is there is overwritten."""
    name = path.rstrip("/").rpartition("/")[2] or "files"
    target = output or Path(name + ("" if form is Format.RAW else f".{form.value}"))
    if target.exists():
        raise Failure(f"{target} is there already; name another file with --output.")
    part = target.with_name(f"{target.name}.part")
    with connect(context) as api:
        taken = find_point(api, point)
        body = {"volume": _volume(api, taken, volume), "path": path, "format": form.value}
        done = 0
        try:
            with part.open("wb") as file:
                for chunk in api.stream(f"{POINTS}/{taken['id']}/files/download", body=body):
                    file.write(chunk)
                    done += len(chunk)
            part.replace(target)
        except OSError as error:
            raise Failure(f"{target} cannot be written: {error.strerror}.") from error
        finally:
            part.unlink(missing_ok=True)
    note(f"{target}: {done} bytes.")


@files.command(
    "put-back", epilog="Example: naos backup files put-back web-1 /etc/fstab --vm web-1 --folder /root/restored"
)
def put_back(
    context: typer.Context,
    *,
    point: PointName,
    path: PathName,
    vm: Annotated[
        str, typer.Option("--vm", metavar="VM", help="A running machine.", autocompletion=completes(MACHINE))
    ],
    folder: Annotated[str, typer.Option(metavar="FOLDER", help="A folder that the machine has, as absolute path.")],
    volume: VolumeName = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there under the same name.")] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Put a file or folder back into a running machine through its guest agent."""
    with connect(context) as api:
        taken = find_point(api, point)
        body = {
            "volume": _volume(api, taken, volume),
            "path": path,
            "virtualMachineId": find_id(api, MACHINE, vm),
            "folder": folder,
            "overwrite": overwrite,
        }
        activity = api.write("POST", f"{POINTS}/{taken['id']}/files/put_back", body)
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            note(f"{path} is in {folder} of {plain(vm)}.")
