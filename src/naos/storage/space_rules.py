"""What the figures of a volume's space say: pure functions of plain values. Sizes in bytes."""

from collections.abc import Sequence
from datetime import datetime

WARNING, CRITICAL = "warning", "critical"
FROM = {WARNING: 70, CRITICAL: 90}
"""Per cent used from which on an alarm of this level is triggered."""
HYSTERESIS = 2
"""It is cleared that many points below, so that one at the edge does not come and go."""
STATUS = {WARNING: "yellow", CRITICAL: "red"}


def level(used: int, capacity: int, before: str) -> str:
    """The alarm's level now, "" for none. before: the level at the last look."""
    percent = used * 100 / capacity if capacity else 0.0
    for name in (CRITICAL, WARNING):
        held = before in (CRITICAL, name)
        if percent >= FROM[name] - (HYSTERESIS if held else 0):
            return name
    return ""


def slope(points: Sequence[tuple[datetime, int]]) -> float | None:
    """Bytes a day by which the use grows: the straight line that is nearest to the points. None below an hour of them."""
    if len(points) < 2 or (points[-1][0] - points[0][0]).total_seconds() < 3600:
        return None
    days = [(at - points[0][0]).total_seconds() / 86400 for at, _ in points]
    middle, mean = sum(days) / len(days), sum(used for _, used in points) / len(points)
    spread = sum((day - middle) ** 2 for day in days)
    return sum((day - middle) * (used - mean) for day, (_, used) in zip(days, points, strict=True)) / spread


def days_until_full(points: Sequence[tuple[datetime, int]], free: int) -> float | None:
    """At the present slope; None while it does not grow, or too little is known."""
    growth = slope(points)
    return round(free / growth, 1) if growth is not None and growth > 0 else None


def is_short(free: int, capacity: int, percent: int) -> bool:
    """Whether less than so many per cent are free."""
    return free * 100 < capacity * percent
