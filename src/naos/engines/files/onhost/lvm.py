"""LVM: the physical volumes of a point's disks, put together by their ids; names of groups mean nothing."""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from naos.engines.files.onhost.disk import Damaged, Disk, Unsupported, check

_MAGIC = b" LVM2 x[5A%r0N*>"
_LONGEST = 16 * 2**20  # bytes of a group's description
_TOKEN = re.compile(r'\s+|#[^\n]*|"((?:[^"\\]|\\.)*)"|([A-Za-z0-9_.+-]+)|([{}\[\]=,])')
_NUMBER = re.compile(r"-?\d{1,18}")
_DEEPEST = 16
_SECTOR = 512


@dataclass(frozen=True)
class Physical:
    """A physical volume. place: which disk of the point it is on. text: of its copy of the group's description, "" for none."""

    id: str
    place: str
    disk: Disk
    text: str


@dataclass(frozen=True)
class Logical:
    """place: of the disk whose copy of the group it is in, "" when there is only one copy. problem: why it cannot be read."""

    id: str
    place: str
    group: str
    name: str
    size: int
    disk: Disk | None
    problem: str


def physical(disk: Disk, place: str) -> Physical | None:
    """None for what is no physical volume. Raises Damaged."""
    for sector in range(4):
        if disk.size < (sector + 1) * _SECTOR:
            return None
        label = disk.read(sector * _SECTOR, _SECTOR)
        if label[:8] == b"LABELONE" and label[24:32] == b"LVM2 001":
            break
    else:
        return None
    at = struct.unpack_from("<I", label, 20)[0]
    if at + 40 > _SECTOR:
        raise Damaged("the label of a physical volume")
    identifier = label[at : at + 32].decode("ascii", "replace")
    at += 40
    areas: list[list[tuple[int, int]]] = [[], []]
    for found in areas:
        while at + 16 <= _SECTOR:
            offset, size = struct.unpack_from("<QQ", label, at)
            at += 16
            if not offset:
                break
            found.append((offset, size))
    text = next((said for offset, size in areas[1] if (said := _text(disk, offset, size))), "")
    return Physical(identifier, place, disk, text)


def _text(disk: Disk, offset: int, size: int) -> str:
    head = disk.read(offset, _SECTOR)
    if head[4:20] != _MAGIC:
        return ""
    start, length, _, flags = struct.unpack_from("<QQII", head, 40)
    if not length or flags & 1 or length > min(size, _LONGEST) or start >= size:
        return ""
    first = min(length, size - start)
    data = disk.read(offset + start, first)
    if first < length:  # it goes on after the header
        data += disk.read(offset + _SECTOR, length - first)
    return data.rstrip(b"\0").decode("utf-8", "replace")


# ----------------------------------------------------------------------------------------------------------- description


def parsed(text: str) -> dict[str, Any]:
    """LVM's own notation. Raises Damaged."""
    tokens = _tokens(text)
    return _section(tokens, 0)


def _tokens(text: str) -> Iterator[tuple[str, Any]]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise Damaged("the description of a volume group")
        at = match.end()
        quoted, word, sign = match.groups()
        if quoted is not None:
            yield "value", re.sub(r"\\(.)", r"\1", quoted)
        elif word is not None:
            yield "word", int(word) if _NUMBER.fullmatch(word) else word
        elif sign is not None:
            yield sign, sign


def _section(tokens: Iterator[tuple[str, Any]], depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise Damaged("the description of a volume group is nested too deep")
    found: dict[str, Any] = {}
    for kind, name in tokens:
        if kind == "}":
            return found
        if kind not in ("word", "value"):
            raise Damaged("the description of a volume group")
        sign, _ = next(tokens, ("", None))
        if sign == "{":
            found[str(name)] = _section(tokens, depth + 1)
        elif sign == "=":
            found[str(name)] = _value(tokens)
        else:
            raise Damaged("the description of a volume group")
    return found


def _value(tokens: Iterator[tuple[str, Any]]) -> Any:
    kind, value = next(tokens, ("", None))
    if kind != "[":
        return value
    values: list[Any] = []
    for sort, each in tokens:
        if sort == "]":
            return values
        if sort != ",":
            values.append(each)
    raise Damaged("the description of a volume group")


# ---------------------------------------------------------------------------------------------------------------- groups


def logical(found: Sequence[Physical]) -> Iterator[Logical]:
    """The logical volumes of all groups. Two groups of one name are two; and a disk that is a copy of another one, ids included, is
    read beside it, each with what only it has."""
    described = [(volume, _described(volume.text)) for volume in found if volume.text]
    copies: dict[str, list[Physical]] = {}
    for volume in found:
        copies.setdefault(volume.id, []).append(volume)
    doubled = any(len(each) > 1 for each in copies.values())
    done: set[tuple[str, str]] = set()
    for volume, description in sorted(described, key=lambda each: -int(each[1].get("seqno", 0))):
        place = volume.place if doubled else ""
        identifier = str(description.get("id", ""))
        if (identifier, place) in done:
            continue
        done.add((identifier, place))
        near = {
            each: next((one for one in held if one.place == volume.place), held[0]).disk
            for each, held in copies.items()
        }
        try:
            yield from list(_Group(description, near).volumes(place))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue


def _described(text: str) -> dict[str, Any]:
    try:
        everything = parsed(text)
    except Damaged:
        return {}
    for name, section in everything.items():
        if isinstance(section, dict) and "physical_volumes" in section:
            return {**section, "name": name}
    return {}


class _Group:
    def __init__(self, description: dict[str, Any], near: Mapping[str, Disk]) -> None:
        self._said, self._near = description, near
        self._extent = int(description.get("extent_size", 0)) * _SECTOR
        self._sections: dict[str, Any] = description.get("logical_volumes", {})

    def volumes(self, place: str) -> Iterator[Logical]:
        for name, section in self._sections.items():
            if "VISIBLE" not in section.get("status", []):
                continue
            identifier, problem = str(section.get("id", "")).replace("-", ""), ""
            disk: Disk | None = None
            try:
                disk = self._disk(name, 0)
            except (Damaged, Unsupported) as error:
                problem = str(error)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError):
                problem = "its description is damaged"
            size = disk.size if disk is not None else 0
            yield Logical(identifier, place, str(self._said["name"]), name, size, disk, problem)

    def _disk(self, name: str, depth: int) -> Disk:
        if depth > _DEEPEST or not 0 < self._extent <= 2**40:
            raise Damaged("its description goes in a circle")
        section = self._sections[name]
        pieces: list[tuple[int, int, list[tuple[Disk, int]], int]] = []
        for number in range(1, int(section["segment_count"]) + 1):
            segment = section[f"segment{number}"]
            start, length = (int(segment[key]) * self._extent for key in ("start_extent", "extent_count"))
            kind = segment["type"]
            if kind == "striped":
                stripes = [
                    self._leg(segment["stripes"][at], int(segment["stripes"][at + 1]), depth)
                    for at in range(0, len(segment["stripes"]), 2)
                ]
                unit = int(segment.get("stripe_size", 0)) * _SECTOR if len(stripes) > 1 else length
            elif kind in ("raid1", "mirror"):
                legs = segment["raids"][1::2] if kind == "raid1" else segment["mirrors"][0::2]
                stripes, unit = [self._first(legs, depth)], length
            else:
                raise Unsupported(f"logical volumes of type {kind!r}")
            if not unit or not length:
                raise Damaged("a segment without a size")
            pieces.append((start, length, stripes, unit))
        return Joined(sorted(pieces, key=lambda piece: piece[0]))

    def _first(self, legs: Sequence[str], depth: int) -> tuple[Disk, int]:
        """The first copy that is all there."""
        for number, leg in enumerate(legs):
            try:
                return self._leg(leg, 0, depth)
            except Damaged:
                if number == len(legs) - 1:
                    raise
        raise Damaged("a mirror without copies")

    def _leg(self, name: str, extent: int, depth: int) -> tuple[Disk, int]:
        volumes = self._said["physical_volumes"]
        if name in volumes:
            identifier = str(volumes[name]["id"]).replace("-", "")
            disk = self._near.get(identifier)
            if disk is None:
                raise Damaged(f"its physical volume {volumes[name]['id']} is not in the point")
            return disk, int(volumes[name]["pe_start"]) * _SECTOR + extent * self._extent
        return self._disk(name, depth + 1), extent * self._extent


class Joined:
    """A disk of pieces of others. segments: where each begins, how long it is, on what it is in turns, and how many bytes a turn has."""

    def __init__(self, segments: Sequence[tuple[int, int, list[tuple[Disk, int]], int]]) -> None:
        self._segments = segments
        self.size = max((start + length for start, length, _, _ in segments), default=0)

    def read(self, offset: int, size: int) -> bytes:
        check(self, offset, size)
        parts = []
        while size:
            found = next((each for each in self._segments if each[0] <= offset < each[0] + each[1]), None)
            if found is None:
                raise Damaged(f"its description says nothing of byte {offset}")
            start, length, stripes, unit = found
            inside = offset - start
            number, within = divmod(inside, unit)
            disk, place = stripes[number % len(stripes)]
            step = min(size, unit - within, length - inside)
            parts.append(disk.read(place + number // len(stripes) * unit + within, step))
            offset += step
            size -= step
        return parts[0] if len(parts) == 1 else b"".join(parts)
