"""What is wrong with a blade: a pure decision from what two witnesses saw, over a clock that never steps.

The first witness is the connection to the blade's hypervisor. The second is the array: whether requests of the blade's guests
still arrive there, and whether the blade answers it. The chassis is asked too; only its "off" says something. Nobody is lost
on the word of one witness, and a witness that cannot be asked is no witness against anybody.

Waiting is counted in what was looked at: a stall of the controller itself adds one step, however long it took.
"""

from dataclasses import dataclass
from enum import StrEnum

from naos.engines.ports import BladePower

DEAD_SECONDS = 4.0
"""Longer than the stalls of 3 s that healthy blades have."""
OFF_SECONDS = 0.4
STORAGE_SECONDS = 8.0
STEP_SECONDS = 1.5
"""The most that one look adds, so that a controller which slept does not take its own sleep for a blade's."""
FEWEST_LOOKS = 3


class Seen(StrEnum):
    """The array's view of a blade."""

    TRAFFIC = "traffic"  # requests of its guests arrive
    REACHABLE = "reachable"  # it answers, and nothing arrives
    UNUSED = "unused"  # it answers, and none of its guests has a disk open
    SILENT = "silent"  # it does not answer, though it used to, and nothing arrives
    UNPROVEN = "unproven"  # it does not answer and was never seen to
    UNKNOWN = "unknown"  # the array itself does not answer


MAYBE_OFF = (Seen.SILENT, Seen.UNPROVEN, Seen.UNUSED)
"""Nothing speaks against a chassis that says "off"."""


class Condition(StrEnum):
    HEALTHY = "healthy"
    SUSPECT = "suspect"  # something is wrong, and it is not yet known what
    UNMANAGED = "unmanaged"  # its hypervisor does not answer, and its guests may well run: they are left alone
    FROZEN = "frozen"
    STORAGE_LOST = "storage_lost"
    DEAD = "dead"


LOST = (Condition.DEAD, Condition.FROZEN, Condition.STORAGE_LOST)
"""Machines of such a blade are started elsewhere, and it takes none before it has been cleaned."""


@dataclass(frozen=True)
class Sight:
    """One look at a blade. at: monotonic seconds. stuck: guests there wait for disks which their array serves, and sees others
    use."""

    at: float
    answers: bool
    array: Seen = Seen.UNKNOWN
    power: BladePower | None = None
    stuck: bool = False


@dataclass(frozen=True)
class Verdict:
    condition: Condition
    reason: str = ""


@dataclass
class _Count:
    """How long, and over how many looks in a row, something has been so."""

    seconds: float = 0.0
    looks: int = 0

    def add(self, step: float, *, holds: bool) -> None:
        """The step since the look before counts only when it was so then, too."""
        self.seconds = self.seconds + step if holds and self.looks else 0.0
        self.looks = self.looks + 1 if holds else 0


class Watch:
    """What is known of one blade. A blade that is lost stays so until `rejoined`. frozen_after: seconds, 0 for never."""

    def __init__(self, condition: Condition = Condition.HEALTHY) -> None:
        self.condition = condition
        self._last: float | None = None
        self._silent, self._off, self._quiet, self._stuck = _Count(), _Count(), _Count(), _Count()

    def judge(self, sight: Sight, frozen_after: int = 0) -> Verdict:
        """Take a look in, and say what the blade is now."""
        step = 0.0 if self._last is None else min(max(sight.at - self._last, 0.0), STEP_SECONDS)
        self._last = sight.at
        empty = not sight.answers and sight.array in MAYBE_OFF
        self._silent.add(step, holds=not sight.answers and sight.array == Seen.SILENT)
        self._off.add(step, holds=empty and sight.power == BladePower.OFF)
        self._quiet.add(step, holds=not sight.answers and sight.array in (Seen.REACHABLE, Seen.UNUSED))
        unseen = sight.array in (Seen.SILENT, Seen.UNPROVEN)
        self._stuck.add(step, holds=sight.answers and sight.stuck and unseen)
        if self.condition not in LOST:
            verdict = self._verdict(sight, frozen_after)
            self.condition = verdict.condition
            return verdict
        return Verdict(self.condition)

    def rejoined(self) -> None:
        """Its stale machines were removed."""
        self.condition = Condition.SUSPECT
        self._silent, self._off, self._quiet, self._stuck = _Count(), _Count(), _Count(), _Count()

    def _verdict(self, sight: Sight, frozen_after: int) -> Verdict:  # noqa: PLR0911 - a table
        if sight.answers:
            if self._stuck.seconds >= STORAGE_SECONDS and self._stuck.looks >= FEWEST_LOOKS:
                return Verdict(
                    Condition.STORAGE_LOST,
                    f"its hypervisor answers, its guests wait for disks that the array serves, and the array has not seen the "
                    f"blade for {self._stuck.seconds:.1f} s",
                )
            if sight.stuck:
                return Verdict(Condition.SUSPECT, "its guests wait for their disks")
            return Verdict(Condition.HEALTHY)
        if self._off.seconds >= OFF_SECONDS:
            return Verdict(
                Condition.DEAD, "its chassis says off, its hypervisor does not answer, and no guest uses a disk"
            )
        if self._silent.seconds >= DEAD_SECONDS and self._silent.looks >= FEWEST_LOOKS:
            return Verdict(
                Condition.DEAD, f"neither its hypervisor nor the array has heard of it for {self._silent.seconds:.1f} s"
            )
        if sight.array == Seen.TRAFFIC:
            return Verdict(Condition.UNMANAGED, "its hypervisor does not answer; its guests use their disks")
        if sight.array in (Seen.REACHABLE, Seen.UNUSED):
            if 0 < frozen_after <= self._quiet.seconds and self._quiet.looks >= FEWEST_LOOKS:
                return Verdict(
                    Condition.FROZEN,
                    f"its network answers, but for {self._quiet.seconds:.1f} s neither its hypervisor did nor a guest used a disk",
                )
            return Verdict(Condition.UNMANAGED, "its hypervisor does not answer; it answers the array")
        said = {
            Seen.SILENT: "the array does not hear of it",
            Seen.UNPROVEN: "the array does not hear of it, but never did",
            Seen.UNKNOWN: "the array cannot be asked",
        }
        return Verdict(Condition.SUSPECT, f"its hypervisor does not answer; {said[sight.array]}")
