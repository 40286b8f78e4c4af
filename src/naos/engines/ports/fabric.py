"""VLANs on a blade."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class VlanSpec:
    """A layer-2 network: `tag` 1-4094 is its VLAN id and, on a routed fabric, its VNI. `peers`: fabric addresses of all
    other blades that carry it."""

    tag: int
    peers: Sequence[str] = field(default=())


class Fabric(Protocol):
    """One blade's share of the network."""

    name: str

    def ensure_vlan(self, vlan: VlanSpec) -> str:
        """Make the VLAN's bridge, joined to its peers and to no one else; returns the bridge's name."""

    def remove_vlan(self, tag: int) -> None:
        """Refuses (Busy) while a guest's port is on it."""

    def bridge(self, tag: int) -> str:
        """The name that `ensure_vlan` gives the bridge of `tag`."""

    def vlans(self) -> dict[int, list[str]]:
        """What is there: tag -> peers."""

    def learned_macs(self, tag: int) -> dict[str, str]:
        """MAC address -> port, as the bridge has learned them."""
