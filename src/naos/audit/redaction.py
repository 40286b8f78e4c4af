"""What of a request's body may be kept: pure functions.

A field's name decides: what is called a password, a secret, a token, user data or a key is never kept, nor is the value of
a pair whose name says so (``{"id": "password", "value": ...}``), whatever its type. Texts that are secrets by their shape
(private keys, sessions, addresses with credentials) go wherever they stand.
"""

import re
import uuid
from collections.abc import Iterator
from typing import Any

from naos.audit import chain

HIDDEN = "(redacted)"
LONGEST_TEXT = 500
LONGEST_REQUEST = 16 * 1024
DEEPEST = 16
MOST_ITEMS = 100
MOST_OBJECTS = 50

_PARTS = (
    "secret",
    "password",
    "passwd",
    "passphrase",
    "token",
    "credential",
    "authorization",
    "cookie",
    "userdata",
    "metadata",
    "guestinfo",
    "ignition",
    "cloudinit",
    "runonce",
    "privatekey",
    "publickey",
    "apikey",
    "accesskey",
    "sshkey",
    "authorizedkey",
    "encryptionkey",
    "codeverifier",
    "recoverycode",
)
_WHOLE = frozenset({"keys", "otp", "totp", "pin", "code", "nonce", "seed", "script", "scripts"})
_NAMES = ("key", "id", "name", "label", "property")
_SHAPES = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*")
_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^/?#\s@]*@)?([^?#\s]*)(\?[^#\s]*)?")


def is_secret(name: str) -> bool:
    """Whether a field of that name holds a secret, in any spelling: ``user-data``, ``userData``, ``guestinfo.userdata``."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return plain in _WHOLE or any(part in plain for part in _PARTS)


def redacted(value: Any) -> Any:
    """A JSON value without secrets, cut where it is long."""
    return _redacted(value, 0)


def request_text(query: Any, body: Any) -> str:
    """The JSON that an entry keeps of a request; only its size when it is too large."""
    found = {name: redacted(part) for name, part in (("query", query), ("body", body)) if part not in (None, {})}
    text = chain.canonical(found)
    return text if len(text) <= LONGEST_REQUEST else chain.canonical({"leftOut": f"{len(text)} characters"})


def ids_in(value: Any) -> list[str]:
    """The ids that a JSON value names, each once, in their order; at most `MOST_OBJECTS`."""
    found: dict[str, None] = {}
    for text in _texts(value, 0):
        if len(text) == 36:
            try:
                found[str(uuid.UUID(text))] = None
            except ValueError:
                continue
        if len(found) == MOST_OBJECTS:
            break
    return list(found)


def _redacted(value: Any, depth: int) -> Any:
    if depth > DEEPEST:
        return "(too deep)"
    if isinstance(value, dict):
        return _of_object(value, depth)
    if isinstance(value, list):
        kept = [_redacted(item, depth + 1) for item in value[:MOST_ITEMS]]
        return [*kept, f"({len(value) - MOST_ITEMS} more)"] if len(value) > MOST_ITEMS else kept
    return _of_text(value) if isinstance(value, str) else value


def _of_object(value: dict[str, Any], depth: int) -> dict[str, Any]:
    folded = {name.lower(): name for name in value}
    pair = "value" in folded
    named = [value[folded[name]] for name in _NAMES if name in folded]
    secret_pair = pair and any(isinstance(name, str) and is_secret(name) for name in named)
    found: dict[str, Any] = {}
    for name, part in list(value.items())[:MOST_ITEMS]:
        lower = name.lower()
        hidden = (
            is_secret(name)
            or (lower == "key" and not pair)
            or (secret_pair and lower not in _NAMES)
            or (lower in _NAMES and pair and isinstance(part, (dict, list)))
        )
        found[_of_text(name)] = HIDDEN if hidden and part is not None else _redacted(part, depth + 1)
    return found


def _of_text(text: str) -> str:
    if _SHAPES.search(text):
        return HIDDEN
    shown = _ADDRESS.sub(_plain_address, text) if "://" in text else text
    return f"{shown[:LONGEST_TEXT]}... ({len(shown)} characters)" if len(shown) > LONGEST_TEXT else shown


def _plain_address(found: re.Match[str]) -> str:
    credentials = f"{HIDDEN}@" if "@" in found[0].partition("://")[2].partition("/")[0] else ""
    return f"{found[1]}{credentials}{found[2]}{f'?{HIDDEN}' if found[3] else ''}"


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)) and depth <= DEEPEST:
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part, depth + 1)
