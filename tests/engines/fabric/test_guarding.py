"""The table that keeps guests to their own addresses: who is let in, and who is forgotten."""

import json

import pytest

from naos.engines.errors import Unsupported
from naos.engines.fabric import guarding
from naos.engines.fabric.driver import LinuxFabric
from naos.engines.fabric.guarding import Known
from naos.engines.ports import Completed, guest_port

ADAPTER = "6a7d3f0e-0d5b-4f4e-9d6a-2f0c8c1b7e11"
PORT = "ng2f0c8c1b7e11"
MAC = "02:4e:00:00:00:01"
OLD = "02:4e:00:00:00:02"


def listing(*elements, rules=("from", "from", "to")):
    items = [{"set": {"name": "guests", "elem": list(elements)}}, *({"rule": {"chain": chain}} for chain in rules)]
    return json.dumps({"nftables": [{"metainfo": {}}, *items]})


def test_a_port_has_a_name_that_the_kernel_takes():
    assert guest_port(ADAPTER) == PORT
    assert len(PORT) <= 15


def test_elements_are_read_with_and_without_their_hour():
    known = guarding.parse(
        listing({"concat": ["nga", MAC]}, {"elem": {"val": {"concat": ["ngb", OLD]}, "comment": "495000"}})
    )
    assert known == Known({"nga": (MAC, 0), "ngb": (OLD, 495000)})
    assert guarding.parse("") == guarding.NOTHING


@pytest.mark.parametrize(
    ("known", "enough"),
    [
        (Known({PORT: (MAC, 1)}), True),
        (Known({PORT: (MAC, 1), "ngother": (OLD, 1)}), True),
        (Known({PORT: (OLD, 1)}), False),
        (Known({}), False),
        (Known({PORT: (MAC, 1)}, whole=False), False),
        (guarding.NOTHING, False),
    ],
)
def test_what_is_there_is_left_alone(known, enough):
    assert guarding.lets_in(known, {PORT: MAC}) is enough


def test_one_that_left_long_ago_is_forgotten_and_one_that_is_still_to_come_is_not():
    known = Known({"ngruns": (OLD, 5), "ngcomes": (OLD, 99), "nggone": (OLD, 5), PORT: (OLD, 5)})
    after = guarding.merged(known, {PORT: MAC}, ["nv100", "ngruns"], 100)
    assert dict(after.guests) == {"ngruns": (OLD, 5), "ngcomes": (OLD, 99), PORT: (MAC, 100)}


class Blade:
    """A host that lists this table and notes what it is told."""

    name = "blade1"

    def __init__(self, listed, refusal=None):
        self.listed, self.refusal, self.told = listed, refusal, []

    def run(self, argv, *, stdin=b"", timeout=30.0, check=True):
        if argv == guarding.LIST:
            return Completed(0 if self.listed else 1, self.listed, "")
        if argv[0] == "nft":
            self.told.append(stdin.decode())
            return self.refusal or Completed(0, "", "")
        return Completed(0, "[]", "")


def fabric(blade):
    return LinuxFabric("blade1", blade, "vxlan", address="10.0.0.1")


def test_a_repeated_call_changes_nothing():
    blade = Blade(listing({"concat": [PORT, MAC]}))
    fabric(blade).admit({ADAPTER: MAC.upper()})
    fabric(blade).admit({})
    assert blade.told == []


def test_a_damaged_table_is_made_anew_in_one_transaction():
    blade = Blade(listing({"elem": {"val": {"concat": ["ngb", OLD]}, "comment": "999999"}}, rules=("from",)))
    fabric(blade).admit({ADAPTER: MAC})
    (told,) = blade.told
    assert told.index("delete table") < told.index("add rule") < told.index("add element")
    assert f'"{PORT}" . {MAC}' in told
    assert f'"ngb" . {OLD}' in told


def test_a_kernel_that_cannot_do_it_is_refused_with_the_remedy():
    with pytest.raises(Unsupported, match="bridge family"):
        fabric(Blade("", Completed(1, "", "Error: Operation not supported"))).admit({ADAPTER: MAC})
