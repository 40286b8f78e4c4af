"""A machine's live serial line, over libvirt's connection to its blade."""

import contextlib
import threading
import time
from collections import deque
from typing import Any

import libvirt

from naos.engines.errors import Unreachable
from naos.engines.hypervisor import loop  # noqa: F401 - the stream's callbacks run in that loop's thread

CHUNK = 65536
MOST_WAITING = 1 << 20  # bytes that may wait for `receive`; the guest's line is not read further until some are taken
SEND = 10.0  # seconds
_WOULD_BLOCK = -2


class Serial:
    """A duplex console for different threads. The stream never blocks: libvirt's loop fills a buffer that `receive` empties."""

    def __init__(self, where: str, stream: libvirt.virStream) -> None:
        self._where, self._stream = where, stream
        self._state = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._reading = True
        self._ended = False
        self._watched = (
            libvirt.VIR_STREAM_EVENT_READABLE | libvirt.VIR_STREAM_EVENT_HANGUP | libvirt.VIR_STREAM_EVENT_ERROR
        )
        stream.eventAddCallback(self._watched, self._ready, None)

    def receive(self) -> bytes:
        """Blocks until the guest has written something; b"" when the line ended or another took it over."""
        with self._state:
            self._state.wait_for(lambda: self._chunks or self._ended)
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._waiting = 0
            if not self._reading and not self._ended:
                self._reading = True
                with contextlib.suppress(libvirt.libvirtError):
                    self._stream.eventUpdateCallback(self._watched)
        return data

    def send(self, data: bytes) -> None:
        """Type into the guest. Raises Unreachable when the line has ended, or takes nothing for `SEND` seconds."""
        until = time.monotonic() + SEND
        while data:
            with self._state:
                if self._ended:
                    raise Unreachable(self._where, "the serial console", "the line has ended; open it again")
                try:
                    sent = self._stream.send(data)
                except libvirt.libvirtError as error:
                    self._end()
                    raise Unreachable(self._where, "the serial console", str(error)) from error
            if sent == _WOULD_BLOCK:
                if time.monotonic() > until:
                    raise Unreachable(self._where, "the serial console", f"the guest took nothing for {SEND:g} s")
                time.sleep(0.02)
                continue
            data = data[sent:]
            until = time.monotonic() + SEND

    def close(self) -> None:
        with self._state:
            self._end()

    def _ready(self, stream: libvirt.virStream, events: int, _opaque: Any) -> None:
        with self._state:
            if self._ended:
                return
            ended = bool(events & (libvirt.VIR_STREAM_EVENT_HANGUP | libvirt.VIR_STREAM_EVENT_ERROR))
            if events & libvirt.VIR_STREAM_EVENT_READABLE:
                ended = not self._take(stream) or ended
            if ended:
                self._end()

    def _take(self, stream: libvirt.virStream) -> bool:
        """Read what is there; False at the end of the line."""
        while self._waiting < MOST_WAITING:
            try:
                data = stream.recv(CHUNK)
            except libvirt.libvirtError:
                return False
            if data == _WOULD_BLOCK:
                break
            if not data:
                return False
            self._chunks.append(data)
            self._waiting += len(data)
        else:
            self._reading = False
            stream.eventUpdateCallback(libvirt.VIR_STREAM_EVENT_HANGUP | libvirt.VIR_STREAM_EVENT_ERROR)
        self._state.notify_all()
        return True

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._state.notify_all()
        # Ending the stream asks the far side; the threads that wait for the console do not wait for that.
        threading.Thread(target=_finish, args=(self._stream,), name="libvirt console end", daemon=True).start()


def _finish(stream: libvirt.virStream) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        stream.eventRemoveCallback()
    with contextlib.suppress(libvirt.libvirtError):
        stream.abort()
