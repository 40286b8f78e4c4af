"""Whether the images of a whole lab are whole, once nothing uses them any more."""

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from naos.engines.array import encryption
from naos.engines.hosts import processes
from naos.lab import record
from naos.lab.inventory import luns_folder
from naos.storage import volume_keys
from naos.storage.master_keys import Keyring

_ENDING = 30.0  # seconds; a daemon writes its bitmaps and caches before it ends
_DAEMON = "qemu-storage-daemon"
_LEAKED = 3  # what qemu-img check ends with when clusters are taken that nobody uses, and nothing else is wrong


@dataclass(frozen=True)
class Checked:
    """images: how many were looked at. damaged: those that contradict themselves, with what was said of them. leaking: paths of those in which
    clusters stay taken that nobody uses. A daemon that is killed leaves such, and no byte of a disk depends on them: they are no damage."""

    images: int
    damaged: Sequence[str]
    leaking: Sequence[str]


def end_and_check(root: Path) -> Checked:
    """`qemu-img check` on every disk's image of every array of the lab at `root`: its controller and the arrays' daemons end for it, and
    guests that still run wait for them until they go with the lab."""
    lab = record.read(root)
    assert lab is not None
    if lab.controller is not None:
        processes.end_process(lab.controller, signal.SIGKILL, 10)
    arrays = [host for host in lab.plan.hosts if host.kind == "array"]
    inside = {host.name: _pids(lab.plan.namespace(host)) for host in arrays}
    daemons = [pid for pids in inside.values() for pid in pids if processes.program(pid) == _DAEMON]
    ending = [process for pid in daemons if (process := processes.identify(pid)) is not None]
    for process in ending:
        processes.signal_process(process, signal.SIGTERM)
    until = time.monotonic() + _ENDING
    while any(map(processes.alive, ending)) and time.monotonic() < until:
        time.sleep(0.02)
    images, damaged, leaking = 0, list[str](), list[str]()
    for host in arrays:
        folder = luns_folder(root, host)
        holder = next((pid for pid in inside[host.name] if pid not in daemons and _reaches(pid, folder)), None)
        if holder is None:
            continue  # a host that was struck has no mounts any more
        entered = ("nsenter", "-t", str(holder), "-m", "-n", "--")
        found = subprocess.run(
            [*entered, "find", str(folder), "-path", "*/files/disks/*.qcow2"],
            capture_output=True,
            text=True,
            check=True,
        )
        for path in found.stdout.split():
            images += 1
            done = _check(root, entered, path)
            if done.returncode == _LEAKED:
                leaking.append(path)
            elif done.returncode:
                said = (done.stdout + done.stderr).decode(errors="replace")
                damaged.append(f"{path}: {' '.join(said.split())[-400:]}")
    return Checked(images, damaged, leaking)


def _check(root: Path, entered: Sequence[str], path: str) -> "subprocess.CompletedProcess[bytes]":
    """Of what lies in the file alone: what is below it is not opened."""
    wrapped = _wrapped_key(root, Path(path).parents[2].name)
    check = ["qemu-img", "check", "-q"]
    if wrapped is None:
        described = {"driver": "qcow2", "file": {"driver": "file", "filename": path}, "backing": None}
        return subprocess.run([*entered, *check, "json:" + json.dumps(described)], capture_output=True, check=False)
    lun_id = Path(path).parents[2].name
    key = encryption.encoded(lambda: volume_keys.unwrapped(Keyring(root / "volume-keys"), lun_id, wrapped))
    words = [*entered, "sh", "-c", 'cat | "$@"', "keyed", *check, "--object", encryption.OBJECT]
    return subprocess.run([*words, encryption.file_name(path)], input=key.encode(), capture_output=True, check=False)


def _wrapped_key(root: Path, lun_id: str) -> str | None:
    with closing(sqlite3.connect(root / "controller" / "naos.db")) as tables:
        row = tables.execute("SELECT wrapped_key FROM luns WHERE id = ?", (lun_id,)).fetchone()
    return row[0] if row else None


def _pids(namespace: str) -> list[int]:
    done = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    return [int(word) for word in done.stdout.split()]


def _reaches(pid: int, folder: Path) -> bool:
    """Whether the process has the volumes of this folder mounted."""
    with suppress(OSError):
        return f" {folder}/" in Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8")
    return False
