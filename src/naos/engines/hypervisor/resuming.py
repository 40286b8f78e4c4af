"""Pausing a machine; letting one go on that is paused, or that stopped because a disk did not answer."""

import time

import libvirt

from naos.engines.errors import EngineError
from naos.engines.hypervisor.domains import Domains
from naos.engines.ports import PowerState

_POLL = 0.1  # seconds
_STEADY = 3  # looks in a row that find it running
_ENOUGH = 1.5  # seconds: what has not answered by then is still away


def resume(domains: Domains, domain_id: str) -> None:
    """One that runs is left alone; one whose disks are still away is stopped again when this returns.

    Raises Missing, EngineError for one that does not run.
    """
    stopped = domains.state(domain_id) == PowerState.IO_ERROR
    _go_on(domains, domain_id)
    if stopped:
        _insist(domains, domain_id)


def pause(domains: Domains, domain_id: str) -> None:
    """QEMU completes the requests that the guest has made before it answers. One that is paused is left alone.

    Raises Missing, EngineError for one that does not run or waits for a disk.
    """

    def stop(domain: libvirt.virDomain) -> None:
        if domain.state(0)[0] == libvirt.VIR_DOMAIN_RUNNING:
            domain.suspend()

    domains.on(domain_id, f"pausing machine {domain_id}", stop)
    state = domains.state(domain_id)
    if state != PowerState.PAUSED:
        raise EngineError(domains.where, f"pausing machine {domain_id}", f"it is {state}")


def _insist(domains: Domains, domain_id: str) -> None:
    """A disk's client begins to connect anew with the first request, and fails that one: each disk may stop it once more."""
    until, steady = time.monotonic() + _ENOUGH, 0
    while steady < _STEADY and time.monotonic() < until:
        time.sleep(_POLL)
        state = domains.state(domain_id)
        if state == PowerState.IO_ERROR:
            steady = 0
            _go_on(domains, domain_id)
        elif state == PowerState.RUNNING:
            steady += 1
        else:
            return


def _go_on(domains: Domains, domain_id: str) -> None:
    def go_on(domain: libvirt.virDomain) -> None:
        state = domain.state(0)[0]
        if state == libvirt.VIR_DOMAIN_PMSUSPENDED:
            domain.pMWakeup(0)
        elif state == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        elif not domain.isActive():
            raise EngineError(domains.where, f"resuming machine {domain_id}", "it does not run; start it")

    domains.on(domain_id, f"resuming machine {domain_id}", go_on)
