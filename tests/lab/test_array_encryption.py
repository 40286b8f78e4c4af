"""Encrypted volumes: whatever is done to their disks, nothing of it is on the array's own disks in clear."""

import json
import os
import subprocess
import uuid
from dataclasses import replace

import pytest
from array_rig import MIB, Rig, an_image, available

from naos.engines.array import encryption
from naos.engines.errors import CommandFailed, EngineError
from naos.engines.ports import DiskCopy, ExportedDisk, Provisioning

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]
KEY = os.urandom(32)
TEMPLATE, OLD, NEW, OTHER = 0x71, 0x5A, 0x6B, 0x3C  # bytes that are looked for in clear
THIN = Provisioning.DYNAMIC


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("a"))
    yield made
    made.close()


def an_id() -> str:
    return str(uuid.uuid4())


def in_clear(rig, lun) -> set[int]:
    """Which of the bytes lie on the volume's own blocks as they were written, 4 KiB in a row; nothing is left in caches."""
    rig.host.run(["sync"], timeout=60)
    found = set()
    with (rig.folder / lun.id / "volume").open("rb") as blocks:
        while piece := blocks.read(16 * MIB):
            found |= {byte for byte in (TEMPLATE, OLD, NEW, OTHER) if bytes([byte]) * 4096 in piece}
    return found


def checked(rig, lun, disk_id) -> None:
    """The image is whole; it is read with the key alone."""
    path = f"{rig.folder}/{lun.id}/files/disks/{disk_id}.qcow2"
    words = ("qemu-img", "check", "--object", encryption.OBJECT, encryption.file_name(path))
    rig.host.run(("sh", "-c", 'cat | "$@"', "k", *words), stdin=encryption.encoded(lambda: KEY).encode())
    with pytest.raises(CommandFailed, match="key-secret"):
        rig.host.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, "/dev/null"])


def staged(rig, lun) -> str:
    template_id = an_id()
    image = an_image(rig.folder / "image.qcow2", 64 * MIB, (TEMPLATE, 0, MIB))
    rig.array.stage_template(lun.id, template_id, image, key=lun.key)
    return template_id


def test_a_volume_in_clear_shows_what_is_looked_for(rig):
    lun, disk_id = rig.lun(), an_id()
    rig.array.clone_template(lun, disk_id, staged(rig, lun), 64 * MIB)
    rig.fill(rig.array.export_disk(lun, disk_id, 1), OLD, 8 * MIB, MIB)
    assert in_clear(rig, lun) == {TEMPLATE, OLD}


def test_the_whole_life_of_encrypted_disks_leaves_nothing_in_clear(rig):
    lun, other = rig.lun(key=lambda: KEY), rig.lun(key=lambda: KEY)
    array, disk_id, copy_id, moved_id = rig.array, an_id(), an_id(), an_id()
    template_id, snapshot_id = staged(rig, lun), an_id()
    array.clone_template(lun, disk_id, template_id, 80 * MIB)
    address = array.export_disk(lun, disk_id, 1)
    assert rig.holds(address, TEMPLATE, 0, MIB)
    rig.fill(address, OLD, 8 * MIB, MIB)
    array.snapshot_disks(lun, snapshot_id, [disk_id])
    rig.fill(address, NEW, 8 * MIB, 2 * MIB)
    rig.host.kill_daemon(lun.id)
    assert array.ensure_daemon(lun, [ExportedDisk(disk_id, 1)])
    assert rig.holds(address, NEW, 8 * MIB, 2 * MIB)
    array.copy_disk(lun, disk_id, copy_id)
    array.create_disk(other, moved_id, 80 * MIB, THIN)
    way = DiskCopy(disk_id, moved_id, array.export_disk(other, moved_id, 1))
    array.begin_copies(lun, [way])
    while array.copies(lun, [way]).running:
        pass
    array.finish_copies(lun, [way])
    array.fence_disk(lun.id, disk_id)
    array.revert_disks(lun, snapshot_id, [disk_id])
    address = array.export_disk(lun, disk_id, 2)
    assert rig.holds(address, OLD, 8 * MIB, MIB)
    array.delete_snapshot(lun, snapshot_id, [disk_id])
    while array.flatten(lun, disk_id).running:
        pass
    assert array.disk(lun.id, disk_id).backing is None
    array.resize_disk(lun, disk_id, 96 * MIB)
    address = array.export_disk(lun, disk_id, 3)
    rig.fill(address, OTHER, 90 * MIB, MIB)
    assert rig.holds(address, TEMPLATE, 0, MIB)
    for volume, one in ((lun, copy_id), (other, moved_id)):
        content = array.export_disk(volume, one, 2)
        assert rig.holds(content, NEW, 8 * MIB, 2 * MIB)
        assert rig.holds(content, TEMPLATE, 0, MIB)
    assert array.disk(lun.id, disk_id).size == 96 * MIB
    assert in_clear(rig, lun) == in_clear(rig, other) == set()
    for volume in (lun, other):
        for one in array.contents(volume.id).disks:
            array.fence_disk(volume.id, one)
            checked(rig, volume, one)
    assert not any(encryption.encoded(lambda: KEY) in word for call in rig.host.calls for word in call)


@pytest.mark.soak
@pytest.mark.parametrize("kind", [Provisioning.STATIC_DIFFERED, Provisioning.STATIC_IMMEDIATE])
def test_a_reserved_encrypted_disk_reads_zeroes_has_its_space_and_takes_a_templates_content(rig, kind):
    lun, empty_id, filled_id = rig.lun(key=lambda: KEY), an_id(), an_id()
    template_id = staged(rig, lun)
    rig.array.create_disk(lun, empty_id, 32 * MIB, kind)
    rig.array.create_disk(lun, filled_id, 72 * MIB, kind, template_id=template_id)
    for disk_id, size in ((empty_id, 32 * MIB), (filled_id, 72 * MIB)):
        assert rig.array.disk(lun.id, disk_id).allocated >= size
        written = len(_data(rig, lun, disk_id))
        assert (written >= size) == (kind is Provisioning.STATIC_IMMEDIATE)
    address = rig.array.export_disk(lun, empty_id, 1)
    assert rig.holds(address, 0, 0, 32 * MIB)
    address = rig.array.export_disk(lun, filled_id, 1)
    assert rig.holds(address, TEMPLATE, 0, MIB)
    assert rig.holds(address, 0, MIB, 71 * MIB)
    assert in_clear(rig, lun) == set()


def _data(rig, lun, disk_id) -> range:
    """As many as the bytes that the image maps."""
    path = f"{rig.folder}/{lun.id}/files/disks/{disk_id}.qcow2"
    words = ("qemu-img", "map", "--output=json", "--object", encryption.OBJECT, encryption.file_name(path))
    done = rig.host.run(("sh", "-c", 'cat | "$@"', "k", *words), stdin=encryption.encoded(lambda: KEY).encode())
    return range(sum(piece["length"] for piece in json.loads(done.stdout) if piece["data"]))


@pytest.mark.soak
def test_what_is_written_to_a_volatile_disk_is_encrypted_too_and_content_leaves_with_the_key_alone(rig):
    lun, disk_id = rig.lun(key=lambda: KEY), an_id()
    rig.array.clone_template(lun, disk_id, staged(rig, lun), 64 * MIB)
    address = rig.array.export_disk(lun, disk_id, 1, volatile=True)
    rig.fill(address, NEW, 4 * MIB, MIB)
    assert in_clear(rig, lun) == set()
    rig.array.fence_disk(lun.id, disk_id)
    target = rig.folder / f"{an_id()}.raw"
    with rig.array.read_disk(lun.id, disk_id, key=lun.key) as socket:
        source = f'json:{{"driver":"nbd","server":{{"type":"unix","path":"{socket}"}}}}'
        subprocess.run(["qemu-img", "convert", "-O", "raw", source, target], check=True)
    content = target.read_bytes()
    assert content == bytes([TEMPLATE]) * MIB + bytes(63 * MIB)
    with pytest.raises(CommandFailed, match="key"), rig.array.read_disk(lun.id, disk_id):
        pass


def test_a_volume_whose_key_is_not_at_hand_is_still_cut_off_measured_and_cleared(rig):
    def gone() -> bytes:
        raise EngineError("this controller", "unwrapping a key", "the master key is in the safe")

    lun, disk_id = rig.lun(key=lambda: KEY), an_id()
    rig.array.create_disk(lun, disk_id, 64 * MIB, THIN)
    rig.array.export_disk(lun, disk_id, 1)
    keyless = replace(lun, key=gone)
    assert rig.array.ensure_daemon(keyless, [ExportedDisk(disk_id, 1)]) is False, "it has the key already"
    rig.host.kill_daemon(lun.id)
    with pytest.raises(EngineError, match="in the safe"):
        rig.array.ensure_daemon(keyless, [ExportedDisk(disk_id, 1)])
    assert rig.array.contents(lun.id).exports == {}
    assert rig.array.usage(lun.id).free > 0
    rig.array.ensure_daemon(lun, [ExportedDisk(disk_id, 1)])
    rig.array.fence_disk(lun.id, disk_id)
    rig.array.delete_disk(lun.id, disk_id)
    rig.array.delete_lun(lun.id)
