"""Copies of several disks at one instant, between volumes and arrays, on real daemons."""

import contextlib
import json
import os
import signal
import time
import uuid

import pytest
from array_rig import ADDRESS, MIB, Rig, available, url

from naos.engines.array.driver import StorageDaemonArray
from naos.engines.errors import Busy, EngineError, Missing, NoSpace, Unreachable
from naos.engines.ports import DiskCopy, LunSpec, NbdAddress, Provisioning

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]
THIN = Provisioning.DYNAMIC
SIZE = 64 * MIB


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """With a second array, `far`, on the same host."""
    made = Rig(tmp_path_factory.mktemp("c"))
    folder = tmp_path_factory.mktemp("f")
    made.far = StorageDaemonArray("array2", made.host, ADDRESS, "file", str(folder))
    yield made
    made.close()


@pytest.fixture(scope="module")
def near(rig):
    return rig.lun()


@pytest.fixture(scope="module")
def other(rig):
    return rig.lun()


@pytest.fixture(scope="module")
def remote(rig):
    lun = LunSpec(str(uuid.uuid4()), 512 * MIB, None, 10990)
    rig.far.create_lun(lun)
    rig.far.ensure_daemon(lun, [])
    return lun


def a_disk(array, lun, size=SIZE) -> str:
    disk_id = str(uuid.uuid4())
    array.create_disk(lun, disk_id, size, THIN)
    return disk_id


def a_target(array, lun, disk_id, size=SIZE) -> NbdAddress:
    array.create_disk(lun, disk_id, size, THIN)
    return array.export_disk(lun, disk_id, 1)


def wait(array, lun, wanted) -> list[int]:
    """Until the copies are complete; the bytes seen done on the way."""
    seen = []
    while (job := array.copies(lun, wanted)).running:
        seen.append(job.done)
        time.sleep(0.02)
    assert job.done == job.total
    return [*seen, job.done]


def same(rig, left: NbdAddress, right: NbdAddress) -> bool:
    argv = ["qemu-img", "compare", "-f", "raw", "-F", "raw", url(left), url(right)]
    return rig.host.run(argv, timeout=60, check=False).code == 0


class Pair:
    """A client that writes n to the first disk, then, once that is answered, n to the second, for ever."""

    def __init__(self, rig, first: NbdAddress, second: NbdAddress) -> None:
        program = f"""
import subprocess
files = [subprocess.Popen(["qemu-io", "-f", "raw", "-t", "none", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
         for url in {[url(first), url(second)]!r}]
n = 0
while True:
    n += 1
    for file in files:
        file.stdin.write(f"write -P {{n % 251 + 1}} {{n * 4096 % {SIZE}}} 4096\\n")
        file.stdin.flush()
        while "ops" not in file.stdout.readline():
            pass
    print(n, flush=True)
"""
        self.process = rig.host.spawn("python3", "-c", program)

    def count(self) -> int:
        return int(self.process.stdout.readline())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def written(rig, address: NbdAddress) -> int:
    """How many blocks of a fresh disk hold something: how far the writer had come."""
    done = rig.host.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "raw", url(address), f"{rig.folder}/read"], timeout=60
    )
    assert done.code == 0
    data = (rig.folder / "read").read_bytes()
    blocks = [data[at : at + 4096] for at in range(4096, len(data), 4096)]
    count = 0
    for number, block in enumerate(blocks, 1):
        if block != bytes([number % 251 + 1]) * 4096:
            break
        count = number
    assert not any(any(block) for block in blocks[count:]), "a hole in what was written"
    return count


def test_disks_in_use_are_copied_as_of_one_instant_to_another_array(rig, near, remote):
    sources = [a_disk(rig.array, near) for _ in range(2)]
    addresses = [rig.array.export_disk(near, source, 1) for source in sources]
    writer = Pair(rig, *addresses)
    try:
        while writer.count() < 100:
            pass
        ids = [str(uuid.uuid4()) for _ in sources]
        wanted = [
            DiskCopy(source, disk_id, a_target(rig.far, remote, disk_id))
            for source, disk_id in zip(sources, ids, strict=True)
        ]
        for _ in range(2):
            rig.array.begin_copies(near, wanted)
        at = writer.count()
        assert wait(rig.array, near, wanted)
        while writer.count() < at + 100:  # the guest goes on meanwhile
            pass
    finally:
        writer.end()
    for _ in range(2):
        rig.array.finish_copies(near, wanted)
    first, second = (written(rig, copy.target) for copy in wanted)
    assert 100 <= second <= first <= second + 1
    assert first < written(rig, addresses[0])
    for lun_array, lun, disk_ids in ((rig.array, near, sources), (rig.far, remote, ids)):
        for disk_id in disk_ids:
            lun_array.delete_disk(lun.id, disk_id)
    assert nodes(rig, near) == nodes(rig, remote, rig.far) == []


def nodes(rig, lun, array=None) -> list[str]:
    folder = (array or rig.array)._root
    lines = '{"execute":"qmp_capabilities"}\n{"execute":"query-named-block-nodes"}\n'
    program = (
        "import socket,sys,json\ns=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);f=s.makefile('rw')\nf.readline()\n"
        f"f.write({lines!r});f.flush()\nf.readline()\nprint(json.dumps([n['node-name'] for n in json.loads(f.readline())['return']]))"
    )
    return json.loads(rig.host.run(["python3", "-c", program, f"{folder}/{lun.id}/qmp"]).stdout)


def test_a_copy_to_its_own_and_to_another_volume_is_whole_and_sparse(rig, near, other):
    source = a_disk(rig.array, near)
    rig.fill(rig.array.export_disk(near, source, 1), 7, 8 * MIB, MIB)
    rig.array.fence_disk(near.id, source)  # at rest
    local, away = str(uuid.uuid4()), str(uuid.uuid4())
    for wanted, lun, disk_id in (
        (DiskCopy(source, local), near, local),
        (DiskCopy(source, away, a_target(rig.array, other, away)), other, away),
        # the same disk, moved: it keeps its id
        (DiskCopy(source, source, a_target(rig.array, other, source)), other, source),
    ):
        rig.array.begin_copies(near, [wanted])
        wait(rig.array, near, [wanted])
        rig.array.finish_copies(near, [wanted])
        address = rig.array.export_disk(lun, disk_id, 2)
        assert same(rig, rig.array.export_disk(near, source, 2), address)
        rig.array.fence_disk(near.id, source)
        rig.array.fence_disk(lun.id, disk_id)
        assert rig.array.disk(lun.id, disk_id).allocated < 3 * MIB
    for lun, disk_id in ((near, source), (near, local), (other, away), (other, source)):
        rig.array.delete_disk(lun.id, disk_id)
    assert nodes(rig, near) == nodes(rig, other) == []


def test_a_copy_that_is_cancelled_or_fails_leaves_the_source_and_its_guest_alone(rig, near, other):
    source, copy = a_disk(rig.array, near), str(uuid.uuid4())
    address = rig.array.export_disk(near, source, 1)
    rig.fill(address, 3, 0, 48 * MIB)
    before = rig.checksum(address)
    wanted = [DiskCopy(source, copy, a_target(rig.array, other, copy))]
    with pytest.raises(EngineError):
        rig.array.begin_copies(near, [DiskCopy(source, copy, NbdAddress(ADDRESS, other.port, f"{copy}.9"))])
    with pytest.raises(Missing):
        rig.array.begin_copies(near, [DiskCopy(str(uuid.uuid4()), str(uuid.uuid4()))])
    rig.array.begin_copies(near, wanted, speed=MIB)
    assert rig.array.copies(near, wanted).running
    with pytest.raises(Busy):
        rig.array.finish_copies(near, wanted)
    with pytest.raises(Busy):  # one copy of a disk at a time
        rig.array.begin_copies(near, [DiskCopy(source, str(uuid.uuid4()))])
    for _ in range(2):
        rig.array.cancel_jobs(near.id, copy)
    with pytest.raises(EngineError, match="begin again"):
        rig.array.copies(near, wanted)
    rig.array.begin_copies(near, wanted, speed=MIB)
    rig.host.kill_daemon(other.id)  # the target's
    with pytest.raises(EngineError):
        wait(rig.array, near, wanted)
    rig.array.cancel_jobs(near.id, copy)
    rig.fill(address, 4, 48 * MIB, MIB)
    assert rig.holds(address, 3, 0, 48 * MIB)
    rig.array.ensure_daemon(other, [])
    rig.array.delete_disk(other.id, copy)
    assert before != rig.checksum(address)
    rig.array.delete_disk(near.id, source)
    assert nodes(rig, near) == nodes(rig, other) == []


def test_a_full_target_is_named(rig, near, other):
    small = rig.lun(capacity=300 * MIB)
    source, copy = a_disk(rig.array, near, 400 * MIB), str(uuid.uuid4())
    rig.fill(rig.array.export_disk(near, source, 1), 3, 0, 320 * MIB)
    wanted = [DiskCopy(source, copy, a_target(rig.array, small, copy, 400 * MIB))]
    rig.array.begin_copies(near, wanted)
    with pytest.raises(NoSpace):
        wait(rig.array, near, wanted)
    rig.array.cancel_jobs(near.id, copy)
    rig.array.delete_disk(small.id, copy)
    rig.array.delete_disk(near.id, source)


def test_a_daemon_that_dies_ends_its_copies_and_nothing_else(rig, near, other):
    source, copy = a_disk(rig.array, near), str(uuid.uuid4())
    rig.fill(rig.array.export_disk(near, source, 1), 3, 0, 48 * MIB)
    wanted = [DiskCopy(source, copy, a_target(rig.array, other, copy))]
    rig.array.begin_copies(near, wanted, speed=MIB)
    rig.host.kill_daemon(near.id)
    rig.array.ensure_daemon(near, [])
    with pytest.raises(EngineError, match="begin again"):
        rig.array.copies(near, wanted)
    rig.array.begin_copies(near, wanted)
    wait(rig.array, near, wanted)
    rig.array.finish_copies(near, wanted)
    assert same(rig, rig.array.export_disk(near, source, 2), wanted[0].target)
    rig.array.delete_disk(near.id, source)
    rig.array.delete_disk(other.id, copy)


def test_two_volumes_that_are_copied_to_each_other_at_once_come_to_an_end(rig, near, other):
    left, right = a_disk(rig.array, near), a_disk(rig.array, other)
    there, back = str(uuid.uuid4()), str(uuid.uuid4())
    pairs = [
        (near, DiskCopy(left, there, a_target(rig.array, other, there))),
        (other, DiskCopy(right, back, a_target(rig.array, near, back))),
    ]
    for _ in range(3):
        for lun, copy in pairs:
            rig.array.begin_copies(lun, [copy])
        for lun, copy in pairs:
            wait(rig.array, lun, [copy])
            rig.array.finish_copies(lun, [copy])
    for lun, disk_id in ((near, left), (near, back), (other, right), (other, there)):
        rig.array.delete_disk(lun.id, disk_id)


@contextlib.contextmanager
def stopped(rig, lun):
    """The volume's daemon stands still, as behind a link that swallows everything."""
    pid = rig.host.daemons()[lun.id]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.soak
@pytest.mark.parametrize("when", ["under way", "complete", "to be finished"])
def test_a_target_that_says_nothing_holds_up_nobody_else(rig, near, remote, when):
    source, beside, copy_id = a_disk(rig.array, near), a_disk(rig.array, near), str(uuid.uuid4())
    address, quick = (rig.array.export_disk(near, each, 1) for each in (source, beside))
    rig.fill(address, 5, 0, 16 * MIB)
    wanted = [DiskCopy(source, copy_id, a_target(rig.far, remote, copy_id))]
    rig.array.begin_copies(near, wanted, speed=MIB if when == "under way" else None)
    if when != "under way":
        wait(rig.array, near, wanted)
    with stopped(rig, remote):
        if when == "to be finished":
            with pytest.raises(Unreachable, match="says nothing"):
                rig.array.finish_copies(near, wanted)
        else:
            rig.array.cancel_jobs(near.id, copy_id)
        rig.io(quick, "write -P 3 0 1M", "flush")
    if when == "to be finished":
        rig.array.finish_copies(near, wanted)
        assert rig.far.disk(remote.id, copy_id) is not None
    assert [job for job in jobs_of(rig, near) if copy_id in job] == []
    for lun, array, each in ((near, rig.array, source), (near, rig.array, beside), (remote, rig.far, copy_id)):
        array.delete_disk(lun.id, each)


def jobs_of(rig, lun) -> list[str]:
    lines = '{"execute":"qmp_capabilities"}\n{"execute":"query-jobs"}\n'
    program = (
        "import socket,sys\ns=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);f=s.makefile('rw')\nf.readline()\n"
        f"f.write({lines!r});f.flush()\nf.readline()\nprint(f.readline())"
    )
    done = rig.host.run(["python3", "-c", program, f"{rig.folder}/{lun.id}/qmp"])
    return [job["id"] for job in json.loads(done.stdout)["return"]]
