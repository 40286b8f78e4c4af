"""The files beside the database: the key that seals the log, and how far the log was seen.

The key is ``audit-<id>.key`` in the key folder of every controller, readable by its user alone. ``audit-<id>.seen`` names
the newest entry that this controller has written: a log that ends before it was cut off, whatever its head says.
"""

import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from naos.audit import chain
from naos.audit.errors import AuditKeyUnusable
from naos.tenancy import keys as signing
from naos.tenancy.errors import KeyUnusable


@dataclass(frozen=True)
class Seen:
    """An entry that was in the log."""

    sequence: int
    hash: str


def make(folder: Path) -> bytes:
    """A new key, written to the folder before anything is sealed with it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_bytes(signing.KEY_BYTES)
    descriptor = os.open(
        _key_file(folder, chain.key_id(key)), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key


def read(folder: Path, key_id: str) -> bytes:
    """Raises AuditKeyUnusable for a key that is absent, weak, known to others, or another one than its name says."""
    path = _key_file(folder, key_id)
    try:
        key = signing.read_key(path).raw_value
    except KeyUnusable as error:
        raise AuditKeyUnusable(str(path), error.reason) from error
    if chain.key_id(key) != key_id:
        raise AuditKeyUnusable(str(path), "it is another key than its name says")
    return key


def note_seen(folder: Path, key_id: str, seen: Seen) -> None:
    """Write down the newest entry. Whole or not at all; a file that lags behind is no fault."""
    path = _seen_file(folder, key_id)
    draft = path.with_suffix(f".{os.uname().nodename}-{os.getpid()}")
    with suppress(OSError):
        draft.write_text(json.dumps({"sequence": seen.sequence, "hash": seen.hash}), encoding="ascii")
        draft.replace(path)


def read_seen(folder: Path, key_id: str) -> Seen | None:
    """None when this folder's controllers have noted nothing."""
    try:
        found = json.loads(_seen_file(folder, key_id).read_text(encoding="ascii"))
        return Seen(int(found["sequence"]), str(found["hash"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key_file(folder: Path, key_id: str) -> Path:
    return folder / f"audit-{key_id}.key"


def _seen_file(folder: Path, key_id: str) -> Path:
    return folder / f"audit-{key_id}.seen"
