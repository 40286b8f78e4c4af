"""A lab goes without a trace, however far its making had come, and takes nothing else with it."""

import json
import os
import subprocess
import sys

import pytest
from lab_rig import ONE, PORT, RANGE, WITNESS, Lab, identified, mounted_volume, said

from naos.engines.chassis import lab as power
from naos.engines.hosts import netns, processes
from naos.lab import build, errors, record, status

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")]


@pytest.fixture
def other(tmp_path_factory):
    """A lab that is made in the test; what is left of it at the end goes."""
    made = Lab(tmp_path_factory.mktemp("o"))  # short: sockets lie in it
    yield made
    build.down(made.root)


CRASH = """
import os, subprocess, sys
from pathlib import Path
from naos.lab import build
from naos.lab.plan import default_plan
root, name, left = Path(sys.argv[1]), sys.argv[2], [int(sys.argv[3])]
def counted(original):
    def call(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), 9)
        return original(*arguments, **options)
    return call
subprocess.Popen.__init__ = counted(subprocess.Popen.__init__)
Path.replace = counted(Path.replace)
build.{call}
"""
UP = CRASH.replace("{call}", f"up(root, default_plan(zones=1, blades=2, name=name, network='{RANGE}'), port={PORT})")
DOWN = CRASH.replace("{call}", "down(root)")


def crashing(script, lab, after):
    """Run it in a process that is killed just before its `after`-th command or file. False when it got to its end."""
    argv = [sys.executable, "-c", script, str(lab.root), lab.name, str(after)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in {0, -9}, done.stderr
    return done.returncode == -9


@pytest.mark.parametrize("after", [0, 1, 2, 4, 7, 11, 16, 24, 34, 45])
def test_down_after_an_up_that_was_killed(other, after):
    assert crashing(UP, other, after)
    watched = identified(other.members())
    build.down(other.root)
    if other.root.exists():  # killed before there was a record: an empty folder
        other.root.rmdir()
    other.assert_gone(watched)


def test_up_after_ups_that_were_killed(other):
    for after in (3, 9, 18, 27, 40):
        crashing(UP, other, after)
    other.up()
    assert other.healthy()
    assert other.pings(ONE, WITNESS)
    mounted_volume(other)
    watched = identified(other.members())
    for after in (1, 3, 6, 10):
        assert crashing(DOWN, other, after)
    build.down(other.root)
    other.assert_gone(watched)


def test_after_a_restart_of_the_machine(other):
    """Processes and namespaces are gone, the files are there, and the pids in them are other programs'."""
    kept = other.up()
    for host, folder, machine in build.machines(other.root, kept):
        power.power_off(folder, machine)
        innocent = processes.identify(os.getpid())
        text = json.dumps({"pid": innocent.pid, "start": innocent.start, "boot": processes.boot_id()})
        (folder / "holder.json").write_text(text)
        assert other.part(host.name).state == "off"
    record.write(other.root, record.with_controller(kept, processes.Process(os.getpid(), 1)))
    for name in (other.plan.controller, other.plan.fabric):
        netns.delete(name)
        netns.path(name).touch()
    other.up()
    assert other.healthy()
    build.down(other.root)
    other.assert_gone()


def test_what_is_not_the_labs_stays(other):
    (other.root / "controller").mkdir(parents=True)
    (other.root / "controller" / "naos.db").write_text("dear")
    said("ip", "netns", "add", f"naos-{other.name}x-fabric")
    try:
        other.up()
        build.down(other.root)
        assert (other.root / "controller" / "naos.db").read_text() == "dear"
        assert [file.name for file in other.root.iterdir()] == ["controller"]
        assert netns.inode(f"naos-{other.name}x-fabric") is not None
    finally:
        said("ip", "netns", "delete", f"naos-{other.name}x-fabric")


def test_a_name_that_somebody_uses_is_refused_before_anything_is_made(other):
    said("ip", "netns", "add", other.plan.controller)
    try:
        with pytest.raises(errors.NamespacesTaken, match=other.plan.controller):
            other.up()
        assert not other.root.exists()
        assert not build.down(other.root)
    finally:
        said("ip", "netns", "delete", other.plan.controller)
    with pytest.raises(errors.NoLab, match="naos lab up"):
        status.parts(other.root)
