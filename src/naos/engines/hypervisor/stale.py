"""Connections of guests' disks to a daemon that says nothing any more, as when its host has lost power.

QEMU asks once, and then only listens. Nothing more is sent over such a connection from which the kernel could learn that nobody is
there, so the guest would wait for the answer for ever. Once the connection is broken it stands still at its request, as with every disk that is
away, and can be told to go on.
"""

import re

from naos.engines.ports import Host

_TIMEOUT = 5.0  # seconds
_SOCKET = re.compile(r"^ESTAB\s+\d+\s+\d+\s+\S+:(?P<port>\d+)\s")
_SENT, _HEARD = re.compile(r"\slastsnd:(\d+)"), re.compile(r"\slastrcv:(\d+)")


def let_go(host: Host, address: str, port: int, seconds: float) -> int:
    """Break the host's connections to that address that have waited for an answer for so long; how many."""
    argv = ("ss", "-HOtni", "dst", address, "dport", "=", f":{port}")
    listed = host.run(argv, timeout=_TIMEOUT).stdout.splitlines()
    stale = [found["port"] for line in listed if (found := _SOCKET.match(line)) and _waited(line) >= seconds]
    for own in stale:
        host.run(("ss", "-K", "-t", "-n", "sport", "=", f":{own}", "dst", address), timeout=_TIMEOUT, check=False)
    return len(stale)


def _waited(line: str) -> float:
    """Seconds since something came, 0 where nothing was asked since."""
    heard, sent = _milliseconds(_HEARD, line), _milliseconds(_SENT, line)
    return heard / 1000 if sent <= heard else 0.0


def _milliseconds(pattern: re.Pattern[str], line: str) -> int:
    """What was within the last millisecond is not shown."""
    found = pattern.search(line)
    return int(found[1]) if found else 0
