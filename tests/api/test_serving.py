"""The HTTP server and the welcome pages (naos.api.serving, naos.api.app)."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_platform import Platform

from naos.api.app import create_app
from naos.audit.errors import AuditKeyUnusable
from naos.tenancy.errors import KeyUnusable

SERVER = """
    import sys
    from types import SimpleNamespace
    from fastapi import FastAPI
    from naos.api import errors
    from naos.api.authentication import require
    from naos.api.serving import serve
    from naos.identity import Identity
    from fastapi import Depends
    import time
    app = FastAPI()
    errors.install(app)
    app.state.services = SimpleNamespace(database=SimpleNamespace(is_sqlite=True))
    app.state.identify = lambda token, address: Identity("u", "t", "o", frozenset(), "p")

    @app.get("/guarded", dependencies=[Depends(require("tag_read"))])
    def guarded() -> str:
        return ""

    @app.get("/slow")
    def slow() -> str:
        print("slow has begun", flush=True)
        time.sleep(0.5)
        return "done"

    @app.get("/client")
    def client(request: errors.Request) -> str:
        return request.client.host

    serve(app, fd=int(sys.argv[1]), host="", port=0)
"""


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process on an inherited socket of the loopback; the queue holds calls until it is up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SERVER), str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            text=True,
        )
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield process, address
    if process.poll() is None:
        process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()


def test_an_inherited_socket_is_served_and_a_running_call_is_finished(
    server: tuple[subprocess.Popen[str], str],
) -> None:
    process, address = server
    answer = httpx.get(f"{address}/guarded", headers={"Authorization": "Bearer x"}, timeout=30)
    assert (answer.status_code, answer.reason_phrase) == (403, "Forbidden")
    assert "server" not in answer.headers
    forwarded = httpx.get(f"{address}/client", headers={"X-Forwarded-For": "192.0.2.1"}, timeout=30)
    assert forwarded.json() == "127.0.0.1"
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=30) as call:
        call.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert process.stdout
        assert process.stdout.readline() == "slow has begun\n"
        process.send_signal(signal.SIGTERM)
        received = b""
        while chunk := call.recv(4096):
            received += chunk
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b'"done"')
    assert process.wait(timeout=30) in {0, -signal.SIGTERM}


def test_health_needs_no_token(platform: Platform) -> None:
    for path in ("/health", "/api/health"):
        answer = platform.anyone.get(path)
        assert answer.json()["status"] == "ok"
        assert answer.json()["controller"] == "controller-1"
        assert answer.json()["version"]


def test_the_welcome_points_at_the_documentation(platform: Platform) -> None:
    assert platform.anyone.get("/").json()["documentation"] == "/docs"
    page = platform.anyone.get("/", headers={"Accept": "text/html"})
    assert 'href="/docs"' in page.text


def test_the_documentation_needs_no_other_host(platform: Platform) -> None:
    page = platform.anyone.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    script = page.split('src="')[1].split('"')[0]
    assert platform.anyone.get(script).status_code == 200


def test_the_api_does_not_start_with_a_key_that_others_can_read(platform: Platform, tmp_path: Path) -> None:
    keys = list((tmp_path / "keys").glob("*.key"))
    assert len(keys) >= 2  # one signs sessions, one seals the audit log
    for key in keys:
        key.chmod(0o644)
        with pytest.raises((KeyUnusable, AuditKeyUnusable)):
            create_app(platform.services)
        key.chmod(0o600)
    create_app(platform.services)
