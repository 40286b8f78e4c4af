"""The inventory check over a real SSH connection, on this machine as a vault: what it asks, a plain host answers."""

import os
import socket
from pathlib import Path

import pytest
from host_rig import SshServer

from naos.engines.check import check_inventory
from naos.engines.check.inspection import Doors
from naos.inventory.model import Inventory

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with SshServer(tmp_path_factory.mktemp("sshd")) as made:
        yield made


def checked(server, folder):
    access = {"driver": "ssh", "target": "root@unused"}
    document = {
        "regions": [{"name": "R", "zones": [{"name": "Z"}]}],
        "vaults": [{"name": "vault", "zone": "Z", "access": access, "path": str(folder)}],
    }
    doors = Doors(lambda _name, _access: server.host(), pytest.fail, pytest.fail)
    [report] = check_inventory(Inventory.model_validate(document), models={}, doors=doors)
    return report


def test_a_plain_host_over_ssh(server, tmp_path):
    report = checked(server, tmp_path)
    assert report.faults == []
    assert report.reached
    assert report.facts["kernel"] == os.uname().release
    assert report.facts["hostname"] == socket.gethostname()
    assert abs(report.facts["clock"]) < 60
    assert report.facts["disk"] > 0
    assert report.facts["memory_in_all"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_folder_that_is_not_there(server, tmp_path):
    faults = checked(server, tmp_path / "nowhere").faults
    assert [fault.what for fault in faults] == ["folder", "disk"]


def test_an_ssh_server_that_went_away(tmp_path):
    with SshServer(tmp_path) as server:
        pass
    report = checked(server, Path("/"))
    assert not report.reached
    assert [fault.what for fault in report.faults] == ["contact"]
    assert "refused" in report.faults[0].sentence
