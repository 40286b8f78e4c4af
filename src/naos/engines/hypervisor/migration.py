"""Moving a running machine to another blade.

Where the blades' daemons reach each other (qemu+tcp, qemu+tls) the source's daemon does it alone, so that it goes on when the
controller dies and a repeated call joins it. Otherwise the controller stands between, and its death ends the attempt.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import libvirt
import structlog

from naos.engines.errors import EngineError, Missing, Unreachable, Unsupported
from naos.engines.hypervisor import failures, xml
from naos.engines.hypervisor.console_log import carry
from naos.engines.hypervisor.domains import Domains
from naos.engines.hypervisor.states import ACTIVE
from naos.engines.ports import Host, MigrationLimits, PowerState
from naos.units import MIB

POLL = 0.2  # seconds
SETTLE = 15.0  # seconds for both daemons to agree on what became of an attempt
_FLAGS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    | libvirt.VIR_MIGRATE_CHANGE_PROTECTION
    | libvirt.VIR_MIGRATE_AUTO_CONVERGE
)
_MIGRATING = (libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)

_log = structlog.get_logger()


@dataclass(frozen=True)
class Side:
    """A blade that takes part. traits: what its machines are given."""

    domains: Domains
    host: Host
    traits: xml.Traits

    @property
    def name(self) -> str:
        return self.domains.where


def migrate(
    domain_id: str,
    source: Side,
    target: Side,
    limits: MigrationLimits,
    progress: Callable[[float], None],
    deadline: float,
) -> None:
    """Move it, or finish an earlier call's move.

    Afterwards it is at the target, defined there and not at the source. Raises EngineError when it stayed where it was;
    Unreachable when a blade was lost and a repeated call must find out.
    """
    here, there = source.domains.state(domain_id), target.domains.state(domain_id)
    if here in ACTIVE and job(source.domains, domain_id) is not None:
        _follow(domain_id, source, progress, deadline)
        here, there = source.domains.state(domain_id), target.domains.state(domain_id)
    if here in ACTIVE and there in ACTIVE:
        here = _untangle(domain_id, source, target)
    if here in ACTIVE:
        _check(source, target)
        _transfer(domain_id, source, target, limits, progress, deadline)
    elif not _has_moved(here, there):
        if here == there == PowerState.ABSENT:
            raise Missing(source.name, f"machine {domain_id}", f"{target.name} does not have it either")
        raise EngineError(
            source.name, f"moving machine {domain_id}", "it does not run; define it at the target instead"
        )
    _finish(domain_id, source, target)
    progress(1.0)


def job(domains: Domains, domain_id: str) -> dict[str, Any] | None:
    """Statistics of the migration that is going on, None when there is none. Raises Missing."""

    def read(domain: libvirt.virDomain) -> dict[str, Any]:
        try:
            return dict(domain.jobStats())
        except libvirt.libvirtError:
            if domain.isActive():
                raise
            return {}

    found = domains.on(domain_id, "reading a migration's progress", read)
    if (
        found.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE
        or found.get("operation") not in _MIGRATING
    ):
        return None
    return found


def abort(domains: Domains, domain_id: str, deadline: float) -> None:
    """End a migration that is going on, and return when it is over; none is fine. Raises Missing, EngineError."""
    until = time.monotonic() + deadline
    while job(domains, domain_id) is not None:
        domains.on(domain_id, "aborting a migration", _abort_job)
        if time.monotonic() > until:
            raise EngineError(domains.where, f"aborting the move of {domain_id}", f"it goes on after {deadline:g} s")
        time.sleep(POLL)


def _abort_job(domain: libvirt.virDomain) -> None:
    try:
        domain.abortJob()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:  # it has ended meanwhile
            raise


def _check(source: Side, target: Side) -> None:
    if source.traits.acceleration != target.traits.acceleration:
        raise Unsupported(
            target.name,
            f"a live move from {source.name}",
            f"guests run with {source.traits.acceleration} there and {target.traits.acceleration} here; stop the machine first",
        )


def share(statistics: dict[str, Any]) -> float:
    """How much of the memory has gone over, 0 to 0.99: pages that the guest changes meanwhile are sent again."""
    total = int(statistics.get("data_total", 0)) or 1
    return max(0.0, min(0.99, 1.0 - int(statistics.get("data_remaining", total)) / total))


def _follow(domain_id: str, source: Side, progress: Callable[[float], None], deadline: float) -> None:
    """Wait for a migration that an earlier call began."""
    until = time.monotonic() + deadline
    try:
        while (found := job(source.domains, domain_id)) is not None:
            progress(share(found))
            if time.monotonic() > until:
                raise Unreachable(source.name, f"moving machine {domain_id}", f"not over after {deadline:g} s")
            time.sleep(POLL)
    except Missing:
        return


def _untangle(domain_id: str, source: Side, target: Side) -> PowerState:
    """Both have it, and no migration is going on: a daemon was lost in the last moment of one. Returns the source's state."""
    if waits(domain_id, target):
        _cut(domain_id, target)
        return source.domains.state(domain_id)
    if waits(domain_id, source):
        _cut(domain_id, source)
        return PowerState.STOPPED
    raise EngineError(
        source.name, f"moving machine {domain_id}", f"it runs here and on {target.name} at once; stop one of them"
    )


def _cut(domain_id: str, side: Side) -> None:
    side.domains.on(domain_id, "removing what a move left", lambda domain: domain.destroyFlags(0), 40.0)


# ------------------------------------------------------------------------------------------------------------------ pace

USERFAULTFD = "/proc/sys/vm/unprivileged_userfaultfd"
"""Is there where the kernel lets a process wait for its own memory, which post-copy needs."""


def _can_fetch(source: Side, target: Side) -> bool:
    return all(side.host.run(["test", "-e", USERFAULTFD], check=False).code == 0 for side in (source, target))


class Pace:
    """How fast a move goes, and what is done about a guest that changes its memory faster than that."""

    def __init__(self, domain_id: str, source: Side, limits: MigrationLimits, *, post_copy: bool) -> None:
        self._domain_id, self._source, self._limits, self._post_copy = domain_id, source, limits, post_copy
        self._began, self._timed, self._fetches = time.monotonic(), False, False
        self.flags = _FLAGS | (libvirt.VIR_MIGRATE_POSTCOPY if post_copy else 0)
        self.parameters: dict[str, Any] = {}
        if limits.bandwidth is not None:
            speed = max(1, limits.bandwidth // MIB)  # libvirt counts whole MiB
            self.parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = speed
            if post_copy:
                self.parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY] = speed

    def keep(self, statistics: dict[str, Any]) -> None:
        """To be told again and again how far the move is."""
        if not self._timed:
            self._timed = True
            self._order(lambda domain: domain.migrateSetMaxDowntime(self._limits.downtime))
        passes = int(statistics.get("memory_iteration", 0))
        waited = time.monotonic() - self._began
        if self._post_copy and not self._fetches and passes >= 2 and waited > (self._limits.patience or 0.0):
            self._fetches = True
            _log.info("migration.post_copy", machine=self._domain_id, passes=passes, seconds=round(waited, 1))
            self._order(lambda domain: domain.migrateStartPostCopy())

    def _order(self, order: Callable[[libvirt.virDomain], Any]) -> None:
        def give(domain: libvirt.virDomain) -> None:
            try:
                order(domain)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:  # it has ended meanwhile
                    raise

        self._source.domains.on(self._domain_id, "setting a migration's pace", give)


# -------------------------------------------------------------------------------------------------------------- transfer


def _transfer(
    domain_id: str,
    source: Side,
    target: Side,
    limits: MigrationLimits,
    progress: Callable[[float], None],
    deadline: float,
) -> None:
    what = f"moving machine {domain_id}"
    target.host.run(["mkdir", "-p", xml.SERIAL_FOLDER])
    pace = Pace(domain_id, source, limits, post_copy=limits.patience is not None and _can_fetch(source, target))
    parameters = _parameters(domain_id, source, target) | pace.parameters
    failure: list[libvirt.libvirtError] = []
    with source.domains.connection.another(what) as own:
        domain = source.domains.connection.call_on(own, what, lambda: own.lookupByUUIDString(domain_id), 10.0)
        if _daemons_reach(target):
            thread = _start(failure, lambda: _peer_to_peer(domain, target, parameters, pace.flags))
            _watch(thread, domain_id, source, pace, progress, deadline)
        else:
            with target.domains.connection.another(what) as far:
                thread = _start(failure, lambda: domain.migrate3(far, parameters, pace.flags))
                _watch(thread, domain_id, source, pace, progress, deadline)
    if failure or thread.is_alive():
        _judge(domain_id, source, target, failure)


def _parameters(domain_id: str, source: Side, target: Side) -> dict[str, Any]:
    def read(domain: libvirt.virDomain) -> tuple[str, str]:
        secure = libvirt.VIR_DOMAIN_XML_SECURE
        live = domain.XMLDesc(secure | libvirt.VIR_DOMAIN_XML_MIGRATABLE)
        return str(live), str(domain.XMLDesc(secure | libvirt.VIR_DOMAIN_XML_INACTIVE))

    live, inactive = (xml.parse(text) for text in source.domains.on(domain_id, "reading a running machine", read))
    xml.listen_on(live, target.traits.address)
    xml.settle(inactive, target.traits)
    parameters: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: xml.render(live),
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: xml.render(inactive),
    }
    address = urlsplit(target.domains.connection.uri).hostname
    if address:
        parameters[libvirt.VIR_MIGRATE_PARAM_URI] = f"tcp://[{address}]" if ":" in address else f"tcp://{address}"
    return parameters


def _daemons_reach(target: Side) -> bool:
    parts = urlsplit(target.domains.connection.uri)
    return parts.scheme in ("qemu+tcp", "qemu+tls") and bool(parts.hostname)


def _peer_to_peer(domain: libvirt.virDomain, target: Side, parameters: dict[str, Any], flags: int) -> None:
    domain.migrateToURI3(target.domains.connection.uri, parameters, flags | libvirt.VIR_MIGRATE_PEER2PEER)


def _start(failure: list[libvirt.libvirtError], move: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            move()
        except libvirt.libvirtError as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="libvirt migration", daemon=True)
    thread.start()
    return thread


def _watch(
    thread: threading.Thread,
    domain_id: str,
    source: Side,
    pace: "Pace",
    progress: Callable[[float], None],
    deadline: float,
) -> None:
    """Report progress until the call is over; past the deadline it is aborted."""
    until, shown, aborted = time.monotonic() + deadline, 0.0, False
    while thread.is_alive():
        thread.join(POLL)
        try:
            found = job(source.domains, domain_id) if thread.is_alive() else None
            if found is not None:
                pace.keep(found)
            if found is not None and share(found) > shown:
                shown = share(found)
                progress(shown)
            if time.monotonic() > until and not aborted:
                aborted = True
                source.domains.on(domain_id, "aborting a migration", _abort_job)
        except EngineError as error:
            # The call itself says how it ends; a blade that is lost ends it by its keep-alive.
            _log.info("migration.unseen", machine=domain_id, reason=str(error))
        if time.monotonic() > until + SETTLE:
            return


# --------------------------------------------------------------------------------------------------------------- ending


def _judge(domain_id: str, source: Side, target: Side, failure: list[libvirt.libvirtError]) -> None:
    """A failed call may have moved it all the same. Raises unless it has; the target is clean then."""
    what = f"moving machine {domain_id} to {target.name}"
    until = time.monotonic() + SETTLE
    while True:
        here, there = source.domains.state(domain_id), target.domains.state(domain_id)
        if _has_moved(here, there) and not waits(domain_id, target):
            return
        if there not in ACTIVE and not _is_moving(domain_id, source, here):
            break
        if time.monotonic() > until:
            raise Unreachable(source.name, what, f"it is {here} here and {there} at the target; look again")
        time.sleep(POLL)
    if here not in ACTIVE:
        raise EngineError(source.name, what, f"it is {here}: it stopped meanwhile")
    if waits(domain_id, source):
        source.domains.on(domain_id, "resuming after a move that failed", lambda domain: domain.resume())
    target.domains.undefine(domain_id)
    if failure:
        raise failures.translated(source.name, what, failure[0])
    raise EngineError(source.name, what, "it was not over in time and was aborted")


def _has_moved(here: PowerState, there: PowerState) -> bool:
    """Running there only; or known there only, stopped by its guest since."""
    return here not in ACTIVE and (there in ACTIVE or (here == PowerState.ABSENT and there != PowerState.ABSENT))


def waits(domain_id: str, side: Side) -> bool:
    """Whether it is paused for a migration: at the target that is a shell, which has never run."""
    waiting = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION)
    try:
        return side.domains.state_and_reason(domain_id) == waiting
    except Missing:
        return False


def _is_moving(domain_id: str, source: Side, here: PowerState) -> bool:
    try:
        return here in ACTIVE and job(source.domains, domain_id) is not None
    except Missing:
        return False


def _finish(domain_id: str, source: Side, target: Side) -> None:
    """The machine is at the target: nothing of it stays here."""
    carry(domain_id, source.host, target.host)
    if source.domains.state(domain_id) not in ACTIVE:
        source.domains.undefine(domain_id)
