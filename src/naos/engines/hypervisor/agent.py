"""What the guest's agent does. A guest without one, or whose agent does not answer, refuses: GuestRefused."""

import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import libvirt
import libvirt_qemu
import structlog

from naos.engines.errors import EngineError, GuestRefused, Unreachable
from naos.engines.hypervisor import failures
from naos.engines.hypervisor.domains import Domains

ANSWER = 5  # seconds for a small question
THAW = 20  # seconds
PATIENCE = 20.0  # seconds for the guest to use what it was given
_PAUSE = 0.5  # seconds

_log = structlog.get_logger()


def ask(
    domains: Domains,
    domain_id: str,
    command: str,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    *,
    timeout: int = ANSWER,
) -> Any:
    """One command of the agent. Raises GuestRefused, or Missing, or Unreachable when the blade is lost."""
    question = json.dumps({"execute": command, **({"arguments": dict(arguments)} if arguments else {})})

    def put(domain: libvirt.virDomain) -> str:
        try:
            return str(libvirt_qemu.qemuAgentCommand(domain, question, timeout, 0))
        except libvirt.libvirtError as error:
            raise refused(domains.where, command, error) from error

    return json.loads(domains.on(domain_id, command, put, timeout + 5.0))["return"]


def ping(domains: Domains, domain_id: str) -> bool:
    try:
        ask(domains, domain_id, "guest-ping")
    except GuestRefused:
        return False
    return True


def version(domains: Domains, domain_id: str) -> str:
    """Raises GuestRefused without an agent."""
    return str(ask(domains, domain_id, "guest-info").get("version", ""))


def set_clock(domains: Domains, domain_id: str) -> None:
    """Raises GuestRefused without an agent."""
    ask(domains, domain_id, "guest-set-time", {"time": time.time_ns()})


def is_frozen(domains: Domains, domain_id: str) -> bool:
    return bool(ask(domains, domain_id, "guest-fsfreeze-status") == "frozen")


def freeze(domains: Domains, domain_id: str, limit: int) -> int:
    """Returns how many file systems are frozen. limit: seconds for the guest to write out what it holds."""
    return int(ask(domains, domain_id, "guest-fsfreeze-freeze", timeout=limit))


def thaw(domains: Domains, domain_id: str) -> int:
    """Returns how many file systems were thawed, 0 when none was frozen."""
    return int(ask(domains, domain_id, "guest-fsfreeze-thaw", timeout=THAW))


def take_in(domains: Domains, domain_id: str, vcpus: int) -> None:
    """Have the guest use `vcpus` processors and every memory block, where it has an agent for that.

    A guest that is busy may need more than one request: its kernel gives up on a processor that does not come up in time.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            _bring_processors(domains, domain_id, vcpus)
            _bring_memory(domains, domain_id)
        except Unreachable:
            raise
        except EngineError as error:
            if time.monotonic() > until or not ping(domains, domain_id):
                _log.info("guest.took_in_nothing", machine=domain_id, reason=str(error))
                return
        else:
            return
        time.sleep(_PAUSE)


def _bring_processors(domains: Domains, domain_id: str, vcpus: int) -> None:
    found = ask(domains, domain_id, "guest-get-vcpus")
    offline = [entry["logical-id"] for entry in found if not entry["online"]]
    wanted = offline[: max(0, vcpus - (len(found) - len(offline)))]
    if wanted:
        online = [{"logical-id": number, "online": True} for number in wanted]
        ask(domains, domain_id, "guest-set-vcpus", {"vcpus": online})


def _bring_memory(domains: Domains, domain_id: str) -> None:
    blocks = ask(domains, domain_id, "guest-get-memory-blocks")
    wanted = [{"phys-index": block["phys-index"], "online": True} for block in blocks if not block["online"]]
    if wanted:
        ask(domains, domain_id, "guest-set-memory-blocks", {"mem-blks": wanted})


def refused(where: str, what: str, error: libvirt.libvirtError) -> EngineError:
    """An agent's failure is the guest's; only a lost blade is not."""
    found = failures.translated(where, what, error)
    lost = failures.is_lost(error) and failures.code(error) != libvirt.VIR_ERR_OPERATION_TIMEOUT
    if lost or failures.code(error) == libvirt.VIR_ERR_NO_DOMAIN:
        return found
    return GuestRefused(where, what, failures.reason(error))
