"""One blade's libvirt connection: opened when it is first needed, opened again when it was lost, watched by keep-alives."""

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

T = TypeVar("T")
Change = tuple[str, str] | None
"""(domain id, kind of event), or None when the connection was lost or closed."""

_log = structlog.get_logger()


class _Attempt:
    def __init__(self) -> None:
        self.finished = threading.Event()
        self.began = time.monotonic()
        self.connection: libvirt.virConnect | None = None
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
        self._attempt: _Attempt | None = None
        self._subscribers: list[queue.SimpleQueue[Change]] = []
        self._closed = False

    @property
    def is_closed(self) -> bool:
        return self._closed

    def call(self, what: str, function: Callable[[libvirt.virConnect], T], deadline: float = CALL) -> T:
        """What `function` returns for the connection, which is opened first when there is none.

        Raises Unreachable when the blade or the deadline (seconds) is lost, else what libvirt's error stands for.
        """
        return self._workers.call(what, lambda: self._attempt_call(what, function, self._usable(what)), deadline)

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
        """A queue of changes of domains, and of None whenever the connection goes."""
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
        self._workers.close()
        if last is not None:
            _discard(last)
        self._tell(None)

    # ---------------------------------------------------------------------------------------------------------- opening

    def _attempt_call(
        self, what: str, function: Callable[[libvirt.virConnect], T], connection: libvirt.virConnect
    ) -> T:
        try:
            return function(connection)
        except libvirt.libvirtError as error:
            raise translated(self.name, what, error, connected=_is_alive(connection)) from error

    def _usable(self, what: str) -> libvirt.virConnect:
        """The connection; one caller opens it while the others wait for that one. An opener that hangs is overtaken."""
        with self._lock:
            if self._closed:
                raise Unreachable(self.name, what, "its connection was closed")
            if self._current is not None and _is_alive(self._current):
                return self._current
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
        return attempt.connection

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
                earlier, self._current, attempt.connection = self._current, made, made
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
