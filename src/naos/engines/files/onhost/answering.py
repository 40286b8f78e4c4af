"""The process that reads a point's files: it answers on a unix socket, each connection in a child of its own, and ends when nobody asks.

A connection is greeted, asks once, a line of JSON, and gets frames: a letter, a length, and for J (JSON) and D (bytes of a file) so
many bytes; H is a hole of that length, E a file's end, Z the answer's end.
"""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

from naos.engines.files.onhost import names, requests
from naos.engines.files.onhost.requests import Refused
from naos.engines.files.onhost.volumes import FAILURES, Point, reason

FRAME = struct.Struct(">cQ")
GREETING = b"files 1\n"
IDLE = 30.0  # seconds without a question after which it ends
_THOUGHT = 60.0  # seconds for an answer, or its next piece
_SLOWEST = 600.0  # seconds that a client may take for a piece
_MOST = 16  # questions at a time
_LONGEST = 2**20  # bytes of a question


class _Answer:
    """Who thinks, or waits for the client to take what it was sent, for too long is ended by its alarm clock."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._think()

    @staticmethod
    def _think() -> None:
        signal.setitimer(signal.ITIMER_REAL, _THOUGHT)

    def frame(self, kind: bytes, length: int = 0, data: bytes = b"") -> None:
        signal.setitimer(signal.ITIMER_REAL, _SLOWEST)
        self._connection.sendall(FRAME.pack(kind, length))
        if data:
            self._connection.sendall(data)
        self._think()

    def told(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.frame(b"J", len(data), data)

    def entry(self, answer: dict[str, Any], pieces: Iterator[tuple[int, bytes | None]] | None) -> None:
        """A file whose content cannot be read to its end is told so at its end."""
        self.told(answer)
        if pieces is None:
            return
        try:
            for length, data in pieces:
                if data is None:
                    self.frame(b"H", length)
                else:
                    self.frame(b"D", len(data), data)
        except FAILURES as error:
            self.told({"kind": "broken", "path": answer["path"], "note": reason(error)})
        self.frame(b"E")


def answer(point: Point, request: dict[str, Any], sent: _Answer) -> None:
    try:
        if request["call"] == "volumes":
            sent.told(requests.volumes(point))
        elif request["call"] == "folder":
            sent.told(requests.folder(point, request))
        else:
            requests.content(point, request, sent.entry)
    except Refused as error:
        sent.told({"refused": [error.kind, error.what, error.why]})
    except names.Unclear as error:
        sent.told({"refused": ["unclear", str(request.get("path", "")), str(error)]})
    except FAILURES as error:
        sent.told({"refused": ["unreadable", str(request.get("volume", "")), reason(error)]})
    sent.frame(b"Z")


def _one(point: Point, connection: socket.socket) -> None:
    signal.setitimer(signal.ITIMER_REAL, _THOUGHT)
    connection.sendall(GREETING)
    asked = b""
    while not asked.endswith(b"\n"):
        more = connection.recv(65536)
        if not more or len(asked) > _LONGEST:
            return
        asked += more
    answer(point, json.loads(asked), _Answer(connection))


def serve(listening: socket.socket, point: Point) -> None:
    """Until nobody has asked for a while. The point's disks may be looked at by then: what is on them is found once."""
    children: set[int] = set()
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    until = time.monotonic() + IDLE
    while children or (time.monotonic() < until and not asked):
        with contextlib.suppress(ChildProcessError):
            while (done := os.waitpid(-1, os.WNOHANG))[0]:
                children.discard(done[0])
                until = time.monotonic() + IDLE
        ready, _, _ = select.select([listening] if len(children) < _MOST else [], [], [], 0.2)
        if not ready:
            continue
        try:
            connection, _ = listening.accept()
        except OSError:
            continue
        until = time.monotonic() + IDLE
        child = os.fork()
        if not child:
            code = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                listening.close()
                _one(point, connection)
                code = 0
            finally:
                os._exit(code)
        children.add(child)
        connection.close()
