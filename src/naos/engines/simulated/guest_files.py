"""Files of simulated guests: in a folder of the world. Owners are not kept."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from naos.engines.errors import GuestRefused
from naos.engines.ports.files import GuestAttributes


class SimulatedGuestFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _place(self, path: str) -> Path:
        return self._folder / path.lstrip("/")

    def has(self, path: str, *, folder: bool = False) -> bool:
        place = self._place(path)
        return place.is_dir() if folder else place.exists() or place.is_symlink()

    def make_folder(self, path: str) -> None:
        self._place(path).mkdir(parents=True, exist_ok=True)

    def write(self, path: str, content: Iterator[bytes]) -> str:
        place = self._place(path)
        if not place.parent.is_dir():
            raise GuestRefused("the guest", f"opening {path}", "No such file or directory")
        with place.open("wb") as file:
            for data in content:
                file.write(data)
        return hashlib.sha256(place.read_bytes()).hexdigest()

    def finish(self, found: Sequence[GuestAttributes]) -> None:
        for each in found:
            place = self._place(each.path)
            if each.target:
                place.symlink_to(each.target)
            else:
                place.chmod(each.mode)
                os.utime(place, (each.mtime, each.mtime))

    def place(self, source: str, target: str, *, overwrite: bool) -> bool:
        old, new = self._place(source), self._place(target)
        if self.has(target) and not overwrite:
            return False
        if old.is_dir() and new.is_dir():
            shutil.copytree(old, new, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(old)
        else:
            old.replace(new)
        return True

    def remove(self, path: str) -> None:
        place = self._place(path)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
