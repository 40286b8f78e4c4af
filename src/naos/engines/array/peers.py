"""Runs on the array's host, as ``python3 -c``, and needs nothing there but Python and ss: what the array sees of blades.

Takes the array's address and the blades' addresses; prints one JSON object: address -> [connections to the array's NBD servers,
bytes received over them, whether it answers an echo request].
"""

import contextlib
import ipaddress
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time

ECHO_SECONDS = 0.7
_ENDPOINT = re.compile(r"^\[?(?:::ffff:)?([0-9A-Fa-f:.]+?)(?:%\w+)?\]?:(\d+)$")
_RECEIVED = re.compile(r"bytes_received:(\d+)")


def connections(listing: str, own: str, blades: list[str]) -> dict[str, list[int]]:
    """Connections and bytes received, by blade; of what ``ss -Htin`` prints."""
    found = {blade: [0, 0] for blade in blades}
    current = None
    for line in listing.splitlines():
        words = line.split()
        if not line[:1].isspace():
            current = None
            ends = [match for match in map(_ENDPOINT.match, words) if match]
            if words[:1] == ["ESTAB"] and len(ends) >= 2 and ends[0][1] == own and ends[1][1] in found:
                current = ends[1][1]
                found[current][0] += 1
        elif current is not None:
            found[current][1] += sum(int(number) for number in _RECEIVED.findall(line))
    return found


def checksum(data: bytes) -> int:
    """Of RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def answering(blades: list[str], seconds: float = ECHO_SECONDS) -> set[str]:
    """The addresses that answer an echo request within the time; each is asked twice."""
    versions = {blade: ipaddress.ip_address(blade).version for blade in blades}
    sockets = {version: _raw(version) for version in set(versions.values())}
    found: set[str] = set()
    begun = time.monotonic()
    for share in (0.5, 1.0):
        for blade in blades:
            if blade not in found:
                with contextlib.suppress(OSError):
                    sockets[versions[blade]].sendto(_request(versions[blade]), (blade, 0))
        while found != set(blades) and (left := begun + seconds * share - time.monotonic()) > 0:
            for ready in select.select(list(sockets.values()), [], [], left)[0]:
                found.update({_sender(ready)} & set(blades))
    return found


def _raw(version: int) -> socket.socket:
    if version == 4:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)


def _mark() -> bytes:
    return struct.pack("!HH", os.getpid() & 0xFFFF, 1) + b"naos-see"


def _request(version: int) -> bytes:
    """The kernel computes the checksum of version 6."""
    if version == 6:
        return struct.pack("!BBH", 128, 0, 0) + _mark()
    return struct.pack("!BBH", 8, 0, checksum(struct.pack("!BBH", 8, 0, 0) + _mark())) + _mark()


def _sender(ready: socket.socket) -> str:
    """Who has answered this process, "" for any other message."""
    data, sender = ready.recvfrom(2048)
    start = (data[0] & 15) * 4 if ready.family == socket.AF_INET else 0
    return str(sender[0]) if data[start] in (0, 129) and data[start + 4 :].startswith(_mark()) else ""


def main() -> None:
    own, *blades = sys.argv[1:]
    listing = subprocess.run(["ss", "-Htin"], capture_output=True, text=True, check=True, timeout=5).stdout
    seen, alive = connections(listing, own, blades), answering(blades)
    sys.stdout.write(json.dumps({blade: [*seen[blade], blade in alive] for blade in blades}))


if __name__ == "__main__":
    main()
