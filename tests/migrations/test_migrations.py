"""The migrations make exactly the tables that the areas declare."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from naos.api.app import area_modules
from naos.database import Base, Database
from naos.migrations import upgrade


def test_migrated_database_is_what_the_models_say(tmp_path: Path) -> None:
    area_modules("models")
    database = Database(f"sqlite:///{tmp_path}/naos.db")
    upgrade(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": Base.metadata})
        assert compare_metadata(context, Base.metadata) == []
    database.close()
