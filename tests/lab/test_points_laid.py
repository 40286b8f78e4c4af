"""Disks that begin as a point has them, on real daemons: used, written, moved in, whichever daemon dies in the middle."""

import json
import signal
import time

import pytest
from array_rig import ADDRESS, MIB, available
from test_points import SIZE, THIN, Bench, an_id

from naos.engines.array import encryption
from naos.engines.errors import Busy, EngineError
from naos.engines.hosts import processes
from naos.engines.ports import ExportedDisk, Provisioning
from naos.protection import copying

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("l"), tmp_path_factory.mktemp("v"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying.luns, "spec", made.spec)
        yield made
    made.rig.close()


class Laid:
    """A disk over the second of three points."""

    def __init__(self, bench, provisioning=THIN, key=None) -> None:
        self.bench, self.array, self.rig = bench, bench.rig.array, bench.rig
        self.source_lun, self.lun = bench.lun(), bench.lun(key=key)
        self.source, address = bench.disk(self.source_lun)
        self.set_id, self.reader, self.disk, self.base = an_id(), an_id(), an_id(), an_id()
        for number in range(3):
            self.rig.fill(address, number + 1, number * 7 * MIB, 3 * MIB)
            self.point = bench.take(self.set_id, self.source_lun, self.source).id if number < 2 else self.point
        bench.take(self.set_id, self.source_lun, self.source)
        self.door = self.serve()
        self.array.lay_disk(self.lun, self.disk, self.base, SIZE, provisioning, self.door)
        self.array.lay_disk(self.lun, self.disk, self.base, SIZE, provisioning, self.door)
        self.address = self.array.export_disk(self.lun, self.disk, 1)

    def serve(self):
        return self.bench.vault.serve(self.set_id, self.point, self.reader)[self.source]

    def kill_vault(self) -> None:
        pid = (self.bench.vault_folder / "points" / self.set_id / "readers" / self.reader / "pid").read_text()
        process = processes.identify(int(pid))
        assert process is not None
        assert processes.end_process(process, signal.SIGKILL, 20)

    def kill_array(self) -> None:
        self.rig.host.kill_daemon(self.lun.id)
        self.array.ensure_daemon(self.lun, [ExportedDisk(self.disk, 1)])

    def holds(self, *marks: tuple[int, int, int]) -> None:
        for pattern, offset, length in marks:
            assert self.rig.holds(self.address, pattern, offset, length), (pattern, offset)

    def await_vault(self) -> None:
        """The array looks for a vault that was gone by itself, the longer it was the less often."""
        until = time.monotonic() + 40
        while not self.rig.holds(self.address, 1, 0, 65536):
            assert time.monotonic() < until
            time.sleep(0.1)

    def move(self, speed=None):
        while (state := self.array.move_in(self.lun, self.disk, speed=speed)).running:
            time.sleep(0.01)
        return state

    def check_whole(self) -> None:
        """Nothing of it is elsewhere, and its tables are in order."""
        facts = self.array.disk(self.lun.id, self.disk)
        assert facts.backing is None
        self.array.drop_template(self.lun.id, self.base)
        contents = self.array.contents(self.lun.id)
        assert (contents.templates, contents.foreign) == ([], [])
        self.array.fence_disk(self.lun.id, self.disk)
        path = f"{self.rig.folder}/{self.lun.id}/files/disks/{self.disk}.qcow2"
        words = ("qemu-img", "check", "--output=json")
        if self.lun.key is None:
            done = self.rig.host.run([*words, path])
        else:
            place = self.array._place(self.lun)
            done = encryption.run(place, *words, "--object", encryption.OBJECT, encryption.file_name(path))
        told = json.loads(done.stdout)
        assert {key: told.get(key, 0) for key in ("corruptions", "leaks", "check-errors")} == {
            "corruptions": 0,
            "leaks": 0,
            "check-errors": 0,
        }
        self.array.delete_disk(self.lun.id, self.disk)
        assert self.array.contents(self.lun.id).disks == []


_SEEK = "import sys; print(open(sys.argv[1], 'rb').read().find(bytes([int(sys.argv[2])]) * 4096))"
THEN = ((1, 0, 3 * MIB), (2, 7 * MIB, 3 * MIB), (0, 14 * MIB, 3 * MIB))
"""What the second point holds; the third block was written after it."""


@pytest.mark.soak
def test_a_disk_moves_in_while_it_is_used_and_daemons_die(bench):
    laid = Laid(bench)
    laid.holds(*THEN)
    assert laid.array.disk(laid.lun.id, laid.disk).allocated < 4 * MIB, "nothing has moved in yet"
    laid.rig.fill(laid.address, 7, MIB + 4096, 8192)
    laid.kill_vault()
    assert not laid.rig.holds(laid.address, 2, 7 * MIB, 65536), "it fails, after a while, and says nothing false"
    laid.holds((7, MIB + 4096, 8192))
    laid.rig.fill(laid.address, 8, 20 * MIB, 2 * 65536)
    state = laid.move()
    assert state.error is not None
    again = laid.serve()
    assert (again.address, again.key) == (laid.door.address, laid.door.key), "clients find it where it was"
    laid.await_vault()
    laid.holds((2, 7 * MIB, 3 * MIB))
    with pytest.raises(Busy, match="still lies in a vault"):
        laid.array.snapshot_disks(laid.lun, an_id(), [laid.disk])
    assert laid.array.move_in(laid.lun, laid.disk, speed=2 * MIB).running
    time.sleep(1.5)
    begun = laid.array.disk(laid.lun.id, laid.disk).allocated
    laid.kill_array()
    assert laid.array.disk(laid.lun.id, laid.disk).allocated > MIB, "what had moved in stays"
    assert begun > MIB
    laid.holds(*THEN[1:], (7, MIB + 4096, 8192), (8, 20 * MIB, 2 * 65536), (1, 0, MIB + 4096))
    with pytest.raises(Busy):
        bench.vault.drop(laid.set_id, laid.point)
    state = laid.move()
    assert (state.error, state.done) == (None, state.total)
    bench.vault.end_serving(laid.set_id, laid.reader)
    laid.holds(*THEN[1:], (7, MIB + 4096, 8192), (8, 20 * MIB, 2 * 65536), (1, 0, MIB + 4096), (1, 2 * MIB, MIB))
    laid.check_whole()


@pytest.mark.soak
def test_a_vault_that_comes_back_elsewhere_is_found(bench):
    laid = Laid(bench, Provisioning.STATIC_DIFFERED)
    laid.rig.fill(laid.address, 7, 4 * MIB, 65536)
    laid.kill_vault()
    taken = bench.rig.host.spawn("python3", "-c", _TAKE, ADDRESS, str(laid.door.address.port))
    assert taken.stdout.readline() == b"taken\n"
    try:
        door = laid.serve()
        assert door.address.port != laid.door.address.port
        laid.array.renew_door(laid.lun, laid.disk, door)
        laid.holds(*THEN, (7, 4 * MIB, 65536))
        assert laid.move().error is None
    finally:
        taken.kill()
        taken.wait()
    bench.vault.end_serving(laid.set_id, laid.reader)
    laid.holds(*THEN, (7, 4 * MIB, 65536))
    laid.check_whole()


_TAKE = """
import socket, sys, time
listening = socket.socket()
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind((sys.argv[1], int(sys.argv[2])))
listening.listen()
print("taken", flush=True)
time.sleep(60)
"""


@pytest.mark.soak
def test_a_disk_is_laid_over_a_point_but_not_at_a_shut_door(bench):
    laid = Laid(bench)
    laid.holds(*THEN)
    laid.rig.fill(laid.address, 9, 5 * MIB, 65536)
    bench.vault.end_serving(laid.set_id, laid.reader)
    other = an_id()
    laid.array.lay_disk(laid.lun, other, an_id(), SIZE, THIN, laid.door)
    with pytest.raises(EngineError):
        laid.array.export_disk(laid.lun, other, 1)
    laid.holds((9, 5 * MIB, 65536))
    laid.array.delete_disk(laid.lun.id, other)
    laid.array.delete_disk(laid.lun.id, laid.disk)


@pytest.mark.soak
@pytest.mark.parametrize("provisioning", [THIN, Provisioning.STATIC_DIFFERED])
def test_a_disk_on_an_encrypted_volume_moves_in_and_nothing_lies_there_in_clear(bench, provisioning):
    laid = Laid(bench, provisioning, key=lambda: b"k" * 32)
    folder = f"{laid.rig.folder}/{laid.lun.id}/files"
    laid.holds(*THEN)
    laid.rig.fill(laid.address, 7, MIB, 65536)
    laid.kill_array()
    laid.holds((7, MIB, 65536), *THEN[1:])
    shown = laid.rig.host.run(["grep", "-rlF", laid.door.key, folder, "/dev/shm"], check=False)
    assert (shown.stdout, shown.code) == ("", 1), "the key of the way is nowhere in clear"
    assert laid.move().error is None
    bench.vault.end_serving(laid.set_id, laid.reader)
    laid.holds((7, MIB, 65536), (1, 0, MIB), *THEN[1:])
    laid.array.fence_disk(laid.lun.id, laid.disk)
    for pattern in (1, 2, 7):
        words = ("python3", "-c", _SEEK, f"{folder}/disks/{laid.disk}.qcow2", str(pattern))
        assert laid.rig.host.run(words).stdout.strip() == "-1"
    laid.check_whole()
