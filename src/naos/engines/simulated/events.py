"""Events of simulated blades, whichever process caused them: one thread reads them, every listener waits for its own."""

import queue
import threading
from collections import defaultdict
from collections.abc import Iterator

from naos.engines.ports import DomainEvent
from naos.engines.simulated.store import Store

PERIOD_SECONDS = 0.05

_Queue = queue.SimpleQueue[DomainEvent | None]


class Events:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._listeners: dict[str, list[_Queue]] = defaultdict(list)
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def listen(self, blade: str) -> Iterator[DomainEvent]:
        """What happens on the blade from this call on, until `end` or `close`."""
        mine: _Queue = queue.SimpleQueue()
        with self._lock:
            if self._stop.is_set():
                return iter(())
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._read, args=(self._newest(),), name="simulated events", daemon=True
                )
                self._thread.start()
            self._listeners[blade].append(mine)
        return iter(mine.get, None)

    def end(self, blade: str) -> None:
        """Let every listener of the blade go."""
        with self._lock:
            ended = self._listeners.pop(blade, [])
        for listener in ended:
            listener.put(None)

    def close(self) -> None:
        with self._lock:
            self._stop.set()
            thread = self._thread
        if thread is not None:
            thread.join()
        for blade in list(self._listeners):
            self.end(blade)

    def _newest(self) -> int:
        with self._store.transaction() as db:
            (number,) = db.execute("SELECT COALESCE(MAX(number), 0) FROM events").fetchone()
        return int(number)

    def _read(self, seen: int) -> None:
        while not self._stop.wait(PERIOD_SECONDS):
            with self._store.transaction() as db:
                rows = db.execute("SELECT * FROM events WHERE number > ? ORDER BY number", (seen,)).fetchall()
            with self._lock:
                for row in rows:
                    seen = row["number"]
                    for listener in self._listeners.get(row["blade"], ()):
                        listener.put(DomainEvent(row["blade"], row["domain"], row["kind"]))
