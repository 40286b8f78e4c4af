"""Runs on the array's host, as ``python3 -c``, and needs nothing there but Python: listens, then becomes the daemon.

QEMU before 8.1 leaves Nagle's algorithm on where it answers NBD clients: with several requests under way most answers then wait
40 ms for the client's delayed acknowledgement, and a disk does 350 operations a second instead of 20,000. Sockets inherit
TCP_NODELAY from the one that they were accepted on, so it is set there, and the daemon is given that one.
"""

import os
import socket
import sys

PLACE = "{listening}"
"""Stands for the socket's number in the command."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that outlives an exec. Raises OSError when the address is taken or is none of this host's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.bind((host, port))
    listening.listen(128)
    listening.set_inheritable(True)
    return listening


def main() -> None:
    host, port, *command = sys.argv[1:]
    try:
        listening = listen(host, int(port))
    except OSError as error:
        sys.exit(f"{host} port {port}: {error.strerror}")
    os.execvp(command[0], [word.replace(PLACE, str(listening.fileno())) for word in command])  # noqa: S606 - no shell wanted


if __name__ == "__main__":
    main()
