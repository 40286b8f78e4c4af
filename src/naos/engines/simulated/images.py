"""The only thing that a simulated array reads of a template: its head."""

import struct
from pathlib import Path

from naos.engines.errors import Missing, Unsupported

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
