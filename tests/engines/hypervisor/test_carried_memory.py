"""Saved memory on its way to an export and back, without a guest; what libvirt is asked for, and what is made of a saved definition."""

import hashlib
import os
import shutil
import socket
import subprocess
import time

import pytest

from naos.engines.errors import CommandFailed, EngineError, Missing, NoSpace
from naos.engines.hypervisor import memory, xml
from naos.engines.ports import Completed, NbdAddress
from naos.inventory.certificates import issue
from naos.inventory.model import Inventory
from naos.units import MIB, TIB

MEMORY = "0b0e1f5c-2f8e-4b55-9f25-7a3b5a6f0d11"
needs_tools = pytest.mark.skipif(
    not (shutil.which("qemu-img") and shutil.which("qemu-storage-daemon")), reason="needs QEMU's tools"
)


class Here:
    """This machine as a host."""

    name = "blade1"

    def run(self, argv, *, stdin=b"", timeout=30.0, check=True):
        done = subprocess.run(argv, input=stdin, timeout=timeout, capture_output=True, check=False)
        if check and done.returncode != 0:
            raise CommandFailed(self.name, argv[0], done.stderr.decode())
        return Completed(done.returncode, done.stdout.decode(), done.stderr.decode())


def _inventory():
    access = {"driver": "ssh", "target": "root@none"}
    chassis, fabric = {"driver": "lab", "address": "/none"}, {"driver": "trunk", "device": "bond0"}
    blade = {"name": "blade1", "zone": "Z1", "model": "LAB v1", "hypervisor": "test:///", "access": access}
    place = {"address": "127.0.0.1", "backing": "file", "path": "/srv/luns", "capacity": 10**12}
    return Inventory.model_validate(
        {
            "regions": [{"name": "R", "zones": [{"name": "Z1"}]}],
            "blades": [{**blade, "chassis": chassis, "fabric": fabric}],
            "arrays": [{"name": "array1", "zone": "Z1", "access": access, **place}],
        }
    )


@pytest.fixture(params=["clear", "tls"])
def export(request, tmp_path, monkeypatch):
    """Where a disk of 4 MiB is served, to those who may."""
    monkeypatch.setattr(memory, "FOLDER", str(tmp_path / "blade"))
    monkeypatch.setattr(memory, "_CONFIGURATION", str(tmp_path / "qemu.conf"))
    (tmp_path / "blade").mkdir()
    image, certificates = tmp_path / "disk", tmp_path / "certificates"
    image.write_bytes(b"x" * 4 * MIB)  # what an earlier attempt left
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words, more = [], ""
    if request.param == "tls":
        list(issue(_inventory(), certificates))
        (tmp_path / "qemu.conf").write_text(f'nbd_tls_x509_cert_dir = "{certificates}/blades/blade1"\n')
        words = ["--object", f"tls-creds-x509,id=t,endpoint=server,verify-peer=on,dir={certificates}/arrays/array1"]
        more = ",tls-creds=t"
    daemon = subprocess.Popen(
        ["qemu-storage-daemon", *words, "--blockdev", f"driver=file,node-name=d,filename={image}",
         "--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}{more}",
         "--export", "type=nbd,id=e,node-name=d,name=disk.1,writable=on",
         "--pidfile", str(tmp_path / "pid")],
    )  # fmt: skip
    try:
        end = time.monotonic() + 20
        while not (tmp_path / "pid").exists() and time.monotonic() < end:
            time.sleep(0.02)
        yield NbdAddress("127.0.0.1", port, "disk.1", tls=request.param == "tls")
    finally:
        daemon.kill()
        daemon.wait()


@needs_tools
def test_memory_arrives_as_it_was(export, tmp_path):
    host, place = Here(), tmp_path / "blade" / f"{MEMORY}.memory"
    with pytest.raises(Missing):
        memory.send(host, MEMORY, export)
    saved = os.urandom(MIB) + b"\0" * MIB + os.urandom(700_001)
    place.write_bytes(saved)
    checksum = hashlib.sha256(saved).hexdigest()
    for _ in range(2):
        assert memory.send(host, MEMORY, export) == checksum
    memory.drop(host, MEMORY)
    assert list(place.parent.iterdir()) == []
    with pytest.raises(EngineError, match="damaged"):
        memory.fetch(host, MEMORY, export, len(saved), hashlib.sha256(saved[:-1]).hexdigest())
    assert list(place.parent.iterdir()) == []
    for known in (checksum, ""):
        memory.fetch(host, MEMORY, export, len(saved), known)
    assert place.read_bytes() == saved
    memory.drop(host, MEMORY)
    with pytest.raises(NoSpace, match="are free"):
        memory.fetch(host, MEMORY, export, 10_000 * TIB, checksum)
    with pytest.raises(EngineError, match="carrying memory"):
        memory.fetch(host, MEMORY, NbdAddress(export.host, export.port, "disk.2", export.tls), len(saved), checksum)
    assert not place.exists()


def test_the_memory_alone_is_asked_for():
    live = xml.parse(
        "<domain><devices><disk><target dev='vda'/></disk><disk><target dev='sda'/></disk></devices></domain>"
    )
    assert memory.request(live, "/m") == (
        '<domainsnapshot><memory snapshot="external" file="/m"/>'
        '<disks><disk name="vda" snapshot="no"/><disk name="sda" snapshot="no"/></disks></domainsnapshot>'
    )


def test_what_was_saved_finds_its_disks_and_networks_where_they_are_now():
    """A device of somebody else, and all that the guest sees, stays as it was."""
    saved = xml.parse(
        "<domain><devices>"
        "<disk><source protocol='nbd' name='a.1'/><target dev='vda' bus='virtio'/><alias name='ua-a'/></disk>"
        "<disk device='cdrom'><source file='/old.iso'/><target dev='hda'/><alias name='ua-c'/></disk>"
        "<interface><source bridge='nv7'/><link state='up'/><mac address='02:4e:00:00:00:01'/><alias name='ua-n'/></interface>"
        "<interface><source bridge='theirs'/></interface>"
        "<graphics type='vnc' listen='10.0.0.1' passwd='secret'><listen type='address' address='10.0.0.1'/></graphics>"
        "</devices></domain>"
    )
    present = xml.parse(
        "<domain><devices>"
        "<disk><source protocol='nbd' name='a.5'/><target dev='vda' bus='virtio'/><alias name='ua-a'/></disk>"
        "<disk device='cdrom'><target dev='hda'/><alias name='ua-c'/></disk>"
        "<interface><source bridge='nv9'/><link state='down'/><alias name='ua-n'/></interface>"
        "</devices></domain>"
    )
    memory.fit(saved, present, xml.Traits("tcg", "10.0.0.2"))
    text = xml.render(saved)
    assert [disk.get("name") for disk in saved.iterfind("devices/disk/source")] == ["a.5"]
    assert [found.get("bridge") for found in saved.iterfind("devices/interface/source")] == ["nv9", "theirs"]
    assert ('state="down"' in text, "10.0.0.1" in text, 'passwd="secret"' in text) == (True, False, True)
    assert "02:4e:00:00:00:01" in text
