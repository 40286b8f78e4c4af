"""How long a recovery plan takes on a real lab: machines on a replicated volume fail over to the other zone, and are brought back.

From the request until the last machine has shown that it lives, as the signed report has it, and by kind of step. The reference is of the
same run: the same machines, started by hand where they are, one request each without waiting, until the last one has shown the same
sign of life; what is left is what the move itself costs. Promised are 4 hours; the goal is 3 minutes for 20 machines.

Run as root: `.venv/bin/python benchmarks/recovery.py`; `--help` names its options. It ends within `--minutes`, whatever happens, and takes
its lab away.
"""

import argparse
import os
import re
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from naos.cli import naming, waiting
from naos.cli.client import Api, Connection, opened
from naos.cli.failures import Failure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lab"))
from real_platform import URL, Real, real_lab

GOAL, GOAL_MACHINES = 180.0, 20
MOST, ROOM = 20, 4 * 2**30  # bytes that are left to the lab itself
OVERHEAD = 96 * 2**20  # bytes of a guest's process beside its memory
SIGN = "ready:"
LOOK = 0.25  # seconds
CLEANING = 60.0  # seconds that taking the lab away may need
RECOVERY = "/recovery/v1"


class OutOfTime(Exception):
    """The run may not take longer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machines", type=int, help="how many; as many as fit here, up to 20, when it is left out")
    parser.add_argument("--memory", type=int, default=96, help="MiB of each")
    parser.add_argument("--minutes", type=float, default=11.5, help="in all, the lab's own times included")
    parser.add_argument("--one-way", action="store_true", help="do not bring them back")
    wanted = parser.parse_args()
    machines = wanted.machines or fitting(wanted.memory)
    end = time.monotonic() + 60 * wanted.minutes - CLEANING
    with bounded(end), real_lab() as real, opened(Connection(URL, real.root / "credentials")) as api:
        bench = Bench(real, api)
        bench.prepare(machines, wanted.memory)
        by_hand = bench.start_by_hand()
        print(f"{machines} machines of {wanted.memory} MiB, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        print(f"started by hand, until the last one's sign of life: {by_hand:.1f} s", flush=True)
        told(over := bench.move("unplanned"), machines, by_hand)
        left, needed = end - time.monotonic(), 60 + 1.5 * float(over["report"]["readyAfterSeconds"])
        if wanted.one_way or left < needed:
            print("not brought back:", "as asked" if wanted.one_way else f"{left:.0f} s are left of {needed:.0f}")
            return
        bench.done("POST", f"{RECOVERY}/plans/{bench.plan}/reverse")
        told(bench.move("failback"), machines, by_hand)


@contextmanager
def bounded(end: float) -> Iterator[None]:
    """Raises OutOfTime inside at that time of the monotonic clock, and when the process is asked to end; what cleans up is not disturbed."""

    def strike(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGALRM, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise OutOfTime(f"ended by {signal.Signals(number).name}")

    for each in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(each, strike)
    signal.setitimer(signal.ITIMER_REAL, max(end - time.monotonic(), 1.0))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def fitting(memory: int) -> int:
    """Machines for which this computer has memory now, 6 at least."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    assert found is not None
    return max(6, min(MOST, (int(found[1]) * 1024 - ROOM) // (memory * 2**20 + OVERHEAD)))


class Bench:
    """machines: id by name."""

    def __init__(self, real: Real, api: Api) -> None:
        self.real, self.api = real, api
        self.machines: dict[str, str] = {}
        self.plan = ""

    def done(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A write, and its activity once it has ended well."""
        activity: dict[str, Any] = waiting.follow(self.api, self.api.write(method, path, body))
        return activity

    def id_of(self, kind: naming.Kind, name: str) -> str:
        return str(naming.find(self.api, kind, name)["id"])

    def prepare(self, machines: int, memory: int) -> None:
        """Machines on the volume of the first zone, the volume's replica in the second, and a plan of all; nothing runs."""
        for name in ("first-az06", "first-az05"):
            self.real.naos("vm", "stop", name, "--force")
        for pool in (
            "pool-AZ05",
            "pool-AZ06",
        ):  # what the lab's blades have, and more machines than they have processors
            self.real.naos("pool", "set", pool, "--memory", "8GiB", "--vcpu-rate", "any")
        names = ["first-az05", *(f"moved-{number:02}" for number in range(1, machines))]
        place = ("--pool", "pool-AZ05", "--volume", "volume-AZ05", "--vlan", "front", "--memory", f"{memory}MiB")
        begun = [
            self.real.json("vm", "create", name, "--template", "naos-tiny", *place, "--no-start", "--no-wait")["id"]
            for name in names[1:]
        ]
        for activity in begun:
            waiting.follow(self.api, activity)
        self.machines = {name: self.id_of(naming.MACHINE, name) for name in names}
        self.real.naos("replication", "create", "volume-AZ05", "--to", "AZ06")
        sign = {"check": "line", "line": SIGN, "patience": 600}
        members = [{"virtualMachineId": machine_id, **sign} for machine_id in self.machines.values()]
        pool = self.id_of(naming.POOL, "pool-AZ06")
        self.done("POST", f"{RECOVERY}/plans", {"name": "all", "hostClusterId": pool, "machines": members})
        (plan,) = self.api.get(f"{RECOVERY}/plans")
        self.plan = plan["id"]

    def start_by_hand(self) -> float:
        """Seconds until the last one's sign of life."""
        since, power = time.monotonic(), f"{naming.MACHINE.path}/power"
        left = {
            machine_id: self.api.write("PATCH", power, {"id": machine_id, "powerAction": "on"})
            for machine_id in self.machines.values()
        }
        while left:
            for machine_id in [machine_id for machine_id, activity in left.items() if self.lives(machine_id, activity)]:
                del left[machine_id]
            time.sleep(LOOK)
        return time.monotonic() - since

    def lives(self, machine_id: str, activity: str) -> bool:
        """Whether it has shown its sign of life since it was started by this activity. Raises Failure when that failed."""
        state, facts = waiting.state_of(self.api.get(f"{waiting.ACTIVITIES}/{activity}"))
        if state == "failed":
            raise Failure(f"machine {machine_id} did not start: {facts['reason']}")
        return state == "completed" and SIGN in self.api.text(f"{naming.MACHINE.path}/{machine_id}/consoles/log")

    def move(self, kind: str) -> dict[str, Any]:
        """The report of a failover. Raises RuntimeError for one that did not bring every machine up."""
        self.await_point()
        self.done("POST", f"{RECOVERY}/plans/{self.plan}/failover", {"kind": kind})
        run: dict[str, Any] = self.api.get(f"{RECOVERY}/runs")[0]
        run = self.api.get(f"{RECOVERY}/runs/{run['id']}")
        if run["state"] != "succeeded":
            raise RuntimeError(f"{kind}: {[step for step in run['steps'] if step['outcome'] != 'ok']}")
        return run

    def await_point(self) -> None:
        """A point of all machines' disks that was begun after this moment."""
        now = datetime.now(UTC)
        while True:
            (found,) = self.api.get("/replication/v1/volumes")
            instant = found["recoveryPoint"]["instant"]
            if instant is not None and datetime.fromisoformat(instant) > now:
                return
            time.sleep(LOOK)


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
    sys.stdout.flush()


if __name__ == "__main__":
    main()
