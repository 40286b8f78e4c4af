"""What a volume's daemon and its tools answer, as errors of the engines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from naos.engines.errors import CommandFailed, EngineError, NoSpace

FULL = ("No space left on device", "Disk quota exceeded")


@dataclass(eq=False)
class DaemonRefused(CommandFailed):
    """The storage daemon answered a command with an error: the command was not done."""

    code: ClassVar[str] = "engine.array.refused"
    sentence: ClassVar[str] = "{where}: the storage daemon refused {what}: {reason}"


def is_full(text: str) -> bool:
    """Whether a tool's or a job's words say that the file system was full."""
    return any(words in text for words in FULL)


def named(error: EngineError, what: str, numbers: Callable[[], str]) -> EngineError:
    """The same failure, as NoSpace with the volume's `numbers` (asked only then) when it was for want of space."""
    return NoSpace(error.where, what, numbers()) if is_full(error.reason) else error
