"""How busy the processors of the controller's host are."""

import threading
from pathlib import Path

_STAT = Path("/proc/stat")
_IDLE = (3, 4)
"""Places of the idle and the waiting time in the kernel's first line."""


class Meter:
    """The busy share since the last reading, in whole percent; the first reading is of the time since the host's start."""

    def __init__(self, source: Path = _STAT) -> None:
        self._source, self._last, self._shown = source, (0, 0), 0
        self._lock = threading.Lock()

    def percent(self) -> int:
        with self._lock:
            times = [int(word) for word in self._source.read_text(encoding="ascii").partition("\n")[0].split()[1:9]]
            total, idle = sum(times), sum(times[place] for place in _IDLE)
            passed = total - self._last[0]
            if passed > 0:
                self._shown = round(100 * (passed - (idle - self._last[1])) / passed)
                self._last = total, idle
            return min(max(self._shown, 0), 100)
