"""What instant starts keep from going: points that machines still run from."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.protection.backup.instant_models import InstantDisk, InstantStart
from naos.storage.models import Disk

DONE = "done"


def machine_on(session: Session, point_id: str) -> str | None:
    """The name of a machine that still needs the point; None when none does."""
    query = sa.select(InstantStart.machine_name).where(InstantStart.point_id == point_id, InstantStart.state != DONE)
    return session.scalar(query.limit(1))


def held(session: Session) -> set[str]:
    """Ids of the points that machines still need."""
    return set(session.scalars(sa.select(InstantStart.point_id).where(InstantStart.state != DONE)))


def resting() -> sa.ColumnElement[bool]:
    """Disks of which a part still lies in a vault, or did: they move in by activities of their own."""
    return sa.exists().where(InstantDisk.disk_id == Disk.id)


def forget_disk(session: Session, disk_id: str) -> None:
    session.execute(sa.delete(InstantDisk).where(InstantDisk.disk_id == disk_id))
