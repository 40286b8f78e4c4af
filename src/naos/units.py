"""Sizes: bytes inside, binary units (KiB, MiB, GiB, TiB) for people."""

import re

MIB = 2**20
GIB = 2**30
TIB = 2**40
_FACTORS = {"": 1, "B": 1, "K": 2**10, "M": MIB, "G": GIB, "T": TIB}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])i?)?B?\s*$", re.IGNORECASE)


def size_text(size: int) -> str:
    """``1536 * MIB`` -> ``1.5 GiB``; exact where two decimals suffice."""
    for unit, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", 2**10)):
        if abs(size) >= factor:
            return f"{size / factor:.2f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{size} B"


def parse_size(text: str) -> int:
    """``10GiB``, ``512 M``, ``1.5T`` or plain bytes -> bytes (units are binary). Raises ValueError."""
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 512MiB, 10GiB or 1.5TiB")
    return int(float(match[1]) * _FACTORS[(match[2] or "").upper()])
