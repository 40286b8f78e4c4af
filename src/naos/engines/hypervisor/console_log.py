"""What a guest has written to its serial console since its start, also on the blades where it ran before it was moved."""

import structlog

from naos.engines.errors import EngineError
from naos.engines.hypervisor.xml import SERIAL_FOLDER
from naos.engines.ports import Host

MOST = 1 << 20  # bytes of the past that move with a machine

_log = structlog.get_logger()


def path(domain_id: str) -> str:
    """Where QEMU writes; it begins anew with every process."""
    return f"{SERIAL_FOLDER}/{domain_id}.log"


def earlier_path(domain_id: str) -> str:
    """What was written on other blades before."""
    return f"{SERIAL_FOLDER}/{domain_id}.earlier.log"


def read(host: Host, domain_id: str, last_bytes: int) -> str:
    """The last `last_bytes` bytes; empty when there is nothing."""
    count = str(last_bytes)
    done = host.run(["tail", "-q", "-c", count, earlier_path(domain_id), path(domain_id)], check=False)
    return done.stdout.encode()[-last_bytes:].decode(errors="ignore") if last_bytes > 0 else ""


def begin(host: Host, domain_id: str) -> None:
    """Before a start: the past is over, and the folder is there."""
    host.run(["mkdir", "-p", SERIAL_FOLDER])
    host.run(["rm", "-f", earlier_path(domain_id)])


def remove(host: Host, domain_id: str) -> None:
    host.run(["rm", "-f", path(domain_id), earlier_path(domain_id)])


def carry(domain_id: str, source: Host, target: Host) -> None:
    """Bring the past to the blade where the machine is now, and leave none behind. A past that cannot be had is lost."""
    try:
        past = read(source, domain_id, MOST)
        if past:
            target.run(["tee", earlier_path(domain_id)], stdin=past.encode())
        remove(source, domain_id)
    except EngineError as error:
        _log.warning("machine.console_log_lost", machine=domain_id, reason=str(error))
