"""Simulated points refuse and forget what real ones do."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from naos.engines.errors import Busy, EngineError, Missing, Unreachable
from naos.engines.ports import Array, Incoming, LunSpec, Outgoing, PointStore, Provisioning
from naos.engines.simulated import SimulatedRack
from naos.inventory import model
from naos.inventory.model import HostAccess, Inventory, Region, Zone

MIB = 2**20


def an_id() -> str:
    return str(uuid.uuid4())


class Bench:
    def __init__(self, folder: Path) -> None:
        access = HostAccess(driver="namespace", target="/none")
        place = {"zone": "z1", "access": access, "path": "/none"}
        entry = {"name": "a", "address": "10.0.0.2", "backing": "file", "capacity": 2**40, **place}
        inventory = Inventory(
            regions=[Region(name="r", zones=[Zone(name="z1")])],
            arrays=[model.Array(**entry)],
            vaults=[model.Vault(name="v", **place)],
        )
        self.rack = SimulatedRack(folder, inventory)
        self.array: Array = self.rack.array("a")
        self.vault: PointStore = self.rack.vault_points("v")
        self.lun, self.disk, self.set = LunSpec(an_id(), 2**30, None, 10809), an_id(), an_id()
        self.array.create_lun(self.lun)
        self.array.ensure_daemon(self.lun, [])
        self.array.create_disk(self.lun, self.disk, 64 * MIB, Provisioning.DYNAMIC)

    def known(self) -> frozenset[str]:
        return self.array.known_bases(self.lun, self.set, [self.disk])[self.disk]

    def begin(self, base: str | None) -> str:
        point, size = an_id(), 64 * MIB
        doors = self.vault.receive(self.set, point, [Incoming(self.disk, size, base)])
        assert self.vault.receive(self.set, point, [Incoming(self.disk, size, base)]) == doors
        wanted = [Outgoing(self.disk, base, doors[self.disk])]
        instant = self.array.begin_point(self.lun, self.set, point, wanted)
        assert self.array.begin_point(self.lun, self.set, point, wanted) == instant
        return point

    def take(self, base: str | None) -> str:
        point = self.begin(base)
        while self.array.point(self.lun, point, [self.disk]).running:
            with pytest.raises(Busy):
                self.array.close_point(self.lun, point, [self.disk])
        self.array.close_point(self.lun, point, [self.disk])
        assert self.vault.seal(self.set, point, datetime.now(UTC)) == self.vault.points(self.set)[-1]
        self.array.end_point(self.lun, self.set, point, [self.disk], complete=True)
        return point


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_only_the_last_point_is_a_base_and_only_while_that_is_certain(bench: Bench, tmp_path: Path) -> None:
    first = bench.take(None)
    assert bench.known() == {first}
    second = bench.take(first)
    assert bench.known() == {second}
    bench.array.stop_daemon(bench.lun.id)
    with pytest.raises(Unreachable):
        bench.known()
    bench.array.ensure_daemon(bench.lun, [])
    assert bench.known() == {second}
    bench.rack.faults.kill_daemon(bench.lun.id)
    bench.array.ensure_daemon(bench.lun, [])
    assert bench.known() == frozenset()
    with pytest.raises(EngineError, match="compare"):
        bench.begin(second)
    file = tmp_path / "sums"
    bench.vault.checksums(bench.set, second, bench.disk, file)
    bench.array.compare(bench.lun, bench.set, second, bench.disk, file)
    third = bench.take(second)
    bench.array.snapshot_disks(bench.lun, snapshot := an_id(), [bench.disk])
    assert bench.known() == {third}
    bench.array.revert_disks(bench.lun, snapshot, [bench.disk])
    assert bench.known() == frozenset()


def test_a_point_is_complete_or_not_there_and_neighbours_stay(bench: Bench) -> None:
    points = [bench.take(None)]
    for _ in range(2):
        points.append(bench.take(points[-1]))
    broken = bench.begin(points[-1])
    with pytest.raises(Busy):
        bench.vault.drop(bench.set, points[-1])
    bench.rack.faults.kill_daemon(bench.lun.id)
    bench.array.ensure_daemon(bench.lun, [])
    with pytest.raises(EngineError):
        bench.array.point(bench.lun, broken, [bench.disk])
    bench.vault.abandon(bench.set, broken)
    with pytest.raises(Missing):
        bench.vault.doors(bench.set, broken)
    doors = bench.vault.serve(bench.set, points[0], reader := an_id())
    assert list(doors) == [bench.disk]
    with pytest.raises(Busy):
        bench.vault.drop(bench.set, points[1])
    bench.vault.end_serving(bench.set, reader)
    for _ in range(2):
        bench.vault.drop(bench.set, points[1])
    left = bench.vault.points(bench.set)
    assert [(point.id, point.disks[0].base) for point in left] == [(points[0], None), (points[2], points[0])]
    with pytest.raises(Missing):
        bench.vault.receive(bench.set, an_id(), [Incoming(bench.disk, MIB, points[1])])
    assert bench.vault.verify(bench.set, points[2]).damages == []
    bench.rack.faults.flip("v", bench.set, points[2], bench.disk)
    assert len(bench.vault.verify(bench.set, points[2]).damages) == 1
    bench.vault.forget(bench.set)
    assert bench.vault.sets() == []
