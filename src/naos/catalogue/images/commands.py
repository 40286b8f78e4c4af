"""Running the host's tools: argument vectors, deadlines, and limits on memory and CPU where the input is not ours."""

import os
import re
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from naos.catalogue.images.errors import ToolFailed, ToolMissing, ToolTimeout

PACKAGES = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "mke2fs": "e2fsprogs",
    "mformat": "mtools",
    "mcopy": "mtools",
    "mmdebstrap": "mmdebstrap",
    "openssl": "openssl",
    "prlimit": "util-linux",
    "qemu-img": "qemu-utils",
    "syslinux": "syslinux",
}
"""Which Debian package has which tool."""


@dataclass(frozen=True)
class Limits:
    """What a child may take: `memory` bytes of address space, `cpu` seconds, `file` bytes for any one file that it
    writes.
    """

    memory: int
    cpu: int
    file: int


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What tools are given: this process's environment in the C locale, with the system folders in its PATH."""
    path = os.environ.get("PATH", "")
    return {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": f"{path}:/usr/sbin:/sbin", **(extra or {})}


def limited(argv: Sequence[str], limits: Limits | None) -> list[str]:
    """The command behind prlimit, or as it is. No core files: they would hold an image's content."""
    if limits is None:
        return list(argv)
    options = [f"--as={limits.memory}", f"--cpu={limits.cpu}", f"--fsize={limits.file}", "--core=0"]
    return ["prlimit", *options, "--", *argv]


def attempt(
    argv: Sequence[str],
    *,
    timeout: float,
    limits: Limits | None = None,
    extra: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    """Run a tool to its end, whatever that is. Raises ToolMissing, ToolTimeout (seconds)."""
    try:
        return subprocess.run(
            limited(argv, limits),
            check=False,
            capture_output=True,
            input=stdin,
            timeout=timeout,
            env=environment(extra),
            cwd=cwd,
        )
    except FileNotFoundError as error:
        tool = Path(str(error.filename)).name
        raise ToolMissing(tool, PACKAGES.get(tool, tool)) from error
    except subprocess.TimeoutExpired as error:
        raise ToolTimeout(Path(argv[0]).name, timeout) from error


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    limits: Limits | None = None,
    extra: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
) -> str:
    """Run a tool and return what it printed. Raises ToolMissing, ToolTimeout, ToolFailed (with its last words)."""
    done = attempt(argv, timeout=timeout, limits=limits, extra=extra, cwd=cwd, stdin=stdin)
    if done.returncode != 0:
        raise ToolFailed(Path(argv[0]).name, done.returncode, last_words(done))
    return done.stdout.decode(errors="replace")


_SHARE = re.compile(rb"\((\d+(?:\.\d+)?)/100%\)")


def follow(
    argv: Sequence[str], *, timeout: float, progress: Callable[[float], None], limits: Limits | None = None
) -> None:
    """Run a tool that prints how far it is, as `qemu-img -p` does. Raises ToolMissing, ToolTimeout, ToolFailed."""
    tool, deadline = Path(argv[0]).name, time.monotonic() + timeout
    with tempfile.TemporaryFile() as complaints:
        try:
            child = subprocess.Popen(
                limited(argv, limits),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=environment(),
            )
        except FileNotFoundError as error:
            raise ToolMissing(tool, PACKAGES.get(tool, tool)) from error
        output = child.stdout
        try:
            if output is not None:
                _listen(output, deadline, progress)
            code = child.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise ToolTimeout(tool, timeout) from None
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            if output is not None:
                output.close()
        if code != 0:
            complaints.seek(0)
            words = " ".join(complaints.read().decode(errors="replace").split())[-400:]
            raise ToolFailed(tool, code, words or "it said nothing")


def _listen(output: IO[bytes], deadline: float, progress: Callable[[float], None]) -> None:
    """Report every share until the tool closes its output. Raises TimeoutError."""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        kept = b""
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            said = os.read(output.fileno(), 4096)
            if not said:
                return
            kept = (kept + said)[-4096:]
            shares = _SHARE.findall(kept)
            if shares:
                progress(min(float(shares[-1]) / 100, 1.0))


def last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    """The end of what a tool complained about, at most 400 characters on one line."""
    text = (done.stderr or done.stdout).decode(errors="replace")
    return " ".join(text.split())[-400:] or "it said nothing"
