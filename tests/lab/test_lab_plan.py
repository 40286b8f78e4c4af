"""Names, addresses and refusals of a lab, without a lab."""

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest

from naos.inventory.catalogues import load_blades
from naos.inventory.model import load
from naos.lab import errors, preflight, record
from naos.lab.inventory import inventory_text
from naos.lab.plan import MTU, default_plan, overlaps
from naos.lab.preflight import MachineFacts, refusals
from naos.units import GIB

ROOT = Path("/srv/naos")
LAB_ID = "5a3d6c1e-0f9e-4a9b-9d51-0c6d5d1f3b7e"
FIT = MachineFacts(
    system="Linux",
    user=0,
    memory=8 * GIB,
    disk=50 * GIB,
    tunnel_device=True,
    missing=(),
    port_owner=None,
    networks=("192.0.2.2/24", "127.0.0.1/8"),
    namespaces=("somebody",),
)


def test_the_default_lab():
    plan = default_plan()
    assert plan.region == "FR1"
    assert [(host.name, str(host.address)) for host in plan.hosts] == [
        ("az05-array", "10.213.1.2"),
        ("az05-blade1", "10.213.1.11"),
        ("az05-blade2", "10.213.1.12"),
        ("az06-array", "10.213.2.2"),
        ("az06-blade1", "10.213.2.11"),
        ("az06-blade2", "10.213.2.12"),
        ("az07-vault", "10.213.3.3"),
        ("az07-witness", "10.213.3.4"),
    ]
    assert str(plan.controller_address) == "10.213.0.1"
    assert MTU >= 1600


@pytest.mark.parametrize(("zones", "blades"), [(1, 1), (2, 2), (20, 32)])
def test_nothing_is_there_twice_and_every_name_fits(zones, blades):
    plan = default_plan(zones=zones, blades=blades, name="abcdefghijklmnop")
    cables = [plan.cable(host) for host in plan.hosts] + [plan.controller_cable()]
    for values in (
        plan.namespaces,
        [cable.port for cable in cables],
        [cable.address for cable in cables],
        [cable.mac for cable in cables],
        [plan.machine(host, LAB_ID).id for host in plan.hosts],
    ):
        assert len(set(values)) == len(values)
    interfaces = [cable.port for cable in cables] + [name for zone in plan.zones for name in (*zone.link, zone.bridge)]
    assert len(set(interfaces)) == len(interfaces)
    assert max(map(len, interfaces)) <= 15
    assert all(ipaddress.ip_address(cable.address) in plan.network for cable in cables)
    assert sum(host.kind == "blade" for host in plan.hosts) == zones * blades


@pytest.mark.parametrize(
    "wrong",
    [
        {"zones": 0},
        {"zones": 21},
        {"blades": 0},
        {"blades": 33},
        {"name": ""},
        {"name": "../x"},
        {"name": "-rf"},
        {"name": "a" * 17},
        {"network": "10.213.0.0/24"},
        {"network": "10.213.0.1/16"},
        {"network": "8.8.0.0/16"},
        {"network": "fd00::/16"},
        {"network": "everything"},
    ],
)
def test_plans_that_are_refused(wrong):
    with pytest.raises(errors.BadPlan, match="it can have"):
        default_plan(**wrong)


@pytest.mark.parametrize(
    ("present", "found"),
    [
        ([], []),
        (["192.0.2.2/24", "127.0.0.0/8", "default", "ff00::/8", "0.0.0.0/0"], []),
        (["10.213.7.1/24"], ["10.213.7.1/24"]),
        (["10.213.0.1"], ["10.213.0.1"]),
        (["10.0.0.0/8", "10.214.0.0/16"], ["10.0.0.0/8"]),
    ],
)
def test_overlaps(present, found):
    assert overlaps(default_plan().network, present) == found


@pytest.mark.parametrize(("zones", "blades"), [(1, 1), (2, 2), (3, 5)])
def test_the_inventory_is_one_that_a_controller_reads(tmp_path, zones, blades):
    plan = default_plan(zones=zones, blades=blades)
    root = Path('/srv/na"os \\ ü🦆')
    file = tmp_path / "inventory.toml"
    file.write_text(inventory_text(plan, root), encoding="utf-8")
    inventory = load(file)
    assert [zone.name for zone in inventory.zones] == [zone.name for zone in plan.zones]
    assert len(inventory.blades) == zones * blades
    assert (len(inventory.arrays), len(inventory.vaults), len(inventory.witnesses)) == (zones, 1, 1)
    blade, array = inventory.blades[0], inventory.arrays[0]
    assert load_blades().models[blade.model].lab
    assert blade.hypervisor == "qemu+tcp://10.213.1.11:16509/system"
    assert (blade.access.driver, blade.access.target) == ("namespace", f"{root}/hosts/az05-blade1")
    assert (blade.chassis.driver, blade.chassis.address) == ("lab", f"{root}/hosts/az05-blade1")
    assert (blade.fabric.driver, str(blade.fabric.address)) == ("vxlan", "10.213.1.11")
    assert blade.fabric.mtu + 50 <= MTU
    assert (array.backing, array.path, str(array.address)) == ("file", f"{root}/hosts/az05-array/luns", "10.213.1.2")


@pytest.mark.parametrize(
    ("change", "root", "refusal", "words"),
    [
        ({"system": "Darwin"}, ROOT, errors.NotLinux, "Darwin"),
        ({"user": 1000}, ROOT, errors.NotRoot, "sudo"),
        ({"memory": 4 * GIB - 1}, ROOT, errors.LittleMemory, "4.0 GiB of memory.*needs 4"),
        ({"disk": 5 * GIB}, ROOT, errors.LittleDisk, "/srv/naos has 5.0 GiB free.*needs 6"),
        ({"port_owner": "nginx (process 812)"}, ROOT, errors.PortTaken, r"8470.*nginx \(process 812\)"),
        ({"tunnel_device": False}, ROOT, errors.NoTunnelDevice, "modprobe tun"),
        (
            {"missing": ("nft", "ip")},
            ROOT,
            errors.ProgramsMissing,
            "nft, ip. Install: apt-get install iproute2 nftables",
        ),
        ({"networks": ("10.213.4.4/24",)}, ROOT, errors.RangeTaken, "10.213.4.4/24.*--range"),
        (
            {"namespaces": ("naos-lab-fabric",)},
            ROOT,
            errors.NamespacesTaken,
            "naos-lab-fabric exist already.*--name",
        ),
        ({}, Path("/var/log/naos"), errors.RootHidden, "/var/log.*NAOS_ROOT"),
        ({}, Path("/run/naos"), errors.RootHidden, "/run.*NAOS_ROOT"),
        ({}, Path("/" + 50 * "a"), errors.RootHidden, "7 bytes too long.*NAOS_ROOT"),
    ],
)
def test_machines_that_are_refused(change, root, refusal, words):
    found = refusals(replace(FIT, **change), default_plan(), root, 8470)
    assert [type(error) for error in found] == [refusal]
    with pytest.raises(refusal, match=words):
        raise found[0]


def test_a_fit_machine_and_one_with_several_faults():
    assert refusals(FIT, default_plan(), ROOT, 8470) == []
    found = refusals(replace(FIT, memory=0, disk=0, user=7), default_plan(), ROOT, 8470)
    assert [type(error) for error in found] == [errors.NotRoot, errors.LittleMemory, errors.LittleDisk]


def test_several_faults_are_told_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "gather", lambda _root, _port: replace(FIT, memory=0, disk=0))
    with pytest.raises(errors.Unfit, match=r"- 0\.0 GiB of memory(.|\n)*- .* free"):
        preflight.require_fit(default_plan(), tmp_path, 8470)


def test_a_record_comes_back_as_it_was_written(tmp_path):
    kept = record.begin(tmp_path, default_plan(zones=3, blades=1), 8470, [tmp_path])
    record.write(tmp_path, kept)
    assert record.read(tmp_path) == kept
    assert "controller" in kept.made
    assert record.read(tmp_path / "nowhere") is None


def test_what_was_there_before_is_not_the_labs(tmp_path):
    (tmp_path / "controller").mkdir()
    assert "controller" not in record.begin(tmp_path, default_plan(), 8470, []).made
    (tmp_path / "hosts").mkdir()
    with pytest.raises(errors.RootTaken, match=f"{tmp_path}/hosts"):
        record.begin(tmp_path, default_plan(), 8470, [])


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99}', "\x00"])
def test_a_record_that_cannot_be_read_is_said_so(tmp_path, text):
    (tmp_path / "lab.json").write_text(text)
    with pytest.raises(errors.BadRecord, match=f"{tmp_path}/lab.json"):
        record.read(tmp_path)
