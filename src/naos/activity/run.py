"""What a workflow is handed: its steps, its progress, and whether others wait for it."""

import json
import pickle
import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity.errors import Unexpected, Yielded
from naos.activity.execution import Execution, Throttle
from naos.activity.locks import wanted_by_others
from naos.activity.models import Activity, ActivityUndo
from naos.activity.plan import Undo
from naos.database import Database
from naos.errors import NaosError

log = structlog.get_logger()


class Run:
    """A run of a workflow, from its first step; steps that were done before a crash only return what they returned."""

    def __init__(self, execution: Execution, steps: int | None) -> None:
        self._execution = execution
        self._steps = steps
        self._done = 0
        self._now = ""
        self._noted: list[tuple[str, dict[str, Any]]] | None = None
        self._report_due = Throttle(1.0)
        self._look_due = Throttle(0.5)
        self._wanted = False

    @property
    def world(self) -> Any:
        return self._execution.services.world

    @property
    def database(self) -> Database:
        return self._execution.services.database

    @property
    def activity_id(self) -> str:
        return self._execution.activity_id

    @property
    def kind(self) -> str:
        return self._execution.kind

    @property
    def tenant_id(self) -> str:
        return self._execution.tenant_id

    @property
    def actor_id(self) -> str:
        return self._execution.actor_id

    def step(self, name: str, function: Callable[..., Any], *args: Any, undo: Undo | None = None) -> Any:
        """Do `function(*args)` once, and return its JSON-able result.

        It may be called again after a crash in the middle, so it must be check-then-do. `undo` is written down before
        it is called. Raises what it raises: a NaosError as it is, anything else as Unexpected.
        """
        execution = self._execution
        execution.check()
        execution.boundary(name, "before")
        if undo is not None and self._note(undo):
            execution.boundary(name, "noted")
        self._now = name
        self._report(0.0)
        try:
            encoded = execution.services.remember(name, lambda: self._do(name, function, args))
        except Exception:
            execution.check()  # a controller that stops may fail a step by stopping; that says nothing about the step
            execution.boundary(name, "recorded")
            raise
        execution.boundary(name, "recorded")
        self._done += 1
        return json.loads(encoded)

    def progress(self, share: float) -> None:
        """To be called within a long step: `share` of it is done (0 to 1). Written at most once a second."""
        self._report(share)

    def yield_requested(self) -> bool:
        """Is this activity preemptible, and does another one wait for a lock of it? Cheap enough for a loop."""
        if self._execution.preemptible and not self._wanted and self._look_due():
            with self._execution.services.database.read() as session:
                self._wanted = wanted_by_others(session, self.activity_id)
        return self._wanted

    def give_way(self) -> None:
        """Between two steps of preemptible work: let those who wait go first, and start again from the first step after.

        Raises Yielded, which the workflow must let through.
        """
        if self.yield_requested():
            raise Yielded

    def _do(self, name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> str:
        try:
            encoded = json.dumps(function(*args))
        except Exception as error:
            self._execution.boundary(name, "after-effect")
            raise named(error) from error
        self._execution.boundary(name, "after-effect")
        return encoded

    def _note(self, undo: Undo) -> bool:
        """Write the compensation down, unless an earlier run has. Returns whether it was new."""
        if self._noted is None:
            with self._execution.services.database.read() as session:
                rows = session.execute(
                    sa.select(ActivityUndo.name, ActivityUndo.arguments)
                    .where(ActivityUndo.activity_id == self.activity_id)
                    .order_by(ActivityUndo.position)
                )
                self._noted = [(name, arguments) for name, arguments in rows]
        if (undo.name, undo.arguments) in self._noted:
            return False
        position = len(self._noted)

        def insert(session: Session) -> None:
            session.add(
                ActivityUndo(
                    activity_id=self.activity_id,
                    position=position,
                    name=undo.name,
                    arguments=undo.arguments,
                    description=undo.description,
                )
            )

        self._execution.write(insert)
        self._noted.append((undo.name, undo.arguments))
        return True

    def _report(self, share: float) -> None:
        if not self._report_due():
            return
        done = self._done + min(max(share, 0.0), 1.0)
        progression = done / self._steps if self._steps else done / (done + 1)

        def update(session: Session) -> None:
            session.execute(
                sa.update(Activity)
                .where(Activity.id == self.activity_id)
                .values(step=self._now, progression=min(progression, 0.99))
            )

        self._execution.write(update)


def named(error: Exception) -> Exception:
    """The error as it can be kept: a NaosError or Yielded as it is, anything else as Unexpected, with its traceback logged."""
    if isinstance(error, (NaosError, Yielded)):
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own, of this moment: DBOS keeps errors so
        except Exception:
            log.warning("an error that cannot be kept", error=repr(error))
        else:
            return error
    log_id = uuid.uuid4().hex[:8]
    log.error("unexpected failure", log_id=log_id, exc_info=error)
    return Unexpected(type(error).__name__, str(error) or "no message", log_id)
