"""Keys of encrypted volumes: 256 random bits for each, kept in the table only as a master key of the operator's has wrapped them.

A wrapped key names its master key, and is bound to its volume. Wrapping it anew with another master key changes neither the key
nor anything on the volume.
"""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from naos.engines.errors import EngineError
from naos.storage.errors import NoVolumeKeys
from naos.storage.master_keys import BYTES, Keyring, Master, UnusableError

_NONCE = 12
_VERSION = "1"


def newest(keyring: Keyring) -> Master:
    """The master key for a new volume; a key server may be asked for it. Raises NoVolumeKeys."""
    try:
        return keyring.newest()
    except UnusableError as error:
        raise NoVolumeKeys(str(error)) from error


def fresh(master: Master, lun_id: str) -> str:
    """A new volume's key, wrapped."""
    return _wrapped(master, lun_id, os.urandom(BYTES))


def unwrapped(keyring: Keyring, lun_id: str, wrapped: str) -> bytes:
    """A volume's key. Raises EngineError when the master key that wrapped it is not at hand."""
    what = f"unwrapping the key of volume {lun_id}"
    version, _, text = wrapped.split(".", 2)
    if version != _VERSION:
        raise EngineError("this controller", what, f"it is of version {version}, and this naos knows {_VERSION}")
    try:
        master = keyring.named(name_of(wrapped))
    except UnusableError as error:
        raise EngineError("this controller", what, str(error)) from error
    sealed = base64.b64decode(text)
    try:
        return AESGCM(master.key).decrypt(sealed[:_NONCE], sealed[_NONCE:], lun_id.encode())
    except InvalidTag as error:
        raise EngineError("this controller", what, "it was changed in the table, or is another volume's") from error


def rewrapped(keyring: Keyring, master: Master, lun_id: str, wrapped: str) -> str:
    """The same key, wrapped by `master`; as it was when it is so already. Raises EngineError as `unwrapped`."""
    if name_of(wrapped) == master.name:
        return wrapped
    return _wrapped(master, lun_id, unwrapped(keyring, lun_id, wrapped))


def name_of(wrapped: str) -> str:
    """Of the master key that wrapped it."""
    return wrapped.split(".", 2)[1]


def _wrapped(master: Master, lun_id: str, key: bytes) -> str:
    nonce = os.urandom(_NONCE)
    sealed = nonce + AESGCM(master.key).encrypt(nonce, key, lun_id.encode())
    return f"{_VERSION}.{master.name}.{base64.b64encode(sealed).decode()}"
