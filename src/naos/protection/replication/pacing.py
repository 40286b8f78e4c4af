"""How fast the points of a replicated volume travel, by the clock on the wall. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from naos.protection.backup import schedule
from naos.protection.backup.errors import WindowInvalid
from naos.protection.backup.schedule import Window
from naos.protection.replication.errors import LimitTooLow, LimitWindow

SLOWEST = 2**20
"""Bytes a second; a limit below would let a copy of many disks seem to stand still."""
MOST_WINDOWS = 24
SPREAD = 10  # seconds
GENTLE = 32 * 2**20
"""Bytes a second of a disk that its guests hardly feel."""


@dataclass(frozen=True)
class Pace:
    """speed: bytes a second of a whole volume, None for as fast as it goes; windows: the same between wall times of `zone`."""

    speed: int | None
    windows: tuple[tuple[Window, int | None], ...]
    zone: ZoneInfo

    def at(self, instant: datetime) -> int | None:
        """Of the windows that are open the slowest, else what holds outside of all."""
        found = [speed for window, speed in self.windows if window.holds(instant, self.zone)]
        if not found:
            return self.speed
        return min((speed for speed in found if speed is not None), default=None)


def pace_of(speed: int, windows: Mapping[str, int], time_zone: str) -> Pace:
    """Of a row's values: speeds in bytes a second, 0 for no limit; windows: `08:00-18:00` -> speed."""
    read = tuple((schedule.window_of(text), limit or None) for text, limit in windows.items())
    return Pace(speed or None, read, schedule.zone_of(time_zone))


def check(name: str, speed: int, windows: Mapping[str, int], time_zone: str) -> None:
    """Raises LimitTooLow, LimitWindow, TimeZoneUnknown."""
    schedule.zone_of(time_zone)
    for limit in (speed, *windows.values()):
        if 0 < limit < SLOWEST:
            raise LimitTooLow(name, limit, SLOWEST)
    for text in windows:
        try:
            schedule.window_of(text)
        except WindowInvalid:
            raise LimitWindow(text) from None


def even(total: int) -> int:
    """What a disk takes where nothing limits it, of a point of which so many bytes travel: no more than brings them there within
    `SPREAD`, so that guests' requests do not queue behind a copy that nobody waits for."""
    return max(-(-total // SPREAD), GENTLE)


def share(speed: int | None, disks: int) -> int | None:
    """What each of a volume's disks gets: together they are never faster than the volume may be."""
    return None if speed is None else max(speed // max(disks, 1), 1)
