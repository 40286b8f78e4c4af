"""How a folder's files are encrypted where they lie: by its file system (fscrypt), or by what that lies on (dm-crypt)."""

import fcntl
import os
import struct

FSCRYPT, DM_CRYPT, NOTHING = "fscrypt", "dm-crypt", ""
_POLICY = 0xC0096616
"""FS_IOC_GET_ENCRYPTION_POLICY_EX, of the kernel's fscrypt documentation: the room for a policy, then the policy."""
_ROOM = 24  # bytes of the longest policy


def at_rest(folder: str, system: str = "/sys", mounts: str = "/proc/self/mountinfo") -> str:
    """FSCRYPT, DM_CRYPT or NOTHING. Raises OSError for a folder that there is not."""
    if _has_policy(folder):
        return FSCRYPT
    device = _device(os.stat(folder).st_dev, mounts)
    return DM_CRYPT if device is not None and _covered(f"{system}/dev/block/{device}") else NOTHING


def _has_policy(folder: str) -> bool:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(handle, _POLICY, struct.pack("<Q", _ROOM) + bytes(_ROOM))
    except OSError:  # it has none, or its file system knows of none
        return False
    finally:
        os.close(handle)
    return True


def _device(number: int, mounts: str) -> str | None:
    """`MAJOR:MINOR` of the device that a file system lies on. Some give their files a number that is no device's."""
    found = f"{os.major(number)}:{os.minor(number)}"
    if os.major(number):
        return found
    with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, more = line.partition(" - ")
            source = more.split()[1] if len(more.split()) > 1 else ""
            if fields.split()[2] == found and source.startswith("/dev/"):
                held = os.stat(source).st_rdev
                return f"{os.major(held)}:{os.minor(held)}"
    return None


def _covered(device: str) -> bool:
    """Whether all that is written to it is encrypted on the way down."""
    try:
        with open(f"{device}/dm/uuid", encoding="ascii") as file:
            if file.read().startswith("CRYPT-"):
                return True
    except OSError:
        pass  # it is no mapped one
    try:
        below = os.listdir(f"{device}/slaves")
    except OSError:
        return False
    return bool(below) and all(_covered(f"{device}/slaves/{name}") for name in below)
