"""The lab's controller: where it runs, who reaches it, and how it ends."""

import contextlib
import http.client
import os
import subprocess
import sys

import pytest
from lab_rig import ONE, PORT, standing_lab, wait_for

from naos.engines.hosts import processes
from naos.lab import build, controller, errors, faults
from naos.lab.plan import default_plan

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """One lab for all tests, which leave it whole."""
    with standing_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


SERVER = """
import http.server, os, socket, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        try:
            with socket.create_connection((self.path[1:], 16509), 2):
                self.wfile.write(b'reached %d' % os.getpid())
        except OSError as error:
            self.wfile.write(str(error).encode())
    def log_message(self, *_words):
        pass
server = http.server.HTTPServer(('127.0.0.1', 0), Answer, bind_and_activate=False)
server.socket = socket.socket(fileno=int(sys.argv[2]))
print('begins with', os.environ['NAOS_INVENTORY'], flush=True)
server.serve_forever()
"""


def asked(path):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_a_controller_is_reached_from_outside_and_reaches_the_lab(lab):
    """With a small server in the controller's place: what counts here is where it runs and who holds its socket."""
    command = (sys.executable, "-c", SERVER)
    process = controller.start(lab.root, command=command)
    try:
        assert controller.start(lab.root, command=command) == process
        assert lab.part("controller").state == "on"
        address = lab.machine(ONE).cable.address
        assert asked(f"/{address}") == f"reached {process.pid}"
        faults.cut(lab.root, "controller")
        assert "reached" not in asked(f"/{address}")
        lab.up()
        wait_for(lambda: asked(f"/{address}") == f"reached {process.pid}", "neighbours find each other again")
        assert str(lab.root / "inventory.toml") in (lab.root / "controller.log").read_text()
        faults.kill(lab.root, "controller")
        assert not processes.alive(process)
        again = controller.start(lab.root, command=command)
        assert again != process
    finally:
        assert controller.stop(lab.root)
    assert not processes.alive(again)
    assert not controller.stop(lab.root)
    assert lab.part("controller").state == "off"


def test_a_controller_that_does_not_start_says_why(lab):
    with pytest.raises(errors.ControllerFailed, match="no inventory today"):
        controller.start(lab.root, command=(sys.executable, "-c", "raise SystemExit('no inventory today')"))
    assert not controller.stop(lab.root)


def test_a_taken_port_is_named(lab):
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", "-b", "127.0.0.1", str(PORT)], stderr=subprocess.DEVNULL
    ) as taker:
        try:
            wait_for(asks_without_refusal, "the port is taken")
            with pytest.raises(errors.PortTaken, match=rf"{PORT}.*process {taker.pid}\)"):
                controller.start(lab.root)
            with pytest.raises(errors.PortTaken, match=rf"process {taker.pid}\)"):
                build.up(lab.root.parent / "second", default_plan(name="second", network="10.216.0.0/16"), port=PORT)
        finally:
            taker.kill()
    assert not (lab.root.parent / "second").exists()


def asks_without_refusal():
    with contextlib.suppress(OSError):
        return bool(asked("/"))
    return False
