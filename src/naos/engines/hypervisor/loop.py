"""libvirt's event loop: one thread a process, which keep-alives, event callbacks and console streams depend on.

It must be registered before the first connection is opened.
"""

import threading
from typing import Any

import libvirt
import structlog

_log = structlog.get_logger()
_lock = threading.Lock()
_started = threading.Event()


def ensure() -> None:
    """Have the loop running; every call after the first does nothing."""
    with _lock:
        if _started.is_set():
            return
        libvirt.registerErrorHandler(_silence, None)  # errors are raised; libvirt's own copy on stderr is noise
        libvirt.virEventRegisterDefaultImpl()
        # A timer that never fires matters: without any, the loop would sleep until its first file descriptor speaks.
        libvirt.virEventAddTimeout(1000, _tick, None)
        threading.Thread(target=_run, name="libvirt events", daemon=True).start()
        _started.set()


def _run() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            _log.warning("libvirt.event_loop", reason=str(error))


def _silence(_context: Any, _error: Any) -> None:
    """Nothing to do: the caller gets the error as an exception."""


def _tick(_timer: int, _opaque: Any) -> None:
    """Wakes the loop once a second, so that what was registered meanwhile is seen."""
