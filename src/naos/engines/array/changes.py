"""What is known to have changed on a disk since a point: a bitmap of its image, named after set and point.

It is begun in the transaction that begins the point's copy, records every write from then on, and is kept with the image when that is
closed. A daemon that is killed leaves it marked as inconsistent, or not at all; so one that can be read, and that records, is whole.
QEMU itself refuses to bring an image with bitmaps back to a snapshot, so they are forgotten first.
"""

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from naos.engines.array import encryption, nodes, seals
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor
from naos.engines.errors import Unreachable

GRANULARITY = 65536
_PREFIX = "naos"
_CUT = 30.0  # seconds


def name(set_id: str, point_id: str) -> str:
    return f"{_PREFIX}.{set_id}.{point_id}"


def parse(text: str) -> tuple[str, str] | None:
    """Set and point of a bitmap; None for one that says nothing of a point."""
    prefix, *ids = text.split(".")
    return (ids[0], ids[1]) if prefix == _PREFIX and len(ids) == 2 else None


def listed(monitor: Monitor, disk_id: str) -> list[dict[str, Any]]:
    """The bitmaps of an open disk's image, as the daemon describes them."""
    entry = nodes.present(monitor).get(nodes.node(nodes.IMAGE, disk_id), {})
    found: list[dict[str, Any]] = entry.get("dirty-bitmaps", [])
    return found


def known(monitor: Monitor, disk_id: str, set_id: str) -> frozenset[str]:
    """The points of a set since which every change of an open disk is known."""
    found = set()
    for entry in listed(monitor, disk_id):
        parsed = parse(entry.get("name", ""))
        whole = entry["recording"] and not entry.get("inconsistent", False)
        if parsed is not None and parsed[0] == set_id and whole and entry["granularity"] == GRANULARITY:
            found.add(parsed[1])
    return frozenset(found)


def add(disk_id: str, text: str, *, persistent: bool) -> dict[str, Any]:
    """An action of a transaction: a bitmap that records from then on."""
    data = {
        "node": nodes.node(nodes.IMAGE, disk_id),
        "name": text,
        "granularity": GRANULARITY,
        "persistent": persistent,
    }
    return {"type": "block-dirty-bitmap-add", "data": data}


def can_last(monitor: Monitor, disk_id: str) -> bool:
    """Whether bitmaps of an open disk are kept with its image: not while that is only read."""
    return not nodes.present(monitor)[nodes.node(nodes.IMAGE, disk_id)]["ro"]


def forget(monitor: Monitor, disk_id: str, set_id: str, *, spared: Iterable[str] = ()) -> None:
    """Remove what is known of an open disk since points of a set, but the spared ones; and what is broken, whosever it is."""
    keep = set(spared)
    for entry in listed(monitor, disk_id):
        parsed = parse(entry.get("name", ""))
        broken = entry.get("inconsistent", False)
        if parsed is None or entry["busy"]:
            continue
        if broken or (parsed[0] == set_id and parsed[1] not in keep):
            remove(monitor, disk_id, entry["name"])


def forget_broken(monitor: Monitor, disk_id: str) -> None:
    """Remove bitmaps of an open disk that a killed daemon left: they say nothing, and QEMU changes no image's size that has some."""
    for entry in listed(monitor, disk_id):
        if entry.get("inconsistent", False) and parse(entry.get("name", "")) is not None:
            remove(monitor, disk_id, entry["name"])


def remove(monitor: Monitor, disk_id: str, text: str) -> None:
    monitor.execute("block-dirty-bitmap-remove", {"node": nodes.node(nodes.IMAGE, disk_id), "name": text})


def forget_closed(place: Place, disk_ids: Sequence[str]) -> None:
    """Remove everything that is known of disks whose images are closed: their content is about to change unseen."""
    for disk_id in disk_ids:
        path = place.disk(disk_id)
        described = json.loads(place.run("qemu-img", "info", "--output=json", "-f", "qcow2", path).stdout)
        for entry in described.get("format-specific", {}).get("data", {}).get("bitmaps", []):
            if parse(entry["name"]) is not None or seals.is_seal(entry["name"]):
                _remove_closed(place, path, entry["name"])


def _remove_closed(place: Place, path: str, text: str) -> None:
    words = ("bitmap", "--remove")
    if place.key is None:
        place.run("qemu-img", *words, "-f", "qcow2", path, text)
    else:
        encryption.run(place, "qemu-img", *words, "--object", encryption.OBJECT, encryption.file_name(path), text)


# ------------------------------------------------------------------------------------------------------------ comparing

READ, DIFFERS = "c", "d"
"""Exports while a disk is compared: its content, and a disk of nothing on which whoever compares writes where it differs."""
_BITMAP = "compared"


def is_compared(monitor: Monitor, disk_id: str) -> bool:
    return any(entry["id"] == f"{READ}.{disk_id}" for entry in monitor.execute("query-block-exports"))


def begin_comparing(monitor: Monitor, disk_id: str, size: int) -> None:
    """From here on every write to the open disk is recorded, and the exports are there."""
    break_off(monitor, disk_id)
    image, nothing = nodes.node(nodes.IMAGE, disk_id), nodes.node(nodes.NOTHING, disk_id)
    monitor.execute("blockdev-add", {"driver": "null-co", "node-name": nothing, "size": size, "read-zeroes": True})
    for node in (image, nothing):
        bitmap = {"node": node, "name": _BITMAP, "granularity": GRANULARITY, "persistent": False}
        monitor.execute("block-dirty-bitmap-add", bitmap)
    for kind, node in ((READ, image), (DIFFERS, nothing)):
        export = {"type": "nbd", "id": f"{kind}.{disk_id}", "name": f"{kind}.{disk_id}", "node-name": node}
        monitor.execute("block-export-add", {**export, "writable": kind == DIFFERS})


def take_comparison(monitor: Monitor, disk_id: str, text: str) -> int:
    """What was written where it differs, and every write since the beginning, become the bitmap `text`; its bytes."""
    image, nothing = nodes.node(nodes.IMAGE, disk_id), nodes.node(nodes.NOTHING, disk_id)
    merge = {"node": image, "target": text, "bitmaps": [_BITMAP, {"node": nothing, "name": _BITMAP}]}
    persistent = can_last(monitor, disk_id)
    actions = [add(disk_id, text, persistent=persistent), {"type": "block-dirty-bitmap-merge", "data": merge}]
    monitor.execute("transaction", {"actions": actions})
    return next(int(entry["count"]) for entry in listed(monitor, disk_id) if entry.get("name") == text)


def break_off(monitor: Monitor, disk_id: str) -> None:
    """End a comparison: whoever reads is cut off. None is fine."""
    present = {entry["id"] for entry in monitor.execute("query-block-exports")}
    until = time.monotonic() + _CUT
    for kind in (READ, DIFFERS):
        if f"{kind}.{disk_id}" in present:
            monitor.execute("block-export-del", {"id": f"{kind}.{disk_id}", "mode": "hard"})
    while is_compared(monitor, disk_id):
        if time.monotonic() > until:
            raise Unreachable(monitor.where, f"ending the comparison of disk {disk_id}", f"it goes on after {_CUT:g} s")
        time.sleep(0.005)
    nodes.close_named(monitor, nodes.node(nodes.NOTHING, disk_id))
    if any(entry.get("name") == _BITMAP for entry in listed(monitor, disk_id)):
        remove(monitor, disk_id, _BITMAP)
