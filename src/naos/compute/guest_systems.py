"""The guest systems that machines can be said to run, by the vSphere interface's names."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from naos.compute.configuration_errors import GuestSystemUnknown

WINDOWS = "windowsGuest"
HARDWARE = "pc"
"""The one kind of hardware that naos' machines have: QEMU's standard board."""


@dataclass(frozen=True)
class GuestSystem:
    """family: linuxGuest, windowsGuest, solarisGuest or otherGuest."""

    moref: str
    family: str
    full_name: str


@cache
def guest_systems() -> Mapping[str, GuestSystem]:
    """All of them, by moref, in the order of their names."""
    text = files("naos").joinpath("data/guest_systems.csv").read_text(encoding="utf-8")
    found = [GuestSystem(**entry) for entry in csv.DictReader(text.splitlines())]
    return {entry.moref: entry for entry in sorted(found, key=lambda entry: (entry.full_name, entry.moref))}


def find(moref: str) -> GuestSystem:
    """Raises GuestSystemUnknown."""
    try:
        return guest_systems()[moref]
    except KeyError:
        raise GuestSystemUnknown(moref) from None


def name_of(moref: str) -> str:
    """The full name; the moref itself when an earlier naos knew it and this one does not."""
    known = guest_systems().get(moref)
    return known.full_name if known is not None else moref


def is_windows(moref: str) -> bool:
    known = guest_systems().get(moref)
    return known is not None and known.family == WINDOWS
