"""Bits that change on the array's medium: met in an image's tables they are told, and nothing false is served."""

import os
import struct
import uuid
from pathlib import Path

import pytest
from array_rig import MIB, Rig, available

from naos.engines.array.errors import DaemonRefused
from naos.engines.errors import CommandFailed
from naos.engines.ports import ExportedDisk, Provisioning

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]
OFFSET = (1 << 56) - 512  # the bits of a table's entry that say where something is


@pytest.fixture
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("a"))
    yield made
    made.close()


def path_of(rig, lun, disk_id) -> str:
    return f"{rig.folder}/{lun.id}/files/disks/{disk_id}.qcow2"


def file_of(rig, path) -> Path:
    """The same file, seen from here."""
    return Path(f"/proc/{rig.host.holder.pid}/root{path}")


def word(rig, path, offset) -> int:
    """Eight bytes of a file there, as the tables have them."""
    with file_of(rig, path).open("rb") as file:
        file.seek(offset)
        return struct.unpack(">Q", file.read(8))[0]


def flip(rig, path, offset) -> None:
    """One bit of the byte there."""
    with file_of(rig, path).open("r+b") as file:
        file.seek(offset)
        present = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([present ^ 0x02]))
        file.flush()
        os.fsync(file.fileno())


def test_a_flipped_bit_in_a_disks_tables_is_met_told_and_never_served(rig):
    lun, hit, sound = rig.lun(), str(uuid.uuid4()), str(uuid.uuid4())
    for disk_id in (hit, sound):
        rig.array.create_disk(lun, disk_id, 64 * MIB, Provisioning.DYNAMIC)
        rig.fill(rig.array.export_disk(lun, disk_id, 1), 0x5A, 0, 4 * MIB)
    rig.array.fence_disk(lun.id, hit)
    path = path_of(rig, lun, hit)
    first = word(rig, path, word(rig, path, 40)) & OFFSET  # where the table of the first 512 MiB is
    flip(rig, path, first + 6)  # an entry's offset is no cluster's any more
    with pytest.raises(CommandFailed):
        rig.host.run(["qemu-img", "check", path])
    address = rig.array.export_disk(lun, hit, 2)
    assert rig.array.contents(lun.id).damaged == []
    done = rig.io(address, "read -P 0x5a 0 65536", check=False)
    assert "read failed: Input/output error" in done.stdout + done.stderr
    found = rig.array.contents(lun.id)
    assert (found.damaged, dict(found.exports)) == ([hit], {sound: 1})
    assert found.foreign == []
    other = rig.array.export_disk(lun, sound, 2)
    assert rig.holds(other, 0x5A, 0, 4 * MIB), "its neighbour is served on"
    for _ in range(2):
        with pytest.raises(DaemonRefused, match="corrupt"):
            rig.array.ensure_daemon(lun, [ExportedDisk(hit, 2), ExportedDisk(sound, 2)])
        assert rig.holds(other, 0x5A, 0, 4 * MIB)
        rig.host.kill_daemon(lun.id)
    rig.array.ensure_daemon(lun, [])
    rig.array.delete_disk(lun.id, hit)
    assert rig.array.contents(lun.id).damaged == []
