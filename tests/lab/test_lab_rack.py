"""A rack on this machine: made, repaired, broken and removed without a trace."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from naos.engines.chassis import lab as power
from naos.engines.errors import Missing, Unreachable
from naos.engines.hosts import host_for, loops, netns, processes
from naos.engines.hosts.namespace import NamespaceHost, holder
from naos.engines.ports import BladePower, VlanSpec
from naos.inventory.model import load
from naos.lab import build, controller, errors, faults, record, status
from naos.lab.plan import default_plan

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root"),
]
RANGE = "10.214.0.0/16"
PORT = 18470
ARRAY, ONE, TWO, VAULT, WITNESS = "az05-array", "az05-blade1", "az05-blade2", "az06-vault", "az06-witness"


def wait_for(condition, what, seconds=20.0):
    """What the condition returns once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def said(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def trace(name):
    """What of this machine a lab of that name could have changed."""
    own = [
        {key: link.get(key) for key in ("ifname", "mtu", "master", "addr_info")}
        for link in json.loads(said("ip", "-j", "address"))
    ]
    for link in own:
        for address in link["addr_info"]:
            for key in ("valid_life_time", "preferred_life_time"):
                address.pop(key, None)
    return {
        "links": own,
        "routes": said("ip", "route", "show", "table", "all"),
        "filters": said("nft", "list", "ruleset"),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "namespaces": [found for found in netns.names() if found.startswith(f"naos-{name}-")],
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"naos-{name}-" in line],
    }


class Lab:
    """A small lab of its own name in a root that is not there yet."""

    def __init__(self, folder):
        self.root = folder / "r"
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.plan = default_plan(zones=1, blades=2, name=self.name, network=RANGE)
        self.before = trace(self.name)

    def up(self):
        return build.up(self.root, self.plan, port=PORT)

    def folder(self, name):
        return self.root / "hosts" / name

    def host(self, name):
        return NamespaceHost(name, self.folder(name))

    def machine(self, name):
        return next(
            found for host, _, found in build.machines(self.root, record.require(self.root)) if host.name == name
        )

    def holder(self, name):
        return holder(self.folder(name), self.machine(name))

    def holders(self):
        return {host.name: self.holder(host.name) for host in self.plan.hosts}

    def pings(self, source, target, size=56):
        address = self.machine(target).cable.address
        argv = ["busybox", "ping", "-c", "1", "-W", "1", "-s", str(size), address]
        return self.host(source).run(argv, check=False).code == 0

    def part(self, name):
        return next(part for part in status.parts(self.root) if part.name == name)

    def healthy(self):
        return all(part.healthy for part in status.parts(self.root) if part.name != "controller")

    def members(self):
        inodes = {netns.inode(name) for name in self.plan.namespaces} - {None}
        return processes.members(inodes)

    def inside(self, *argv):
        """Run a command where the controller runs."""
        enter = ["nsenter", f"--net=/run/netns/{self.plan.controller}"]
        return subprocess.run([*enter, *argv], capture_output=True, text=True, timeout=60, check=False)

    def assert_gone(self, watched=()):
        assert not self.root.exists()
        assert trace(self.name) == self.before
        assert loops.loop_devices(self.root) == []
        assert [process for process in watched if processes.alive(process)] == []
        mark = str(self.root).encode()
        left = [pid for pid in processes.every_pid() if pid != os.getpid() and mark in _read(f"/proc/{pid}/mountinfo")]
        assert left == []


def _read(path):
    with contextlib.suppress(OSError):
        return Path(path).read_bytes()
    return b""


def identified(pids):
    return [process for pid in pids if (process := processes.identify(pid))]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """One lab for all tests that leave it whole; at its end it has left nothing behind."""
    made = Lab(tmp_path_factory.mktemp("lab"))
    try:
        made.up()
        yield made
        watched = identified(made.members())
        assert len(watched) >= 5 + 2  # holders and libvirts
    finally:
        build.down(made.root)
    made.assert_gone(watched)
    assert not build.down(made.root)


@pytest.fixture
def other(tmp_path_factory):
    """A lab that is made in the test; what is left of it at the end goes."""
    made = Lab(tmp_path_factory.mktemp("o"))  # short: sockets lie in it
    yield made
    build.down(made.root)


# --------------------------------------------------------------------------------------------------------------- whole


def test_a_second_up_changes_nothing(lab):
    before = lab.holders(), {name: netns.links(name) for name in lab.plan.namespaces}
    assert None not in before[0].values()
    kept = record.read(lab.root)
    assert lab.up() == kept
    assert (lab.holders(), {name: netns.links(name) for name in lab.plan.namespaces}) == before
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
    assert lab.host(WITNESS).run(["ls", "/run"]).stdout.split() == ["lock"]


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


def mounted_volume(lab):
    host, folder = lab.host(ARRAY), lab.folder(ARRAY) / "luns" / "x"
    host.run(["mkdir", "-p", f"{folder}/files"])
    host.run(["truncate", "-s", "400M", f"{folder}/volume"])
    host.run(["mkfs.xfs", "-q", f"{folder}/volume"])
    host.run(["mount", "-o", "loop", f"{folder}/volume", f"{folder}/files"])
    assert not os.path.ismount(f"{folder}/files")


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


# ---------------------------------------------------------------------------------------------------------- controller

SERVER = """
import http.server, os, socket, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        try:
            with socket.create_connection((self.path[1:], 16509), 2):
                self.wfile.write(b'reached %d' % os.getpid())
        except OSError as error:
            self.wfile.write(str(error).encode())
    def log_message(self, *_words):
        pass
server = http.server.HTTPServer(('127.0.0.1', 0), Answer, bind_and_activate=False)
server.socket = socket.socket(fileno=int(sys.argv[2]))
print('begins with', os.environ['NAOS_INVENTORY'], flush=True)
server.serve_forever()
"""


def asked(path):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_a_controller_is_reached_from_outside_and_reaches_the_lab(lab):
    """With a small server in the controller's place: what counts here is where it runs and who holds its socket."""
    command = (sys.executable, "-c", SERVER)
    process = controller.start(lab.root, command=command)
    try:
        assert controller.start(lab.root, command=command) == process
        assert lab.part("controller").state == "on"
        address = lab.machine(ONE).cable.address
        assert asked(f"/{address}") == f"reached {process.pid}"
        faults.cut(lab.root, "controller")
        assert "reached" not in asked(f"/{address}")
        lab.up()
        assert asked(f"/{address}") == f"reached {process.pid}"
        assert str(lab.root / "inventory.toml") in (lab.root / "controller.log").read_text()
        faults.kill(lab.root, "controller")
        assert not processes.alive(process)
        again = controller.start(lab.root, command=command)
        assert again != process
    finally:
        assert controller.stop(lab.root)
    assert not processes.alive(again)
    assert not controller.stop(lab.root)
    assert lab.part("controller").state == "off"


def test_a_controller_that_does_not_start_says_why(lab):
    with pytest.raises(errors.ControllerFailed, match="no inventory today"):
        controller.start(lab.root, command=(sys.executable, "-c", "raise SystemExit('no inventory today')"))
    assert not controller.stop(lab.root)


def test_a_taken_port_is_named(lab):
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", "-b", "127.0.0.1", str(PORT)], stderr=subprocess.DEVNULL
    ) as taker:
        try:
            wait_for(asks_without_refusal, "the port is taken")
            with pytest.raises(errors.PortTaken, match=rf"{PORT}.*process {taker.pid}\)"):
                controller.start(lab.root)
            with pytest.raises(errors.PortTaken, match=rf"process {taker.pid}\)"):
                build.up(lab.root.parent / "second", default_plan(name="second", network="10.216.0.0/16"), port=PORT)
        finally:
            taker.kill()
    assert not (lab.root.parent / "second").exists()


def asks_without_refusal():
    with contextlib.suppress(OSError):
        return bool(asked("/"))
    return False


# --------------------------------------------------------------------------------------------------------------- gone

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
