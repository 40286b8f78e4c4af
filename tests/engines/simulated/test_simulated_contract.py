"""The simulated rack keeps to what real drivers do: one contract a port, and the same on a lab."""

import os
import shutil
import struct
import tempfile
from pathlib import Path

import contracts
import pytest
from contracts import ARRAY, CHASSIS, FABRIC, HOST, HYPERVISOR, MIB, Bench, hold_array, named

from naos.engines.hosts.namespace import holder
from naos.engines.rack import ConnectedRack
from naos.engines.simulated import SimulatedRack
from naos.inventory.model import load
from naos.lab import build, record
from naos.lab.inventory import inventory_text
from naos.lab.plan import default_plan

NAMES = {"array_name": "az05-array", "one": "az05-blade1", "two": "az05-blade2"}


def plan(name="s1", network="10.219.0.0/16"):
    return default_plan(zones=1, blades=2, name=name, network=network)


@pytest.fixture
def bench(tmp_path):
    """A simulated rack; the image has a real head, which is all that a simulated array reads."""
    file = tmp_path / "inventory.toml"
    file.write_text(inventory_text(plan(), tmp_path))
    image = tmp_path / "image.qcow2"
    image.write_bytes(struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 32 * MIB) + bytes(200_000))
    rack = SimulatedRack(tmp_path / "world", load(file))
    yield Bench(rack, **NAMES, image=image, folder="/srv")
    rack.close()


@pytest.mark.parametrize("rule", named([*ARRAY, *HYPERVISOR, *FABRIC, *CHASSIS, *HOST]))
def test_simulated(bench, rule):
    rule(bench)


# ------------------------------------------------------------------------------------------------------------------ lab


@pytest.fixture(scope="module")
def lab():
    if os.geteuid() != 0 or shutil.which("qemu-storage-daemon") is None:
        pytest.skip("a lab needs root and QEMU")
    with tempfile.TemporaryDirectory(prefix="c", dir="/var/tmp") as folder:  # sockets refuse pytest's long paths
        root = Path(folder, "r")
        try:
            build.up(root, plan(f"c{os.getpid()}", "10.220.0.0/16"), port=18473)
            yield root
        finally:
            build.down(root)


@pytest.fixture
def real_bench(lab, tmp_path):
    """The lab's real drivers; libvirt is reached by its socket, as the lab's network is not this process's."""
    build.up(lab, None)  # a rule that failed may have left a blade without power
    inventory = load(lab / "inventory.toml")
    machines = {host.name: (folder, machine) for host, folder, machine in build.machines(lab, record.require(lab))}
    blades = []
    for blade in inventory.blades:
        pid = holder(*machines[blade.name]).pid
        uri = f"qemu+unix:///system?socket=/proc/{pid}/root/run/libvirt/libvirt-sock"
        blades.append(blade.model_copy(update={"hypervisor": uri}))
    image = tmp_path / "image.qcow2"
    contracts.an_image(image)
    rack = ConnectedRack(inventory.model_copy(update={"blades": blades}), "tcg")
    folder = lab / "scratch"
    yield Bench(rack, **NAMES, image=image, folder=str(folder))
    rack.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.lab
@pytest.mark.parametrize("rule", named([*ARRAY, *HYPERVISOR, *FABRIC, *HOST, *CHASSIS]))
def test_on_a_lab(real_bench, rule):
    rule(real_bench)


def test_an_array_without_a_rack_is_held_to_all_of_it_at_once(bench):
    hold_array(bench.array, bench.image, bench.ports)
    assert bench.array.luns() == []
