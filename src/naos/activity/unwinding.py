"""Taking back what a failed activity left, from its recorded compensations alone: no workflow code is needed."""

from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity.errors import Abandoned
from naos.activity.execution import Execution
from naos.activity.models import Activity, ActivityUndo, State, UndoState
from naos.activity.registry import find_undo, workflow
from naos.activity.run import Run, named
from naos.database import Database

log = structlog.get_logger()

LEFT = (UndoState.PENDING, UndoState.FAILED)


def unwind(execution: Execution, *, maximum_deaths: int) -> None:
    """Undo in reverse order, each compensation several times if it fails.

    One that fails for good stops the rest: the earlier ones may rely on it (a disk's row is not forgotten while its file
    stays), and the row says what is left. `retry_undo` goes on from there.
    """
    for row in _pending(execution):
        step = f"undo {row.name}"
        execution.boundary(step, "before")
        if execution.deaths > maximum_deaths:
            reason: str | None = str(Abandoned(execution.deaths))
            state = UndoState.FAILED
        else:
            state, reason = _try(execution, row)
        execution.boundary(step, "after-effect")
        execution.write(partial(_record, row=row, state=state, reason=reason))
        execution.boundary(step, "recorded")
        if state is UndoState.FAILED:
            return


def summary(session: Session, activity_id: str) -> tuple[list[str], str]:
    """What was undone, and the words about it for the activity's reason (with a leading space, or empty)."""
    rows = session.scalars(
        sa.select(ActivityUndo).where(ActivityUndo.activity_id == activity_id).order_by(ActivityUndo.position.desc())
    ).all()
    undone = [row.description for row in rows if row.state == UndoState.DONE]
    words = f" Undone: {'; '.join(undone)}." if undone else ""
    left = [row for row in rows if row.state in LEFT]
    if left:
        failed = next((row.reason for row in left if row.reason), "")
        words += (
            f" Not undone: {'; '.join(row.description for row in left)} ({failed.rstrip('.')});"
            " `naos doctor --fix` tries again."
        )
    return undone, words


def without_gone(session: Session, activity: Activity) -> list[dict[str, Any]]:
    """What a failed activity concerns; an object whose row was reserved and has been given up again (a compensation named
    ``<kind>.forget``) is marked as gone. Clients take what they are told for something that is there."""
    rows = session.scalars(sa.select(ActivityUndo).where(ActivityUndo.activity_id == activity.id))
    done = [row for row in rows if row.name.endswith(".forget") and row.state not in LEFT]
    gone = {value for row in done for value in row.arguments.values() if isinstance(value, str)}
    return [item | {"gone": True} if item["id"] in gone else item for item in activity.concerned]


def left_to_undo(session: Session) -> list[Activity]:
    """The ended activities that have left something behind."""
    left = sa.select(ActivityUndo.activity_id).where(ActivityUndo.state.in_(LEFT))
    return list(
        session.scalars(
            sa.select(Activity).where(Activity.state == State.FAILED, Activity.id.in_(left)).order_by(Activity.sequence)
        )
    )


def _pending(execution: Execution) -> list[ActivityUndo]:
    def read(session: Session) -> list[ActivityUndo]:
        rows = session.scalars(
            sa.select(ActivityUndo)
            .where(ActivityUndo.activity_id == execution.activity_id)
            .order_by(ActivityUndo.position.desc())
        ).all()
        if any(row.state == UndoState.FAILED for row in rows):
            return []
        return [row for row in rows if row.state == UndoState.PENDING]

    return execution.write(read)


def _try(execution: Execution, row: ActivityUndo) -> tuple[UndoState, str | None]:
    services = execution.services
    pauses = list(services.undo_pauses)
    while True:
        execution.check()
        try:
            void = find_undo(row.name)(services.world, row.arguments) is False
        except Exception as error:
            execution.check()
            reason = str(named(error))
            if not pauses:
                return UndoState.FAILED, reason
            log.warning("undo failed; trying again", undo=row.name, reason=reason)
            services.sleep(pauses.pop(0))
        else:
            return (UndoState.VOID if void else UndoState.DONE), None


def _record(session: Session, row: ActivityUndo, state: UndoState, reason: str | None) -> None:
    session.execute(
        sa.update(ActivityUndo)
        .where(ActivityUndo.activity_id == row.activity_id, ActivityUndo.position == row.position)
        .values(state=state, reason=reason)
    )


# ---------------------------------------------------------------------------------------- trying again, as an activity


@workflow("activity.undo")
def undo_left(run: Run, arguments: dict[str, Any]) -> str:
    """Take back what activity ``activity_id`` has left, under its locks."""
    database, activity_id = run.database, arguments["activity_id"]
    for position in run.step("look what is left", _positions_left, database, activity_id):
        run.step(f"undo {position}", _undo_one, database, run.world, activity_id, position)
    run.step("note that nothing is left", _note_undone, database, activity_id)
    return str(activity_id)


def _positions_left(database: Database, activity_id: str) -> list[int]:
    with database.read() as session:
        return list(
            session.scalars(
                sa.select(ActivityUndo.position)
                .where(ActivityUndo.activity_id == activity_id, ActivityUndo.state.in_(LEFT))
                .order_by(ActivityUndo.position.desc())
            )
        )


def _undo_one(database: Database, world: Any, activity_id: str, position: int) -> None:
    with database.read() as session:
        row = session.get_one(ActivityUndo, (activity_id, position))
    if row.state not in LEFT:
        return
    void = find_undo(row.name)(world, row.arguments) is False
    with database.write() as session:
        _record(session, row, UndoState.VOID if void else UndoState.DONE, None)


def _note_undone(database: Database, activity_id: str) -> None:
    with database.write() as session:
        activity = session.get_one(Activity, activity_id)
        head = (activity.reason or "").split(" Not undone: ")[0].split(" Undone: ")[0]
        activity.undone, words = summary(session, activity_id)
        activity.concerned = without_gone(session, activity)
        activity.reason = head + words
