"""A host of an array whose volumes are logical volumes of a real volume group on a loop device.

LVM's own commands keep its metadata. Where the kernel has no device mapper they cannot make a volume's device: then a loop device
over the volume's extents stands in for it.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from array_rig import ArrayHost

from naos.engines.ports import Completed

GIB = 2**30
_STATUS = struct.Struct("=QQQQQIIII64s64s32sQQ")  # struct loop_info64, linux/loop.h
_GET_STATUS, _SET_STATUS, _SIZE_LIMIT = 0x4C05, 0x4C04, 4


def has_mapper() -> bool:
    return subprocess.run(["dmsetup", "version"], capture_output=True, check=False).returncode == 0


class VolumeGroupHost(ArrayHost):
    """`group`: the name of the volume group, of `size` bytes. Ends with `close`."""

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__(folder)
        self.group = f"naostest{uuid.uuid4().hex[:8]}"
        self._mapper = has_mapper()
        image = folder / "pv.img"
        with image.open("wb") as file:
            file.truncate(size)
        self.device = super().run(["losetup", "--find", "--show", str(image)]).stdout.strip()
        for argv in (["pvcreate", "--quiet", self.device], ["vgcreate", "--quiet", self.group, self.device]):
            self.run(argv)

    def run(self, argv: Sequence[str], *, stdin=b"", timeout=30.0, check=True) -> Completed:
        tool, *words = argv
        if tool not in {
            "pvcreate",
            "vgcreate",
            "vgs",
            "lvs",
            "lvcreate",
            "lvextend",
            "lvrename",
            "lvremove",
            "lvchange",
        }:
            return super().run(argv, stdin=stdin, timeout=timeout, check=check)
        if tool == "lvchange" and not self._mapper:
            self.calls.append(tuple(argv))
            name = words[-1].partition("/")[2]
            (self._activate if words[words.index("--activate") + 1] == "y" else self._deactivate)(name)
            return Completed(0, "", "")
        if tool == "lvremove" and not self._mapper:
            self._deactivate(words[-1].partition("/")[2])
        options = ["--config", f'devices/filter=["a|^{self.device}$|","r|.*|"]']
        options += [] if self._mapper else ["--driverloaded", "n"]
        done = super().run([tool, *options, *words], stdin=stdin, timeout=timeout, check=check)
        if tool == "lvextend" and not self._mapper:
            self._stretch(words[-1].partition("/")[2])
        return done

    def _link(self, name: str) -> Path:
        return Path("/dev", self.group, name)

    def _extents(self, name: str) -> tuple[int, int]:
        """Where on the device the volume begins, and its bytes; naos' volumes are alone in the group, so they are whole."""
        fields = "seg_start_pe,seg_size,seg_pe_ranges,vg_extent_size"
        shown = self.run(
            ["lvs", "--noheadings", "--units", "b", "--nosuffix", "--options", fields, f"{self.group}/{name}"]
        )
        start = self.run(
            ["vgs", "--noheadings", "--units", "b", "--nosuffix", "--options", "pe_start", self.group]
        ).stdout
        (row,) = [line.split() for line in shown.stdout.splitlines()]
        first = int(row[2].rpartition(":")[2].partition("-")[0])
        return int(start) + first * int(row[3]), int(row[1])

    def _activate(self, name: str) -> None:
        if not self._link(name).exists():
            offset, size = self._extents(name)
            argv = ["losetup", "--find", "--show", "--offset", str(offset), "--sizelimit", str(size), self.device]
            made = super().run(argv).stdout.strip()
            self._link(name).parent.mkdir(exist_ok=True)
            self._link(name).symlink_to(made)

    def _deactivate(self, name: str) -> None:
        if self._link(name).is_symlink():
            super().run(["losetup", "--detach", str(self._link(name).readlink())])
            self._link(name).unlink()

    def _stretch(self, name: str) -> None:
        """What the device mapper does on `lvextend`: the device grows under its users."""
        if not self._link(name).is_symlink():
            return
        _, size = self._extents(name)
        descriptor = os.open(self._link(name), os.O_RDWR)
        try:
            fields = list(_STATUS.unpack(fcntl.ioctl(descriptor, _GET_STATUS, bytes(_STATUS.size))))
            fields[_SIZE_LIMIT] = size
            fcntl.ioctl(descriptor, _SET_STATUS, _STATUS.pack(*fields))
        finally:
            os.close(descriptor)

    def close(self) -> None:
        for link in self._link("").glob("*") if self._link("").exists() else ():
            self._deactivate(link.name)
        super().run(["losetup", "--detach", self.device])
        shutil.rmtree(self._link(""), ignore_errors=True)
        super().close()
