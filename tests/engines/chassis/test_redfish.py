"""Power over Redfish, against the OpenStack project's emulator of a management controller, over TLS with a password."""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from naos.engines.chassis.redfish import RedfishChassis
from naos.engines.errors import EngineError, Missing, Unreachable, Unsupported
from naos.engines.ports import BladePower

pytestmark = pytest.mark.skipif(importlib.util.find_spec("sushy_tools") is None, reason="sushy-tools is not installed")
ONE, TWO = "5b0c1f0a-54c5-4f83-9f0c-6e1a8f0d3c11", "c3a2a9de-7f5e-4d09-9e0a-8f2b7d6e5a22"
# The emulator's machines take up to 11 s for a change of power; here they take a second at most.
EMULATOR = (
    "import random, sys; random.randint = lambda low, high: low; from sushy_tools.emulator.main import main; main()"
)


class Emulator:
    def __init__(self, folder, systems):
        import bcrypt

        self.folder = folder
        self.certificate, key = folder / "certificate.pem", folder / "key.pem"
        subject = ["-subj", "/CN=emulator", "-addext", "subjectAltName=IP:127.0.0.1"]
        making = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]
        subprocess.run([*making, *subject, "-out", self.certificate, "-keyout", key], check=True, capture_output=True)
        self.credentials = folder / "credentials"
        self.credentials.write_text("admin:pass:word\n")
        hashed = bcrypt.hashpw(b"pass:word", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$", 1)
        (folder / "users").write_text(f"admin:{hashed}\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        machines = [{"uuid": uuid, "name": name, "power_state": "Off", "nics": []} for uuid, name in systems]
        settings = {
            "LISTEN_IP": "127.0.0.1",
            "LISTEN_PORT": self.port,
            "SSL_CERT": str(self.certificate),
            "SSL_KEY": str(key),
            "AUTH_FILE": str(folder / "users"),
            "STATE_DIR": str(folder),
            "FAKE_SYSTEMS": machines,
        }
        lines = [f"SUSHY_EMULATOR_{name} = {json.loads(json.dumps(value))!r}\n" for name, value in settings.items()]
        (folder / "config.py").write_text("".join([*lines, "SUSHY_EMULATOR_FAKE_DRIVER = True\n"]))

    def __enter__(self):
        argv = [sys.executable, "-c", EMULATOR, "--config", str(self.folder / "config.py")]
        environment = os.environ | {"TMPDIR": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment)
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.05)
        self.__exit__()
        raise AssertionError((self.folder / "log").read_text())

    def __exit__(self, *_exc):
        self.process.kill()
        self.process.wait()

    @property
    def address(self):
        return f"https://127.0.0.1:{self.port}"

    def chassis(self, system=ONE, **options):
        options = {"sleep": lambda _seconds: time.sleep(0.05), "change": 20.0} | options
        return RedfishChassis("blade1", self.address, system, self.credentials, **options)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    with Emulator(tmp_path_factory.mktemp("redfish"), [(ONE, "one"), (TWO, "two")]) as made:
        yield made


@pytest.fixture(autouse=True)
def _trusted(emulator, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(emulator.certificate))


def test_on_and_off(emulator):
    chassis = emulator.chassis()
    assert chassis.power() is BladePower.OFF
    chassis.off()
    chassis.on()
    assert chassis.power() is BladePower.ON
    chassis.on()
    assert emulator.chassis(TWO).power() is BladePower.OFF
    chassis.off()
    assert chassis.power() is BladePower.OFF
    chassis.close()


def test_a_reset_is_off_and_on(emulator):
    chassis = emulator.chassis(TWO)
    chassis.reset()
    assert chassis.power() is BladePower.ON
    seen = []
    order = chassis._order
    chassis._order = lambda found, word: (seen.append(word), order(found, word))
    chassis.reset()
    assert seen == ["ForceOff", "On"]
    assert chassis.power() is BladePower.ON


def test_a_blade_that_does_not_get_there_in_time(emulator):
    """Whoever waits for the power to be cut must not hear that it is."""
    chassis = emulator.chassis(ONE)
    chassis.on()
    hasty = emulator.chassis(ONE, change=0.0)
    hasty._order = lambda _found, _word: None
    with pytest.raises(Unreachable, match="is not off 0 s after ForceOff"):
        hasty.off()
    assert chassis.power() is BladePower.ON


def test_the_only_system_needs_no_name(emulator, tmp_path, monkeypatch):
    with pytest.raises(Missing, match="its service has 2; give `system`"):
        emulator.chassis("").power()
    with Emulator(tmp_path, [(ONE, "one")]) as alone:
        monkeypatch.setenv("SSL_CERT_FILE", str(alone.certificate))
        assert alone.chassis("").power() is BladePower.OFF


@pytest.mark.parametrize("system", ["nothing", "../Managers", "a b/c?d#e", "%2e%2e"])
def test_systems_that_are_not_there(emulator, system):
    with pytest.raises(Missing, match="check `system`"):
        emulator.chassis(system).power()


@pytest.mark.parametrize("text", ["admin:wrong", "nobody:pass:word", ":"])
def test_wrong_credentials(emulator, tmp_path, text):
    file = tmp_path / "credentials"
    file.write_text(text)
    with pytest.raises(EngineError, match=f"refuses the credentials in {file}"):
        RedfishChassis("blade1", emulator.address, ONE, file).power()


def test_credentials_that_cannot_be_read(emulator, tmp_path):
    with pytest.raises(EngineError, match="No such file"):
        RedfishChassis("blade1", emulator.address, ONE, tmp_path / "none").power()
    (tmp_path / "some").write_text("admin")
    with pytest.raises(EngineError, match="does not hold user:password"):
        RedfishChassis("blade1", emulator.address, ONE, tmp_path / "some").power()


def test_a_changed_password_is_taken_up(emulator, tmp_path):
    file = tmp_path / "credentials"
    file.write_text("admin:old")
    chassis = RedfishChassis("blade1", f"{emulator.address}/redfish/v1/", ONE, file)
    with pytest.raises(EngineError, match="refuses"):
        chassis.power()
    file.write_text("admin:pass:word")
    assert chassis.power() in {BladePower.ON, BladePower.OFF}


def test_a_certificate_that_nobody_vouches_for(emulator, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        emulator.chassis().power()


def test_nobody_answers(emulator):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    chassis = RedfishChassis("blade1", f"https://127.0.0.1:{port}", ONE, emulator.credentials)
    with pytest.raises(Unreachable, match="refused"):
        chassis.power()
    with pytest.raises(Unreachable, match="refused"):
        chassis.off()


@pytest.mark.parametrize("address", ["http://bmc", "bmc", "https://", "https://bmc/other", "ftp://bmc/redfish/v1"])
def test_addresses_that_are_refused(emulator, address):
    with pytest.raises(Unsupported, match="https://address"):
        RedfishChassis("blade1", address, ONE, emulator.credentials)
