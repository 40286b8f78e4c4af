"""How long a recovery plan takes on a real lab: machines on a replicated volume are moved to the other zone without loss, and brought back.

From the request until the last machine has shown that it lives, as the signed report has it, and by kind of step. The reference is of the
same run: the same machines, started by hand where they are, one call each, until the last one has shown the same sign of life; what
is left is what the move itself costs. Promised are 4 hours; the goal is 3 minutes for 20 machines.

Run as root: `.venv/bin/python benchmarks/recovery.py`; `--help` names its options.
"""

import argparse
import json
import os
import re
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lab"))
from real_platform import Real, real_lab, until

GOAL, GOAL_MACHINES = 180.0, 20
MOST, ROOM = 20, 4 * 2**30  # bytes that are left to the lab itself
OVERHEAD = 96 * 2**20  # bytes of a guest's process beside its memory
SIGN = "ready:"
PATIENCE = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machines", type=int, help="how many; as many as fit here, up to 20, when it is left out")
    parser.add_argument("--memory", type=int, default=96, help="MiB of each")
    parser.add_argument("--one-way", action="store_true", help="do not bring them back")
    wanted = parser.parse_args()
    machines = wanted.machines or fitting(wanted.memory)
    with real_lab() as real:
        names = prepare(real, machines, wanted.memory)
        by_hand = start_by_hand(real, names)
        print(f"{machines} machines of {wanted.memory} MiB, load {os.getloadavg()[0]:.1f}")
        print(f"started by hand, until the last one's sign of life: {by_hand:.1f} s")
        told(move(real, "failover"), machines, by_hand)
        if not wanted.one_way:
            real.naos("recovery", "reverse", "all")
            told(move(real, "failback"), machines, by_hand)


def fitting(memory: int) -> int:
    """Machines for which this computer has memory now, 6 at least."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    assert found is not None
    return max(6, min(MOST, (int(found[1]) * 1024 - ROOM) // (memory * 2**20 + OVERHEAD)))


def prepare(real: Real, machines: int, memory: int) -> list[str]:
    """Machines on the volume of the first zone, the volume's replica in the second, and a plan of all; nothing runs."""
    real.naos("vm", "stop", "first-az06", "--force")
    real.naos("vm", "stop", "first-az05", "--force")
    names = ["first-az05", *(f"moved-{number:02}" for number in range(1, machines))]
    place = ("--pool", "pool-AZ05", "--volume", "volume-AZ05", "--vlan", "front", "--memory", f"{memory}MiB")
    for name in names[1:]:
        real.naos("vm", "create", name, "--template", "naos-tiny", *place, "--no-start")
    real.naos("replication", "create", "volume-AZ05", "--to", "AZ06")
    chosen = [word for name in names for word in ("--machine", name)]
    real.naos("recovery", "create", "all", "--pool", "pool-AZ06", *chosen)
    for name in names:
        signs = ("--check", "line", "--line", SIGN, "--patience", str(int(PATIENCE)))
        real.naos("recovery", "machine", "all", name, *signs)
    return names


def start_by_hand(real: Real, names: list[str]) -> float:
    """Seconds until the last one's sign of life."""
    since = time.monotonic()
    for name in names:
        real.naos("vm", "start", name, "--no-wait")
    for name in names:
        until(lambda name=name: SIGN in real.attempt("vm", "log", name).stdout, f"{name} is up", PATIENCE)  # type: ignore[misc]
    return time.monotonic() - since


def await_point(real: Real) -> None:
    """A point of all machines' disks that was begun after this moment."""
    now = datetime.now(UTC)

    def newer() -> bool:
        (found,) = real.json("replication", "list")
        instant = found["recoveryPoint"]["instant"]
        return instant is not None and datetime.fromisoformat(instant) > now

    until(newer, "a point of the volume", PATIENCE)


def move(real: Real, kind: str) -> dict[str, Any]:
    await_point(real)
    done = real.naos("recovery", kind, "all", "--yes", "--json", timeout=3 * PATIENCE)
    run: dict[str, Any] = json.loads(done)
    assert run["state"] == "succeeded", run["steps"]
    return run


def told(run: dict[str, Any], machines: int, by_hand: float) -> None:
    taken = float(run["report"]["readyAfterSeconds"])
    goal = GOAL * machines / GOAL_MACHINES
    print(f"{run['kind']}: ready after {taken:.1f} s; {taken / by_hand:.2f} of starting them by hand")
    print(
        f"  of the goal, {GOAL:g} s for {GOAL_MACHINES} machines: {taken / GOAL:.2f}; a machine's share of it: {taken / goal:.2f}"
    )
    groups: dict[str, list[float]] = defaultdict(list)
    for step in run["steps"]:
        groups[re.sub(r"(first-az\d+|moved-\d+|, )+", "...", step["name"])].append(step["seconds"])
    for name, seconds in sorted(groups.items(), key=lambda item: -sum(item[1])):
        print(f"  {sum(seconds):8.2f} s in {len(seconds):3} steps, the longest {max(seconds):6.2f} s: {name}")


if __name__ == "__main__":
    main()
