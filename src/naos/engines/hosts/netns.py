"""Named network namespaces and the links in them, through iproute2. The caller's own namespace is never changed."""

import contextlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naos.engines.errors import CommandFailed, EngineError, Unreachable

FOLDER = Path("/run/netns")
_MOUNT_POINT = 4  # its column in mountinfo


@dataclass(frozen=True)
class Attachment:
    """A cable: interface `eth0` of `namespace`, whose other end is `port` of `bridge` in namespace `fabric`.

    address: IPv4 of eth0, with the length of the prefix that it reaches directly.
    """

    namespace: str
    fabric: str
    bridge: str
    port: str
    address: str
    prefix_length: int
    mac: str
    mtu: int


def path(namespace: str) -> Path:
    return FOLDER / namespace


def inode(namespace: str) -> int | None:
    """What `/proc/PID/ns/net` shows for processes in it; None when there is no namespace of this name.

    A file without a namespace behind it (left by a reset of the machine) is none.
    """
    try:
        found = path(namespace).stat()
    except OSError:
        return None
    return found.st_ino if found.st_dev == Path("/proc/self/ns/net").stat().st_dev else None


def names() -> list[str]:
    """Every named network namespace of this machine."""
    try:
        return sorted(entry.name for entry in FOLDER.iterdir() if inode(entry.name) is not None)
    except OSError:
        return []


def run_ip(argv: Sequence[str], *, stdin: str = "", where: str = "this machine", timeout: float = 20.0) -> str:
    """Run `ip` in a session of its own, so that an interrupt at the terminal never stops it half-way."""
    try:
        done = subprocess.run(
            ["ip", *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise Unreachable(where, f"ip {' '.join(argv)}", f"no answer within {timeout:g} s") from error
    if done.returncode != 0:
        raise CommandFailed(where, f"ip {' '.join(argv)}", done.stderr.strip() or f"exit code {done.returncode}")
    return done.stdout


def batch(namespace: str, lines: Sequence[str]) -> None:
    """Several `ip` commands in one namespace, ended by the first that fails."""
    if lines:
        run_ip(["-n", namespace, "-batch", "-"], stdin="\n".join(lines) + "\n", where=f"namespace {namespace}")


def add(namespace: str) -> None:
    """Make the namespace, with its loopback up; one that exists is left alone."""
    if inode(namespace) is None:
        with contextlib.suppress(OSError):
            # only ever the empty file of a namespace that went with an earlier run of the machine
            if path(namespace).stat().st_size == 0:
                path(namespace).unlink()
        run_ip(["netns", "add", namespace])
    run_ip(["-n", namespace, "link", "set", "lo", "up"], where=f"namespace {namespace}")


def delete(namespace: str) -> None:
    """Remove the name; the namespace goes with its last process. An absent one is left alone."""
    if inode(namespace) is not None:
        run_ip(["netns", "delete", namespace])
    with contextlib.suppress(OSError):
        if path(namespace).stat().st_size == 0:
            path(namespace).unlink()


def links(namespace: str) -> dict[str, dict[str, Any]]:
    """Every interface of the namespace by name, as `ip -j address` describes it; empty when there is no namespace."""
    if inode(namespace) is None:
        return {}
    shown = json.loads(run_ip(["-n", namespace, "-j", "address"], where=f"namespace {namespace}") or "[]")
    return {link["ifname"]: link for link in shown if "ifname" in link}


def is_up(link: dict[str, Any]) -> bool:
    """Whether the interface is switched on (not whether the far end is)."""
    return "UP" in link.get("flags", [])


def addresses(link: dict[str, Any]) -> list[str]:
    """Its IPv4 addresses, as ``address/length``."""
    return [
        f"{entry['local']}/{entry['prefixlen']}" for entry in link.get("addr_info", []) if entry["family"] == "inet"
    ]


def attach(cable: Attachment, *, joined: bool, fabric: dict[str, dict[str, Any]] | None = None) -> None:
    """Bring the cable to exactly this; a half-made one is made anew. joined: whether the far end is switched on.

    fabric: what `links` said of the fabric's namespace just now, when the caller has it already.
    """
    ports = links(cable.fabric) if fabric is None else fabric
    if cable.bridge not in ports:
        raise EngineError(cable.namespace, "joining the lab's fabric", f"{cable.fabric} has no {cable.bridge}; run up")
    port = ports.get(cable.port)
    inside = links(cable.namespace).get("eth0")
    if port is None or inside is None or inside.get("address") != cable.mac or port.get("master") != cable.bridge:
        _plug(cable, joined=joined, has_port=port is not None, has_inside=inside is not None)
        return
    if is_up(port) != joined:
        switch(cable, joined=joined)
    if f"{cable.address}/{cable.prefix_length}" not in addresses(inside) or not is_up(inside):
        batch(cable.namespace, _address_lines(cable))


def switch(cable: Attachment, *, joined: bool) -> None:
    """Pull the cable out of the fabric, or put it back."""
    batch(cable.fabric, [f"link set dev {cable.port} {'up' if joined else 'down'}"])


def detach(cable: Attachment) -> None:
    """Remove the cable; both ends go at once. An absent one is left alone."""
    if cable.port not in links(cable.fabric):
        return
    try:
        run_ip(["-n", cable.fabric, "link", "delete", "dev", cable.port], where=f"namespace {cable.fabric}")
    except CommandFailed:  # it went with the namespace of its other end, which the kernel ends in its own time
        if cable.port in links(cable.fabric):
            raise


def _plug(cable: Attachment, *, joined: bool, has_port: bool, has_inside: bool) -> None:
    if has_port:
        run_ip(["-n", cable.fabric, "link", "delete", "dev", cable.port], where=f"namespace {cable.fabric}")
        has_inside = "eth0" in links(cable.namespace)
    if has_inside:
        run_ip(["-n", cable.namespace, "link", "delete", "dev", "eth0"], where=f"namespace {cable.namespace}")
    batch(
        cable.fabric,
        [
            (
                f"link add {cable.port} mtu {cable.mtu} type veth"
                f" peer name eth0 address {cable.mac} mtu {cable.mtu} netns {cable.namespace}"
            ),
            f"link set dev {cable.port} master {cable.bridge} {'up' if joined else 'down'}",
        ],
    )
    batch(cable.namespace, _address_lines(cable))


def _address_lines(cable: Attachment) -> list[str]:
    return [
        f"address replace {cable.address}/{cable.prefix_length} dev eth0",
        "link set dev eth0 up",
    ]


def folder_state() -> str:
    """What iproute2's folder of names is: `absent`, `plain`, or `mounted` (the first `ip netns add` of a machine does it)."""
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    if any(line.split()[_MOUNT_POINT] == str(FOLDER) for line in table.splitlines()):
        return "mounted"
    return "plain" if FOLDER.is_dir() else "absent"


def restore_folder(found: str) -> None:
    """Bring the folder of names back to the state in which it was found, unless somebody's names are in it."""
    with contextlib.suppress(OSError):
        if any(FOLDER.iterdir()):
            return
        if found != "mounted" and folder_state() == "mounted":
            subprocess.run(["umount", str(FOLDER)], capture_output=True, check=False)
        if found == "absent":
            FOLDER.rmdir()
