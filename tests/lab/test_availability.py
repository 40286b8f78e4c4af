"""High availability on real parts: each fault over each kind of work, then faults at random. All of it behind `make soak`.

SOAK_SECONDS: how long the random faults go on. SOAK_SEED: a run's seed, to have its faults again.
"""

import os
import random
import time
from collections.abc import Iterator

import pytest
from availability_rig import DOCTOR, FAULTS, WORKS, Bench, Guest, bench_of, prove, until
from real_platform import real_lab

from naos.cli import naming

SECONDS = float(os.environ.get("SOAK_SECONDS", "3600"))
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
pytestmark = [pytest.mark.lab, pytest.mark.soak]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with real_lab("--zones", "1") as real, bench_of(real) as made:
        yield made


@pytest.fixture(scope="module")
def guest(bench: Bench) -> Guest:
    return bench.join("first-az05")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_record_is_lost_and_none_is_there_twice(bench: Bench, guest: Guest, fault: str, work: str) -> None:
    prove(bench, guest, FAULTS[fault], work)


@pytest.mark.timeout(600)
def test_machines_come_back_by_priority_and_the_disabled_one_stays_down(bench: Bench, guest: Guest) -> None:
    """Three machines on the blade that dies: high, medium and disabled."""
    bench.protect()
    bench.settle()
    blade = bench.blade(guest)
    place = ("--pool", "pool-AZ05", "--volume", "volume-AZ05", "--vlan", "front", "--memory", "128MiB")
    for name, priority in (("early", "high"), ("never", "disabled")):
        bench.real.naos("vm", "create", name, "--template", "naos-tiny", *place)
        if bench.real.machine(name)["host"]["name"] != blade:
            bench.real.naos("vm", "migrate", name, "--to", blade)
        bench.real.naos("ha", "machine", name, "--priority", priority)
    bench.settle()
    FAULTS["killed"].strike(bench, blade)
    names = ("first-az05", "early", "never")
    found = {name: Guest(name, naming.find(bench.api, naming.MACHINE, name)["id"]) for name in names}

    def ended() -> bool:
        rows = [bench.recoveries(each) for each in found.values()]
        return all(row and row[0]["progress"] in ("recovered", "abandoned") for row in rows)

    until(ended, "each has come to its end", then=bench.amiss)
    FAULTS["killed"].heal(bench, blade)
    bench.settle()
    last = {name: bench.recoveries(each)[0] for name, each in found.items()}
    assert {name: row["progress"] for name, row in last.items()} == {
        "first-az05": "recovered",
        "early": "recovered",
        "never": "abandoned",
    }
    assert last["early"]["endedAt"] <= last["first-az05"]["endedAt"]
    assert bench.machine(found["never"])["powerState"] == "stopped"
    for name in names[1:]:
        bench.real.naos("vm", "stop", name, "--force")
        bench.real.naos("vm", "delete", name, "--yes")


@pytest.mark.timeout(600)
def test_a_blade_that_was_off_and_on_while_no_controller_ran_has_its_machines_started_again(
    bench: Bench, guest: Guest
) -> None:
    """But not the one whose guest had shut itself down before that: its log on the blade tells, which outlives the power."""
    bench.protect()
    bench.settle()
    blade = bench.blade(guest)
    place = ("--pool", "pool-AZ05", "--volume", "volume-AZ05", "--vlan", "front", "--memory", "128MiB")
    bench.real.naos("vm", "create", "ends", "--template", "naos-tiny", *place)
    if bench.real.machine("ends")["host"]["name"] != blade:
        bench.real.naos("vm", "migrate", "ends", "--to", blade)
    ends = Guest("ends", naming.find(bench.api, naming.MACHINE, "ends")["id"])
    until(lambda: bench.is_up(ends), "the second guest is up")
    known = {row["id"] for row in bench.recoveries(guest)}
    WORKS["writing"](bench, guest, blade)
    bench.ask(ends, "(sleep 20; poweroff) > /dev/null 2>&1 & echo on its way")
    FAULTS["controller dead"].strike(bench, blade)
    until(lambda: not bench.processes(ends), "the second guest has shut itself down")
    bench.listen(guest)
    FAULTS["killed"].strike(bench, blade)
    bench.listen(guest)
    FAULTS["killed"].heal(bench, blade)
    FAULTS["controller dead"].heal(bench, blade)
    rows = until(
        lambda: [row for row in bench.recoveries(guest) if row["id"] not in known and row["progress"] == "recovered"],
        "it was started again",
        then=bench.amiss,
    )
    assert [row["cause"] for row in rows] == ["missing"]
    bench.settle()
    assert bench.machine(ends)["powerState"] == "stopped"
    assert bench.recoveries(ends) == []
    assert len(bench.processes(guest, ends)) == 1
    until(lambda: bench.is_up(guest), "the guest is up")
    bench.go_on(guest)
    bench.written_on(guest)
    bench.check(guest)
    bench.real.naos("vm", "delete", "ends", "--yes")


@pytest.mark.timeout(SECONDS + 900)
def test_faults_at_random_lose_nothing(bench: Bench, guest: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    """What comes next follows from the seed alone, each fault over each work once before any comes again; the doctor finds nothing
    after each."""
    choice = random.Random(SEED)
    end, done = time.monotonic() + SECONDS, 0
    deck: list[tuple[str, str]] = []
    while time.monotonic() < end:
        if not deck:
            deck = [(fault, work) for fault in sorted(FAULTS) for work in sorted(WORKS)]
            choice.shuffle(deck)
        fault, work = deck.pop()
        with capsys.disabled():
            print(f"\nseed {SEED}, number {done}: {fault} while {work}; {guest.told} records", end="", flush=True)
        prove(bench, guest, FAULTS[fault], work)
        done += 1
    bench.settle()
    assert bench.get(DOCTOR) == []
    with capsys.disabled():
        print(f"\nseed {SEED}: {done} faults, {guest.told} records, each there once; the doctor finds nothing")
    assert done
