"""`naos inventory check` on a rack of its own: whole, then broken in every way that a lab can be."""

import json
import os
import subprocess
import sys

import pytest
from lab_rig import ARRAY, ONE, TWO, VAULT, WITNESS, Lab, wait_for

from naos.engines.hosts import netns
from naos.lab import build, faults
from naos.lab.plan import default_plan

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")]

PORT = 18472
NAOS = [sys.executable, "-c", "from naos.cli.main import main; main()"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Two blades, an array, a vault and a witness, which every test leaves whole."""
    made = Lab(tmp_path_factory.mktemp("check"))
    made.plan = default_plan(zones=1, blades=2, name=made.name, network="10.218.0.0/16")
    try:
        build.up(made.root, made.plan, port=PORT)
        yield made
    finally:
        build.down(made.root)
    made.assert_gone()


def checked(lab, *options):
    """The lab's own inventory, from this machine's own network."""
    argv = [*NAOS, "inventory", "check", str(lab.root / "inventory.toml"), *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def reports_of(done):
    assert done.stdout, done.stderr
    return {report["name"]: report for report in json.loads(done.stdout)}


def faults_of(reports):
    return {name: {fault["what"] for fault in report["faults"]} for name, report in reports.items() if report["faults"]}


def sentence(reports, name, what):
    return next(fault["sentence"] for fault in reports[name]["faults"] if fault["what"] == what)


def interfaces(lab):
    return {
        namespace: {name: (link["mtu"], link["flags"]) for name, link in netns.links(namespace).items()}
        for namespace in lab.plan.namespaces
    }


def assert_whole(lab):
    assert faults_of(reports_of(checked(lab, "--json"))) == {}


def test_a_whole_lab_has_no_fault(lab):
    before = interfaces(lab)
    done = checked(lab, "--json")
    reports = reports_of(done)
    assert faults_of(reports) == {}
    assert done.returncode == 0
    assert list(reports) == [ONE, TWO, ARRAY, VAULT, WITNESS]
    for name, report in reports.items():
        assert report["reached"]
        assert report["facts"]["hostname"] == name
        assert report["facts"]["kernel"] == os.uname().release
        assert report["facts"]["memory"] > 0
    blade = reports[ONE]["facts"]
    assert blade["uuid"] == lab.machine(ONE).id
    assert (blade["device"], blade["mtu"], blade["power"]) == ("eth0", 1600, "on")
    assert int(blade["libvirt"].split(".")[0]) >= 9
    assert "not tried" in reports[ONE]["remarks"][0]
    assert interfaces(lab) == before  # it only looked


def test_people_get_a_table(lab):
    done = checked(lab)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["HOST", "KIND", "ZONE", "STATE"]
    assert [line.split()[0] for line in lines[1:]] == [ONE, TWO, ARRAY, VAULT, WITNESS]
    assert f"Remark on {ONE}, {TWO}:" in done.stderr


def test_every_broken_part_is_named_host_by_host(lab):
    address = lab.machine(ARRAY).cable.address
    squatter = ["nsenter", f"--net={netns.path(lab.machine(ARRAY).namespace)}", "busybox", "nc", "-l"]
    with subprocess.Popen([*squatter, "-p", "10811"], stdin=subprocess.DEVNULL) as holder:
        try:
            wait_for(lambda: ":10811 " in lab.host(ARRAY).run(["ss", "-ltn"]).stdout, "somebody else's listener")
            faults.cut(lab.root, ONE)
            lab.host(TWO).run(["sh", "-c", "kill $(cat /run/libvirtd.pid)"])
            wait_for(lambda: lab.part(TWO).service == "down", "the end of libvirt")
            faults.kill(lab.root, WITNESS)
            done = checked(lab, "--json")
        finally:
            holder.kill()
            faults.join(lab.root, ONE)
            faults.start(lab.root, TWO)
            faults.start(lab.root, WITNESS)
    reports = reports_of(done)
    assert done.returncode == 1
    assert faults_of(reports) == {
        ONE: {"hypervisor", "network", "storage"},
        TWO: {"hypervisor"},
        ARRAY: {"ports"},
        WITNESS: {"contact"},
    }
    assert "eth0" in sentence(reports, ONE, "network")
    assert ARRAY in sentence(reports, ONE, "storage")
    assert lab.machine(ONE).cable.address in sentence(reports, ONE, "hypervisor")
    assert "refused" in sentence(reports, TWO, "hypervisor")
    assert f"10811 of {address}" in sentence(reports, ARRAY, "ports")
    assert f"busybox (process {holder.pid})" in sentence(reports, ARRAY, "ports")
    assert not reports[WITNESS]["reached"]
    assert reports[ONE]["facts"]["power"] == "on"
    assert_whole(lab)


@pytest.mark.soak
def test_an_array_without_its_cable_is_at_fault_and_its_blades_are_not(lab):
    faults.cut(lab.root, ARRAY)
    try:
        done = checked(lab)
    finally:
        faults.join(lab.root, ARRAY)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if not line.startswith("Remark")]
    assert all(line.startswith(f"{ARRAY} (array): ") for line in said), said
    assert any(f"No blade reaches {lab.machine(ARRAY).cable.address}" in line for line in said)
    assert_whole(lab)


def test_a_wrong_uri_in_a_file_that_is_to_be(lab, tmp_path):
    """A file elsewhere is checked from wherever the command runs: here, where the lab's controller would."""
    text = (lab.root / "inventory.toml").read_text()
    own, other = (f"qemu+tcp://{lab.machine(name).cable.address}:16509/system" for name in (ONE, TWO))
    assert own in text
    file = tmp_path / "new.toml"
    file.write_text(text.replace(own, other).replace("mtu = 1500", "mtu = 1590"))
    reports = reports_of(lab.inside(*NAOS, "inventory", "check", str(file), "--json"))
    assert faults_of(reports) == {ONE: {"hypervisor", "mtu"}, TWO: {"hypervisor", "mtu"}}
    assert f"is {TWO}, and commands run on {ONE}" in sentence(reports, ONE, "hypervisor")
    assert lab.machine(TWO).id in sentence(reports, TWO, "hypervisor")
    assert "1640" in sentence(reports, ONE, "mtu")
    assert "mtu = 1550" in sentence(reports, ONE, "mtu")
    file.write_text(text.replace(":16509/", ":16510/", 1))
    reports = reports_of(lab.inside(*NAOS, "inventory", "check", str(file), "--json"))
    assert faults_of(reports) == {ONE: {"hypervisor"}}
