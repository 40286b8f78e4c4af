"""A daemon and a host of plain values, for what needs no machine."""

import contextlib
from collections.abc import Callable, Sequence

from naos.engines.array.errors import DaemonRefused
from naos.engines.array.places import Place
from naos.engines.errors import CommandFailed
from naos.engines.ports import Completed

LUN = "0b0e1f5c-2f8e-4b55-9f25-7a3b5a6f0d11"
DISK = "6a3c1c1e-8d31-4c8f-8f8b-5f1e0f6d2a01"
OTHER = "c5f2d9a4-50a8-4d0e-9a55-0d6a7a0be402"


class FakeHost:
    """Answers commands from a function and keeps them in `calls`."""

    name = "host1"

    def __init__(self, answer: Callable[[Sequence[str]], Completed] = lambda _argv: Completed(0, "", "")) -> None:
        self.answer = answer
        self.calls: list[tuple[str, ...]] = []

    def run(self, argv, *, stdin=b"", timeout=30.0, check=True) -> Completed:
        self.calls.append(tuple(argv))
        done = self.answer(argv)
        if check and done.code:
            raise CommandFailed(self.name, argv[0], done.stderr)
        return done

    @contextlib.contextmanager
    def socket(self, path):
        yield path


class FakeMonitor:
    """Answers from a table of command -> value, exception, or a list of these, one a call (the last one stays)."""

    where = "array1"

    def __init__(self, **answers) -> None:
        self.answers = {command.replace("_", "-"): answer for command, answer in answers.items()}
        self.sent: list[tuple[str, dict]] = []

    def execute(self, command, arguments=None):
        self.sent.append((command, arguments or {}))
        answer = self.answers.get(command, {})
        if isinstance(answer, list) and answer and isinstance(answer[0], list | Exception):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def a_place(host=None, root="/array") -> Place:
    return Place("array1", host or FakeHost(), root, LUN)


def refused(reason="no") -> DaemonRefused:
    return DaemonRefused("array1", "it", reason)
