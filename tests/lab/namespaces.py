"""Network namespaces as small hosts and guests, for tests that need real frames. Each is deleted by its own name."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from naos.engines.errors import CommandFailed, Unreachable
from naos.engines.ports import Completed

_CLONE_NEWNET = 0x40000000
_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
BROADCAST = bytes.fromhex("ffffffffffff")
_libc = ctypes.CDLL(None, use_errno=True)


def run(*argv: str, stdin: bytes = b"") -> str:
    return subprocess.run(argv, input=stdin, check=True, capture_output=True, timeout=30).stdout.decode()


class Namespace:
    """A network namespace; as an engines.ports.Host it runs commands inside and counts them in `calls`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[tuple[str, ...]] = []
        self.before_run = lambda _argv: None

    def run(self, argv: Sequence[str], *, stdin=b"", timeout=30.0, check=True) -> Completed:
        self.before_run(argv)
        self.calls.append(tuple(argv))
        try:
            done = subprocess.run(
                ["ip", "netns", "exec", self.name, *argv],
                input=stdin,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unreachable(self.name, argv[0], str(error)) from error
        if check and done.returncode:
            raise CommandFailed(self.name, argv[0], done.stderr.decode())
        return Completed(done.returncode, done.stdout.decode(), done.stderr.decode())

    def do(self, line: str) -> str:
        """Run a line of words that need no quoting."""
        return self.run(line.split()).stdout

    def packet_socket(self, interface: str) -> socket.socket:
        """A raw socket on `interface` inside; a socket stays in the namespace of the thread that opened it."""
        opened: list[socket.socket] = []

        def enter() -> None:
            handle = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            try:
                if _libc.setns(handle, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(handle)
            opened.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)))

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        opened[0].bind((interface, _ETH_P_ALL))
        return opened[0]


class Lab:
    """Namespaces on one underlay bridge, which lies in a namespace of its own. Names are unique to this object."""

    def __init__(self) -> None:
        self._prefix = f"nt{uuid.uuid4().hex[:6]}"
        self._made: list[str] = []
        self.underlay = self.namespace("u")
        self.underlay.do("ip link add name br0 type bridge forward_delay 0 mcast_snooping 0")
        self.underlay.do("ip link set dev br0 addrgenmode none up")

    def namespace(self, suffix: str) -> Namespace:
        name = f"{self._prefix}{suffix}"
        run("ip", "netns", "add", name)
        self._made.append(name)
        Namespace(name).do("ip link set dev lo up")
        return Namespace(name)

    def host(self, number: int, *, mtu: int = 1600) -> Namespace:
        """A host at 10.77.0.<number> and fd77::<number> on the underlay, whose largest packet is `mtu` bytes."""
        host = self.namespace(f"h{number}")
        port = f"p{number}"
        self.underlay.do(f"ip link add name {port} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {host.name}")
        self.underlay.do(f"ip link set dev {port} addrgenmode none master br0 up")
        host.do("ip link set dev eth0 up")
        host.do(f"ip address add 10.77.0.{number}/24 dev eth0")
        host.do(f"ip address add fd77::{number}/64 dev eth0 nodad")
        return host

    def guest(self, host: Namespace, bridge: str, address: str) -> "Guest":
        """A namespace with one card, whose other end is a port of `bridge` on `host`."""
        guest = Guest(self.namespace(f"g{len(self._made)}"), host, f"tap{len(self._made)}")
        inside = guest.inside
        host.do(f"ip link add name {guest.port} type veth peer name eth0 netns {inside.name}")
        host.do(f"ip link set dev {guest.port} addrgenmode none master {bridge} up")
        inside.do("ip link set dev eth0 addrgenmode none up")
        inside.do(f"ip address add {address}/24 dev eth0")
        return guest

    def close(self) -> None:
        for name in reversed(self._made):
            with contextlib.suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", name)


class Guest:
    def __init__(self, inside: Namespace, host: Namespace, port: str) -> None:
        self.inside, self.host, self.port = inside, host, port

    @property
    def mac(self) -> str:
        return self.inside.do("cat /sys/class/net/eth0/address").strip()

    def pings(self, address: str, *, size: int = 56, tries: int = 5) -> bool:
        argv = ["busybox", "ping", "-c", "1", "-W", "1", "-s", str(size), address]
        return any(self.inside.run(argv, check=False).code == 0 for _ in range(tries))

    def send(self, payload: bytes, *, target: bytes = BROADCAST, kind: int = 0x88B5) -> None:
        """One frame; 0x88b5 is the EtherType for local experiments."""
        with self.inside.packet_socket("eth0") as out:
            out.send(target + bytes.fromhex(self.mac.replace(":", "")) + kind.to_bytes(2, "big") + payload)

    @contextlib.contextmanager
    def listening(self) -> Iterator["Ear"]:
        with self.inside.packet_socket("eth0") as ear:
            yield Ear(ear)


class Ear:
    """What a guest's card has received."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source

    def frames(self, *, until: bytes | None = None, wait: float = 3.0) -> list[bytes]:
        """Received frames: all until one holds `until` (or `wait` seconds passed), or those already there."""
        got: list[bytes] = []
        deadline = time.monotonic() + (wait if until is not None else 0)
        while True:
            self._source.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                frame, address = self._source.recvfrom(65535)
            except (TimeoutError, BlockingIOError):
                return got
            if address[2] != _PACKET_OUTGOING:
                got.append(frame)
                if until is not None and until in frame:
                    return got


def available() -> bool:
    """Whether namespaces can be made here."""
    return os.geteuid() == 0 and Path("/proc/self/ns/net").exists()
