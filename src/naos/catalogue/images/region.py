"""A part of a file that is read as if it were a file: a whole image, or a disk inside an archive."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True)
class Region:
    """`size` bytes of the file at `path` from `offset` on."""

    path: Path
    offset: int
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes; fewer at the end, none outside the region."""
        length = min(length, self.size - offset)
        if length <= 0 or offset < 0:
            return b""
        with self.path.open("rb") as stream:
            stream.seek(self.offset + offset)
            return stream.read(length)

    def chunks(self) -> Iterator[bytes]:
        """The whole content in order."""
        left = self.size
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            while left > 0 and (chunk := stream.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk

    def digest(self, algorithm: str) -> str:
        """Hexadecimal digest of the content by an algorithm of hashlib."""
        digest = hashlib.new(algorithm, usedforsecurity=False)
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()


def whole(path: Path) -> Region:
    return Region(path, 0, path.stat().st_size)
