"""Files out of restore points for real: what a guest wrote comes out of its restore point, and back into it, to the byte."""

import hashlib
import re
import tarfile
from pathlib import Path

import pytest
from real_platform import Real, until

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(600)]

GUEST = "first-az05"


def _sums(real: Real, folder: str) -> dict[str, str]:
    said = real.ask(GUEST, f"cd {folder} && find . -type f -exec sha256sum {{}} +", 120.0)
    return {path: digest for digest, path in re.findall(r"([0-9a-f]{64})\s+\./(\S+)", said)}


def test_what_a_guest_wrote_comes_out_and_back(real: Real, tmp_path: Path) -> None:
    real.naos("policy", "create", "filed", "--site", "AZ07", "--keep", "7")
    real.naos("policy", "assign", GUEST, "filed")
    real.ask(
        GUEST,
        "mkdir -p /root/kept/deep /root/back; dd if=/dev/urandom of=/root/kept/random bs=1M count=5 2>/dev/null; "
        "echo words > /root/kept/deep/words; chmod 640 /root/kept/deep/words; ln -s /etc/passwd /root/kept/link; sync",
    )
    before = _sums(real, "/root/kept")
    assert len(before) == 2
    (task,) = real.json("backup", "run", "filed")
    assert (task["status"], task["reason"]) == ("COMPLETED", "")
    real.ask(GUEST, "rm -r /root/kept; sync")

    volumes = [volume for volume in real.json("backup", "files", "volumes", GUEST) if volume["readable"]]
    named = {
        volume["id"]: [
            each["name"] for each in real.json("backup", "files", "list", GUEST, "/", "--volume", volume["id"])
        ]
        for volume in volumes
    }
    (volume,) = [identifier for identifier, inside in named.items() if "root" in inside]
    found = {
        each["name"]: each for each in real.json("backup", "files", "list", GUEST, "/root/kept", "--volume", volume)
    }
    assert set(found) == {"deep", "link", "random"}
    assert (found["random"]["size"], found["link"]["target"]) == (5 * 2**20, "/etc/passwd")

    real.naos(
        "backup", "files", "get", GUEST, "/root/kept/random", "--volume", volume, "--output", str(tmp_path / "random")
    )
    assert hashlib.sha256((tmp_path / "random").read_bytes()).hexdigest() == before["random"]
    archive = tmp_path / "kept.tar"
    real.naos(
        "backup", "files", "get", GUEST, "/root/kept", "--volume", volume, "--format", "tar", "--output", str(archive)
    )
    with tarfile.open(archive) as opened:
        assert {member.name for member in opened} == {
            "kept",
            "kept/deep",
            "kept/deep/words",
            "kept/link",
            "kept/random",
        }
        words = opened.extractfile("kept/deep/words")
        assert words is not None
        assert words.read() == b"words\n"

    until(lambda: real.ask(GUEST, "pidof qemu-ga") != "", "the agent runs")
    put = ("backup", "files", "put-back", GUEST, "/root/kept", "--volume", volume, "--vm", GUEST, "--folder")
    real.naos(*put, "/root")
    assert _sums(real, "/root/kept") == before
    assert real.ask(GUEST, "stat -c %a /root/kept/deep/words; readlink /root/kept/link").split() == [
        "640",
        "/etc/passwd",
    ]
    assert real.ask(GUEST, "ls -A /root | grep naos || echo none") == "none"

    for point in real.json("backup", "list", "--vm", GUEST):
        real.naos("backup", "delete", point["id"], "--force", "--yes")
    real.naos("policy", "assign", GUEST, "--none")
    real.naos("policy", "delete", "filed", "--yes")
    assert real.json("doctor") == []
