"""A whole naos on a lab of its own: another name, range and port than the usual, in a folder that goes with the test."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whole_images import Checked, end_and_check

from naos.cli import console
from naos.cli.client import Connection, opened
from naos.lab import record

NAOS = Path(sys.executable).with_name("naos")
LAB = ("--name", "proof", "--range", "10.221.0.0/16", "--port", "8487")
URL = "http://127.0.0.1:8487"
PROMPT = re.compile(r"naos-answer:(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Real:
    """`root`: the lab's folder. Commands run as a user would run them."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        credentials = str(self.root / "credentials")
        return os.environ | {"NAOS_ROOT": str(self.root), "NAOS_URL": URL, "NAOS_CREDENTIALS": credentials}

    def naos(self, *arguments: str, timeout: float = 240.0) -> str:
        """What the command prints. Raises AssertionError with its words when it fails."""
        done = self.attempt(*arguments, timeout=timeout)
        assert done.returncode == 0, f"naos {' '.join(arguments)}: {done.stderr[-2000:]}{self.log()}"
        return done.stdout

    def attempt(self, *arguments: str, timeout: float = 240.0) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(NAOS), *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def json(self, *arguments: str) -> Any:
        return json.loads(self.naos(*arguments, "--json"))

    def up(self, *more: str) -> str:
        return self.naos("up", *LAB, *more, timeout=280.0)

    def machine(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.json("vm", "show", name)
        return found

    def ask(self, name: str, command: str, seconds: float = 60.0) -> str:
        """Run a command at the guest's own prompt, over its serial line; what it prints, on one line."""
        machine_id = self.machine(name)["id"]
        # The word is split, so that the echo of what is typed is not taken for the answer.
        words = f'echo naos-"answer:"$({{ {command}; }} 2>&1 | tr "\\n" " ")'
        with opened(Connection(URL, self.root / "credentials")) as api:
            said = console.ask(api, machine_id, words, PROMPT, seconds)
        assert said is not None, f"{name} did not answer {command!r}"
        return said.partition("naos-answer:")[2].strip()

    def pids(self, host: str) -> list[int]:
        """The processes of a host of the lab, by its network namespace."""
        done = subprocess.run(
            ["ip", "netns", "pids", f"naos-proof-{host}"], capture_output=True, text=True, check=False
        )
        return [int(word) for word in done.stdout.split()]

    def program_pids(self, host: str, program: str) -> list[int]:
        found = []
        for pid in self.pids(host):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if Path(words[0].decode(errors="replace")).name == program:
                found.append(pid)
        return found

    def log(self) -> str:
        path = self.root / "controller.log"
        return f"\n--- controller.log\n{path.read_text()[-2000:]}" if path.exists() else ""


def until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Poll; what `condition` returned once it is true. AssertionError with `what` after the deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


@contextmanager
def real_lab(*more: str) -> Iterator[Real]:
    """`naos up` at the beginning, with these options too, `naos down` at the end, whatever happened. Whatever was done to it meanwhile: the
    image of every disk is whole then."""
    root = Path(tempfile.mkdtemp(prefix="naos-", dir="/var/tmp"))
    real = Real(root)
    checked = Checked(0, (), ())
    try:
        real.up(*more)
        yield real
    finally:
        if record.read(root) is not None:
            try:
                checked = end_and_check(root)
            finally:
                real.naos("down", "--yes")
        shutil.rmtree(root)
    print(f"{checked.images} images checked; unused clusters stayed taken in {len(checked.leaking)}")
    assert not checked.damaged, "\n".join(checked.damaged)
