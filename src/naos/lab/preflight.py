"""May a lab be made here? Facts of the machine are gathered once; the rules over them are pure."""

import contextlib
import ipaddress
import json
import os
import platform
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from naos.engines.hosts import netns, processes
from naos.engines.hosts.namespace import LONGEST_SOCKET_PATH
from naos.lab import errors
from naos.lab.errors import LabError
from naos.lab.inventory import luns_folder
from naos.lab.plan import Plan, overlaps
from naos.units import GIB

MEMORY = 4 * GIB
DISK = 6 * GIB
TUNNEL = "/dev/net/tun"
PACKAGES = {
    "ip": "iproute2",
    "bridge": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "losetup": "mount",
    "mount": "mount",
    "mkfs.xfs": "xfsprogs",
    "libvirtd": "libvirt-daemon-system",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "qemu-storage-daemon": "qemu-utils",
}
HIDDEN = ("/run", "/var/run", "/var/log", "/var/cache", "/etc/libvirt", "/var/lib/libvirt", "/proc", "/sys", "/dev")
"""Hosts have folders of their own over these, or they are gone with the machine's run."""
_LISTENING = "0A"


@dataclass(frozen=True)
class MachineFacts:
    """What was found. memory, disk: bytes available. missing: programs. port_owner: who listens on the API's port, or None.

    networks: addresses and routes of the machine's own namespace. namespaces: names in use.
    """

    system: str
    user: int
    memory: int
    disk: int
    tunnel_device: bool
    missing: Sequence[str]
    port_owner: str | None
    networks: Sequence[str]
    namespaces: Sequence[str]


def refusals(facts: MachineFacts, plan: Plan, root: Path, port: int) -> list[LabError]:
    """Every reason against a new lab of this plan on such a machine, the first to be mended first."""
    if facts.system != "Linux":
        return [errors.NotLinux(facts.system)]
    return [*_privileges(facts), *_resources(facts, root, port), *_collisions(facts, plan, root)]


def _longest_socket(plan: Plan, root: Path) -> int:
    """Bytes of the longest path of an array's control sockets: a volume's folder is named by its id."""
    folders = [luns_folder(root, host) for host in plan.hosts if host.kind == "array"]
    return max((len(os.fsencode(folder / ("0" * 36) / "qmp")) for folder in folders), default=0)


def require_fit(plan: Plan, root: Path, port: int) -> None:
    """Raises what `refusals` returns: the one, or all of them as Unfit."""
    found = refusals(gather(root, port), plan, root, port)
    if len(found) == 1:
        raise found[0]
    if found:
        raise errors.Unfit("\n".join(f"- {error}" for error in found))


def gather(root: Path, port: int) -> MachineFacts:
    """Look at this machine; changes nothing."""
    system = platform.system()
    if system != "Linux":
        return MachineFacts(
            system, os.getuid(), 0, 0, tunnel_device=False, missing=(), port_owner=None, networks=(), namespaces=()
        )
    missing = tuple(program for program in PACKAGES if _find(program) is None)
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    return MachineFacts(
        system=system,
        user=os.geteuid(),
        memory=_available_memory(),
        disk=shutil.disk_usage(there).free,
        tunnel_device=Path(TUNNEL).is_char_device(),
        missing=missing,
        port_owner=port_owner(port),
        networks=() if "ip" in missing else _networks(),
        namespaces=netns.names(),
    )


def _privileges(facts: MachineFacts) -> Iterator[LabError]:
    if facts.user != 0:
        yield errors.NotRoot(facts.user)
    if facts.missing:
        packages = sorted({PACKAGES[program] for program in facts.missing})
        yield errors.ProgramsMissing(", ".join(facts.missing), " ".join(packages))
    if not facts.tunnel_device:
        yield errors.NoTunnelDevice(TUNNEL)


def _resources(facts: MachineFacts, root: Path, port: int) -> Iterator[LabError]:
    if facts.memory < MEMORY:
        yield errors.LittleMemory(facts.memory / GIB, MEMORY / GIB)
    if facts.disk < DISK:
        yield errors.LittleDisk(str(root), facts.disk / GIB, DISK / GIB)
    if facts.port_owner is not None:
        yield errors.PortTaken(port, facts.port_owner)


def _collisions(facts: MachineFacts, plan: Plan, root: Path) -> Iterator[LabError]:
    hidden = next((place for place in HIDDEN if root.is_relative_to(place)), None)
    if hidden:
        yield errors.RootHidden(str(root), f"hosts of the lab do not see this machine's {hidden}")
    excess = _longest_socket(plan, root) - LONGEST_SOCKET_PATH
    if excess > 0:
        yield errors.RootHidden(str(root), f"unix sockets in it have paths that are {excess} bytes too long")
    if taken := overlaps(plan.network, facts.networks):
        yield errors.RangeTaken(str(plan.network), ", ".join(taken))
    if names := sorted(set(plan.namespaces) & set(facts.namespaces)):
        yield errors.NamespacesTaken(", ".join(names), str(root))


def port_owner(port: int) -> str | None:
    """Who listens on TCP `port` where 127.0.0.1 reaches it: ``nginx (process 812)``; None when it is free."""
    sockets = {
        inode
        for table in ("tcp", "tcp6")
        for address, number, inode in _listeners(Path("/proc/net") / table)
        if number == port and (address.is_loopback or address.is_unspecified)
    }
    if not sockets:
        return None
    links = {f"socket:[{inode}]" for inode in sockets}
    owner = next((pid for pid in processes.every_pid() if _holds(pid, links)), None)
    if owner is None:
        return "a process that this user may not see"
    return f"{processes.program(owner) or 'a program'} (process {owner})"


def _holds(pid: int, links: Collection[str]) -> bool:
    """Whether one of the process's handles is one of these sockets."""
    try:
        handles = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for handle in handles:
        with contextlib.suppress(OSError):
            if str(handle.readlink()) in links:
                return True
    return False


def _listeners(table: Path) -> list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int, str]]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return []
    found = []
    for fields in map(str.split, lines):
        if fields[3] == _LISTENING:
            address, _, number = fields[1].partition(":")
            found.append((_address(address), int(number, 16), fields[9]))
    return found


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """As the kernel prints it: words of 32 bits in this machine's byte order."""
    import sys

    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    raw = b"".join(words)
    return ipaddress.IPv4Address(raw) if len(raw) == 4 else ipaddress.IPv6Address(raw)


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        key, _, rest = line.partition(":")
        if key == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return 0


def _networks() -> list[str]:
    links = json.loads(netns.run_ip(["-4", "-j", "address"]) or "[]")
    routes = json.loads(netns.run_ip(["-4", "-j", "route", "show", "table", "all"]) or "[]")
    found = [f"{entry['local']}/{entry['prefixlen']}" for link in links for entry in link.get("addr_info", [])]
    found += [route["dst"] for route in routes if route.get("dst", "default") != "default"]
    return list(dict.fromkeys(found))


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
