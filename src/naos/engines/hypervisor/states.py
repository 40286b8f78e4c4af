"""libvirt's states and events in the words of the port."""

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
}
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
