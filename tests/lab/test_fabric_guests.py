"""What guests may say and get to see on a VLAN, with real frames: three guests, two of them on one blade."""

import json

import pytest
from namespaces import BROADCAST, Lab

from naos.engines.fabric.driver import LinuxFabric
from naos.engines.ports import VlanSpec, guest_port

pytestmark = pytest.mark.lab
TAG = 100
FENCE = b"the last frame of this test"
SECRET = b"for one guest only"
Q, AD = 0x8100, 0x88A8


def adapter(number):
    return f"00000000-0000-4000-8000-0000000000{number:02x}"


@pytest.fixture(scope="module")
def rack():
    """Guests a and b on blade 1, c on blade 2, each at a port that is named as a hypervisor would."""
    lab = Lab()
    fabrics, guests = {}, {}
    for number in (1, 2):
        host = lab.host(number)
        fabrics[number] = LinuxFabric(f"blade{number}", host, "vxlan", address=f"10.77.0.{number}")
        fabrics[number].ensure_vlan(VlanSpec(TAG, [f"10.77.0.{3 - number}"]))
    for name, number, blade in (("a", 1, 1), ("b", 2, 1), ("c", 3, 2)):
        guest = lab.guest(fabrics[blade]._host, f"nv{TAG}", f"192.168.1.{number}")
        port = guest_port(adapter(number))
        guest.host.do(f"ip link set dev {guest.port} down")
        guest.host.do(f"ip link set dev {guest.port} name {port}")
        guest.host.do(f"ip link set dev {port} up")
        guest.port, guests[name] = port, guest
    fabrics[1].admit({adapter(1): guests["a"].mac.upper(), adapter(2): guests["b"].mac})
    fabrics[2].admit({adapter(3): guests["c"].mac})
    yield fabrics, guests
    lab.close()


def raw(guest, frame):
    with guest.inside.packet_socket("eth0") as out:
        out.send(frame)


def octets(mac):
    return bytes.fromhex(mac.replace(":", ""))


def hears(guest, sender, frame):
    """Whether a guest gets a frame that another one sends; what comes after it shows that it would have come."""
    with guest.listening() as ear:
        raw(sender, frame)
        sender.send(FENCE)
        got = ear.frames(until=FENCE)
    assert FENCE in got[-1]
    return any(SECRET in found for found in got)


def test_guests_reach_each_other_on_their_blade_and_beyond(rack):
    _fabrics, guests = rack
    assert guests["a"].pings("192.168.1.2")
    assert guests["a"].pings("192.168.1.3")
    assert guests["c"].pings("192.168.1.2")


@pytest.mark.parametrize("hearer", ["b", "c"])
def test_a_frame_with_another_source_address_goes_nowhere(rack, hearer):
    """A guest that speaks with its neighbour's address, or with one of nobody's, is not heard and takes nobody's frames."""
    fabrics, guests = rack
    assert hears(guests[hearer], guests["a"], BROADCAST + octets(guests["a"].mac) + b"\x88\xb5" + SECRET)
    for source in (guests["b"].mac, guests["c"].mac, "02:00:00:00:00:99"):
        assert not hears(guests[hearer], guests["a"], BROADCAST + octets(source) + b"\x88\xb5" + SECRET), source
    assert fabrics[1].learned_macs(TAG).get(guests["b"].mac, guests["b"].port) == guests["b"].port
    assert guests["c"].pings("192.168.1.2")


@pytest.mark.parametrize("tags", [(Q, 200), (AD, 200), (Q, TAG, Q, 200)], ids=["tagged", "provider", "double"])
@pytest.mark.parametrize("hearer", ["b", "c"])
def test_a_tagged_frame_goes_nowhere(rack, hearer, tags):
    """A guest's port is an access port: whatever VLAN a frame says that it is of, it is of none."""
    _fabrics, guests = rack
    header = b"".join(number.to_bytes(2, "big") for number in tags) + b"\x88\xb5"
    frame = BROADCAST + octets(guests["a"].mac) + header + SECRET
    assert not hears(guests[hearer], guests["a"], frame)


@pytest.mark.parametrize("sender", ["a", "c"])
def test_a_neighbour_sees_nothing_of_what_is_for_one_even_when_the_bridge_has_forgotten_where_that_is(rack, sender):
    """What the bridge does not know it floods: to the guest that has the address, and to no other."""
    fabrics, guests = rack
    other = guests["a"] if sender == "c" else guests["c"]
    for fabric in fabrics.values():
        fabric._host.do(f"ip link set dev nv{TAG} type bridge fdb_flush")
    frame = octets(guests["b"].mac) + octets(guests[sender].mac) + b"\x88\xb5" + SECRET
    with guests["b"].listening() as ear, other.listening() as spy:
        raw(guests[sender], frame)
        assert any(SECRET in found for found in ear.frames(until=SECRET))
        guests[sender].send(FENCE)
        assert not any(SECRET in found for found in spy.frames(until=FENCE))


def test_a_table_that_is_lost_is_whole_after_the_next_guest(rack):
    fabrics, guests = rack
    host = fabrics[1]._host
    host.do("nft delete table bridge naos")
    assert hears(guests["b"], guests["a"], BROADCAST + b"\x02" * 6 + b"\x88\xb5" + SECRET)
    fabrics[1].admit({adapter(1): guests["a"].mac, adapter(2): guests["b"].mac})
    assert not hears(guests["b"], guests["a"], BROADCAST + b"\x02" * 6 + b"\x88\xb5" + SECRET)
    assert guests["a"].pings("192.168.1.2")
    before = json.loads(host.do("nft -j list table bridge naos"))
    fabrics[1].admit({adapter(2): guests["b"].mac})
    assert json.loads(host.do("nft -j list table bridge naos")) == before
