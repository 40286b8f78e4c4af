"""On which blade a machine runs: a pure decision over the blades of a cpool, which explains itself.

Hard rules say on which blades it can be at all; of those the weight decides. Starting, moving, clones, recommendations and
explanations all come through `obstacles` and `weigh`, or through `best`, which is the same; so none of them allows what another
forbids.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from naos.compute.errors import NoRoom
from naos.names import listing
from naos.units import size_text

AFFINITY, ANTI_AFFINITY = "affinity", "anti-affinity"
CROWDED = 85
"""Percent of a blade's memory; a machine does not go back to the blade where it was last when that gets fuller than this."""

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A blade as the decision sees it.

    memory: bytes that machines may be given there in all; reserved, vcpus, machines: what the other machines have. vcpu_limit:
    how many vCPUs may run there, None for any number. closed: why it takes no machine for now, "" when it does. vlans: names.
    """

    name: str
    memory: int
    reserved: int
    machines: int
    connected: bool = True
    vcpus: int = 0
    vcpu_limit: int | None = None
    closed: str = ""
    model: str = ""
    zone: str = ""
    vlans: frozenset[str] = _NOTHING

    @property
    def free(self) -> int:
        return self.memory - self.reserved


@dataclass(frozen=True, slots=True)
class Tie:
    """An enabled affinity rule of the machine. blades: where its other machines are; others: their names."""

    rule: str
    kind: str
    must: bool
    blades: frozenset[str]
    others: tuple[str, ...] = ()

    def broken_by(self, blade: str) -> bool:
        if self.kind == ANTI_AFFINITY:
            return blade in self.blades
        return bool(self.blades) and blade not in self.blades


@dataclass(frozen=True, slots=True)
class Need:
    """What a machine asks of its blade.

    memory: bytes. model: which its blade must be of, "" for any. volumes: name and zone of those that its disks are on. vlans:
    names. wished: the blade that a client named; home: where it was last. lacking: features of the
    processor that its guest was shown and a blade, by name, does not have. gpus: how many it needs, of those that are free on each
    blade; bound: it has some of its blade, and cannot leave it while it runs.
    """

    memory: int
    vcpus: int = 0
    model: str = ""
    volumes: tuple[tuple[str, str], ...] = ()
    vlans: frozenset[str] = _NOTHING
    ties: tuple[Tie, ...] = ()
    wished: str | None = None
    home: str | None = None
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gpus: int = 0
    free_gpus: Mapping[str, int] = field(default_factory=dict)
    bound: bool = False


class Obstacle(NamedTuple):
    """rule: which one keeps a machine off a blade, a key of `blockers.HELP`. reason: in words."""

    rule: str
    reason: str


Weight = tuple[bool, int, bool, int, int]


@dataclass(frozen=True)
class Verdict:
    """Why a blade can or cannot take a machine; `weight` orders those that can, higher first."""

    blade: str
    fits: bool
    reason: str
    weight: Weight


def obstacles(candidate: Candidate, need: Need) -> Iterator[Obstacle]:
    """Each hard rule that keeps the machine off the blade."""
    if not candidate.connected:
        yield Obstacle("connection", "not connected")
    if candidate.closed:
        yield Obstacle("closed", candidate.closed)
    if need.model and candidate.model != need.model:
        yield Obstacle("model", f"of model {candidate.model}, and the machine runs on {need.model}")
    if candidate.memory - candidate.reserved < need.memory:
        short = size_text(need.memory - candidate.free)
        free = f"{size_text(max(candidate.free, 0))} of {size_text(candidate.memory)} free"
        yield Obstacle("memory", f"{free}, {short} short")
    if candidate.vcpu_limit is not None and candidate.vcpus + need.vcpus > candidate.vcpu_limit:
        used = f"{candidate.vcpus} of {candidate.vcpu_limit} vCPUs in use (the cpool's vCPU rate)"
        yield Obstacle("vcpu-rate", f"{used}, the machine needs {need.vcpus}")
    yield from _out_of_reach(candidate, need)
    yield from _without_what_it_has(candidate, need)
    for tie in need.ties:
        if tie.must and tie.broken_by(candidate.name):
            yield Obstacle(tie.kind, _told(tie))


def _out_of_reach(candidate: Candidate, need: Need) -> Iterator[Obstacle]:
    for volume, zone in need.volumes:
        if zone != candidate.zone:
            yield Obstacle("volume", f"volume {volume} is in zone {zone} and cannot be reached")
    if not need.vlans <= candidate.vlans:
        yield Obstacle("vlan", f"VLAN {listing(need.vlans - candidate.vlans)} is not there")


def _without_what_it_has(candidate: Candidate, need: Need) -> Iterator[Obstacle]:
    """Of its processor and GPUs."""
    if candidate.name in need.lacking:
        lacks = f"its processor lacks {listing(need.lacking[candidate.name], most=5)}"
        yield Obstacle("processor", f"{lacks}, which the guest was shown at its start; start the machine anew first")
    if need.bound and candidate.name != need.home:
        has = f"the machine has GPUs of {need.home}"
        yield Obstacle("gpu", f"{has} and cannot leave it while it runs; stop it first")
    elif need.free_gpus.get(candidate.name, 0) < need.gpus:
        free = f"{need.free_gpus.get(candidate.name, 0)} GPU(s) free"
        yield Obstacle("gpu", f"{free}, the machine needs {need.gpus}")


def _told(tie: Tie) -> str:
    others = listing(tie.others) or "its other machines"
    if tie.kind == ANTI_AFFINITY:
        return f"anti-affinity rule {tie.rule!r} keeps it apart from {others}"
    return f"affinity rule {tie.rule!r} keeps it with {others} on {listing(tie.blades)}"


def weigh(candidate: Candidate, need: Need) -> Weight:
    """What was wished, then the fewest broken rules that only should hold, then least movement, balance and spread."""
    broken = 0
    for tie in need.ties:
        if not tie.must and tie.broken_by(candidate.name):
            broken += 1
    stays = candidate.name == need.home and _has_ease(candidate, need.memory)
    return (candidate.name == need.wished, -broken, stays, candidate.memory - candidate.reserved, -candidate.machines)


def judge(candidate: Candidate, need: Need) -> Verdict:
    """One blade, with every reason."""
    against = "; ".join(obstacle.reason for obstacle in obstacles(candidate, need))
    return Verdict(candidate.name, not against, against or _praise(candidate, need), weigh(candidate, need))


def _praise(candidate: Candidate, need: Need) -> str:
    said = [f"{size_text(candidate.free)} free", f"{candidate.machines} machine(s) there"]
    if candidate.name == need.wished:
        said.append("it was asked for")
    elif candidate.name == need.home:
        said.append("the machine was there last")
    for tie in need.ties:
        if tie.blades and tie.broken_by(candidate.name):
            said.append(f"{_told(tie)}, which should hold and would not")
        elif tie.blades and tie.kind == AFFINITY:
            said.append(f"affinity rule {tie.rule!r} holds")
    return ", ".join(said)


def best(candidates: Sequence[Candidate], need: Need) -> str | None:
    """The fitting blade of most weight, of equal ones the first by name; None when none fits.

    What `obstacles` and `weigh` say, asked in the order in which most blades drop out, and without a word: a decision must be over
    before the processor is taken from it. That it never differs from them is tested.
    """
    found = _roomy(candidates, need)
    if need.ties:
        found = _where_ties_hold(found, need.ties)
    if need.volumes or need.vlans or need.lacking or need.gpus or need.bound:
        found = [candidate for candidate in found if not _lacks(candidate, need)]
    if len(found) > 1 and (need.ties or need.home is not None or need.wished is not None):
        found = _preferred(found, need)
    if not found:
        return None
    return min(found, key=lambda each: (each.reserved - each.memory, each.machines, each.name)).name


def _roomy(candidates: Sequence[Candidate], need: Need) -> list[Candidate]:
    """Blades that take machines at all, and have what every machine needs."""
    memory, vcpus, model = need.memory, need.vcpus, need.model
    return [
        each
        for each in candidates
        if each.memory - each.reserved >= memory
        and not each.closed
        and each.connected
        and (each.vcpu_limit is None or each.vcpus + vcpus <= each.vcpu_limit)
        and (not model or each.model == model)
    ]


def _where_ties_hold(found: Sequence[Candidate], ties: Sequence[Tie]) -> list[Candidate]:
    """Without those where a rule that must hold would not."""
    away = _NOTHING.union(*(tie.blades for tie in ties if tie.must and tie.kind == ANTI_AFFINITY))
    beside = [tie.blades for tie in ties if tie.must and tie.kind != ANTI_AFFINITY and tie.blades]
    together = beside[0].intersection(*beside[1:]) if beside else None
    return [each for each in found if each.name not in away and (together is None or each.name in together)]


def _preferred(found: Sequence[Candidate], need: Need) -> list[Candidate]:
    """Those that come first by what was wished, the rules that should hold, and least movement."""
    soft = [tie for tie in need.ties if not tie.must]
    if not soft and need.wished is None:
        stays = [each for each in found if each.name == need.home and _has_ease(each, need.memory)]
        return stays or list(found)
    liked = [
        (
            each.name == need.wished,
            -sum([tie.broken_by(each.name) for tie in soft]),
            each.name == need.home and _has_ease(each, need.memory),
        )
        for each in found
    ]
    most = max(liked)
    return [each for each, rank in zip(found, liked, strict=True) if rank == most]


def _has_ease(candidate: Candidate, memory: int) -> bool:
    """Whether the blade is not crowded with so many bytes more."""
    return (candidate.reserved + memory) * 100 <= candidate.memory * CROWDED


def _lacks(candidate: Candidate, need: Need) -> bool:
    """Whether something is not there that the machine has or uses."""
    if next(_out_of_reach(candidate, need), None) is not None:
        return True
    return next(_without_what_it_has(candidate, need), None) is not None


def choose(cpool: str, machine: str, candidates: Sequence[Candidate], need: Need) -> str:
    """The best blade. Raises NoRoom with every verdict."""
    found = best(candidates, need)
    if found is None:
        verdicts = [judge(candidate, need) for candidate in candidates]
        told = "; ".join(f"{verdict.blade}: {verdict.reason}" for verdict in verdicts) or "the cpool has no blade"
        raise NoRoom(cpool, machine, size_text(need.memory), told)
    return found


def ranked(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The fitting ones, the best first, then the others by name."""
    by_name = sorted(verdicts, key=lambda verdict: verdict.blade)
    return sorted(by_name, key=lambda verdict: (verdict.fits, verdict.weight if verdict.fits else ()), reverse=True)
