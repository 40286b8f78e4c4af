"""Room on the controller for what is being written there."""

import shutil
from pathlib import Path

from naos.engines.errors import NoSpace

KEPT_FREE = 256 * 1024**2
"""Bytes that no image may take: the controller's own tables need some."""


def check(name: str, needed: int, folder: Path) -> None:
    """Raises NoSpace unless `needed` bytes fit into the file system of `folder`."""
    free = shutil.disk_usage(folder).free - KEPT_FREE
    if needed > free:
        raise NoSpace(
            "this controller", name, f"keeping it takes {needed} bytes and {free} are free beside {KEPT_FREE} kept"
        )
