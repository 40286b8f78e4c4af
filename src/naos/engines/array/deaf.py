"""Runs on the array's host, as ``python3 -c``, and needs nothing there but Python and `ss`: breaks the connections of a daemon's clients
if it waits for one of them and hears nobody meanwhile. Says whose. Arguments: the file with the daemon's process id, seconds.

A daemon that does so neither greets who connects nor computes; one that is busy computes, or waits for a medium or a processor.
"""

import socket
import subprocess
import sys
from pathlib import Path

NOTHING = 5_000_000
"""Nanoseconds of a processor that a daemon may have while it only waits."""


def listening(pid: int) -> list[tuple[str, int]]:
    """Where the process answers."""
    lines = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    local = [line.split()[3].rpartition(":") for line in lines if f"pid={pid}," in line]
    return [(address.strip("[]"), int(port)) for address, _, port in local]


def greets(address: str, port: int, seconds: float) -> bool:
    """Every server of NBD speaks first, encrypted or not."""
    try:
        with socket.create_connection((address, port), seconds) as line:
            return line.recv(8) == b"NBDMAGIC"
    except OSError:
        return False


def computed(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])


def is_busy(pid: int) -> bool:
    """Whether one of its threads waits for a medium, or for a processor that others have."""
    states = (path.read_text(encoding="ascii").rpartition(")")[2] for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return any(state.split()[0] in {"D", "R"} for state in states)


def main() -> None:
    pid, seconds = int(Path(sys.argv[1]).read_text(encoding="ascii")), float(sys.argv[2])
    for address, port in listening(pid):
        before = computed(pid)
        if not greets(address, port, seconds) and computed(pid) - before < NOTHING and not is_busy(pid):
            argv = ["ss", "-H", "-K", "-t", "-n", "src", address, "sport", "=", f":{port}"]
            broken = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
            for line in broken.splitlines():
                sys.stdout.write(f"{line.split()[4]}\n")


if __name__ == "__main__":
    main()
