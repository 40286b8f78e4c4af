"""Refusals of datastore clusters."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class ClusterMixed(NaosError):
    """`trait`: zone, IOPS class or encryption."""

    code: ClassVar[str] = "storage.cluster_mixed"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "The volumes of a datastore cluster share zone, IOPS class and encryption, so that each may take any disk; "
        "here the {trait} differs: {found}. Make a cluster for each {trait}."
    )
    trait: str
    found: str


@dataclass(eq=False)
class ClusterEmpty(NaosError):
    code: ClassVar[str] = "storage.cluster_empty"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "A datastore cluster holds at least one volume; name one to begin with."


@dataclass(eq=False)
class ClusterTooLarge(NaosError):
    code: ClassVar[str] = "storage.cluster_too_large"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Datastore cluster {name!r} would hold {count} volumes and may hold {maximum}; make another cluster."
    )
    name: str
    count: int
    maximum: int


@dataclass(eq=False)
class InOtherCluster(NaosError):
    code: ClassVar[str] = "storage.in_other_cluster"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {volume!r} is in datastore cluster {cluster!r} already, and a volume is in one at most; take it out there first."
    )
    volume: str
    cluster: str


@dataclass(eq=False)
class LastOfCluster(NaosError):
    code: ClassVar[str] = "storage.last_of_cluster"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {volume!r} is the last one of datastore cluster {cluster!r}; add another to the cluster first, or delete the cluster "
        "(its volumes stay)."
    )
    volume: str
    cluster: str


@dataclass(eq=False)
class ClusterFull(NaosError):
    """`told`: each volume with the reason for which it cannot take it."""

    code: ClassVar[str] = "storage.cluster_full"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "No volume of datastore cluster {cluster!r} can take {size}: {told}. Free some space, grow a volume or add one to the cluster."
    )
    cluster: str
    size: str
    told: str
