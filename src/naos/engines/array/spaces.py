"""Where a volume's blocks come from: a sparse file on a loop device, or a logical volume of a volume group.

A space is made under a provisional name, and gets its own once there is a file system in it: its presence says that the volume
exists. Every call looks first, or can be repeated.
"""

import re
from typing import Protocol

from naos.engines.array.places import Place
from naos.engines.errors import Missing, NoSpace, Unsupported
from naos.engines.ports import Host
from naos.ids import normal_id

GROUP_NAME = re.compile(r"[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,126}")  # lvm(8), VALID NAMES
RUNTIME_FOLDER = "/var/lib/naos/volumes"
"""Mount points, sockets and locks of volumes whose blocks are in a volume group."""
_PREFIX, _UNFINISHED = "naos-", "naos-new-"
_OPTIONS = "nouuid,noatime,discard"  # discard: what is deleted in the volume leaves the space below too


class Space(Protocol):
    """The blocks of one volume. Sizes in bytes. options: of the mount."""

    options: str

    def exists(self) -> bool: ...
    def make(self, capacity: int) -> str:
        """New blocks under the provisional name, what an earlier call left of them removed; the path to make a file system on."""

    def publish(self) -> None:
        """The file system is complete: the space gets its name."""

    def capacity(self) -> int:
        """Raises Missing."""

    def whole(self, capacity: int) -> int:
        """The size of a space for `capacity` bytes: what can be had comes in extents."""

    def grow(self, capacity: int) -> None: ...
    def source(self) -> str:
        """What is mounted, made ready for it."""

    def mounted(self, device: str) -> None:
        """Fit the device under a fresh mount."""

    def enlarged(self, device: str) -> None:
        """Let the device under the mount see that the space has grown."""

    def released(self) -> None:
        """After the unmounting."""

    def remove(self) -> None:
        """Both names; absent ones are fine."""


def of(place: Place) -> Space:
    return FileSpace(place) if place.group is None else LogicalVolume(place, place.group)


def _missing(place: Place) -> Missing:
    return Missing(place.where, f"volume {place.lun_id}", "it is not on this array")


class FileSpace:
    """A sparse file in the volume's folder, mounted through a loop device."""

    options = f"loop,{_OPTIONS}"

    def __init__(self, place: Place) -> None:
        self._place = place

    def exists(self) -> bool:
        return self._place.exists(self._place.image)

    def make(self, capacity: int) -> str:
        path = self._place.unfinished
        self._place.run("mkdir", "-p", "--", self._place.folder)
        self._place.run("rm", "-f", "--", path)
        self._place.run("truncate", "-s", str(capacity), "--", path)
        return path

    def publish(self) -> None:
        self._place.run("sync", "--", self._place.unfinished, timeout=120)
        self._place.run("mv", "-T", "--", self._place.unfinished, self._place.image)

    def capacity(self) -> int:
        if not self.exists():
            raise _missing(self._place)
        return int(self._place.run("stat", "-c", "%s", "--", self._place.image).stdout)

    def whole(self, capacity: int) -> int:
        return capacity

    def grow(self, capacity: int) -> None:
        self._place.run("truncate", "-s", str(capacity), "--", self._place.image)

    def source(self) -> str:
        return self._place.image

    def mounted(self, device: str) -> None:
        if device.startswith("/dev/loop"):
            # where the file system below can, the device reads and writes the file directly: else it caches too
            self._place.run("losetup", "--direct-io=on", device, check=False)

    def enlarged(self, device: str) -> None:
        self._place.run("losetup", "--set-capacity", device)

    def released(self) -> None:
        """The loop device went with the mount."""

    def remove(self) -> None:
        self._place.run("rm", "-f", "--", self._place.image, self._place.unfinished)


class LogicalVolume:
    """A linear logical volume: all of its blocks are reserved from the first moment. It is active only while it is mounted."""

    options = _OPTIONS

    def __init__(self, place: Place, group: str) -> None:
        self._place, self._group = place, group
        self._name, self._unfinished = f"{_PREFIX}{place.lun_id}", f"{_UNFINISHED}{place.lun_id}"

    def exists(self) -> bool:
        return self._name in self._sizes()

    def make(self, capacity: int) -> str:
        needed = self.whole(capacity)
        self._remove(self._unfinished)
        self._check_free(needed)
        self._place.run(
            *("lvcreate", "--quiet", "--yes", "--activate", "n", "--wipesignatures", "n", "--zero", "n"),
            *("--size", f"{needed}b", "--name", self._unfinished, self._group),
        )
        return self._activate(self._unfinished)

    def publish(self) -> None:
        self._deactivate(self._unfinished)
        self._place.run("lvrename", "--quiet", self._group, self._unfinished, self._name)

    def capacity(self) -> int:
        size = self._sizes().get(self._name)
        if size is None:
            raise _missing(self._place)
        return size

    def whole(self, capacity: int) -> int:
        extent = self._of_group("vg_extent_size")
        return -(-capacity // extent) * extent

    def grow(self, capacity: int) -> None:
        needed = self.whole(capacity)
        self._check_free(needed - self.capacity())
        self._place.run("lvextend", "--quiet", "--size", f"{needed}b", f"{self._group}/{self._name}")

    def source(self) -> str:
        return self._activate(self._name)

    def mounted(self, device: str) -> None:
        """The device is the volume itself."""

    def enlarged(self, device: str) -> None:
        """`lvextend` has told the kernel."""

    def released(self) -> None:
        self._deactivate(self._name)

    def remove(self) -> None:
        for name in (self._unfinished, self._name):
            self._remove(name)

    def _remove(self, name: str) -> None:
        if name in self._sizes():
            # the next volume may be another tenant's: what the medium can forget, it forgets now
            self._place.run("blkdiscard", "--force", self._activate(name), timeout=600, check=False)
            self._place.run("lvremove", "--quiet", "--yes", f"{self._group}/{name}")

    def _activate(self, name: str) -> str:
        self._place.run("lvchange", "--quiet", "--activate", "y", f"{self._group}/{name}")
        return f"/dev/{self._group}/{name}"

    def _deactivate(self, name: str) -> None:
        self._place.run("lvchange", "--quiet", "--activate", "n", f"{self._group}/{name}")

    def _sizes(self) -> dict[str, int]:
        return sizes(self._place.host, self._group)

    def _of_group(self, field: str) -> int:
        argv = ("vgs", "--noheadings", "--units", "b", "--nosuffix", "--options", field, self._group)
        return int(self._place.run(*argv).stdout)

    def _check_free(self, needed: int) -> None:
        free = self._of_group("vg_free")
        if needed > free:
            words = f"volume group {self._group} has {free} bytes free, {needed} are needed"
            raise NoSpace(self._place.where, f"volume {self._place.lun_id}", words)


def sizes(host: Host, group: str) -> dict[str, int]:
    """Names and bytes of a group's logical volumes. Raises CommandFailed, for a group that is not there too."""
    argv = ("lvs", "--noheadings", "--units", "b", "--nosuffix", "--options", "lv_name,lv_size", group)
    rows = [line.split() for line in host.run(argv).stdout.splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}


def volume_of(name: str) -> str | None:
    """The id of the volume that a logical volume's name stands for; None for one that naos did not make."""
    lun_id = name.removeprefix(_PREFIX)
    return lun_id if lun_id != name and normal_id(lun_id) == lun_id else None


def check_group(where: str, name: str) -> str:
    """Raises Unsupported for what is no name of a volume group."""
    if not GROUP_NAME.fullmatch(name) or name in (".", ".."):
        raise Unsupported(where, f"the volume group {name!r}", "write the group's name alone, as `vgs` shows it")
    return name
