"""Space of a real array: what is set aside, what discarding gives back, and what the next tenant reads."""

import time
import uuid

import pytest
from array_rig import MIB, Rig, available

from naos.engines.errors import NoSpace
from naos.engines.ports import Provisioning

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]


@pytest.fixture
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("a"))
    yield made
    made.close()


def blocks_below(rig, lun) -> int:
    """Bytes that the sparse file below the volume has."""
    return int(rig.host.run(["stat", "-c", "%b", f"{rig.folder}/{lun.id}/volume"]).stdout) * 512


def test_what_is_set_aside_is_allocated_kept_over_a_power_cut_and_really_freed(rig):
    lun, holder = rig.lun(), str(uuid.uuid4())
    free = rig.array.usage(lun.id).free
    rig.array.set_aside(lun.id, holder, 128 * MIB)
    rig.array.set_aside(lun.id, holder, 128 * MIB)
    assert abs(free - 128 * MIB - rig.array.usage(lun.id).free) < MIB
    with pytest.raises(NoSpace, match=r"has \d+ free"):
        rig.array.set_aside(lun.id, holder, 700 * MIB)
    assert abs(free - 128 * MIB - rig.array.usage(lun.id).free) < MIB
    with pytest.raises(NoSpace):
        rig.array.set_aside(lun.id, str(uuid.uuid4()), 700 * MIB)
    disk_id = str(uuid.uuid4())
    rig.array.create_disk(lun, disk_id, 600 * MIB, Provisioning.DYNAMIC)
    full = rig.io(rig.array.export_disk(lun, disk_id, 1), "write 0 500M", check=False)
    assert "No space left on device" in full.stdout + full.stderr
    path = f"{rig.folder}/{lun.id}/files/aside/{holder}"
    assert int(rig.host.run(["stat", "-c", "%b", path]).stdout) * 512 >= 128 * MIB
    rig.host.cut_power()
    rig.array.ensure_daemon(lun, [])
    found = rig.array.contents(lun.id)
    assert list(found.aside) == [holder]
    assert list(found.foreign) == []
    rig.array.give_back(lun.id, holder)
    rig.array.give_back(lun.id, holder)
    assert list(rig.array.contents(lun.id).aside) == []
    rig.fill(rig.array.export_disk(lun, disk_id, 2), 3, 0, 400 * MIB)


def test_what_a_guest_deletes_leaves_the_volume_and_what_is_below_and_nobody_reads_it(rig):
    lun, disk_id = rig.lun(), str(uuid.uuid4())
    empty, below = rig.array.usage(lun.id).used, blocks_below(rig, lun)
    rig.array.create_disk(lun, disk_id, 128 * MIB, Provisioning.DYNAMIC)
    address = rig.array.export_disk(lun, disk_id, 1)
    rig.fill(address, 0x5A, 0, 128 * MIB)
    assert rig.array.usage(lun.id).used > empty + 128 * MIB
    rig.io(address, "discard 0 64M", "flush")
    assert rig.array.usage(lun.id).used < empty + 72 * MIB
    assert blocks_below(rig, lun) < below + 80 * MIB
    assert rig.holds(address, 0, 0, 64 * MIB)
    rig.array.delete_disk(lun.id, disk_id)
    end = time.monotonic() + 20
    while blocks_below(rig, lun) >= below + 16 * MIB:  # the file system discards after its log is written
        assert time.monotonic() < end
        rig.host.run(["sync", "-f", f"{rig.folder}/{lun.id}/files"])
        time.sleep(0.2)
    for provisioning in Provisioning:
        other = str(uuid.uuid4())
        rig.array.create_disk(lun, other, 96 * MIB, provisioning)
        assert rig.holds(rig.array.export_disk(lun, other, 1), 0, 0, 96 * MIB)
        rig.array.delete_disk(lun.id, other)
    rig.array.delete_lun(lun.id)
    fresh, disk_id = rig.lun(), str(uuid.uuid4())
    rig.array.create_disk(fresh, disk_id, 256 * MIB, Provisioning.STATIC_DIFFERED)
    assert rig.holds(rig.array.export_disk(fresh, disk_id, 1), 0, 0, 256 * MIB)
