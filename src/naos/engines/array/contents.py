"""What lies on a volume, told by the names that naos gives."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_ID = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_DISK = re.compile(rf"disks/{_ID}\.(?:qcow2|new|reserved)")
_DAMAGED = re.compile(rf"disks/{_ID}\.damaged")
_SCRATCH = re.compile(rf"disks/{_ID}\.([0-9]+)\.scratch(?:\.new)?")
_TEMPLATE = re.compile(rf"templates/{_ID}\.(?:qcow2|door/)")
_ASIDE = re.compile(rf"aside/{_ID}")
_SET = re.compile(rf"points/{_ID}/")
_FOLDERS = ("disks/", "templates/", "aside/", "points/")


@dataclass(frozen=True)
class Found:
    """disks: unfinished ones too, so that nothing that takes space stays unseen. volatile: disk and epoch of its writes.
    aside: for whom space is set aside. sets: of points of other volumes' disks. damaged: whose images
    contradict themselves (see `damage`)."""

    disks: list[str]
    templates: list[str]
    foreign: list[str]
    volatile: list[tuple[str, int]]
    aside: list[str]
    sets: list[str]
    damaged: list[str]


def sort_out(paths: Iterable[str]) -> Found:
    """paths: relative to the volume's root, folders with a slash at the end."""
    disks, templates, foreign, volatile, aside, sets = set(), set(), set(), set(), set(), set()
    damaged = set()
    for path in paths:
        if path in _FOLDERS:
            continue
        if match := _DISK.fullmatch(path):
            disks.add(match[1])
        elif match := _DAMAGED.fullmatch(path):
            damaged.add(match[1])
        elif match := _SCRATCH.fullmatch(path):
            volatile.add((match[1], int(match[2])))
        elif match := _TEMPLATE.fullmatch(path):
            templates.add(match[1])
        elif match := _ASIDE.fullmatch(path):
            aside.add(match[1])
        elif match := _SET.fullmatch(path):
            sets.add(match[1])
        else:
            foreign.add(path)
    return Found(
        disks=sorted(disks),
        templates=sorted(templates),
        foreign=sorted(foreign),
        volatile=sorted(volatile),
        aside=sorted(aside),
        sets=sorted(sets),
        damaged=sorted(damaged),
    )
