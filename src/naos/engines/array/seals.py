"""Seals on what is known of changes, while an image is closed.

QEMU keeps bitmaps in the image without any checksum: one that rots there would make the next increment a wrong one. So an image is closed
with one more bitmap, an empty one whose name has the checksum of all of the others; what is opened without its seal is not believed.
"""

import contextlib
import hashlib
from typing import Any

import structlog

from naos.engines.array.errors import DaemonRefused
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor

_KNOWN, _SEAL = "naos.", "seal."
_GRANULARITY = 2**20
_AUTOCLEAR = 95  # the byte of a header whose lowest bit says that bitmaps are to be believed
_log = structlog.get_logger()


def put(monitor: Monitor, node: str, described: dict[str, Any]) -> None:
    """To be called when nothing writes to the image any more. described: its node, as the daemon lists it."""
    if described["ro"] or not _named(described, _KNOWN):
        return
    try:
        _remove(monitor, node, _named(described, _SEAL))
        text = f"{_SEAL}{_checksum(monitor, node, described)}"
        bitmap = {"node": node, "name": text, "granularity": _GRANULARITY, "persistent": True, "disabled": True}
        monitor.execute("block-dirty-bitmap-add", bitmap)
    except DaemonRefused as error:  # without a seal the next copy compares
        _log.warning("array.changes_not_sealed", array=monitor.where, image=node, reason=error.reason)


def check(monitor: Monitor, node: str, described: dict[str, Any]) -> None:
    """To be called before anything writes to the image: bitmaps that are not what they were when it was closed are removed."""
    known, seals = _named(described, _KNOWN), _named(described, _SEAL)
    if described["ro"] or not (known or seals):
        return
    try:
        if known and seals != [f"{_SEAL}{_checksum(monitor, node, described)}"]:
            _log.warning("array.changes_in_doubt", array=monitor.where, image=node, sealed=bool(seals))
            _remove(monitor, node, known)
    except DaemonRefused:  # one that cannot be read
        _remove(monitor, node, known)
    _remove(monitor, node, seals)


def disown(place: Place, path: str) -> None:
    """Let a closed image's bitmaps be no part of it any more: they are so damaged that QEMU does not open it."""
    _log.warning("array.changes_damaged", array=place.where, image=path)
    place.run("dd", f"of={path}", "bs=1", f"seek={_AUTOCLEAR}", "conv=notrunc", "status=none", stdin=b"\0")


def is_seal(text: str) -> bool:
    return text.startswith(_SEAL)


def _named(described: dict[str, Any], prefix: str) -> list[str]:
    return sorted(
        entry["name"] for entry in described.get("dirty-bitmaps", []) if entry.get("name", "").startswith(prefix)
    )


def _checksum(monitor: Monitor, node: str, described: dict[str, Any]) -> str:
    """Of every bitmap that says what changed. Raises DaemonRefused."""
    found = hashlib.sha256()
    for text in _named(described, _KNOWN):
        answer = monitor.execute("x-debug-block-dirty-bitmap-sha256", {"node": node, "name": text})
        found.update(f"{text} {answer['sha256']}\n".encode())
    return found.hexdigest()


def _remove(monitor: Monitor, node: str, names: list[str]) -> None:
    for text in names:
        with contextlib.suppress(DaemonRefused):  # one that is at work
            monitor.execute("block-dirty-bitmap-remove", {"node": node, "name": text})
