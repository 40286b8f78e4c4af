"""One blade's libvirt: connections that are opened when they are first needed, and again when they were lost, with keep-alives.

One connection brings the events; calls have others, each of which one thread at a time uses. Where several threads wait in calls on
one connection, libvirt before 10.4 (CVE-2024-4418) reads a stack that is gone when that connection is lost, and so ends the
process: a blade that is cut off must not do that to its controller.
"""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import libvirt
import structlog

from naos.engines.errors import Unreachable
from naos.engines.hypervisor import loop
from naos.engines.hypervisor.failures import translated
from naos.engines.hypervisor.states import event_kind
from naos.engines.hypervisor.workers import Workers

CALL = 10.0  # seconds
OPEN = 8.0  # seconds for an attempt to connect
KEEP_ALIVE = (2, 3)  # seconds between probes, probes without an answer: a silent blade is given up after 8 s
_PORTS = {"tcp": 16509, "tls": 16514}
_KNOCK = 4.0  # seconds for the TCP handshake
MOST_IDLE = 4  # connections that are kept for the next calls

T = TypeVar("T")
Change = tuple[str, str] | None
"""(domain id, kind of event), or None when the connection was lost or closed."""

_log = structlog.get_logger()


class _Attempt:
    def __init__(self) -> None:
        self.finished = threading.Event()
        self.began = time.monotonic()
        self.error: Exception | None = None

    def is_overdue(self) -> bool:
        return time.monotonic() - self.began > OPEN


class Connection:
    """Calls on the libvirt of one blade, from any thread."""

    def __init__(self, name: str, uri: str) -> None:
        self.name, self.uri = name, uri
        self._workers = Workers(name)
        self._lock = threading.Lock()
        self._current: libvirt.virConnect | None = None
        self._idle: list[libvirt.virConnect] = []
        self._attempt: _Attempt | None = None
        self._subscribers: list[queue.SimpleQueue[Change]] = []
        self._closed = False

    @property
    def is_closed(self) -> bool:
        return self._closed

    def call(self, what: str, function: Callable[[libvirt.virConnect], T], deadline: float = CALL) -> T:
        """What `function` returns for a connection that nobody else uses meanwhile.

        Raises Unreachable when the blade or the deadline (seconds) is lost, else what libvirt's error stands for.
        """
        return self._workers.call(what, lambda: self._lend(what, function), deadline)

    def call_apart(self, what: str, function: Callable[[libvirt.virConnect], T], deadline: float = CALL) -> T:
        """As `call`, on a connection that lives as long as what `function` returns, a stream for example, and serves nothing else."""

        def ask() -> T:
            self._ensure(what)
            made = self._connect(what)
            try:
                return self._attempt_call(what, function, made)
            except BaseException:
                _discard(made)
                raise

        return self._workers.call(what, ask, deadline)

    @contextlib.contextmanager
    def another(self, what: str) -> Iterator[libvirt.virConnect]:
        """A second connection, for a call so long that it would take one of the few requests which a daemon serves at once."""
        made = self._workers.call(what, lambda: self._connect(what), OPEN)
        try:
            yield made
        finally:
            _discard(made)

    def call_on(self, connection: libvirt.virConnect, what: str, function: Callable[[], T], deadline: float) -> T:
        """As `call`, with a connection of `another`."""
        return self._workers.call(
            what, lambda: self._attempt_call(what, lambda _connection: function(), connection), deadline
        )

    def subscribe(self) -> queue.SimpleQueue[Change]:
        """A queue of changes of domains, and of None whenever the connection that brings them goes."""
        changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        with self._lock:
            self._subscribers.append(changes)
        return changes

    def unsubscribe(self, changes: queue.SimpleQueue[Change]) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._subscribers.remove(changes)

    def close(self) -> None:
        """Let go of the blade; calls that are under way end by themselves."""
        with self._lock:
            self._closed = True
            last, self._current = self._current, None
            idle, self._idle = self._idle, []
        self._workers.close()
        for connection in [*idle, *([last] if last is not None else [])]:
            _discard(connection)
        self._tell(None)

    # ---------------------------------------------------------------------------------------------------------- lending

    def _lend(self, what: str, function: Callable[[libvirt.virConnect], T]) -> T:
        self._ensure(what)
        connection = self._take() or self._connect(what)
        try:
            return self._attempt_call(what, function, connection)
        finally:
            self._give_back(connection)

    def _take(self) -> libvirt.virConnect | None:
        """One that nobody uses; those that were lost meanwhile are let go."""
        with self._lock:
            while self._idle:
                found = self._idle.pop()
                if _is_alive(found):
                    return found
                _discard(found)
        return None

    def _give_back(self, connection: libvirt.virConnect) -> None:
        with self._lock:
            kept = not self._closed and len(self._idle) < MOST_IDLE and _is_alive(connection)
            if kept:
                self._idle.append(connection)
        if not kept:
            _discard(connection)

    # ---------------------------------------------------------------------------------------------------------- opening

    def _attempt_call(
        self, what: str, function: Callable[[libvirt.virConnect], T], connection: libvirt.virConnect
    ) -> T:
        try:
            return function(connection)
        except libvirt.libvirtError as error:
            raise translated(self.name, what, error, connected=_is_alive(connection)) from error

    def _ensure(self, what: str) -> None:
        """Have the one that brings events: one caller opens it while the others wait for that one. An opener that hangs is
        overtaken. Raises Unreachable."""
        with self._lock:
            if self._closed:
                raise Unreachable(self.name, what, "its connection was closed")
            if self._current is not None and _is_alive(self._current):
                return
            attempt = self._attempt
            mine = attempt is None or attempt.is_overdue()
            if mine:
                attempt = self._attempt = _Attempt()
        assert attempt is not None  # noqa: S101 - for the type checker
        if mine:
            self._open(what, attempt)
        elif not attempt.finished.wait(OPEN):
            raise Unreachable(self.name, what, f"no connection within {OPEN:g} s")
        if attempt.error is not None:
            raise attempt.error

    def _open(self, what: str, attempt: _Attempt) -> None:
        made = None
        try:
            made = self._connect(what)
            made.registerCloseCallback(self._lost, None)
            made.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._changed, None)
        except libvirt.libvirtError as error:
            attempt.error = translated(self.name, what, error, connected=False)
        except Unreachable as error:
            attempt.error = error
        with self._lock:
            superseded = self._attempt is not attempt or self._closed
            if self._attempt is attempt:
                self._attempt = None
            if attempt.error is None and superseded:
                attempt.error = Unreachable(self.name, what, f"no connection within {OPEN:g} s")
            if attempt.error is None:
                earlier, self._current = self._current, made
            else:
                earlier = made
        attempt.finished.set()
        if earlier is not None:
            _discard(earlier)
        if attempt.error is None:
            _log.info("hypervisor.connected", blade=self.name)

    def _connect(self, what: str) -> libvirt.virConnect:
        loop.ensure()
        self._knock(what)
        try:
            made = libvirt.open(self.uri)
        except libvirt.libvirtError as error:
            raise translated(self.name, what, error, connected=False) from error
        with contextlib.suppress(libvirt.libvirtError):  # libvirt's test driver has none
            made.setKeepAlive(*KEEP_ALIVE)
        return made

    def _knock(self, what: str) -> None:
        """libvirt waits for a TCP handshake as long as the kernel does, minutes; so the handshake is tried here first."""
        parts = urlsplit(self.uri)
        port = _PORTS.get(parts.scheme.partition("+")[2])
        if port is None or not parts.hostname:
            return
        try:
            socket.create_connection((parts.hostname, parts.port or port), _KNOCK).close()
        except OSError as error:
            raise Unreachable(self.name, what, f"no connection to {parts.hostname}: {error}") from error

    # ---------------------------------------------------------------------------------------------------------- changes

    def _changed(self, _connection: Any, domain: libvirt.virDomain, event: int, detail: int, _opaque: Any) -> None:
        kind = event_kind(event, detail)
        if kind is not None:
            self._tell((domain.UUIDString(), kind))

    def _lost(self, _connection: libvirt.virConnect, reason: int, _opaque: Any) -> None:
        _log.warning("hypervisor.connection_lost", blade=self.name, reason=reason)
        self._tell(None)

    def _tell(self, change: Change) -> None:
        with self._lock:
            subscribers = list(self._subscribers)
        for changes in subscribers:
            changes.put(change)


def _is_alive(connection: libvirt.virConnect) -> bool:
    try:
        return bool(connection.isAlive() == 1)
    except libvirt.libvirtError:
        return False


def _discard(connection: libvirt.virConnect) -> None:
    """Close, without waiting: closing asks the far side, which may be silent."""

    def close() -> None:
        with contextlib.suppress(libvirt.libvirtError):
            connection.unregisterCloseCallback()
        with contextlib.suppress(libvirt.libvirtError):
            connection.close()

    threading.Thread(target=close, name="libvirt close", daemon=True).start()
