"""`naos controller volume-keys` and `rewrap-volume-keys`: the master keys of encrypted volumes, for the controller's operator."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from naos.cli.controller import app
from naos.cli.failures import Failure
from naos.cli.options import AsCsv, AsJson
from naos.cli.output import field, keep_logs_apart, show_list

if TYPE_CHECKING:
    from naos.database import Database
    from naos.storage.master_keys import Keyring

USES = (
    field("MASTER KEY", "name"),
    field("WHERE", "source"),
    field("VOLUMES", "volumes", right=True),
    field("TROUBLE", "trouble"),
)
WRAPPED = (
    field("VOLUME", "name"),
    field("BEFORE", "before"),
    field("NOW", "now"),
    field("TROUBLE", "trouble"),
    field("ID", "id"),
)


@app.command("volume-keys", epilog="Example: naos controller volume-keys")
def volume_keys(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the master keys that NAOS_VOLUME_KEYS names, newest first, and how many volumes' keys each has wrapped.

    A line whose key has wrapped none may be taken out of the file.
    """
    from naos.storage import rekeying

    with _tables() as (database, keyring):
        found = [asdict(use) for use in rekeying.uses(database, keyring)]
    show_list(found, USES, as_json=as_json, as_csv=as_csv)


@app.command("rewrap-volume-keys", epilog="Example: naos controller rewrap-volume-keys")
def rewrap_volume_keys(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Wrap the keys of all encrypted volumes with the newest master key. No data is touched, and nothing that runs notices."""
    from naos.storage import rekeying

    with _tables() as (database, keyring):
        done = [asdict(volume) for volume in rekeying.rewrap(database, keyring)]
    empty = "The newest master key has wrapped the keys of all encrypted volumes already."
    show_list(done, WRAPPED, as_json=as_json, as_csv=as_csv, empty=empty)
    if any(volume["trouble"] for volume in done):
        raise typer.Exit(1)


@contextmanager
def _tables() -> Iterator[tuple["Database", "Keyring"]]:
    """The controller's database, and its master keys. Raises Failure."""
    import sqlalchemy as sa

    from naos.database import Database
    from naos.errors import NaosError
    from naos.settings import settings
    from naos.storage.master_keys import Keyring

    keep_logs_apart()
    chosen = settings()
    file = sa.make_url(chosen.database_url).database if chosen.database_url.startswith("sqlite") else None
    if file is not None and not Path(file).exists():
        raise Failure(
            f"There is no database at {file}; name the controller's folder with NAOS_HOME, "
            "or its database with NAOS_DATABASE_URL."
        )
    database = Database(chosen.database_url)
    try:
        yield database, Keyring.of(chosen)
    except NaosError as error:
        raise Failure(str(error)) from error
    except sa.exc.DBAPIError as error:
        raise Failure(f"The controller's database cannot be used: {error.orig}") from error
    finally:
        database.close()
