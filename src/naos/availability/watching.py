"""Looking at one blade: its hypervisor, its array's view of it, its chassis. Nobody who hangs holds up anybody else."""

import re
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from naos.availability.detection import MAYBE_OFF, Condition, Seen, Sight
from naos.engines.errors import EngineError
from naos.engines.ports import BladePower, Host, Peer, PowerState
from naos.inventory.model import Blade
from naos.world import World

ANSWER_SECONDS = 0.8
"""How long a hypervisor may take before a look counts as unanswered; the call goes on, and its answer counts in a later look."""
SECOND_WITNESS_SECONDS = 2.0
REMEMBER_SECONDS = 15.0
"""How often the array is asked about a blade that is well: that it saw the blade then is what makes its silence say something."""
_UNANSWERED = re.compile(r"\bbackoff:[1-9]")
"""How ``ss`` shows a connection on which something was sent again, and again without an answer."""


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
        array = next((entry for entry in world.inventory.arrays if entry.zone == blade.zone), None)
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix=f"lookout {blade.name}")
        rack = world.rack
        self._hypervisor = _Asked(self._pool, lambda: rack.hypervisor(blade.name).domains())
        self._chassis = _Asked(self._pool, lambda: rack.chassis(blade.name).power())
        asked = [self._address, *self._others]
        self._array = self._requests = None
        if array is not None and self._address:
            name, place = array.name, str(array.address)
            self._array = _Asked(self._pool, lambda: rack.array(name).peers(asked))
            self._requests = _Asked(self._pool, lambda: _unanswered(rack.blade_host(blade.name), place))
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
        if answers and not waiting and condition == Condition.HEALTHY and time.monotonic() < self._remember_due:
            return Sight(time.monotonic(), answers=True, array=Seen.REACHABLE)
        array, others_seen = self._ask_array()
        if array != Seen.SILENT:
            self._remember_due = time.monotonic() + REMEMBER_SECONDS
        elif answers and others_seen and not waiting:
            waiting = self._ask_about_requests()
        power = self._ask_chassis() if not answers and array in MAYBE_OFF else None
        return Sight(time.monotonic(), answers, array, power, stuck=waiting and others_seen)

    def _ask_hypervisor(self) -> bool:
        try:
            self.domains = self._hypervisor.answer(ANSWER_SECONDS)
        except (TimeoutError, EngineError):
            return False
        return True

    def _ask_about_requests(self) -> bool:
        """Whether the guests' requests go out and no answer comes. A guest that asks for nothing misses nothing."""
        try:
            return self._requests is not None and bool(self._requests.answer(ANSWER_SECONDS))
        except (TimeoutError, EngineError):
            return False

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


def _unanswered(host: Host, array: str) -> bool:
    """Whether the blade sends the same again and again to the array: a cable that is cut is no error to a connection."""
    return _UNANSWERED.search(host.run(["ss", "-Htin", "dst", array], check=False).stdout) is not None
