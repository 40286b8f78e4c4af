"""What the storage classes hold: measured over nominal, for a volume's limit as a whole.

For each class a volume's limit (the class's ratio times 500 GB, or --size) is set on one real volume of the array, and fio's nbd
engine asks: depth 1, 4 and 32, on one disk and on eight at once, in requests of 4 and 64 KiB, half reads and half writes at
scattered offsets of disks that were written whole before (holes cost nothing, and would be measured as speed). Beside each figure
stands the same load on the same disks without a limit, in the same run: where that is below the nominal, the hardware ends first.

burst: the busiest second over the nominal, wherever it begins, of those after the first. p50 and p99: milliseconds from asking to
answer, the wait for the limit included. The first second is left out of everything: a limit lets through at once what a tenth of a second
would have let. With --pauses the load stops for 0.3 s after each 1.2 s of it: the limit's bucket is empty then, and the second that follows is the
worst that there is; how much was done on average says nothing.

With --guest the load comes from inside a guest instead: as many `dd` that read or write past its cache as the depth says, for each disk;
counted are the requests of its devices, each second by its own clock, but for those at whose ends it took long to look. Its processor, emulated
where there is no KVM, may end first.

    python benchmarks/storage_classes.py [--seconds S] [--classes essential,ultra] [--depths 1,4,32] [--disks 1,8] [--blocks 4,64]
                                         [--size GB] [--limited-only] [--pauses] [--guest] [--folder FOLDER]

`--seconds 60` is the whole measure; the default is a short look.
"""

import argparse
import contextlib
import json
import subprocess
import tempfile
import uuid
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path

from nbd_path import ADDRESS, MIB, PORT, LocalHost
from snapshots import Guest, booted

from naos.engines.array.driver import StorageDaemonArray
from naos.engines.ports import LunSpec, NbdAddress, Provisioning
from naos.inventory.catalogues import iops_limit, load_storage

DISK = 32 * MIB
LOOK = 0.03
"""Seconds. Where a guest takes longer to read clock and counters, they are of different moments."""
CLASSES = {name: kind for name, kind in load_storage().classes.items() if kind.iops_per_to}


@dataclass(frozen=True)
class Load:
    """block: KiB. pausing: requests of a disk after which it pauses, 0 for none."""

    depth: int
    disks: int
    block: int
    pausing: int = 0


@dataclass(frozen=True)
class Measured:
    """Requests a second over the whole time and in the busiest second; milliseconds."""

    rate: float
    busiest: float
    p50: float
    p99: float


def measure(folder: Path, addresses: Sequence[NbdAddress], load: Load, seconds: int) -> Measured:
    """One fio process with a job a disk; its logs have a line for each request: when it ended (ms), how long it took (ns)."""
    for old in folder.glob("log*"):
        old.unlink()
    argv = [
        *("fio", "--thread", "--ioengine=nbd", "--rw=randrw", f"--bs={load.block}k", f"--iodepth={load.depth}"),
        *("--time_based", "--ramp_time=1", f"--runtime={seconds}", f"--size={DISK}", "--randrepeat=0"),
        *("--output-format=json", "--log_avg_msec=0", f"--write_lat_log={folder}/log"),
        *("--disable_slat=1", "--disable_clat=1"),
    ]
    if load.pausing:
        argv += ["--thinktime=300ms", f"--thinktime_blocks={load.pausing}"]
    for number, address in enumerate(addresses[: load.disks]):
        argv += [f"--name=d{number}", f"--uri=nbd://{address.host}:{address.port}/{address.name}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    jobs = json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
    failed = sum(job["error"] for job in jobs)
    if failed:
        raise SystemExit(f"{failed} jobs had an I/O error")
    lines = [line.split(",") for path in folder.glob("log_lat*.log") for line in path.read_text().splitlines()]
    took = sorted(int(latency) for _, latency, *_ in lines)
    ends = sorted(
        end for ended, *_ in lines if (end := int(ended)) < seconds * 1000
    )  # what ended later had only waited
    busiest = max(bisect_left(ends, begin + 1000) - number for number, begin in enumerate(ends))
    return Measured(len(ends) / seconds, busiest, *(took[int(len(took) * share)] / 1e6 for share in (0.5, 0.99)))


@contextlib.contextmanager
def volume(
    folder: Path, disks: int, port: int = PORT
) -> Iterator[tuple[StorageDaemonArray, LunSpec, list[NbdAddress]]]:
    """A served volume with so many disks that are written whole."""
    array = StorageDaemonArray("benchmark", LocalHost(), ADDRESS, "file", str(folder))
    lun = LunSpec(str(uuid.uuid4()), max(512, disks * 48 + 128) * MIB, None, port)
    array.create_lun(lun)
    made = [str(uuid.uuid4()) for _ in range(disks)]
    try:
        array.ensure_daemon(lun, [])
        addresses = []
        for disk_id in made:
            array.create_disk(lun, disk_id, DISK, Provisioning.DYNAMIC)
            addresses.append(array.export_disk(lun, disk_id, 1))
            url = f"nbd://{ADDRESS}:{lun.port}/{addresses[-1].name}"
            subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -P 1 0 {DISK}", url], check=True, capture_output=True)
        yield array, lun, addresses
    finally:
        for disk_id in made:
            array.delete_disk(lun.id, disk_id)
        array.delete_lun(lun.id)


def inside(guest: Guest, load: Load, seconds: int) -> tuple[float, float, float]:
    """Requests a second, those of the busiest second, and milliseconds that one took on average, by a guest's own counters."""
    devices = [f"vd{chr(ord('b') + number)}" for number in range(load.disks)]
    ways = [number % 2 == 1 for number in range(load.depth)]
    return asked(guest, devices, ways, load.block, seconds)


def asked(
    guest: Guest, devices: Sequence[str], ways: Sequence[bool], block: int, seconds: int
) -> tuple[float, float, float]:
    """As `inside`: for each way and device a `dd` that writes (True) or reads `block` KiB after `block` KiB past the cache."""
    guest.type("rm -f /tmp/busy; touch /tmp/busy")
    for device, writes in product(devices, ways):
        ends = f"if=/dev/{device} of=/dev/null iflag=direct"
        if writes:
            ends = f"if=/dev/zero of=/dev/{device} oflag=direct conv=notrunc"
        guest.type(
            f"(while [ -e /tmp/busy ]; do dd {ends} bs={block}k count={32 * 1024 // block}; done) 2> /dev/null & true"
        )
    counted = " ".join(f"/sys/block/{device}/stat" for device in devices)
    summed = 'END { print "S", at, $1 - at, n, t }'
    look = f"cat /proc/uptime {counted} /proc/uptime | awk 'NR == 1 {{ at = $1 }} NF > 2 {{ n += $1 + $5; t += $4 + $8 }} {summed}'"
    said = guest.type(
        f"sleep 1; for s in $(seq {seconds + 1}); do {look}; sleep 1; done; rm /tmp/busy; killall dd; wait"
    )
    looks = [tuple(map(float, line.split()[1:])) for line in said.splitlines() if line.startswith("S ")]
    each = [
        (more[2] - less[2]) / (more[0] - less[0])
        for less, more in pairwise(looks)
        if less[1] <= LOOK and more[1] <= LOOK
    ]
    (begin, _, before, waited), (end, _, after, more_waited) = looks[0], looks[-1]
    busiest = max(each, default=float("nan"))
    return (after - before) / (end - begin), busiest, (more_waited - waited) / (after - before)


def from_a_guest(folder: Path, chosen: argparse.Namespace, loads: Sequence[Load]) -> None:
    with volume(folder, max(chosen.disks), PORT + 20) as (array, lun, addresses), booted(folder, addresses) as guest:
        print("class       depth disks  KiB  nominal   measured  of nominal  burst  mean ms   (from inside a guest)")
        for kind in chosen.classes:
            nominal = iops_limit(CLASSES[kind], chosen.size * 10**9) or 0
            array.limit_lun(replace(lun, iops=nominal))
            for load in loads:
                rate, busiest, mean = inside(guest, load, chosen.seconds)
                print(
                    f"{kind:11} {load.depth:5} {load.disks:5} {load.block:4} {nominal:8,} {rate:10,.1f}"
                    f" {rate / nominal:10.1%} {busiest / nominal:6.1%} {mean:8.2f}",
                    flush=True,
                )


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--classes", type=lambda text: text.split(","), default=list(CLASSES))
    parser.add_argument("--depths", type=numbers, default=[1, 4, 32])
    parser.add_argument("--disks", type=numbers, default=[1, 8])
    parser.add_argument("--blocks", type=numbers, default=[4, 64])
    parser.add_argument(
        "--size", type=int, default=500, help="GB of the volume whose limit is set (it is not made so large)"
    )
    parser.add_argument("--limited-only", action="store_true", help="leave out the same load without a limit")
    parser.add_argument("--pauses", action="store_true", help="pause again and again")
    parser.add_argument("--guest", action="store_true", help="from inside a guest")
    parser.add_argument("--folder", type=Path, default=None, help="where the volume lies (default: a temporary folder)")
    chosen = parser.parse_args()
    loads = [Load(*load) for load in product(chosen.depths, chosen.disks, chosen.blocks)]
    if chosen.guest:
        with tempfile.TemporaryDirectory(prefix="sc", dir=chosen.folder) as name:
            from_a_guest(Path(name), chosen, loads)
        return
    with (
        tempfile.TemporaryDirectory(prefix="sc", dir=chosen.folder) as name,
        volume(Path(name), max(chosen.disks)) as (array, lun, addresses),
    ):
        logs = Path(name) / "logs"
        logs.mkdir()
        free: dict[Load, float] = {}
        print(
            "class       depth disks  KiB  nominal   measured  of nominal  unlimited  of it  burst  p50 ms  p99 ms  p99/p50"
        )
        for kind in chosen.classes:
            nominal = iops_limit(CLASSES[kind], chosen.size * 10**9) or 0
            for load in loads:
                array.limit_lun(lun)
                if load not in free and not chosen.limited_only:
                    free[load] = measure(logs, addresses, load, chosen.seconds).rate
                of_free = f"{free[load]:10,.0f} {{:6.2f}}" if load in free else f"{'':10} {'':6}"
                array.limit_lun(replace(lun, iops=nominal))
                asked = replace(load, pausing=nominal * 6 // 5 // load.disks) if chosen.pauses else load
                found = measure(logs, addresses, asked, chosen.seconds)
                print(
                    f"{kind:11} {load.depth:5} {load.disks:5} {load.block:4} {nominal:8,} {found.rate:10,.1f}"
                    f" {found.rate / nominal:10.1%} {of_free.format(found.rate / free.get(load, 1.0))}"
                    f" {found.busiest / nominal:6.1%} {found.p50:7.2f} {found.p99:7.2f} {found.p99 / found.p50:8.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
