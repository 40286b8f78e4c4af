"""The base of every refusal and failure.

An error is a class with fields; its sentence is rendered here and nowhere else, so that API, console, CLI and activity log
show the same words. A refusal names the rule, the numbers and the remedy.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(eq=False)
class NaosError(Exception):
    """A named error.

    Subclasses are dataclasses (``@dataclass(eq=False)``) that set `code` (stable for ever, ``area.symbol``), `status` (HTTP) and `sentence`
    (a format string over the fields).
    """

    code: ClassVar[str] = "naos.internal"
    status: ClassVar[int] = 500
    sentence: ClassVar[str] = "Something went wrong inside naos."
    retryable: ClassVar[bool] = False

    def details(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        return self.sentence.format(**self.details())

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), tuple(self.details().values()))


def wire(error: NaosError) -> dict[str, Any]:
    """The one error shape of the HTTP API: ``{"error": {"code", "status", "message", "details"}}``."""
    return {
        "error": {
            "code": error.code,
            "status": error.status,
            "message": str(error),
            "details": {key: value if _plain(value) else str(value) for key, value in error.details().items()},
        }
    }


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool, list, dict))


@dataclass(eq=False)
class Unknown(NaosError):
    """The object does not exist, or belongs to another tenant: the two are told apart to nobody."""

    code: ClassVar[str] = "naos.unknown"
    status: ClassVar[int] = 404
    sentence: ClassVar[str] = "There is no {kind} {reference} in this tenant."
    kind: str
    reference: str


@dataclass(eq=False)
class NameTaken(NaosError):
    code: ClassVar[str] = "naos.name_taken"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "A {kind} named {name!r} exists already in this tenant; choose another name or delete that one."
    )
    kind: str
    name: str


@dataclass(eq=False)
class Changed(NaosError):
    """A condition that held when the request was accepted no longer does."""

    code: ClassVar[str] = "naos.changed"
    status: ClassVar[int] = 409
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = (
        "{what} changed while this request waited: {reason}. Look at it again and repeat the request."
    )
    what: str
    reason: str
