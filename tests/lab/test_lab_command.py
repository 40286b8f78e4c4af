"""`naos lab` from end to end, with the real controller in it."""

import os
import socket
import uuid

import pytest
from typer.testing import CliRunner

from naos.catalogue.images import tiny
from naos.cli.main import app
from naos.engines.hosts import netns
from naos.lab import build

pytestmark = pytest.mark.lab


@pytest.fixture
def root(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("c") / "r"
    monkeypatch.setenv("NAOS_ROOT", str(folder))
    for name in ("NAOS_URL", "NAOS_CREDENTIALS", "NAOS_DATABASE_URL", "NAOS_RATE_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    build.down(folder)


def naos(*words, code=0):
    """What the command says on both streams."""
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def test_without_a_lab(root):
    for words in (
        ("status",),
        ("kill", "az05-blade1"),
        ("cut", "AZ05"),
        ("start", "controller"),
        ("stop", "controller"),
    ):
        assert f"There is no lab in {root}" in naos("lab", *words, code=1)
    assert "There is no lab" in naos("lab", "down", "--yes")
    assert "from 1 to 32" in naos("lab", "up", "--blades", "33", code=1)
    assert not root.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")
def test_a_lab_by_its_commands(root, tmp_path, monkeypatch):
    # What cannot boot was proved not to boot: the answer is tcg, on every machine. The proof itself has tests of its own.
    (tmp_path / "nothing").touch()
    monkeypatch.setattr(tiny, "build_probe_kernel", lambda _cache: (tmp_path / "nothing", tmp_path / "nothing"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    name = f"c{uuid.uuid4().hex[:8]}"
    chosen = ("--zones", "1", "--blades", "1", "--name", name, "--range", "10.214.0.0/16", "--port", port)
    said = naos("lab", "up", *chosen)
    assert f"http://127.0.0.1:{port}" in said
    assert "acceleration: tcg" in said
    assert f"{root}/credentials" in said
    assert "az05-blade1" in naos("lab", "status")
    api = ("--url", f"http://127.0.0.1:{port}", "--credentials", f"{root}/credentials")
    assert "AZ05" in naos(*api, "zone", "list")
    naos("lab", "kill", "controller")
    naos("lab", "cut", "az05-blade1")
    shown = naos("lab", "status", code=1).splitlines()
    assert next(line for line in shown if line.startswith("az05-blade1")).split() == [
        *("az05-blade1", "blade", "AZ05", "10.214.1.11", "on", "cut", "listens")
    ]
    assert next(line for line in shown if line.startswith("controller")).split()[2:] == ["10.214.0.1", "off", "joined"]
    assert "no such-blade" in naos("lab", "kill", "such-blade", code=1)
    naos("lab", "up")
    naos("lab", "status")
    assert "AZ06" in naos(*api, "zone", "list")
    naos("lab", "down", "--yes")
    assert not root.exists()
    assert [found for found in netns.names() if found.startswith(f"naos-{name}-")] == []
