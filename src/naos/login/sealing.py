"""Secrets that have to be read again lie sealed in the tables: AES-256-GCM under a key that is not in the database."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from naos.tenancy.errors import KeyUnusable

KEY_FILE, KEY_BYTES = "sealing.key", 32
_HEADER = {"alg": "dir", "enc": "A256GCM"}


def open_key(folder: Path) -> OctKey:
    """The platform's sealing key, made when there is none. Raises KeyUnusable."""
    path = folder / KEY_FILE
    if not path.exists():
        _make(path)
    try:
        mode, raw = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise KeyUnusable(
            str(path), error.strerror or "it cannot be read", "Put the file back from a backup."
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise KeyUnusable(str(path), "others can read it", f"Close it: chmod 600 {path}")
    if len(raw) != KEY_BYTES:
        remedy = "Put the file back from a backup; without it providers and second factors are set up anew."
        raise KeyUnusable(str(path), f"it has {len(raw)} bytes, not {KEY_BYTES}", remedy)
    return OctKey.import_key(raw)


def seal(key: OctKey, text: str) -> str:
    return jwe.encrypt_compact(_HEADER, text.encode(), key)


def unseal(key: OctKey, sealed: str) -> str:
    """Raises KeyUnusable for what was sealed under another key, or changed since."""
    try:
        plain = jwe.decrypt_compact(sealed, key).plaintext
    except (JoseError, ValueError) as error:
        raise KeyUnusable(
            KEY_FILE, "it does not open what the tables hold", "Put the key of this database back."
        ) from error
    return (plain or b"").decode()


def _make(path: Path) -> None:
    """Whole or not at all; of two controllers that make it, one wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
