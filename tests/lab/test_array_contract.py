"""What every array does, the simulated one and the real one alike."""

import uuid
from types import SimpleNamespace

import pytest
from array_rig import MIB, Rig, an_image, available
from real_platform import until

from naos.engines.errors import Busy, Missing, NoSpace, Unreachable, Unsupported
from naos.engines.ports import ExportedDisk, LunSpec, Provisioning
from naos.engines.simulated.rack import SimulatedRack
from naos.inventory.model import Array, HostAccess, Inventory, Region, Zone

pytestmark = pytest.mark.lab
THIN, RESERVED = Provisioning.DYNAMIC, Provisioning.STATIC_DIFFERED
CAPACITY = 512 * MIB


def an_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture(params=["simulated", "real"])
def world(request, tmp_path_factory):
    """An array, a served volume on it, and a template's image."""
    folder = tmp_path_factory.mktemp("a")
    image = an_image(tmp_path_factory.mktemp("i") / "image.qcow2", 32 * MIB, (7, 0, MIB))
    if request.param == "real":
        if not available():
            pytest.skip("needs root and QEMU's tools")
        rig = Rig(folder)
        array, close = rig.array, rig.close
    else:
        access = HostAccess(driver="namespace", target=str(folder))
        entry = {"name": "array1", "zone": "z1", "access": access, "address": "127.0.0.1", "backing": "file"}
        zones = [Region(name="r1", zones=[Zone(name="z1")])]
        arrays = [Array(**entry, path=str(folder), capacity=2**40)]
        rack = SimulatedRack(folder, Inventory(regions=zones, arrays=arrays))
        array, close = rack.array("array1"), rack.close
    lun = LunSpec(an_id(), CAPACITY, 1000, 10809)
    array.create_lun(lun)
    array.ensure_daemon(lun, [])
    yield SimpleNamespace(array=array, lun=lun, image=image)
    close()


@pytest.fixture
def array(world):
    return world.array


@pytest.fixture
def lun(world):
    return world.lun


@pytest.fixture
def disk_id(array, lun):
    made = an_id()
    array.create_disk(lun, made, 64 * MIB, THIN)
    return made


@pytest.fixture
def template_id(world):
    made = an_id()
    world.array.stage_template(world.lun.id, made, world.image)
    return made


def test_making_and_removing_may_be_repeated(array, lun):
    array.create_lun(lun)
    assert array.luns() == [lun.id]
    assert array.ensure_daemon(lun, []) is False
    disk = an_id()
    for _ in range(2):
        array.create_disk(lun, disk, 64 * MIB, THIN)
    assert array.contents(lun.id).disks == [disk]
    for _ in range(2):
        array.delete_disk(lun.id, disk)
    for _ in range(2):
        array.delete_lun(lun.id)
    assert array.luns() == []


def test_a_volume_with_a_disk_stays(array, lun, disk_id):
    with pytest.raises(Busy):
        array.delete_lun(lun.id)
    assert array.contents(lun.id).disks == [disk_id]


def test_what_is_nowhere_is_missing(array, lun):
    nowhere = LunSpec(an_id(), CAPACITY, None, 10810)
    for call in (
        lambda: array.usage(nowhere.id),
        lambda: array.contents(nowhere.id),
        lambda: array.resize_lun(nowhere),
        lambda: array.ensure_daemon(nowhere, []),
        lambda: array.create_disk(nowhere, an_id(), MIB, THIN),
        lambda: array.export_disk(lun, an_id(), 1),
        lambda: array.resize_disk(lun, an_id(), MIB),
        lambda: array.flatten(lun, an_id()),
        lambda: array.copy_disk(lun, an_id(), an_id()),
        lambda: array.clone_template(lun, an_id(), an_id(), MIB),
        lambda: array.snapshot_disks(lun, an_id(), [an_id()]),
        lambda: array.ensure_daemon(lun, [ExportedDisk(an_id(), 1)]),
    ):
        with pytest.raises(Missing):
            call()
    assert array.disk(lun.id, an_id()) is None
    array.delete_lun(nowhere.id)
    array.fence_disk(lun.id, an_id())
    array.cancel_jobs(lun.id, an_id())
    array.drop_template(lun.id, an_id())


def test_capacity_is_what_is_used_and_what_is_free_and_only_grows(array, lun):
    before = array.usage(lun.id)
    assert before.capacity == CAPACITY == before.used + before.free
    array.resize_lun(LunSpec(lun.id, 2 * CAPACITY, None, lun.port))
    after = array.usage(lun.id)
    assert after.capacity == 2 * CAPACITY == after.used + after.free
    with pytest.raises(Unsupported):
        array.resize_lun(lun)


def test_reserved_space_is_taken_at_once_and_given_back(array, lun):
    before, disk = array.usage(lun.id).free, an_id()
    array.create_disk(lun, disk, 64 * MIB, RESERVED)
    assert before - array.usage(lun.id).free >= 64 * MIB
    assert array.disk(lun.id, disk).allocated >= 64 * MIB
    array.delete_disk(lun.id, disk)
    # A file system gives back what is deleted in its own time.
    until(lambda: before - array.usage(lun.id).free < MIB, "the space of the deleted disk is free")
    with pytest.raises(NoSpace, match=r"\d+"):
        array.create_disk(lun, disk, 2 * CAPACITY, RESERVED)
    assert array.contents(lun.id).disks == []


def test_epochs_only_go_up(array, lun, disk_id):
    first = array.export_disk(lun, disk_id, 1)
    assert array.export_disk(lun, disk_id, 1) == first
    second = array.export_disk(lun, disk_id, 2)
    assert (first.name, second.name) == (f"{disk_id}.1", f"{disk_id}.2")
    assert (second.host, second.port) == ("127.0.0.1", lun.port)
    assert array.contents(lun.id).exports == {disk_id: 2}
    with pytest.raises(Busy):
        array.export_disk(lun, disk_id, 1)
    for _ in range(2):
        array.fence_disk(lun.id, disk_id)
    assert array.contents(lun.id).exports == {}


def test_a_dead_daemon_is_silent_and_comes_back_with_what_it_is_told(array, lun, disk_id):
    array.export_disk(lun, disk_id, 1)
    for _ in range(2):
        array.stop_daemon(lun.id)
    for call in (
        lambda: array.contents(lun.id),
        lambda: array.limit_lun(lun),
        lambda: array.export_disk(lun, disk_id, 2),
        lambda: array.create_disk(lun, an_id(), MIB, THIN),
        lambda: array.flatten(lun, disk_id),
    ):
        with pytest.raises(Unreachable):
            call()
    array.fence_disk(lun.id, disk_id)
    array.cancel_jobs(lun.id, disk_id)
    assert array.ensure_daemon(lun, [ExportedDisk(disk_id, 3)]) is True
    assert array.contents(lun.id).exports == {disk_id: 3}
    assert array.ensure_daemon(lun, []) is False
    assert array.contents(lun.id).exports == {}


def test_a_clone_needs_its_template_until_it_is_flattened(world, array, lun, template_id):
    array.stage_template(lun.id, template_id, world.image)
    assert array.template_staged(lun.id, template_id)
    assert not array.template_staged(lun.id, an_id())
    clone, small = an_id(), an_id()
    for _ in range(2):
        array.clone_template(lun, clone, template_id, 64 * MIB)
    array.clone_template(lun, small, template_id, MIB)
    assert array.disk(lun.id, clone).size == 64 * MIB
    assert array.disk(lun.id, small).size == 32 * MIB
    assert array.disk(lun.id, clone).backing == template_id
    with pytest.raises(Busy):
        array.drop_template(lun.id, template_id)
    for disk in (clone, small):
        while (state := array.flatten(lun, disk)).running:
            assert 0 <= state.done <= state.total
        assert state.error is None
        assert array.disk(lun.id, disk).backing is None
    for _ in range(2):
        array.drop_template(lun.id, template_id)
    assert array.contents(lun.id).templates == []


def test_stopping_a_flattening_leaves_the_clone_as_it_was(array, lun, template_id):
    clone = an_id()
    array.clone_template(lun, clone, template_id, 64 * MIB)
    array.flatten(lun, clone)
    for _ in range(2):
        array.cancel_jobs(lun.id, clone)
    array.resize_disk(lun, clone, 96 * MIB)
    assert array.disk(lun.id, clone).size == 96 * MIB


def test_a_disk_only_grows(array, lun, disk_id):
    for _ in range(2):
        array.resize_disk(lun, disk_id, 96 * MIB)
    assert array.disk(lun.id, disk_id).size == 96 * MIB
    with pytest.raises(Unsupported):
        array.resize_disk(lun, disk_id, 64 * MIB)


def test_a_copy_is_a_disk_of_its_own(array, lun, disk_id, template_id):
    clone, copy = an_id(), an_id()
    array.clone_template(lun, clone, template_id, 64 * MIB)
    array.export_disk(lun, clone, 1)
    for _ in range(2):
        array.copy_disk(lun, clone, copy)
    facts = array.disk(lun.id, copy)
    assert (facts.size, facts.backing, list(facts.snapshots)) == (64 * MIB, None, [])
    assert array.contents(lun.id).disks == sorted([disk_id, clone, copy])
    assert array.contents(lun.id).exports == {clone: 1}


def test_snapshots_come_and_go_by_name(array, lun, disk_id):
    other, snapshot_id = an_id(), an_id()
    array.create_disk(lun, other, 64 * MIB, THIN)
    array.export_disk(lun, disk_id, 1)
    for _ in range(2):
        array.snapshot_disks(lun, snapshot_id, [disk_id, other])
    assert list(array.disk(lun.id, disk_id).snapshots) == [snapshot_id]
    assert array.held_by_snapshots(lun.id, [disk_id, other, an_id()]) == {snapshot_id: 0}
    with pytest.raises(Missing):
        array.held_by_snapshots(an_id(), [disk_id])
    with pytest.raises(Busy):
        array.revert_disks(lun, snapshot_id, [disk_id, other])
    array.resize_disk(lun, disk_id, 96 * MIB)
    array.fence_disk(lun.id, disk_id)
    with pytest.raises(Missing):
        array.revert_disks(lun, an_id(), [disk_id])
    for _ in range(2):
        array.revert_disks(lun, snapshot_id, [disk_id, other])
    assert array.disk(lun.id, disk_id).size == 64 * MIB
    for _ in range(2):
        array.delete_snapshot(lun, snapshot_id, [disk_id, other])
    assert [list(array.disk(lun.id, entry).snapshots) for entry in (disk_id, other)] == [[], []]
