"""A machine that commands run on and files are brought to."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """What a command on a host left: exit code and decoded output (UTF-8, errors replaced)."""

    code: int
    stdout: str
    stderr: str


class Host(Protocol):
    """A machine on which commands can be run."""

    name: str

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        check: bool = True,
    ) -> Completed:
        """Run one command, never through a shell on this side; arguments are passed exactly.

        Raises CommandFailed when `check` and the exit code is not 0, Unreachable when the host or the deadline is lost.
        """

    def put(self, source: Path, target: str) -> None:
        """Copy a local file to the host: complete under `target`, or not there at all. Holes stay holes."""

    def get(self, source: str, target: Path) -> None:
        """Copy a file from the host."""

    def socket(self, path: str) -> AbstractContextManager[str]:
        """A path on this machine that reaches the unix socket `path` of the host while the context is open."""
