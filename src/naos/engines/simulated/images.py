"""What a simulated array has to do with images: it reads a template's head, and serves disks that are empty."""

import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from naos.engines.errors import Missing, Unreachable, Unsupported

_HEAD = struct.Struct(">4sIQIIQ")
_MAGIC = b"QFI\xfb"


def virtual_size(where: str, image: Path) -> int:
    """Bytes of the disk that a qcow2 file holds. Raises Missing, or Unsupported for anything else or a file with a backing."""
    try:
        with image.open("rb") as handle:
            head = handle.read(_HEAD.size)
    except FileNotFoundError as error:
        raise Missing("this machine", f"image {image}", "it was to become a template") from error
    if len(head) < _HEAD.size or not head.startswith(_MAGIC):
        raise Unsupported(where, f"the image {image}", "it is no qcow2 file")
    _, _, backing, _, _, size = _HEAD.unpack(head)
    if backing:
        raise Unsupported(where, f"the image {image}", "it has a backing file")
    return int(size)


@contextmanager
def zeroes(size: int) -> Iterator[str]:
    """A socket at which an empty disk of `size` bytes is served over NBD."""
    with tempfile.TemporaryDirectory(prefix="naos-read-") as folder:
        image, socket = Path(folder) / "disk", Path(folder) / "nbd"
        with image.open("wb") as handle:
            handle.truncate(size)
        argv = ["qemu-nbd", "--read-only", "--persistent", "--format=raw", f"--socket={socket}", str(image)]
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 20
            while not socket.exists():
                if server.poll() is not None or time.monotonic() > end:
                    raise Unreachable("the simulated array", "reading a disk", "qemu-nbd did not begin to serve it")
                time.sleep(0.01)
            yield str(socket)
        finally:
            server.kill()
            server.wait()
