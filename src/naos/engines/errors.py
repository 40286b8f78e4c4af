"""What engines raise. Each says which host or object, what was tried, and what the world answered."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class EngineError(NaosError):
    code: ClassVar[str] = "engine.failed"
    status: ClassVar[int] = 502
    sentence: ClassVar[str] = "{where}: {what} failed: {reason}"
    where: str
    what: str
    reason: str


@dataclass(eq=False)
class Unreachable(EngineError):
    """The host, its daemon or the deadline was lost; the call may be tried again."""

    code: ClassVar[str] = "engine.unreachable"
    status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = "{where} did not answer in time ({what}: {reason}). Check the host, then try again."


@dataclass(eq=False)
class CommandFailed(EngineError):
    code: ClassVar[str] = "engine.command"


@dataclass(eq=False)
class Unsupported(EngineError):
    code: ClassVar[str] = "engine.unsupported"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "{where} cannot do this: {what}: {reason}"


@dataclass(eq=False)
class Busy(EngineError):
    code: ClassVar[str] = "engine.busy"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "{where}: {what} is in use: {reason}"


@dataclass(eq=False)
class NoSpace(EngineError):
    """A real ENOSPC: the volume is full."""

    code: ClassVar[str] = "engine.no_space"
    status: ClassVar[int] = 507
    sentence: ClassVar[str] = "{where}: no space left for {what}: {reason}. Grow the volume or free space on it."


@dataclass(eq=False)
class Missing(EngineError):
    code: ClassVar[str] = "engine.missing"
    status: ClassVar[int] = 404
    sentence: ClassVar[str] = "{where} has no {what}: {reason}"


@dataclass(eq=False)
class GuestRefused(EngineError):
    """The guest did not do its part (no agent, does not release a device, ignores the button)."""

    code: ClassVar[str] = "engine.guest"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "The guest did not cooperate ({what}): {reason}"
