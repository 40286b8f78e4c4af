"""Encryption at rest: every image of an encrypted volume, templates too, is LUKS (AES-256 in XTS) within qcow2.

The volume's key opens the images' headers, in each of which lies a random key of that image alone. It reaches the array's host
only in the memory of processes: over the daemon's control socket, and on the standard input of tools.
"""

import base64
import gzip
import json
import os
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from naos.engines import layouts
from naos.engines.array import sealed
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor
from naos.engines.ports import Completed, LunKey

SECRET = "key"  # noqa: S105 - the object's name in the daemon and in tools
OBJECT = f"secret,id={SECRET},format=raw,file=/dev/stdin"
_NONCE = 12  # bytes
_PIPED = ("sh", "-c", 'cat | "$@"', "keyed")  # /dev/stdin is opened anew by its name: a pipe can be, a socket cannot


def encoded(key: LunKey) -> str:
    """As QEMU gets it: LUKS takes text alone."""
    return base64.b64encode(key()).decode()


def empty(place: Place, size: int, below: str | None = None, bits: int = layouts.PLAIN) -> bytes:
    """A new image, compressed with gzip. below: the image that it backs on, as seen from its folder. bits: of its clusters."""
    assert place.key is not None  # noqa: S101 - callers look
    return gzip.compress(sealed.image(size, encoded(place.key).encode(), below, bits), compresslevel=1)


def give(monitor: Monitor, place: Place) -> None:
    """Let the daemon have the volume's key, once; nothing for a volume in clear."""
    if place.key is None:
        return
    if any(entry["name"] == SECRET for entry in monitor.execute("qom-list", {"path": "/objects"})):
        return
    secret = {"qom-type": "secret", "id": SECRET, "format": "raw", "data": encoded(place.key)}
    monitor.execute("object-add", secret)


def node_options(*, encrypted: bool) -> dict[str, Any]:
    """What a qcow2 node of the daemon says of its encryption."""
    return {"encrypt": {"format": "luks", "key-secret": SECRET}} if encrypted else {}


def seal(key: LunKey, data: bytes, purpose: str) -> str:
    """`data` as only whoever has the volume's key can read it, and for this purpose only: AES-256-GCM with a key made of it."""
    nonce = os.urandom(_NONCE)
    return base64.b64encode(nonce + _sealing(key).encrypt(nonce, data, purpose.encode())).decode()


def unseal(key: LunKey, text: str, purpose: str) -> bytes:
    """Raises InvalidTag for what was not sealed with this key and for this purpose."""
    sealed = base64.b64decode(text)
    return _sealing(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose.encode())


def _sealing(key: LunKey) -> AESGCM:
    return AESGCM(HKDF(hashes.SHA256(), 32, salt=None, info=b"naos: beside a volume's images").derive(key()))


def file_name(path: str, below: str | None = None) -> str:
    """An encrypted image as qemu-img and qemu-nbd take it; below: path of the encrypted image that it backs on, which is not
    opened when None."""
    return "json:" + json.dumps(_described(path, None if below is None else _described(below, None)))


def _described(path: str, backing: dict[str, Any] | None) -> dict[str, Any]:
    file = {"driver": "file", "filename": path}
    return {"driver": "qcow2", "file": file, **node_options(encrypted=True), "backing": backing}


def run(place: Place, tool: str, *words: str, timeout: float = 30.0) -> Completed:
    """Run a tool that opens images with the key, as the object `OBJECT`. Raises as `Host.run`."""
    assert place.key is not None  # noqa: S101 - callers look
    argv = (*_PIPED, tool, *words)
    return place.run(*argv, stdin=encoded(place.key).encode(), timeout=timeout)
