"""Loop devices that files of a folder are behind: found by the file's identity, never by a device's name."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


def detach_loops(folder: Path) -> None:
    """Free every loop device whose file lies in `folder` (a host that lost its power lets go of its disks)."""
    for device in loop_devices(folder):
        subprocess.run(["losetup", "--detach", device], capture_output=True, check=False, start_new_session=True)


def loop_devices(folder: Path) -> list[str]:
    """``/dev/loopN`` of each loop device on a file in `folder`, files deleted meanwhile included."""
    bound = list(_bound())
    if not bound:
        return []
    inside = {(found.st_dev, found.st_ino) for found in _files(folder)}
    below = f"{folder}/"
    return [device for device, path, file in bound if path.startswith(below) or (file is not None and file in inside)]


def _bound() -> Iterator[tuple[str, str, tuple[int, int] | None]]:
    """Each loop device in use: its path, its file's path as the kernel shows it, and its file's device and inode."""
    for entry in sorted(Path("/sys/block").glob("loop*")):
        try:
            path = (entry / "loop/backing_file").read_text(encoding="utf-8", errors="replace").rstrip("\n")
        except OSError:
            continue
        try:
            found = Path(path).stat()
        except OSError:
            yield f"/dev/{entry.name}", path, None
        else:
            yield f"/dev/{entry.name}", path, (found.st_dev, found.st_ino)


def _files(folder: Path) -> Iterator[os.stat_result]:
    for parent, _folders, names in os.walk(folder):
        for name in names:
            try:
                yield Path(parent, name).lstat()
            except OSError:
                continue
