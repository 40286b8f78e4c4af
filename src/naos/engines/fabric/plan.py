"""From what is there to what shall be: the lines for `ip -batch`, `bridge -batch` and `nft -f`, as pure functions.

A VLAN of tag 100 is the bridge ``nv100`` with one port of ours, its uplink: the tunnel ``nx100`` (VXLAN, VNI 100) or a
sub-interface of the trunk. Guests' ports are the hypervisor's.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from naos.engines.fabric.state import GROUP, NOBODY, SEALS, Entry, Link

VXLAN_PORT = 4789
LONGEST_NAME = 15  # the kernel's IFNAMSIZ less its end mark
_INTERFACE = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$")
_OURS = re.compile(r"^n[vxt](\d{1,4})$")
_BRIDGE_OPTIONS = {"forward_delay": 0, "stp_state": 0, "mcast_snooping": 0}


@dataclass(frozen=True)
class Uplink:
    """The port through which a VLAN leaves the host. `options`: what the kernel must report of it."""

    name: str
    kind: str
    arguments: str
    options: Mapping[str, Any]
    parent: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A VLAN as it shall be on one host. `mtu`: bytes of the largest packet that guests may send."""

    tag: int
    uplink: Uplink
    mtu: int
    peers: frozenset[str] = frozenset()

    @property
    def bridge(self) -> str:
        return bridge_name(self.tag)


@dataclass(frozen=True)
class Present:
    """What was found of it. `entries`: those of the uplink. `sealed`: the host drops what the bridge hands up to it."""

    links: Mapping[str, Link] = field(default_factory=dict)
    entries: Sequence[Entry] = ()
    sealed: bool = False


@dataclass(frozen=True)
class Steps:
    """Lines to apply in this order: make, seal, connect to peers, switch on."""

    make: Sequence[str] = ()
    seal: str = ""
    peers: Sequence[str] = ()
    switch_on: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.make or self.seal or self.peers or self.switch_on)


def bridge_name(tag: int) -> str:
    return f"nv{tag}"


def tunnel(tag: int, address: str) -> Uplink:
    """A VXLAN tunnel from `address`, this host's own on the fabric."""
    own = ipaddress.ip_address(address)
    local = "local" if own.version == 4 else "local6"
    return Uplink(
        name=f"nx{tag}",
        kind="vxlan",
        arguments=f"type vxlan id {tag} dstport {VXLAN_PORT} local {own}",
        options={"id": tag, "port": VXLAN_PORT, local: str(own)},
    )


def subinterface(tag: int, device: str) -> Uplink:
    """An 802.1Q sub-interface of the trunk `device`."""
    name = f"{device}.{tag}"
    return Uplink(
        name=name if len(name) <= LONGEST_NAME else f"nt{tag}",
        kind="vlan",
        arguments=f"type vlan protocol 802.1Q id {tag}",
        options={"id": tag, "protocol": "802.1Q"},
        parent=device,
    )


def is_interface_name(text: str) -> bool:
    return _INTERFACE.match(text) is not None


def foreign(wanted: Wanted, links: Mapping[str, Link]) -> str | None:
    """The name of an interface that stands where ours shall be and is not ours."""
    names = (wanted.bridge, wanted.uplink.name)
    return next((name for name in names if name in links and not links[name].ours), None)


def guest_ports(wanted: Wanted, links: Mapping[str, Link]) -> list[str]:
    """Every port of the bridge but its uplink."""
    return sorted(
        link.name for link in links.values() if link.master == wanted.bridge and link.name != wanted.uplink.name
    )


def steps(wanted: Wanted, present: Present) -> Steps:
    """What is missing; empty when everything is as it shall be."""
    links, uplink = present.links, wanted.uplink
    make = [*_bridge_lines(wanted, links), *_uplink_lines(wanted, links)]
    kept = uplink.name in links and _fits(uplink, links[uplink.name])
    running = {link.name for link in links.values() if link.up and (kept or link.name != uplink.name)}
    return Steps(
        make=make,
        seal="" if present.sealed else seal_text(wanted.bridge),
        peers=_peer_lines(wanted, present.entries if kept else ()) if uplink.kind == "vxlan" else (),
        switch_on=[f"link set dev {name} up" for name in (uplink.name, wanted.bridge) if name not in running],
    )


def _bridge_lines(wanted: Wanted, links: Mapping[str, Link]) -> list[str]:
    name = wanted.bridge
    options = " ".join(f"{key} {value}" for key, value in sorted(_BRIDGE_OPTIONS.items()))
    link = links.get(name)
    if link is None:
        return [
            f"link add name {name} mtu {wanted.mtu} group {GROUP} type bridge {options}",
            *_mark_lines(name, wanted, links),
        ]
    lines = []
    if any(link.options.get(key) != value for key, value in _BRIDGE_OPTIONS.items()):
        lines.append(f"link set dev {name} type bridge {options}")
    if link.mtu != wanted.mtu:
        lines.append(f"link set dev {name} mtu {wanted.mtu}")
    if link.autoconfigures:
        lines += _mark_lines(name, wanted, links)
    return lines


def _uplink_lines(wanted: Wanted, links: Mapping[str, Link]) -> list[str]:
    uplink = wanted.uplink
    link = links.get(uplink.name)
    lines = []
    if link is not None and not _fits(uplink, link):
        lines.append(f"link delete dev {uplink.name}")
        link = None
    if link is None:
        parent = f"link {uplink.parent} " if uplink.parent else ""
        lines.append(f"link add {parent}name {uplink.name} mtu {wanted.mtu} group {GROUP} {uplink.arguments}")
        lines += _mark_lines(uplink.name, wanted, links)
    elif link.autoconfigures:
        lines += _mark_lines(uplink.name, wanted, links)
    if link is not None and link.mtu != wanted.mtu:
        lines.append(f"link set dev {uplink.name} mtu {wanted.mtu}")
    if link is None or link.master != wanted.bridge:
        lines.append(f"link set dev {uplink.name} master {wanted.bridge}")
    return lines


def _fits(uplink: Uplink, link: Link) -> bool:
    """Whether a link is this uplink; what differs cannot be changed in place."""
    same = all(link.options.get(key) == value for key, value in uplink.options.items())
    return same and link.kind == uplink.kind and link.parent == uplink.parent


def _mark_lines(name: str, wanted: Wanted, links: Mapping[str, Link]) -> list[str]:
    """The host must not speak on a tenant's network: no IPv6 address of its own (where the host has IPv6 at all)."""
    knows_ipv6 = any(link.autoconfigures is not None for link in links.values())
    silence = [f"link set dev {name} addrgenmode none"] if knows_ipv6 else []
    return [f'link set dev {name} alias "naos VLAN {wanted.tag}"', *silence]


def _peer_lines(wanted: Wanted, entries: Sequence[Entry]) -> list[str]:
    """Head-end replication: one entry a peer. What was learned of a peer that left goes, or frames would follow it."""
    present = {entry.peer for entry in entries if entry.mac == NOBODY and entry.peer}
    device = wanted.uplink.name
    add = [f"fdb append {NOBODY} dev {device} dst {peer}" for peer in sorted(wanted.peers - present)]
    gone = [
        f"fdb del {entry.mac} dev {device} dst {entry.peer}"
        for entry in entries
        if entry.peer and entry.peer not in wanted.peers
    ]
    return add + gone


def removal_lines(wanted: Wanted, links: Mapping[str, Link]) -> list[str]:
    """Lines that delete what is there of a VLAN."""
    return [f"link delete dev {name}" for name in (wanted.uplink.name, wanted.bridge) if name in links]


def seal_text(bridge: str) -> str:
    """An nftables transaction after which the host's own network stack never sees a frame of this bridge.

    Without it a guest reaches its host's addresses through the bridge, and whatever listens there: it could put frames
    into other VLANs by sending them to the tunnels' UDP port, and use a forwarding host as a router. Frames between the
    bridge's ports do not pass here.
    """
    hook = f'type filter hook ingress device "{bridge}" priority -500; policy drop;'
    return f"add table netdev {SEALS}\nadd chain netdev {SEALS} {bridge} {{ {hook} }}\n"


def unseal_text(bridge: str) -> str:
    return f"delete chain netdev {SEALS} {bridge}\n"


def tags(links: Mapping[str, Link]) -> set[int]:
    """Every tag of which something of ours is left on the host."""
    named = {int(match[1]) for link in links.values() if link.ours and (match := _OURS.match(link.name))}
    carried = {link.options["id"] for link in links.values() if link.ours and link.kind == "vlan"}
    return {tag for tag in named | carried if 1 <= tag <= 4094}


def normal_peers(peers: Sequence[str], own: str | None) -> frozenset[str]:
    """Peers in the kernel's spelling, without this host itself. Raises ValueError on what is no address."""
    addresses = {str(ipaddress.ip_address(peer)) for peer in peers}
    return frozenset(addresses - {own})
