"""The variables of an EFI machine: a file beside its definition, which naos keeps when the machine stops and brings along when it
starts, wherever that is.

The file is a firmware volume with one store of variables (UEFI Platform Initialization, volume 3; EDK II's authenticated form).
"""

import struct
import tempfile
import uuid
from pathlib import Path

from naos.engines.errors import EngineError
from naos.engines.hypervisor import boot
from naos.engines.ports import Host

_STORE = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le
_GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c").bytes_le
_HEADER = struct.Struct(
    "<HBxIQ16xIII16s"
)  # start, state, attributes, count, time, key, name's and data's length, vendor
_STORE_HEADER = 28
_START, _ADDED, _DELETED = 0x55AA, 0x3F, 0x3D
_KEPT_AND_SEEN = 0x7  # non-volatile, seen by the firmware and by the system
_INDICATIONS = "OsIndications\0".encode("utf-16-le")
_TO_SETUP = struct.pack("<Q", 1)


def read(host: Host, machine_id: str) -> bytes:
    """The machine's variables as they are on the blade. Raises an EngineError when it has none there."""
    return _fetch(host, boot.nvram_path(machine_id))


def write(host: Host, machine_id: str, kept: bytes, *, secure: bool, setup: bool) -> None:
    """Put `kept` in place, or fresh ones; `setup`: the firmware's own screens come up at the next start, once."""
    content = kept or _fetch(host, boot.template(secure=secure))
    if setup:
        try:
            content = with_setup(content)
        except ValueError as error:
            raise EngineError(
                host.name, f"asking the firmware of machine {machine_id} for its setup", str(error)
            ) from None
    host.run(["mkdir", "-p", boot.NVRAM_FOLDER])
    with tempfile.TemporaryDirectory(prefix="naos-nvram-") as folder:
        source = Path(folder) / "variables"
        source.write_bytes(content)
        host.put(source, boot.nvram_path(machine_id))


def _fetch(host: Host, path: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="naos-nvram-") as folder:
        target = Path(folder) / "variables"
        host.get(path, target)
        return target.read_bytes()


def with_setup(content: bytes) -> bytes:
    """The same variables, with the request to enter the setup. Raises ValueError for what is no store, or a full one."""
    volume = bytearray(content)
    if volume[40:44] != b"_FVH":
        raise ValueError("they are no firmware volume")
    store = struct.unpack_from("<H", volume, 48)[0]
    if volume[store : store + 16] != _STORE:
        raise ValueError("their store is of an unknown kind")
    end = store + struct.unpack_from("<I", volume, store + 16)[0]
    place = _aligned(store + _STORE_HEADER)
    while place + _HEADER.size <= end:
        start, state, _, _, _, name_length, length, vendor = _HEADER.unpack_from(volume, place)
        if start != _START:
            break
        name = place + _HEADER.size
        if state == _ADDED and vendor == _GLOBAL and volume[name : name + name_length] == _INDICATIONS:
            volume[place + 2] = _DELETED
        place = _aligned(name + name_length + length)
    header = _HEADER.pack(_START, _ADDED, _KEPT_AND_SEEN, 0, 0, len(_INDICATIONS), len(_TO_SETUP), _GLOBAL)
    added = header + _INDICATIONS + _TO_SETUP
    if place + len(added) > end:
        raise ValueError("their store is full")
    volume[place : place + len(added)] = added
    return bytes(volume)


def _aligned(place: int) -> int:
    return -(-place // 4) * 4
