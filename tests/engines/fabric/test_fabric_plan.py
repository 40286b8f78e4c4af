"""What is missing of a VLAN, as the lines that make it."""

import json

import pytest

from naos.engines.errors import Busy, CommandFailed, Unsupported
from naos.engines.fabric import plan
from naos.engines.fabric.driver import LinuxFabric
from naos.engines.fabric.plan import Present, Steps, Wanted
from naos.engines.fabric.state import Entry, Link, parse_entries, parse_links, parse_seals
from naos.engines.ports import Completed, VlanSpec

BRIDGE_OPTIONS = {"forward_delay": 0, "stp_state": 0, "mcast_snooping": 0}
TUNNEL = Wanted(100, plan.tunnel(100, "10.0.0.1"), 1500, frozenset({"10.0.0.2", "10.0.0.3"}))
TRUNK = Wanted(100, plan.subinterface(100, "eno1"), 1500)
LO = Link("lo", "", ours=False, up=True, mtu=65536, autoconfigures=True)


def bridge(**changes):
    fields = {"ours": True, "up": True, "mtu": 1500, "options": BRIDGE_OPTIONS, "autoconfigures": False}
    return Link("nv100", "bridge", **(fields | changes))


def nx100(**changes):
    options = {"id": 100, "port": 4789, "local": "10.0.0.1"}
    fields = {"ours": True, "up": True, "mtu": 1500, "master": "nv100", "options": options, "autoconfigures": False}
    return Link("nx100", "vxlan", **(fields | changes))


def eno1_100(**changes):
    options = {"id": 100, "protocol": "802.1Q"}
    fields = {"ours": True, "up": True, "mtu": 1500, "master": "nv100", "parent": "eno1", "options": options}
    return Link("eno1.100", "vlan", **(fields | changes))


def peer(address, mac="00:00:00:00:00:00", *, learned=False):
    return Entry(mac, "nx100", address, learned, None)


def present(*links, peers=("10.0.0.2", "10.0.0.3"), sealed=True, learned=()):
    entries = [*(peer(address) for address in peers), *learned]
    return Present({link.name: link for link in (LO, *links)}, entries, sealed)


def test_from_nothing_with_tunnels():
    assert plan.steps(TUNNEL, Present({"lo": LO})) == Steps(
        make=[
            "link add name nv100 mtu 1500 group 28257 type bridge forward_delay 0 mcast_snooping 0 stp_state 0",
            'link set dev nv100 alias "naos VLAN 100"',
            "link set dev nv100 addrgenmode none",
            "link add name nx100 mtu 1500 group 28257 type vxlan id 100 dstport 4789 local 10.0.0.1",
            'link set dev nx100 alias "naos VLAN 100"',
            "link set dev nx100 addrgenmode none",
            "link set dev nx100 master nv100",
        ],
        seal="add table netdev naos\nadd chain netdev naos nv100 "
        '{ type filter hook ingress device "nv100" priority -500; policy drop; }\n',
        peers=[
            "fdb append 00:00:00:00:00:00 dev nx100 dst 10.0.0.2",
            "fdb append 00:00:00:00:00:00 dev nx100 dst 10.0.0.3",
        ],
        switch_on=["link set dev nx100 up", "link set dev nv100 up"],
    )


def test_from_nothing_on_a_trunk():
    made = plan.steps(TRUNK, Present({"lo": LO}))
    assert made.make[3:] == [
        "link add link eno1 name eno1.100 mtu 1500 group 28257 type vlan protocol 802.1Q id 100",
        'link set dev eno1.100 alias "naos VLAN 100"',
        "link set dev eno1.100 addrgenmode none",
        "link set dev eno1.100 master nv100",
    ]
    assert made.peers == ()
    assert made.switch_on == ["link set dev eno1.100 up", "link set dev nv100 up"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [(TUNNEL, present(bridge(), nx100())), (TRUNK, present(bridge(), eno1_100()))],
)
def test_nothing_is_done_when_all_is_there(wanted, found):
    assert not plan.steps(wanted, found)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (present(bridge(up=False), nx100()), Steps(switch_on=["link set dev nv100 up"])),
        (present(bridge(), nx100(up=False)), Steps(switch_on=["link set dev nx100 up"])),
        (present(bridge(mtu=1400), nx100()), Steps(make=["link set dev nv100 mtu 1500"])),
        (present(bridge(), nx100(mtu=1400)), Steps(make=["link set dev nx100 mtu 1500"])),
        (present(bridge(), nx100(master=None)), Steps(make=["link set dev nx100 master nv100"])),
        (present(bridge(), nx100(master="br9")), Steps(make=["link set dev nx100 master nv100"])),
        (present(bridge(), nx100(), sealed=False), Steps(seal=plan.seal_text("nv100"))),
        (
            present(bridge(options=BRIDGE_OPTIONS | {"stp_state": 1}), nx100()),
            Steps(make=["link set dev nv100 type bridge forward_delay 0 mcast_snooping 0 stp_state 0"]),
        ),
        (
            present(bridge(autoconfigures=True), nx100()),
            Steps(make=['link set dev nv100 alias "naos VLAN 100"', "link set dev nv100 addrgenmode none"]),
        ),
        (
            present(bridge(), nx100(), peers=("10.0.0.2",)),
            Steps(peers=["fdb append 00:00:00:00:00:00 dev nx100 dst 10.0.0.3"]),
        ),
        (
            present(
                bridge(),
                nx100(),
                peers=("10.0.0.2", "10.0.0.3", "10.0.0.9"),
                learned=[
                    peer("10.0.0.9", "02:00:00:00:00:09", learned=True),
                    peer("10.0.0.2", "02:00:00:00:00:02", learned=True),
                ],
            ),
            Steps(
                peers=[
                    "fdb del 00:00:00:00:00:00 dev nx100 dst 10.0.0.9",
                    "fdb del 02:00:00:00:00:09 dev nx100 dst 10.0.0.9",
                ]
            ),
        ),
    ],
)
def test_only_what_differs_is_changed(found, expected):
    changed = plan.steps(TUNNEL, found)
    assert (list(changed.make), changed.seal, list(changed.peers), list(changed.switch_on)) == (
        list(expected.make),
        expected.seal,
        list(expected.peers),
        list(expected.switch_on),
    )


@pytest.mark.parametrize(
    "options",
    [
        {"id": 101, "port": 4789, "local": "10.0.0.1"},
        {"id": 100, "port": 8472, "local": "10.0.0.1"},
        {"id": 100, "port": 4789, "local": "10.0.0.7"},
    ],
)
def test_a_tunnel_that_is_another_is_made_anew_with_all_its_peers(options):
    changed = plan.steps(TUNNEL, present(bridge(), nx100(options=options)))
    assert changed.make[0] == "link delete dev nx100"
    assert changed.make[-1] == "link set dev nx100 master nv100"
    assert len(changed.peers) == 2
    assert changed.switch_on == ["link set dev nx100 up"]


def test_a_subinterface_of_another_trunk_is_made_anew():
    changed = plan.steps(TRUNK, present(bridge(), eno1_100(parent="eno2")))
    assert changed.make[:2] == [
        "link delete dev eno1.100",
        "link add link eno1 name eno1.100 mtu 1500 group 28257 type vlan protocol 802.1Q id 100",
    ]


def test_a_host_without_ipv6_is_not_asked_about_it():
    made = plan.steps(TUNNEL, Present({"lo": Link("lo", "", ours=False, up=True, mtu=65536)}))
    assert [line for line in made.make if "addrgenmode" in line] == []


@pytest.mark.parametrize(
    ("device", "tag", "name"),
    [
        ("eno1", 100, "eno1.100"),
        ("enp129s0f0", 4094, "enp129s0f0.4094"),
        ("enp129s0f0np0", 4094, "nt4094"),  # the kernel takes at most 15 characters
    ],
)
def test_names_of_subinterfaces(device, tag, name):
    assert plan.subinterface(tag, device).name == name
    assert len(name) <= 15


def test_ipv6_tunnels_and_peers_are_spelled_as_the_kernel_does():
    uplink = plan.tunnel(7, "FD00:0::1")
    assert uplink.arguments.endswith("local fd00::1")
    assert uplink.options["local6"] == "fd00::1"
    assert plan.normal_peers(["FD00:0::2", "fd00::2", "fd00::1"], "fd00::1") == {"fd00::2"}


def test_ports_of_guests():
    links = present(bridge(), nx100(), Link("vnet3", "tun", ours=False, up=True, mtu=1500, master="nv100")).links
    assert plan.guest_ports(TUNNEL, links) == ["vnet3"]


def test_tags_count_what_is_ours_even_half_made():
    links = [
        bridge(),
        Link("nx7", "vxlan", ours=True, up=False, mtu=1500),
        Link("eno1.9", "vlan", ours=True, up=True, mtu=1500, options={"id": 9}),
        Link("nv5", "bridge", ours=False, up=True, mtu=1500),
        Link("nv9999", "bridge", ours=True, up=True, mtu=1500),
    ]
    assert plan.tags({link.name: link for link in links}) == {100, 7, 9}


def test_reading_the_tools():
    links = parse_links(
        json.dumps(
            [
                {},
                {"ifname": "eno1.5", "link": "eno1", "flags": ["UP"], "mtu": 1500, "group": "28257"}
                | {"linkinfo": {"info_kind": "vlan", "info_data": {"id": 5}}, "inet6_addr_gen_mode": "none"},
            ]
        )
    )
    assert links == {"eno1.5": Link("eno1.5", "vlan", True, True, 1500, None, "eno1", {"id": 5}, autoconfigures=False)}
    entries = parse_entries('[{"mac":"02:00:00:00:00:01","dst":"10.0.0.2","flags":["self"],"state":""}, {}]', "nx1")
    assert entries == [Entry("02:00:00:00:00:01", "nx1", "10.0.0.2", learned=True, master=None)]
    assert (parse_links(""), parse_entries(""), parse_seals("")) == ({}, [], set())
    chain = {"family": "netdev", "table": "naos", "name": "nv1", "hook": "ingress", "policy": "drop"}
    other = chain | {"name": "nv2", "policy": "accept"}
    assert parse_seals(json.dumps({"nftables": [{"chain": chain}, {"chain": other}, {"table": {}}]})) == {"nv1"}


class ScriptedHost:
    """A host that answers from a table, and says no where it is told to."""

    name = "blade1"

    def __init__(self, refusals=None):
        self.refusals = refusals or {}
        self.asked = []

    def run(self, argv, *, stdin=b"", timeout=30.0, check=True):
        self.asked.append((tuple(argv), stdin.decode()))
        if argv[1] in self.refusals:
            return self.refusals[argv[1]]
        return Completed(0, "", "")


def test_commands_on_a_trunk():
    host = ScriptedHost()
    assert LinuxFabric("blade1", host, "trunk", device="eno1", mtu=9000).ensure_vlan(VlanSpec(100)) == "nv100"
    assert [argv for argv, _stdin in host.asked] == [
        ("ip", "-details", "-json", "link", "show"),
        ("ip", "-batch", "-"),
        ("nft", "-f", "-"),
        ("ip", "-batch", "-"),
    ]
    assert (
        "link add link eno1 name eno1.100 mtu 9000 group 28257 type vlan protocol 802.1Q id 100\n" in host.asked[1][1]
    )


@pytest.mark.parametrize(
    ("refusals", "error", "said"),
    [
        ({"-batch": Completed(1, "", "Error: Unknown device type.\nCommand failed -:3\n")}, Unsupported, "8021q"),
        ({"-batch": Completed(1, "", "Cannot find device\nCommand failed -:5\n")}, CommandFailed, "master nv100"),
        ({"-batch": Completed(1, "", "")}, CommandFailed, "exit code 1"),
        ({"-f": Completed(127, "", "nft: not found")}, Unsupported, "install nftables"),
    ],
)
def test_refusals_of_a_host(refusals, error, said):
    fabric = LinuxFabric("blade1", ScriptedHost(refusals), "trunk", device="eno1")
    with pytest.raises(error, match=said):
        fabric.ensure_vlan(VlanSpec(100))


@pytest.mark.parametrize("tag", [0, -1, 4095, 16777216])
def test_tags_out_of_range(tag):
    fabric = LinuxFabric("blade1", ScriptedHost(), "vxlan", address="10.0.0.1")
    for call in (fabric.bridge, fabric.remove_vlan, lambda number: fabric.ensure_vlan(VlanSpec(number))):
        with pytest.raises(Unsupported, match="1 to 4094"):
            call(tag)


@pytest.mark.parametrize("text", ["blade2", "10.0.0.256", "10.0.0.2 dev eth0", ""])
def test_a_peer_that_is_no_address(text):
    with pytest.raises(Unsupported, match="no address"):
        LinuxFabric("blade1", ScriptedHost(), "vxlan", address="10.0.0.1").ensure_vlan(VlanSpec(1, [text]))


@pytest.mark.parametrize(
    "device", ["", "-rf", "eno1 master br0", "eno1\nlink delete dev eno2", "a-name-of-16-ch"[:15] + "x"]
)
def test_a_trunk_whose_name_is_no_interface(device):
    with pytest.raises(Unsupported, match="no name of a network interface"):
        LinuxFabric("blade1", ScriptedHost(), "trunk", device=device)


def test_foreign_bridge():
    foreign = json.dumps([{"ifname": "nv100", "linkinfo": {"info_kind": "bridge"}, "group": "default"}])
    host = ScriptedHost({"-details": Completed(0, foreign, "")})
    with pytest.raises(Busy, match="did not make"):
        LinuxFabric("blade1", host, "vxlan", address="10.0.0.1").ensure_vlan(VlanSpec(100))
    assert len(host.asked) == 1
