"""Names of files as text: any bytes go in, and come back the same.

What is printable UTF-8 stands as it is. Every other byte, a slash inside a name, and the sign itself are written ``%XX``.
"""

import re

_WRITTEN = re.compile(rb"%([0-9A-Fa-f]{2})")
LONGEST = 65536  # characters of a path


class Unclear(ValueError):
    """A text that is no path."""


def shown(name: bytes) -> str:
    """One name."""
    parts = []
    for character in name.decode("utf-8", "surrogateescape"):
        if "\udc80" <= character <= "\udcff":
            parts.append(f"%{ord(character) - 0xDC00:02X}")
        elif character in "%/" or not character.isprintable():
            parts.append("".join(f"%{byte:02X}" for byte in character.encode()))
        else:
            parts.append(character)
    return "".join(parts)


def path(names: list[bytes]) -> str:
    return "/" + "/".join(map(shown, names))


def named(text: str) -> list[bytes]:
    """The names of a path from the root. Raises Unclear."""
    if len(text) > LONGEST:
        raise Unclear(f"it is longer than {LONGEST} characters")
    found = []
    for part in text.split("/"):
        if not part or part == ".":
            continue
        try:
            raw = part.encode()
        except UnicodeEncodeError:
            raise Unclear("it is no text") from None
        if b"%" in _WRITTEN.sub(b"", raw):
            raise Unclear("a percent sign is written %25")
        name = _WRITTEN.sub(lambda match: bytes([int(match[1], 16)]), raw)
        if name == b".." or b"\0" in name:
            raise Unclear("it leads upwards, or has a zero byte")
        found.append(name)
    return found
