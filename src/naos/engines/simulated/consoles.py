"""Serial lines of simulated guests: each greets and echoes. A second opener takes the line over."""

import queue
import threading
from collections.abc import Callable


class Consoles:
    """The open lines of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], EchoStream] = {}

    def open(self, blade: str, domain_id: str) -> "EchoStream":
        key = (blade, domain_id)
        stream = EchoStream(f"simulated guest {domain_id}\r\n".encode(), lambda mine: self._drop(key, mine))
        with self._lock:
            earlier = self._open.get(key)
            self._open[key] = stream
        if earlier is not None:
            earlier.close()
        return stream

    def _drop(self, key: tuple[str, str], stream: "EchoStream") -> None:
        with self._lock:
            if self._open.get(key) is stream:
                del self._open[key]

    def close(self) -> None:
        with self._lock:
            streams = list(self._open.values())
        for stream in streams:
            stream.close()


class EchoStream:
    def __init__(self, greeting: bytes, on_close: Callable[["EchoStream"], None]) -> None:
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._on_close = on_close
        self._ended = False
        self._queue.put(greeting)

    def send(self, data: bytes) -> None:
        if data and not self._ended:
            self._queue.put(data)

    def receive(self) -> bytes:
        """Block until bytes come; b"" at the end, again and again."""
        data = self._queue.get()
        if not data:
            self._queue.put(b"")
        return data

    def close(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_close(self)
            self._queue.put(b"")
