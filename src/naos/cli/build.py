"""`naos build`: versions of what blades run. Pools take them with `naos pool update`."""

from pathlib import Path
from typing import Annotated

import typer

from naos.cli import options
from naos.cli.client import Json, connect
from naos.cli.naming import BUILD, find_build
from naos.cli.options import AsCsv, AsJson, Yes
from naos.cli.output import Column, field, json_out, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Hypervisor builds: versions of what blades run.")

LIST = (
    field("VERSION", "version"),
    field("SEVERITY", "severity"),
    Column("ADVISORIES", lambda build: ", ".join(entry["id"] for entry in build["advisories"])),
    field("REBOOT", "reboot"),
    field("PUBLISHED", "publishedAt"),
    field("ID", "id"),
)
SHOW = (
    *LIST[:3],
    field("DESCRIPTION", "description"),
    Column("PACKAGES", lambda build: ", ".join(build["packages"])),
    *LIST[3:],
)
Version = Annotated[str, typer.Argument(metavar="VERSION", help="Version or id of the build.", show_default=False)]


@app.command("list", epilog="Example: naos build list")
def list_builds(context: typer.Context, *, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the builds that pools can take, the latest first."""
    with connect(context) as api:
        found = api.get(BUILD.path)
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="No hypervisor build was published yet.")


@app.command(epilog="Example: naos build show 8.2")
def show(context: typer.Context, version: Version, as_json: AsJson = False) -> None:
    """Show a build."""
    with connect(context) as api:
        show_object(find_build(api, version), SHOW, as_json=as_json)


@app.command(epilog="Example: naos build publish 8.2 --package qemu-system-x86 --advisory critical:CVE-2026-1")
def publish(
    context: typer.Context,
    *,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its version, once.", show_default=False)],
    description: Annotated[str, typer.Option(help="What it brings.")] = "",
    advisory: Annotated[
        list[str] | None,
        typer.Option(
            help="What it mends, as `SEVERITY:ID` or `SEVERITY:ID:SUMMARY` (critical, important, moderate or low); several times.",
            show_default=False,
        ),
    ] = None,
    package: Annotated[
        list[str] | None,
        typer.Option(help="A Debian package to install, `NAME` or `NAME=VERSION`; several times.", show_default=False),
    ] = None,
    command: Annotated[
        Path | None,
        typer.Option(help="File with a script for /bin/sh, run as root on each blade after that.", show_default=False),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(help="File with a script that must end well before a blade is used again.", show_default=False),
    ] = None,
    no_reboot: Annotated[
        bool, typer.Option("--no-reboot", help="The command itself restarts what it changed; the blade stays on.")
    ] = False,
    deadline: Annotated[
        int, typer.Option(min=10, max=14400, help="Seconds for packages, command and return, each.")
    ] = 1800,
    as_json: AsJson = False,
) -> None:
    """Offer a build to every pool: for the platform's operator. Nothing is installed before a pool takes it."""
    body: Json = {
        "version": version,
        "description": description,
        "advisories": [_advisory(text) for text in advisory or []],
        "packages": package or [],
        "command": options.read_text(command, "a command", limit=65536) if command is not None else "",
        "checkCommand": options.read_text(check, "a check", limit=65536) if check is not None else "",
        "reboot": not no_reboot,
        "deadlineSeconds": deadline,
    }
    with connect(context) as api:
        made: Json = api.change("POST", BUILD.path, body)
    note(f"Published build {version}.")
    show_object(made, SHOW, as_json=as_json)


def _advisory(text: str) -> Json:
    severity, _, rest = text.partition(":")
    identifier, _, summary = rest.partition(":")
    if not identifier:
        raise typer.BadParameter(
            f"{text!r} is no advisory; write for example critical:CVE-2026-1", param_hint="--advisory"
        )
    return {"severity": severity, "id": identifier, "summary": summary}


@app.command(epilog="Example: naos build withdraw 8.2")
def withdraw(context: typer.Context, *, version: Version, yes: Yes = False, as_json: AsJson = False) -> None:
    """Take the offer of a build back that no pool has taken."""
    with connect(context) as api:
        build = find_build(api, version)
        options.confirm(f"Withdraw build {build['version']}?", yes=yes)
        api.change("DELETE", f"{BUILD.path}/{build['id']}")
    note(f"Withdrew build {build['version']}.")
    if as_json:
        json_out(build)
