"""What a host says of its network: links, forwarding entries and seals, parsed from the tools' JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GROUP = "28257"
"""The interface group of everything that naos makes: unlike an alias it is set in the same instant as the name, so a
crash cannot leave an interface behind whose owner is unknown."""

NOBODY = "00:00:00:00:00:00"
"""A tunnel's entry for this address says where frames go whose receiver is not known yet."""

SEALS = "naos"
"""The nftables table (family netdev) whose chains keep guests' frames out of the host's own network stack."""


@dataclass(frozen=True)
class Link:
    """A network interface; `parent` is the interface that a sub-interface lies on."""

    name: str
    kind: str
    ours: bool
    up: bool
    mtu: int
    master: str | None = None
    parent: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    autoconfigures: bool | None = None  # whether it gives itself an IPv6 address; None: this host has no IPv6


@dataclass(frozen=True)
class Entry:
    """A forwarding entry: frames to `mac` leave by `port`, and through a tunnel to `peer`."""

    mac: str
    port: str
    peer: str | None
    learned: bool
    master: str | None


def parse_links(text: str) -> dict[str, Link]:
    """Output of ``ip -details -json link show`` -> name -> link."""
    links = [_link(item) for item in json.loads(text or "[]") if "ifname" in item]
    return {link.name: link for link in links}


def _link(item: Mapping[str, Any]) -> Link:
    info = item.get("linkinfo", {})
    mode = item.get("inet6_addr_gen_mode")
    return Link(
        name=item["ifname"],
        kind=info.get("info_kind", ""),
        ours=item.get("group") == GROUP,
        up="UP" in item.get("flags", ()),
        mtu=item.get("mtu", 0),
        master=item.get("master"),
        parent=item.get("link"),
        options=info.get("info_data", {}),
        autoconfigures=None if mode is None else mode != "none",
    )


def parse_entries(text: str, port: str = "") -> list[Entry]:
    """Output of ``bridge -json fdb show``. `port`: the interface that the command named; its output leaves it out."""
    return [
        Entry(
            mac=item["mac"],
            port=item.get("ifname", port),
            peer=item.get("dst"),
            learned=item.get("state") != "permanent",
            master=item.get("master"),
        )
        for item in json.loads(text or "[]")
        if "mac" in item
    ]


def parse_seals(text: str) -> set[str]:
    """Output of ``nft -j list table netdev naos`` -> the bridges whose frames the host drops."""
    chains = [item["chain"] for item in json.loads(text or "{}").get("nftables", ()) if "chain" in item]
    return {chain["name"] for chain in chains if chain.get("hook") == "ingress" and chain.get("policy") == "drop"}
