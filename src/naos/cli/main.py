"""The command line `naos`: assembly only. Nouns are modules; what costs time to load is loaded where it is used."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from naos.cli import (
    access,
    activity,
    affinity,
    audit,
    availability,
    backup,
    blade,
    build,
    cluster,
    controller,
    device,
    disk,
    inventory,
    journey,
    lab,
    login,
    marketplace,
    nic,
    notice,
    organisation,
    placement,
    policy,
    pool,
    recovery,
    replication,
    seed,
    snapshot,
    tag,
    template,
    tenant,
    token,
    user,
    vlan,
    vm,
    volume,
    zone,
)
from naos.cli import backup_files as _backup_files  # noqa: F401 - commands of backups
from naos.cli import backup_instant as _backup_instant  # noqa: F401 - commands of backups
from naos.cli import backup_reports as _backup_reports  # noqa: F401 - commands of backups
from naos.cli import backup_restores as _backup_restores  # noqa: F401 - commands of backups
from naos.cli import gpus as _gpus  # noqa: F401 - commands of blades and machines
from naos.cli import master_keys as _master_keys  # noqa: F401 - commands of the controller
from naos.cli import updating as _updating  # noqa: F401 - commands of pools
from naos.cli.client import DEFAULT_URL, Connection, check_url
from naos.cli.doctor import doctor
from naos.cli.failures import Failure
from naos.cli.output import note

INTERRUPTED = 130
ROOT_HELP = (
    "Infrastructure as a service on one's own racks.\n\n"
    "Everything that there is goes by its name or its id. A name that starts with a dash stands behind two dashes, "
    "as in `naos vm show -- -rf`. Writes are followed to their end; --no-wait prints the activity's id instead, and "
    "`naos activity watch` takes it up again."
)


class Root(TyperGroup):
    """Turns a Failure into its sentence on standard error and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            note(f"Error: {failure}")
            raise typer.Exit(1) from failure
        except KeyboardInterrupt:
            note("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    help=ROOT_HELP,
    epilog="Example: naos vm create web-1 --template debian-12 --memory 2GiB --vlan front",
    pretty_exceptions_show_locals=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"naos {version('naos')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    url: Annotated[str, typer.Option(metavar="URL", envvar="NAOS_URL", help="Where the API is.")] = DEFAULT_URL,
    credentials: Annotated[
        Path | None,
        typer.Option(
            envvar="NAOS_CREDENTIALS",
            metavar="FILE",
            help="File of `<id>:<secret>`; by default /var/lib/naos/credentials, then ~/.config/naos/credentials.",
            show_default=False,
        ),
    ] = None,
    _shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    check_url(url)
    held = context.obj if isinstance(context.obj, Connection) else Connection()
    file = credentials.expanduser() if credentials is not None else held.credentials
    context.obj = Connection(url, file, held.transport, held.sleep)


for noun in (
    vm,
    pool,
    placement,
    affinity,
    blade,
    build,
    zone,
    volume,
    cluster,
    vlan,
    disk,
    device,
    nic,
    snapshot,
    tag,
    template,
    marketplace,
    policy,
    backup,
    notice,
    recovery,
    replication,
    activity,
    audit,
    inventory,
    lab,
):
    app.add_typer(noun.app, name=noun.__name__.rpartition(".")[2])
for noun in (organisation, tenant, user, token, access, login, controller, seed):
    app.add_typer(noun.app, name=noun.__name__.rpartition(".")[2])
app.add_typer(availability.app, name="ha")
app.command(epilog="Example: naos up --zones 2 --blades 2")(journey.up)
app.command(epilog="Example: naos down --yes")(journey.down)
app.command(epilog="Example: naos doctor --fix")(doctor)


def only_the_noun_asked_for(words: list[str]) -> None:
    """Leave out the other nouns: building the whole tree of commands takes longer than most commands."""
    asked = [group for group in app.registered_groups if [group.name] == words[:1]]
    app.registered_groups = asked or app.registered_groups


def main() -> None:
    """The entry point of the command `naos`."""
    if "_NAOS_COMPLETE" not in os.environ:
        only_the_noun_asked_for(sys.argv[1:])
    app(prog_name="naos")
