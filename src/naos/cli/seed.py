"""`naos seed`: objects that other people's test suites expect to find."""

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from naos.cli.client import connect
from naos.cli.failures import Failure
from naos.cli.output import json_out, note
from naos.cli.seeding import Seed

app = typer.Typer(no_args_is_help=True, help="Objects that other test suites expect to find.")


@app.callback()
def seed() -> None:
    """Keeps `provider-suite` a command of its own name, also while it is the only one."""


@app.command("provider-suite", epilog="Example: naos seed provider-suite --output suite.env")
def provider_suite(
    context: typer.Context,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the variables go, for this user alone to read: they hold a token's secret. Left out: printed.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make nothing; say what would be made.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was made, what is missing and the variables.")
    ] = False,
) -> None:
    """Make what the public Terraform provider's own test suites need, and print their environment variables.

    What is there already is used. Needs a pool, a volume and a template, as `naos up` leaves them, and a token that may do
    all of it. What no call of the API can make is named, with the tests that cannot pass without it.
    """
    with connect(context) as api:
        planted = Seed(api, dry=dry_run)
        planted.plant()
        address = urlsplit(api.url)
    planted.environment |= {"CLOUDTEMPLE_HTTP_SCHEME": address.scheme, "CLOUDTEMPLE_HTTP_ADDR": address.netloc}
    for what in planted.made:
        note(f"{'Would make' if dry_run else 'Made'} {what}.")
    for what, tests in planted.missing:
        note(f"Not to be had: {what}; cannot pass: {', '.join(tests)}.")
    if as_json:
        missing = [{"what": what, "tests": list(tests)} for what, tests in planted.missing]
        json_out({"made": planted.made, "missing": missing, "environment": dict(sorted(planted.environment.items()))})
    if dry_run:
        return
    text = "".join(f"export {name}={_quoted(value)}\n" for name, value in sorted(planted.environment.items()))
    if output is not None:
        _keep(output, text)
        note(f"The variables are in {output}; `set -a; . {output}` takes them.")
    elif not as_json:
        print(text, end="")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _keep(path: Path, text: str) -> None:
    """Write the file whole or not at all, for its owner alone. Raises Failure."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from error
