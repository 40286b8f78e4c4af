"""How the supervisor takes a volume that does not come back, and one that is gone."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from naos.compute import supervisor
from naos.compute.supervisor import Supervisor
from naos.errors import Unknown


def test_a_volume_that_does_not_come_back_is_tried_ever_less_often_and_at_once_after_it_was_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when what its disks rest on lies in a vault that is away: each attempt ends as the one before."""
    clock, tried = SimpleNamespace(now=0.0), list[float]()
    whole, busy = SimpleNamespace(now=False), SimpleNamespace(now=False)
    looks: Any = Supervisor.__new__(Supervisor)
    looks._recover_due, looks._world = {}, SimpleNamespace(database=SimpleNamespace(read=nullcontext))
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(supervisor, "is_unfinished", lambda _session, _plan: busy.now)
    monkeypatch.setattr(supervisor.luns, "plan_recover", lambda _session, lun_id: lun_id)
    monkeypatch.setattr(supervisor.luns, "admit", lambda *_: None)
    looks._contents = lambda _lun_id: SimpleNamespace(templates=())
    looks._measure = lambda _lun_id, **_kinds: None
    looks._serves_all = lambda _lun_id, _contents: whole.now
    looks._serves_more = lambda _lun_id, _contents: False
    looks._submit = lambda _check, **_how: tried.append(clock.now)

    def rounds(seconds: int) -> list[float]:
        begun, already = clock.now, len(tried)
        for _ in range(seconds):
            looks._look_at_volume("volume")
            clock.now += 1.0
        return [moment - begun for moment in tried[already:]]

    assert rounds(60) == [0, 2, 6, 14, 29, 44, 59]
    whole.now = True
    assert rounds(3) == []
    whole.now = False
    assert rounds(3) == [0, 2]
    busy.now = True  # one that takes long is no failure, and the pause begins at its end
    assert rounds(20) == []
    busy.now = False
    assert rounds(10) == [3]


def test_a_volume_that_is_deleted_while_it_is_looked_at_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_world: object, lun_id: str) -> None:
        raise Unknown("volume", lun_id)

    looks: Any = Supervisor.__new__(Supervisor)
    looks._world = None
    monkeypatch.setattr(supervisor.luns, "spec", gone)
    lines = LogCapture()
    monkeypatch.setattr(
        supervisor, "_log", structlog.wrap_logger(None, processors=[lines], wrapper_class=structlog.stdlib.BoundLogger)
    )
    looks._safely(looks._look_at_volume, "volume")
    assert [(line["event"], line["log_level"]) for line in lines.entries] == [("supervisor.subject_gone", "info")]
