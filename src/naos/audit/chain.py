"""How the audit log is chained and sealed: pure functions.

Each entry's hash covers its content and the hash before it, so that a changed, moved or missing entry breaks the chain from
there on. Its seal is an HMAC of the hash under a key that lies outside the database: who can only write the tables cannot
build another chain. The head says, sealed in the same way, where the log ends.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

UNCHAINED = frozenset({"hash", "seal"})


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, ASCII only; times in UTC with microseconds."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_plain)


def entry_hash(entry: Mapping[str, Any], previous: str) -> str:
    """The hash of an entry's columns after the entry whose hash is `previous` ("" for none)."""
    content = {name: value for name, value in entry.items() if name not in UNCHAINED}
    return hashlib.sha256(f"{previous}\n{canonical(content)}".encode()).hexdigest()


def entry_seal(key: bytes, entry_hash_: str) -> str:
    return _seal(key, f"entry\n{entry_hash_}")


def head_seal(key: bytes, head: Mapping[str, Any]) -> str:
    """The seal of the head's columns."""
    return _seal(key, f"head\n{canonical({name: value for name, value in head.items() if name != 'seal'})}")


def key_id(key: bytes) -> str:
    """What names a key, and tells nothing of it."""
    return hashlib.sha256(b"audit key\n" + key).hexdigest()[:16]


def same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _seal(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    raise TypeError(f"{value!r} has no place in the audit log")
