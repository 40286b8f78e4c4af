"""What is in an array's disks: those that begin with a template's content and have all their space, and how content leaves."""

import signal
import subprocess
import uuid

import pytest
from array_rig import MIB, Rig, an_image, available

from naos.engines.array import reading
from naos.engines.errors import Busy, Missing, Unsupported
from naos.engines.hosts import processes
from naos.engines.ports import Provisioning

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]
MARKS = ((7, 0, MIB), (9, 32 * MIB, 3 * MIB))


@pytest.fixture
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("a"))
    yield made
    made.close()


def servers(rig) -> list[int]:
    """Every qemu-nbd of the array's host."""
    members = processes.members([rig.host._inode])
    return [pid for pid in members if processes.program(pid) == "qemu-nbd"]


def taken_out(rig, lun, disk_id):
    """The disk's content as a raw file."""
    target = rig.folder / f"{uuid.uuid4()}.raw"
    with rig.array.read_disk(lun.id, disk_id) as socket:
        source = f'json:{{"driver":"nbd","server":{{"type":"unix","path":"{socket}"}}}}'
        subprocess.run(["qemu-img", "convert", "-O", "raw", source, target], check=True)
    return target


@pytest.mark.parametrize("kind", [Provisioning.STATIC_DIFFERED, Provisioning.STATIC_IMMEDIATE])
def test_a_reserved_disk_begins_with_a_templates_content(rig, kind):
    lun, disk_id, template_id = rig.lun(), str(uuid.uuid4()), str(uuid.uuid4())
    image = an_image(rig.folder / "image.qcow2", 64 * MIB, *MARKS)
    with pytest.raises(Missing):
        rig.array.create_disk(lun, disk_id, 96 * MIB, kind, template_id=template_id)
    rig.array.stage_template(lun.id, template_id, image)
    with pytest.raises(Unsupported):
        rig.array.create_disk(lun, disk_id, 96 * MIB, Provisioning.DYNAMIC, template_id=template_id)
    for _ in range(2):
        rig.array.create_disk(lun, disk_id, 96 * MIB, kind, template_id=template_id)
    facts = rig.array.disk(lun.id, disk_id)
    assert (facts.size, facts.backing) == (96 * MIB, None)
    assert facts.allocated >= 96 * MIB, "its space is its own, also where it holds nothing"
    address = rig.array.export_disk(lun, disk_id, 1)
    for pattern, offset, length in (*MARKS, (0, 64 * MIB, 32 * MIB)):
        assert rig.holds(address, pattern, offset, length)
    rig.array.fence_disk(lun.id, disk_id)
    rig.array.drop_template(lun.id, template_id)
    subprocess.run(["truncate", "-s", str(96 * MIB), raw := _raw(rig, image)], check=True)
    assert taken_out(rig, lun, disk_id).read_bytes() == raw.read_bytes()


def _raw(rig, image):
    raw = rig.folder / "image.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", image, raw], check=True)
    return raw


def test_a_clone_leaves_whole_and_its_server_with_it(rig):
    lun, disk_id, template_id = rig.lun(), str(uuid.uuid4()), str(uuid.uuid4())
    image = an_image(rig.folder / "image.qcow2", 64 * MIB, *MARKS)
    rig.array.stage_template(lun.id, template_id, image)
    rig.array.clone_template(lun, disk_id, template_id, 64 * MIB)
    rig.fill(rig.array.export_disk(lun, disk_id, 1), 5, 8 * MIB, MIB)
    with pytest.raises(Busy), rig.array.read_disk(lun.id, disk_id):
        pass
    rig.array.fence_disk(lun.id, disk_id)
    content = taken_out(rig, lun, disk_id).read_bytes()
    assert len(content) == 64 * MIB
    assert content[8 * MIB : 9 * MIB] == b"\x05" * MIB
    assert content[32 * MIB : 35 * MIB] == b"\x09" * (3 * MIB)
    assert servers(rig) == []
    with pytest.raises(Missing), rig.array.read_disk(lun.id, str(uuid.uuid4())):
        pass


def test_what_an_interrupted_reader_left_is_ended_by_the_next(rig):
    lun, disk_id = rig.lun(), str(uuid.uuid4())
    rig.array.create_disk(lun, disk_id, 64 * MIB, Provisioning.DYNAMIC)
    place = rig.array._place(lun.id)
    left = reading.reading(place, disk_id)
    left.__enter__()  # as by a controller that was killed then
    (pid,) = servers(rig)
    with rig.array.read_disk(lun.id, disk_id):
        assert servers(rig) not in ([], [pid])
    assert servers(rig) == []
    address = rig.array.export_disk(lun, disk_id, 1)
    rig.fill(address, 3, 0, MIB)
    rig.array.fence_disk(lun.id, disk_id)
    with rig.array.read_disk(lun.id, disk_id):
        process = processes.identify(servers(rig)[0])
        assert process is not None
        assert processes.end_process(process, signal.SIGKILL, 20)
    rig.array.delete_disk(lun.id, disk_id)
