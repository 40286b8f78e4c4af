"""What every array does."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from contract_bench import MIB, RESERVED, THIN, Bench, Rule, an_id, served_lun, wait_for

from naos.engines.errors import Busy, EngineError, Missing, NoSpace, Unreachable, Unsupported
from naos.engines.ports import Array, DiskCopy, ExportedDisk, LunSpec, NbdAddress, Provisioning


def volumes_come_grow_and_go(bench: Bench) -> None:
    array, lun = bench.array, LunSpec(an_id(), 512 * MIB, None, next(bench.ports))
    for _ in range(2):
        array.create_lun(lun)
    assert array.luns().count(lun.id) == 1
    with pytest.raises(Unreachable, match="daemon does not run"):
        array.usage(lun.id)
    assert array.ensure_daemon(lun, []) is True
    assert array.ensure_daemon(lun, []) is False
    before = array.usage(lun.id)
    assert array.device_counters()[lun.id].read_bytes >= 0
    assert before.capacity == 512 * MIB == before.used + before.free
    larger = replace(lun, capacity=768 * MIB)
    for _ in range(2):
        array.resize_lun(larger)
    assert array.usage(lun.id).free > before.free
    with pytest.raises(Unsupported, match="never shrinks"):
        array.resize_lun(lun)
    for _ in range(2):
        array.delete_lun(lun.id)
    assert lun.id not in array.luns()
    for call in (array.usage, array.contents):
        with pytest.raises(Missing):
            call(lun.id)


def a_volume_that_holds_a_disk_stays(bench: Bench) -> None:
    array, disk_id = bench.array, an_id()
    with served_lun(bench) as lun:
        array.create_disk(lun, disk_id, 16 * MIB, THIN)
        with pytest.raises(Busy):
            array.delete_lun(lun.id)
        array.stop_daemon(lun.id)
        with pytest.raises(Busy):
            array.delete_lun(lun.id)
        assert lun.id in array.luns()


def a_port_is_one_volumes(bench: Bench) -> None:
    with served_lun(bench) as lun:
        other = LunSpec(an_id(), 512 * MIB, None, lun.port)
        with pytest.raises(Busy, match=str(lun.port)):  # noqa: PT012 - the first that can know says so
            bench.array.create_lun(other)
            bench.array.ensure_daemon(other, [])
        bench.array.delete_lun(other.id)


def disks_come_grow_and_go(bench: Bench) -> None:
    array, disk_id = bench.array, an_id()
    with served_lun(bench) as lun:
        assert array.disk(lun.id, disk_id) is None
        for _ in range(2):
            array.create_disk(lun, disk_id, 16 * MIB, THIN)
        with pytest.raises(Busy):
            array.create_disk(lun, disk_id, 32 * MIB, THIN)
        for _ in range(2):
            array.resize_disk(lun, disk_id, 24 * MIB)
        with pytest.raises(Unsupported, match="never shrinks"):
            array.resize_disk(lun, disk_id, 16 * MIB)
        facts = array.disk(lun.id, disk_id)
        assert (facts.id, facts.size, facts.backing, list(facts.snapshots)) == (disk_id, 24 * MIB, None, [])
        for _ in range(2):
            array.delete_disk(lun.id, disk_id)
        assert array.disk(lun.id, disk_id) is None
        with pytest.raises(Missing):
            array.resize_disk(lun, disk_id, 32 * MIB)


def reserved_space_must_be_there(bench: Bench) -> None:
    array, disk_id = bench.array, an_id()
    with served_lun(bench) as lun:
        free = array.usage(lun.id).free
        for provisioning in (RESERVED, Provisioning.STATIC_IMMEDIATE):
            with pytest.raises(NoSpace):
                array.create_disk(lun, disk_id, free + 64 * MIB, provisioning)
            assert array.disk(lun.id, disk_id) is None
        array.create_disk(lun, disk_id, free + 64 * MIB, THIN)
        reserved = an_id()
        array.create_disk(lun, reserved, 64 * MIB, RESERVED)
        assert free - array.usage(lun.id).free >= 64 * MIB


def space_is_set_aside_and_given_back(bench: Bench) -> None:
    array, holder = bench.array, an_id()
    with served_lun(bench) as lun:
        free = array.usage(lun.id).free
        with pytest.raises(NoSpace):
            array.set_aside(lun.id, holder, free + 64 * MIB)
        assert list(array.contents(lun.id).aside) == []
        for size in (64 * MIB, 64 * MIB, 128 * MIB, 32 * MIB):
            array.set_aside(lun.id, holder, size)
            assert abs(free - size - array.usage(lun.id).free) < MIB
        with pytest.raises(NoSpace):
            array.set_aside(lun.id, holder, free + 64 * MIB)
        assert abs(free - 32 * MIB - array.usage(lun.id).free) < MIB  # what it had it keeps
        assert list(array.contents(lun.id).aside) == [holder]
        assert list(array.contents(lun.id).foreign) == []
        array.stop_daemon(lun.id)
        with pytest.raises(Unreachable):
            array.usage(lun.id)
        for _ in range(2):
            array.give_back(lun.id, holder)
        array.ensure_daemon(lun, [])
        assert list(array.contents(lun.id).aside) == []
        assert abs(free - array.usage(lun.id).free) < MIB
    array.give_back(lun.id, holder)


def clones_share_their_template_until_flattened(bench: Bench) -> None:
    array, template_id, disk_id = bench.array, an_id(), an_id()
    with served_lun(bench) as lun:
        with pytest.raises(Missing):
            array.clone_template(lun, disk_id, template_id, 0)
        with pytest.raises(Missing):
            array.stage_template(lun.id, template_id, bench.image.with_name("absent"))
        for _ in range(2):
            array.stage_template(lun.id, template_id, bench.image)
        assert array.template_staged(lun.id, template_id)
        assert array.contents(lun.id).templates == [template_id]
        for _ in range(2):
            array.clone_template(lun, disk_id, template_id, 0)
        facts = array.disk(lun.id, disk_id)
        assert (facts.size, facts.backing) == (32 * MIB, template_id)
        with pytest.raises(Busy):
            array.drop_template(lun.id, template_id)
        while (job := array.flatten(lun, disk_id)).running:
            assert 0 <= job.done <= job.total
        assert job.error is None
        assert array.disk(lun.id, disk_id).backing is None
        assert not array.flatten(lun, disk_id).running
        for _ in range(2):
            array.drop_template(lun.id, template_id)
        assert not array.template_staged(lun.id, template_id)


def only_ids_become_names(bench: Bench) -> None:
    array = bench.array
    with served_lun(bench) as lun:
        for name in ("", "..", "../../etc/passwd", "disk", an_id().upper(), an_id().replace("-", ""), f"{an_id()}/x"):
            for call in (
                lambda name: array.create_lun(replace(lun, id=name)),
                lambda name: array.create_disk(lun, name, 16 * MIB, THIN),
                lambda name: array.stage_template(lun.id, name, bench.image),
            ):
                with pytest.raises(Unsupported):
                    call(name)
        assert array.contents(lun.id).disks == []


def a_copy_is_a_disk_of_its_own(bench: Bench) -> None:
    array, source, copy = bench.array, an_id(), an_id()
    with served_lun(bench) as lun:
        with pytest.raises(Missing):
            array.copy_disk(lun, source, copy)
        array.create_disk(lun, source, 16 * MIB, THIN)
        array.export_disk(lun, source, 1)
        for _ in range(2):
            array.copy_disk(lun, source, copy)
        array.delete_disk(lun.id, source)
        facts = array.disk(lun.id, copy)
        assert (facts.size, facts.backing) == (16 * MIB, None)


def several_disks_are_copied_to_other_volumes_and_their_own(bench: Bench) -> None:
    array, sources, made = bench.array, (an_id(), an_id()), (an_id(), an_id())
    with served_lun(bench) as lun, served_lun(bench) as other:
        for source in sources:
            array.create_disk(lun, source, 16 * MIB, THIN)
        array.export_disk(lun, sources[0], 1)
        array.create_disk(other, made[0], 16 * MIB, THIN)
        away = DiskCopy(sources[0], made[0], array.export_disk(other, made[0], 1))
        wanted = [away, DiskCopy(sources[1], made[1])]
        with pytest.raises(EngineError):  # they were never begun
            array.copies(lun, wanted)
        with pytest.raises(Missing):
            array.begin_copies(lun, [DiskCopy(an_id(), an_id())])
        nobody = NbdAddress(away.target.host, away.target.port, f"{made[0]}.9")
        with pytest.raises(EngineError):
            array.begin_copies(lun, [DiskCopy(sources[0], made[0], nobody)])
        for _ in range(2):
            array.begin_copies(lun, wanted)
            array.cancel_jobs(lun.id, made[0])
            array.cancel_jobs(lun.id, made[1])
        for _ in range(2):
            array.begin_copies(lun, wanted)
        wait_for(lambda: not array.copies(lun, wanted).running, "the copies are complete")
        for _ in range(2):
            array.finish_copies(lun, wanted)
        for source in sources:
            array.delete_disk(lun.id, source)
        assert array.disk(other.id, made[0]).size == array.disk(lun.id, made[1]).size == 16 * MIB
        # the same disk on another volume: it has one id on both until it has left the first
        moved = DiskCopy(made[1], made[1], _empty(array, other, made[1]))
        array.begin_copies(lun, [moved])
        wait_for(lambda: not array.copies(lun, [moved]).running, "the copy is complete")
        array.finish_copies(lun, [moved])
        array.delete_disk(lun.id, made[1])
        assert array.contents(other.id).exports == dict.fromkeys(made, 1)
        for disk_id in made:
            array.delete_disk(other.id, disk_id)


def _empty(array: Array, lun: LunSpec, disk_id: str) -> NbdAddress:
    array.create_disk(lun, disk_id, 16 * MIB, THIN)
    return array.export_disk(lun, disk_id, 1)


def one_epoch_is_exported_and_never_an_older_one(bench: Bench) -> None:
    array, disk_id = bench.array, an_id()
    with served_lun(bench) as lun:
        with pytest.raises(Missing):
            array.export_disk(lun, disk_id, 1)
        array.create_disk(lun, disk_id, 16 * MIB, THIN)
        first = array.export_disk(lun, disk_id, 1)
        assert array.export_disk(lun, disk_id, 1) == first
        second = array.export_disk(lun, disk_id, 2)
        assert (second.host, second.port) == (first.host, lun.port)
        assert second.name != first.name
        assert array.contents(lun.id).exports == {disk_id: 2}
        with pytest.raises(Busy, match="newer epoch 2"):
            array.export_disk(lun, disk_id, 1)
        for _ in range(2):
            array.fence_disk(lun.id, disk_id)
        array.fence_disk(lun.id, an_id())
        assert array.contents(lun.id).exports == {}


def a_daemon_comes_back_with_exactly_its_exports(bench: Bench) -> None:
    array, kept, other = bench.array, an_id(), an_id()
    with served_lun(bench) as lun:
        for disk_id in (kept, other):
            array.create_disk(lun, disk_id, 16 * MIB, THIN)
            array.export_disk(lun, disk_id, 1)
        for _ in range(2):
            array.stop_daemon(lun.id)
        for call in (
            lambda: array.contents(lun.id),
            lambda: array.usage(lun.id),
            lambda: array.disk(lun.id, kept),
            lambda: array.template_staged(lun.id, kept),
            lambda: array.stage_template(lun.id, an_id(), bench.image),
            lambda: array.drop_template(lun.id, kept),
            lambda: array.create_disk(lun, an_id(), 16 * MIB, THIN),
            lambda: array.resize_disk(lun, kept, 32 * MIB),
            lambda: array.export_disk(lun, kept, 2),
            lambda: array.flatten(lun, kept),
            lambda: array.snapshot_disks(lun, an_id(), [kept]),
            lambda: array.limit_lun(lun),
        ):
            with pytest.raises(Unreachable):
                call()
        array.fence_disk(lun.id, kept)  # nothing of it is exported, for certain
        array.cancel_jobs(lun.id, kept)
        assert array.ensure_daemon(lun, [ExportedDisk(kept, 4)]) is True
        assert array.contents(lun.id).exports == {kept: 4}
        assert array.ensure_daemon(lun, [ExportedDisk(kept, 4), ExportedDisk(other, 1)]) is False
        assert array.contents(lun.id).exports == {kept: 4, other: 1}
        array.limit_lun(replace(lun, iops=2000))
        with pytest.raises(Missing):
            array.ensure_daemon(lun, [ExportedDisk(an_id(), 1)])


def what_is_written_to_a_volatile_disk_goes(bench: Bench) -> None:
    array, disk_id = bench.array, an_id()
    with served_lun(bench) as lun:
        array.create_disk(lun, disk_id, 16 * MIB, THIN)
        address = array.export_disk(lun, disk_id, 1, volatile=True)
        assert array.export_disk(lun, disk_id, 1, volatile=True) == address
        assert list(array.contents(lun.id).volatile) == [(disk_id, 1)]
        array.stop_daemon(lun.id)
        array.ensure_daemon(lun, [ExportedDisk(disk_id, 1, volatile=True)])
        assert list(array.contents(lun.id).volatile) == [(disk_id, 1)]
        array.export_disk(lun, disk_id, 2, volatile=True)
        assert list(array.contents(lun.id).volatile) == [(disk_id, 2)]
        for _ in range(2):
            array.fence_disk(lun.id, disk_id)
        assert list(array.contents(lun.id).volatile) == []
        array.export_disk(lun, disk_id, 3, volatile=True)
        array.stop_daemon(lun.id)
        array.ensure_daemon(lun, [])
        assert list(array.contents(lun.id).volatile) == []
        array.export_disk(lun, disk_id, 4)
        assert list(array.contents(lun.id).volatile) == []


def snapshots_of_several_disks(bench: Bench) -> None:
    array, disks, snapshot = bench.array, [an_id(), an_id()], an_id()
    with served_lun(bench) as lun:
        for disk_id in disks:
            array.create_disk(lun, disk_id, 16 * MIB, THIN)
        array.export_disk(lun, disks[0], 1)
        for _ in range(2):
            array.snapshot_disks(lun, snapshot, disks)
        assert [list(array.disk(lun.id, disk_id).snapshots) for disk_id in disks] == [[snapshot], [snapshot]]
        with pytest.raises(Busy):
            array.revert_disks(lun, snapshot, disks)
        array.fence_disk(lun.id, disks[0])
        array.resize_disk(lun, disks[1], 24 * MIB)
        for _ in range(2):
            array.revert_disks(lun, snapshot, disks)
        assert [array.disk(lun.id, disk_id).size for disk_id in disks] == [16 * MIB, 16 * MIB]
        for _ in range(2):
            array.delete_snapshot(lun, snapshot, disks)
        assert list(array.disk(lun.id, disks[0]).snapshots) == []
        with pytest.raises(Missing):
            array.revert_disks(lun, snapshot, disks)


ARRAY: Sequence[Rule] = (
    volumes_come_grow_and_go,
    a_volume_that_holds_a_disk_stays,
    a_port_is_one_volumes,
    disks_come_grow_and_go,
    reserved_space_must_be_there,
    space_is_set_aside_and_given_back,
    clones_share_their_template_until_flattened,
    a_copy_is_a_disk_of_its_own,
    several_disks_are_copied_to_other_volumes_and_their_own,
    only_ids_become_names,
    one_epoch_is_exported_and_never_an_older_one,
    a_daemon_comes_back_with_exactly_its_exports,
    snapshots_of_several_disks,
    what_is_written_to_a_volatile_disk_goes,
)


def hold_array(array: Array, image: Path, ports: Iterator[int]) -> None:
    """Every rule of the array's port, one after the other; for drivers that come without a rack."""

    class OnlyArray:
        def array(self, _name: str) -> Array:
            return array

    for rule in ARRAY:
        rule(Bench(OnlyArray(), "array", "", "", image, ports=ports))
