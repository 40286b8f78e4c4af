"""What looks at something once a period, while its controller leads."""

import threading
from abc import ABC, abstractmethod
from typing import ClassVar

import structlog

from naos.activity.engine import Engine

_log = structlog.get_logger()


class Watch(ABC):
    """A thread that looks once a period (seconds), and at once after `wake`. A look that fails is logged, and the next one comes
    all the same. `name`: the thread's, and the log's."""

    name: ClassVar[str]

    def __init__(self, engine: Engine, period: float) -> None:
        self._engine, self._period = engine, period
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name=self.name, daemon=True)

    @abstractmethod
    def look(self) -> object:
        """Look once."""

    def round(self) -> None:
        """What the thread does once a period; one that has more to do than to look says here what comes when."""
        self.look()

    def rest(self) -> None:  # noqa: B027 - most have nothing to do
        """Called instead while another controller leads: what was counted here says nothing when this one leads again."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """After the round in hand. One that takes long asks `is_stopping`."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def wake(self) -> None:
        self._wake.set()

    def is_stopping(self) -> bool:
        return self._stop.is_set()

    def _loop(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._period)
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                if self._engine.is_leader():
                    self.round()
                else:
                    self.rest()
            except Exception:
                _log.exception("watch.look_failed", watch=self.name)
