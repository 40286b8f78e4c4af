"""The life of a volume's daemon: one qemu-storage-daemon, which outlives whoever started it.

It holds an flock on a file of the volume's folder from before its first instruction to its last: the lock says for certain
whether it lives, and a second one can never start beside it.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import structlog

from naos.engines.array import listen, tls, volume
from naos.engines.array.errors import DaemonRefused
from naos.engines.array.places import Place
from naos.engines.array.qmp import Gone, Monitor, session
from naos.engines.errors import Busy, CommandFailed, Missing, Unreachable
from naos.engines.ports import LunSpec

PRIORITY = -10
"""Niceness: every guest waits for it and it computes next to nothing, so busy neighbours must not keep it from answering."""
MEMORY = (f"MALLOC_MMAP_THRESHOLD_={32 * 2**20}", f"MALLOC_TRIM_THRESHOLD_={64 * 2**20}")
"""Of the C library: buffers of a request are kept for the next one. Else each is asked of the kernel, which clears it first."""
LIMIT = "limit"  # the throttle group that every disk of the volume belongs to
ENFORCED = 992
"""Per mille of the nominal that QEMU is told, so that no second has more than 110 % of it.

QEMU's limit is a bucket of a tenth of a second that leaks at the limit; after a pause of so long it is empty, and the second that
follows may hold 1.1 times the limit. With a `max` of its own the bucket is larger, never smaller: it holds a whole second then.
Besides, what the bucket let through before that second, and the device answers within it, is counted in it. 1.1 x 0.992 = 1.0912, so
what the limit lets through in 8.8 ms (1.1 - 1.0912) may be under way then. The average is 0.8 % below the nominal; it may be off by 2 %.
"""
_TAKEN = 75  # what flock exits with when somebody holds the lock
_NO_FOLDER = 66  # what flock exits with when the lock cannot even be made
_START = 30.0  # seconds
_END = 60.0  # seconds; a daemon writes its bitmaps and caches before it ends
_log = structlog.get_logger()


def limits(lun: LunSpec) -> dict[str, int]:
    """The whole group: operations and bytes a second, reads and writes together; 0 is none."""
    return {"iops-total": enforced(lun.iops), "bps-total": enforced(lun.bandwidth)}


def enforced(nominal: int | None) -> int:
    """What QEMU is told for this limit (see `ENFORCED`); 0 for none."""
    return max(nominal * ENFORCED // 1000, 1) if nominal else 0


def command(place: Place, lun: LunSpec, address: str) -> list[str]:
    """What starts the daemon. It detaches itself once its sockets answer."""
    group = {"qom-type": "throttle-group", "id": LIMIT, "limits": limits(lun)}
    # 0: as many as come; newer ones stop at a hundred, and every disk is one
    server = {"addr": {"type": "fd", "str": listen.PLACE}, "max-connections": 0, **tls.server(place)}
    return [
        *("env", *MEMORY, "nice", "-n", str(PRIORITY)),
        *("flock", "--nonblock", "--conflict-exit-code", str(_TAKEN), place.lock),
        *("python3", "-c", Path(listen.__file__).read_text(encoding="utf-8"), address, str(lun.port)),
        "qemu-storage-daemon",
        *("--daemonize", "--pidfile", place.pid_file),
        *("--chardev", f"socket,id=control,path={_doubled(place.socket)},server=on,wait=off"),
        *("--monitor", "chardev=control"),
        *("--object", json.dumps(group)),
        *tls.options(place, lun.clients),
        *("--nbd-server", json.dumps(server)),
    ]


def lives(place: Place) -> bool:
    """Whether the daemon runs: asked of the lock, so True or False is certain.

    Raises Unreachable with the host, CommandFailed for an answer that says neither: nobody may take it for a dead daemon.
    """
    probe = ("flock", "--shared", "--nonblock", "--conflict-exit-code", str(_TAKEN), place.lock, "true")
    done = place.run(*probe, check=False)
    if done.code not in (0, _TAKEN, _NO_FOLDER):
        raise CommandFailed(place.where, "flock", " ".join(done.stderr.split()) or f"exit code {done.code}")
    return done.code == _TAKEN


def start(place: Place, lun: LunSpec, address: str) -> bool:
    """Start the daemon unless it lives. True when this call started it.

    Raises Busy when the port is taken, CommandFailed with the daemon's own words for whatever else stops it.
    """
    for _ in range(5):
        if lives(place):
            return False
        argv = command(place, lun, address)
        done = place.run(*argv, timeout=_START, check=False)
        if done.code == 0:
            _log.info("array.daemon_started", array=place.where, lun=place.lun_id)
            return True
        if done.code != _TAKEN:  # else another controller looked at the lock, or was quicker
            reason = " ".join(done.stderr.split()) or f"exit code {done.code}"
            if "Address already in use" in reason:
                raise Busy(place.where, f"{address} port {lun.port}", reason)
            raise CommandFailed(place.where, "qemu-storage-daemon", reason)
    raise Busy(place.where, f"volume {place.lun_id}", "others are starting and ending its daemon")


def stop(place: Place) -> None:
    """End the daemon cleanly and wait until it is gone; one that does not live is left alone. Raises Unreachable."""
    if not lives(place):
        return
    with contextlib.suppress(Unreachable), session(place) as monitor:
        monitor.execute("quit")
    waiting = ("flock", "--shared", "--wait", f"{_END:g}", "--conflict-exit-code", str(_TAKEN), place.lock, "true")
    if place.run(*waiting, timeout=_END + 10, check=False).code == _TAKEN:
        raise Unreachable(place.where, f"ending the daemon of volume {place.lun_id}", f"it lives on after {_END:g} s")


def apply_limit(monitor: Monitor, lun: LunSpec) -> None:
    """Raises DaemonRefused when the group did not take it."""
    monitor.execute("qom-set", {"path": f"/objects/{LIMIT}", "property": "limits", "value": limits(lun)})
    present = monitor.execute("qom-get", {"path": f"/objects/{LIMIT}", "property": "limits"})
    if any(present.get(key) != value for key, value in limits(lun).items()):
        raise DaemonRefused(monitor.where, "a limit", f"{limits(lun)} was asked, {present} is in force")


@contextlib.contextmanager
def served(place: Place) -> Iterator[Monitor]:
    """A session with the volume's daemon. Raises Missing without the volume, Unreachable without its daemon."""
    with served_or_dead(place) as monitor:
        if monitor is None:
            if not volume.exists(place):
                raise Missing(place.where, f"volume {place.lun_id}", "it is not on this array")
            raise Unreachable(place.where, f"volume {place.lun_id}", "its daemon does not run")
        yield monitor


@contextlib.contextmanager
def served_or_dead(place: Place) -> Iterator[Monitor | None]:
    """A session, or None when the daemon is certainly dead: then nothing of the volume is exported or open.

    Its lock is asked only when nobody answers: most of what goes to a daemon finds it.
    """
    with contextlib.ExitStack() as stack:
        monitor = None
        with contextlib.suppress(Gone):
            monitor = stack.enter_context(session(place, dead=lambda: not lives(place)))
        yield monitor


def _doubled(path: str) -> str:
    """A comma in an option's value is written twice."""
    return path.replace(",", ",,")
