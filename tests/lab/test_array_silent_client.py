"""Clients of a volume that say nothing more in the middle of a request, as a host does that is cut off or stands still: the volume's
other clients do not wait for them."""

import time

import pytest
from array_rig import MIB, Rig, available

from naos.engines.array import silent_clients
from naos.engines.ports import Provisioning

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not available(), reason="needs root and QEMU's tools"),
]

CLIENT = """
import socket, struct, sys, time
host, port, name, way = sys.argv[1:]
line = socket.create_connection((host, int(port)))
line.recv(18, socket.MSG_WAITALL)
line.sendall(struct.pack(">IQII", 3, 0x49484156454F5054, 1, len(name)) + name.encode())  # NBD_OPT_EXPORT_NAME
line.recv(10, socket.MSG_WAITALL)
def ask(kind, length):
    line.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 7, 0, length))
if way == "half a write":
    ask(1, 2**20)
    line.sendall(bytes(2**16))
if way == "answers that are not read":
    for _ in range(16):
        ask(0, 2**22)
print("silent", flush=True)
time.sleep(600)
"""


@pytest.fixture
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("a"))
    yield made
    made.close()


@pytest.mark.parametrize("way", ["half a write", "answers that are not read"])
def test_a_silent_client_is_cut_off_where_others_would_wait_for_it(rig, monkeypatch, way):
    monkeypatch.setattr(silent_clients, "PATIENCE", 1.0)
    lun = rig.lun()
    disks = ["5c0d5dbb-9d57-4f55-b3d5-8c9e1e1f0001", "5c0d5dbb-9d57-4f55-b3d5-8c9e1e1f0002"]
    addresses = []
    for disk_id in disks:
        rig.array.create_disk(lun, disk_id, 64 * MIB, Provisioning.DYNAMIC)
        addresses.append(rig.array.export_disk(lun, disk_id, 1))
    rig.fill(addresses[0], 3, 0, MIB)
    where = (addresses[0].host, str(addresses[0].port), addresses[0].name)
    client = rig.host.spawn("python3", "-c", CLIENT, *where, way)
    assert client.stdout.readline() == b"silent\n"
    time.sleep(0.5)
    rig.array.snapshot_disks(lun, "5c0d5dbb-9d57-4f55-b3d5-8c9e1e1f0003", disks)
    for address, disk_id in zip(addresses, disks, strict=True):
        rig.fill(address, 4, 2 * MIB, MIB)
        assert rig.array.disk(lun.id, disk_id).snapshots
    assert rig.holds(addresses[0], 3, 0, MIB)
    client.kill()
    client.wait()
