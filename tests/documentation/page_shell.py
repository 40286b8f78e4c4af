"""A reader at a terminal: one shell for a page, its blocks typed one after the other, and a keyboard for the console."""

import os
import pty
import re
import select
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BLOCK_SECONDS = 280.0
ESCAPE = b"\x1d"


class Shell:
    """A POSIX shell that keeps its variables, its folder and its background jobs from block to block."""

    def __init__(self, environment: dict[str, str], work: Path) -> None:
        self.environment, self.work = environment, work
        self._scripts = tempfile.TemporaryDirectory(prefix="naos-page-")
        self._process = subprocess.Popen(
            ["sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=work,
            start_new_session=True,
        )

    def run(self, text: str) -> tuple[int, str]:
        """Exit code and output of a block; a command that fails ends it. Raises AssertionError when it does not end."""
        assert self._process.stdin is not None
        mark, script = f"end-{uuid.uuid4().hex}", Path(self._scripts.name) / "block"
        script.write_text(f"set -eu\n{text}")
        self._process.stdin.write(f". {script} < /dev/null; echo; echo {mark}\n".encode())
        self._process.stdin.flush()
        said, ended = self._read(mark.encode())
        return (self._process.wait(timeout=10) if ended else 0), said

    def _read(self, mark: bytes) -> tuple[str, bool]:
        """What is printed until the mark, or until the shell has ended: so a failure shows, which ends it."""
        assert self._process.stdout is not None
        handle, said, end = self._process.stdout.fileno(), b"", time.monotonic() + BLOCK_SECONDS
        while mark not in said:
            assert time.monotonic() < end, (
                f"no end after {BLOCK_SECONDS:.0f} s: {said[-2000:].decode(errors='replace')}"
            )
            ended = self._process.poll() is not None
            chunk = os.read(handle, 65536) if select.select([handle], [], [], 0.2)[0] else b""
            if ended and not chunk:
                return said.decode(errors="replace"), True
            said += chunk
        return said.partition(mark)[0].decode(errors="replace"), False

    def close(self) -> None:
        """End the shell and what it left in the background."""
        self._scripts.cleanup()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, 15)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait(timeout=10)


@contextmanager
def shell(environment: dict[str, str], work: Path) -> Iterator[Shell]:
    opened = Shell(environment, work)
    try:
        yield opened
    finally:
        opened.close()


def typed(command: str, lines: list[str], prompt: re.Pattern[str], environment: dict[str, str], work: Path) -> str:
    """What a terminal shows of a command that reads the keyboard: each line is typed at the prompt, then Ctrl-].

    Raises AssertionError when the prompt does not come, or the command does not end well.
    """
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", f"exec {command}"], stdin=inner, stdout=inner, stderr=inner, env=environment, cwd=work
    )
    os.close(inner)
    shown = ""
    try:
        # Keys that come before the terminal is handed over are thrown away; a silent line is woken until it answers.
        shown = _until(outer, shown, 0, re.compile("Connected"))
        shown = _until(outer, shown, len(shown), prompt, wake=b"\r")
        for line in lines:
            begin = len(shown)
            os.write(outer, f"{line}\r".encode())
            shown = _until(outer, shown, begin, prompt)
        os.write(outer, ESCAPE)
        with suppress(OSError):  # a terminal ends with an error
            while chunk := os.read(outer, 4096):
                shown += chunk.decode(errors="replace")
        assert process.wait(timeout=20) == 0, shown
    finally:
        process.kill()
        process.wait(timeout=10)
        os.close(outer)
    return shown


def _until(handle: int, shown: str, begin: int, wanted: re.Pattern[str], wake: bytes = b"") -> str:
    """All that was shown, once what came after `begin` matches; `wake` is typed whenever nothing comes for a second."""
    end = time.monotonic() + 120
    while not wanted.search(shown[begin:]):
        assert time.monotonic() < end, f"{wanted.pattern!r} does not come; so far: {shown[-1000:]}"
        if select.select([handle], [], [], 1.0)[0]:
            shown += os.read(handle, 4096).decode(errors="replace")
        elif wake:
            os.write(handle, wake)
    return shown
