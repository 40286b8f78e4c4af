from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from naos.database import Base, Database
from naos.tenancy import models


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """The tables of tenancy on SQLite."""
    tables = [table for table in Base.metadata.sorted_tables if table.name in _names()]
    database = Database(f"sqlite:///{tmp_path}/naos.db")
    Base.metadata.create_all(database.engine, tables=tables)
    yield database
    database.close()


def _names() -> set[str]:
    mapped = (getattr(models, name) for name in dir(models))
    return {
        sa.inspect(each).local_table.name
        for each in mapped
        if isinstance(each, type) and hasattr(each, "__tablename__")
    }
