"""How snapshots grow, on the wire. Sizes in bytes."""

from datetime import datetime

from naos.storage.snapshot_growth import Growth
from naos.wire import Wire


class GrowthPoint(Wire):
    """What a snapshot held in the hour that began at `at`, as seen last in it."""

    at: datetime
    held: int


class SnapshotGrowth(Wire):
    """`held`: what lies on the volumes for this snapshot's sake alone, as last seen; null before that. `growth_per_day`: null while less
    than an hour of it is known. `warnings`: of its age and size, whole sentences. `points`: the last 30 days, the oldest first."""

    held: int | None
    growth_per_day: int | None
    measured_at: datetime | None
    warnings: list[str]
    points: list[GrowthPoint]


def growth_wire(growth: Growth) -> SnapshotGrowth:
    return SnapshotGrowth(
        held=growth.held if growth.measured_at is not None else None,
        growth_per_day=growth.per_day if growth.measured_at is not None else None,
        measured_at=growth.measured_at,
        warnings=list(growth.warnings),
        points=[GrowthPoint(at=at, held=held) for at, held in growth.points],
    )
