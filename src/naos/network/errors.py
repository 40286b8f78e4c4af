"""Refusals of network."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class TagsExhausted(NaosError):
    code: ClassVar[str] = "network.tags_exhausted"
    status: ClassVar[int] = 507
    sentence: ClassVar[str] = (
        "All {count} VLAN ids ({first} to {last}) are in use on this platform; delete a VLAN first."
    )
    count: int
    first: int
    last: int


@dataclass(eq=False)
class TagInvalid(NaosError):
    code: ClassVar[str] = "network.tag_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "VLAN id {tag} is not possible: ids run from {first} to {last}. Leave the id out to be given a free one."
    )
    tag: int
    first: int
    last: int


@dataclass(eq=False)
class TagTaken(NaosError):
    code: ClassVar[str] = "network.tag_taken"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "VLAN id {tag} is in use on this platform; leave the id out to be given a free one (next: {free})."
    )
    tag: int
    free: int


@dataclass(eq=False)
class MacInvalid(NaosError):
    code: ClassVar[str] = "network.mac_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{mac!r} cannot be an adapter's MAC address: {reason}. Write six bytes such as 02:4e:00:12:34:56, or leave it out."
    )
    mac: str
    reason: str


@dataclass(eq=False)
class MacTaken(NaosError):
    code: ClassVar[str] = "network.mac_taken"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "MAC address {mac} belongs to adapter {adapter} of machine {machine!r} already; two on one network lose each other's frames. "
        "Choose another one, or leave it out to be given one."
    )
    mac: str
    adapter: str
    machine: str


@dataclass(eq=False)
class NotPropagated(NaosError):
    code: ClassVar[str] = "network.not_propagated"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "VLAN {vlan!r} is not propagated to cpool {cpool!r}; propagate it there first, or choose one of: {available}."
    )
    vlan: str
    cpool: str
    available: str


@dataclass(eq=False)
class VlanInUse(NaosError):
    code: ClassVar[str] = "network.vlan_in_use"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "VLAN {name!r} still has {count} adapter(s), of machine(s) {machines}. Remove or move them first."
    )
    name: str
    count: int
    machines: str


@dataclass(eq=False)
class TooManyAdapters(NaosError):
    code: ClassVar[str] = "network.too_many_adapters"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} has {count} adapters, the most that it can carry ({limit}); remove one first."
    )
    machine: str
    count: int
    limit: int


@dataclass(eq=False)
class NoVpc(NaosError):
    code: ClassVar[str] = "network.no_vpc"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "VLAN {vlan!r} is a private layer-2 network: nobody there gives address {address} to an adapter. Leave ipAddress out and set "
        "the address in the guest."
    )
    vlan: str
    address: str
