"""Looking into a restore point."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.orm import Session

from naos.engines.errors import Missing, Unsupported
from naos.engines.ports.files import FileEvent, FilePage, FileVolume, PlacedDisk, PointFiles
from naos.protection.backup import points
from naos.protection.backup.models import RestorePoint
from naos.protection.files.errors import FileMissing, FileUnreadable
from naos.world import World


class Opened:
    """A restore point whose files can be asked for; it has to be `points.find_good`. Every call raises FileMissing, FileUnreadable, and what
    engines do."""

    def __init__(self, world: World, session: Session, point: RestorePoint) -> None:
        self._set, self._point, self._vault = point.set_id, point.id, point.vault
        self.machine, self.taken, self.taken_at = point.machine_name, points.moment(point.taken_at), point.taken_at
        self.crashed = point.consistency == points.Consistency.CRASH
        held = points.disks_of(session, [point.id])[point.id]
        self._disks: Sequence[PlacedDisk] = [PlacedDisk(disk.disk_id, str(disk.unit), disk.name) for disk in held]
        self._world = world

    def _files(self) -> PointFiles:
        return self._world.rack.vault_files(self._vault)

    def volumes(self) -> list[FileVolume]:
        with self._translated():
            return self._files().volumes(self._set, self._point, self._disks)

    def folder(self, volume: str, path: str, *, after: str, limit: int) -> FilePage:
        with self._translated():
            return self._files().folder(
                self._set, self._point, self._disks, volume=volume, path=path, after=after, limit=limit
            )

    @contextmanager
    def content(self, volume: str, path: str, *, again: bool) -> Iterator[Iterator[FileEvent]]:
        """again: a file of several names comes with its content under each."""
        with (
            self._translated(),
            self._files().content(self._set, self._point, self._disks, volume=volume, path=path, again=again) as events,
        ):
            yield events

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Missing as error:
            raise FileMissing(self.machine, self.taken, error.what, error.reason) from error
        except Unsupported as error:
            raise FileUnreadable(self.machine, self.taken, error.what, error.reason) from error


def find(world: World, session: Session, tenant_id: str, point_id: str) -> Opened:
    """Raises Unknown, PointNotReady."""
    return Opened(world, session, points.find_good(session, tenant_id, point_id))
