"""A key from a key server, over KMIP 1.2: one `Get` of a symmetric key in a TLS connection with certificates on both sides.

Every item of the protocol is a tag of three bytes, a type of one, a length of four, and the value, filled up to a multiple of
eight; a structure's value is items.
"""

import re
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

SCHEME = "kmip://"
FILES = ("ca-cert.pem", "client-cert.pem", "client-key.pem")
"""What the folder of certificates holds: the authority of the server's, and what this client shows."""
SECONDS = 5.0
_LARGEST = 64 * 1024
_STRUCTURE, _INTEGER, _ENUMERATION, _TEXT, _BYTES = 1, 2, 5, 7, 8
_GET, _SUCCESS, _SYMMETRIC_KEY, _RAW = 0x0A, 0, 2, 1
_REQUEST, _REQUEST_HEADER, _VERSION, _MAJOR, _MINOR = 0x420078, 0x420077, 0x420069, 0x42006A, 0x42006B
_COUNT, _ITEM, _OPERATION, _ASKED, _IDENTIFIER = 0x42000D, 0x42000F, 0x42005C, 0x420079, 0x420094
_FORMAT, _RESPONSE, _STATUS, _MESSAGE, _ANSWERED = 0x420042, 0x42007B, 0x42007F, 0x42007D, 0x42007C
_KIND, _KEY, _BLOCK, _VALUE, _MATERIAL, _WRAPPING = 0x420057, 0x42008F, 0x420040, 0x420045, 0x420043, 0x420046


class KeyServerError(Exception):
    """Why a key server gave no key, in a sentence without its full stop."""


@dataclass(frozen=True)
class Address:
    """identifier: the key's own, as the server knows it."""

    host: str
    port: int
    identifier: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}{host}:{self.port}/{self.identifier}"


def parse(text: str) -> Address:
    """Raises ValueError."""
    found = re.fullmatch(r"kmip://(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]@]+)(?::([0-9]{1,5}))?/([^\s/?#]+)", text)
    if found is None or not 0 < int(found[2] or 5696) < 65536:
        raise ValueError(f"{text!r} is not kmip://host[:port]/identifier")
    return Address(found[1].strip("[]"), int(found[2] or 5696), unquote(found[3]))


def get(address: Address, certificates: Path) -> bytes:
    """The bytes of a symmetric key. Raises KeyServerError."""
    try:
        context = ssl.create_default_context(cafile=str(certificates / FILES[0]))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificates / FILES[1], certificates / FILES[2])
    except (OSError, ssl.SSLError) as error:
        raise KeyServerError(f"the certificates in {certificates} cannot be used: {error}") from error
    try:
        with (
            socket.create_connection((address.host, address.port), SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=address.host) as connection,
        ):
            connection.settimeout(SECONDS)
            connection.sendall(request(address.identifier))
            answer = _received(connection)
    except OSError as error:  # of TLS, too
        raise KeyServerError(str(error)) from error
    return material(answer, address.identifier)


def request(identifier: str) -> bytes:
    version = _item(_VERSION, _STRUCTURE, _number(_MAJOR, 1) + _number(_MINOR, 2))
    header = _item(_REQUEST_HEADER, _STRUCTURE, version + _number(_COUNT, 1))
    wanted = _item(_IDENTIFIER, _TEXT, identifier.encode()) + _item(_FORMAT, _ENUMERATION, struct.pack(">I", _RAW))
    operation = _item(_OPERATION, _ENUMERATION, struct.pack(">I", _GET))
    batch = _item(_ITEM, _STRUCTURE, operation + _item(_ASKED, _STRUCTURE, wanted))
    return _item(_REQUEST, _STRUCTURE, header + batch)


def material(answer: bytes, identifier: str) -> bytes:
    """The key in a server's answer. Raises KeyServerError."""
    try:
        batch = _within(answer, _RESPONSE, _ITEM)
        if _whole(_first(batch, _STATUS)) != _SUCCESS:
            said = _find(batch, _MESSAGE)
            raise KeyServerError(
                f"the server refused: {said.decode(errors='replace') if said else 'it did not say why'}"
            )
        answered = _first(batch, _ANSWERED)
        if _first(answered, _IDENTIFIER) != identifier.encode():
            raise KeyServerError("the server answered with another key than was asked for")
        if _whole(_first(answered, _KIND)) != _SYMMETRIC_KEY:
            raise KeyServerError("what has this identifier is no symmetric key")
        block = _within(answered, _KEY, _BLOCK)
        if _find(block, _WRAPPING) is not None or _whole(_first(block, _FORMAT)) != _RAW:
            raise KeyServerError("the server gives this key only wrapped, or in another format than raw")
        return _within(block, _VALUE, _MATERIAL)
    except (struct.error, LookupError) as error:
        raise KeyServerError("what the server answered is no KMIP answer to a Get") from error


def _received(connection: ssl.SSLSocket) -> bytes:
    head = _exactly(connection, 8)
    length = struct.unpack(">I", head[4:])[0]
    if length > _LARGEST:
        raise KeyServerError(f"the server's answer has {length} bytes, and no key is as long")
    return head + _exactly(connection, length)


def _exactly(connection: ssl.SSLSocket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = connection.recv(count - len(found))
        if not piece:
            raise KeyServerError("the server ended the connection without an answer")
        found += piece
    return found


def _item(tag: int, kind: int, value: bytes) -> bytes:
    return struct.pack(">II", tag << 8 | kind, len(value)) + value + bytes(-len(value) % 8)


def _number(tag: int, value: int) -> bytes:
    return _item(tag, _INTEGER, struct.pack(">i", value))


def _items(value: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and values. Raises struct.error, IndexError for what is cut short."""
    while value:
        head, length = struct.unpack(">II", value[:8])
        if len(value) < 8 + length:
            raise IndexError(length)
        yield head >> 8, value[8 : 8 + length]
        value = value[8 + length + -length % 8 :]


def _find(value: bytes, tag: int) -> bytes | None:
    return next((found for present, found in _items(value) if present == tag), None)


def _first(value: bytes, tag: int) -> bytes:
    """Raises LookupError."""
    found = _find(value, tag)
    if found is None:
        raise KeyError(tag)
    return found


def _within(value: bytes, *tags: int) -> bytes:
    for tag in tags:
        value = _first(value, tag)
    return value


def _whole(value: bytes) -> int:
    return int(struct.unpack(">I", value)[0])
