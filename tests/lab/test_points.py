"""Points of disks, taken by the copy engine from real daemons and kept by real stores: what is there is what was there, or is found."""

import contextlib
import hashlib
import random
import signal
import time
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from array_rig import ADDRESS, MIB, Rig, available

from naos.engines.errors import Busy, EngineError, Missing, NoSpace
from naos.engines.hosts import processes
from naos.engines.points.driver import HostPointStore
from naos.engines.ports import Incoming, Provisioning
from naos.protection import copying
from naos.protection.copying import Order, Part, Where

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]
THIN = Provisioning.DYNAMIC
SIZE = 32 * MIB
VAULT = Where("vault", "v")


def an_id() -> str:
    return str(uuid.uuid4())


class Bench:
    """A rack of one array and one vault, as the copy engine sees it."""

    def __init__(self, folder, vault) -> None:
        self.rig = Rig(folder)
        self.vault_folder = vault
        self.vault = HostPointStore("v", self.rig.host, ADDRESS, str(vault / "points"))
        self.luns = {}
        self.world = SimpleNamespace(rack=self)

    def array(self, name):
        return self.rig.array

    def vault_points(self, name):
        return self.vault

    def spec(self, world, lun_id):
        return "array1", self.luns[lun_id]

    def lun(self, **given):
        lun = self.rig.lun(**given)
        self.luns[lun.id] = lun
        return lun

    def disk(self, lun, size=SIZE):
        """An exported disk; its address."""
        disk_id = an_id()
        self.rig.array.create_disk(lun, disk_id, size, THIN)
        return disk_id, self.rig.array.export_disk(lun, disk_id, 1)

    def order(self, set_id, lun, *disks, where=VAULT, **given):
        return Order(set_id, an_id(), where, tuple(Part(lun.id, disk) for disk in disks), **given)

    def take(self, *arguments, **given):
        return copying.take(self.world, self.order(*arguments, **given))

    def served(self, set_id, point_id, disk_id, where=VAULT):
        """SHA-256 of a point's disk as it is served, its end included."""
        reader = an_id()
        store = copying.store_of(self.world, where)
        door = store.serve(set_id, point_id, reader)[disk_id]
        copy = self.rig.folder / "served"
        try:
            script = (
                'mkdir -p "$1" && printf "%s:%s\\n" "$2" "$3" > "$1/keys.psk" && '
                'qemu-img convert --object "tls-creds-psk,id=t,endpoint=client,dir=$1,username=$2" --image-opts -O raw '
                '"driver=nbd,host=$4,port=$5,export=$6,tls-creds=t" "$7"'
            )
            address = door.address
            words = (str(self.rig.folder / "psk"), door.user, door.key, address.host, str(address.port), address.name)
            self.rig.host.run(["sh", "-c", script, "read", *words, str(copy)], timeout=60)
            return hashlib.sha256(copy.read_bytes()).hexdigest()
        finally:
            copy.unlink(missing_ok=True)
            store.end_serving(set_id, reader)

    def receiving(self, set_id, root=None):
        """The process that receives a point."""
        pid = int(((root or self.vault_folder / "points") / set_id / "receiving" / "pid").read_text())
        return processes.identify(pid)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("p"), tmp_path_factory.mktemp("v"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying.luns, "spec", made.spec)
        yield made
    made.rig.close()


@pytest.fixture(scope="module")
def lun(bench):
    return bench.lun()


def test_points_follow_each_other_and_each_is_whole(bench, lun):
    """Two disks, an increment, one dropped in the middle: what is served is what the disks held."""
    (one, at_one), (two, at_two) = bench.disk(lun), bench.disk(lun)
    set_id, seen = an_id(), []
    for round_ in range(4):
        bench.rig.fill(at_one, round_ + 1, round_ * 3 * MIB, 2 * MIB)
        bench.rig.fill(at_two, round_ + 101, 5 * MIB + round_ * 65536, 65536)
        sums = [bench.rig.checksum(at_one), bench.rig.checksum(at_two)]
        point = bench.take(set_id, lun, one, two)
        seen.append((point.id, sums))
        if round_:
            assert {disk.base for disk in point.disks} == {seen[-2][0]}
            assert all(disk.stored < 4 * MIB for disk in point.disks)
    for dropped in (seen[1], seen[0]):
        copying.drop(bench.world, VAULT, set_id, dropped[0])
        copying.drop(bench.world, VAULT, set_id, dropped[0])
    left = copying.points(bench.world, VAULT, set_id)
    assert [point.id for point in left] == [seen[2][0], seen[3][0]]
    assert [disk.base for disk in left[0].disks] == [None, None]
    for point_id, sums in seen[2:]:
        assert [bench.served(set_id, point_id, disk) for disk in (one, two)] == sums
        assert copying.verify(bench.world, VAULT, set_id, point_id).damages == []
    copying.forget(bench.world, VAULT, set_id, [Part(lun.id, one), Part(lun.id, two)])
    assert bench.vault.sets() == []
