"""What ends a command with exit code 1 and one sentence on standard error."""

from typing import Any


class Failure(Exception):
    """A command did not do what it was asked. `code`, `details`: those of the API's error, when it was one.

    status: the HTTP status, None when no HTTP answer was involved.
    """

    def __init__(
        self, sentence: str, *, code: str = "", status: int | None = None, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.status = status
        self.details = details or {}


class Unreachable(Failure):
    """No controller answers at the address; whatever was asked may or may not have been taken."""
