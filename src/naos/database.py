"""Tables' base, sessions and transactions, on SQLite or PostgreSQL."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware datetime, stored as UTC (SQLite keeps no zone)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        del dialect
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        del dialect
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC) if value else None


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own protocol
        datetime: UtcDateTime(),
        dict[str, Any]: sa.JSON(),
        list[str]: sa.JSON(),
        int: sa.BigInteger().with_variant(sa.Integer, "sqlite"),
    }
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Identified:
    """A UUID primary key, as text: ids travel as JSON strings everywhere."""

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True, default=lambda: str(uuid.uuid4()))


def connect(url: str) -> sa.Engine:
    """An engine with the pragmas that make SQLite safe and quick: WAL, foreign keys, one writer at a time."""
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_size=20, max_overflow=20, pool_pre_ping=True)
    # A connection is an open file: no read waits for another to end.
    engine = sa.create_engine(url, connect_args={"timeout": 30}, pool_size=40, max_overflow=-1)

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("naos_read_only", False):
            cursor = connection.connection.cursor()
            cursor.execute("BEGIN")  # waits for nothing, so there is no error to translate
            cursor.close()
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


class Database:
    """Sessions on one engine. `write()` commits or rolls back as a whole; `read()` never takes the writer's lock, and sees all tables as
    they were at one instant."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = connect(url)
        self._write = sessionmaker(self.engine, expire_on_commit=False)
        options: dict[str, Any] = {"naos_read_only": True}
        if not self.is_sqlite:  # which does so by itself: all of a read is of one instant
            options["isolation_level"] = "REPEATABLE READ"
        self._read = sessionmaker(self.engine.execution_options(**options), expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Session]:
        with self._write.begin() as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        with self._read() as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()
