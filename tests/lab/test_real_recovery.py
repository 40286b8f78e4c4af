"""Recovery on real machines, held against a guest that writes numbered, checksummed records with fsync: after an unplanned failover what is
there is a prefix of what it was told is written, no older than naos had said; after a planned one everything is."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from availability_rig import ACKNOWLEDGED, SERIAL, Bench, Guest, bench_of
from real_platform import Real, until

pytestmark = [pytest.mark.lab, pytest.mark.soak]
GUEST = "first-az05"
HERE, THERE = "az05", "az06"
LINE = ("--check", "line", "--line", "ready:")


class Acknowledgements(threading.Thread):
    """What the guest says on its serial line while it runs in one zone: when each record had been acknowledged, at the latest."""

    def __init__(self, real: Real, guest: Guest, zone: str) -> None:
        super().__init__(daemon=True)
        self._real, self._guest, self._zone = real, guest, zone
        self._ended = threading.Event()
        self._since = mark(real, guest, zone)
        self.seen: list[tuple[float, int]] = []  # epoch seconds, the highest number by then

    def run(self) -> None:
        while not self._ended.is_set():
            numbers = said(self._real, self._guest, self._zone, self._since)
            if numbers and (not self.seen or numbers[-1] > self.seen[-1][1]):
                self.seen.append((time.time(), numbers[-1]))
            self._ended.wait(0.05)

    def end(self) -> int:
        """The last number that was acknowledged."""
        self._ended.set()
        self.join()
        return self.seen[-1][1]

    def at(self, number: int) -> float | None:
        """When this one had been acknowledged, at the latest; None when it never was."""
        return next((moment for moment, told in self.seen if told >= number), None)


Mark = dict[Path, tuple[int, int]]


def lines_of(real: Real, guest: Guest, zone: str) -> list[Path]:
    """The logs of its serial line on a zone's blades."""
    return sorted(real.root.glob(f"hosts/{zone}-blade*/{SERIAL}/{guest.id}*.log"))


def mark(real: Real, guest: Guest, zone: str) -> Mark:
    """How much of them there is: inode and bytes by path."""
    facts = {path: path.stat() for path in lines_of(real, guest, zone)}
    return {path: (found.st_ino, found.st_size) for path, found in facts.items()}


def said(real: Real, guest: Guest, zone: str, since: Mark) -> list[int]:
    """The numbers that the guest has acknowledged on a zone's blades since then, as they came."""
    found: list[int] = []
    for path in lines_of(real, guest, zone):
        with path.open("rb") as file:
            inode, size = since.get(path, (0, 0))
            if inode == os.fstat(file.fileno()).st_ino and os.fstat(file.fileno()).st_size >= size:
                file.seek(size)
            found += map(int, ACKNOWLEDGED.findall(file.read().decode(errors="replace")))
    return found


@contextmanager
def listening(bench: Bench, guest: Guest, zone: str) -> Iterator[Acknowledgements]:
    """The guest writes on, and somebody listens."""
    listener = Acknowledgements(bench.real, guest, zone)
    listener.start()
    bench.go_on(guest)
    until(lambda: len(listener.seen) > 5, "it writes")
    try:
        yield listener
    finally:
        listener.end()


def first_after(bench: Bench, guest: Guest, zone: str, since: Mark) -> int:
    """The first number that the guest writes in a zone: it goes on after the last record that its disk has."""
    until(lambda: said(bench.real, guest, zone, since), "it writes on after what is there", 120.0)
    return said(bench.real, guest, zone, since)[0]


def report_of(real: Real, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = real.json("recovery", *words)
    assert found["state"] == "succeeded", found["steps"]
    assert found["genuine"]
    return found


def told(*runs: dict[str, Any]) -> None:
    for run in runs:
        print(run["kind"], run["report"]["readyAfterSeconds"], "s")
        for step in run["steps"]:
            print(f"  {step['seconds']:8.3f} {step['name']}: {step['remark']}")


def whole(bench: Bench, guest: Guest, zone: str, since: Mark) -> None:
    """Every record up to what was acknowledged here is in the ledger, once, with its checksum. The guest stands still then."""
    bench.ask(guest, "touch /tmp/pause; sleep 1")
    acknowledged = said(bench.real, guest, zone, since)
    words = bench.ask(guest, "cat /root/ledger; echo end", 120.0).split()
    assert words.pop() == "end"
    numbers = [int(word) for word in words[::2]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert words[1::2] == [hashlib.md5(f"{number}\n".encode()).hexdigest() for number in numbers]
    assert len(numbers) >= acknowledged[-1]


def is_prefix(listener: Acknowledgements, kept: int, run: dict[str, Any], reported: float) -> None:
    """What is there ends with record `kept`. Every record that was acknowledged before the point's instant is there, and what is lost
    is no older than naos had said (`reported`, seconds, at a moment before the failover)."""
    (point,) = run["report"]["points"]
    instant = datetime.fromisoformat(point["instant"]).timestamp()
    began = datetime.fromisoformat(run["startedAt"]).timestamp()
    assert point["lostSeconds"] == pytest.approx(began - instant, abs=0.1)
    assert kept <= listener.end() + 1, "nothing is there that was not written"
    lost_at = listener.at(kept + 1)
    assert lost_at is None or lost_at >= instant, (
        "a record was acknowledged before the point's instant, and is not there"
    )
    age = 0.0 if lost_at is None else began - lost_at
    assert age <= point["lostSeconds"]
    print(f"kept up to {kept} of {listener.end()}; the oldest lost is {age:.2f} s old, naos had said {reported:.2f} s")


def up_in(real: Real, pool: str) -> None:
    assert real.machine(GUEST)["hostCluster"]["name"] == pool
    until(lambda: real.ask(GUEST, "echo here") == "here", "its prompt answers")


@contextmanager
def ledger_of(bench: Bench) -> Iterator[Guest]:
    bench.real.ask(GUEST, "rm -f /root/ledger /tmp/pause; sync")
    guest = bench.join(GUEST)
    yield guest
    bench.leave(guest)


@pytest.mark.timeout(900)
def test_a_guest_is_tested_lost_without_its_last_writes_and_brought_back_whole(real: Real) -> None:
    with bench_of(real) as bench, ledger_of(bench) as guest:
        real.naos("recovery", "replica", "create", GUEST, "--pool", "pool-AZ06", "--volume", "volume-AZ06")
        real.naos("recovery", "create", "proof", "--pool", "pool-AZ06", "--machine", GUEST)
        real.naos("recovery", "machine", "proof", GUEST, *LINE)
        with listening(bench, guest, HERE) as listener:
            real.naos("recovery", "replica", "run", GUEST)
            before = listener.seen[-1][1]
            tested = report_of(real, "test", "proof")
            assert listener.seen[-1][1] > before, "the source wrote on meanwhile"
            names = [machine["name"] for machine in real.json("vm", "list")]
            assert not [name for name in names if "test" in name]
            real.naos("recovery", "replica", "run", GUEST)
            since = mark(real, guest, THERE)
            reported = float(real.json("recovery", "replica", "show", GUEST)["age"])
            lost = report_of(real, "failover", "proof", "--unplanned", "--yes")
        up_in(real, "pool-AZ06")
        kept = first_after(bench, guest, THERE, since) - 1
        is_prefix(listener, kept, lost, reported)
        assert real.json("recovery", "show", "proof")["unfenced"] == 0
        whole(bench, guest, THERE, since)

        real.naos("recovery", "reverse", "proof")
        with listening(bench, guest, THERE) as listener:
            real.naos("recovery", "replica", "run", GUEST)
            since = mark(real, guest, HERE)
            back = report_of(real, "failback", "proof", "--yes")
        up_in(real, "pool-AZ05")
        kept = first_after(bench, guest, HERE, since) - 1
        assert kept >= listener.end(), "nothing that was acknowledged is missing"
        assert [point["lostSeconds"] for point in back["report"]["points"]] == [0]
        whole(bench, guest, HERE, since)
        told(tested, lost, back)
        real.naos("recovery", "discard", "proof", "--yes")
        real.naos("recovery", "delete", "proof", "--yes")
        real.naos("recovery", "replica", "stop", GUEST, "--yes")
    assert real.json("doctor") == []


@pytest.mark.timeout(900)
def test_a_replicated_volume_whose_array_dies_fails_over_and_comes_back(real: Real) -> None:
    """The array cannot cut anything off: the machine is ended on its blade instead, and the exports go when the array is back."""
    with bench_of(real) as bench, ledger_of(bench) as guest:
        real.naos("replication", "create", "volume-AZ05", "--to", "AZ06")
        real.naos("recovery", "create", "zone", "--pool", "pool-AZ06", "--machine", GUEST)
        real.naos("recovery", "machine", "zone", GUEST, *LINE)
        blade = real.machine(GUEST)["host"]["name"]
        since = mark(real, guest, THERE)
        with listening(bench, guest, HERE) as listener:
            await_point(real, "volume-AZ05")
            reported = float(real.json("replication", "show", "volume-AZ05")["recoveryPoint"]["rpoAchieved"])
            real.naos("lab", "kill", "az05-array")
            try:
                lost = report_of(real, "failover", "zone", "--unplanned", "--yes")
            finally:
                real.naos("lab", "start", "az05-array")
                real.attempt("lab", "start", blade)
        assert "its process on the blade is ended" in [step["remark"] for step in lost["steps"]]
        up_in(real, "pool-AZ06")
        kept = first_after(bench, guest, THERE, since) - 1
        is_prefix(listener, kept, lost, reported)
        until(lambda: real.json("recovery", "show", "zone")["unfenced"] == 0, "the old exports are cut")
        whole(bench, guest, THERE, since)

        real.naos("recovery", "reverse", "zone")
        with listening(bench, guest, THERE) as listener:
            await_point(real, "volume-AZ05 (replica)")  # which is the source now
            since = mark(real, guest, HERE)
            back = report_of(real, "failback", "zone", "--yes")
        up_in(real, "pool-AZ05")
        kept = first_after(bench, guest, HERE, since) - 1
        assert kept >= listener.end(), "nothing that was acknowledged is missing"
        whole(bench, guest, HERE, since)
        told(lost, back)
        real.naos("recovery", "reverse", "zone")
        real.naos("recovery", "delete", "zone", "--yes")
        real.naos("replication", "delete", "volume-AZ05", "--yes")
    until(lambda: real.json("doctor") == [], "nothing is amiss")


def await_point(real: Real, volume: str) -> None:
    """A point that was begun after this moment is complete."""
    now = datetime.now(UTC)

    def newer() -> bool:
        instant = real.json("replication", "show", volume)["recoveryPoint"]["instant"]
        return instant is not None and datetime.fromisoformat(instant) > now

    until(newer, f"a new point of {volume}", 120.0)
