"""What a guest notices of the way to the array: one guest asks the same of a disk behind the array's export and of an equal image that
its own QEMU opens, in turn; medians of the rounds. `nbd_path.py` has the same without a guest, which where there is no KVM is
emulated and slower than either way: a ratio near 1 says then that the way is not what a guest waits for.

Each request is 4 KiB or 1 MiB, read or written past the guest's cache, by one `dd` or by sixteen at once.

    python benchmarks/guest_path.py [--rounds N] [--seconds S] [--folder FOLDER]

Needs root.
"""

import argparse
import statistics
import subprocess
import tempfile
from itertools import product
from pathlib import Path

from nbd_path import MIB, PORT
from snapshots import booted
from storage_classes import DISK, asked, volume


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each measure")
    parser.add_argument("--folder", type=Path, default=None, help="where the disks lie (default: a temporary folder)")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="gp", dir=chosen.folder) as name,
        volume(Path(name), 1, PORT + 30) as (_, _, addresses),
    ):
        own = Path(name) / "own.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", own, str(DISK)], check=True)
        subprocess.run(["qemu-io", "-c", f"write -P 1 0 {DISK}", own], check=True, capture_output=True)
        with booted(Path(name), addresses, [own]) as guest:
            for block, writes, depth in product((4, MIB // 1024), (False, True), (1, 16)):
                rates: dict[str, list[float]] = {"vdb": [], "vdc": []}
                for _, (device, found) in product(range(chosen.rounds), rates.items()):
                    found.append(asked(guest, [device], [writes] * depth, block, chosen.seconds)[0])
                exported, direct = (statistics.median(found) for found in rates.values())
                print(
                    f"{block:4} KiB {'writes' if writes else 'reads':6}, depth {depth:2}: {exported:8,.0f} /s through the export, "
                    f"{direct:8,.0f} /s directly, ratio {exported / direct:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
