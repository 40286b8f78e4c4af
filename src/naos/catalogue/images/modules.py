"""Kernel modules taken out of a kernel package: which files a set of drivers needs, in the order in which they must be
loaded.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from naos.catalogue.images.errors import BuildFailed

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def kernel_version(tree: Path) -> str:
    """The version of the one kernel in an unpacked kernel package. Raises BuildFailed."""
    images = sorted((tree / "boot").glob("vmlinuz-*"))
    if len(images) != 1:
        raise BuildFailed("an image", f"one kernel was expected in the kernel package, it has {len(images)}")
    return images[0].name.removeprefix("vmlinuz-")


def load_order(tree: Path, wanted: Iterable[str]) -> list[Path]:
    """The files of the wanted modules and of all that they depend on, each after its dependencies.

    Raises BuildFailed for a module that the package does not have.
    """
    files = {_plain(path.stem): path for path in sorted((tree / "lib/modules").rglob("*.ko"))}
    order: list[Path] = []
    for name in wanted:
        _visit(_plain(name), files, order)
    return order


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _visit(name: str, files: dict[str, Path], order: list[Path]) -> None:
    path = files.get(name)
    if path is None:
        raise BuildFailed("an image", f"the kernel package has no module {name}")
    if path in order:
        return
    found = _DEPENDS.search(path.read_bytes())
    for needed in found[1].decode().split(",") if found else []:
        if needed:
            _visit(_plain(needed), files, order)
    order.append(path)
