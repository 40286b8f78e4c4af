"""What the builders of images share: the cache with its lock, and putting a built image at its place."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from naos.catalogue.images import atomic
from naos.catalogue.images.errors import BuildUnprivileged

CACHE = Path("/var/cache/naos")
"""Where packages and built images are kept, unless the caller says otherwise."""

MOMENT = 1_700_000_000
"""Every time stamp of a built image (seconds since 1970), so that equal packages give equal bytes."""


@contextmanager
def locked(cache: Path, builder: str) -> Iterator[None]:
    """One run of a builder at a time in a cache, whose folder is made; the lock goes with its process."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{builder}.lock").open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def require_root(what: str) -> None:
    """Raises BuildUnprivileged."""
    if os.geteuid() != 0:
        raise BuildUnprivileged(what, os.geteuid())


def place(built: Path, target: Path) -> None:
    """Copy a built image to its target: complete there, or not at all."""
    with atomic.replacing(target) as partial:
        shutil.copyfile(built, partial)
        partial.chmod(0o644)


def silent(_share: float) -> None:
    """Progress that nobody watches."""
