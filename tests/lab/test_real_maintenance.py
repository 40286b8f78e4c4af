"""Maintenance on a real rack: blades are emptied and really run something else afterwards, under a guest that writes all the while."""

import os
from pathlib import Path

import pytest
from real_platform import Real, until

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(900)]

# A second QEMU (another file, seen by this blade alone), another configuration, and a libvirtd that has read both.
COMMAND = """\
qemu=$(readlink -f "$(command -v qemu-system-x86_64)")
next=/var/lib/libvirt/qemu-next
if [ ! -e $next ]; then
    cp "$qemu" $next.new
    mv $next.new $next
    mount --bind $next "$qemu"
fi
grep -q '^keepalive_interval = 7$' /etc/libvirt/qemu.conf || echo 'keepalive_interval = 7' >> /etc/libvirt/qemu.conf
pid=$(cat /run/libvirtd.pid)
kill "$pid"
while kill -0 "$pid" 2> /dev/null; do sleep 0.1; done
"""
CHECK = "grep -q '^keepalive_interval = 7$' /etc/libvirt/qemu.conf"
GUEST = "first-az05"


def _write_for_ever(real: Real) -> None:
    loop = (
        "i=0; while :; do i=$((i+1)); "
        "if echo $i > /root/written && sync; then echo $i > /tmp/count; else echo $i >> /tmp/errors; fi; "
        "usleep 20000; done"
    )
    real.ask(GUEST, "kill $(cat /tmp/writer) 2> /dev/null; rm -f /tmp/errors /tmp/count; true")
    real.ask(GUEST, f"({loop}) > /dev/null 2>&1 & echo $! > /tmp/writer")
    until(lambda: real.ask(GUEST, "cat /tmp/count 2> /dev/null; echo end") != "end", "the guest writes")


def _daemons(real: Real) -> dict[str, list[int]]:
    return {blade: real.program_pids(blade, "libvirtd") for blade in ("az05-blade1", "az05-blade2")}


def test_a_blade_is_emptied_refused_where_it_cannot_be_and_opened_again(real: Real) -> None:
    _write_for_ever(real)
    blade = real.machine(GUEST)["host"]["name"]
    (move,) = real.json("blade", "maintenance", "enter", blade, "--dry-run")["plan"]["stages"][0]
    assert move["virtualMachine"]["name"] == GUEST
    before = int(real.ask(GUEST, "cat /tmp/count"))
    real.naos("blade", "maintenance", "enter", blade, "--yes")
    assert real.program_pids(blade, "qemu-system-x86_64") == []
    assert real.machine(GUEST)["host"]["name"] == move["target"]["name"] != blade
    refused = real.attempt("blade", "maintenance", "enter", move["target"]["name"], "--yes")
    assert refused.returncode == 1
    assert f"{blade}: in maintenance" in refused.stderr
    real.naos("blade", "maintenance", "exit", blade)
    until(lambda: int(real.ask(GUEST, "cat /tmp/count")) > before + 10, "the guest writes on")
    assert real.ask(GUEST, "cat /tmp/errors 2> /dev/null; echo end") == "end"


def test_a_build_really_replaces_what_blades_run_under_a_writing_guest(real: Real, tmp_path: Path) -> None:
    pool = real.machine(GUEST)["hostCluster"]["name"] if "hostCluster" in real.machine(GUEST) else "pool-AZ05"
    _write_for_ever(real)
    boot, daemons = real.ask(GUEST, "cat /proc/sys/kernel/random/boot_id"), _daemons(real)
    before = int(real.ask(GUEST, "cat /tmp/count"))
    command, check = tmp_path / "command", tmp_path / "check"
    command.write_text(COMMAND, encoding="utf-8")
    check.write_text(CHECK, encoding="utf-8")
    advisory = ("--advisory", "critical:CVE-2026-1:a guest may leave its blade")
    scripts = ("--command", str(command), "--check", str(check), "--no-reboot", "--deadline", "120")
    real.naos("build", "publish", "lab-2", *scripts, *advisory)
    said = real.naos("pool", "update", pool, "--build", "lab-2", "--yes")
    assert said.count("done") == 2
    assert {blade["build"] for blade in real.json("blade", "list", "--pool", pool)} == {"lab-2"}
    for blade, pids in _daemons(real).items():
        assert len(pids) == 1
        assert pids != daemons[blade], "another libvirtd runs there"
        (configuration,) = real.root.rglob(f"{blade}/etc/libvirt/qemu.conf")
        assert "keepalive_interval = 7" in configuration.read_text(encoding="utf-8")
    (pid,) = real.program_pids(real.machine(GUEST)["host"]["name"], "qemu-system-x86_64")
    shared = Path("/usr/bin/qemu-system-x86_64").resolve().stat()
    running = os.stat(f"/proc/{pid}/exe")  # noqa: PTH116 - a link of the kernel, which leads nowhere by name
    assert (running.st_dev, running.st_ino) != (shared.st_dev, shared.st_ino), "the guest runs in the second QEMU"
    assert int(real.ask(GUEST, "cat /tmp/count")) > before
    assert real.ask(GUEST, "cat /tmp/errors 2> /dev/null; echo end") == "end"
    assert real.ask(GUEST, "cat /proc/sys/kernel/random/boot_id") == boot, "the guest never stopped"
    until(lambda: real.json("doctor") == [], f"no findings: {real.attempt('doctor').stdout}")
