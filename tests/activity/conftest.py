"""An engine on a SQLite file, and on PostgreSQL when this machine has its server (see `postgres`)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from naos.activity import Engine
from naos.database import Base, Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/naos.db")
    Base.metadata.create_all(made.engine)
    yield made
    made.close()


@pytest.fixture
def start(database: Database) -> Iterator[Callable[..., Engine]]:
    """Starts engines, one after the other; the last one is stopped at the end."""
    running: list[Engine] = []

    def make(**options: object) -> Engine:
        for engine in running:
            engine.stop()
        running.clear()
        engine = Engine(database, world={}, **options)  # type: ignore[arg-type]
        engine.start()
        running.append(engine)
        return engine

    yield make
    for engine in running:
        engine.stop()
