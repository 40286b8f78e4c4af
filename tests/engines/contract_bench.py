"""What the rules of a contract are tried on, and what they share."""

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from naos.engines.ports import Array, Hypervisor, LunSpec, Provisioning, Rack

MIB = 2**20
THIN, RESERVED = Provisioning.DYNAMIC, Provisioning.STATIC_DIFFERED
TAG = 3021


@dataclass
class Bench:
    """What rules are tried on: an array and two blades of its zone, healthy and empty.

    image: a whole qcow2 of 32 MiB. folder: an existing folder of the array's host that is empty.
    """

    rack: Rack
    array_name: str
    one: str
    two: str
    image: Path
    folder: str = "/"
    ports: Iterator[int] = field(default_factory=lambda: iter(range(10900, 10999)))

    @property
    def array(self) -> Array:
        return self.rack.array(self.array_name)

    @property
    def hypervisor(self) -> Hypervisor:
        return self.rack.hypervisor(self.one)


Rule = Callable[[Bench], None]


def an_id() -> str:
    return str(uuid.uuid4())


def an_image(path: Path) -> None:
    """A whole qcow2 of 32 MiB with something in it."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(32 * MIB)], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P 7 0 {MIB}", path], check=True, capture_output=True)


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@contextmanager
def served_lun(bench: Bench, capacity: int = 512 * MIB) -> Iterator[LunSpec]:
    """A volume whose daemon runs; afterwards it is gone with what is on it."""
    array, lun = bench.array, LunSpec(an_id(), capacity, 1000, next(bench.ports))
    array.create_lun(lun)
    assert array.ensure_daemon(lun, []) is True
    try:
        yield lun
    finally:
        array.ensure_daemon(lun, [])
        held = array.contents(lun.id)
        for disk_id in held.disks:
            array.delete_disk(lun.id, disk_id)
        array.delete_lun(lun.id)
        assert lun.id not in array.luns()
