"""Space of a volume that is set aside: a file of allocated blocks, with nothing in it, under an id.

The blocks are unwritten extents: they read as zeroes, cost no write, and no other file can have them.
"""

from naos.engines.array import volume
from naos.engines.array.errors import named
from naos.engines.array.places import Place
from naos.engines.errors import CommandFailed


def make(place: Place, holder: str, size: int) -> None:
    """Bring the holder's file to exactly `size` bytes. Raises NoSpace; what was set aside before stays so."""
    path = place.aside(holder)
    found = place.run("stat", "-c", "%s", "--", path, check=False)
    present = int(found.stdout) if found.code == 0 else None
    if present == size:
        return
    try:
        if present is None:
            place.run("mkdir", "-p", "--", place.set_aside)
        if present is None or present < size:
            place.run("fallocate", "--length", str(size), "--", path, timeout=120)
        else:
            place.run("truncate", "--size", str(size), "--", path)
    except CommandFailed as error:
        if present is None:
            place.run("rm", "-f", "--", path)
        else:
            place.run("truncate", "--size", str(present), "--", path)  # blocks beyond the end
        what = f"{size - (present or 0)} bytes to set aside for {holder}"
        raise named(error, what, lambda: volume.numbers(place, size - (present or 0))) from error


def remove(place: Place, holder: str) -> None:
    """An absent one is left alone."""
    place.run("rm", "-f", "--", place.aside(holder), timeout=120)
