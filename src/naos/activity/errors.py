"""Refusals and failures of the activity engine."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


class Halted(BaseException):
    """This execution may not go on: the controller stops, is fenced, or has lost the activity to another one.

    Not an Exception, so that no handler in an area's workflow, nor DBOS, takes it for a failure: the activity stays
    unfinished and is continued by whoever takes it next.
    """


class Yielded(Exception):
    """Raised by a preemptible workflow between two steps, to let those who wait for its locks go first."""


@dataclass(eq=False)
class IdempotencyConflict(NaosError):
    code: ClassVar[str] = "activity.idempotency_conflict"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The Idempotency-Key {key!r} was already used for another request (activity {activity_id}); "
        "use a new key for a new request."
    )
    key: str
    activity_id: str


@dataclass(eq=False)
class IdempotencyKeyInvalid(NaosError):
    code: ClassVar[str] = "activity.idempotency_key_invalid"
    status: ClassVar[int] = 400
    sentence: ClassVar[str] = "An Idempotency-Key has 1 to 255 characters; this one has {length}."
    length: int


@dataclass(eq=False)
class ControllerRunning(NaosError):
    code: ClassVar[str] = "activity.controller_running"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Another controller (process {pid}) has {database} open. Stop it first; several controllers need PostgreSQL."
    )
    pid: str
    database: str


@dataclass(eq=False)
class Unexpected(NaosError):
    """What is not a named error: the log has the traceback under `log_id`."""

    code: ClassVar[str] = "activity.unexpected"
    sentence: ClassVar[str] = "unexpected: {kind}: {message} (log id {log_id})"
    kind: str
    message: str
    log_id: str


@dataclass(eq=False)
class BuildChanged(NaosError):
    code: ClassVar[str] = "activity.build_changed"
    status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = (
        "naos was upgraded from {old} to {new} before this activity was finished, so it was not continued. "
        "Repeat the request."
    )
    old: str
    new: str


@dataclass(eq=False)
class Abandoned(NaosError):
    code: ClassVar[str] = "activity.abandoned"
    sentence: ClassVar[str] = (
        "The controller died {attempts} times while this activity ran, so it is not tried again. "
        "Look for what ended the controller in its log."
    )
    attempts: int


@dataclass(eq=False)
class WorkflowUnknown(NaosError):
    code: ClassVar[str] = "activity.workflow_unknown"
    sentence: ClassVar[str] = "This build of naos knows no activity of kind {kind!r}."
    kind: str


@dataclass(eq=False)
class UndoUnknown(NaosError):
    code: ClassVar[str] = "activity.undo_unknown"
    sentence: ClassVar[str] = "This build of naos knows no compensation named {name!r}."
    name: str


@dataclass(eq=False)
class NothingToUndo(NaosError):
    code: ClassVar[str] = "activity.nothing_to_undo"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Activity {activity_id} is {state} and has left nothing to undo."
    activity_id: str
    state: str


@dataclass(eq=False)
class TooManyStreams(NaosError):
    code: ClassVar[str] = "activity.too_many_streams"
    status: ClassVar[int] = 429
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = (
        "This user watches the activities {maximum} times already, which is the most; end one of them first."
    )
    maximum: int
