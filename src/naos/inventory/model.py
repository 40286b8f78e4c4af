"""The inventory file: what a platform is made of.

The lab writes one; an operator writes one for a real rack. Sizes are bytes, addresses are IPv4 or IPv6 without a port.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, model_validator

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HostAccess(_Strict):
    """How commands are run on a host.

    driver `ssh`: `target` is ``user@address[:port]``. driver `namespace` (lab): `target` is the path of the host's folder,
    which holds its pid file and names its network namespace.
    """

    driver: Literal["ssh", "namespace"]
    target: str


class Zone(_Strict):
    """An availability zone: one private room, autonomous for power, network, compute and storage."""

    name: Name
    site: str = ""


class Region(_Strict):
    name: Name
    zones: list[Zone]


class Array(_Strict):
    """A block storage array of one zone.

    backing `file`: LUNs are sparse files on loop devices under `path` (lab). backing `lvm`: logical volumes of volume group `path`.
    address: where its NBD servers listen; ports from `first_port` on, one a LUN.
    capacity: bytes that LUNs may take in all. tls: the folder on its host with its certificates; None: disks go over the network
    in clear (lab).
    """

    name: Name
    zone: Name
    access: HostAccess
    address: IPvAnyAddress
    first_port: int = Field(default=10809, ge=1024, le=60000)
    backing: Literal["file", "lvm"]
    path: str
    capacity: int = Field(gt=0)
    tls: str | None = Field(default=None, pattern=r"^/")


class Vault(_Strict):
    """A backup store of one zone: a folder on a host."""

    name: Name
    zone: Name
    access: HostAccess
    path: str


class Witness(_Strict):
    """A host of a third zone that tells a lost zone from a lost link."""

    name: Name
    zone: Name
    access: HostAccess
    address: IPvAnyAddress


class Chassis(_Strict):
    """Power control of a blade.

    driver `lab`: `address` is the host's folder. driver `redfish`: `address` is the service root URL, `system` the system id,
    `credentials` a file that holds ``user:password``.
    """

    driver: Literal["lab", "redfish"]
    address: str
    system: str = ""
    credentials: str = ""


class Fabric(_Strict):
    """How VLANs reach a blade.

    driver `vxlan`: tunnels between the blades' `address`es (lab, routed racks). driver `trunk`: VLAN sub-interfaces of `device`.
    """

    driver: Literal["vxlan", "trunk"]
    address: IPvAnyAddress | None = None
    device: str = ""
    mtu: int = Field(default=1500, ge=1280, le=9000)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.driver == "vxlan" and self.address is None:
            raise ValueError("fabric driver vxlan needs `address`, the blade's tunnel address")
        if self.driver == "trunk" and not self.device:
            raise ValueError("fabric driver trunk needs `device`, the interface that carries the trunk")
        return self


class Blade(_Strict):
    """A compute host. `model` names an entry of the blade catalogue; `hypervisor` is a libvirt URI."""

    name: Name
    zone: Name
    model: str
    hypervisor: str
    access: HostAccess
    chassis: Chassis
    fabric: Fabric

    @property
    def storage_address(self) -> str:
        """Where its array sees it: its address in the fabric, else the one that its hypervisor listens on; "" for none."""
        return str(self.fabric.address or urlsplit(self.hypervisor).hostname or "")


class Catalogues(_Strict):
    """Replacements for the data files that ship with naos; empty means the shipped one."""

    blades: str = ""
    storage: str = ""
    prices: str = ""


class Inventory(_Strict):
    """A whole platform. Names are unique within their kind; every reference must exist."""

    regions: list[Region]
    arrays: list[Array] = []
    vaults: list[Vault] = []
    witnesses: list[Witness] = []
    blades: list[Blade] = []
    catalogues: Catalogues = Catalogues()

    @property
    def zones(self) -> list[Zone]:
        return [zone for region in self.regions for zone in region.zones]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        zones = {zone.name for zone in self.zones}
        for kind in ("regions", "zones", "arrays", "vaults", "witnesses", "blades"):
            names = [item.name for item in getattr(self, kind)]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(
                    f"{kind}: {', '.join(twice)} is named more than once; names are unique within their kind"
                )
        for kind in ("arrays", "vaults", "witnesses", "blades"):
            for item in getattr(self, kind):
                if item.zone not in zones:
                    known = ", ".join(sorted(zones)) or "none"
                    raise ValueError(
                        f"{kind}: {item.name} is in zone {item.zone}, which no region has (zones: {known})"
                    )
        return self


def load(path: Path) -> Inventory:
    """Read and validate an inventory file.

    Raises pydantic.ValidationError (every fault at once) or tomllib.TOMLDecodeError.
    """
    return Inventory.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
