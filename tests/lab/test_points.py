"""Points of disks, taken by the copy engine from real daemons and kept by real stores: what is there is what was there, or is found."""

import hashlib
import os
import signal
import time
import uuid
from types import SimpleNamespace

import pytest
from array_rig import ADDRESS, MIB, Rig, available, url

from naos.engines.errors import Busy, EngineError, Missing, NoSpace
from naos.engines.hosts import processes
from naos.engines.points.driver import HostPointStore
from naos.engines.ports import Provisioning
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
    """With room for the disks of all tests together."""
    return bench.lun(capacity=1024 * MIB)


@pytest.mark.soak
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


def moved(bench, order) -> int:
    """Take a point by its steps; how many bytes had to travel."""
    copying.prepare(bench.world, order)
    instant = copying.begin(bench.world, order)
    assert copying.begin(bench.world, order) == instant
    copying.follow(bench.world, order)
    total = copying.look(bench.world, order).total
    point = copying.finish(bench.world, order, instant)
    assert point.instant == instant
    assert copying.finish(bench.world, order, instant).id == point.id
    return total


@pytest.mark.soak
def test_what_is_not_known_for_certain_is_compared(bench, lun):
    """A daemon that is killed, a disk that is brought back, one that grows: what travels is what differs, and nothing is missed."""
    disk, address = bench.disk(lun)
    set_id = an_id()
    for number in range(8):
        bench.rig.fill(address, number + 1, number * 4 * MIB, 3 * MIB)
    first = bench.order(set_id, lun, disk)
    assert moved(bench, first) == SIZE

    def check(low, high):
        before = bench.rig.checksum(address)
        order = bench.order(set_id, lun, disk)
        assert low <= moved(bench, order) <= high
        assert bench.served(set_id, order.point_id, disk) == before
        return order

    bench.rig.fill(address, 77, MIB, 128 * 1024)
    check(128 * 1024, 128 * 1024)
    bench.rig.fill(address, 78, 9 * MIB, 64 * 1024)
    bench.rig.host.kill_daemon(lun.id)  # and with it what it knew
    bench.rig.array.ensure_daemon(lun, [])
    address = bench.rig.array.export_disk(lun, disk, 2)
    bench.rig.fill(address, 79, 20 * MIB, 64 * 1024)
    bench.rig.array.resize_disk(lun, disk, SIZE + 4 * MIB)
    assert bench.rig.array.known_bases(lun, set_id, [disk]) == {disk: frozenset()}
    check(128 * 1024, 128 * 1024)
    bench.rig.fill(address, 80, 30 * MIB, 64 * 1024)
    bench.rig.array.stop_daemon(lun.id)  # cleanly: it is known afterwards
    bench.rig.array.ensure_daemon(lun, [])
    address = bench.rig.array.export_disk(lun, disk, 3)
    check(64 * 1024, 64 * 1024)
    bench.rig.array.snapshot_disks(lun, snapshot := an_id(), [disk])
    bench.rig.fill(address, 81, 0, 64 * 1024)
    check(64 * 1024, 64 * 1024)
    bench.rig.array.fence_disk(lun.id, disk)
    bench.rig.array.revert_disks(lun, snapshot, [disk])
    bench.rig.array.resize_disk(lun, disk, SIZE + 8 * MIB)
    address = bench.rig.array.export_disk(lun, disk, 4)
    bench.rig.fill(address, 82, SIZE + MIB, 64 * 1024)
    check(128 * 1024, 128 * 1024)
    bench.rig.array.resize_disk(lun, disk, SIZE + 16 * MIB)
    bench.rig.fill(address, 83, SIZE + 12 * MIB, 64 * 1024)
    last = check(64 * 1024, 64 * 1024)
    bench.rig.io(address, f"discard 0 {8 * MIB}")  # holes are changes, and take nothing
    order = check(8 * MIB, 8 * MIB)
    assert bench.vault.points(set_id)[-1].disks[0].stored < MIB
    for point in bench.vault.points(set_id)[:-1]:
        copying.drop(bench.world, VAULT, set_id, point.id)
    assert bench.served(set_id, order.point_id, disk) == bench.rig.checksum(address)
    assert copying.verify(bench.world, VAULT, set_id, order.point_id).damages == []
    assert last.point_id not in [point.id for point in bench.vault.points(set_id)]


@pytest.mark.soak
@pytest.mark.parametrize("victim", ["source", "target"])
def test_a_copy_that_is_broken_off_leaves_the_last_point(bench, lun, victim):
    disk, address = bench.disk(lun)
    set_id = an_id()
    bench.rig.fill(address, 5, 0, 8 * MIB)
    first = bench.take(set_id, lun, disk)
    kept = bench.served(set_id, first.id, disk)
    bench.rig.fill(address, 6, 4 * MIB, 8 * MIB)
    order = bench.order(set_id, lun, disk, speed=2 * MIB)
    copying.prepare(bench.world, order)
    instant = copying.begin(bench.world, order)
    while not copying.look(bench.world, order).done:
        time.sleep(0.02)
    if victim == "source":
        bench.rig.host.kill_daemon(lun.id)
        bench.rig.array.ensure_daemon(lun, [])
        address = bench.rig.array.export_disk(lun, disk, 2)
    else:
        assert processes.end_process(bench.receiving(set_id), signal.SIGKILL, 20)
    with pytest.raises(EngineError):
        copying.follow(bench.world, order)
    with pytest.raises(EngineError):
        copying.finish(bench.world, order, instant)
    assert [point.id for point in bench.vault.points(set_id)] == [first.id]
    assert bench.served(set_id, first.id, disk) == kept
    copying.cancel(bench.world, order)
    second = bench.take(set_id, lun, disk)
    assert bench.served(set_id, second.id, disk) == bench.rig.checksum(address)
    assert bench.served(set_id, first.id, disk) == kept


@pytest.mark.soak
@pytest.mark.parametrize("victim", ["source", "target"])
def test_a_point_goes_on_from_one_that_was_broken_off(bench, lun, victim, monkeypatch):
    """Whatever is there of it: a first copy, whose source is written meanwhile."""
    monkeypatch.setattr(copying, "WORTH_GOING_ON", 65536)
    disk, address = bench.disk(lun)
    set_id = an_id()
    for number in range(24):
        bench.rig.fill(address, number + 1, number * MIB, MIB)
    order = bench.order(set_id, lun, disk, speed=6 * MIB)
    copying.prepare(bench.world, order)
    copying.begin(bench.world, order)
    while copying.look(bench.world, order).done < 12 * MIB:
        time.sleep(0.05)
    bench.rig.fill(address, 99, MIB, MIB)
    if victim == "source":
        bench.rig.host.kill_daemon(lun.id)
        bench.rig.array.ensure_daemon(lun, [])
        address = bench.rig.array.export_disk(lun, disk, 2)
    else:
        assert processes.end_process(bench.receiving(set_id), signal.SIGKILL, 20)
    copying.cancel(bench.world, order, keep=True)
    again = bench.order(set_id, lun, disk)
    travelled = moved(bench, again)
    assert MIB <= travelled <= (15 if victim == "source" else 24) * MIB
    assert bench.served(set_id, again.point_id, disk) == bench.rig.checksum(address)
    assert copying.verify(bench.world, VAULT, set_id, again.point_id).damages == []
    bench.rig.fill(address, 77, 5 * MIB, 64 * 1024)
    assert moved(bench, bench.order(set_id, lun, disk)) == 64 * 1024
    copying.forget(bench.world, VAULT, set_id, [Part(lun.id, disk)])


@pytest.mark.soak
@pytest.mark.parametrize("much", [(), (0,), (0, 1)], ids=["none is fleeced", "one is fleeced", "both are fleeced"])
def test_points_of_disks_that_are_written_are_of_one_instant(bench, lun, much):
    """A client writes n to the first disk and then, once that is answered, n to the second: no point has the second ahead.

    much: of which disks there is so much more to copy that a fleece is made.
    """
    (one, at_one), (two, at_two) = bench.disk(lun), bench.disk(lun)
    set_id, pair = an_id(), Pair(bench.rig, at_one, at_two)
    try:
        for _ in range(4):
            for number in much:
                bench.rig.fill((at_one, at_two)[number], 200, 16 * MIB, 12 * MIB)
            while pair.count() % 40:
                pass
            point = bench.take(set_id, lun, one, two)
            counts = []
            for disk in (one, two):
                image = bench.vault_folder / "points" / set_id / disk / f"{point.id}.qcow2"
                raw = bench.rig.folder / "raw"
                bench.rig.host.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(image), str(raw)])
                counts.append(blocks_written(raw.read_bytes()[: 16 * MIB]))
            assert counts[1] <= counts[0] <= counts[1] + 1
            assert counts[0] >= 39
    finally:
        pair.end()


def blocks_written(data: bytes) -> int:
    """How many blocks of 4 KiB the client had written, one after the other, from the second on."""
    count = 0
    while data[(count + 1) * 4096] == (count + 1) % 251 + 1:
        count += 1
    assert not any(data[(count + 1) * 4096 :]), "a hole in what was written"
    return count


class Pair:
    """A client that writes n to the first disk, then, once that is answered, n to the second, for ever."""

    def __init__(self, rig, first, second) -> None:
        program = f"""
import subprocess, time
files = [subprocess.Popen(["qemu-io", "-f", "raw", "-t", "none", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
         for url in {[url(first), url(second)]!r}]
n = 0
while True:
    n += 1
    for file in files:
        file.stdin.write(f"write -P {{n % 251 + 1}} {{n * 4096}} 4096\\n")
        file.stdin.flush()
        while "ops" not in file.stdout.readline():
            pass
    print(n, flush=True)
    time.sleep(0.005)
"""
        self.process = rig.host.spawn("python3", "-c", program)

    def count(self) -> int:
        return int(self.process.stdout.readline())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.soak
@pytest.mark.parametrize("again", [False, True], ids=["sent once", "sent again"])
def test_checksums_that_were_computed_early_are_those_of_what_lies_there(bench, lun, again):
    """A large part is known before the copy has ended; blocks that are then sent anew, to the same doors, with other content, are not."""
    disk, address = bench.disk(lun, 160 * MIB)
    for number in range(5):
        bench.rig.fill(address, number + 1, number * 32 * MIB, 32 * MIB)
    order = bench.order(an_id(), lun, disk)
    copying.prepare(bench.world, order)
    instant = copying.begin(bench.world, order)
    copying.follow(bench.world, order)
    folder = bench.vault_folder / "points" / order.set_id / "receiving"
    (early,) = folder.glob("*.early")
    wait_for(lambda: early.stat().st_size >= 2 * 512 * 24)
    if again:
        bench.rig.array.end_point(lun, order.set_id, order.point_id, [disk], complete=False)
        bench.rig.fill(address, 99, 0, 64 * MIB)
        instant = copying.begin(bench.world, order)
        assert not early.exists()
        copying.follow(bench.world, order)
    point = copying.finish(bench.world, order, instant)
    assert copying.verify(bench.world, VAULT, order.set_id, point.id).damages == []
    assert bench.served(order.set_id, point.id, disk) == bench.rig.checksum(address)
    copying.forget(bench.world, VAULT, order.set_id, order.parts)
    bench.rig.array.delete_disk(lun.id, disk)


def wait_for(seen) -> None:
    until = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.soak
def test_a_place_that_hangs_is_let_go(bench, lun):
    """The receiving daemon answers no more, and says nothing: the copy is ended, and the disk's client goes on."""
    disk, address = bench.disk(lun)
    bench.rig.fill(address, 5, 0, 16 * MIB)
    order = bench.order(an_id(), lun, disk, speed=4 * MIB, yielding=True)
    copying.prepare(bench.world, order)
    copying.begin(bench.world, order)
    receiver = bench.receiving(order.set_id)
    os.kill(receiver.pid, signal.SIGSTOP)
    try:
        bench.rig.array.end_point(lun, order.set_id, order.point_id, [disk], complete=False)
        bench.rig.fill(address, 6, 15 * MIB, MIB)
    finally:
        assert processes.end_process(receiver, signal.SIGKILL, 20)
    copying.cancel(bench.world, order)
    point = bench.take(order.set_id, lun, disk)
    assert bench.served(order.set_id, point.id, disk) == bench.rig.checksum(address)


@pytest.mark.soak
@pytest.mark.parametrize("base", [False, True])
def test_a_guest_does_not_wait_for_the_place(bench, lun, base):
    """The receiving daemon stands still for a while: what a client overwrites meanwhile is kept on the volume, and the point is whole."""
    disk, address = bench.disk(lun)
    set_id = an_id()
    bench.rig.fill(address, 5, 0, 24 * MIB)
    if base:
        bench.take(set_id, lun, disk)
        bench.rig.fill(address, 6, 0, 16 * MIB)
    before = bench.rig.checksum(address)
    order = bench.order(set_id, lun, disk, speed=4 * MIB)
    copying.prepare(bench.world, order)
    instant = copying.begin(bench.world, order)
    assert copying.begin(bench.world, order) == instant
    receiver = bench.receiving(set_id)
    os.kill(receiver.pid, signal.SIGSTOP)
    try:
        bench.rig.fill(address, 7, 8 * MIB, 16 * MIB)
        bench.rig.io(address, f"write -z {7 * MIB} {MIB}", "flush")
    finally:
        os.kill(receiver.pid, signal.SIGCONT)
    copying.follow(bench.world, order)
    copying.finish(bench.world, order, instant)
    assert bench.served(set_id, order.point_id, disk) == before
    assert moved(bench, bench.order(set_id, lun, disk)) == 17 * MIB
    assert not [line for line in bench.rig.array.contents(lun.id).foreign if disk in line]
    copying.forget(bench.world, VAULT, set_id, [Part(lun.id, disk)])
    bench.rig.array.delete_disk(lun.id, disk)


@pytest.mark.soak
def test_two_places_at_once_and_a_disk_that_is_wanted(bench, lun):
    """A slow copy and another place's at the same time; one that yields ends for a snapshot, the other is busy."""
    disk, address = bench.disk(lun)
    bench.rig.fill(address, 9, 0, 8 * MIB)
    slow = bench.order(an_id(), lun, disk, speed=MIB)
    copying.prepare(bench.world, slow)
    copying.begin(bench.world, slow)
    quick = bench.take(an_id(), lun, disk)
    assert bench.served(quick.set_id, quick.id, disk) == bench.rig.checksum(address)
    with pytest.raises(Busy):
        bench.rig.array.snapshot_disks(lun, an_id(), [disk])
    copying.cancel(bench.world, slow)
    yielding = bench.order(an_id(), lun, disk, speed=MIB, yielding=True)
    copying.prepare(bench.world, yielding)
    copying.begin(bench.world, yielding)
    bench.rig.array.snapshot_disks(lun, an_id(), [disk])
    with pytest.raises(EngineError):
        copying.follow(bench.world, yielding)
    copying.cancel(bench.world, yielding)
    bench.rig.array.delete_disk(lun.id, disk)
    with pytest.raises(Missing):
        bench.take(quick.set_id, lun, disk)


@pytest.mark.soak
def test_a_full_volume_keeps_its_last_point_and_its_copy_becomes_disks(bench, lun):
    target = bench.lun(capacity=320 * MIB)
    where = Where("lun", target.id)
    disk, address = bench.disk(lun, 400 * MIB)
    set_id = an_id()
    bench.rig.fill(address, 3, 0, 40 * MIB)
    first = bench.take(set_id, lun, disk, where=where)
    bench.rig.fill(address, 4, 0, 300 * MIB)
    with pytest.raises((NoSpace, EngineError)) as caught:
        bench.take(set_id, lun, disk, where=where)
    assert isinstance(caught.value, NoSpace) or "space" in str(caught.value).lower()
    assert [point.id for point in copying.points(bench.world, where, set_id)] == [first.id]
    assert list(bench.rig.array.contents(target.id).foreign) == []
    with pytest.raises(Busy):
        bench.rig.array.delete_lun(target.id)
    bench.rig.io(address, f"discard {40 * MIB} {260 * MIB}")
    second = bench.take(set_id, lun, disk, where=where)
    whole = bench.rig.checksum(address)
    assert bench.rig.array.adopt_point(target, set_id, second.id) == [disk]
    assert bench.rig.array.points(target.id).sets() == []
    there = bench.rig.array.export_disk(target, disk, 1)
    assert bench.rig.checksum(there) == whole
    bench.rig.array.delete_disk(target.id, disk)
    bench.rig.array.stop_daemon(target.id)
    with pytest.raises(EngineError):
        bench.rig.array.points(target.id).sets()
    bench.rig.array.ensure_daemon(target, [])
    bench.rig.array.delete_lun(target.id)


def test_a_flipped_bit_is_found(bench, lun):
    disk, address = bench.disk(lun)
    set_id = an_id()
    bench.rig.fill(address, 5, 0, 4 * MIB)
    first = bench.take(set_id, lun, disk)
    bench.rig.fill(address, 6, 6 * MIB, MIB)
    second = bench.take(set_id, lun, disk)
    image = bench.vault_folder / "points" / set_id / disk / f"{first.id}.qcow2"
    data = bytearray(image.read_bytes())
    at = data.index(b"\5" * 65536) + 12345
    data[at] ^= 1
    image.write_bytes(data)
    for point in (first, second):
        (damage,) = copying.verify(bench.world, VAULT, set_id, point.id).damages
        assert (damage.disk_id, damage.length) == (disk, 65536)
    copying.forget(bench.world, VAULT, set_id, [Part(lun.id, disk)])
