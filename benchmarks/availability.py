"""High availability on a real lab: every process of a blade with ten machines is killed; when is the last guest up again?

The guests' own boot time is taken off: the same ten, started on that blade at once by the same call, in the same run, from the
call to the last one's prompt on its mounted disk. What is left is what losing the blade costs, detection included. The
figures that it is set against were published by others and not measured here.
Run as root: `.venv/bin/python benchmarks/availability.py`.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from naos.cli import naming
from naos.cli.client import Api, Connection, opened
from naos.cli.journey import READY

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lab"))
from real_platform import URL, Real, real_lab

MACHINES, LIMIT, GOAL, LOOK = 10, 400.0, 6.0, 0.06
COMPUTE = "/compute/v1/vcenters"
PUBLISHED = {
    "Proxmox VE, a node is lost": 123.0,
    "Proxmox VE, the lost node was the master": 181.0,
    "vSphere HA, until the host counts as failed": 15.0,
    "oVirt, until the host is fenced": 60.0,
    "Masakari, its wait before it evacuates": 180.0,
}


def main() -> None:
    with real_lab() as real:
        for name in ("first-az05", "first-az06"):
            real.naos("vm", "stop", name, "--force")
        victim = "az05-blade1"
        place = ("--pool", "pool-AZ05", "--volume", "volume-AZ05", "--vlan", "front", "--no-start")
        for number in range(MACHINES):
            real.naos("vm", "create", f"lost-{number:02}", "--template", "naos-tiny", *place)
            real.naos("vm", "migrate", f"lost-{number:02}", "--to", victim)
        with opened(Connection(URL, real.root / "credentials")) as api:
            measure(real, api, victim)


def measure(real: Real, api: Api, victim: str) -> None:
    machines = [naming.find(api, naming.MACHINE, f"lost-{number:02}")["id"] for number in range(MACHINES)]
    began = time.monotonic()
    for machine in machines:
        api.write("PATCH", f"{COMPUTE}/virtual_machines/power", {"id": machine, "powerAction": "on"})
    _wait_for_prompts(api, machines)
    booted = time.monotonic() - began
    real.naos("ha", "set", "pool-AZ05", "--on")
    _wait(lambda: len(api.get(f"{COMPUTE}/availability/hosts")) == 2)
    time.sleep(5)
    killed = time.monotonic()
    for pid in real.pids(victim):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _wait(lambda: len(api.get(f"{COMPUTE}/availability/recoveries")) == MACHINES)
    found = time.monotonic() - killed
    _wait(lambda: _back(api) == MACHINES)
    started = time.monotonic() - killed
    _wait_for_prompts(api, machines)
    prompt = time.monotonic() - killed
    cost = prompt - booted
    print(f"{MACHINES} machines, from SIGKILL on: known as lost {found:.2f} s, all started {started:.2f} s")
    print(f"last prompt: {prompt:.2f} s; the same ten started by hand: {booted:.2f} s")
    print(f"what losing the blade cost: {cost:.2f} s (wanted: under {GOAL:g} s)")
    for what, seconds in PUBLISHED.items():
        print(f"{what}: {seconds:g} s published, ratio {cost / seconds:.3f}")


def _back(api: Api) -> int:
    return sum(row["progress"] == "recovered" for row in api.get(f"{COMPUTE}/availability/recoveries"))


def _wait_for_prompts(api: Api, machines: list[str]) -> None:
    left = list(machines)

    def one_more() -> bool:
        if READY.search(api.text(f"{COMPUTE}/virtual_machines/{left[0]}/consoles/log")):
            left.pop(0)
        else:
            left.append(left.pop(0))
        return not left

    _wait(one_more)


def _wait(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {LIMIT:g} s")
        time.sleep(LOOK)


if __name__ == "__main__":
    main()
