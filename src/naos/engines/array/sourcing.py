"""The calls of an array that have to do with points: taking them of its disks, keeping them on its volumes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from naos.engines.array import comparing, outgoing, volume
from naos.engines.array.daemon import served, served_or_dead
from naos.engines.array.places import Place
from naos.engines.points.driver import HostPointStore
from naos.engines.ports import Host, JobState, LunKey, LunSpec, Outgoing


class PointSourcing(ABC):
    """What a driver has of them. Disks of one call are of one volume."""

    name: str
    _host: Host
    _address: str

    @abstractmethod
    def _place(self, lun: LunSpec | str, key: LunKey | None = None) -> Place:
        """Where a volume lies on the array's host."""

    def known_bases(self, lun: LunSpec, set_id: str, disk_ids: Sequence[str]) -> dict[str, frozenset[str]]:
        """Raises Missing, Unreachable."""
        place = self._place(lun)
        with served(place) as monitor:
            return outgoing.known(monitor, place, set_id, disk_ids)

    def compare(
        self, lun: LunSpec, set_id: str, point_id: str, disk_id: str, checksums: Path, *, pace: int | None = None
    ) -> int:
        """See `comparing.compare`. Raises Missing, EngineError when the disk changed its size or went meanwhile."""
        return comparing.compare(self._place(lun), lun, self._address, set_id, point_id, disk_id, checksums, pace)

    def begin_point(
        self,
        lun: LunSpec,
        set_id: str,
        point_id: str,
        parts: Sequence[Outgoing],
        *,
        speed: int | None = None,
        yielding: bool = False,
    ) -> datetime:
        """One transaction of the daemon. Raises Missing, Busy, EngineError for a base that is not known or a door that is shut."""
        place = self._place(lun)
        with served(place) as monitor:
            return outgoing.begin(monitor, place, set_id, point_id, parts, speed=speed, yielding=yielding)

    def point(self, lun: LunSpec, point_id: str, disk_ids: Sequence[str]) -> JobState:
        place = self._place(lun)
        with served(place) as monitor:
            return outgoing.state(monitor, place, point_id, disk_ids)

    def pace_point(self, lun: LunSpec, point_id: str, disk_ids: Sequence[str], speed: int | None) -> None:
        place = self._place(lun)
        with served(place) as monitor:
            outgoing.pace(monitor, point_id, disk_ids, speed)

    def close_point(self, lun: LunSpec, point_id: str, disk_ids: Sequence[str]) -> None:
        place = self._place(lun)
        with served(place) as monitor:
            outgoing.close(monitor, place, point_id, disk_ids)

    def end_point(self, lun: LunSpec, set_id: str, point_id: str, disk_ids: Sequence[str], *, complete: bool) -> None:
        """With a dead daemon nothing goes on, and nothing that could be forgotten is known for certain."""
        place = self._place(lun)
        with served_or_dead(place) as monitor:
            if monitor is not None:
                outgoing.end(monitor, place, set_id, point_id, disk_ids, complete=complete)

    def forget_set(self, lun_id: str, set_id: str, disk_ids: Sequence[str]) -> None:
        place = self._place(lun_id)
        if not volume.exists(place):
            return
        with served_or_dead(place) as monitor:
            if monitor is not None:
                outgoing.forget(monitor, place, set_id, disk_ids)

    def points(self, lun_id: str) -> HostPointStore:
        """In the folder `points` of the volume's file system."""
        place = self._place(lun_id)
        where = f"{self.name}, volume {lun_id}"
        return HostPointStore(where, self._host, self._address, f"{place.files}/points", place.files)

    def adopt_point(self, lun: LunSpec, set_id: str, point_id: str) -> list[str]:
        place, store = self._place(lun), self.points(lun.id)
        found = store.adopt(set_id, point_id, place.disks)
        store.forget(set_id)
        return found
