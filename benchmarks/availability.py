"""High availability on a real lab: what losing a blade costs, and whether anything harmless is taken for a loss.

First every process of a blade with ten machines is killed; when has the last guest written to its disk again? The guests' own boot
time is taken off: the same ten, powered on by one call each, in the same run, from the call to the last one's first record. What
is left is what losing the blade costs, detection included. The figures beside it were published by others, not measured here.

Then 200 harmless faults, on four blades at once: nothing may be restarted.

Run as root: `.venv/bin/python benchmarks/availability.py`; `--help` names its options.
"""

import argparse
import contextlib
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from naos.cli import naming
from naos.lab import record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lab"))
from availability_rig import ACKNOWLEDGED, COMPUTE, INSTALL, SERIAL, Bench, Guest, bench_of, seen, until
from real_platform import Real, real_lab

GOAL, LIMIT = 6.0, 400.0
PUBLISHED = {
    "Proxmox VE, a node is lost": 123.0,
    "Proxmox VE, the lost node was the master": 181.0,
    "vSphere HA, until the host counts as failed": 15.0,
    "oVirt, until the host is fenced": 60.0,
    "Masakari, its wait before it evacuates": 180.0,
}
# Ten guests share two processors: each writes a record a second only, so that writing does not slow the others' boot.
BOOT_SCRIPT = "#!/bin/sh\n" + INSTALL.replace("usleep 40000", "usleep 1000000").replace("touch /tmp/pause; ", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machines", type=int, default=10, help="on the blade that is killed")
    parser.add_argument("--rounds", type=int, default=1, help="kills, each with its own measurement of the boot")
    parser.add_argument("--faults", type=int, default=200, help="harmless ones")
    parser.add_argument("--seed", type=int, default=1, help="of the harmless faults")
    wanted = parser.parse_args()
    if wanted.rounds:
        with real_lab("--zones", "1") as real, bench_of(real) as bench:
            lose_a_blade(real, bench, wanted.machines, wanted.rounds)
    if wanted.faults:
        with real_lab() as real, bench_of(real) as bench:
            do_no_harm(real, bench, wanted.faults, wanted.seed)


# -------------------------------------------------------------------------------------------------------- losing a blade


def lose_a_blade(real: Real, bench: Bench, machines: int, rounds: int) -> None:
    real.naos("vm", "stop", "first-az05", "--force")
    guests = prepare(real, bench, machines)
    victim, other = "az05-blade1", "az05-blade2"
    started = []
    for number in range(1, rounds + 1):
        bench.protect(enabled=False)
        stop(bench, guests)
        real.naos("lab", "kill", other)  # so that all of them start on the one that is killed next
        until(lambda other=other: not connected(bench, other), f"{other} is known to be off")  # type: ignore[misc]
        booted = measure(bench, guests, lambda: start(bench, guests))
        real.naos("lab", "start", other)
        until(lambda other=other: connected(bench, other), f"{other} is back")  # type: ignore[misc]
        real.naos("doctor", "--fix", "--yes")  # it was off when what it had defined was started elsewhere
        bench.protect()
        until(bench.is_whole, "all is well", then=bench.amiss)
        until(lambda: seen(bench) >= 2, "the array has seen both blades")
        since = len(bench.get(f"{COMPUTE}/availability/recoveries"))
        lost = measure(bench, guests, lambda victim=victim: bench.signal(victim, signal.SIGKILL), victim, since)  # type: ignore[misc]
        started.append(lost["running"])
        print(f"round {number}, {machines} machines. Started by hand: {words(booted)}")
        print(f"  SIGKILL of {victim}: {words(lost)}")
        cost = lost["written"] - booted["written"]
        print(f"  the last record, less the guests' own boot: {cost:.2f} s (wanted: under {GOAL:g} s)")
        acknowledged = sum(bench.listen(guest) for guest in guests)
        real.naos("lab", "start", victim)
        bench.settle()
        for guest in guests:
            bench.check(guest)
        print(f"  every acknowledged record is there, once: {acknowledged} of {machines} guests")
        victim, other = other, victim
    for what, seconds in PUBLISHED.items():
        print(f"{what}: {seconds:g} s published; until all have a process here, ratio {max(started) / seconds:.3f}")


def prepare(real: Real, bench: Bench, machines: int) -> list[Guest]:
    """Machines that have started once, and write as soon as they are up."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(BOOT_SCRIPT)
        script.flush()
        place = ("--pool", "pool-AZ05", "--volume", "volume-AZ05", "--vlan", "front", "--memory", "128MiB")
        guests = []
        for number in range(machines):
            name = f"lost-{number:02}"
            real.naos("vm", "create", name, "--template", "naos-tiny", *place, "--user-data", script.name)
            guests.append(Guest(name, naming.find(bench.api, naming.MACHINE, name)["id"]))
    for guest in guests:
        until(lambda guest=guest: bench.listen(guest) > 1, f"{guest.name} writes", LIMIT)  # type: ignore[misc]
    return guests


def measure(
    bench: Bench, guests: list[Guest], begin: Callable[[], object], victim: str = "", since: int = 0
) -> dict[str, float]:
    """Seconds from `begin` on: until all are known as lost, until all have a process, until all have written a record."""
    begun, found = time.monotonic(), dict[str, float]()
    forget_what_was_said(bench.real, guests, spared=victim)
    begin()
    while "written" not in found:
        time.sleep(0.1)
        now = time.monotonic() - begun
        if now > LIMIT:
            raise TimeoutError(f"not within {LIMIT:g} s: {found}; {bench.amiss()}")
        if victim and "lost" not in found:
            if len(bench.get(f"{COMPUTE}/availability/recoveries")) - since >= len(guests):
                found["lost"] = now
        elif "running" not in found:
            if len({name for name, blade in bench.processes(*guests).values() if blade != victim}) == len(guests):
                found["running"] = now
        elif all(said(bench.real, guest, victim) for guest in guests):
            found["written"] = now
    return found


def said(real: Real, guest: Guest, victim: str) -> bool:
    """Whether it has acknowledged a record since its start, elsewhere than on the victim."""
    for path in real.root.glob(f"hosts/*/{SERIAL}/{guest.id}.log"):
        with contextlib.suppress(FileNotFoundError):
            if path.relative_to(real.root).parts[1] != victim and ACKNOWLEDGED.search(path.read_text(errors="replace")):
                return True
    return False


def forget_what_was_said(real: Real, guests: list[Guest], spared: str) -> None:
    """Earlier starts' words do not count, but for what is said on the spared blade until the end."""
    for guest in guests:
        for path in real.root.glob(f"hosts/*/{SERIAL}/{guest.id}*.log"):
            if path.relative_to(real.root).parts[1] != spared:
                path.unlink(missing_ok=True)


def words(found: dict[str, float]) -> str:
    names = {"lost": "all known as lost", "running": "all have a process", "written": "all have written"}
    return ", ".join(f"{names[what]} after {seconds:.2f} s" for what, seconds in found.items())


def stop(bench: Bench, guests: list[Guest]) -> None:
    power(bench, guests, "off")
    until(lambda: not bench.processes(*guests), "all have stopped")
    until(bench.is_idle, "nothing is under way")


def start(bench: Bench, guests: list[Guest]) -> None:
    power(bench, guests, "on")


def power(bench: Bench, guests: list[Guest], action: str) -> None:
    for guest in guests:
        bench.api.write("PATCH", f"{COMPUTE}/virtual_machines/power", {"id": guest.id, "powerAction": action})


def connected(bench: Bench, blade: str) -> bool:
    return any(row["name"] == blade and row["metrics"]["connected"] for row in bench.get(f"{COMPUTE}/hosts"))


# ---------------------------------------------------------------------------------------------------- harmless faults


def do_no_harm(real: Real, bench: Bench, faults: int, seed: int) -> None:
    hosts = record.require(real.root).plan.hosts
    blades = [host.name for host in hosts if host.kind == "blade"]
    for zone in ("AZ05", "AZ06"):
        bench.protect(pool=f"pool-{zone}")
        name = f"second-{zone.lower()}"
        place = ("--pool", f"pool-{zone}", "--volume", f"volume-{zone}", "--vlan", "front")
        real.naos("vm", "create", name, "--template", "naos-tiny", *place)
    guests = [bench.join(f"{which}-{zone}") for zone in ("az05", "az06") for which in ("first", "second")]
    for guest in guests[::2]:  # one of each zone's guests writes, the other is idle
        bench.go_on(guest)
    until(bench.is_whole, "all is well", then=bench.amiss)
    until(lambda: seen(bench) >= len(blades), "the arrays have seen every blade")
    before = {guest.id: bench.boot(guest) for guest in guests}
    counts: dict[str, int] = {}
    lock = threading.Lock()

    def harass(blade: str, share: int) -> None:
        choice = random.Random(f"{seed} {blade}")
        for _ in range(share):
            name, fault = choice.choice(sorted(HARMLESS.items()))
            seconds = fault(bench, blade, choice)
            with lock:
                counts[name] = counts.get(name, 0) + 1
            time.sleep(seconds)

    shares = [faults // len(blades) + (place < faults % len(blades)) for place in range(len(blades))]
    threads = [threading.Thread(target=harass, args=pair) for pair in zip(blades, shares, strict=True)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begun
    bench.settle()
    recoveries = bench.get(f"{COMPUTE}/availability/recoveries")
    verdicts = [
        line for line in (real.root / "controller.log").read_text().splitlines() if "availability.blade" in line
    ]
    lost = [line for line in verdicts if any(word in line for word in ("dead", "frozen", "storage_lost"))]
    restarted = [guest.name for guest in guests if bench.boot(guest) != before[guest.id]]
    print(f"{sum(counts.values())} harmless faults within {seconds:.0f} s (seed {seed}): {json.dumps(counts)}")
    print(
        f"false positives: {len(recoveries)} recoveries, {len(lost)} blades taken for lost, restarted guests: {restarted}"
    )
    if recoveries or lost or restarted:
        raise SystemExit("\n".join(lost[-10:]) or str(recoveries))
    for guest in guests:
        bench.check(guest)
    print(f"every acknowledged record is there, once: {sum(guest.told for guest in guests)}")


def stall(bench: Bench, blade: str, choice: random.Random) -> float:
    """Everything of the blade stands still for 3 s."""
    bench.signal(blade, signal.SIGSTOP)
    time.sleep(3.0)
    bench.signal(blade, signal.SIGCONT)
    return choice.uniform(0.5, 1.5)


def delay(bench: Bench, blade: str, choice: random.Random) -> float:
    """Its libvirtd answers late."""
    bench.signal(blade, signal.SIGSTOP, "libvirtd")
    time.sleep(choice.uniform(0.2, 2.0))
    bench.signal(blade, signal.SIGCONT, "libvirtd")
    return choice.uniform(0.2, 1.0)


def away(bench: Bench, blade: str, choice: random.Random, *addresses: str) -> float:
    bench.forbid(blade, *addresses)
    time.sleep(3.0)
    bench.allow(blade)
    return choice.uniform(0.5, 1.5)


def network(bench: Bench, blade: str, choice: random.Random) -> float:
    """Nothing reaches it for 3 s."""
    return away(bench, blade, choice, "0.0.0.0/0")


def management(bench: Bench, blade: str, choice: random.Random) -> float:
    """The controller does not reach it: one witness is lost."""
    return away(bench, blade, choice, bench.addresses()["controller"])


def storage(bench: Bench, blade: str, choice: random.Random) -> float:
    """The array does not reach it: the other witness is lost."""
    return away(bench, blade, choice, bench.addresses()[f"{blade.partition('-')[0]}-array"])


def daemon(bench: Bench, blade: str, choice: random.Random) -> float:
    """Its libvirtd is killed, and started again a moment later."""
    bench.signal(blade, signal.SIGKILL, "libvirtd")
    time.sleep(choice.uniform(0.5, 3.0))
    bench.start(blade)
    return choice.uniform(0.5, 1.0)


HARMLESS: dict[str, Callable[[Bench, str, random.Random], float]] = {
    "stall of 3 s": stall,
    "late answers": delay,
    "no network for 3 s": network,
    "no management for 3 s": management,
    "no storage for 3 s": storage,
    "libvirtd killed": daemon,
}


if __name__ == "__main__":
    main()
