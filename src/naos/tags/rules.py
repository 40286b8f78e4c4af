"""What a tag may be: pure functions.

Clients put keys into addresses without escaping them, so a key is kept exactly as it came, and what an address can never
carry is refused. What it carries in another form is understood: see `named`.
"""

import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from naos.tags.errors import KeyUnfit, ValueTooLong

LONGEST_KEY = 255
LONGEST_VALUE = 4096
MOST = 200
"""How many tags one object carries."""


def check_key(key: str) -> str:
    """The key, unchanged. Raises KeyUnfit."""
    if not key.strip():
        raise KeyUnfit(key, "it is empty")
    if len(key) > LONGEST_KEY:
        raise KeyUnfit(key[:40] + "...", f"it has {len(key)} characters and may have at most {LONGEST_KEY}")
    if key in {".", ".."}:
        raise KeyUnfit(key, "in an address it means a folder")
    unfit = next((character for character in key if unicodedata.category(character) in {"Cc", "Cs"}), None)
    if unfit is not None:
        raise KeyUnfit(key, f"it holds the control character U+{ord(unfit):04X}")
    return key


def check_value(key: str, value: str) -> str:
    """The value, unchanged; it may be empty. Raises ValueTooLong."""
    if len(value) > LONGEST_VALUE:
        raise ValueTooLong(key, len(value), LONGEST_VALUE)
    return value


def named(raw_path: bytes, query: bytes) -> Iterator[str]:
    """The keys that an address may mean, the likeliest first; raw_path and query: the address as it came.

    A client that does not escape sends the key `50%25` as it is, and the key `a?b` as a path and a query.
    """
    raw = raw_path.partition(b"/keys/")[2]
    for path in (unquote_to_bytes(raw), raw):
        tails = [b"?" + part for part in (unquote_to_bytes(query), query)] if query else []
        keys = [(path + tail).decode("utf-8", "replace") for tail in (*tails, b"")]
        yield from (key for key in keys if "\0" not in key)
