"""A database with very many machines: one made through the API, its rows copied; and the API over it without a rack."""

import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from fastapi import FastAPI

sys.path.insert(0, str(Path(__file__).parents[1] / "controller"))
from simulated_platform import COMPUTE, Platform, platform_in, settings_in

from naos.api.app import create_app
from naos.api.services import Services
from naos.database import Base, Database
from naos.inventory.catalogues import load_blades, load_storage
from naos.inventory.model import load
from naos.world import World

COPIED = ("virtual_controllers", "disks", "adapters")
BATCH = 500


def prepare(folder: Path, count: int) -> list[str]:
    """Fill `folder` with a platform of `count` machines, each with a disk, an adapter and a controller; their ids."""
    with platform_in(folder) as platform:
        platform.furnish()
        first = platform.deploy("machine-00000", powerOn=False)
        assert platform.settled() == []
        return [first, *_copy(platform, first, count - 1)]


def _copy(platform: Platform, first: str, count: int) -> list[str]:
    made = [str(uuid.uuid4()) for _ in range(count)]
    with platform.services.database.write() as session:
        for table in ("virtual_machines", *COPIED):
            rows = _rows(session, table, first)
            assert rows, f"the first machine has no {table}"
            for start in range(0, count, BATCH):
                numbers = range(start, min(start + BATCH, count))
                copies = [_changed(table, row, made[number], number + 1) for number in numbers for row in rows]
                session.execute(sa.insert(Base.metadata.tables[table]), copies)
    return made


def _rows(session: Any, name: str, first: str) -> list[dict[str, Any]]:
    table = Base.metadata.tables[name]
    column = table.c.id if name == "virtual_machines" else table.c.machine_id
    return [dict(row) for row in session.execute(sa.select(table).where(column == first)).mappings()]


def _changed(name: str, row: Mapping[str, Any], machine: str, number: int) -> dict[str, Any]:
    """The row as the `number`-th copy's. Ids are made of the machine's and the old one, so that references still meet."""

    def renamed(identifier: str) -> str:
        return str(uuid.uuid5(uuid.UUID(machine), identifier))

    if name == "virtual_machines":
        return {**row, "id": machine, "name": f"machine-{number:05}"}
    changed = {**row, "id": renamed(row["id"]), "machine_id": machine}
    if name == "disks" and row["controller_id"]:
        changed["controller_id"] = renamed(row["controller_id"])
    if name == "adapters":
        mac = ":".join(f"{byte:02x}" for byte in (0x02, 0x4E, *number.to_bytes(4, "big")))
        changed |= {"mac": mac, "mac_key": mac.replace(":", "")}
    return changed


@contextmanager
def reading(folder: Path) -> Iterator[tuple[FastAPI, Database]]:
    """The API over what `prepare` left. No engine and no rack: nothing is looked after while it is read."""
    chosen = settings_in(folder)
    database = Database(chosen.database_url)
    inventory = load(chosen.inventory)
    world = World(database, cast(Any, None), inventory, load_blades(), load_storage(), chosen)
    try:
        yield create_app(Services(world, cast(Any, None), "reader")), database
    finally:
        database.close()


__all__ = ["COMPUTE", "prepare", "reading"]
