"""`naos template`: images that machines are made from."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from naos.cli import exporting, naming, options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure
from naos.cli.naming import LIBRARY, find
from naos.cli.options import AsCsv, AsJson, NoWait, TemplateName, Yes, completes
from naos.cli.output import field, gib, keep_logs_apart, moment, note, show_list, show_object
from naos.cli.progress import shares

app = typer.Typer(no_args_is_help=True, help="Templates: images that machines are made from.")

CHUNK = 1024 * 1024
LIST = (
    field("NAME", "name"),
    field("TYPE", "source"),
    field("DISK", "virtualSize", show=gib, right=True),
    field("FILE", "size", show=gib, right=True),
    field("CREATED", "creationTime", show=moment),
    field("STATUS", "status"),
    field("LIBRARY", "library", "name"),
    field("ID", "id"),
)
SHOW = (
    *LIST[:-1],
    field("VCPUS", "cpu"),
    field("MEMORY", "memory", show=gib),
    field("SYSTEM", "operatingSystem"),
    field("CHECKSUM", "checksum"),
    field("DESCRIPTION", "description"),
    LIST[-1],
)
DISKS = (field("DISK", "name"), field("SIZE", "capacity", show=gib, right=True))
ADAPTERS = (field("ADAPTER", "name"), field("NETWORK", "networkName"), field("TYPE", "type"))
PROPERTIES = (field("PROPERTY", "id"), field("TYPE", "type"), field("DEFAULT", "value"), field("LABEL", "label"))
IN_LIBRARY = typer.Option(
    "--library",
    help="Content library; may be left out when there is one.",
    autocompletion=completes(LIBRARY),
    show_default=False,
)
Library = Annotated[str | None, IN_LIBRARY]
Checksum = Annotated[
    str | None,
    typer.Option(
        metavar="KIND:HEX", help="What the file must be: sha256:..., sha512:... or md5:...", show_default=False
    ),
]
Description = Annotated[str, typer.Option(help="A remark that goes with it.", show_default=False)]


@app.command("list", epilog="Example: naos template list")
def list_templates(
    context: typer.Context, *, library: Library = None, as_json: AsJson = False, as_csv: AsCsv = False
) -> None:
    """List the templates of one library, or of all."""
    with connect(context) as api:
        found = naming.templates(api, library)
    empty = "There is no template yet; `naos template build naos-tiny` makes a small one."
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=empty)


@app.command("libraries", epilog="Example: naos template libraries")
def list_libraries(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the content libraries that templates are in."""
    with connect(context) as api:
        found = api.get(LIBRARY.path)
    show_list(found, (field("NAME", "name"), field("ID", "id")), as_json=as_json, as_csv=as_csv, empty="No library.")


@app.command(epilog="Example: naos template show debian-12")
def show(context: typer.Context, name: TemplateName, library: Library = None, as_json: AsJson = False) -> None:
    """Show a template."""
    with connect(context) as api:
        found = naming.find_template(api, name, library)
    show_object(found, SHOW, as_json=as_json)
    if not as_json:
        for warning in found["warnings"]:
            note(f"Warning: {warning}")
        for items, columns in (
            (found["disks"], DISKS),
            (found["networkAdapters"], ADAPTERS),
            (found["properties"], PROPERTIES),
        ):
            if items:
                show_list(items, columns)


@app.command(epilog="Example: naos template add rescue ./rescue.qcow2")
def add(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new template.", show_default=False)],
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|URL",
            help="An image file of this machine, or an address that the controller fetches it from.",
            show_default=False,
        ),
    ],
    library: Library = None,
    description: Description = "",
    checksum: Checksum = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Virtual processors that its machines get.", show_default=False)
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=options.size,
            help=f"Memory that its machines get: {options.SIZE_HELP}",
            show_default=False,
        ),
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="Name of a network that its machines have an adapter on; once for each.")
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Add an image (qcow2, raw, VMDK, OVA, ISO...) as a template; it is checked before it is kept."""
    with connect(context) as api:
        place = _library(api, library)
        wanted: Json = {"name": name, "description": description}
        if checksum is not None:
            wanted["checksum"] = checksum
        hardware = {"cpu": cpus, "memory": memory, "networks": network}
        if any(value is not None for value in hardware.values()):
            wanted["hardware"] = {key: value for key, value in hardware.items() if value is not None}
        if "://" in source:
            wanted["url"] = source
        else:
            wanted["uploadId"] = upload(api, Path(source))
        _add(api, place, wanted, no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos template build naos-tiny")
def build(
    context: typer.Context,
    *,
    image: Annotated[
        Literal["debian-12", "naos-tiny"],
        typer.Argument(help="Which image: a full Debian, or a small guest that starts in seconds.", show_default=False),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the new template; left out, the image's.", show_default=False)
    ] = None,
    library: Library = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Build an image on this machine from Debian's packages (as root), and add it as a template.

    What was built is kept in /var/cache/naos, so that a second time is quick.
    """
    with connect(context) as api, tempfile.TemporaryDirectory(prefix="naos-template-") as folder:
        place = _library(api, library)
        target = Path(folder) / "image.qcow2"
        build_image(image, target)
        wanted: Json = {
            "name": name if name is not None else image,
            "description": f"Built by naos: {image}",
            "uploadId": upload(api, target),
        }
        _add(api, place, wanted, no_wait=no_wait, as_json=as_json)


app.command("export", epilog="Example: naos template export rescue --output rescue.ova")(exporting.export_template)


@app.command(epilog="Example: naos template delete rescue")
def delete(
    context: typer.Context,
    *,
    name: TemplateName,
    library: Library = None,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Delete a template; machines that were made from it are not touched."""
    with connect(context) as api:
        found = naming.find_template(api, name, library)
        options.confirm(f"Delete template {found['name']} ({gib(found['size'])})?", yes=yes)
        activity = api.write("DELETE", f"{LIBRARY.path}/{found['library']['id']}/items/{found['id']}")
        options.deleted(api, activity, f"template {found['name']}", no_wait=no_wait, as_json=as_json)


def _library(api: Api, library: str | None) -> Json:
    return find(api, LIBRARY, library) if library is not None else naming.only(api, LIBRARY, "--library")


def _add(api: Api, library: Json, wanted: Json, *, no_wait: bool, as_json: bool) -> None:
    activity = api.write("POST", f"{LIBRARY.path}/{library['id']}/templates", wanted)
    ended = waiting.finish(api, activity, no_wait=no_wait, as_json=as_json)
    if ended is None:
        return
    made = waiting.made(ended, "content_library_item")
    template = api.get(f"{LIBRARY.path}/{library['id']}/items/{made}")
    note(f"Added template {wanted['name']}.")
    for warning in template["warnings"]:
        note(f"Warning: {warning}")
    show_object({**template, "library": {"id": library["id"], "name": library["name"]}}, SHOW, as_json=as_json)


def build_image(image: str, target: Path, cache: Path | None = None) -> None:
    """Build on this machine, with a progress bar. Raises Failure with the builder's sentence."""
    from naos.catalogue.images.store import CACHE
    from naos.errors import NaosError

    keep_logs_apart()
    try:
        with shares(f"Building {image}") as report:
            if image == "debian-12":
                from naos.catalogue.images.debian import build_debian

                build_debian(target, cache or CACHE, progress=report)
            else:
                from naos.catalogue.images.tiny import build_tiny

                build_tiny(target, cache or CACHE, progress=report)
    except NaosError as error:
        raise Failure(str(error), code=error.code) from error


def upload(api: Api, file: Path) -> str:
    """Send a file, and see that it arrived whole; the id of the upload. Raises Failure."""
    digest = hashlib.sha256()
    try:
        if not file.is_file():
            raise Failure(f"{file} is not a file; an address to fetch starts with http:// or https://.")
        size = file.stat().st_size
        with file.open("rb") as stream, shares(f"Sending {file.name} ({gib(size)})") as report:
            received = api.upload(f"{LIBRARY.path}/uploads", _chunks(stream.read, size, digest.update, report), size)
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.") from error
    if received["sha256"] != digest.hexdigest():
        raise Failure(f"{file} arrived with other bytes than were sent (upload {received['id']}); send it again.")
    return str(received["id"])


def _chunks(
    read: Callable[[int], bytes], size: int, note_bytes: Callable[[bytes], None], report: Callable[[float], None]
) -> Iterator[bytes]:
    done = 0
    while chunk := read(CHUNK):
        note_bytes(chunk)
        done += len(chunk)
        report(done / size if size else 1.0)
        yield chunk
