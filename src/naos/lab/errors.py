"""What the lab refuses, each with its remedy."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class LabError(NaosError):
    """A refusal or failure of the one-machine rack."""

    code: ClassVar[str] = "lab.failed"
    status: ClassVar[int] = 409


@dataclass(eq=False)
class BadPlan(LabError):
    code: ClassVar[str] = "lab.plan"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "A lab cannot have {what}; it can have {possible}."
    what: str
    possible: str


@dataclass(eq=False)
class NotLinux(LabError):
    code: ClassVar[str] = "lab.not_linux"
    sentence: ClassVar[str] = "The lab needs Linux, and this is {system}; run it in a Linux machine."
    system: str


@dataclass(eq=False)
class NotRoot(LabError):
    code: ClassVar[str] = "lab.not_root"
    sentence: ClassVar[str] = "The lab makes network namespaces, which needs root (this is user {user}); use sudo."
    user: int


@dataclass(eq=False)
class LittleMemory(LabError):
    code: ClassVar[str] = "lab.memory"
    sentence: ClassVar[str] = (
        "{available:.1f} GiB of memory are available and the lab needs {needed:g}; end other programs."
    )
    available: float
    needed: float


@dataclass(eq=False)
class LittleDisk(LabError):
    code: ClassVar[str] = "lab.disk"
    sentence: ClassVar[str] = (
        "{folder} has {free:.1f} GiB free and the lab needs {needed:g}; free some, or set NAOS_ROOT to another folder."
    )
    folder: str
    free: float
    needed: float


@dataclass(eq=False)
class PortTaken(LabError):
    code: ClassVar[str] = "lab.port"
    sentence: ClassVar[str] = "Port {port} of 127.0.0.1, the API's, is taken by {owner}; stop that first."
    port: int
    owner: str


@dataclass(eq=False)
class NoTunnelDevice(LabError):
    code: ClassVar[str] = "lab.tun"
    sentence: ClassVar[str] = "There is no {path}, which guests' network cards need; run `modprobe tun`."
    path: str


@dataclass(eq=False)
class ProgramsMissing(LabError):
    code: ClassVar[str] = "lab.programs"
    sentence: ClassVar[str] = "Missing: {programs}. Install: apt-get install {packages}"
    programs: str
    packages: str


@dataclass(eq=False)
class RootHidden(LabError):
    code: ClassVar[str] = "lab.root"
    sentence: ClassVar[str] = "The lab cannot live in {root}: {reason}; set NAOS_ROOT to another folder."
    root: str
    reason: str


@dataclass(eq=False)
class RootTaken(LabError):
    code: ClassVar[str] = "lab.root_taken"
    sentence: ClassVar[str] = "{path} is there and is not the lab's; move it away, or set NAOS_ROOT to another folder."
    path: str


@dataclass(eq=False)
class RangeTaken(LabError):
    code: ClassVar[str] = "lab.range"
    sentence: ClassVar[str] = (
        "The lab's range {network} overlaps {present} of this machine; choose another, as in --range 10.214.0.0/16."
    )
    network: str
    present: str


@dataclass(eq=False)
class NamespacesTaken(LabError):
    code: ClassVar[str] = "lab.namespaces"
    sentence: ClassVar[str] = (
        "Namespaces {names} exist already and are not of the lab in {root}; take that lab down, or choose another --name."
    )
    names: str
    root: str


@dataclass(eq=False)
class Unfit(LabError):
    """Several refusals at once."""

    code: ClassVar[str] = "lab.unfit"
    sentence: ClassVar[str] = "{reasons}"
    reasons: str


@dataclass(eq=False)
class OtherLab(LabError):
    code: ClassVar[str] = "lab.other"
    sentence: ClassVar[str] = "{root} holds a lab with {present}, not {wanted}; run `naos lab down` first."
    root: str
    present: str
    wanted: str


@dataclass(eq=False)
class NoLab(LabError):
    code: ClassVar[str] = "lab.none"
    status: ClassVar[int] = 404
    sentence: ClassVar[str] = "There is no lab in {root}; run `naos lab up`."
    root: str


@dataclass(eq=False)
class BadRecord(LabError):
    code: ClassVar[str] = "lab.record"
    sentence: ClassVar[str] = (
        "{file} cannot be read ({reason}); it says what the lab has made, so restore or remove it by hand."
    )
    file: str
    reason: str


@dataclass(eq=False)
class UnknownPart(LabError):
    code: ClassVar[str] = "lab.unknown"
    status: ClassVar[int] = 404
    sentence: ClassVar[str] = "The lab has no {name}; it has {known}."
    name: str
    known: str


@dataclass(eq=False)
class NotForLinks(LabError):
    code: ClassVar[str] = "lab.link"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "{name} is a zone's link, which can only be cut and joined."
    name: str


@dataclass(eq=False)
class StillThere(LabError):
    code: ClassVar[str] = "lab.left"
    sentence: ClassVar[str] = "{what} could not be removed ({reason}); run `naos lab down` again once it is free."
    what: str
    reason: str


@dataclass(eq=False)
class ControllerFailed(LabError):
    code: ClassVar[str] = "lab.controller"
    sentence: ClassVar[str] = "The controller did not start: {reason}. Its log is {log}."
    reason: str
    log: str
