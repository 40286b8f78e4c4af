"""What a blade does by itself for a guest that stands frozen after its limit, with a stand-in for virsh."""

import os
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from naos.engines.hypervisor import guard
from naos.engines.ports import Completed

VIRSH = """#!/bin/sh
cd "$(dirname "$0")"
case "$*" in
    *qemu-agent-command*) echo asked >> "$3.calls"; exit 1 ;;
    *send-key*) echo "${*#* * }" >> "$3.calls"; [ ! -e "$3.obeys" ] || echo 8 > "$3.written" ;;
    *domstats*) printf "Domain: '%s'\\n  block.count=2\\n  block.0.wr.reqs=3\\n  block.1.wr.reqs=%s\\n" "$4" "$(cat "$4.written")" ;;
    *domstate*) echo running ;;
esac
"""


class Blade:
    """Runs commands here, with a virsh of its own."""

    name = "blade1"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "virsh").write_text(VIRSH)
        (folder / "virsh").chmod(0o755)

    def run(self, argv, *, stdin=b"", timeout=30.0, check=True) -> Completed:
        path = f"{self.folder}:{os.environ['PATH']}"
        done = subprocess.run(
            argv, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=timeout, check=check
        )
        return Completed(done.returncode, done.stdout, done.stderr)

    def guest(self, *, obeys: bool) -> str:
        domain_id = str(uuid.uuid4())
        (self.folder / f"{domain_id}.written").write_text("4")
        if obeys:
            (self.folder / f"{domain_id}.obeys").touch()
        return domain_id


def test_a_guest_whose_agent_is_gone_is_told_by_its_keyboard_and_noted_when_it_does_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "FOLDER", str(tmp_path))
    monkeypatch.setattr(guard, "_PATIENCE", 1)
    blade = Blade(tmp_path)
    obedient, deaf, watched = blade.guest(obeys=True), blade.guest(obeys=False), blade.guest(obeys=False)
    guard.begin(blade, obedient, 0)
    guard.begin(blade, deaf, 0)
    guard.begin(blade, watched, 600)
    end = time.monotonic() + 20
    while any(guard.watches(blade, domain_id) for domain_id in (obedient, deaf)) and time.monotonic() < end:
        time.sleep(0.05)
    assert guard.notes(blade) == {deaf: 7}
    for domain_id in (obedient, deaf):
        pressed = f"{domain_id} --codeset linux --holdtime 100 56 99 36"
        assert (tmp_path / f"{domain_id}.calls").read_text().splitlines()[:2] == ["asked", pressed]
    assert guard.watches(blade, watched)
    guard.end(blade, watched)
    assert not guard.watches(blade, watched)
    guard.forget(blade, [deaf])
    assert guard.notes(blade) == {}
    assert not (tmp_path / f"{watched}.calls").exists()
