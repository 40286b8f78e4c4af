"""What a lab is made of, from a few numbers: names and addresses, as pure functions.

Of a range 10.213.0.0/16, 10.213.0.1 is the controller's and 10.213.k.0/24 the k-th zone's: array .2, vault .3,
witness .4, blades from .11 on. The k-th zone is a bridge of its own, joined to the core by one link.
"""

import ipaddress
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from naos.engines.hosts.namespace import Machine
from naos.engines.hosts.netns import Attachment
from naos.lab.errors import BadPlan

RANGE = "10.213.0.0/16"
REGION = "FR1"
FIRST_ZONE = 5  # the region's zones are AZ05, AZ06, ...
MOST_ZONES = 20
MOST_BLADES = 32  # a zone
MTU = 1600  # what a VXLAN tunnel for packets of 1500 bytes needs, and more
CORE = "core"
_NAME = re.compile(r"^[a-z][a-z0-9]{0,15}$")
_ARRAY, _VAULT, _WITNESS, _FIRST_BLADE = 2, 3, 4, 11


@dataclass(frozen=True)
class Zone:
    """An availability zone. `number`: from 1, its place in the range."""

    name: str
    number: int
    blades: int = 0
    array: bool = False
    vault: bool = False
    witness: bool = False

    @property
    def bridge(self) -> str:
        return f"zone{self.number}"

    @property
    def link(self) -> tuple[str, str]:
        """Both ends of the zone's link: at its own bridge, and at the core."""
        return f"link{self.number}", f"core{self.number}"


@dataclass(frozen=True)
class LabHost:
    """kind: blade, array, vault or witness."""

    name: str
    kind: str
    zone: Zone
    address: IPv4Address


@dataclass(frozen=True)
class Plan:
    """A lab. `name` tells its namespaces from those of other labs on the machine."""

    name: str
    region: str
    network: IPv4Network
    zones: tuple[Zone, ...]

    @property
    def fabric(self) -> str:
        """The namespace that holds the bridges."""
        return f"naos-{self.name}-fabric"

    @property
    def controller(self) -> str:
        """The namespace in which the controller runs."""
        return f"naos-{self.name}-controller"

    @property
    def controller_address(self) -> IPv4Address:
        return self.network[1]

    @property
    def hosts(self) -> list[LabHost]:
        return [host for zone in self.zones for host in self._hosts(zone)]

    @property
    def namespaces(self) -> list[str]:
        return [self.fabric, self.controller, *(self.namespace(host) for host in self.hosts)]

    def namespace(self, host: LabHost) -> str:
        return f"naos-{self.name}-{host.name}"

    def cable(self, host: LabHost) -> Attachment:
        port = f"z{host.zone.number}h{int(host.address) & 0xFF}"
        return self._attachment(self.namespace(host), host.zone.bridge, port, host.address)

    def controller_cable(self) -> Attachment:
        return self._attachment(self.controller, CORE, "controller", self.controller_address)

    def machine(self, host: LabHost, lab_id: str) -> Machine:
        """lab_id: UUID of this lab, from which its hosts' ids come."""
        identity = str(uuid.uuid5(uuid.UUID(lab_id), host.name))
        return Machine(host.name, identity, self.cable(host), hypervisor=host.kind == "blade")

    def _hosts(self, zone: Zone) -> Iterator[LabHost]:
        base = int(self.network.network_address) + zone.number * 256
        prefix = zone.name.lower()
        for kind, number, there in (
            ("array", _ARRAY, zone.array),
            ("vault", _VAULT, zone.vault),
            ("witness", _WITNESS, zone.witness),
        ):
            if there:
                yield LabHost(f"{prefix}-{kind}", kind, zone, IPv4Address(base + number))
        for index in range(zone.blades):
            yield LabHost(f"{prefix}-blade{index + 1}", "blade", zone, IPv4Address(base + _FIRST_BLADE + index))

    def _attachment(self, namespace: str, bridge: str, port: str, address: IPv4Address) -> Attachment:
        mac = "02:00:" + ":".join(f"{byte:02x}" for byte in address.packed)
        return Attachment(namespace, self.fabric, bridge, port, str(address), self.network.prefixlen, mac, MTU)


def default_plan(*, zones: int = 2, blades: int = 2, name: str = "lab", network: str = RANGE) -> Plan:
    """`zones` zones with `blades` blades and an array each, and one more with a vault and a witness.

    Raises BadPlan.
    """
    if not 1 <= zones <= MOST_ZONES:
        raise BadPlan(f"{zones} zones with blades", f"from 1 to {MOST_ZONES}")
    if not 1 <= blades <= MOST_BLADES:
        raise BadPlan(f"{blades} blades a zone", f"from 1 to {MOST_BLADES}")
    if not _NAME.match(name):
        raise BadPlan(f"the name {name!r}", "a small letter, then at most 15 small letters and digits")
    try:
        parsed = IPv4Network(network)
    except ValueError as error:
        raise BadPlan(f"the range {network!r} ({error})", "an IPv4 range such as 10.214.0.0/16") from error
    if parsed.prefixlen != 16 or not parsed.is_private:
        raise BadPlan(f"the range {network}", "a private IPv4 range with 16 fixed bits, such as 10.214.0.0/16")
    made = [Zone(_zone_name(index), index + 1, blades=blades, array=True) for index in range(zones)]
    made.append(Zone(_zone_name(zones), zones + 1, vault=True, witness=True))
    return Plan(name, REGION, parsed, tuple(made))


def host_folder(root: Path, host: LabHost) -> Path:
    return root / "hosts" / host.name


def overlaps(network: IPv4Network, present: Sequence[str]) -> list[str]:
    """Which of the machine's addresses and routes (``192.0.2.2/24``, ``default``) lie in `network`."""
    found = []
    for text in present:
        try:
            other = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue  # `default`, `local`, ...
        if isinstance(other, IPv4Network) and other.prefixlen and other.overlaps(network):
            found.append(text)
    return found


def _zone_name(index: int) -> str:
    return f"AZ{FIRST_ZONE + index:02d}"
