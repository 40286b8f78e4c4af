"""Instant start for real: a guest runs from its vault and writes; vault and array die as it moves in; nothing that it was told is written
is lost."""

import hashlib
import json
import os
import signal

import pytest
from real_platform import Real, until

from naos.engines.hosts.namespace import NamespaceHost

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(420)]

GUEST, TWIN = "first-az05", "risen"
MIB = 2**20
END = "\n"
LINE = "what nobody reads who has no key"
WRITER = (
    "i=0; while :; do i=$((i+1)); set -- $(echo $i | md5sum); if echo $i $1 >> /root/ledger && sync; "
    "then echo $i > /tmp/count; else echo $i >> /tmp/errors; fi; usleep 20000; done"
)


def _move(real: Real) -> dict[str, object]:
    found: dict[str, object] = next(entry for entry in real.json("backup", "moves") if entry["name"] == TWIN)
    return found


def _kill(real: Real, host: str) -> None:
    """Every storage daemon of the host, at once."""
    pids = real.program_pids(host, "qemu-storage-daemon")
    assert pids, host
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def _acknowledged(real: Real) -> int:
    """The file is empty for a moment whenever the guest writes the next number."""
    return int(until(lambda: real.ask(TWIN, "cat /tmp/count", 120.0), "a count"))


def _writes_on(real: Real, what: str) -> None:
    before = _acknowledged(real)
    until(lambda: _acknowledged(real) > before, what, 120.0)


def _check_ledger(real: Real, least: int) -> None:
    """Each record there once, in order, whole; none that was acknowledged is missing."""
    real.ask(TWIN, "echo 3 > /proc/sys/vm/drop_caches")
    count, digest = real.ask(TWIN, "wc -l < /root/ledger; md5sum < /root/ledger", 120.0).split()[:2]
    assert int(count) >= least, (count, least)
    records = [f"{number} {_md5(f'{number}{END}')}{END}" for number in range(1, int(count) + 1)]
    assert digest == _md5("".join(records))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@pytest.mark.parametrize("encrypted", [False, True], ids=["in clear", "encrypted"])
def test_a_guest_runs_from_its_vault_and_loses_nothing_as_daemons_die(real: Real, encrypted: bool) -> None:
    """encrypted: the volume that it runs on; the one that was backed up is not."""
    volume = ("--volume", "sealed") if encrypted else ()
    if encrypted:
        kind = ("--class", "standard", "--size", "500GiB", "--encrypted")
        real.naos("volume", "create", "sealed", "--zone", "AZ05", *kind)
    real.naos("policy", "create", "instant", "--site", "AZ07", "--keep", "7")
    real.naos("policy", "assign", GUEST, "instant")
    disk = real.json("disk", "add", GUEST, "--size", "64MiB")
    until(lambda: real.ask(GUEST, "cat /sys/block/vdb/size") == str(64 * 2048), "the guest sees the disk")
    real.ask(GUEST, "dd if=/dev/urandom of=/dev/vdb bs=1M count=24 2>/dev/null; echo then > /root/mark; sync")
    real.ask(GUEST, f"yes '{LINE}' | head -c 4194304 > /root/lines; sync")
    filler = real.ask(GUEST, "md5sum < /dev/vdb", 120.0)
    (task,) = real.json("backup", "run", "instant")
    assert task["status"] == "COMPLETED", task
    real.ask(GUEST, "echo now > /root/mark; sync")

    made = real.json("backup", "instant-start", GUEST, "--mode", "clone", "--name", TWIN, "--speed", "2MiB", *volume)
    assert made["state"] == "moving"
    until(lambda: "ready:" in real.naos("vm", "log", TWIN), "the machine is up", 120.0)
    assert real.ask(TWIN, "cat /root/mark") == "then"
    real.ask(TWIN, "rm -f /tmp/errors /tmp/count")
    real.ask(TWIN, f"({WRITER}) > /dev/null 2>&1 & echo $! > /tmp/writer")
    _writes_on(real, "it writes")

    _kill(real, "az07-vault")
    _writes_on(real, "it writes though its vault was killed")
    until(lambda: int(str(_move(real)["done"])) > MIB, "it moves in", 120.0)
    _kill(real, "az05-array")
    _writes_on(real, "it writes though its array's daemons were killed")
    until(lambda: int(str(_move(real)["done"])) > 4 * MIB, "it moves on", 240.0)
    _kill(real, "az07-vault")
    _writes_on(real, "it writes though its vault was killed again")
    real.naos("backup", "limit-move", TWIN, "--speed", "none")
    until(lambda: _move(real)["state"] == "done", "all has moved in", 400.0)

    _writes_on(real, "it writes on its own disk alone")
    real.ask(TWIN, "kill $(cat /tmp/writer); sleep 1")
    acknowledged = _acknowledged(real)
    assert real.ask(TWIN, "cat /tmp/errors 2> /dev/null; dmesg | grep -ci 'i/o error'; echo end") == "0 end"
    _check_ledger(real, acknowledged)
    assert real.ask(TWIN, "md5sum < /dev/vdb", 120.0) == filler
    assert real.program_pids("az07-vault", "qemu-storage-daemon") == [], "nobody reads the point any more"
    real.naos("vm", "stop", TWIN, "--force")
    _check_images(real, encrypted=encrypted)
    real.naos("vm", "start", TWIN)
    until(lambda: real.naos("vm", "log", TWIN).count("ready:") >= 1, "it is up again", 120.0)
    _check_ledger(real, acknowledged)
    assert real.ask(TWIN, "md5sum < /dev/vdb", 120.0) == filler
    _go(real, str(disk["id"]))
    if encrypted:
        real.naos("volume", "delete", "sealed", "--yes")


def _check_images(real: Real, *, encrypted: bool) -> None:
    """In order, and whole in themselves; what was written can be read in them, or cannot."""
    seen = []
    host = NamespaceHost("az05-array", real.root / "hosts" / "az05-array")
    for disk in real.json("disk", "list", "--vm", TWIN):
        path = (
            real.root
            / "hosts"
            / "az05-array"
            / "luns"
            / disk["datastore"]["id"]
            / "files/disks"
            / f"{disk['id']}.qcow2"
        )
        seen.append(host.run(["grep", "-q", "-F", "-e", LINE, str(path)], check=False).code == 0)
        if encrypted:
            continue  # to be looked at it would need the volume's key
        told = json.loads(host.run(["qemu-img", "check", "--output=json", str(path)]).stdout)
        assert [told.get(key, 0) for key in ("corruptions", "leaks", "check-errors")] == [0, 0, 0]
        assert "backing-filename" not in json.loads(host.run(["qemu-img", "info", "--output=json", str(path)]).stdout)
    assert any(seen) is not encrypted


def _go(real: Real, disk_id: str) -> None:
    real.naos("vm", "stop", TWIN, "--force")
    real.naos("vm", "delete", TWIN, "--yes")
    for point in real.json("backup", "list", "--vm", GUEST):
        real.naos("backup", "delete", point["id"], "--force", "--yes")
    real.naos("disk", "delete", disk_id, "--yes")
    real.naos("policy", "assign", GUEST, "--none")
    real.naos("policy", "delete", "instant", "--yes")
    until(lambda: real.json("doctor") == [], "the doctor finds nothing")
