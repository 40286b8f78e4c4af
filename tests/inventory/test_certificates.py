"""Certificates of the storage network."""

import shutil
import subprocess
from pathlib import Path

import pytest

from naos.inventory.certificates import issue
from naos.inventory.model import Inventory

INVENTORY = Inventory.model_validate(
    {
        "regions": [{"name": "R", "zones": [{"name": "Z1"}]}],
        "blades": [
            {
                "name": "blade1",
                "zone": "Z1",
                "model": "ECO v3",
                "hypervisor": "qemu+tls://blade1/system",
                "access": {"driver": "ssh", "target": "root@blade1"},
                "chassis": {"driver": "redfish", "address": "https://bmc"},
                "fabric": {"driver": "trunk", "device": "bond0"},
            }
        ],
        "arrays": [
            {
                "name": "array1",
                "zone": "Z1",
                "access": {"driver": "ssh", "target": "root@array1"},
                "address": "10.9.1.2",
                "backing": "file",
                "path": "/srv/luns",
                "capacity": 10**12,
                "tls": "/etc/naos/nbd",
            }
        ],
    }
)


def made(folder: Path) -> dict[str, tuple[str, ...]]:
    return {issued.host: issued.purposes for issued in issue(INVENTORY, folder)}


def test_every_host_gets_what_it_needs_once(tmp_path: Path) -> None:
    folder = tmp_path / "authority"
    assert made(folder) == {"blade1": ("client",), "array1": ("server", "client")}
    assert made(folder) == {"blade1": (), "array1": ()}
    server = folder / "arrays/array1/server-cert.pem"
    before = server.read_bytes()
    server.unlink()
    assert made(folder) == {"blade1": (), "array1": ("server",)}
    assert server.read_bytes() != before
    assert {path.name for path in (folder / "blades/blade1").iterdir()} == {
        "ca-cert.pem",
        "client-cert.pem",
        "client-key.pem",
    }
    assert b"DH PARAMETERS" in (folder / "arrays/array1/dh-params.pem").read_bytes()
    keys = [*folder.rglob("*-key.pem")]
    assert len(keys) == 4
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


def test_another_hosts_or_anothers_authoritys_certificate_is_replaced(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    made(ours)
    made(theirs)
    shutil.copy(ours / "arrays/array1/client-cert.pem", ours / "blades/blade1/client-cert.pem")
    shutil.copy(theirs / "arrays/array1/server-cert.pem", ours / "arrays/array1/server-cert.pem")
    assert made(ours) == {"blade1": ("client",), "array1": ("server",)}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_another_program_finds_them_good(tmp_path: Path) -> None:
    made(tmp_path)
    for purpose, path in (("sslserver", "arrays/array1/server"), ("sslclient", "blades/blade1/client")):
        argv = ["openssl", "verify", "-purpose", purpose, "-CAfile", tmp_path / "ca-cert.pem"]
        subprocess.run([*argv, tmp_path / f"{path}-cert.pem"], check=True, capture_output=True)
