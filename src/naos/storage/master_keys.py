"""The operator's master keys, which wrap those of encrypted volumes: a file with one a line, newest first.

A line is 32 bytes in base64, or `kmip://host[:port]/identifier`, a key that a key server holds. The file is read, and the server
asked, whenever a key is needed: the file may lie on a medium that is there only then, and a server may stop giving its key away.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from naos.settings import Settings
from naos.storage import kmip

BYTES = 32


class UnusableError(Exception):
    """Why there is no master key, in a sentence without its full stop."""


@dataclass(frozen=True)
class Master:
    """name: the beginning of the key's hash; wrapped keys carry it. source: the line's number, and the server's address."""

    name: str
    key: bytes
    source: str

    def __repr__(self) -> str:
        return f"Master({self.name}, {self.source})"


@dataclass(frozen=True)
class Keyring:
    """path: the file. certificates: the folder with what key servers are met with (see `kmip.FILES`)."""

    path: Path | None
    certificates: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.volume_keys, settings.kmip_certificates)

    def newest(self) -> Master:
        """What new volumes' keys are wrapped with. Raises UnusableError."""
        line = next(iter(self._lines()))
        return self._master(line)

    def named(self, name: str) -> Master:
        """Keys in the file are looked at first, a key server's only when none of them is it. Raises UnusableError."""
        lines = sorted(self._lines(), key=lambda line: isinstance(line.key, kmip.Address))
        seen, silent = [], []
        for line in lines:
            try:
                master = self._master(line)
            except UnusableError as error:
                silent.append(str(error))
                continue
            if master.name == name:
                return master
            seen.append(master.name)
        told = "; ".join([f"{self.path} has {', '.join(seen) or 'no other'}", *silent])
        raise UnusableError(f"it was wrapped by master key {name}, and {told}; add that key's line again")

    def every(self) -> Iterator[Master | str]:
        """In the file's order; instead of one that cannot be had the reason. Raises UnusableError."""
        for line in self._lines():
            try:
                yield self._master(line)
            except UnusableError as error:
                yield str(error)

    def _lines(self) -> "list[_Line]":
        if self.path is None:
            raise UnusableError("NAOS_VOLUME_KEYS is not set; it names the file of master keys")
        try:
            words = self.path.read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise UnusableError(f"{self.path} cannot be read: {why}") from error
        if not words:
            raise UnusableError(f"{self.path} has no key in it: openssl rand -base64 {BYTES} > {self.path}")
        return [_Line(number, self._parsed(number, word)) for number, word in enumerate(words, 1)]

    def _parsed(self, number: int, word: str) -> "bytes | kmip.Address":
        if word.startswith(kmip.SCHEME):
            try:
                return kmip.parse(word)
            except ValueError as error:
                raise UnusableError(f"key {number} of {self.path} is no address of a key: {error}") from error
        try:
            key = base64.b64decode(word, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != BYTES:
            raise UnusableError(
                f"key {number} of {self.path} is not {BYTES} bytes in base64: openssl rand -base64 {BYTES}"
            )
        return key

    def _master(self, line: "_Line") -> Master:
        if isinstance(line.key, bytes):
            return _named(line.key, f"line {line.number}")
        address = line.key
        if self.certificates is None:
            raise UnusableError(f"{address} cannot be asked: NAOS_KMIP_CERTIFICATES is not set")
        try:
            key = kmip.get(address, self.certificates)
        except kmip.KeyServerError as error:
            raise UnusableError(f"{address} did not give its key: {error}") from error
        if len(key) != BYTES:
            raise UnusableError(f"{address} is a key of {len(key) * 8} bits, and {BYTES * 8} are needed")
        return _named(key, f"line {line.number}, {address}")


@dataclass(frozen=True)
class _Line:
    number: int
    key: "bytes | kmip.Address"


def _named(key: bytes, source: str) -> Master:
    return Master(hashlib.sha256(b"naos master key" + key).hexdigest()[:12], key, source)
