"""File systems at rest for a moment, and never longer than was said, whatever dies.

Asked to thaw are, in this order: the guest's agent; by its keyboard (Alt, SysRq and J together) the guest's kernel, where its setting
`kernel.sysrq` lets a keyboard do that (1, or a sum with 64). A guest that was seen to write nothing afterwards may stand frozen: it is
noted on its blade, until it writes or is started anew.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import libvirt
import structlog

from naos.engines.errors import EngineError, GuestRefused, Missing
from naos.engines.hypervisor import agent, guard
from naos.engines.hypervisor.domains import Domains, checked
from naos.engines.hypervisor.states import ACTIVE
from naos.engines.ports import Host

WRITING = 5.0  # seconds in which a guest that goes on writes: its file systems note that they are in use again
_LOOK = 0.2  # seconds
_STILL = (
    "its agent does not answer ({reason}), Alt+SysRq+J had no effect either, and nothing was written since: it may stand frozen; "
    "reset it. `kernel.sysrq = 502` in the guest's sysctl.d lets it be thawed without its agent"
)
_log = structlog.get_logger()


def freeze(domains: Domains, host: Host, domain_id: str, limit: int) -> int:
    """How many file systems are frozen: for `limit` seconds at the most. Raises GuestRefused without an agent, or when it takes
    longer than that to come to rest; Missing."""
    checked(host.name, domain_id)
    if agent.is_frozen(domains, domain_id):
        thaw(domains, host, domain_id)
    guard.begin(host, domain_id, limit)
    try:
        return agent.freeze(domains, domain_id, limit)
    except Missing:
        guard.end(host, domain_id)
        raise
    except EngineError:
        with suppress(EngineError):  # the blade's guard thaws it when this does not
            thaw(domains, host, domain_id)
        raise


def thaw(domains: Domains, host: Host, domain_id: str) -> int:
    """How many file systems its agent thawed; 0 when none was frozen any more, and when its kernel thawed them, which does not count.

    Raises GuestRefused when the guest may stand frozen.
    """
    try:
        thawed = agent.thaw(domains, domain_id)
    except GuestRefused as refusal:
        if not guard.watches(host, domain_id) and domain_id not in stuck(domains, host):
            return 0  # it was never frozen, or was seen to go on since
        _without_agent(domains, host, domain_id, refusal)
        thawed = 0
    guard.end(host, domain_id)
    return thawed


def _without_agent(domains: Domains, host: Host, domain_id: str, refusal: GuestRefused) -> None:
    written = _written(domains, domain_id)
    press(domains, domain_id)
    if _comes(lambda: _written(domains, domain_id) != written):
        _log.warning("guest.thawed_by_its_kernel", machine=domain_id, blade=host.name, agent=refusal.reason)
        return
    guard.put_note(host, domain_id, _written(domains, domain_id))
    _log.error("guest.may_stand_frozen", machine=domain_id, blade=host.name, agent=refusal.reason)
    raise GuestRefused(host.name, f"thawing machine {domain_id}", _STILL.format(reason=refusal.reason)) from refusal


def press(domains: Domains, domain_id: str) -> None:
    """Tell the guest's kernel to thaw. One that does not let a keyboard do that takes no notice."""

    def send(domain: libvirt.virDomain) -> None:
        domain.sendKey(libvirt.VIR_KEYCODE_SET_LINUX, guard.HELD, list(guard.KEYS), len(guard.KEYS), 0)

    domains.on(domain_id, "pressing keys", send)


def stuck(domains: Domains, host: Host) -> list[str]:
    """Ids of the guests that may stand frozen: told to go on, and not seen to write since."""
    noted = guard.notes(host)
    if not noted:
        return []
    over = [domain_id for domain_id, written in noted.items() if not _stands(domains, domain_id, written)]
    guard.forget(host, over)
    return sorted(set(noted) - set(over))


def _stands(domains: Domains, domain_id: str, written: int) -> bool:
    try:
        return domains.state(domain_id) in ACTIVE and _written(domains, domain_id) == written
    except Missing:
        return False


def _written(domains: Domains, domain_id: str) -> int:
    """How many requests to write the guest has made, on all its disks."""

    def read(domain: libvirt.virDomain) -> int:
        found = domain.connect().domainListGetStats([domain], libvirt.VIR_DOMAIN_STATS_BLOCK, 0)[0][1]
        return sum(int(value) for name, value in found.items() if name.endswith(".wr.reqs"))

    return domains.on(domain_id, "reading a machine's counters", read)


def _comes(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + WRITING
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK)
    return True
