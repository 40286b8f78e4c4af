"""What the firmware of simulated machines has stored: a file each, on the blade's own part of the world's folder."""

from pathlib import Path

from naos.engines.errors import Missing
from naos.engines.simulated.host import place_of

FOLDER = "/var/lib/libvirt/qemu/nvram"
FRESH = {False: b"simulated variables\n", True: b"simulated variables with keys\n"}
SETUP = b"setup\n"


def read(folder: Path, blade: str, domain_id: str) -> bytes:
    place = place_of(folder, blade, f"{FOLDER}/{domain_id}.fd")
    if not place.is_file():
        raise Missing(blade, f"the variables of domain {domain_id}", "nothing was put there")
    return place.read_bytes()


def write(folder: Path, blade: str, domain_id: str, kept: bytes, *, secure: bool, setup: bool) -> None:
    place = place_of(folder, blade, f"{FOLDER}/{domain_id}.fd")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes((kept or FRESH[secure]).removesuffix(SETUP) + (SETUP if setup else b""))


def remove(folder: Path, blade: str, domain_id: str) -> None:
    place_of(folder, blade, f"{FOLDER}/{domain_id}.fd").unlink(missing_ok=True)


def hand_over(folder: Path, source: str, target: str, domain_id: str) -> None:
    """A running machine's variables move with it."""
    if place_of(folder, source, f"{FOLDER}/{domain_id}.fd").is_file():
        write(folder, target, domain_id, read(folder, source, domain_id), secure=False, setup=False)
        remove(folder, source, domain_id)
