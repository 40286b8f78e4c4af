"""Copies that are struck at any byte of theirs, by seeded chance, on real daemons: whatever dies, every point that was complete is what
it was, and the next copy makes one that is what the disk holds. And how fast a copy may travel."""

import contextlib
import json
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from array_rig import MIB, available
from test_points import SIZE, VAULT, Bench, an_id

from naos.engines.errors import EngineError
from naos.engines.hosts import processes
from naos.protection import copying
from naos.protection.copying import Part, Where

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]
ROUNDS = 6


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("s"), tmp_path_factory.mktemp("v"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying.luns, "spec", made.spec)
        patch.setattr(copying, "IMPATIENT", 1.5)
        patch.setattr(copying, "WORTH_GOING_ON", 65536)
        yield made
    made.rig.close()


# --------------------------------------------------------------------------------------------------------------- the speed


def test_a_copy_is_never_ahead_of_its_speed_and_takes_another_one_on_its_way(bench, monkeypatch):
    """Two disks, each held to 4 MiB a second: what has travelled stays below what the time allows; let loose, they come to an end."""
    monkeypatch.setattr(copying, "IMPATIENT", 60.0)  # nobody strikes here
    lun = bench.lun()
    chosen = [bench.disk(lun) for _ in range(2)]
    for _, address in chosen:
        bench.rig.fill(address, 7, 0, SIZE)
    order = bench.order(an_id(), lun, *(disk for disk, _ in chosen), speed=4 * MIB, yielding=True)
    copying.prepare(bench.world, order)
    began = time.monotonic()
    copying.begin(bench.world, order)
    assert speeds(bench, lun) == [4 * MIB] * 2
    seen = 0
    while seen < 12 * MIB:
        seen = copying.look(bench.world, order).done
        allowed = 2 * 4 * MIB * (time.monotonic() - began)
        assert seen <= allowed + 2 * 2 * MIB, "8 requests of 128 KiB under way, and a slice of time"
        time.sleep(0.05)
    assert copying.look(bench.world, order).running
    copying.pace(bench.world, order, 6 * MIB)
    assert speeds(bench, lun) == [6 * MIB] * 2
    copying.pace(bench.world, order, None)
    assert speeds(bench, lun) in ([0, 0], [0], [])  # a door is shut when its copy has ended
    copying.follow(bench.world, order)
    point = copying.finish(bench.world, order, copying.begin(bench.world, order))
    copying.pace(bench.world, order, MIB)  # nothing goes on
    assert bench.served(order.set_id, point.id, chosen[0][0]) == bench.rig.checksum(chosen[0][1])
    copying.forget(bench.world, VAULT, order.set_id, order.parts)


def speeds(bench, lun) -> list[int]:
    """What the daemon holds the copies to."""
    program = (
        "import socket,sys,json\ns=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);f=s.makefile('rw');f.readline()\n"
        "def ask(call,**more):\n f.write(json.dumps({'execute':call,'arguments':more})+'\\n');f.flush()\n"
        " return json.loads(f.readline())['return']\n"
        "ask('qmp_capabilities')\n"
        "named=[each['name'] for each in ask('qom-list',path='/objects') if each['name'].startswith('g.')]\n"
        "print(json.dumps([ask('qom-get',path='/objects/'+name,property='limits')['bps-total'] for name in named]))"
    )
    done = bench.rig.host.run(["python3", "-c", program, f"{bench.rig.folder}/{lun.id}/qmp"])
    return json.loads(done.stdout)


# -------------------------------------------------------------------------------------------------------------- the strikes


class History:
    """A disk on a volume, the points of it at a place, and what the disk held at each."""

    def __init__(self, bench, place: str, chance: random.Random) -> None:
        self.bench, self.chance = bench, chance
        self.lun = bench.lun()
        self.where = VAULT if place == "vault" else Where("lun", bench.lun(capacity=640 * MIB).id)
        self.disk, self.address = bench.disk(self.lun)
        self.set_id, self.epoch = an_id(), 1
        self.held: dict[str, str] = {}

    def write(self) -> None:
        for _ in range(self.chance.randint(2, 5)):
            length = self.chance.choice((65536, MIB, 3 * MIB, 6 * MIB))
            at = self.chance.randrange(0, SIZE - length, 65536)
            self.bench.rig.fill(self.address, self.chance.randint(1, 255), at, length)

    def order(self, **given):
        return self.bench.order(self.set_id, self.lun, self.disk, where=self.where, **given)

    def take(self) -> None:
        """A point, all of it, of what the disk holds."""
        order = self.order()
        now = self.bench.rig.checksum(self.address)
        point = copying.take(self.bench.world, order)
        self.held[point.id] = now

    def bring_back(self) -> None:
        """Daemon and export, after whatever ended them."""
        for lun in self.bench.luns.values():
            self.bench.rig.array.ensure_daemon(lun, [])
        self.epoch += 1
        self.address = self.bench.rig.array.export_disk(self.lun, self.disk, self.epoch)

    def points(self) -> list[str]:
        return [point.id for point in copying.points(self.bench.world, self.where, self.set_id)]

    def known(self) -> frozenset[str]:
        """The points since which the array knows every change for certain."""
        return self.bench.rig.array.known_bases(self.lun, self.set_id, [self.disk])[self.disk]

    def check(self, few: int | None = None) -> None:
        """The complete points are those that were, and each is what the disk held."""
        present = self.points()
        assert present == list(self.held)
        for point_id in present[-few:] if few else present:
            assert self.bench.served(self.set_id, point_id, self.disk, self.where) == self.held[point_id]
            assert copying.verify(self.bench.world, self.where, self.set_id, point_id).damages == []

    def end(self) -> None:
        copying.forget(self.bench.world, self.where, self.set_id, [Part(self.lun.id, self.disk)])
        self.bench.rig.array.delete_disk(self.lun.id, self.disk)
        self.bench.rig.array.delete_lun(self.lun.id)
        del self.bench.luns[self.lun.id]


def source_dies(history, order) -> None:
    history.bench.rig.host.kill_daemon(history.lun.id)


def target_dies(history, order) -> None:
    root = history.bench.vault_folder / "points"
    if history.where.kind == "lun":
        root = Path(history.bench.rig.array.points(history.where.name)._root)
    session = history.bench.rig.host.run(["cat", f"{root}/{history.set_id}/receiving/pid"], check=False).stdout
    receiver = processes.identify(int(session)) if session.strip() else None
    if receiver is not None:
        assert processes.end_process(receiver, signal.SIGKILL, 20)


def link_is_cut(history, order) -> None:
    """Nothing that is sent to the receiving side arrives, and nobody is told."""
    store = copying.store_of(history.bench.world, order.where)
    port = store.doors(order.set_id, order.point_id)[history.disk][1].address.port
    rule = f"add table inet cut\nadd chain inet cut i {{ type filter hook input priority 0; }}\nadd rule inet cut i tcp dport {port} drop\n"
    history.bench.rig.host.run(["nft", "-f", "-"], stdin=rule.encode())


def link_is_back(history) -> None:
    history.bench.rig.host.run(["nft", "delete", "table", "inet", "cut"], check=False)


def power_is_cut(history, order) -> None:
    history.bench.rig.host.cut_power()


STRIKES = {"source": source_dies, "target": target_dies, "link": link_is_cut, "power": power_is_cut}


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [7, 1848])
@pytest.mark.parametrize("place", ["vault", "lun"])
@pytest.mark.parametrize("what", STRIKES)
def test_struck_at_a_random_byte_nothing_that_was_complete_is_lost(bench, what, place, seed):
    chance = random.Random(f"{seed} {what} {place}")
    history = History(bench, place, chance)
    history.write()
    history.take()
    broken = 0
    for _ in range(ROUNDS):
        history.write()
        order = history.order(speed=chance.choice((4, 8, 16)) * MIB, yielding=True)
        now = bench.rig.checksum(history.address)
        copying.prepare(bench.world, order)
        instant = copying.begin(bench.world, order)
        total = copying.look(bench.world, order).total
        wanted = chance.randint(0, total)
        while (state := copying.look(bench.world, order)).done < wanted and state.running:
            time.sleep(0.005)
        STRIKES[what](history, order)
        try:
            copying.follow(bench.world, order)
            copying.finish(bench.world, order, instant)
        except EngineError:
            broken += 1
        else:
            history.held[order.point_id] = now
        if what == "link":
            _cancelled(bench, order, chance)
            link_is_back(history)
        else:
            history.bring_back()
            _cancelled(bench, order, chance)
        if order.point_id not in history.held and order.point_id in history.points():
            history.held[order.point_id] = now  # it had been completed, and its answer was lost
        history.check(few=1)
        if chance.random() < 0.7:
            history.take()
            history.check(few=1)
    assert broken, "nothing was struck in time"
    history.take()
    history.check()
    history.end()


def _cancelled(bench, order, chance) -> None:
    """As a controller ends it, at the latest the next one."""
    copying.cancel(bench.world, order, keep=chance.random() < 0.5)
    copying.cancel(bench.world, order, keep=True)


# ------------------------------------------------------------------------------------------------------------ letting points go


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("place", ["vault", "lun"])
def test_letting_a_point_go_is_ended_at_a_random_moment_and_costs_no_other(bench, place):
    """The processes that drop it are killed; repeated, it ends, and its neighbours are what they were."""
    chance = random.Random(f"drop {place}")
    history = History(bench, place, chance)
    for _ in range(7):
        history.write()
        history.take()
    killed = 0
    while len(history.held) > 1:
        victim = chance.choice(list(history.held)[:-1])
        killed += _drop_and_kill(history, victim, chance)
        still = victim in history.points()
        if still:  # it had not begun: then it is a whole point
            history.check()
        for _ in range(2):
            copying.drop(bench.world, history.where, history.set_id, victim)
        del history.held[victim]
        history.check()
        if chance.random() < 0.4:
            history.write()
            history.take()
            history.check(few=1)
    assert killed
    history.end()


def _drop_and_kill(history, victim: str, chance) -> int:
    """How many processes were ended."""
    host = history.bench.rig.host
    before = set(processes.members([host._inode]))
    failed = []

    def drop() -> None:
        try:
            copying.drop(history.bench.world, history.where, history.set_id, victim)
        except EngineError as error:
            failed.append(error)

    thread = threading.Thread(target=drop)
    thread.start()
    time.sleep(chance.uniform(0.02, 0.5))
    ended = 0
    for pid in processes.members([host._inode]):
        found = processes.identify(pid) if pid not in before else None
        if found is not None:
            with contextlib.suppress(ProcessLookupError):
                ended += bool(processes.end_process(found, signal.SIGKILL, 20))
    thread.join()
    return ended


# -------------------------------------------------------------------------------------------------------- damaged bitmaps


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["directory", "table", "data"])
def test_a_damaged_bitmap_never_makes_a_wrong_increment(bench, part):
    """While the volume's daemon is stopped the bitmap that is kept with a disk's image is damaged: the disk is served all the same, and
    the next point is what it holds."""
    history = History(bench, "vault", random.Random(part))
    history.write()
    history.take()
    history.write()
    before, (last,) = bench.rig.checksum(history.address), history.held
    for close in (bench.rig.array.fence_disk, lambda lun_id, _disk: bench.rig.array.stop_daemon(lun_id)):
        close(history.lun.id, history.disk)
        history.bring_back()
        assert history.known() == {last}, "what was closed whole is believed"
    bench.rig.array.fence_disk(history.lun.id, history.disk)
    damage(bench, history, part)
    history.bring_back()
    assert history.known() == set()
    assert bench.rig.checksum(history.address) == before
    history.take()
    history.check()
    history.write()
    history.take()
    history.check()
    history.end()


def damage(bench, history, part: str) -> None:
    """One field of the bitmap's own, in the closed image, by hand."""
    path = bench.rig.array._place(history.lun).disk(history.disk)
    done = bench.rig.host.run(["python3", "-c", DAMAGE, path, part])
    assert done.stdout.strip() == "struck"


DAMAGE = """
import struct, sys
path, part = sys.argv[1:]
with open(path, "r+b") as file:
    head = file.read(104)
    at = struct.unpack(">I", head[100:104])[0]
    while True:
        file.seek(at)
        kind, length = struct.unpack(">II", file.read(8))
        if kind == 0x23852875:
            break
        assert kind != 0, "no bitmaps"
        at += 8 + (length + 7) // 8 * 8
    count, _, size, directory = struct.unpack(">IIQQ", file.read(24))
    assert count >= 1
    while True:
        file.seek(directory)
        table, entries, flags, _, _, length, extra = struct.unpack(">QIIBBHI", file.read(24))
        file.seek(directory + 24 + extra)
        if file.read(length).startswith(b"naos."):
            break
        directory += (24 + extra + length + 7) // 8 * 8
    assert not flags & 1, "it is in use"
    if part == "directory":
        file.seek(directory + 16)
        file.write(bytes([0xEE]))
    elif part == "table":
        file.seek(table)
        file.write(struct.pack(">Q", 0x00FFFFFFFFFF0000))
    else:
        file.seek(table)
        data = struct.unpack(">Q", file.read(8))[0] & 0x00FFFFFFFFFFFE00
        assert data, "it has no data"
        file.seek(data)
        file.write(bytes(64))
print("struck")
"""
