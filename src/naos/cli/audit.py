"""`naos audit`: who asked for which write, and whether the log of it is sound."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from naos.cli.client import Json, connect
from naos.cli.failures import Failure
from naos.cli.options import AsCsv, AsJson, Yes, confirm
from naos.cli.output import Column, field, json_out, keep_logs_apart, moment, note, show_list

if TYPE_CHECKING:
    from naos.database import Database

app = typer.Typer(no_args_is_help=True, help="The audit log: every write, by whom, from where, with which token.")

ENTRIES = "/audit/v1/entries"
OUTCOMES = ("accepted", "refused", "failed", "begun")
PAGE = 1000
LIST = (
    field("TIME", "time", show=moment),
    field("USER", "userName"),
    field("ADDRESS", "address"),
    field("METHOD", "method"),
    field("PATH", "path"),
    field("OUTCOME", "outcome"),
    Column(
        "STATUS", lambda entry: entry.get("status"), lambda status: "" if status is None else str(status), right=True
    ),
    field("ENTRY", "sequence", right=True),
)


def _time(text: str) -> str:
    """A time as the API reads it; without a zone it is local."""
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is not a time; write for example 2026-11-26 or 2026-11-26T09:30") from None


def _outcome(text: str) -> str:
    if text not in OUTCOMES:
        raise typer.BadParameter(f"{text!r} is not {', '.join(OUTCOMES[:-1])} or {OUTCOMES[-1]}")
    return text


Since = Annotated[str | None, typer.Option(metavar="TIME", parser=_time, help="From this time on.", show_default=False)]
Until = Annotated[str | None, typer.Option(metavar="TIME", parser=_time, help="Before this time.", show_default=False)]
User = Annotated[str | None, typer.Option(metavar="ID", help="Only of this user.", show_default=False)]
Token = Annotated[str | None, typer.Option(metavar="ID", help="Only with this access token.", show_default=False)]
Address = Annotated[str | None, typer.Option(help="Only from this client address.", show_default=False)]
Path_ = Annotated[
    str | None, typer.Option("--path", metavar="TEXT", help="Only where the path holds this.", show_default=False)
]
Outcome = Annotated[
    str | None,
    typer.Option(parser=_outcome, help="accepted, refused, failed, or begun: nobody answered.", show_default=False),
]


@app.command("list", epilog="Example: naos audit list --outcome refused")
def list_entries(
    context: typer.Context,
    *,
    since: Since = None,
    until: Until = None,
    user: User = None,
    token: Token = None,
    address: Address = None,
    path: Path_ = None,
    outcome: Outcome = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest first.")] = 20,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List writes, log-ins and refusals, the newest first."""
    filters = _filters(since, until, user, token, address, path, outcome)
    found: list[Json] = []
    with connect(context) as api:
        while len(found) < limit:
            before = found[-1]["sequence"] if found else None
            wanted = min(limit - len(found), PAGE)
            page: list[Json] = api.get(ENTRIES, limit=wanted, before=before, **filters)
            found += page
            if len(page) < wanted:
                break
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="There is no such entry.")


@app.command(epilog="Example: naos audit export --since 2026-11-01 --output audit.csv")
def export(
    context: typer.Context,
    *,
    since: Since = None,
    until: Until = None,
    user: User = None,
    token: Token = None,
    address: Address = None,
    path: Path_ = None,
    outcome: Outcome = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of CSV.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write there; by default to standard output.", show_default=False),
    ] = None,
) -> None:
    """Write all entries, as CSV that no spreadsheet takes for formulas, or as JSON."""
    filters = _filters(since, until, user, token, address, path, outcome)
    try:
        target: Any = output.open("wb") if output is not None else nullcontext(sys.stdout.buffer)
    except OSError as error:
        raise Failure(f"{output} cannot be written: {error.strerror}.") from error
    with connect(context) as api, target as file:
        for part in api.stream(f"{ENTRIES}/export", {"format": "json" if as_json else "csv", **filters}):
            file.write(part)
        file.flush()


@app.command(epilog="Example: naos audit verify")
def verify(
    context: typer.Context,
    *,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Look at this database itself, without a controller, e.g. sqlite:////var/lib/naos/controller/naos.db.",
            show_default=False,
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With --database: the controller's key folder.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look for entries that were changed, removed, moved or inserted; exit code 1 when there are."""
    if (database is None) != (keys is None):
        raise typer.BadParameter("give both, or neither", param_hint="--database and --keys")
    if database is not None and keys is not None:
        found = _offline(database, keys)
    else:
        with connect(context) as api:
            found = api.get("/audit/v1/verification")
    if as_json:
        json_out(found)
    if not found["sound"]:
        where = f" at entry {found['bad']}" if found["bad"] is not None else ""
        raise Failure(f"The audit log is not what was written{where}: {found['reason']}.")
    if not as_json:
        places = f", {found['first']} to {found['last']}" if found["checked"] else ""
        note(f"The audit log is sound: {found['checked']} entries{places}.")


@app.command("renew-key", epilog="Example: naos audit renew-key --database sqlite:////srv/naos.db --keys /srv/keys")
def renew_key(
    *,
    database: Annotated[str, typer.Option(metavar="URL", help="The controller's database.", show_default=False)],
    keys: Annotated[Path, typer.Option(metavar="FOLDER", help="The controller's key folder.", show_default=False)],
    yes: Yes = False,
) -> None:
    """Seal the log with a new key from now on: the present one is lost, or others know it. Works without a controller."""
    confirm("Seal the audit log with a new key from now on?", yes=yes)
    with _tables(database) as opened:
        from naos.audit.journal import Journal

        made = Journal(opened, keys, months=0, now=lambda: datetime.now(UTC)).renew_key()
    note(f"The audit log is sealed with key {made} from now on. Keep a copy of {keys / f'audit-{made}.key'}.")


def _filters(*values: str | None) -> dict[str, str | None]:
    return dict(zip(("since", "until", "user", "token", "address", "path", "outcome"), values, strict=True))


def _offline(url: str, keys: Path) -> Json:
    """What the API would say, from the tables themselves."""
    from naos.audit.verification import verify as look
    from naos.audit.wire import verification

    with _tables(url) as opened:
        return verification(look(opened, keys)).model_dump(mode="json", by_alias=True)


@contextmanager
def _tables(url: str) -> Iterator["Database"]:
    """The database itself. Raises Failure."""
    keep_logs_apart()
    import sqlalchemy as sa

    from naos.database import Database
    from naos.errors import NaosError

    file = url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else None
    if file is not None and not Path(file).is_file():
        raise Failure(f"There is no database {file}.")
    try:
        opened = Database(url)
        try:
            yield opened
        finally:
            opened.close()
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise Failure(f"The audit log of {url} cannot be used: {reason}.") from error
    except NaosError as error:
        raise Failure(str(error)) from error
