"""Whether a server of NBD answers, as a host sees it."""

from naos.engines.ports import Host

PATIENCE = 3.0  # seconds
_LOOK = (
    "import socket, sys\n"
    "line = socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))\n"
    "sys.exit(line.recv(8) != b'NBDMAGIC')"
)
"""What every server says first, encrypted or not; one that stands still does not."""


def answers(host: Host, address: str, port: int) -> bool:
    argv = ("python3", "-I", "-S", "-c", _LOOK, address, str(port), str(PATIENCE))
    return host.run(argv, check=False, timeout=PATIENCE + 10).code == 0
