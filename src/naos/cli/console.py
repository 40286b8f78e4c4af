"""A machine's serial line in this terminal: raw both ways until Ctrl-] or until the line ends."""

import contextlib
import os
import re
import select
import signal
import socket
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from types import FrameType
from typing import Any, Literal

from naos.cli.client import Api, is_local, refusal, websocket_url
from naos.cli.failures import Failure, Unreachable
from naos.cli.output import note

ESCAPE = b"\x1d"
REFUSED = 4409
"""The close code with which the API refuses the line; its reason says why."""


def attach(api: Api, machine_id: str, title: str) -> None:
    """Join keyboard and screen to the machine's serial line. The terminal is as before afterwards, whatever happens.

    Raises Failure when standard input is no terminal, or when the line cannot be had.
    """
    if not sys.stdin.isatty():
        raise Failure("The console needs a terminal; `naos vm log` prints what a machine has said.")
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    with _line(api, machine_id) as line:
        note(f"Connected to {title}. Ctrl-] leaves; Enter wakes a silent line.")
        with _raw(keyboard):
            reason = relay(line, keyboard, screen)
    note(reason)


def ask(api: Api, machine_id: str, command: str, answer: re.Pattern[str], seconds: float) -> str | None:
    """Type a command at the guest's prompt; the first line of what it says that matches, None after `seconds`.

    Takes the line over from whoever has it. Raises Failure when the line cannot be had.
    """
    from websockets.exceptions import ConnectionClosed

    said, end = "", time.monotonic() + seconds
    with _line(api, machine_id) as line:
        line.send(f"\r{command}\r".encode())
        while (left := end - time.monotonic()) > 0:
            try:
                message = line.recv(timeout=left)
            except (TimeoutError, ConnectionClosed):
                break
            said += message.decode("utf-8", "replace") if isinstance(message, bytes) else message
            found = answer.search(said)
            if found and "\n" in said[found.end() :]:
                return found[0].strip()
    return None


def relay(line: Any, keyboard: int, screen: int) -> str:
    """Move bytes between the file descriptors and the WebSocket until either ends; how it ended.

    Raises Failure when the API refuses the line.
    """
    awake, wake = socket.socketpair()
    ended: list[Exception] = []

    def outward() -> None:
        try:
            for message in line:
                _write_all(screen, message if isinstance(message, bytes) else message.encode())
        except Exception as error:
            ended.append(error)
        finally:
            with contextlib.suppress(OSError):
                wake.send(b".")

    reader = threading.Thread(target=outward, daemon=True, name="console")
    reader.start()
    try:
        left = _type(line, keyboard, awake)
    finally:
        line.close()
        reader.join(timeout=5.0)
        awake.close()
        wake.close()
    if line.close_code == REFUSED:
        raise Failure(line.close_reason or "The console cannot be opened.")
    if left:
        return "Left the console; the machine goes on."
    if ended:
        return f"The console broke off: {ended[0]}"
    return "The console ended: the machine stopped, or somebody else took the line."


def _type(line: Any, keyboard: int, awake: socket.socket) -> bool:
    """Send what is typed; True when the user leaves, False when the line ends first."""
    from websockets.exceptions import ConnectionClosed

    while True:
        readable, _, _ = select.select([keyboard, awake.fileno()], [], [])
        if awake.fileno() in readable:
            return False
        typed = os.read(keyboard, 4096)
        before, escape, _ = typed.partition(ESCAPE)
        try:
            if before:
                line.send(before)
        except ConnectionClosed:
            return False
        if escape or not typed:
            return True


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _line(api: Api, machine_id: str) -> Iterator[Any]:
    from websockets.exceptions import InvalidHandshake, InvalidStatus
    from websockets.sync.client import connect

    address = websocket_url(api.url, f"/compute/v1/vcenters/virtual_machines/{machine_id}/consoles/serial")
    headers = {"Authorization": f"Bearer {api.session()}"}
    proxy: Literal[True] | None = None if is_local(api.url) else True
    with contextlib.ExitStack() as stack:
        try:
            line = stack.enter_context(connect(address, additional_headers=headers, proxy=proxy, open_timeout=30))
        except InvalidStatus as error:
            answer = error.response
            body = (answer.body or b"").decode("utf-8", "replace")
            raise refusal(answer.status_code, body, answer.headers, api.url) from error
        except (OSError, InvalidHandshake) as error:
            raise Unreachable(f"The console at {api.url} cannot be reached: {error}") from error
        yield line


@contextlib.contextmanager
def _raw(keyboard: int) -> Iterator[None]:
    """The terminal in raw mode; set back on the way out, also when the process is told to end."""
    before = termios.tcgetattr(keyboard)
    handlers = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setraw(keyboard)
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
