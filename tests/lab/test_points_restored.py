"""Disks filled from points by real daemons: every byte is the point's, whatever ends in the middle."""

import time

import pytest
from array_rig import MIB, available
from test_points import SIZE, THIN, Bench, an_id

from naos.engines.errors import Busy, EngineError
from naos.engines.ports import Provisioning
from naos.protection import copying

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("p"), tmp_path_factory.mktemp("v"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying.luns, "spec", made.spec)
        yield made
    made.rig.close()


def _fill(bench, lun, disk_id, reader, door, speed=None):
    """Until it is done; what the last look said."""
    while True:
        state = bench.rig.array.fill_disk(lun, disk_id, reader, door, speed=speed)
        if not state.running:
            return state
        time.sleep(0.01)


def _sum(bench, lun, disk_id, epoch=1):
    address = bench.rig.array.export_disk(lun, disk_id, epoch)
    try:
        return bench.rig.checksum(address)
    finally:
        bench.rig.array.fence_disk(lun.id, disk_id)


def test_a_disk_is_filled_from_any_point_of_a_set(bench):
    """Points of three rounds of writes: each restores to what the disk held then, on this volume, another, reserved or encrypted."""
    lun, other = bench.lun(), bench.lun()
    sealed = bench.lun(key=lambda: b"k" * 32)
    disk, address = bench.disk(lun)
    set_id, seen = an_id(), []
    for number in range(3):
        bench.rig.fill(address, number + 1, number * 7 * MIB, 3 * MIB)
        bench.rig.io(address, f"write -z {number * MIB + 65536} 65536")
        seen.append((bench.take(set_id, lun, disk).id, bench.rig.checksum(address)))
    targets = ((lun, THIN), (other, Provisioning.STATIC_DIFFERED), (sealed, THIN))
    for (point_id, wanted), (target, provisioning) in zip(seen, targets, strict=True):
        reader, restored = an_id(), an_id()
        bench.rig.array.create_disk(target, restored, SIZE, provisioning)
        door = bench.vault.serve(set_id, point_id, reader)[disk]
        state = _fill(bench, target, restored, reader, door)
        assert (state.error, state.done) == (None, state.total)
        with pytest.raises(Busy):
            bench.vault.drop(set_id, point_id)
        bench.vault.end_serving(set_id, reader)
        assert _sum(bench, target, restored) == wanted
        if provisioning is THIN:
            assert bench.rig.array.disk(target.id, restored).allocated < 16 * MIB, "holes stay holes"
        bench.rig.array.delete_disk(target.id, restored)


def test_one_disk_of_a_reader_that_is_done_leaves_the_others_reading(bench):
    lun = bench.lun()
    disks = [bench.disk(lun) for _ in range(2)]
    for number, (_, address) in enumerate(disks):
        bench.rig.fill(address, number + 5, 0, 12 * MIB)
    set_id, reader, targets = an_id(), an_id(), [an_id(), an_id()]
    point = bench.take(set_id, lun, *(disk for disk, _ in disks))
    doors = bench.vault.serve(set_id, point.id, reader)
    for target in targets:
        bench.rig.array.create_disk(lun, target, SIZE, THIN)
    slow = (lun, targets[0], reader, doors[disks[0][0]])
    assert bench.rig.array.fill_disk(*slow, speed=4 * MIB).running
    assert _fill(bench, lun, targets[1], reader, doors[disks[1][0]]).error is None
    assert bench.rig.array.fill_disk(*slow).running
    assert _fill(bench, *slow).error is None
    bench.vault.end_serving(set_id, reader)
    for target, (disk, address) in zip(targets, disks, strict=True):
        assert _sum(bench, lun, target) == bench.rig.checksum(address)
        bench.rig.array.delete_disk(lun.id, target)
        bench.rig.array.delete_disk(lun.id, disk)


@pytest.mark.soak
def test_a_filling_that_is_cut_short_begins_anew(bench):
    lun = bench.lun()
    disk, address = bench.disk(lun)
    set_id, reader, restored = an_id(), an_id(), an_id()
    bench.rig.fill(address, 9, 0, 24 * MIB)
    point, wanted = bench.take(set_id, lun, disk), bench.rig.checksum(address)
    bench.rig.array.fence_disk(lun.id, disk)
    bench.rig.array.create_disk(lun, restored, SIZE, THIN)
    door = bench.vault.serve(set_id, point.id, reader)[disk]
    assert bench.rig.array.fill_disk(lun, restored, reader, door, speed=4 * MIB).running
    with pytest.raises(Busy):
        bench.rig.array.resize_disk(lun, restored, 2 * SIZE)
    bench.rig.host.kill_daemon(lun.id)
    bench.rig.array.ensure_daemon(lun, [])
    assert bench.rig.array.fill_disk(lun, restored, reader, door, speed=4 * MIB).running
    bench.rig.array.cancel_jobs(lun.id, restored)
    assert _fill(bench, lun, restored, reader, door).error is None
    bench.vault.end_serving(set_id, reader)
    with pytest.raises(EngineError):
        bench.rig.array.fill_disk(lun, restored, an_id(), door)
    assert _sum(bench, lun, restored) == wanted
    bench.rig.array.delete_disk(lun.id, restored)
    bench.rig.array.delete_disk(lun.id, disk)
    assert bench.rig.array.contents(lun.id).disks == []
