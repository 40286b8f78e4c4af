"""Reading a disk over NBD and marking, on a second export, every block that differs from its checksum.

Runs beside the daemon that serves both; a client of its own, because reading must go block by block with the hashes in between.
"""

import json
import socket
import ssl
import struct
import sys
from typing import Any

from naos.engines.points.onhost.sums import BLOCK, UNKNOWN, ZEROES, Damaged, Pace, Table, digest

_PIECE = 16 * BLOCK  # bytes read at once
_GREETING = struct.Struct(">8s8sH")
_OPTION = struct.Struct(">8sII")
_ANSWER = struct.Struct(">QIII")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_EXPORT_NAME, _START_TLS, _ACKNOWLEDGED = 1, 5, 1
_READ, _DISCONNECT, _WRITE_ZEROES = 0, 2, 6
_LONGEST = 2**30  # bytes of one request that carries none


class Lost(Exception):
    """The export went away, or answered with an error."""


class Export:
    """A connection to one export. tls: a folder with certificates in QEMU's names, None for none."""

    def __init__(self, address: str, port: int, name: str, tls: str | None) -> None:
        connection = socket.create_connection((address, port), timeout=120)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket: socket.socket = connection
        self._asked: dict[int, int] = {}
        self._answers: dict[int, bytes] = {}
        magic, version, flags = _GREETING.unpack(self._take(_GREETING.size))
        if (magic, version) != (b"NBDMAGIC", b"IHAVEOPT"):
            raise Lost("whoever answers does not speak NBD")
        self._socket.sendall(struct.pack(">I", flags & 3))
        if tls is not None:
            self._encrypt(address, tls)
        text = name.encode()
        self._socket.sendall(_OPTION.pack(b"IHAVEOPT", _EXPORT_NAME, len(text)) + text)
        self.size, _ = struct.unpack(">QH", self._take(10))
        if not flags & 2:
            self._take(124)

    def _encrypt(self, address: str, folder: str) -> None:
        self._socket.sendall(_OPTION.pack(b"IHAVEOPT", _START_TLS, 0))
        _, _, kind, length = _ANSWER.unpack(self._take(_ANSWER.size))
        self._take(length)
        if kind != _ACKNOWLEDGED:
            raise Lost("the export is not offered under TLS")
        context = ssl.create_default_context(cafile=f"{folder}/ca-cert.pem")
        context.load_cert_chain(f"{folder}/client-cert.pem", f"{folder}/client-key.pem")
        self._socket = context.wrap_socket(self._socket, server_hostname=address)

    def ask(self, offset: int, length: int) -> None:
        """Ask for bytes, which `answer` gives; several questions may be open."""
        self._asked[offset] = length
        self._socket.sendall(_REQUEST.pack(0x25609513, 0, _READ, offset, offset, length))

    def answer(self, offset: int) -> bytes:
        """To the question of this offset: they are answered in any order."""
        while offset not in self._answers:
            answered = self._check()
            self._answers[answered] = self._take(self._asked.pop(answered))
        return self._answers.pop(offset)

    def mark(self, offset: int, length: int) -> None:
        while length > 0:
            part = min(length, _LONGEST)
            self._socket.sendall(_REQUEST.pack(0x25609513, 0, _WRITE_ZEROES, offset, offset, part))
            self._check()
            offset, length = offset + part, length - part

    def close(self) -> None:
        self._socket.sendall(_REQUEST.pack(0x25609513, 0, _DISCONNECT, 0, 0, 0))
        self._socket.close()

    def _check(self) -> int:
        """The cookie of the next answer: an offset."""
        magic, error, cookie = _REPLY.unpack(self._take(_REPLY.size))
        if magic != 0x67446698 or error:
            raise Lost(f"the export answered with error {error}")
        return int(cookie)

    def _take(self, length: int) -> bytes:
        pieces = []
        while length:
            piece = self._socket.recv(min(length, 2**20))
            if not piece:
                raise Lost("the export was closed")
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)


def scan(source: Export, target: Export, table: Table, pace: Pace) -> int:
    """Mark every block of the source that is not what the table says; how many were."""
    found, first = 0, -1
    offsets = range(0, source.size, _PIECE)
    for offset in offsets[:1]:
        source.ask(offset, min(_PIECE, source.size - offset))
    for offset in offsets:
        length = min(_PIECE, source.size - offset)
        if offset + _PIECE < source.size:
            source.ask(offset + _PIECE, min(_PIECE, source.size - offset - _PIECE))
        view = memoryview(source.answer(offset))
        for at in range(0, length, BLOCK):
            block = (offset + at) // BLOCK
            kept = table.get(block)
            if digest(view[at : at + BLOCK]) != (ZEROES if kept == UNKNOWN else kept):
                found += 1
                first = block if first < 0 else first
            elif first >= 0:
                target.mark(first * BLOCK, (block - first) * BLOCK)
                first = -1
        pace.add(length)
    if first >= 0:
        target.mark(first * BLOCK, source.size - first * BLOCK)
    return found


def main(request: dict[str, Any]) -> None:
    try:
        place = (request["address"], request["port"])
        source = Export(*place, request["read"], request["tls"])
        target = Export(*place, request["differs"], request["tls"])
        table = Table(source.size)
        table.read(request["checksums"])
        answer: dict[str, Any] = {"found": scan(source, target, table, Pace(request["pace"]))}
        source.close()
        target.close()
    except (Lost, Damaged, OSError) as error:
        answer = {"refused": str(error) or type(error).__name__}
    sys.stdout.write(json.dumps(answer))
