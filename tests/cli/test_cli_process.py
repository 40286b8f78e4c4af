"""The command as a process of its own, over real HTTP: uploads, Ctrl-C, the progress bar, a closed pipe."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_platform import Cli, machine

PROGRAM = [sys.executable, "-c", "from naos.cli.main import main; main()"]
SECONDS = 30.0


@contextlib.contextmanager
def served(cli: Cli) -> Iterator[dict[str, str]]:
    """The fake platform on a port; the environment of a command that uses it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = f"http://127.0.0.1{self.path}"
            answer = cli.platform.handle(
                httpx.Request(self.command, url, headers=list(self.headers.items()), content=content)
            )
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield {
            **os.environ,
            "NAOS_URL": f"http://127.0.0.1:{server.server_port}",
            "NAOS_CREDENTIALS": str(cli.credentials),
            "HTTP_PROXY": "http://127.0.0.1:1",  # a proxy of the machine is not for its own ports
            "TERM": "xterm",
            "COLUMNS": "100",
        }
    finally:
        server.shutdown()
        server.server_close()
        thread.join(SECONDS)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.platform.lists["virtual_machines"] = [machine(10, "web-1")]
    return made


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["vm", "--help"], "Usage: naos vm "),
        (["--help"], "volume"),
        (["--url", "http://127.0.0.1:1", "vm", "move", "--help"], "Usage: naos vm move "),
        (["volumes", "list"], "Did you mean 'volume'"),
        (["vm", "lost"], "Did you mean 'list'"),
    ],
)
def test_a_noun_that_is_asked_for_alone_says_what_all_of_them_say(words: list[str], says: str) -> None:
    done = subprocess.run(
        [*PROGRAM, *words], env={**os.environ, "COLUMNS": "100"}, capture_output=True, text=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert says in done.stdout + done.stderr


def test_an_upload_streams_over_a_real_connection(cli: Cli, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(os.urandom(5 * 2**20 + 3))
    with served(cli) as environment:
        done = subprocess.run(
            [*PROGRAM, "template", "add", "big", str(image)],
            env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert cli.bodies()[0][2] == image.read_bytes()
    assert done.stderr == "Added template big.\n"


def test_ctrl_c_leaves_the_activity_running(cli: Cli) -> None:
    cli.platform.story = cli.platform.story[:2]
    seen = threading.Event()

    def before(request: httpx.Request) -> None:
        if "/activities/" in request.url.path:
            seen.set()

    cli.platform.before = before
    with served(cli) as environment:
        mine = signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # it may be ignored here, as behind nohup, and would be there
        try:
            command = subprocess.Popen(
                [*PROGRAM, "vm", "start", "web-1"], env=environment, stderr=subprocess.PIPE, text=True
            )
        finally:
            signal.signal(signal.SIGINT, mine)
        try:
            assert seen.wait(SECONDS)
            command.send_signal(signal.SIGINT)
            _, said = command.communicate(timeout=SECONDS)
        finally:
            command.kill()
    (activity,) = cli.platform.activities
    assert command.returncode == 130
    assert said == f"The activity goes on without you; watch it with `naos activity watch {activity}`.\n"
    assert len(cli.platform.writes()) == 1


def test_a_terminal_sees_how_far_it_is(cli: Cli) -> None:
    cli.platform.story[1:1] = [cli.platform.story[1]] * 3
    outer, inner = pty.openpty()
    with served(cli) as environment:
        command = subprocess.Popen([*PROGRAM, "vm", "start", "web-1"], env=environment, stdout=inner, stderr=inner)
        os.close(inner)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a pty is an error of its own
            while chunk := os.read(outer, 4096):
                shown += chunk
        assert command.wait(SECONDS) == 0
    os.close(outer)
    assert b"Power: copy" in shown
    assert "━".encode() in shown
    assert b"web-1 runs." in shown


def test_a_reader_that_has_enough_is_no_crash(cli: Cli) -> None:
    cli.platform.lists["virtual_machines"] = [machine(number, f"vm-{number}") for number in range(1000)]
    with served(cli) as environment:
        command = subprocess.Popen(
            [*PROGRAM, "vm", "list"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert command.stdout is not None
        command.stdout.close()
        _, said = command.communicate(timeout=SECONDS)
    assert b"Traceback" not in said
