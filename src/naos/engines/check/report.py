"""What looking at a host has brought to light."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from naos.engines.errors import EngineError, Unreachable
from naos.engines.ports import Completed, Host

COMMAND = 10.0  # seconds for a command that only looks


@dataclass(frozen=True)
class Fault:
    """what: one word for programs (`clock`, `tools`, ...). sentence: the numbers and the remedy, for people."""

    what: str
    sentence: str


@dataclass(frozen=True)
class HostReport:
    """One host in one of its roles.

    kind: blade, array, vault or witness. reached: whether commands run there. facts: what was found; versions are text,
    `clock` is seconds that its clock is ahead of ours, `memory` and `disk` are free bytes, `acceleration` is kvm, tcg or "".
    faults: what keeps naos from working. remarks: what its operator should know.
    """

    name: str
    kind: str
    zone: str
    reached: bool
    facts: Mapping[str, Any] = field(default_factory=dict)
    faults: Sequence[Fault] = ()
    remarks: Sequence[str] = ()

    @property
    def healthy(self) -> bool:
        return not self.faults


class Lost(Exception):
    """The host went away; what else would be asked of it is not."""


class Look:
    """A host while it is looked at. real: a machine of its own and not a host of the lab, which owes less."""

    def __init__(self, name: str, kind: str, zone: str, *, real: bool) -> None:
        self.name, self.kind, self.zone, self.real = name, kind, zone, real
        self.reached = False
        self.facts: dict[str, Any] = {}
        self.faults: list[Fault] = []
        self.remarks: list[str] = []
        self.reaches: dict[str, bool] = {}
        """Array of its zone -> whether its address answers this blade."""
        self.host: Host | None = None

    def fault(self, what: str, sentence: str) -> None:
        self.faults.append(Fault(what, sentence))

    def run(self, *argv: str, stdin: str = "", timeout: float = COMMAND) -> Completed:
        """A command's answer, whatever it is. Raises Lost with the host; its fault is noted."""
        if self.host is None:
            raise Lost
        try:
            return self.host.run(argv, stdin=stdin.encode(), timeout=timeout, check=False)
        except Unreachable as error:
            self.reached = False
            self.fault(
                "contact",
                f"It does not answer ({error.what}: {error.reason}); look at its power, its network, and `access` in the "
                "inventory.",
            )
            raise Lost from error

    def succeeds(self, *argv: str, stdin: str = "") -> bool:
        return self.run(*argv, stdin=stdin).code == 0

    @contextmanager
    def topic(self, what: str) -> Iterator[None]:
        """One subject; what goes wrong in it does not keep the others from being looked at."""
        try:
            yield
        except Lost:
            raise
        except EngineError as error:
            self.fault(what, str(error))

    def copy(self) -> "Look":
        """The same findings, in a state of their own."""
        made = Look(self.name, self.kind, self.zone, real=self.real)
        made.reached, made.facts, made.reaches = self.reached, dict(self.facts), dict(self.reaches)
        made.faults, made.remarks = list(self.faults), list(self.remarks)
        return made

    def report(self) -> HostReport:
        return HostReport(self.name, self.kind, self.zone, self.reached, self.facts, self.faults, self.remarks)


def said(done: Completed) -> str:
    """Why a command failed, in its own words."""
    return " ".join(done.stderr.split()) or f"exit code {done.code}"
