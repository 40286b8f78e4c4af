"""VLANs on a blade."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

PORT_PREFIX = "ng"


def guest_port(adapter_id: str) -> str:
    """The name that an adapter's port has on whatever blade it is: hypervisors give it, fabrics know by it whose a frame is."""
    return PORT_PREFIX + adapter_id.replace("-", "")[-12:]


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

    def admit(self, guests: Mapping[str, str]) -> None:
        """From now on these adapters' ports (id -> MAC address) speak with their own address only, without a VLAN tag, and see
        no frame that is for another one. All that the blade has are named, those that are on their way included: a port
        that was never named does not speak. Raises Unsupported where that cannot be had."""

    def remove_vlan(self, tag: int) -> None:
        """Refuses (Busy) while a guest's port is on it."""

    def bridge(self, tag: int) -> str:
        """The name that `ensure_vlan` gives the bridge of `tag`."""

    def vlans(self) -> dict[int, list[str]]:
        """What is there: tag -> peers."""

    def learned_macs(self, tag: int) -> dict[str, str]:
        """MAC address -> port, as the bridge has learned them."""
