"""`lab.json`: what a lab has made, or is about to make. Written before the first thing is made, removed after the last."""

import contextlib
import ipaddress
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from naos.engines.hosts import netns, processes
from naos.engines.hosts.files import locked, write_whole
from naos.engines.hosts.processes import Process
from naos.lab.errors import BadRecord, NoLab, RootTaken
from naos.lab.plan import Plan, Zone

FORMAT = 1
OWN = ("hosts", "inventory.toml")
"""Names below the root that only the lab uses."""
SHARED = ("controller", "credentials", "controller.log", "cache", "volume-keys")
"""Names that a controller uses; those that were there before the lab stay."""
TRACES = ("lab.json.new", "lab.lock")
"""What writing the record leaves beside it, the last to go; whoever was killed before the first record left only these."""


@dataclass(frozen=True)
class Record:
    """id: UUID of the lab. port: the API's, on 127.0.0.1.

    names_folder: what iproute2's folder of names was before the lab (see `netns.folder_state`) in the run `names_boot` of
    the machine. made: names below the root that were not there before and go with the lab. made_root: parents that were made for it,
    deepest first. controller: its process in the run `boot` of the machine.
    """

    id: str
    plan: Plan
    port: int
    names_folder: str
    names_boot: str
    made: tuple[str, ...]
    made_root: tuple[str, ...]
    controller: Process | None = None
    boot: str = ""


def lab_root() -> Path:
    """Where labs are kept: NAOS_ROOT, by default /var/lib/naos."""
    return Path(os.environ.get("NAOS_ROOT") or "/var/lib/naos").resolve()


def read(root: Path) -> Record | None:
    """None when there is no lab. Raises BadRecord."""
    file = root / "lab.json"
    try:
        return _decoded(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadRecord(str(file), repr(error)) from error


def require(root: Path) -> Record:
    """Raises NoLab, BadRecord."""
    found = read(root)
    if found is None:
        raise NoLab(str(root))
    return found


def write(root: Path, record: Record) -> None:
    write_whole(root / "lab.json", json.dumps(_encoded(record), indent=2) + "\n")


def begin(root: Path, plan: Plan, port: int, missing_parents: Sequence[Path]) -> Record:
    """The record of a lab of which nothing is there yet. missing_parents: folders that were made for the root.

    Raises RootTaken.
    """
    for name in OWN:
        if os.path.lexists(root / name):
            raise RootTaken(str(root / name))
    made = (*OWN, *(name for name in SHARED if not os.path.lexists(root / name)))
    return Record(
        str(uuid.uuid4()),
        plan,
        port,
        netns.folder_state(),
        processes.boot_id(),
        made,
        tuple(str(path) for path in missing_parents),
    )


def of_this_boot(record: Record) -> Record:
    """After a restart of the machine what is found there is new."""
    if record.names_boot == processes.boot_id():
        return record
    return replace(record, names_folder=netns.folder_state(), names_boot=processes.boot_id())


def with_controller(record: Record, process: Process | None) -> Record:
    return replace(record, controller=process, boot=processes.boot_id() if process else "")


@contextlib.contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """One at a time changes a lab. Raises NoLab when the root is not there."""
    try:
        with locked(root / "lab.lock"):
            yield
    except FileNotFoundError as error:
        if root.is_dir():
            raise
        raise NoLab(str(root)) from error


def _encoded(record: Record) -> dict[str, Any]:
    plan = asdict(record.plan) | {"network": str(record.plan.network)}
    return {"format": FORMAT} | asdict(record) | {"plan": plan}


def _decoded(kept: dict[str, Any]) -> Record:
    if kept.pop("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    plan = kept["plan"]
    zones = tuple(Zone(**zone) for zone in plan["zones"])
    network = ipaddress.IPv4Network(plan["network"])
    controller = kept["controller"]
    changed = {
        "plan": Plan(plan["name"], plan["region"], network, zones),
        "made": tuple(kept["made"]),
        "made_root": tuple(kept["made_root"]),
        "controller": Process(**controller) if controller else None,
    }
    return Record(**(kept | changed))
