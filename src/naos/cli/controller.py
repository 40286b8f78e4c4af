"""`naos controller`: what its operator does on the controller's own host, with its database and its files, not over the API."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from naos.cli.failures import Failure
from naos.cli.options import AsCsv, AsJson, Yes, confirm
from naos.cli.output import Json, field, keep_logs_apart, moment, note, show_list

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from naos.tenancy.models import SigningKey

app = typer.Typer(
    no_args_is_help=True,
    help="The controller itself, on its own host and as its user: signing keys, and a way back in. "
    "NAOS_HOME and NAOS_DATABASE_URL say where it is, as for the controller.",
)

KEYS = (
    field("STATE", "state"),
    field("MADE", "createdAt", show=moment),
    field("ACCEPTED UNTIL", "acceptedUntil", show=moment),
    field("SESSIONS END", "sessionsEndAt", show=moment),
    field("ID", "id"),
)


@app.command(epilog="Example: naos controller keys")
def keys(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the keys that sign sessions: the present one, those still accepted, and those that are not any more."""
    with _tables() as (session, _folder):
        found = _listed(session)
    show_list(found, KEYS, as_json=as_json, as_csv=as_csv)


@app.command("rotate-key", epilog="Example: naos controller rotate-key")
def rotate_key(
    *,
    leaked: Annotated[
        bool, typer.Option("--leaked", help="Accept no present or older key any more: everybody logs in again.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Sign with a new key from now on; the one before is accepted until the last session that it signed ends.

    It holds for all controllers at once, without a restart.
    """
    from naos.tenancy.keys import rotate_key

    if leaked:
        confirm("End every session now?", yes=yes)
    with _tables() as (session, folder):
        rotate_key(session, folder, now=datetime.now(UTC), leaked=leaked)
        found = _listed(session)
    show_list(found, KEYS, as_json=as_json, as_csv=as_csv)


@app.command("open-access", epilog="Example: naos controller open-access Default")
def open_access(
    *,
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Name or id of the tenant.", show_default=False)],
    yes: Yes = False,
) -> None:
    """Empty a tenant's list of allowed addresses: the way back in when it refuses everybody."""
    import sqlalchemy as sa

    from naos.tenancy import access
    from naos.tenancy.models import Tenant

    with _tables() as (session, _folder):
        named = sa.select(Tenant).where(sa.or_(Tenant.id == tenant, Tenant.name == tenant))
        found = session.scalars(named).all()
        if len(found) != 1:
            raise Failure(f"There are {len(found)} tenants {tenant!r} on this platform; give the id of one.")
        confirm(f"Take calls for tenant {found[0].name} from everywhere?", yes=yes)
        count = access.open_to_all(session, found[0].id)
    note(f"Removed {count} network(s); calls for tenant {found[0].name} are taken from everywhere.")


@contextmanager
def _tables() -> Iterator[tuple["Session", Path]]:
    """A transaction on the controller's database, and its folder of keys. Raises Failure where there is none."""
    import sqlalchemy as sa

    from naos.database import Database
    from naos.settings import settings

    keep_logs_apart()
    chosen = settings()
    file = sa.make_url(chosen.database_url).database if chosen.database_url.startswith("sqlite") else None
    if file is not None and not Path(file).exists():
        raise Failure(
            f"There is no database at {file}; name the controller's folder with NAOS_HOME, "
            "or its database with NAOS_DATABASE_URL."
        )
    folder = chosen.home / "keys"
    if not folder.is_dir():
        raise Failure(
            f"{folder} holds the controller's keys and is not there; name the controller's folder with NAOS_HOME."
        )
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise Failure(
            f"{folder} belongs to user {owner}: what is written here would not be the controller's. Run this as it."
        )
    database = Database(chosen.database_url)
    try:
        with database.write() as session:
            yield session, folder
    except sa.exc.DBAPIError as error:
        raise Failure(f"The controller's database cannot be used: {error.orig}") from error
    except OSError as error:
        raise Failure(f"The controller's keys cannot be written: {error}") from error
    finally:
        database.close()


def _listed(session: "Session") -> list[Json]:
    from naos.tenancy.keys import every_key

    now = datetime.now(UTC)
    return [_shown(key, now) for key in every_key(session)]


def _shown(key: "SigningKey", now: datetime) -> Json:
    state = "present" if key.accepted_until is None else "accepted" if key.accepted_until > now else "ended"
    return {
        "id": key.id,
        "state": state,
        "createdAt": key.created_at.isoformat(),
        "acceptedUntil": key.accepted_until.isoformat() if key.accepted_until else None,
        "sessionsEndAt": key.sessions_end_at.isoformat() if key.sessions_end_at else None,
    }
