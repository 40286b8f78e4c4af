"""How a machine that does not run came to its end, by what libvirt remembers and by the log that outlives it."""

import libvirt
import pytest

from naos.engines.hypervisor.states import power_state, was_ended, was_ended_by
from naos.engines.ports import PowerState

OFF = libvirt.VIR_DOMAIN_SHUTOFF
START = (
    "2026-11-27 02:00:01.100+0000: starting up libvirt version: 9.0.0, qemu version: 7.2.22, hostname: az05-blade1\n"
    "LC_ALL=C \\\n/usr/bin/qemu-system-x86_64 \\\n-name guest=m,debug-threads=on\n"
    "char device redirected to /dev/pts/1 (label charserial0)\n"
)
LATER = "2026-11-27T02:10:00.000000Z qemu-system-x86_64: terminating on signal 15 from pid 7 (/usr/sbin/libvirtd)\n"


def end(reason: str) -> str:
    return f"2026-11-27 02:10:00.250+0000: shutting down, reason={reason}\n"


@pytest.mark.parametrize(
    ("reason", "state", "ended"),
    [
        (libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN, PowerState.STOPPED, True),
        (libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED, PowerState.STOPPED, True),
        (libvirt.VIR_DOMAIN_SHUTOFF_SAVED, PowerState.STOPPED, True),
        (libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED, PowerState.STOPPED, True),
        (libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, PowerState.CRASHED, False),
        (libvirt.VIR_DOMAIN_SHUTOFF_DAEMON, PowerState.CRASHED, False),  # libvirt could not take it up again
        (libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN, PowerState.STOPPED, None),  # libvirt was started since
        (libvirt.VIR_DOMAIN_SHUTOFF_FAILED, PowerState.STOPPED, None),  # of a start: the run before it is meant
    ],
)
def test_what_libvirt_remembers(reason: int, state: PowerState, ended: bool | None) -> None:
    assert power_state(OFF, reason) == state
    assert was_ended(OFF, reason) is ended


def test_what_runs_has_no_end() -> None:
    assert was_ended(libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED) is False
    assert was_ended(libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR) is False


@pytest.mark.parametrize(
    ("log", "ended"),
    [
        ("", False),
        (START, False),  # no end: it went with the blade's power
        (START + end("shutdown"), True),
        (START + LATER + end("destroyed"), True),
        (START + end("crashed"), False),
        (START + end("daemon"), False),
        (START + end("shutdown") + START, False),  # only the last run counts
        (START + end("failed") + START + end("shutdown"), True),
        ("ut off in the middle of a line\n" + START + end("shutdown"), True),
        (START + "what a guest prints: shutting down, reason=shutdown\n", False),
    ],
)
def test_what_its_log_says(log: str, ended: bool) -> None:
    assert was_ended_by(log) is ended
