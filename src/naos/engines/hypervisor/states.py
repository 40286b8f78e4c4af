"""libvirt's states and events in the words of the port."""

import re
from collections.abc import Mapping

import libvirt

from naos.engines.ports import PowerState

_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.STOPPING,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.STOPPED,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.PAUSED,
}
_WITH_REASON = {
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR): PowerState.IO_ERROR,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED): PowerState.CRASHED,
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED): PowerState.CRASHED,
    # libvirt came back and could do nothing with the process that it found: it ended it itself
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DAEMON): PowerState.CRASHED,
}
_ENDED = frozenset(
    {
        libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN,
        libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED,
        libvirt.VIR_DOMAIN_SHUTOFF_SAVED,
        libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED,
    }
)
_ENDED_IN_LOG = frozenset({"shutdown", "destroyed", "saved", "migrated"})
_IN_LOG = re.compile(r"^\d{4}-\d\d-\d\d \S+: (?:starting up|shutting down, reason=(?P<reason>\w+))", re.MULTILINE)
LOGS = "/var/log/libvirt/qemu"
LOG_TAIL = 65536  # bytes, of which one start writes a few thousand
ACTIVE = frozenset({PowerState.RUNNING, PowerState.PAUSED, PowerState.IO_ERROR, PowerState.STOPPING})

_EVENTS = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: "defined",
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "undefined",
    libvirt.VIR_DOMAIN_EVENT_STARTED: "started",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "suspended",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped",
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: "suspended",
    libvirt.VIR_DOMAIN_EVENT_CRASHED: "crashed",
}
_EVENTS_WITH_DETAIL = {
    (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR): "io-error",
    (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED): "crashed",
    (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED): "crashed",  # QEMU itself died
}
_KIND_OF_STATE = {
    PowerState.RUNNING: "started",
    PowerState.PAUSED: "suspended",
    PowerState.IO_ERROR: "io-error",
    PowerState.STOPPING: "stopped",
    PowerState.STOPPED: "stopped",
    PowerState.CRASHED: "crashed",
    PowerState.ABSENT: "undefined",
}


def power_state(state: int, reason: int) -> PowerState:
    """A state and its reason; a state of a later libvirt counts as running, so that nobody starts the machine twice."""
    return _WITH_REASON.get((state, reason)) or _STATES.get(state, PowerState.RUNNING)


def was_ended(state: int, reason: int) -> bool | None:
    """Whether a machine's guest or an order ended it; None when libvirt, which forgets with every start of its own, cannot say.

    A start that failed (VIR_DOMAIN_SHUTOFF_FAILED) says nothing of the run before it.
    """
    if state != libvirt.VIR_DOMAIN_SHUTOFF:
        return False
    if reason in (libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN, libvirt.VIR_DOMAIN_SHUTOFF_FAILED):
        return None
    return reason in _ENDED


def was_ended_by(log: str) -> bool:
    """The same by the end of the log that libvirt writes of a machine: False when the last run there has no end, as when the
    blade lost its power."""
    found = list(_IN_LOG.finditer(log))
    return bool(found) and found[-1]["reason"] in _ENDED_IN_LOG


def event_kind(event: int, detail: int) -> str | None:
    """A lifecycle event's kind, None for one that says nothing about the state."""
    return _EVENTS_WITH_DETAIL.get((event, detail)) or _EVENTS.get(event)


def missed_kinds(before: Mapping[str, PowerState], now: Mapping[str, PowerState]) -> list[tuple[str, str]]:
    """(id, kind) of what must have happened between two looks at a hypervisor."""
    found = []
    for domain_id in sorted(before.keys() | now.keys()):
        old, new = before.get(domain_id, PowerState.ABSENT), now.get(domain_id, PowerState.ABSENT)
        if old == new:
            continue
        if old == PowerState.ABSENT:
            found.append((domain_id, "defined"))
            if new == PowerState.STOPPED:
                continue
        resumed = new == PowerState.RUNNING and old in (PowerState.PAUSED, PowerState.IO_ERROR)
        found.append((domain_id, "resumed" if resumed else _KIND_OF_STATE[new]))
    return found
