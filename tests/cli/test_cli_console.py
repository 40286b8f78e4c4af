"""The serial console on a pty, before a WebSocket server that stands for the API."""

import contextlib
import http
import os
import pty
import select
import signal
import socket
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from cli_platform import Cli, identifier, machine
from websockets.sync.server import Server, ServerConnection, serve

from naos.cli import console
from naos.cli.client import Connection, opened
from naos.cli.failures import Failure, Unreachable

MACHINE = identifier(10)
SECONDS = 10.0


class Screen:
    """A pty: the command has its inner end, the test types and reads at the outer one."""

    def __init__(self) -> None:
        self.outer, self.inner = pty.openpty()
        self.seen = b""

    def type(self, keys: bytes) -> None:
        os.write(self.outer, keys)

    def wait_for(self, text: bytes) -> None:
        while text not in self.seen:
            readable, _, _ = select.select([self.outer], [], [], SECONDS)
            assert readable, f"{text!r} did not come; there was {self.seen!r}"
            self.seen += os.read(self.outer, 4096)

    def settings(self) -> list[object]:
        return termios.tcgetattr(self.inner)

    def close(self) -> None:
        os.close(self.outer)
        os.close(self.inner)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    made.close()


Behaviour = Callable[[ServerConnection], None]


@contextlib.contextmanager
def api(tmp_path: Path, behave: Behaviour, *, refuse: http.HTTPStatus | None = None) -> Iterator[Connection]:
    """A WebSocket server, and a connection whose HTTP calls a fake answers."""
    paths: list[tuple[str, str]] = []

    def look(connection: ServerConnection, request):
        paths.append((request.path, request.headers.get("Authorization", "")))
        if refuse is None:
            return None
        body = '{"error": {"code": "x", "status": 403, "message": "Forbidden: this call needs console_access."}}'
        return connection.respond(refuse, body)

    server: Server = serve(behave, "127.0.0.1", 0, process_request=look)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    cli = Cli(tmp_path)
    port = server.socket.getsockname()[1]
    try:
        yield Connection(
            f"http://127.0.0.1:{port}", cli.credentials, httpx.MockTransport(cli.platform.handle), lambda _seconds: None
        )
    finally:
        server.shutdown()
        thread.join(SECONDS)
    assert [path for path, _ in paths] == [f"/compute/v1/vcenters/virtual_machines/{MACHINE}/consoles/serial"]
    assert paths[0][1].startswith("Bearer eyJ")


def attach(connection: Connection, screen: Screen) -> None:
    with (
        os.fdopen(os.dup(screen.inner)) as keyboard,
        os.fdopen(os.dup(screen.inner), "w") as display,
        pytest.MonkeyPatch.context() as patch,
        opened(connection) as found,
    ):
        patch.setattr(sys, "stdin", keyboard)
        patch.setattr(sys, "stdout", display)
        console.attach(found, MACHINE, "web-1")


@contextlib.contextmanager
def user(act: Callable[[], None]) -> Iterator[None]:
    """Somebody at the keyboard, while the block runs; what goes wrong there fails the test."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            failures.append(error)
            os.kill(os.getpid(), signal.SIGTERM)  # the block must not wait for keys that never come

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(SECONDS)
        if failures:
            raise failures[0]


def echo(line: ServerConnection) -> None:
    line.send(b"login: ")
    for message in line:
        line.send(message.upper() if isinstance(message, bytes) else message)


def test_keys_go_raw_and_ctrl_right_bracket_leaves(
    screen: Screen, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = screen.settings()
    during: list[list[object]] = []

    def act() -> None:
        screen.wait_for(b"login: ")
        during.append(screen.settings())
        screen.type(b"root\x03\x04\r")
        screen.wait_for(b"ROOT\x03\x04\r")
        screen.type(b"\x1d")

    with api(tmp_path, echo) as connection, user(act):
        attach(connection, screen)
    assert screen.settings() == before
    assert not during[0][3] & (termios.ECHO | termios.ICANON | termios.ISIG)  # type: ignore[operator]
    said = capfd.readouterr().err
    assert "Connected to web-1. Ctrl-] leaves" in said
    assert "the machine goes on" in said


def test_what_is_typed_before_the_escape_is_still_sent(screen: Screen, tmp_path: Path) -> None:
    got: list[bytes] = []

    def note(line: ServerConnection) -> None:
        line.send(b"ready")
        got.extend(message for message in line if isinstance(message, bytes))

    def act() -> None:
        screen.wait_for(b"ready")
        screen.type(b"halt\r\x1dnever")

    with api(tmp_path, note) as connection, user(act):
        attach(connection, screen)
    assert b"".join(got) == b"halt\r"


def test_much_output_arrives_whole_and_in_order(screen: Screen, tmp_path: Path) -> None:
    sent = b"".join(b"%06d " % number for number in range(30_000))

    def flood(line: ServerConnection) -> None:
        for start in range(0, len(sent), 10_000):
            line.send(sent[start : start + 10_000])

    with api(tmp_path, flood) as connection, user(lambda: screen.wait_for(b"029999 ")):
        attach(connection, screen)
    assert screen.seen == sent


def test_a_line_that_ends_gives_the_terminal_back(
    screen: Screen, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = screen.settings()
    with api(tmp_path, lambda line: line.send(b"bye")) as connection:
        attach(connection, screen)
    assert screen.settings() == before
    assert "The console ended" in capfd.readouterr().err


def test_a_line_that_is_refused_says_why(screen: Screen, tmp_path: Path) -> None:
    before = screen.settings()
    reason = "web-1 is stopped; power it on first"
    with (
        api(tmp_path, lambda line: line.close(console.REFUSED, reason)) as connection,
        pytest.raises(Failure, match=reason),
    ):
        attach(connection, screen)
    assert screen.settings() == before


def test_a_missing_permission_is_the_api_s_sentence(screen: Screen, tmp_path: Path) -> None:
    with (
        api(tmp_path, echo, refuse=http.HTTPStatus.FORBIDDEN) as connection,
        pytest.raises(Failure, match=r"^Forbidden: this call needs console_access\.$"),
    ):
        attach(connection, screen)
    assert screen.seen == b""


def test_nobody_there_is_said_before_the_terminal_is_touched(screen: Screen, tmp_path: Path) -> None:
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        cli = Cli(tmp_path)
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        connection = Connection(url, cli.credentials, httpx.MockTransport(cli.platform.handle))
        before = screen.settings()
        with pytest.raises(Unreachable, match="cannot be reached"):
            attach(connection, screen)
    assert screen.settings() == before


def test_being_told_to_end_gives_the_terminal_back(screen: Screen, tmp_path: Path) -> None:
    before = screen.settings()

    def act() -> None:
        screen.wait_for(b"login: ")
        os.kill(os.getpid(), signal.SIGTERM)

    with api(tmp_path, echo) as connection, user(act), pytest.raises(SystemExit) as left:
        attach(connection, screen)
    assert left.value.code == 128 + signal.SIGTERM
    assert screen.settings() == before
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_pipe_is_no_console(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.platform.lists["virtual_machines"] = [machine(10, "web-1")]
    assert "needs a terminal; `naos vm log`" in cli.refused("vm", "console", "web-1", stdin="root\n")
