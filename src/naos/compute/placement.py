"""On which blade a machine starts: a pure decision that explains itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from naos.compute.errors import NoRoom
from naos.units import size_text


@dataclass(frozen=True)
class Candidate:
    """A blade as the decision sees it: bytes of memory in all and reserved by machines, and how many machines it runs."""

    name: str
    memory: int
    reserved: int
    machines: int
    connected: bool = True

    @property
    def free(self) -> int:
        return self.memory - self.reserved


@dataclass(frozen=True)
class Verdict:
    """Why a blade can or cannot take a machine; `weight` orders those that can, higher first."""

    blade: str
    fits: bool
    reason: str
    weight: tuple[int, int]


def judge(candidate: Candidate, needed: int) -> Verdict:
    """Hard rules first (connected, memory), then the weight: most free memory, then fewest machines."""
    weight = (candidate.free, -candidate.machines)
    if not candidate.connected:
        return Verdict(candidate.name, fits=False, reason="not connected", weight=weight)
    if candidate.free < needed:
        short = size_text(needed - candidate.free)
        reason = f"{size_text(max(candidate.free, 0))} of {size_text(candidate.memory)} free, {short} short"
        return Verdict(candidate.name, fits=False, reason=reason, weight=weight)
    return Verdict(candidate.name, fits=True, reason=f"{size_text(candidate.free)} free", weight=weight)


def choose(
    cpool: str, machine: str, candidates: Sequence[Candidate], needed: int, *, preferred: str | None = None
) -> str:
    """The preferred blade when it fits, else the one with most room; ties go by name. Raises NoRoom with every verdict."""
    verdicts = [judge(candidate, needed) for candidate in candidates]
    fitting = sorted((verdict for verdict in verdicts if verdict.fits), key=lambda verdict: verdict.blade)
    if not fitting:
        told = "; ".join(f"{verdict.blade}: {verdict.reason}" for verdict in verdicts) or "the cpool has no blade"
        raise NoRoom(cpool, machine, size_text(needed), told)
    for verdict in fitting:
        if verdict.blade == preferred:
            return verdict.blade
    return max(fitting, key=lambda verdict: verdict.weight).blade
