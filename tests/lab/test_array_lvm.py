"""Volumes on LVM: the whole life of one, its disk's data kept through growth and a power cut, and a group that is full."""

import shutil
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from array_rig import ADDRESS, MIB, Rig, available
from lvm_host import GIB, VolumeGroupHost

from naos.engines.array.driver import StorageDaemonArray
from naos.engines.array.spaces import RUNTIME_FOLDER
from naos.engines.errors import CommandFailed, Missing, NoSpace, Unsupported
from naos.engines.ports import ExportedDisk, LunSpec, Provisioning

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not available() or shutil.which("lvcreate") is None, reason="needs root, QEMU's tools and lvm2"),
]


@pytest.fixture
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("a"))
    made.host.close()
    made.host = VolumeGroupHost(made.folder, 3 * GIB)
    made.array = StorageDaemonArray("array1", made.host, ADDRESS, "lvm", made.host.group)
    yield made
    for lun_id in made.array.luns():
        made.array.stop_daemon(lun_id)
    made.host.close()
    with suppress(OSError):
        Path(RUNTIME_FOLDER).rmdir()


def names(rig) -> list[str]:
    return rig.host.run(["lvs", "--noheadings", "--options", "lv_name", rig.host.group]).stdout.split()


def test_the_life_of_a_volume(rig):
    lun = LunSpec(str(uuid.uuid4()), 510 * MIB, None, 10809)
    disk_id = str(uuid.uuid4())
    for _ in range(2):
        rig.array.create_lun(lun)
    assert (rig.array.luns(), names(rig)) == ([lun.id], [f"naos-{lun.id}"])
    assert rig.array.ensure_daemon(lun, []) is True
    assert rig.array.ensure_daemon(lun, []) is False
    assert rig.array.usage(lun.id).capacity == 512 * MIB  # whole extents of 4 MiB
    rig.array.create_disk(lun, disk_id, 64 * MIB, Provisioning.STATIC_DIFFERED)
    address = rig.array.export_disk(lun, disk_id, 1)
    rig.fill(address, 7, 0, MIB)
    larger = LunSpec(lun.id, GIB, 500, lun.port)
    for _ in range(2):
        rig.array.resize_lun(larger)
    assert rig.array.usage(lun.id).free > 800 * MIB
    assert rig.holds(address, 7, 0, MIB)
    with pytest.raises(Unsupported, match="never shrinks"):
        rig.array.resize_lun(lun)
    rig.host.cut_power()
    assert rig.array.ensure_daemon(larger, [ExportedDisk(disk_id, 2)]) is True
    assert rig.holds(rig.array.export_disk(larger, disk_id, 2), 7, 0, MIB)
    rig.array.delete_disk(lun.id, disk_id)
    for _ in range(2):
        rig.array.delete_lun(lun.id)
    assert (rig.array.luns(), names(rig)) == ([], [])
    assert not Path(RUNTIME_FOLDER, lun.id).exists()
    with pytest.raises(Missing):
        rig.array.usage(lun.id)


def test_a_full_group_is_told_with_the_numbers_and_a_half_made_volume_is_made_anew(rig):
    refused = LunSpec(str(uuid.uuid4()), 8 * GIB, None, 10809)
    with pytest.raises(NoSpace, match=rf"volume group {rig.host.group} has \d+ bytes free, {8 * GIB} are needed"):
        rig.array.create_lun(refused)
    assert not Path(RUNTIME_FOLDER, refused.id).exists()
    lun = LunSpec(str(uuid.uuid4()), 512 * MIB, None, 10810)
    argv = ["lvcreate", "--activate", "n", "--zero", "n", "--wipesignatures", "n", "--size", "8m"]
    rig.host.run([*argv, "--name", f"naos-new-{lun.id}", rig.host.group])
    assert rig.array.luns() == []
    rig.array.create_lun(lun)
    assert (rig.array.luns(), names(rig)) == ([lun.id], [f"naos-{lun.id}"])
    with pytest.raises(NoSpace, match="are needed"):
        rig.array.resize_lun(LunSpec(lun.id, 8 * GIB, None, lun.port))
    rig.host.run([*argv, "--name", "somebody", rig.host.group])
    assert rig.array.luns() == [lun.id]
    rig.array.delete_lun(lun.id)
    assert names(rig) == ["somebody"]


def test_a_group_that_is_not_there_is_told(rig):
    array = StorageDaemonArray("array1", rig.host, ADDRESS, "lvm", "nosuchgroup")
    with pytest.raises(CommandFailed, match="nosuchgroup"):
        array.luns()
