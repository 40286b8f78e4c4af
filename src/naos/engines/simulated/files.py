"""Files of simulated points: of disks whose content a test has laid into the world, read by the real readers.

`contents/DISK.img` in the world's folder is a disk, byte by byte, at every point. One without such a file is full of zeroes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from naos.engines.errors import Missing
from naos.engines.files import driver
from naos.engines.files.onhost import names, requests
from naos.engines.files.onhost.disk import Raw
from naos.engines.files.onhost.volumes import FAILURES, Point, reason
from naos.engines.ports.files import FileEvent, FilePage, FileVolume, Hole, PlacedDisk
from naos.engines.simulated.calls import SimulatedEngine
from naos.engines.simulated.store import Store

_EMPTY = 2**20  # bytes of a disk without content
Found = TypeVar("Found")


def content_of(folder: Path, disk_id: str) -> Path:
    """Where a disk's content lies in a world."""
    return folder / "contents" / f"{disk_id}.img"


class SimulatedPointFiles(SimulatedEngine):
    port = "files"

    def __init__(self, engine: str, store: Store) -> None:
        super().__init__(engine, store)

    def volumes(self, set_id: str, point_id: str, disks: Sequence[PlacedDisk]) -> list[FileVolume]:
        with self._opened("volumes", set_id, point_id, disks) as point:
            found = self._answered(lambda: requests.volumes(point))
            return [driver.volume(entry) for entry in found["volumes"]]

    def folder(
        self, set_id: str, point_id: str, disks: Sequence[PlacedDisk], *, volume: str, path: str, after: str, limit: int
    ) -> FilePage:
        with self._opened("folder", set_id, point_id, disks) as point:
            request = {"volume": volume, "path": path, "after": after, "limit": limit}
            found = self._answered(lambda: requests.folder(point, request))
            return FilePage([driver.entry(each) for each in found["entries"]], found["more"])

    @contextmanager
    def content(
        self, set_id: str, point_id: str, disks: Sequence[PlacedDisk], *, volume: str, path: str, again: bool = False
    ) -> Iterator[Iterator[FileEvent]]:
        with self._opened("content", set_id, point_id, disks) as point:
            events: list[FileEvent] = []

            def send(answer: dict[str, Any], pieces: Iterator[tuple[int, bytes | None]] | None) -> None:
                events.append(driver.entry(answer))
                events.extend(Hole(length) if data is None else data for length, data in pieces or ())

            self._answered(lambda: requests.content(point, {"volume": volume, "path": path, "again": again}, send))
            yield iter(events)

    def end(self, point_ids: Sequence[str]) -> None:
        """Nothing is kept open between calls."""
        del point_ids

    def _answered(self, ask: Callable[[], Found]) -> Found:
        try:
            return ask()
        except requests.Refused as error:
            driver.refuse(self.name, error.kind, error.what, error.why)
        except names.Unclear as error:
            driver.refuse(self.name, "unclear", "the path", str(error))
        except FAILURES as error:
            driver.refuse(self.name, "unreadable", "the volume", reason(error))

    @contextmanager
    def _opened(self, method: str, set_id: str, point_id: str, disks: Sequence[PlacedDisk]) -> Iterator[Point]:
        with self._call(method) as db:
            known = db.execute(
                "SELECT 1 FROM points WHERE place = ? AND set_id = ? AND id = ? AND complete = 1",
                (self.name, set_id, point_id),
            ).fetchone()
        if known is None:
            raise Missing(self.name, f"point {point_id}", "it was never completed here, or it was dropped")
        handles: list[int] = []
        try:
            placed = []
            for disk in disks:
                file = content_of(self._store.folder, disk.disk_id)
                handle = os.open(file, os.O_RDONLY) if file.exists() else os.memfd_create("empty")
                handles.append(handle)
                if not file.exists():
                    os.ftruncate(handle, _EMPTY)
                placed.append((disk.place, disk.name, Raw(handle)))
            yield Point(placed)
        finally:
            for handle in handles:
                os.close(handle)
