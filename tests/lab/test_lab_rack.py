"""A rack on this machine: made, broken and repaired."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lab_rig import (
    ARRAY,
    ONE,
    PORT,
    RANGE,
    TWO,
    VAULT,
    WITNESS,
    identified,
    mounted_volume,
    said,
    standing_lab,
    trace,
    wait_for,
)

from naos.engines.chassis import lab as power
from naos.engines.errors import Missing, Unreachable
from naos.engines.hosts import host_for, loops, netns, processes
from naos.engines.hosts.namespace import NamespaceHost
from naos.engines.ports import BladePower, VlanSpec
from naos.inventory.model import load
from naos.lab import build, errors, faults, record
from naos.lab.plan import default_plan

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """One lab for all tests, which leave it whole."""
    with standing_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


# --------------------------------------------------------------------------------------------------------------- whole


def _cables(lab):
    """What makes a link the same one: neither its state nor its IPv6 addresses, which settle in the seconds after."""
    return {
        name: {
            (
                *(link["ifindex"], link["ifname"], link["mtu"], link.get("master")),
                *(address["local"] for address in link["addr_info"] if address["family"] == "inet"),
            )
            for link in netns.links(name).values()
        }
        for name in lab.plan.namespaces
    }


def test_a_second_up_changes_nothing(lab):
    before = lab.holders(), _cables(lab)
    assert None not in before[0].values()
    kept = record.read(lab.root)
    assert lab.up() == kept
    assert (lab.holders(), _cables(lab)) == before
    assert lab.healthy()


def test_another_plan_is_refused(lab):
    with pytest.raises(errors.OtherLab, match="naos lab down"):
        build.up(lab.root, default_plan(zones=2, name=lab.name, network=RANGE), port=PORT)
    assert build.up(lab.root, None).plan == lab.plan


def test_hosts_reach_each_other_with_whole_tunnel_packets(lab):
    for source, target in ((ONE, TWO), (ONE, ARRAY), (ONE, WITNESS), (VAULT, ARRAY)):
        assert lab.pings(source, target, size=1572)  # 1600 with its headers
    sizes = {
        link["mtu"]
        for host in lab.plan.hosts
        for name, link in netns.links(lab.plan.namespace(host)).items()
        if name == "eth0"
    }
    assert min(sizes) >= 1600
    assert min(link["mtu"] for name, link in netns.links(lab.plan.fabric).items() if name != "lo") >= 1600
    assert lab.inside("busybox", "ping", "-c", "1", "-W", "1", lab.machine(WITNESS).cable.address).returncode == 0


def test_libvirt_answers_the_controllers_network(lab):
    for name in (ONE, TWO):
        uri = f"qemu+tcp://{lab.machine(name).cable.address}/system"
        shown = lab.inside("virsh", "-c", uri, "hostname")
        assert shown.stdout.strip() == name, shown.stderr
        assert lab.machine(name).id in lab.inside("virsh", "-c", uri, "capabilities").stdout
        assert lab.inside("virsh", "-c", uri, "net-list", "--all", "--name").stdout.strip() == ""


def test_the_machines_own_network_is_as_it_was(lab):
    now = trace(lab.name)
    assert sorted(now["namespaces"]) == sorted(lab.plan.namespaces)
    for key in ("links", "routes", "filters", "forwarding"):
        assert now[key] == lab.before[key]


def test_hosts_have_names_and_folders_of_their_own(lab):
    for name in (ONE, VAULT):
        assert lab.host(name).run(["hostname"]).stdout.strip() == name
    lab.host(ONE).run(
        ["sh", "-c", "mkdir -p /run/naos /var/cache/naos && echo one > /run/naos/x && echo one > /var/cache/naos/x"]
    )
    for path in ("/run/naos/x", "/var/cache/naos/x"):
        assert lab.host(TWO).run(["cat", path], check=False).code == 1
    assert not Path("/run/naos/x").exists()
    assert os.uname().nodename != ONE


def test_the_inventory_leads_to_every_host(lab):
    inventory = load(lab.root / "inventory.toml")
    for item in (*inventory.blades, *inventory.arrays, *inventory.vaults, *inventory.witnesses):
        assert host_for(item.name, item.access).run(["hostname"]).stdout.strip() == item.name
    with pytest.raises(Missing, match="naos lab up"):
        NamespaceHost("x", lab.root / "hosts/nowhere").run(["true"])


def test_a_rack_is_connected_by_the_inventory(lab):
    rack_module = pytest.importorskip("naos.engines.rack")
    rack = rack_module.ConnectedRack(load(lab.root / "inventory.toml"), "tcg")
    assert rack.chassis(ONE).power() is BladePower.ON
    assert rack.blade_host(ONE) is rack.blade_host(ONE)
    assert rack.fabric(ONE).ensure_vlan(VlanSpec(77)) == "nv77"
    assert "nv77" in netns.links(f"naos-{lab.name}-{ONE}")
    rack.fabric(ONE).remove_vlan(77)
    assert rack.array(ARRAY).luns() == []
    assert rack.hypervisor(ONE).name == ONE
    with pytest.raises(Missing, match=f"it has {ONE}, {TWO}"):
        rack.hypervisor("blade9")
    rack.close()


MACHINE = """<domain type='qemu'><name>m</name><memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os></domain>"""


def test_machines_belong_to_their_blade_and_go_with_its_power(lab, tmp_path):
    (tmp_path / "m.xml").write_text(MACHINE)
    uri = f"qemu+tcp://{lab.machine(ONE).cable.address}/system"
    made = lab.inside("virsh", "-c", uri, "create", str(tmp_path / "m.xml"))
    assert made.returncode == 0, made.stderr
    pid = int(lab.host(ONE).run(["sh", "-c", "cat /run/libvirt/qemu/m.pid"]).stdout)
    machine = processes.identify(pid)
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent == lab.holder(ONE).pid  # who collects it at once when it ends
    chassis = power.LabChassis(ONE, lab.folder(ONE))
    chassis.off()
    assert not processes.alive(machine)
    assert chassis.power() is BladePower.OFF
    assert (lab.part(ONE).state, lab.part(ONE).healthy) == ("off", False)
    assert netns.inode(f"naos-{lab.name}-{ONE}") is None
    assert not lab.pings(TWO, ONE)
    with pytest.raises(Unreachable, match="off"):
        lab.host(ONE).run(["true"])
    chassis.off()
    chassis.on()
    chassis.on()
    power.wait_ready(lab.folder(ONE), lab.machine(ONE))
    assert chassis.power() is BladePower.ON
    assert lab.pings(TWO, ONE)
    assert lab.inside("virsh", "-c", uri, "list", "--name").stdout.strip() == ""


def test_a_reset_is_a_new_start(lab):
    chassis = power.LabChassis(WITNESS, lab.folder(WITNESS))
    before = lab.holder(WITNESS)
    lab.host(WITNESS).run(["touch", "/run/of-this-start"])
    chassis.reset()
    assert lab.holder(WITNESS) not in {None, before}
    assert not processes.alive(before)
    assert lab.host(WITNESS).run(["ls", "/run"]).stdout.split() == ["lock", "naos-boot-id"]


# -------------------------------------------------------------------------------------------------------------- faults


def test_a_cut_cable_stays_cut_until_it_is_joined(lab):
    faults.cut(lab.root, VAULT)
    faults.cut(lab.root, VAULT)
    assert (lab.part(VAULT).state, lab.part(VAULT).cable) == ("on", "cut")
    assert not lab.pings(WITNESS, VAULT)
    assert lab.host(VAULT).run(["echo", "alive"]).stdout == "alive\n"
    faults.kill(lab.root, VAULT)
    faults.start(lab.root, VAULT)
    assert lab.part(VAULT).cable == "cut"
    faults.join(lab.root, VAULT)
    assert lab.pings(WITNESS, VAULT)


def test_a_cut_zone_works_inside_and_reaches_no_other(lab):
    faults.cut(lab.root, "AZ05")
    assert lab.part("AZ05").state == "cut"
    assert lab.pings(ONE, ARRAY)
    assert not lab.pings(ONE, WITNESS)
    lab.up()
    assert lab.pings(ONE, WITNESS)


def test_stop_asks_and_kill_does_not(lab):
    listener = "import signal, sys; signal.signal(15, lambda *_: (open(sys.argv[1], 'w').close(), sys.exit())); print(flush=True); signal.pause()"
    for order, asked in ((faults.stop, True), (faults.kill, False)):
        file = lab.root / "hosts" / "asked"
        enter = ["nsenter", f"--net=/run/netns/naos-{lab.name}-{VAULT}"]
        with subprocess.Popen([*enter, sys.executable, "-c", listener, str(file)], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            order(lab.root, VAULT)
            process.wait(10)
        assert file.exists() == asked
        file.unlink(missing_ok=True)
        assert lab.part(VAULT).state == "off"
        faults.start(lab.root, VAULT)
        assert lab.part(VAULT).healthy


def test_parts_that_are_not_there(lab):
    with pytest.raises(errors.UnknownPart, match=f"no blade9; it has .*{ONE}.*AZ05.*controller"):
        faults.kill(lab.root, "blade9")
    with pytest.raises(errors.NotForLinks, match="cut and joined"):
        faults.kill(lab.root, "AZ05")


def test_an_array_without_power_lets_go_of_its_volumes(lab):
    mounted_volume(lab)
    assert loops.loop_devices(lab.folder(ARRAY)) != []
    faults.kill(lab.root, ARRAY)
    wait_for(lambda: not loops.loop_devices(lab.folder(ARRAY)), "the loop device is free")
    faults.start(lab.root, ARRAY)
    assert (lab.folder(ARRAY) / "luns/x/volume").exists()


# -------------------------------------------------------------------------------------------------------------- repair


def test_up_starts_a_dead_libvirt_and_leaves_the_blade_on(lab):
    pid = int(lab.host(ONE).run(["cat", "/run/libvirtd.pid"]).stdout)
    before = lab.holder(ONE)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: lab.part(ONE).service == "down", "libvirt is dead")
    lab.up()
    assert lab.part(ONE).service == "listens"
    assert lab.holder(ONE) == before
    uri = f"qemu+tcp://{lab.machine(ONE).cable.address}/system"
    assert lab.inside("virsh", "-c", uri, "hostname").stdout.strip() == ONE


def test_up_makes_missing_cables_and_bridges_again(lab):
    for name in (lab.machine(TWO).cable.port, "link1", "controller", "zone2"):
        said("ip", "-n", lab.plan.fabric, "link", "delete", "dev", name)
    assert lab.part(TWO).cable == "missing"
    lab.up()
    assert lab.healthy()
    assert lab.pings(TWO, WITNESS)
    assert lab.inside("busybox", "ping", "-c", "1", "-W", "1", lab.machine(TWO).cable.address).returncode == 0


def test_up_after_everything_was_killed(lab):
    for process in identified(lab.members()):
        processes.signal_process(process, signal.SIGKILL)
    wait_for(lambda: not any(lab.holders().values()), "every host is off")
    lab.up()
    assert lab.healthy()
    assert lab.pings(ONE, WITNESS)


def test_up_after_a_namespace_lost_its_name(lab):
    """Its processes live on where no name leads; they end all the same."""
    before = identified(processes.members({netns.inode(f"naos-{lab.name}-{TWO}")}))
    assert len(before) >= 2
    said("ip", "netns", "delete", f"naos-{lab.name}-{TWO}")
    assert lab.part(TWO).state == "off"
    lab.up()
    assert [process for process in before if processes.alive(process)] == []
    assert lab.pings(ONE, TWO)
