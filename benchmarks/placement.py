"""Placing machines: the decision alone, and with its memory durably set aside; beside OpenStack Placement and Ganeti's hail.

1,000 blades in 32 cpools carry 32,000 machines, a tenth of them in affinity rules. Nothing is started: rows and candidates stand for
the rack. A decision of naos is `placement.best` over the blades of one cpool, durable it is `steps.place`, which activities run: read
the cpool, its blades and the machine's rules, disks and adapters, check the memory enabled, decide, and commit (SQLite).

Placement is asked as its clients do (allocation candidates, then the allocation of the first), as one server process on SQLite over
HTTP; hail reads a whole cluster from a file for each decision, as Ganeti calls it. Neither does all that the other does; the ratios say
what a caller waits for. Both are fetched into a folder of this run's own; what cannot be had is left out and said.

Each piece of work is measured twice. Wall time is what a caller waits for: on a machine that does other things its p99 is mostly the
turns that others had. Processor time is this thread's own, what the work costs whatever else runs, collections of garbage
included (the collector is on; what was made before the first measurement is out of its way, as it is in a controller that has
run for a while). Where the two p99 differ, the difference is the machine's.
Run: `.venv/bin/python benchmarks/placement.py`.
"""

import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import httpx
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parent))
import placement_packing
from placement_reads import CONFIGURATION, PACKAGES, WSGI, free_port, wait_for

from naos.api.app import area_modules
from naos.compute import steps
from naos.compute.models import AffinityMember, AffinityRule, VirtualMachine
from naos.compute.placement import ANTI_AFFINITY, Candidate, Need, Tie, best
from naos.database import Database
from naos.fleet.models import Blade, Cpool
from naos.inventory.catalogues import load_blades, load_storage
from naos.migrations import upgrade
from naos.units import GIB, MIB
from naos.world import World

POOLS, BLADES, MACHINES = 32, 1_000, 32_000
DECISIONS, DURABLE, THEIRS = 40_000, 1_000, 60
MODEL = "ADVANCE v3"
GROUP = 5
"""Machines in one rule. A tenth of all is in rules."""


@dataclass(frozen=True)
class Result:
    """rate: placements a second, by the wall clock. Times in seconds: by the wall clock, and of this thread's processor time."""

    rate: float
    median: float
    p99: float
    processor: float
    processor_p99: float

    def line(self, title: str) -> str:
        wall = f"wall median {self.median * 1000:8.3f} ms  p99 {self.p99 * 1000:8.3f} ms"
        own = f"processor median {self.processor * 1000:8.3f} ms  p99 {self.processor_p99 * 1000:8.3f} ms"
        return f"{title:48} {self.rate:9.1f}/s  {wall}  {own}"


def timed(work: Callable[[int], None], count: int) -> Result:
    """Each piece of work by both clocks; the caller has warmed it up."""
    wall, own = [0.0] * count, [0.0] * count
    gc.collect()
    gc.freeze()
    begun = time.perf_counter()
    for number in range(count):
        started, used = time.perf_counter(), time.thread_time()
        work(number)
        own[number], wall[number] = time.thread_time() - used, time.perf_counter() - started
    spent = time.perf_counter() - begun
    gc.unfreeze()
    wall.sort()
    own.sort()
    middle, late = count // 2, int(count * 0.99)
    return Result(count / spent, wall[middle], wall[late], own[middle], own[late])


def main() -> None:
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    decision = decide(BLADES, POOLS)
    print(decision.line(f"naos, decision alone, {BLADES} blades in {POOLS} cpools"))
    print(decide(BLADES, 1).line(f"naos, decision alone, {BLADES} blades as one pool"))
    small, large = durable(32, 1, 640), durable(BLADES, POOLS, MACHINES)
    print(small.line("naos, durable, 32 blades, 640 machines"))
    print(large.line(f"naos, durable, {BLADES} blades, {MACHINES} machines"))
    wall, own = decision.p99 * 1000, decision.processor_p99 * 1000
    print(f"goals: decision > 4000/s: {decision.rate:.0f}; its p99 < 1 ms: {wall:.3f} wall, {own:.3f} processor")
    print(f"goals: durable > 200/s at 32 blades: {small.rate:.0f}; > 100/s at {BLADES}: {large.rate:.0f}")
    growth = large.processor / small.processor
    print(f"processor time of a durable placement, {MACHINES} machines to 640: {growth:.2f} (1: no growth)")
    with tempfile.TemporaryDirectory(prefix="naos-placement-") as name:
        beside(Path(name) / "placement", "OpenStack Placement, 32 providers", of_placement, small)
        beside(Path(name) / "hail", "Ganeti hail, 32 nodes, 640 instances", of_hail, small)


def beside(folder: Path, title: str, measure: Callable[[Path], Result], ours: Result) -> None:
    folder.mkdir()
    try:
        theirs = measure(folder)
    except (OSError, subprocess.SubprocessError, httpx.HTTPError) as problem:
        print(f"{title}: left out, {problem}")
        return
    print(theirs.line(title))
    print(f"  placements a second, ratio: {ours.rate / theirs.rate:.1f}; p99, ratio: {ours.p99 / theirs.p99:.3f}")


# -------------------------------------------------------------------------------------------------------- the decision


def decide(blades: int, pools: int) -> Result:
    """Every decision is taken into account by the next one of its cpool, and a machine leaves for each that comes."""
    chosen = random.Random(1)
    model = load_blades().models[MODEL]
    fleet: list[list[Candidate]] = [[] for _ in range(pools)]
    for number in range(blades):
        there, reserved = MACHINES // BLADES, 0
        for _ in range(there):
            reserved += chosen.randint(4, 20) * GIB
        name = f"blade{number:04}"
        fleet[number % pools].append(
            Candidate(name, model.physical_memory, reserved, there, True, there * 2, model.cores * 4, "", MODEL, "z")
        )
    work = []
    for number in range(DECISIONS):
        pool = fleet[number % pools]
        ties: tuple[Tie, ...] = ()
        if chosen.random() < 0.1:
            others = frozenset(blade.name for blade in chosen.sample(pool, GROUP - 1))
            ties = (Tie("apart", ANTI_AFFINITY, chosen.random() < 0.5, others, ("db",)),)
        work.append((pool, Need(chosen.randint(4, 20) * GIB, 2, model=MODEL, ties=ties)))
    count = DECISIONS if pools > 1 else DECISIONS // 20

    def place(number: int) -> None:
        pool, need = work[number]
        best(pool, need)

    def settle(number: int) -> None:
        """What was decided is there, and as much goes elsewhere; not timed."""
        pool, need = work[number]
        name = best(pool, need)
        position = next(index for index, blade in enumerate(pool) if blade.name == name)
        pool[position] = replace(pool[position], reserved=pool[position].reserved + need.memory)
        leaving = max(range(len(pool)), key=lambda index: pool[index].reserved)
        pool[leaving] = replace(pool[leaving], reserved=pool[leaving].reserved - need.memory)

    for number in range(min(2_000, count)):
        settle(number)
    return timed(place, count)


# ------------------------------------------------------------------------------------------------------------- durable


def durable(blades: int, pools: int, machines: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="naos-placement-") as name:
        area_modules("models")
        database = Database(f"sqlite:///{name}/naos.db")
        upgrade(database)
        waiting = fill(database, blades, pools, machines)
        world = World(database, cast(Any, None), cast(Any, None), load_blades(), load_storage(), cast(Any, None))
        for machine_id in waiting[:50]:
            steps.place(world, machine_id)
        result = timed(lambda number: cast(None, steps.place(world, waiting[50 + number])), DURABLE)
        database.close()
        return result


def fill(database: Database, blades: int, pools: int, machines: int) -> list[str]:
    """The fleet with its machines, and the ids of stopped ones that wait to be placed."""
    chosen, count = random.Random(2), DURABLE + 50
    model = load_blades().models[MODEL]
    cpools = [str(uuid.uuid4()) for _ in range(pools)]
    share = blades // pools
    rows = []
    for number in range(machines + count):
        waits, place = number >= machines, number % blades
        rows.append(
            {
                "id": str(uuid.uuid4()),
                "tenant_id": "t",
                "lun_id": "l",
                "name": f"m{number}",
                "cpu": 1,
                "memory": chosen.randint(2, 6) * GIB if not waits else 256 * MIB,
                "lifecycle": "active",
                "cpool_id": cpools[place % pools],
                "blade": None if waits else f"blade{place:04}",
                "power": "stopped" if waits else "running",
            }
        )
        rows[-1]["reserved"] = 0 if waits else rows[-1]["memory"]
    with database.write() as session:
        enabled = (share + 1) * model.physical_memory
        session.execute(
            sa.insert(Cpool),
            [
                {
                    "id": one,
                    "tenant_id": "t",
                    "name": one,
                    "zone": "z",
                    "model": MODEL,
                    "memory": enabled,
                    "vcpu_rate": 800,
                }
                for one in cpools
            ],
        )
        names = [(f"blade{number:04}", cpools[number % pools]) for number in range(blades)]
        session.execute(
            sa.insert(Blade),
            [{"name": name, "zone": "z", "model": MODEL, "cpool_id": one, "connected": True} for name, one in names],
        )
        session.execute(sa.insert(VirtualMachine), rows)
        _rules(session, rows, chosen)
    return [str(row["id"]) for row in rows[machines:]]


def _rules(session: Any, rows: Sequence[dict[str, Any]], chosen: random.Random) -> None:
    """Each tenth machine is in a rule of five of its cpool, of which half must hold."""
    by_pool: dict[str, list[str]] = {}
    for row in rows:
        by_pool.setdefault(row["cpool_id"], []).append(row["id"])
    for cpool_id, members in by_pool.items():
        picked = chosen.sample(members, len(members) // 10 // GROUP * GROUP)
        for start in range(0, len(picked), GROUP):
            must = bool(start // GROUP % 2)
            rule = {"tenant_id": "t", "cpool_id": cpool_id, "name": f"r{start}", "kind": ANTI_AFFINITY, "must": must}
            made = AffinityRule(id=str(uuid.uuid4()), enabled=True, **rule)
            session.add(made)
            session.flush()
            session.add_all(AffinityMember(rule_id=made.id, machine_id=one) for one in picked[start : start + GROUP])


# ---------------------------------------------------------------------------------------------------------- the others


def of_placement(folder: Path) -> Result:
    """32 providers; each placement asks for candidates and allocates the first."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    (folder / "placement.conf").write_text(CONFIGURATION.format(folder=folder), encoding="utf-8")
    (folder / "served.py").write_text(WSGI, encoding="utf-8")
    port, environment = free_port(), {**os.environ, "OS_PLACEMENT_CONFIG_DIR": str(folder), "PYTHONPATH": str(folder)}
    command = [python, "-m", "gunicorn", "--workers=1", "--keep-alive=60", "--threads=2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}", "served:application"], env=environment, cwd=folder, **cast(Any, quiet)
    ) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(address)
            headers = {"X-Auth-Token": "admin", "OpenStack-API-Version": "placement 1.39"}
            with httpx.Client(base_url=address, headers=headers, trust_env=False, timeout=60) as client:
                _provide(client)
                return timed(lambda _number: _allocate(client), THEIRS)
        finally:
            server.terminate()


def _provide(client: httpx.Client) -> None:
    model = load_blades().models[MODEL]
    inventories = {"VCPU": {"total": model.cores * 8}, "MEMORY_MB": {"total": model.physical_memory // MIB}}
    for number in range(32):
        provider = str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))
        client.post("/resource_providers", json={"name": f"node{number}", "uuid": provider}).raise_for_status()
        body = {"resource_provider_generation": 0, "inventories": inventories}
        client.put(f"/resource_providers/{provider}/inventories", json=body).raise_for_status()


def _allocate(client: httpx.Client) -> None:
    found = client.get("/allocation_candidates", params={"resources": "VCPU:1,MEMORY_MB:256"})
    found.raise_for_status()
    allocations = found.json()["allocation_requests"][0]["allocations"]
    owner = {"project_id": "p", "user_id": "u", "consumer_generation": None, "consumer_type": "INSTANCE"}
    answer = client.put(f"/allocations/{uuid.uuid4()}", json={"allocations": allocations, **owner})
    answer.raise_for_status()


def of_hail(folder: Path) -> Result:
    """32 nodes with 640 instances in one group."""
    hail, request = placement_packing.fetch(folder), folder / "request.json"
    request.write_text(json.dumps(placement_packing.cluster(_instances(), nodes=32, node_memory=_node_memory())))
    return timed(lambda _number: _ignore(hail(request)), 5)


def _node_memory() -> int:
    return load_blades().models[MODEL].physical_memory // MIB


def _instances() -> list[tuple[str, int]]:
    chosen = random.Random(3)
    return [(f"node{number % 32}", chosen.randint(2048, 6144)) for number in range(640)]


def _ignore(_node: str | None) -> None:
    """It was the time that counted."""


if __name__ == "__main__":
    main()
