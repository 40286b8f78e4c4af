"""An encrypted volume under real guests: one starts from a template there; its key comes under another master key as it is written;
and when it fills up, the guest stands still, never sees an error, and goes on whichever way space returns."""

import base64
import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
from real_platform import NAOS, Real, until

from naos.engines.array import encryption
from naos.storage import volume_keys
from naos.storage.master_keys import Keyring

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(900)]
MIB = 2**20
FILES = 24  # of 8 MiB each: more than the volume, a deleted disk and the reserve have together
LINE = "what a guest writes, again and again"


def _daemon_of(real: Real, lun_id: str) -> tuple[int, Path] | None:
    """The process that serves the volume, and its folder on the array."""
    for pid in real.program_pids("az05-array", "qemu-storage-daemon"):
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        folder = Path(words[words.index("--pidfile") + 1]).parent
        if folder.name == lun_id:
            return pid, folder
    return None


def _files_of(real: Real, lun_id: str) -> Path:
    """The volume's mounted file system, as the array's daemon sees it."""
    pid, folder = until(lambda: _daemon_of(real, lun_id), "the volume is served")
    return Path(f"/proc/{pid}/root{folder}/files")


def _standing(real: Real) -> str:
    alarms = real.json("volume", "show", "small")["triggeredAlarms"]
    return next((alarm["message"] for alarm in alarms if "stand still" in alarm["message"]), "")


def test_a_guest_that_fills_its_volume_goes_on_after_a_deletion_the_reserve_and_a_growth(real: Real) -> None:
    kind = ("--class", "standard", "--size", "500GiB", "--encrypted")
    real.naos("volume", "create", "small", "--zone", "AZ05", *kind)
    _a_machine_starts_there(real)
    real.naos("volume", "keep", "small", "--reserve", "72MiB")
    lun_id = real.json("volume", "show", "small")["id"]
    disk = real.json("disk", "add", "first-az05", "--size", "1GiB", "--volume", "small")
    more = real.json("disk", "add", "first-az05", "--size", "72MiB", "--volume", "small")
    until(lambda: real.ask("first-az05", "cat /sys/block/vd[bc]/size").split() == ["2097152", "147456"], "two disks")
    pieces = f"yes '{LINE}' | head -c 65536 > /tmp/piece; for i in $(seq 128); do cat /tmp/piece; done > /tmp/base"
    real.ask("first-az05", f"{pieces}; for i in 1 2 3 4 5 6 7 8 9; do cat /tmp/base; done > /dev/vdc; sync", 120.0)
    real.naos("disk", "unmount", more["id"])
    _its_key_comes_under_another_master_key(real, lun_id)
    real.ask("first-az05", "mkdir -p /mnt; mkfs.ext4 -q -F /dev/vdb && mount /dev/vdb /mnt && sync")
    ballast = _files_of(real, lun_id) / "ballast"
    image = _files_of(real, lun_id) / f"disks/{disk['id']}.qcow2"
    free = os.statvfs(ballast.parent)
    most = free.f_bavail * free.f_frsize - 24 * MIB
    subprocess.run(["fallocate", "--length", str(most), str(ballast)], check=True)
    try:
        loop = (
            f"for i in $(seq {FILES}); do (echo $i; cat /tmp/base) > /mnt/f$i && md5sum /mnt/f$i >> /root/sums && sync "
            "|| echo $i >> /tmp/errors; done; echo done > /tmp/filled"
        )
        real.ask("first-az05", f"rm -f /tmp/errors /tmp/filled /root/sums; ({loop}) > /dev/null 2>&1 & true")
        for way in (
            ("disk", "delete", more["id"], "--yes"),
            ("volume", "release-reserve", "small"),
            ("volume", "grow", "small", "501GiB"),
        ):
            shown = until(lambda: _standing(real), "the volume says that a machine stands still", 180.0)
            assert "1 machine(s) stand still there until there is space." in shown
            before = image.stat().st_blocks * 512
            real.naos(*way)
            until(lambda before=before: image.stat().st_blocks * 512 > before + 16 * MIB, "it goes on", 120.0)  # type: ignore[misc]
        until(lambda: real.ask("first-az05", "cat /tmp/filled") == "done", "the guest has written everything", 180.0)
    finally:
        ballast.unlink()
    again = "umount /mnt && mount /dev/vdb /mnt && md5sum -c /root/sums | grep -c OK; cat /tmp/errors 2> /dev/null"
    assert real.ask("first-az05", again, 120.0) == str(FILES)
    assert real.ask("first-az05", "dmesg | grep -ciE 'i/o error|ext4-fs error'; echo end") == "0 end"
    until(lambda: not real.json("volume", "show", "small")["space"]["reserveReleased"], "the reserve is made again")
    real.ask("first-az05", "umount /mnt")
    real.naos("disk", "unmount", disk["id"])
    _is_whole_and_sealed(real, lun_id, image)
    real.naos("disk", "delete", disk["id"], "--yes")
    real.naos("volume", "delete", "small", "--yes")


def _a_machine_starts_there(real: Real) -> None:
    network = ("--pool", "pool-AZ05", "--vlan", "front")
    real.naos("vm", "create", "sealed", "--template", "naos-tiny", "--volume", "small", *network)
    until(lambda: "ready:" in real.naos("vm", "log", "sealed"), "the guest is up", 120.0)
    assert real.ask("sealed", "echo a > /root/b; sync; cat /root/b") == "a"
    real.naos("vm", "stop", "sealed", "--force")
    real.naos("vm", "delete", "sealed", "--yes")


def _its_key_comes_under_another_master_key(real: Real, lun_id: str) -> None:
    """While a guest has a disk there; the daemon that is then killed comes back without the older master key."""
    file = real.root / "volume-keys"
    file.write_text(f"{base64.b64encode(os.urandom(32)).decode()}\n{file.read_text()}")
    own = {"NAOS_HOME": str(real.root / "controller"), "NAOS_VOLUME_KEYS": str(file)}
    argv = [str(NAOS), "controller", "rewrap-volume-keys", "--json"]
    done = subprocess.run(argv, env=real.environment | own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [entry["id"] for entry in json.loads(done.stdout)] == [lun_id]
    file.write_text(file.read_text().splitlines()[0] + "\n")
    pid, _ = _daemon_of(real, lun_id) or (0, None)
    os.kill(pid, signal.SIGKILL)
    until(lambda: (_daemon_of(real, lun_id) or (pid,))[0] != pid, "another daemon")


def _is_whole_and_sealed(real: Real, lun_id: str, image: Path) -> None:
    """With the volume's key the image is whole; nothing that the guest wrote is in the file as it wrote it."""
    with sqlite3.connect(real.root / "controller/naos.db") as tables:
        (wrapped,) = tables.execute("SELECT wrapped_key FROM luns WHERE id = ?", (lun_id,)).fetchone()
    key = encryption.encoded(lambda: volume_keys.unwrapped(Keyring(real.root / "volume-keys"), lun_id, wrapped))
    argv = ["qemu-img", "check", "--object", encryption.OBJECT, encryption.file_name(str(image))]
    done = subprocess.run(argv, input=key.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with image.open("rb") as file:
        while piece := file.read(16 * MIB):
            assert LINE.encode() not in piece
