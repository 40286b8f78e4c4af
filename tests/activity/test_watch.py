"""What looks at something once a period, on the controller that leads."""

import threading
from typing import Any

from naos.activity.watch import Watch

SECONDS = 20.0


class Engine:
    leads = True

    def is_leader(self) -> bool:
        return self.leads


class Counter(Watch):
    name = "counter"

    def __init__(self, engine: Any, period: float) -> None:
        super().__init__(engine, period)
        self.looks, self.rests = threading.Semaphore(0), threading.Semaphore(0)

    def look(self) -> None:
        self.looks.release()
        raise RuntimeError("a look that fails ends nothing")

    def rest(self) -> None:
        self.rests.release()


def test_it_looks_again_whatever_a_look_did_and_rests_while_another_one_leads() -> None:
    engine = Engine()
    counter = Counter(engine, 0.01)
    counter.start()
    assert all(counter.looks.acquire(timeout=SECONDS) for _ in range(3))
    engine.leads = False
    assert counter.rests.acquire(timeout=SECONDS)
    engine.leads = True
    while counter.looks.acquire(blocking=False):
        pass
    assert counter.looks.acquire(timeout=SECONDS)
    counter.stop()
    assert counter.is_stopping()


def test_it_is_woken_before_its_time_and_stops_at_once() -> None:
    counter = Counter(Engine(), 3600.0)
    counter.start()
    counter.wake()
    assert counter.looks.acquire(timeout=SECONDS)
    counter.stop()
    assert not counter.looks.acquire(blocking=False)
