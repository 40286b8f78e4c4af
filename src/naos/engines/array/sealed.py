"""Empty encrypted images, byte by byte: qcow2 version 3 (docs/interop/qcow2.txt of QEMU) with a LUKS header (version 1).

QEMU makes them too, after having measured for two seconds how slow it can make the guessing of a password. The key of a volume is
256 random bits, which nobody guesses, and a disk should be there at once.
"""

import hashlib
import os
import struct
import uuid

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from naos.engines import layouts

_SECTOR = 512
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_EXTENSION = struct.Struct(">II")
_BACKING_FORMAT, _CRYPTO = 0xE2792ACA, 0x0537BE77
_LUKS = 2  # the method of encryption
_PHDR = struct.Struct(">6sH32s32s32sII20s32sI40s")
_SLOT = struct.Struct(">II32sII")
_SLOTS, _STRIPES, _ACTIVE, _EMPTY = 8, 4000, 0x00AC71F3, 0x0000DEAD
_ITERATIONS = 1000
_KEY_BYTES = 64  # two keys of AES-256: XTS
_FIRST_SLOT = 8  # sectors
_SLOT_SECTORS = 504  # 4000 times the key, in whole pages
_LUKS_SECTORS = _FIRST_SLOT + _SLOTS * _SLOT_SECTORS


def image(size: int, passphrase: bytes, backing: str | None = None, bits: int = layouts.PLAIN) -> bytes:
    """A whole image of `size` bytes that reads as zeroes, or as `backing` (a path seen from its folder: qcow2, or what is behind a
    door) does. bits: of its clusters.

    Every image has a random key of its own, which the passphrase opens.
    """
    size = -(-size // _SECTOR) * _SECTOR
    luks = _luks(os.urandom(_KEY_BYTES), passphrase)
    cluster = 1 << bits
    luks_at, luks_clusters = 3, -(-len(luks) // cluster)
    entries = max(1, -(-size // (cluster * cluster // 8)))
    table_at, table_clusters = luks_at + luks_clusters, -(-entries * 8 // cluster)
    used = table_at + table_clusters
    extensions = _extension(_CRYPTO, struct.pack(">QQ", luks_at * cluster, len(luks)))
    if backing is not None:
        extensions += _extension(_BACKING_FORMAT, b"raw" if backing.endswith(".door") else b"qcow2")
    extensions += _EXTENSION.pack(0, 0)
    name = b"" if backing is None else backing.encode()
    header = _HEADER.pack(
        *(b"QFI\xfb", 3, _HEADER.size + 8 + len(extensions) if name else 0, len(name), bits, size, _LUKS, entries),
        *(table_at * cluster, cluster, 1, 0, 0, 0, 0, 0, 4, _HEADER.size + 8),
    )
    first = header + bytes(8) + extensions + name
    pieces = (first, struct.pack(">Q", 2 * cluster), struct.pack(f">{used}H", *[1] * used), luks)
    made = b"".join(piece.ljust(-(-len(piece) // cluster) * cluster, b"\0") for piece in pieces)
    return made + bytes(table_clusters * cluster)


def _extension(kind: int, data: bytes) -> bytes:
    return _EXTENSION.pack(kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")


def _luks(key: bytes, passphrase: bytes) -> bytes:
    """The header with one way in; in front of nothing, as qcow2 keeps the data elsewhere."""
    salt, slot_salt = os.urandom(32), os.urandom(32)
    digest = hashlib.pbkdf2_hmac("sha256", key, salt, _ITERATIONS, 20)
    slot_key = hashlib.pbkdf2_hmac("sha256", passphrase, slot_salt, _ITERATIONS, _KEY_BYTES)
    words = (
        b"LUKS\xba\xbe",
        1,
        b"aes",
        b"xts-plain64",
        b"sha256",
        _LUKS_SECTORS,
        _KEY_BYTES,
        digest,
        salt,
        _ITERATIONS,
    )
    header = _PHDR.pack(*words, str(uuid.uuid4()).encode())
    header += _SLOT.pack(_ACTIVE, _ITERATIONS, slot_salt, _FIRST_SLOT, _STRIPES)
    for number in range(1, _SLOTS):
        header += _SLOT.pack(_EMPTY, 0, bytes(32), _FIRST_SLOT + number * _SLOT_SECTORS, _STRIPES)
    material = _encrypted(_spread(key), slot_key)
    return (header.ljust(_FIRST_SLOT * _SECTOR, b"\0") + material).ljust(_LUKS_SECTORS * _SECTOR, b"\0")


def _spread(key: bytes) -> bytes:
    """The key over 4000 pieces, all of which are needed: a part of a worn medium that cannot be overwritten is not enough."""
    pieces, mixed = [], bytes(len(key))
    for _ in range(_STRIPES - 1):
        piece = os.urandom(len(key))
        pieces.append(piece)
        mixed = _diffused(_xor(piece, mixed))
    return b"".join([*pieces, _xor(key, mixed)])


def _diffused(block: bytes) -> bytes:
    width = hashlib.sha256().digest_size
    parts = range(len(block) // width)
    return b"".join(hashlib.sha256(struct.pack(">I", n) + block[n * width : (n + 1) * width]).digest() for n in parts)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def _encrypted(data: bytes, key: bytes) -> bytes:
    """By sectors, numbered from 0."""
    made = []
    for start in range(0, len(data), _SECTOR):
        tweak = struct.pack("<QQ", start // _SECTOR, 0)
        one = Cipher(algorithms.AES(key), modes.XTS(tweak)).encryptor()
        made.append(one.update(data[start : start + _SECTOR]) + one.finalize())
    return b"".join(made)
