"""Moving a running guest's disk to another export: QEMU copies it, then writes to both, then to the new one alone.

libvirt's daemon keeps the job, so that it goes on when the controller dies and a repeated call joins it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import libvirt
from lxml import etree

from naos.engines import greeting
from naos.engines.errors import Busy, EngineError, Missing, Unreachable
from naos.engines.hypervisor import devices, stale, xml
from naos.engines.hypervisor.domains import Domains
from naos.engines.ports import DomainDisk, Host, NbdAddress

POLL = 0.2  # seconds
STANDSTILL = 300.0  # seconds without one more byte
SILENCE = 10.0
"""Seconds for which a target may say nothing. The guest's writes wait for it, and nobody else's deadline ends that."""
PIVOT = 60.0  # seconds

# The target is an empty disk that exists already. Every write goes to both sides while the copy runs, so that no guest can
# write faster than it is copied.
_FLAGS = (
    libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT
    | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    | libvirt.VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES
)


@dataclass
class _Still:
    """Since when (monotonic seconds) a copy has not moved, and when its target was last asked for a sign of life."""

    where: str
    what: str
    moved: int = -1
    since: float = field(default_factory=time.monotonic)
    asked: float = field(default_factory=time.monotonic)

    def note(self, host: Host, target: NbdAddress, moved: int) -> None:
        """Raises Unreachable after STANDSTILL. A target that is silent for SILENCE is let go of, with which the copy fails."""
        now = time.monotonic()
        if moved != self.moved:
            self.moved, self.since, self.asked = moved, now, now
        elif now > self.since + STANDSTILL:
            raise Unreachable(self.where, self.what, f"nothing moves after {moved} bytes")
        elif now > self.asked + SILENCE:
            stale.let_go(host, target.host, target.port, SILENCE)
            self.asked = now


def mirror(
    domains: Domains, host: Host, domain_id: str, disk: DomainDisk, speed: int | None, progress: Callable[[float], None]
) -> None:
    """Returns once both sides are the same and every write goes to both; at once when the guest uses the target already.

    A mirror to another target is ended first. Raises Missing, EngineError when the copy failed or does not move.
    """
    begun, still = False, _Still(domains.where, f"copying disk {disk.id}")
    while True:
        present = _present(domains, domain_id, disk.id)
        if devices.address_of(present) == disk.source:
            return
        goal = _goal(present)
        if goal is not None and goal != disk.source:
            drop(domains, host, domain_id, disk.id)
            continue
        if goal is None:
            if begun:
                reason = "the job ended; the guest goes on with the disk that it had"
                raise EngineError(domains.where, f"copying disk {disk.id} to {disk.source.host}", reason)
            _begin(domains, domain_id, present, disk, speed)
            begun = True
            continue
        begun = True
        if _is_ready(present):
            progress(1.0)
            return
        job = _job(domains, domain_id, devices.target_of(present))
        still.note(host, goal, job.get("cur", 0))
        if job.get("end"):
            progress(min(job["cur"] / job["end"], 0.99))
        time.sleep(POLL)


def switch(domains: Domains, host: Host, domain_id: str, disk: DomainDisk) -> None:
    """Raises EngineError, with the guest on the disk that it had, unless the two sides are the same and the new one answers."""
    what = f"switching disk {disk.id} to {disk.source.host}"
    until = time.monotonic() + PIVOT
    while devices.address_of(present := _present(domains, domain_id, disk.id)) != disk.source:
        if _goal(present) != disk.source or not _is_ready(present):
            raise EngineError(domains.where, what, "the two sides are not the same; copy it first")
        if _is_silent(host, disk.source):
            # QEMU flushes both sides before it switches, and does nothing else meanwhile
            raise EngineError(domains.where, what, f"it says nothing within {greeting.PATIENCE:g} s")
        target = devices.target_of(present)

        def pivot(domain: libvirt.virDomain, target: str = target) -> None:
            domain.blockJobAbort(target, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)

        try:
            domains.on(domain_id, what, pivot, PIVOT)
        except Missing:
            raise
        except EngineError:
            # the answer may be lost after it has switched; a job that is being switched already refuses a second time
            if time.monotonic() > until:
                raise
            time.sleep(POLL)
    _define(domains, domain_id, disk)


def drop(domains: Domains, host: Host, domain_id: str, disk_id: str) -> None:
    """Returns when no mirror is left; a target that does not answer is not waited for. Raises Unreachable."""
    until = time.monotonic() + PIVOT
    while True:
        live = domains.live(domain_id)
        present = devices.find(live, disk_id) if live is not None else None
        if present is None or present.find("mirror") is None:
            return
        target, goal = devices.target_of(present), _goal(present)
        if goal is not None and goal.port and _is_silent(host, goal):
            stale.let_go(host, goal.host, goal.port, 0.0)

        def end(domain: libvirt.virDomain, target: str = target) -> None:
            try:
                domain.blockJobAbort(target, 0)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:  # it has ended meanwhile
                    raise

        domains.on(domain_id, f"ending the copy of disk {disk_id}", end, PIVOT)
        if time.monotonic() > until:
            raise Unreachable(domains.where, f"ending the copy of disk {disk_id}", f"it goes on after {PIVOT:g} s")
        time.sleep(POLL)


def source(domains: Domains, domain_id: str, disk_id: str) -> NbdAddress | None:
    """libvirt notes a switch in the definition by itself, so that a machine that stopped right after it says so, too."""
    try:
        root = domains.live(domain_id)
        if root is None:
            root = domains.inactive(domain_id)
    except Missing:
        return None
    present = devices.find(root, disk_id)
    return None if present is None else devices.address_of(present)


def _present(domains: Domains, domain_id: str, disk_id: str) -> xml.Element:
    live = domains.live(domain_id)
    if live is None:
        raise EngineError(domains.where, f"copying disk {disk_id} of machine {domain_id}", "the machine does not run")
    present = devices.find(live, disk_id)
    if present is None:
        raise Missing(domains.where, f"disk {disk_id}", f"machine {domain_id} does not have it")
    return present


def _is_silent(host: Host, target: NbdAddress) -> bool:
    """False, too, where the blade cannot be asked: libvirt may still do what is wanted."""
    try:
        return not greeting.answers(host, target.host, target.port)
    except EngineError:
        return False


def _goal(present: xml.Element) -> NbdAddress | None:
    """Where a copy that is under way goes."""
    found = present.find("mirror")
    if found is None:
        return None
    address = devices.address_of(found)
    return address or NbdAddress("", 0, "")


def _is_ready(present: xml.Element) -> bool:
    found = present.find("mirror")
    return found is not None and found.get("ready") == "yes"


def _job(domains: Domains, domain_id: str, target: str) -> dict[str, Any]:
    return domains.on(domain_id, "reading a copy's progress", lambda domain: dict(domain.blockJobInfo(target, 0) or {}))


def _begin(domains: Domains, domain_id: str, present: xml.Element, disk: DomainDisk, speed: int | None) -> None:
    text, target = xml.render(_destination(disk.source)), devices.target_of(present)
    parameters = {} if speed is None else {libvirt.VIR_DOMAIN_BLOCK_COPY_BANDWIDTH: speed}

    def begin(domain: libvirt.virDomain) -> None:
        try:
            domain.blockCopy(target, text, parameters, _FLAGS)
        except libvirt.libvirtError as error:
            if "already in active block job" in str(error):
                raise Busy(domains.where, f"disk {disk.id}", "another job of the guest works on it") from error
            raise

    domains.on(domain_id, f"copying disk {disk.id}", begin, PIVOT)


def _destination(source: NbdAddress) -> xml.Element:
    """The guest's device stays as it is, its I/O error policy too; only what is behind it changes."""
    made = etree.Element("disk", {"type": "network", "device": "disk"})
    etree.SubElement(made, "driver", {"name": "qemu", "type": "raw", "cache": "none", "discard": "unmap"})
    behind = etree.SubElement(made, "source", {"protocol": "nbd", "name": source.name})
    if source.tls:
        behind.set("tls", "yes")
    etree.SubElement(behind, "host", {"name": source.host, "port": str(source.port)})
    return made


def _define(domains: Domains, domain_id: str, disk: DomainDisk) -> None:
    root = domains.inactive(domain_id)
    before = xml.render(root)
    present = devices.find(root, disk.id)
    if present is None:
        return
    devices.edit_disk(present, disk)
    if xml.render(root) != before:
        domains.redefine(root)
