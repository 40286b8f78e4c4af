"""Looking at one blade: its hypervisor, its array's view of it, its chassis. Nobody who hangs holds up anybody else."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from naos.availability.detection import MAYBE_OFF, Condition, Seen, Sight
from naos.engines.errors import EngineError
from naos.engines.ports import BladePower, Peer, PowerState
from naos.inventory.model import Blade
from naos.world import World

ANSWER_SECONDS = 0.8
"""How long a hypervisor may take before a look counts as unanswered; the call goes on, and its answer counts in a later look."""
SECOND_WITNESS_SECONDS = 2.0
REMEMBER_SECONDS = 15.0
"""How often the array is asked about a blade that is well: that it saw the blade then is what makes its silence say something."""


class _Asked:
    """A question that is under way or has been answered; asked again once it has been."""

    def __init__(self, pool: ThreadPoolExecutor, question: Callable[[], Any]) -> None:
        self._pool, self._question = pool, question
        self._future: Future[Any] | None = None

    def begin(self) -> None:
        if self._future is None:
            self._future = self._pool.submit(self._question)

    def answer(self, seconds: float) -> Any:
        """Raises TimeoutError when there is none within the time, EngineError when there is none to be had."""
        self.begin()
        found = self._future
        assert found is not None  # noqa: S101 - for the type checker
        try:
            value = found.result(seconds)
        except TimeoutError:
            if found.done():
                self._future = None
            raise
        except BaseException:
            self._future = None
            raise
        self._future = None
        return value


class Lookout:
    """One blade's. Its `look` is called by one thread at a time.

    others: addresses of the blades beside it. seen: whether the array has ever seen it.
    """

    def __init__(self, world: World, blade: Blade, others: list[str], *, seen: bool) -> None:
        self._blade = blade
        self._address = blade.storage_address
        self._others = [address for address in others if address != self._address]
        array = next((entry.name for entry in world.inventory.arrays if entry.zone == blade.zone), None)
        self._pool = ThreadPoolExecutor(max_workers=3, thread_name_prefix=f"lookout {blade.name}")
        rack = world.rack
        self._hypervisor = _Asked(self._pool, lambda: rack.hypervisor(blade.name).domains())
        self._chassis = _Asked(self._pool, lambda: rack.chassis(blade.name).power())
        asked = [self._address, *self._others]
        self._array = _Asked(self._pool, lambda: rack.array(array).peers(asked)) if array and self._address else None
        self._received: int | None = None
        self.seen = seen
        self._remember_due = 0.0
        self.domains: dict[str, PowerState] = {}

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def look(self, condition: Condition) -> Sight:
        """A look now. condition: what the blade was before; a blade that is well costs the array next to nothing."""
        if condition != Condition.HEALTHY:
            self._chassis.begin()
            if self._array is not None:
                self._array.begin()
        answers = self._ask_hypervisor()
        waiting = answers and PowerState.IO_ERROR in self.domains.values()
        if answers and not waiting and condition == Condition.HEALTHY:
            if time.monotonic() >= self._remember_due:
                self._remember_due = time.monotonic() + REMEMBER_SECONDS
                self._ask_array()
            return Sight(time.monotonic(), answers=True, array=Seen.REACHABLE)
        array, others_seen = self._ask_array()
        power = self._ask_chassis() if not answers and array in MAYBE_OFF else None
        return Sight(time.monotonic(), answers, array, power, stuck=waiting and others_seen)

    def _ask_hypervisor(self) -> bool:
        try:
            self.domains = self._hypervisor.answer(ANSWER_SECONDS)
        except (TimeoutError, EngineError):
            return False
        return True

    def _ask_chassis(self) -> BladePower | None:
        try:
            power: BladePower = self._chassis.answer(ANSWER_SECONDS)
        except (TimeoutError, EngineError):
            return None
        return power

    def _ask_array(self) -> tuple[Seen, bool]:
        """What the array says of the blade, and whether it sees another one."""
        if self._array is None:
            return Seen.UNKNOWN, False
        try:
            peers: dict[str, Peer] = self._array.answer(SECOND_WITNESS_SECONDS)
        except (TimeoutError, EngineError):
            return Seen.UNKNOWN, False
        own, before = peers[self._address], self._received
        self._received = own.received
        others_seen = any(peers[address].answers for address in self._others)
        if before is not None and own.connections and own.received > before:
            self.seen = True
            return Seen.TRAFFIC, others_seen
        if own.answers:
            self.seen = True
            return (Seen.REACHABLE if own.connections else Seen.UNUSED), others_seen
        return (Seen.SILENT if self.seen else Seen.UNPROVEN), others_seen
