"""DBOS, behind the few calls that the engine needs: start, take over, step, status, forget.

DBOS remembers each step of an activity, so that after a crash the work goes on where it was. What it has no notion of (locks,
compensation, controllers that adopt each other's work, upgrades) is the engine's, in the engine's own tables, which are the
truth: a step that DBOS has lost is only done again, and every step finds its own earlier effect.
"""

import uuid
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos import error as dbos_error
from dbos._core import execute_dequeued_workflow

from naos.activity.errors import Halted

_APPLICATION = "naos"
_VERSION = "1"  # the engine has its own rule for upgrades; DBOS shall find every workflow, of any build
_SCHEMA = "dbos"


class Memory(Enum):
    """What DBOS knows of a workflow."""

    NONE = "none"
    UNFINISHED = "unfinished"
    FINISHED = "finished"


_perform: Callable[[str], None] | None = None


@DBOS.workflow(name="naos.activity", max_recovery_attempts=None)
def _workflow(activity_id: str) -> None:
    if _perform is None:
        raise Halted("the engine is not running")
    _perform(activity_id)


class Durable:
    """DBOS of this process. DBOS is one per process, so this is too."""

    def __init__(self, url: str, executor_id: str, perform: Callable[[str], None]) -> None:
        self._executor_id = executor_id
        self._perform = perform
        self._sqlite = url.startswith("sqlite")
        self._engine = _sqlite_engine(url) if self._sqlite else sa.create_engine(url, pool_size=20, pool_pre_ping=True)

    def launch(self) -> None:
        global _perform  # noqa: PLW0603 - DBOS finds workflows by name, at import time, before there is an engine
        if _perform is not None:
            raise RuntimeError("an engine runs in this process already")
        _perform = self._perform
        config: DBOSConfig = {
            "name": _APPLICATION,
            "system_database_engine": self._engine,
            "dbos_system_schema": _SCHEMA,
            "application_version": _VERSION,
            "executor_id": self._executor_id,
            "log_level": "ERROR",
            "use_listen_notify": False,
            "notification_listener_polling_interval_sec": 0.05,  # nobody listens; it is how long closing takes
        }
        DBOS(config=config)
        DBOS.listen_queues([])
        DBOS.launch()

    def close(self) -> None:
        global _perform  # noqa: PLW0603 - see launch
        DBOS.destroy()
        self._engine.dispose()
        _perform = None

    def start(self, workflow_id: str, activity_id: str) -> None:
        """Begin in a thread of its own; a workflow of this id that exists already is left alone."""
        with SetWorkflowID(workflow_id):
            DBOS.start_workflow(_workflow, activity_id)

    def memory(self, workflow_id: str) -> Memory:
        status = DBOS.get_workflow_status(workflow_id)
        if status is None:
            return Memory.NONE
        return Memory.UNFINISHED if status.status in ("PENDING", "ENQUEUED") else Memory.FINISHED

    def take_over(self, workflow_id: str) -> None:
        """Go on with a workflow whose controller is dead, here and at once. Its old execution, should it still live, can
        record nothing more: every write of DBOS names its owner.

        DBOS's own recovery puts the workflow into a queue that each controller reads once a second; this writes what taking
        it out of that queue writes, and runs it.
        """
        owner = str(uuid.uuid4())
        table = sa.table(
            "workflow_status",
            *(
                sa.column(name)
                for name in ("workflow_uuid", "status", "executor_id", "owner_xid", "application_version")
            ),
            schema=None if self._sqlite else _SCHEMA,
        )
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(table)
                .where(table.c.workflow_uuid == workflow_id, table.c.status.in_(("PENDING", "ENQUEUED")))
                .values(status="PENDING", executor_id=self._executor_id, owner_xid=owner, application_version=_VERSION)
            )
        dbos = _instance()
        status = dbos._sys_db.get_workflow_status(workflow_id)  # noqa: SLF001 - DBOS has no public call that runs it here
        if status is not None:
            execute_dequeued_workflow(dbos, status, owner)

    def step(self, name: str, function: Callable[[], str]) -> str:
        """Run a step of the current workflow, or return (raise) what it did when it ran before."""
        try:
            return DBOS.run_step({"name": name}, function)
        except (dbos_error.DBOSWorkflowConflictIDError, dbos_error.DBOSWorkflowCancelledError) as error:
            raise Halted("another controller has taken this activity over") from error

    def forget(self, workflow_ids: Sequence[str]) -> None:
        """Drop the memory of finished workflows, by id."""
        DBOS.delete_workflows(list(workflow_ids))


def system_database_url(database_url: str) -> str:
    """Where DBOS keeps its memory: beside the SQLite file, or in a schema of the same PostgreSQL database."""
    url = sa.make_url(database_url)
    if url.get_backend_name() != "sqlite":
        return database_url
    if not url.database or url.database == ":memory:":
        raise ValueError("the activity engine needs a SQLite file, not a database in memory")
    return f"sqlite:///{Path(url.database).with_name('dbos.db')}"


def _instance() -> Any:
    from dbos._dbos import _get_dbos_instance

    return _get_dbos_instance()


def _sqlite_engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url, pool_size=20, max_overflow=40)

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout=30000", "foreign_keys=ON", "journal_mode=WAL", "synchronous=NORMAL"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
