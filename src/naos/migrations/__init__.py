"""The tables' history. `upgrade` brings a database, new or old, to this build's tables."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from naos.audit import guards
from naos.database import Database
from naos.migrations import blade_loads

FOLDER = Path(__file__).parent


def upgrade(database: Database) -> None:
    """Run the migrations that the database has not seen; several controllers may ask at once (PostgreSQL locks)."""
    command.upgrade(config(database), "head")
    with database.engine.begin() as connection:
        blade_loads.install(connection)
        guards.install(connection)


def config(database: Database) -> Config:
    made = Config()
    made.set_main_option("script_location", str(FOLDER))
    made.attributes["engine"] = database.engine
    return made
