"""What is to be done at once: making a volume of 500 GiB, cloning a template, and a snapshot of a disk in use.

Volume: until it is served, over what its parts take bare: a sparse file, `mkfs.xfs`, a mount. Clone: of a template with 16 MiB in it, and
of one with 1 GiB. Snapshot: the longest time that one write of a client of the array took, with snapshots taken all the while, and
without; for disks of which so much is allocated, all of which a snapshot has to note; and what the volume's daemon computed for the first of them and
for the later ones, in which the wait for a processor is not. With --guest the same in a guest, where a shell
writes 4 KiB after 4 KiB past its cache, and looks at its clock, which counts hundredths, after each: starting `dd` is in it.

    python benchmarks/snapshots.py [--rounds N] [--allocated GIB,GIB,...] [--guest] [--folder FOLDER]

Needs root.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from nbd_path import ADDRESS, MIB, PORT, LocalHost

from naos.catalogue.images import tiny
from naos.engines.array.driver import StorageDaemonArray
from naos.engines.ports import LunSpec, NbdAddress, Provisioning

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lab"))
from guest_rig import Guest, disk

GIB = 1024 * MIB
LUN = 500 * GIB
LOOP = (
    "n=0; most=0; rm -f /tmp/stop /tmp/gap; read t _ < /proc/uptime; old=${t%.*}${t#*.}; while [ ! -e /tmp/stop ]; do "
    "dd if=/dev/zero of=/dev/vdb bs=4k count=1 oflag=direct conv=notrunc seek=$((n % 1000)) 2> /dev/null || break; "
    "read t _ < /proc/uptime; t=${t%.*}${t#*.}; [ $((t - old)) -gt $most ] && most=$((t - old)); old=$t; n=$((n + 1)); "
    "done; echo $most $n > /tmp/gap"
)


def seconds(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def an_id() -> str:
    return str(uuid.uuid4())


@contextmanager
def volume(folder: Path) -> Iterator[tuple[StorageDaemonArray, LunSpec]]:
    """A served volume of 500 GiB, in a sparse file; its disks go with it."""
    array = StorageDaemonArray("benchmark", LocalHost(), ADDRESS, "file", str(folder))
    lun = LunSpec(an_id(), LUN, None, PORT + 10)
    try:
        array.create_lun(lun)
        array.ensure_daemon(lun, [])
        try:
            yield array, lun
        finally:
            for disk_id in array.contents(lun.id).disks:
                array.delete_disk(lun.id, disk_id)
    finally:
        array.delete_lun(lun.id)


def bare(folder: Path) -> None:
    """What a volume is made of, by hand."""
    file, mount = folder / "bare", folder / "bare.mounted"
    mount.mkdir()
    subprocess.run(["truncate", "-s", str(LUN), file], check=True)
    subprocess.run(["mkfs.xfs", "-q", file], check=True)
    subprocess.run(["mount", "-o", "loop", file, mount], check=True)
    subprocess.run(["umount", mount], check=True)
    mount.rmdir()
    file.unlink()


def volumes(folder: Path, rounds: int) -> None:
    made, parts = [], []
    for _ in range(rounds):
        began = time.monotonic()
        with volume(folder):
            made.append(time.monotonic() - began)
        parts.append(seconds(lambda: bare(folder)))
    own, reference = statistics.median(made), statistics.median(parts)
    print(
        f"volume of 500 GiB: {own:.2f} s; bare {reference:.2f} s, ratio {own / reference:.2f}; most {max(made):.2f} s"
    )


def clones(folder: Path, rounds: int) -> None:
    found = {}
    with volume(folder) as (array, lun):
        for size in (16 * MIB, GIB):
            image, template_id = folder / "template.qcow2", an_id()
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, str(2 * GIB)], check=True)
            words = ["qemu-io", "-f", "qcow2", "-c", f"write -q -P 7 0 {size}", image]
            subprocess.run(words, check=True, capture_output=True)
            array.stage_template(lun.id, template_id, image)
            image.unlink()
            clone = [seconds(lambda: array.clone_template(lun, an_id(), template_id, 4 * GIB)) for _ in range(rounds)]  # noqa: B023
            found[size] = statistics.median(clone)
    small, large = found.values()
    print(
        f"clone of a template with 16 MiB: {small * 1000:.1f} ms; with 1 GiB: {large * 1000:.1f} ms, ratio {large / small:.2f}"
    )


def longest(folder: Path, address: NbdAddress, length: int) -> float:
    """Milliseconds that the slowest of a client's writes took in so many seconds."""
    log = folder / "log"
    argv = [
        *("fio", "--name=x", "--thread", "--ioengine=nbd", f"--uri=nbd://{address.host}:{address.port}/{address.name}"),
        *("--rw=randwrite", "--bs=4k", "--iodepth=1", "--size=64m", "--time_based", f"--runtime={length}"),
        *("--log_avg_msec=0", f"--write_lat_log={log}", "--disable_slat=1", "--disable_clat=1"),
    ]
    subprocess.run(argv, check=True, capture_output=True)
    took = [int(line.split(",")[1]) for path in folder.glob("log_lat*") for line in path.read_text().splitlines()]
    for path in folder.glob("log_lat*"):
        path.unlink()
    return max(took) / 1e6


def computed(folder: Path, lun: LunSpec) -> float:
    """Milliseconds of a processor that the volume's daemon has had."""
    pid = int((folder / lun.id / "pid").read_text())
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def alone(folder: Path, array: StorageDaemonArray, lun: LunSpec, disk_id: str) -> list[float]:
    """Milliseconds that the daemon computes for each of four snapshots of a disk that nobody writes to."""
    took = []
    for _ in range(4):
        before = computed(folder, lun)
        array.snapshot_disks(lun, an_id(), [disk_id])
        took.append(computed(folder, lun) - before)
    return took


class Taking:
    """Snapshots of a disk, one after the other, while the context is open; `took`: seconds of each."""

    def __init__(self, array: StorageDaemonArray, lun: LunSpec, disk_id: str) -> None:
        self._array, self._lun, self._disk_id = array, lun, disk_id
        self.took: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._take)

    def _take(self) -> None:
        while not self._stop.wait(0.4):
            snapshot_id = an_id()
            self.took.append(seconds(lambda: self._array.snapshot_disks(self._lun, snapshot_id, [self._disk_id])))  # noqa: B023
            if self._stop.wait(0.4):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def snapshots(folder: Path, allocated: Sequence[int], length: int) -> None:
    with volume(folder) as (array, lun):
        for gib in allocated:
            disk_id = an_id()
            array.create_disk(lun, disk_id, gib * GIB, Provisioning.STATIC_DIFFERED)
            address = array.export_disk(lun, disk_id, 1)
            first, *later = alone(folder, array, lun, disk_id)
            quiet = longest(folder, address, length)
            with Taking(array, lun, disk_id) as taking:
                disturbed = longest(folder, address, length)
            call = statistics.median(taking.took) * 1000
            print(
                f"snapshot, {gib:4} GiB allocated: the slowest write took {disturbed:6.0f} ms, without {quiet:5.0f} ms; "
                f"the call {call:5.0f} ms ({len(taking.took)} of them); "
                f"the daemon computed {first:4.0f} ms for the first, {statistics.median(later):4.0f} ms for later ones",
                flush=True,
            )
            array.delete_disk(lun.id, disk_id)


@contextmanager
def booted(folder: Path, addresses: Sequence[NbdAddress], images: Sequence[Path] = ()) -> Iterator[Guest]:
    """A tiny guest that has come up, with these disks as /dev/vdb, /dev/vdc and so on, and after them the images (qcow2), which its
    QEMU opens itself."""
    image, boot = folder / "tiny.qcow2", folder / "boot.qcow2"
    if not image.exists():
        tiny.build_tiny(image)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, boot], check=True)
    words = disk(boot)
    sources = [f"file=nbd://{address.host}:{address.port}/{address.name},format=raw" for address in addresses]
    sources += [f"file={image},format=qcow2,aio=native" for image in images]
    words += ["-object", "iothread,id=disks"]
    for number, source in enumerate(sources):
        words += ["-drive", f"{source},if=none,id=data{number},cache=none"]
        words += ["-device", f"virtio-blk-pci,drive=data{number},iothread=disks"]
    guest = Guest(folder, words, deadline=120.0)
    try:
        guest.expect("naos-tiny .* ready")
        yield guest
    finally:
        guest.close()
        boot.unlink()


def in_a_guest(folder: Path, allocated: Sequence[int], length: int) -> None:
    with volume(folder) as (array, lun):
        for gib in allocated:
            disk_id = an_id()
            array.create_disk(lun, disk_id, gib * GIB, Provisioning.STATIC_DIFFERED)
            with booted(folder, [array.export_disk(lun, disk_id, 1)]) as guest:
                quiet = _gap(guest, length)
                with Taking(array, lun, disk_id) as taking:
                    disturbed = _gap(guest, length)
            print(
                f"in a guest, {gib:4} GiB allocated: {disturbed[0]:4} ms at most between two writes, "
                f"without {quiet[0]:4} ms ({quiet[1] / length:.0f} writes a second; {len(taking.took)} snapshots)",
                flush=True,
            )
            array.delete_disk(lun.id, disk_id)


def _gap(guest: Guest, length: int) -> tuple[int, int]:
    """The most milliseconds from one write's end to the next one's, and how many writes there were."""
    guest.type(f"({LOOP}) > /dev/null 2>&1 & true")
    time.sleep(length)
    said = guest.type("touch /tmp/stop; while [ ! -s /tmp/gap ]; do usleep 50000; done; cat /tmp/gap")
    hundredths, writes = said.split()[-2:]
    return int(hundredths) * 10, int(writes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6, help="of each load")
    parser.add_argument("--allocated", type=lambda text: [int(word) for word in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--guest", action="store_true", help="measure snapshots from inside a guest, too")
    parser.add_argument("--folder", type=Path, default=None, help="where the volumes lie (default: a temporary folder)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sn", dir=chosen.folder) as name:
        folder = Path(name)
        volumes(folder, chosen.rounds)
        clones(folder, chosen.rounds)
        snapshots(folder, chosen.allocated, chosen.seconds)
        if chosen.guest:
            in_a_guest(folder, chosen.allocated, chosen.seconds)


if __name__ == "__main__":
    main()
