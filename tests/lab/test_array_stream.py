"""A clone that has just become independent, and a daemon that dies at that moment."""

import uuid

import pytest
from array_rig import MIB, Rig, an_image, available
from real_platform import until

from naos.engines.ports import ExportedDisk

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]


@pytest.fixture
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("a"))
    yield made
    made.close()


def test_what_a_template_gave_is_there_whenever_the_daemon_dies(rig):
    """Nothing that a client flushes brings the copied blocks' tables to the medium here: the job must, before it ends."""
    lun, disk_id, template_id = rig.lun(), str(uuid.uuid4()), str(uuid.uuid4())
    rig.array.stage_template(lun.id, template_id, an_image(rig.folder / "t.qcow2", 64 * MIB, (7, 0, 8 * MIB)))
    rig.array.clone_template(lun, disk_id, template_id, 64 * MIB)
    address = rig.array.export_disk(lun, disk_id, 1)
    rig.array.flatten(lun, disk_id)
    until(lambda: not rig.array.flatten(lun, disk_id).running, "it is independent")
    rig.host.kill_daemon(lun.id)
    rig.array.ensure_daemon(lun, [ExportedDisk(disk_id, 1)])
    assert rig.array.disk(lun.id, disk_id).backing is None
    assert rig.holds(address, 7, 0, 8 * MIB)
