"""What a guest may put onto its VLAN, and what it gets to see: the nftables table (family bridge) of a blade, as pure functions.

Each guest's port has a name of its own, and a set of the table says which MAC address it has. A frame from a port with another
source address, or with a VLAN tag, goes nowhere: so a guest neither takes its neighbours' frames by speaking in their name nor
reaches another VLAN. A frame for one address goes to the port that has it, even where the bridge has forgotten where that is and
would show it to everybody.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from naos.engines.ports.fabric import PORT_PREFIX

TABLE = "naos"
LIST = ("nft", "-j", "list", "table", "bridge", TABLE)
KEPT_HOURS = 24
"""How long a port that is not there stays in the set: a guest is let in before it starts or arrives."""

_UNICAST = "ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00"
_CHAINS = (
    f"add set bridge {TABLE} guests {{ type ifname . ether_addr; }}",
    f"add chain bridge {TABLE} from {{ type filter hook prerouting priority -300; policy accept; }}",
    f'add rule bridge {TABLE} from iifname "{PORT_PREFIX}*" ether type {{ 8021q, 8021ad }} drop',
    f'add rule bridge {TABLE} from iifname "{PORT_PREFIX}*" iifname . ether saddr != @guests drop',
    f"add chain bridge {TABLE} to {{ type filter hook forward priority 0; policy accept; }}",
    f'add rule bridge {TABLE} to oifname "{PORT_PREFIX}*" {_UNICAST} oifname . ether daddr != @guests drop',
)
_RULES = {"from": 2, "to": 1}


@dataclass(frozen=True)
class Known:
    """Which ports have been let in: name -> (MAC address, hour since 1970 in which that was). whole: every rule is there."""

    guests: Mapping[str, tuple[str, int]]
    whole: bool = True


NOTHING = Known({}, whole=False)


def parse(text: str) -> Known:
    """Output of `LIST`."""
    items = json.loads(text or "{}").get("nftables", ())
    rules = [item["rule"]["chain"] for item in items if "rule" in item]
    guests = {}
    for item in items:
        for element in item.get("set", {}).get("elem", ()):
            value = element.get("elem", element)
            port, mac = value.get("val", value)["concat"]
            guests[port] = (mac, _hour(value.get("comment", "")))
    return Known(guests, whole=all(rules.count(chain) == number for chain, number in _RULES.items()))


def _hour(comment: str) -> int:
    return int(comment) if comment.isdecimal() else 0


def lets_in(known: Known, wanted: Mapping[str, str]) -> bool:
    """Whether ports with these addresses (lower case) may speak already."""
    return known.whole and all(known.guests.get(port, ("", 0))[0] == mac for port, mac in wanted.items())


def merged(known: Known, wanted: Mapping[str, str], present: Iterable[str], hour: int) -> Known:
    """Those that are known and those that are wanted. One that is neither present nor new has left, and is forgotten."""
    there = set(present)
    kept = {port: row for port, row in known.guests.items() if port in there or row[1] > hour - KEPT_HOURS}
    return Known(kept | {port: (mac, hour) for port, mac in wanted.items()})


def text(known: Known) -> str:
    """A transaction that leaves the table with all its rules and exactly these guests; no frame passes in between."""
    rows = [f'"{port}" . {mac} comment "{hour}"' for port, (mac, hour) in sorted(known.guests.items())]
    lines = [f"add table bridge {TABLE}", f"delete table bridge {TABLE}", f"add table bridge {TABLE}", *_CHAINS]
    if rows:
        lines.append(f"add element bridge {TABLE} guests {{ {', '.join(rows)} }}")
    return "\n".join([*lines, ""])
