"""Recovery on real machines: a guest that writes numbered, checksummed records, each with fsync, is tested, lost, and brought back."""

import hashlib
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from real_platform import Real, until

pytestmark = [pytest.mark.lab, pytest.mark.soak]
GUEST = "first-az05"
LOOP = (
    "i=$(cat /root/records 2> /dev/null | wc -l); while :; do i=$((i+1)); "
    "echo $i $(echo $i | md5sum | cut -c -32) $(date +%s) >> /root/records; sync; echo $i > /tmp/recorded; done"
)
CLOCKS = 3.0
"""Seconds that a guest's clock, of whole seconds, may differ from the controller's."""


def _begin(real: Real) -> None:
    real.ask(GUEST, f"({LOOP}) > /dev/null 2>&1 & true")
    before = _recorded(real)
    until(lambda: _recorded(real) > before + 3, "the guest writes")


def _recorded(real: Real) -> int:
    """The number of the last record that the disk has acknowledged."""
    said = real.ask(GUEST, "cat /tmp/recorded 2> /dev/null || echo 0")
    return int(re.findall(r"\d+", said)[-1])


def _records(real: Real) -> list[tuple[int, float]]:
    """Numbers and times of what is on the disk; each record is whole, and none is missing."""
    words = real.ask(GUEST, "tail -n 400 /root/records; wc -l < /root/records").split()
    total, words = int(words[-1]), words[:-1]
    found = [(int(words[at]), words[at + 1], float(words[at + 2])) for at in range(0, len(words), 3)]
    assert [number for number, _, _ in found] == list(range(total - len(found) + 1, total + 1))
    assert all(sum_ == hashlib.md5(f"{number}\n".encode()).hexdigest() for number, sum_, _ in found)
    return [(number, at) for number, _, at in found]


def _report(real: Real, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = real.json("recovery", *words)
    assert found["state"] == "succeeded", found["steps"]
    assert found["genuine"]
    return found


def _up(real: Real, pool: str) -> None:
    assert real.machine(GUEST)["hostCluster"]["name"] == pool
    until(lambda: real.ask(GUEST, "echo here") == "here", "its prompt answers")


@pytest.mark.timeout(900)
def test_a_guest_is_tested_lost_without_its_last_writes_and_brought_back_whole(real: Real) -> None:
    real.ask(GUEST, "rm -f /root/records; sync")
    real.naos("recovery", "replica", "create", GUEST, "--pool", "pool-AZ06", "--volume", "volume-AZ06")
    signs = ("--check", "line", "--line", "ready:")
    real.naos("recovery", "create", "proof", "--pool", "pool-AZ06", "--machine", GUEST)
    real.naos("recovery", "machine", "proof", GUEST, *signs)
    _begin(real)
    real.naos("recovery", "replica", "run", GUEST)

    before = _recorded(real)
    tested = _report(real, "test", "proof")
    assert _recorded(real) > before, "the source wrote on meanwhile"
    names = [machine["name"] for machine in real.json("vm", "list")]
    assert not [name for name in names if "test" in name]
    real.naos("recovery", "replica", "run", GUEST)

    acknowledged = _recorded(real)
    lost = _report(real, "failover", "proof", "--unplanned", "--yes")
    _up(real, "pool-AZ06")
    (point,) = lost["report"]["points"]
    instant = datetime.fromisoformat(point["instant"]).timestamp()
    began = datetime.fromisoformat(lost["startedAt"]).timestamp()
    assert point["lostSeconds"] == pytest.approx(began - instant, abs=0.1)
    kept = _records(real)
    assert kept[-1][1] >= instant - CLOCKS, "every record up to the point's instant is there"
    assert kept[-1][0] <= acknowledged + 10**6
    assert real.json("recovery", "show", "proof")["unfenced"] == 0

    real.naos("recovery", "reverse", "proof")
    _begin(real)
    real.naos("recovery", "replica", "run", GUEST)
    acknowledged = _recorded(real)
    back = _report(real, "failback", "proof", "--yes")
    _up(real, "pool-AZ05")
    assert _records(real)[-1][0] >= acknowledged, "nothing that was acknowledged is missing"
    assert [point["lostSeconds"] for point in back["report"]["points"]] == [0]
    for run in (tested, lost, back):
        print(run["kind"], run["report"]["readyAfterSeconds"], "s,", datetime.now(UTC).isoformat())
        for step in run["steps"]:
            print(f"  {step['seconds']:8.3f} {step['name']}")
    real.naos("recovery", "discard", "proof", "--yes")
    real.naos("recovery", "delete", "proof", "--yes")
    real.naos("recovery", "replica", "stop", GUEST, "--yes")
    assert real.json("doctor") == []


@pytest.mark.timeout(900)
def test_a_replicated_volume_whose_array_dies_fails_over_and_comes_back(real: Real) -> None:
    """The array cannot cut anything off: the machine is ended on its blade instead, and the exports go when the array is back."""
    real.ask(GUEST, "rm -f /root/records; sync")
    real.naos("replication", "create", "volume-AZ05", "--to", "AZ06")
    real.naos("recovery", "create", "zone", "--pool", "pool-AZ06", "--machine", GUEST)
    real.naos("recovery", "machine", "zone", GUEST, "--check", "line", "--line", "ready:")
    _begin(real)
    _await_point(real, "volume-AZ05")
    blade = real.machine(GUEST)["host"]["name"]
    acknowledged = _recorded(real)
    real.naos("lab", "kill", "az05-array")
    try:
        lost = _report(real, "failover", "zone", "--unplanned", "--yes")
    finally:
        real.naos("lab", "start", "az05-array")
        real.attempt("lab", "start", blade)
    assert "its process on the blade is ended" in [step["remark"] for step in lost["steps"]]
    assert real.machine(GUEST)["hostCluster"]["name"] == "pool-AZ06"
    until(lambda: real.ask(GUEST, "echo here") == "here", "its prompt answers")
    instant = datetime.fromisoformat(lost["report"]["points"][0]["instant"]).timestamp()
    kept = _records(real)
    assert kept[-1][1] >= instant - CLOCKS
    print("acknowledged", acknowledged, "kept", kept[-1][0], "lost", lost["report"]["points"][0]["lostSeconds"], "s")
    until(lambda: real.json("recovery", "show", "zone")["unfenced"] == 0, "the old exports are cut")

    real.naos("recovery", "reverse", "zone")
    _begin(real)
    _await_point(real, "volume-AZ05 (replica)")  # which is the source now
    acknowledged = _recorded(real)
    back = _report(real, "failback", "zone", "--yes")
    _up(real, "pool-AZ05")
    assert _records(real)[-1][0] >= acknowledged
    for run in (lost, back):
        print(run["kind"], run["report"]["readyAfterSeconds"], "s")
        for step in run["steps"]:
            print(f"  {step['seconds']:8.3f} {step['name']}: {step['remark']}")
    real.naos("recovery", "reverse", "zone")
    real.naos("recovery", "delete", "zone", "--yes")
    real.naos("replication", "delete", "volume-AZ05", "--yes")
    until(lambda: real.json("doctor") == [], "nothing is amiss")


def _await_point(real: Real, volume: str) -> None:
    """A point that was begun after this moment is complete."""
    now = datetime.now(UTC)

    def newer() -> bool:
        instant = real.json("replication", "show", volume)["recoveryPoint"]["instant"]
        return instant is not None and datetime.fromisoformat(instant) > now

    until(newer, f"a new point of {volume}", 120.0)
