"""Keys of encrypted volumes: 256 random bits for each, kept in the table only as the operator's master key has wrapped them.

The file of master keys has one a line, 32 bytes in base64. The first one wraps the keys of new volumes; all of them unwrap, so
that a new master key is put on top and the older ones stay below for as long as volumes name them. The file is read whenever
a key is needed: it may lie on a medium that is there only then.
"""

import base64
import binascii
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from naos.engines.errors import EngineError
from naos.storage.errors import NoVolumeKeys

BYTES = 32
_NONCE = 12
_VERSION = "1"


def fresh(path: Path | None, lun_id: str) -> str:
    """A new volume's key, wrapped. Raises NoVolumeKeys."""
    if path is None:
        raise NoVolumeKeys("NAOS_VOLUME_KEYS is not set")
    try:
        name, master = next(iter(_masters(path).items()))
    except _UnusableError as error:
        raise NoVolumeKeys(str(error)) from error
    nonce = os.urandom(_NONCE)
    sealed = nonce + AESGCM(master).encrypt(nonce, os.urandom(BYTES), lun_id.encode())
    return f"{_VERSION}.{name}.{base64.b64encode(sealed).decode()}"


def unwrapped(path: Path | None, lun_id: str, wrapped: str) -> bytes:
    """A volume's key. Raises EngineError when the master key that wrapped it is not at hand."""
    what = f"unwrapping the key of volume {lun_id}"
    if path is None:
        raise EngineError("this controller", what, "NAOS_VOLUME_KEYS is not set; it names the file of master keys")
    try:
        masters = _masters(path)
    except _UnusableError as error:
        raise EngineError("this controller", what, str(error)) from error
    version, name, text = wrapped.split(".", 2)
    if version != _VERSION or name not in masters:
        reason = f"it was wrapped by master key {name}, and {path} has {', '.join(masters)}; add that key's line again"
        raise EngineError("this controller", what, reason)
    sealed = base64.b64decode(text)
    try:
        return AESGCM(masters[name]).decrypt(sealed[:_NONCE], sealed[_NONCE:], lun_id.encode())
    except InvalidTag as error:
        raise EngineError("this controller", what, "it was changed in the table, or is another volume's") from error


class _UnusableError(Exception):
    """Why the file of master keys is of no use."""


def _masters(path: Path) -> dict[str, bytes]:
    """Name -> key, in the file's order. A name is the beginning of the key's hash. Raises _UnusableError."""
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise _UnusableError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from error
    found = {}
    for number, line in enumerate(lines, 1):
        try:
            key = base64.b64decode(line, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != BYTES:
            raise _UnusableError(f"key {number} of {path} is not {BYTES} bytes in base64: openssl rand -base64 {BYTES}")
        found[hashlib.sha256(b"naos master key" + key).hexdigest()[:12]] = key
    if not found:
        raise _UnusableError(f"{path} has no key in it: openssl rand -base64 {BYTES} > {path}")
    return found
