"""Options and arguments that commands share, and the completion of names."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from naos.cli import client, naming, waiting
from naos.cli.naming import Kind
from naos.cli.output import json_out, note
from naos.units import parse_size

COMPLETION_SECONDS = 2.0


def size(text: str) -> int:
    """``64GiB``, ``512MiB``, ``1TiB`` or a bare number of GiB -> bytes. Every unit is binary: ``10GB`` is ``10GiB``."""
    bare = re.fullmatch(r"\d+(\.\d+)?", text.strip(), re.ASCII)
    readable = text.strip() if text.isascii() else ""
    try:
        found = parse_size(f"{readable}G" if bare else readable)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a size; write for example 512MiB, 64GiB or 1TiB; a bare number is in GiB"
        ) from None
    if found <= 0:
        raise typer.BadParameter(f"{text!r} is no room at all; a size is more than 0")
    return found


SIZE_HELP = "for example 512MiB, 64GiB or 1TiB; a bare number is in GiB."


def completes(kind: Kind) -> Callable[[typer.Context, str], list[str]]:
    """A completion of the names of a kind; silent when the API cannot be asked quickly."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        return [name for name in _known_names(context, kind) if name.startswith(incomplete)]

    return complete


def complete_templates(context: typer.Context, incomplete: str) -> list[str]:
    """The names of templates, of every library."""
    try:
        with client.opened(_connection(context), timeout=COMPLETION_SECONDS) as api:
            found = [item["name"] for item in naming.templates(api)]
    except Exception:
        return []
    return [name for name in found if name.startswith(incomplete)]


def _known_names(context: typer.Context, kind: Kind) -> list[str]:
    try:
        with client.opened(_connection(context), timeout=COMPLETION_SECONDS) as api:
            return [item["name"] for item in api.get(kind.path)]
    except Exception:  # a completion that complains would write into the line that is being typed
        return []


def _connection(context: typer.Context) -> client.Connection:
    """What the half-typed line says; the root command's own code does not run while completing."""
    held = client.connection_of(context)
    given = context.find_root().params
    file = given.get("credentials")
    return client.Connection(
        url=given.get("url") or held.url,
        credentials=file.expanduser() if isinstance(file, Path) else held.credentials,
        transport=held.transport,
        sleep=lambda _seconds: None,
    )


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the API has it.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV: sizes in bytes, times in UTC.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the activity's id and do not wait for its end.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _argument(kind: Kind) -> Any:
    return typer.Argument(
        metavar="NAME", help=f"Name or id of the {kind.noun}.", autocompletion=completes(kind), show_default=False
    )


MachineName = Annotated[str, _argument(naming.MACHINE)]
PoolName = Annotated[str, _argument(naming.POOL)]
BladeName = Annotated[str, _argument(naming.BLADE)]
VolumeName = Annotated[str, _argument(naming.VOLUME)]
VlanName = Annotated[str, _argument(naming.VLAN)]
DiskName = Annotated[str, _argument(naming.DISK)]
NicName = Annotated[str, _argument(naming.NIC)]
TemplateName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name or id of the template.", autocompletion=complete_templates),
]


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal, unless `yes`. A refusal ends the command with exit code 1."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here; say --yes to go on", param_hint="--yes")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


def read_text(path: Path, what: str, *, limit: int = 2**20) -> str:
    """The text of a small file that an option names. Raises a usage error."""
    try:
        if path.stat().st_size > limit:
            raise typer.BadParameter(f"{path} has more than {limit} bytes; {what} is shorter")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{path} is not text") from error


def deleted(api: client.Api, activity_id: str, name: str, *, no_wait: bool, as_json: bool) -> None:
    """What a command does after it asked for a deletion."""
    ended = waiting.finish(api, activity_id, no_wait=no_wait, as_json=as_json)
    if ended is None:
        return
    note(f"Deleted {name}.")
    if as_json:
        json_out(ended)
