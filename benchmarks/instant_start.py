"""An instant start on a real lab against a plain start of the same machine: from the request to the guest's prompt.

Reference, measured in the same run and turn by turn: the machine is started from its own disks, then in production from its restore point.
Run as root: `.venv/bin/python benchmarks/instant_start.py`.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

from naos.cli import naming
from naos.cli.client import Api, Connection, opened
from naos.cli.journey import READY
from naos.cli.policy import BACKUP
from naos.cli.waiting import state_of

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lab"))
from real_platform import URL, Real, real_lab

GUEST, ROUNDS, LOOK = "first-az05", 3, 0.1


def main() -> None:
    with real_lab() as real:
        real.naos("vm", "stop", "first-az06", "--force")
        real.naos("policy", "create", "bench", "--site", "AZ07", "--keep", "7")
        real.naos("policy", "assign", GUEST, "bench")
        (task,) = real.json("backup", "run", "bench")
        if task["status"] != "COMPLETED":
            raise RuntimeError(task["reason"])
        with opened(Connection(URL, real.root / "credentials")) as api:
            measure(real, api)


def measure(real: Real, api: Api) -> None:
    machine = naming.find(api, naming.MACHINE, GUEST)["id"]
    point = api.get(f"{BACKUP}/restore_points", virtualMachineId=machine)[0]["id"]
    plain, instant = [], []
    for _ in range(ROUNDS):
        real.naos("vm", "stop", GUEST, "--force")
        on = {"id": machine, "powerAction": "on"}
        plain.append(seconds(api, machine, "PATCH", f"{naming.MACHINE.path}/power", on))
        real.naos("vm", "stop", GUEST, "--force")
        wish = {"mode": "production"}
        instant.append(seconds(api, machine, "POST", f"{BACKUP}/restore_points/{point}/instant_start", wish))
        real.naos("vm", "stop", GUEST, "--force")
        real.naos("backup", "take-back", GUEST, "--yes")
    ours, reference = statistics.median(instant), statistics.median(plain)
    print(
        f"instant start, request to guest prompt: {ours:.2f} s, plain start {reference:.2f} s, "
        f"ratio {ours / reference:.2f} (wanted: at most 1.5)"
    )


def seconds(api: Api, machine: str, method: str, path: str, body: dict[str, Any]) -> float:
    """From the request until the guest's prompt; a machine's log begins anew with each start."""
    started = time.monotonic()
    activity = api.write(method, path, body)
    while True:
        state, facts = state_of(api.get(f"/activity/v1/activities/{activity}"))
        if state == "completed":
            break
        if state == "failed":
            raise RuntimeError(facts["reason"])
        time.sleep(0.02)
    log = f"{naming.MACHINE.path}/{machine}/consoles/log"
    while not READY.search(api.text(log)):
        time.sleep(LOOK)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
