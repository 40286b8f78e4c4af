"""Whether this machine's processor can really run the lab's guests: found out on one blade, kept on every one.

The blades are one machine, so what one of them proved holds for all until the machine starts anew.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from naos.engines.hosts.namespace import NamespaceHost
from naos.engines.hypervisor import acceleration
from naos.lab import build, record

DEADLINE = 8.0  # seconds; the probe's Linux is up in one or two where it gets up at all
_PLACE = f"{acceleration.STORE}/probe"
_STORED = f"{acceleration.STORE}/acceleration.json"


def settle(root: Path, build_kernel: Callable[[], tuple[Path, Path]]) -> str:
    """ "kvm" or "tcg", known to every blade afterwards.

    build_kernel: returns a kernel and an initial RAM disk as `acceleration.probe` takes them; only called when no blade
    knows the answer. Raises NoLab, EngineError, and what build_kernel raises.
    """
    kept = record.require(root)
    hosts = [NamespaceHost(host.name, folder) for host, folder, _ in build.machines(root, kept) if host.kind == "blade"]
    answers = {host.name: acceleration.stored(host) for host in hosts}
    knowing = next((host for host in hosts if answers[host.name]), None)
    answer = answers[knowing.name] if knowing else None
    if knowing is None or answer is None:
        knowing = hosts[0]
        answer = _probe(knowing, *build_kernel())
    lacking = [host for host in hosts if host is not knowing and answers[host.name] is None]
    if lacking:
        _share(knowing, lacking)
    return answer


def _probe(host: NamespaceHost, kernel: Path, initrd: Path) -> str:
    host.run(["mkdir", "-p", _PLACE])
    host.put(kernel, f"{_PLACE}/kernel")
    host.put(initrd, f"{_PLACE}/initrd")
    return acceleration.probe(host, f"{_PLACE}/kernel", f"{_PLACE}/initrd", DEADLINE)


def _share(knowing: NamespaceHost, others: list[NamespaceHost]) -> None:
    with tempfile.TemporaryDirectory(prefix="naos-") as folder:
        copy = Path(folder, "acceleration.json")
        knowing.get(_STORED, copy)
        for host in others:
            host.run(["mkdir", "-p", acceleration.STORE])
            host.put(copy, _STORED)
