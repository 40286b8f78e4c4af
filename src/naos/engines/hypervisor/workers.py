"""Threads that make blocking calls under deadlines.

libvirt's calls are C calls without a timeout: on a host that was cut off they may hang until TCP gives up. So the caller waits
beside the call, not in it; a call that outlives its deadline is written off with its thread, and another thread takes its place.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from naos.engines.errors import Unreachable

SIZE = 16
MOST_STUCK = 48

T = TypeVar("T")


class _Task(Generic[T]):
    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.finished = threading.Event()
        self.running = False
        self.written_off = False
        self.result: T | None = None
        self.error: BaseException | None = None


class Workers:
    """At most `size` threads that still answer, made as they are needed, and at most `most_stuck` that do not.

    where: whose calls these are, for messages.
    """

    def __init__(self, where: str, *, size: int = SIZE, most_stuck: int = MOST_STUCK) -> None:
        self._where, self._size, self._most_stuck = where, size, most_stuck
        self._tasks: queue.SimpleQueue[_Task[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._unfinished = self._stuck = 0
        self._closed = False

    @property
    def stuck(self) -> int:
        """How many threads are in a call that nobody waits for any more."""
        return self._stuck

    def call(self, what: str, function: Callable[[], T], deadline: float) -> T:
        """What `function` returns or raises, in another thread; Unreachable after `deadline` seconds."""
        task = _Task(function)
        with self._lock:
            self._admit(what)
            self._unfinished += 1
            if self._threads < min(self._unfinished, self._size):
                self._threads += 1
                threading.Thread(target=self._work, name=f"libvirt {self._where}", daemon=True).start()
        self._tasks.put(task)
        if not task.finished.wait(deadline) and not self._give_up(task):
            raise Unreachable(self._where, what, f"no answer within {deadline:g} s")
        if task.error is not None:
            raise task.error
        return task.result  # type: ignore[return-value]  # None only where T is

    def close(self) -> None:
        """Refuse further calls and let idle threads end; calls that are under way are not waited for."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in range(self._threads):
                    self._tasks.put(None)

    def _admit(self, what: str) -> None:
        if self._closed:
            raise Unreachable(self._where, what, "its connection was closed")
        if self._stuck >= self._most_stuck:
            raise Unreachable(self._where, what, f"{self._stuck} earlier calls never came back")

    def _give_up(self, task: _Task[Any]) -> bool:
        """Write the task off, and its thread with it. True when it has finished after all."""
        with self._lock:
            if task.finished.is_set():
                return True
            task.written_off = True
            self._unfinished -= 1
            if task.running:
                self._threads -= 1
                self._stuck += 1
            return False

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            with self._lock:
                if task.written_off:
                    continue
                task.running = True
            try:
                task.result = task.function()
            except BaseException as error:  # whatever it was, it is the caller's to see
                task.error = error
            with self._lock:
                task.finished.set()
                if task.written_off:
                    self._stuck -= 1
                    return
                self._unfinished -= 1
