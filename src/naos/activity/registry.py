"""The workflows and compensations of all areas, by name. Filled by decorators when the areas are imported."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from naos.activity.errors import UndoUnknown, WorkflowUnknown

if TYPE_CHECKING:
    from naos.activity.run import Run

WorkflowFunction = Callable[["Run", dict[str, Any]], str | None]
UndoFunction = Callable[[Any, dict[str, Any]], bool | None]


@dataclass(frozen=True)
class Workflow:
    """`steps`: how many steps it usually has, for the share of progress; None when that depends on its arguments."""

    kind: str
    function: WorkflowFunction
    steps: int | None


_workflows: dict[str, Workflow] = {}
_undos: dict[str, UndoFunction] = {}


def workflow(kind: str, *, steps: int | None = None) -> Callable[[WorkflowFunction], WorkflowFunction]:
    """Register the function that does activities of `kind`: ``f(run, arguments) -> result``.

    Outside of its steps it must be deterministic: after a crash it runs again, and every step that was recorded
    returns (or raises) what it did before.
    """

    def register(function: WorkflowFunction) -> WorkflowFunction:
        _refuse_second(_workflows, kind, function, lambda known: known.function)
        _workflows[kind] = Workflow(kind, function, steps)
        return function

    return register


def undo(name: str) -> Callable[[UndoFunction], UndoFunction]:
    """Register a compensation: ``f(world, arguments)``. It must be idempotent, and fine with a step that never
    took effect; it may return False to say that there was nothing to undo."""

    def register(function: UndoFunction) -> UndoFunction:
        _refuse_second(_undos, name, function, lambda known: known)
        _undos[name] = function
        return function

    return register


def find_workflow(kind: str) -> Workflow:
    """Raises WorkflowUnknown."""
    try:
        return _workflows[kind]
    except KeyError:
        raise WorkflowUnknown(kind) from None


def find_undo(name: str) -> UndoFunction:
    """Raises UndoUnknown."""
    try:
        return _undos[name]
    except KeyError:
        raise UndoUnknown(name) from None


def _refuse_second(known: dict[str, Any], name: str, function: Any, function_of: Callable[[Any], Any]) -> None:
    """One name, one function; a module that is imported a second time may register the same function again."""
    if name in known and function_of(known[name]).__qualname__ != function.__qualname__:
        raise ValueError(
            f"{name!r} is registered twice: {function_of(known[name]).__qualname__}, {function.__qualname__}"
        )
