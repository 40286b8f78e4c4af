"""The rules of `naos inventory check`, on FAKE hosts: each answers commands from a table, and nothing is run.

Real hosts are looked at in tests/lab/test_inventory_check_lab.py.
"""

import json
import re
import threading
import time

import pytest

from naos.engines.check import check_inventory
from naos.engines.check.compute import HypervisorAnswer
from naos.engines.check.inspection import Doors
from naos.engines.check.storage import listeners
from naos.engines.errors import EngineError, Missing, Unreachable
from naos.engines.ports import BladePower, Completed
from naos.inventory.catalogues import load_blades
from naos.inventory.model import Inventory
from naos.units import GIB

BOOT, QEMU = "11111111-2222-3333-4444-555555555555", "QEMU emulator version 7.2.22"
MODEL = "ECO v3"
TOTAL = load_blades().models[MODEL].physical_memory * 97 // 100  # what a kernel shows of it
KVM_STORED = json.dumps({"answer": "kvm", "boot": BOOT, "qemu": QEMU})


def interface(name, address, *, mtu=9000, flags=("UP", "LOWER_UP")):
    return {"ifname": name, "mtu": mtu, "flags": list(flags), "addr_info": [{"local": address}]}


def good_answers(name, address):
    """What a healthy host of any kind says; the first matching beginning of a command counts."""
    return {
        "uname": f"Linux {name} 6.1.0-18-amd64\n",
        "id": "0\n",
        "sh": "",
        "cat /proc/meminfo": f"MemTotal: {TOTAL // 1024} kB\nMemAvailable: 32768000 kB\n",
        "cat /proc/filesystems": "nodev\tproc\n\txfs\n",
        "cat /proc/sys/kernel/random/boot_id": f"{BOOT}\n",
        "cat /var/cache/naos/acceleration.json": KVM_STORED,
        "stat": "1000000 4096\n",
        "test": "",
        "qemu-system-x86_64": f"{QEMU}\n",
        "qemu-storage-daemon": "qemu-storage-daemon version 7.2.22\n",
        "ip": json.dumps([interface("lo", "127.0.0.1"), interface("eth0", address)]),
        "unshare": "",
        "openssl": f"subject=CN={name}\nCertificate will not expire\n",
        "cat /etc/libvirt/qemu.conf": 'nbd_tls_x509_cert_dir = "/etc/naos/nbd"\n',
        "env": (1, "/dev/tcp/10.9.1.2/10809: Connection refused"),
        "ss": 'LISTEN 0 128 10.9.1.2:10809 0.0.0.0:* users:(("qemu-storage-da",pid=7,fd=5))\n',
        "timeout": "",
        "python3": "dm-crypt",
    }


class FakeHost:
    """`answers`: beginning of a command -> its output, (code, error text), or an error to raise."""

    def __init__(self, name, answers, *, ahead=0.0, closed=None):
        self.name, self._answers, self._ahead, self._closed = name, answers, ahead, closed
        self.sent, self.lines = [], []

    def run(self, argv, *, stdin=b"", timeout=30.0, check=True):
        line = " ".join(argv)
        self.lines.append(line)
        if line.startswith("date") and "date" not in self._answers:
            return Completed(0, f"{time.time() + self._ahead:.9f}\n", "")
        answer = next((said for begin, said in self._answers.items() if line.startswith(begin)), None)
        assert answer is not None, f"nobody said what a fake host answers to {line}"
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer = answer()
        if isinstance(answer, Completed):
            return answer
        return Completed(0, answer, "") if isinstance(answer, str) else Completed(answer[0], "", answer[1])

    def put(self, source, target):
        self.sent.append((source.name, target))

    def close(self):
        if self._closed is not None:
            self._closed.append(self.name)


class FakeChassis:
    def __init__(self, power):
        self._power = power

    def power(self):
        if isinstance(self._power, Exception):
            raise self._power
        return self._power


ADDRESSES = {
    "blade1": "10.9.1.11",
    "blade2": "10.9.1.12",
    "array1": "10.9.1.2",
    "vault1": "10.9.1.3",
    "witness1": "10.9.1.4",
}


class World:
    """A rack of fake hosts, all healthy until a test changes what one of them says."""

    def __init__(self):
        self.answers = {name: good_answers(name, address) for name, address in ADDRESSES.items()}
        self.ahead = {}
        self.closed, self.hosts = [], {}
        self.uris = {f"qemu+tls://{name}/system": self.answer(name) for name in ("blade1", "blade2")}
        self.power = {"blade1": BladePower.ON, "blade2": BladePower.ON}
        self.document = {
            "regions": [{"name": "R", "zones": [{"name": "Z1"}, {"name": "Z2"}]}],
            "blades": [self.blade(name) for name in ("blade1", "blade2")],
            "arrays": [
                {
                    "name": "array1",
                    "zone": "Z1",
                    "access": self.access("array1"),
                    "address": ADDRESSES["array1"],
                    "backing": "file",
                    "path": "/srv/luns",
                    "capacity": 10**12,
                    "tls": "/etc/naos/nbd",
                }
            ],
            "vaults": [{"name": "vault1", "zone": "Z2", "access": self.access("vault1"), "path": "/srv/vault"}],
            "witnesses": [
                {"name": "witness1", "zone": "Z2", "access": self.access("witness1"), "address": ADDRESSES["witness1"]}
            ],
        }

    def says(self, name, command, answer):
        """From now on, and before whatever else begins so."""
        others = {begin: said for begin, said in self.answers[name].items() if begin != command}
        self.answers[name] = {command: answer, **others}

    @staticmethod
    def answer(name, **changed):
        found = {"kind": "QEMU", "hostname": f"{name}.example.org", "uuid": f"uuid-{name}", "libvirt": (9, 0, 0)}
        return HypervisorAnswer(**(found | changed))

    @staticmethod
    def access(name):
        return {"driver": "ssh", "target": f"root@{name}"}

    def blade(self, name):
        return {
            "name": name,
            "zone": "Z1",
            "model": MODEL,
            "hypervisor": f"qemu+tls://{name}/system",
            "access": self.access(name),
            "chassis": {"driver": "redfish", "address": f"https://bmc-{name}"},
            "fabric": {"driver": "vxlan", "address": ADDRESSES[name]},
        }

    def host(self, name, _access):
        if isinstance(self.answers[name], Exception):
            raise self.answers[name]
        self.hosts[name] = FakeHost(name, self.answers[name], ahead=self.ahead.get(name, 0), closed=self.closed)
        return self.hosts[name]

    def ask(self, _name, uri):
        answer = self.uris[uri]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def check(self, **options):
        doors = Doors(self.host, self.ask, lambda name: FakeChassis(self.power[name]))
        inventory = Inventory.model_validate(self.document)
        return {
            report.name: report
            for report in check_inventory(inventory, models=load_blades().models, doors=doors, **options)
        }


@pytest.fixture
def world():
    return World()


def faults_of(reports):
    return {name: [fault.what for fault in report.faults] for name, report in reports.items() if report.faults}


def test_a_healthy_rack_has_no_fault(world):
    reports = world.check()
    assert faults_of(reports) == {}
    assert list(reports) == ["blade1", "blade2", "array1", "vault1", "witness1"]
    assert all(report.reached and report.healthy and not report.remarks for report in reports.values())
    facts = reports["blade1"].facts
    assert (facts["libvirt"], facts["qemu"], facts["kernel"]) == ("9.0.0", "7.2.22", "6.1.0-18-amd64")
    assert (facts["acceleration"], facts["mtu"], facts["power"]) == ("kvm", 9000, "on")
    assert (facts["memory"], facts["disk"]) == (32768000 * 1024, 4096 * 10**6)
    assert sorted(world.closed) == sorted(ADDRESSES)


LINK_DOWN = json.dumps([interface("eth0", "10.9.1.11", flags=["UP"])])
SMALL_MTU = json.dumps([interface("eth0", "10.9.1.11", mtu=1500)])
FOREIGN = 'LISTEN 0 5 *:10811 *:* users:(("nginx",pid=812,fd=6))\n'

LITTLE = f"MemTotal: {TOTAL // 1024} kB\nMemAvailable: 524288 kB\n"
SMALL = f"MemTotal: {8 * GIB // 1024} kB\nMemAvailable: {4 * GIB // 1024} kB\n"

CASES = [
    # name, kind of answer, what it says, word of the fault, words that its sentence must have
    ("blade1", "uname", "Linux blade1 4.19.0-26-amd64\n", "kernel", ["4.19.0", "5.10"]),
    ("blade1", "uname", "FreeBSD blade1 14.0\n", "kernel", ["FreeBSD", "Linux 5.10"]),
    ("blade1", "id", "1000\n", "rights", ["user 1000", "root@"]),
    ("blade1", "sh", "nft\nqemu-system-x86_64\n", "tools", ["nft, qemu", "apt-get install nftables qemu-system-x86"]),
    (
        "blade2",
        "sh -c zcat",
        "# CONFIG_INET_DIAG_DESTROY is not set\n",
        "kernel",
        ["CONFIG_INET_DIAG_DESTROY", "Debian's"],
    ),
    ("array1", "sh -c zcat", "# CONFIG_INET_DIAG_DESTROY is not set\n", "kernel", ["says nothing any more"]),
    ("array1", "sh", "mkfs.xfs\n", "tools", ["apt-get install xfsprogs"]),
    ("blade1", "cat /proc/meminfo", LITTLE, "memory", ["512 MiB", "1 GiB"]),
    ("blade1", "cat /proc/meminfo", SMALL, "model", ["8 GiB", MODEL, "Mend `model`"]),
    ("vault1", "cat /proc/meminfo", "MemTotal: 1 kB\n", "memory", ["MemAvailable"]),
    ("blade1", "stat", "1000 4096\n", "disk", ["3.91 MiB", "1 GiB", "/var/lib/libvirt"]),
    ("vault1", "stat", (1, "stat: cannot read"), "disk", ["/srv/vault", "cannot read"]),
    ("blade1", "qemu-system-x86_64", "QEMU emulator version 5.2.0\n", "qemu", ["5.2.0", "7.2", "upgrade"]),
    ("array1", "qemu-storage-daemon", "qemu-storage-daemon version 6.2.1\n", "qemu", ["6.2.1", "7.2"]),
    ("blade1", "ip", LINK_DOWN, "network", ["eth0", "10.9.1.11", "down"]),
    ("blade1", "ip", SMALL_MTU, "mtu", ["1500", "1550", "mtu = 1450"]),
    ("witness1", "ip", json.dumps([interface("eth0", "10.9.9.9")]), "network", ["10.9.1.4", "10.9.9.9"]),
    ("blade1", "unshare --net -- ip", (1, "Error: Unknown device type."), "network", ["modprobe", "Unknown device"]),
    ("blade1", "unshare --net -- nft", (1, "Error: no netdev"), "network", ["nftables", "no netdev"]),
    ("array1", "ss", FOREIGN, "ports", ["10811", "nginx (process 812)", "first_port"]),
    ("array1", "timeout", (1, "Cannot assign requested address"), "ports", ["10810", "Cannot assign"]),
    ("array1", "test -d", (1, ""), "folder", ["/srv/luns", "create it"]),
    ("array1", "test -w", (1, ""), "folder", ["/srv/luns", "written"]),
    ("array1", "test -c", (1, ""), "kernel", ["loop-control", "modprobe loop"]),
]


@pytest.mark.parametrize(("name", "command", "answer", "what", "words"), CASES)
def test_each_fault_says_the_number_and_the_remedy(world, name, command, answer, what, words):
    world.says(name, command, answer)
    reports = world.check()
    assert set(faults_of(reports)) == {name}
    found = [fault.sentence for fault in reports[name].faults if fault.what == what]
    assert found, reports[name].faults
    for word in words:
        assert any(word in sentence for sentence in found), (word, found)


def test_a_kernel_without_xfs(world):
    world.answers["array1"] |= {"cat /proc/filesystems": "\text4\n", "modprobe": (1, "")}
    assert "modprobe xfs" in world.check()["array1"].faults[0].sentence
    world.answers["array1"]["modprobe"] = ""  # a module that can be loaded is as good
    assert faults_of(world.check()) == {}


@pytest.mark.parametrize(("ahead", "side"), [(37.0, r"3[67]\.\d s ahead of"), (-600.0, r"(599|600)\.\d s behind")])
def test_clocks_that_differ(world, ahead, side):
    world.ahead["blade2"] = ahead
    reports = world.check()
    assert faults_of(reports) == {"blade2": ["clock"]}
    assert re.search(side, reports["blade2"].faults[0].sentence)
    assert reports["blade2"].facts["clock"] == pytest.approx(ahead, abs=1)


def test_a_clock_of_whole_seconds_is_not_blamed_for_it(world):
    world.answers["vault1"]["date"] = lambda: f"{int(time.time()) - 2}.%N\n"
    assert faults_of(world.check()) == {}


# ------------------------------------------------------------------------------------------------------- lost hosts


def test_a_host_that_does_not_answer_hides_no_other(world):
    world.answers["blade1"] = {"date": Unreachable("blade1", "date", "no answer within 10 s")}
    world.answers["vault1"] = Missing("this machine", "lab host", "run up")
    world.answers["witness1"]["sh"] = ValueError("a driver's own fault")
    world.ahead["blade2"] = 60
    reports = world.check()
    assert faults_of(reports) == {
        "blade1": ["contact"],
        "blade2": ["clock"],
        "vault1": ["contact"],
        "witness1": ["check"],
    }
    assert not reports["blade1"].reached
    assert "10 s" in reports["blade1"].faults[0].sentence
    assert reports["blade1"].facts["libvirt"] == "9.0.0"  # needs no command there
    assert reports["blade2"].reached


def test_a_host_that_is_lost_on_the_way(world):
    world.says("array1", "ss", Unreachable("array1", "ss", "reset"))
    report = world.check()["array1"]
    assert (report.reached, [fault.what for fault in report.faults]) == (False, ["contact"])
    assert report.facts["qemu"] == "7.2.22"


def test_a_call_that_hangs_is_given_up(world):
    over = threading.Event()
    world.says("array1", "ss", lambda: str(over.wait(60)))
    world.ahead["blade2"] = 60
    try:
        reports = world.check(deadline=0.5)
    finally:
        over.set()
    assert faults_of(reports) == {"blade2": ["clock"], "array1": ["deadline"]}
    assert "0.5 s" in reports["array1"].faults[0].sentence


def test_an_account_that_runs_no_commands(world):
    world.answers["vault1"]["date"] = "This account is not available.\n"
    reports = world.check()
    assert faults_of(reports) == {"vault1": ["contact"]}
    assert "not available" in reports["vault1"].faults[0].sentence


# ---------------------------------------------------------------------------------------------- hypervisor and chassis


def hypervisor_faults(world, name="blade1"):
    return [fault.sentence for fault in world.check()[name].faults if fault.what in {"hypervisor", "libvirt"}]


def test_a_hypervisor_that_does_not_answer(world):
    world.uris["qemu+tls://blade1/system"] = Unreachable("blade1", "asking", "no connection to blade1")
    reports = world.check()
    assert faults_of(reports) == {"blade1": ["hypervisor"]}
    assert "qemu+tls://blade1/system" in reports["blade1"].faults[0].sentence
    assert "no connection to blade1" in reports["blade1"].faults[0].sentence


def test_a_hypervisor_that_is_another_machine(world):
    world.uris["qemu+tls://blade1/system"] = world.answer("blade2")
    reports = world.check()
    first = [fault.sentence for fault in reports["blade1"].faults]
    assert "blade2.example.org" in first[0]
    assert "commands run on blade1" in first[0]
    assert faults_of(reports) == {"blade1": ["hypervisor", "hypervisor"], "blade2": ["hypervisor"]}
    assert "host_uuid" in reports["blade2"].faults[0].sentence


def test_host_names_are_compared_without_domain_and_case(world):
    world.uris["qemu+tls://blade1/system"] = world.answer("blade1", hostname="BLADE1.other.example")
    assert hypervisor_faults(world) == []


def test_hypervisors_that_will_not_do(world):
    world.uris["qemu+tls://blade1/system"] = world.answer("blade1", libvirt=(7, 0, 0), kind="LXC")
    old, kind = hypervisor_faults(world)
    assert "7.0.0" in old
    assert "9.0" in old
    assert "LXC" in kind


def test_a_model_that_the_catalogue_does_not_have(world):
    world.document["blades"][1]["model"] = "ECO v99"
    reports = world.check()
    assert faults_of(reports) == {"blade2": ["model"]}
    assert "ECO v99" in reports["blade2"].faults[0].sentence
    assert MODEL in reports["blade2"].faults[0].sentence


def test_a_hypervisor_without_protection_is_remarked(world):
    world.document["blades"][0]["hypervisor"] = "qemu+tcp://blade1/system"
    world.uris["qemu+tcp://blade1/system"] = world.answer("blade1")
    report = world.check()["blade1"]
    assert report.healthy
    assert "qemu+tls://" in report.remarks[0]


@pytest.mark.parametrize(
    ("power", "words"),
    [
        (BladePower.OFF, ["off", "another blade"]),
        (Unreachable("blade2", "reading", "timed out"), ["timed out", "fenced"]),
        (EngineError("blade2", "reading", "refuses the credentials"), ["credentials"]),
    ],
)
def test_chassis(world, power, words):
    world.power["blade2"] = power
    reports = world.check()
    assert faults_of(reports) == {"blade2": ["chassis"]}
    for word in words:
        assert word in reports["blade2"].faults[0].sentence


def test_a_blade_that_is_off(world):
    world.power["blade2"] = BladePower.OFF
    world.answers["blade2"] = {"date": Unreachable("blade2", "date", "no route")}
    reports = world.check()
    assert faults_of(reports) == {"blade2": ["contact", "chassis"]}
    assert "switch it on" in reports["blade2"].faults[1].sentence


# ------------------------------------------------------------------------------------------------------------------ KVM


def test_kvm_that_was_not_tried_is_said(world):
    world.answers["blade1"]["cat /var/cache/naos/acceleration.json"] = (1, "No such file")
    report = world.check()["blade1"]
    assert report.healthy
    assert report.facts["acceleration"] == ""
    assert "--try-kvm" in report.remarks[0]


@pytest.mark.parametrize(("printed", "answer"), [("naos-probe-ok\n", "kvm"), ("", "tcg")])
def test_kvm_is_tried_where_nobody_has_and_leaves_the_answer_only(world, tmp_path, printed, answer):
    for name in ("blade1", "blade2"):
        world.answers[name] |= {"mkdir": "", "tee": "", "mv": "", "rm": "", "timeout": printed}

    world.says("blade1", "cat /var/cache/naos/acceleration.json", (1, "No such file"))
    reports = world.check(kernel=(tmp_path / "vmlinuz", tmp_path / "initrd"))
    assert reports["blade1"].facts["acceleration"] == answer
    assert faults_of(reports) == ({} if answer == "kvm" else {"blade1": ["kvm"]})
    places = [place for _, place in world.hosts["blade1"].sent]
    assert [name for name, _ in world.hosts["blade1"].sent] == ["vmlinuz", "initrd"]
    started = next(line for line in world.hosts["blade1"].lines if "-accel kvm" in line)
    assert all(place in started for place in places)
    assert f"rm -f -- {' '.join(places)}" in world.hosts["blade1"].lines
    assert world.hosts["blade2"].sent == []  # it knows already


def test_an_answer_from_before_the_last_start_does_not_count(world):
    world.answers["blade1"]["cat /proc/sys/kernel/random/boot_id"] = "another\n"
    assert "not tried" in world.check()["blade1"].remarks[0]


def test_kvm_that_hangs_is_a_fault_of_a_real_host(world):
    world.answers["blade1"]["cat /var/cache/naos/acceleration.json"] = KVM_STORED.replace("kvm", "tcg")
    reports = world.check()
    assert faults_of(reports) == {"blade1": ["kvm"]}
    assert "emulated" in reports["blade1"].faults[0].sentence
    world.document["blades"][0]["access"] = {"driver": "namespace", "target": "/lab"}
    report = world.check()["blade1"]
    assert report.healthy
    assert "emulated" in report.remarks[0]


def test_a_host_without_the_device(world):
    world.says("blade1", "cat /var/cache/naos/acceleration.json", (1, ""))
    world.says("blade1", "test -c", (1, ""))
    reports = world.check()
    assert "/dev/kvm" in reports["blade1"].faults[0].sentence
    assert reports["blade1"].facts["acceleration"] == "tcg"


# -------------------------------------------------------------------------------------------------------------- network


def test_a_trunk(world):
    world.document["blades"][0]["fabric"] = {"driver": "trunk", "device": "bond0", "mtu": 9000}
    assert "There is no interface bond0" in world.check()["blade1"].faults[0].sentence
    trunk = [interface("bond0", "192.0.2.1", mtu=1500, flags=["UP"])]
    world.answers["blade1"]["ip"] = json.dumps(trunk)
    down, mtu = world.check()["blade1"].faults
    assert "bond0 is down" in down.sentence
    assert "1500" in mtu.sentence
    assert "9000" in mtu.sentence
    world.answers["blade1"]["ip"] = json.dumps([interface("bond0", "192.0.2.1", mtu=9000)])
    assert faults_of(world.check()) == {}


def test_ipv6_tunnels_need_twenty_bytes_more(world):
    world.document["blades"][0]["fabric"] = {"driver": "vxlan", "address": "fd00::11"}
    world.answers["blade1"]["ip"] = json.dumps([interface("eth0", "fd00:0::11", mtu=1550)])
    assert "1570" in world.check()["blade1"].faults[0].sentence


def test_an_array_that_one_blade_does_not_reach(world):
    world.answers["blade2"]["env"] = (124, "")
    reports = world.check()
    assert faults_of(reports) == {"blade2": ["storage"]}
    assert "10.9.1.2 port 10809" in reports["blade2"].faults[0].sentence


def test_an_array_that_no_blade_reaches(world):
    for name in ("blade1", "blade2"):
        world.answers[name]["env"] = (1, "No route to host")
    reports = world.check()
    assert faults_of(reports) == {"array1": ["storage"]}
    assert "blade1, blade2" in reports["array1"].faults[0].sentence


def test_nothing_is_concluded_without_the_tool(world):
    world.answers["blade1"]["env"] = (127, "env: 'bash': No such file or directory")
    assert faults_of(world.check()) == {}


def test_two_blades_with_one_tunnel_address(world):
    world.document["blades"][1]["fabric"]["address"] = ADDRESSES["blade1"]
    reports = world.check()
    assert "blade1, blade2" in reports["blade1"].faults[0].sentence
    assert [fault.what for fault in reports["blade2"].faults] == ["network", "network"]


def test_who_listens_where():
    text = (
        'LISTEN 0 128 127.0.0.1:10809 0.0.0.0:* users:(("a",pid=1,fd=1))\n'
        'LISTEN 0 128 0.0.0.0:10810 0.0.0.0:* users:(("b",pid=2,fd=1),("b",pid=3,fd=1))\n'
        "LISTEN 0 128 [::]:10811 [::]:*\n"
        'LISTEN 0 128 *:10812 *:* users:(("c d",pid=4,fd=1))\n'
        'LISTEN 0 128 10.9.1.2%eth0:10813 0.0.0.0:* users:(("e",pid=5,fd=1))\n'
        "ESTAB 0 0 10.9.1.2:10814 10.9.1.9:5\n"
    )
    assert dict(listeners(text, "10.9.1.2")) == {
        10810: "b (process 2)",
        10811: "a program that does not show its name",
        10812: "c d (process 4)",
        10813: "e (process 5)",
    }


def test_disks_in_clear_are_a_fault_of_a_rack_and_a_remark_in_a_lab(world):
    del world.document["arrays"][0]["tls"]
    assert "in clear" in world.check()["array1"].faults[0].sentence
    world.document["arrays"][0]["access"] = {"driver": "namespace", "target": "/lab/array1"}
    report = world.check()["array1"]
    assert not report.faults
    assert "as in a lab" in report.remarks[0]


def test_certificates_that_are_absent_anothers_or_nearly_at_their_end(world):
    world.says("blade1", "test -r /etc/naos/nbd/client-key.pem", (1, ""))
    world.says("blade2", "openssl", "subject=CN=blade1\n")
    world.says("array1", "openssl", Completed(1, "subject=CN=array1\nCertificate will expire\n", ""))
    reports = world.check()
    assert faults_of(reports) == {"blade1": ["tls"], "blade2": ["tls"], "array1": ["tls", "tls"]}
    assert "has no /etc/naos/nbd/client-key.pem" in reports["blade1"].faults[0].sentence
    assert "is of CN=blade1, and this is blade2" in reports["blade2"].faults[0].sentence
    assert "ends within 30 days" in reports["array1"].faults[0].sentence


def test_a_blade_looks_where_its_libvirt_does(world):
    world.says(
        "blade1", "cat /etc/libvirt/qemu.conf", '#nbd_tls_x509_cert_dir = "/no"\ndefault_tls_x509_cert_dir = "/d"\n'
    )
    world.says("blade1", "test -d /etc/pki/libvirt-nbd", (1, ""))
    world.check()
    assert "test -r /d/client-cert.pem" in world.hosts["blade1"].lines
