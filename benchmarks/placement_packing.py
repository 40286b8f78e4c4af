"""How much finds a place: naos' choice of a blade beside Ganeti's hail, for the same machines in the same order.

Blades of one cpool are filled with machines of 16 to 96 GiB, one after the other, until the sum of what was asked is 30 % more than there
is; who finds no place is left out. naos is tried with the moves that it finds where no blade has room, and without. hail is asked as
Ganeti does, through its allocator protocol, with a cluster as its own earlier answers made it, and without the capacity that it keeps for
a lost node. Compared is the memory that was placed. hail is fetched into a folder of this run's own.

Run: `.venv/bin/python benchmarks/placement_packing.py`.
"""

import json
import os
import random
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from naos.compute.placement import Candidate, Need, best
from naos.compute.rearranging import Runner, make_room
from naos.inventory.catalogues import load_blades
from naos.units import GIB, MIB

NODES, MODEL, SEEDS = 6, "ADVANCE v3", (1, 2, 3)
Hail = Callable[[Path], str | None]


def main() -> None:
    memory = load_blades().models[MODEL].physical_memory
    with tempfile.TemporaryDirectory(prefix="naos-packing-") as name:
        folder = Path(name)
        try:
            hail = fetch(folder)
        except (OSError, subprocess.SubprocessError) as problem:
            print(f"Ganeti hail: left out, {problem}")
            return
        ratios = list[tuple[float, float]]()
        for seed in SEEDS:
            sizes = wishes(seed, NODES * memory)
            found = {
                "hail": by_hail(sizes, memory, hail, folder / "request.json"),
                "naos": by_naos(sizes, memory, moving=False),
                "naos, moving": by_naos(sizes, memory, moving=True),
            }
            theirs = sum(found["hail"])
            print(f"{NODES} blades, {len(sizes)} machines wanted (seed {seed})")
            for who, placed in found.items():
                share = sum(placed) * 100 / (NODES * memory)
                print(
                    f"  {who:12} {len(placed)} machines, {share:.2f} % of the memory, ratio {sum(placed) / theirs:.4f}"
                )
            ratios.append((sum(found["naos"]) / theirs, sum(found["naos, moving"]) / theirs))
        alone, moving = (sum(column) / len(SEEDS) for column in zip(*ratios, strict=True))
        print(
            f"memory placed, naos to hail: {alone:.4f} by the choice alone, {moving:.4f} with moves (wanted: 1 or more)"
        )


def wishes(seed: int, there: int) -> list[int]:
    """Bytes of each machine, 30 % more in all than there is."""
    chosen, sizes = random.Random(seed), list[int]()
    while sum(sizes) < there * 1.3:
        sizes.append(chosen.randint(16, 96) * GIB)
    return sizes


def by_naos(sizes: Sequence[int], memory: int, *, moving: bool) -> list[int]:
    """moving: where no blade has room, the moves are made that naos finds (`naos placement start`)."""
    names = [f"node{number}" for number in range(NODES)]
    runners: list[Runner] = []

    def blades() -> list[Candidate]:
        there = {name: [runner for runner in runners if runner.blade == name] for name in names}
        return [
            Candidate(
                name, memory, sum(runner.memory for runner in there[name]), len(there[name]), model=MODEL, zone="z"
            )
            for name in names
        ]

    for number, size in enumerate(sizes):
        candidates, need = blades(), Need(size, 1, model=MODEL)
        found = best(candidates, need)
        if found is None and moving and sum(blade.free for blade in candidates) >= size:
            outcome = make_room(candidates, runners, [], need, f"m{number}", seconds=2.0)
            moved = {move.machine_id: move.target for move in outcome.moves}
            runners = [replace(runner, blade=moved.get(runner.id, runner.blade)) for runner in runners]
            found = outcome.blade
        if found is not None:
            runners.append(Runner(f"m{number}", f"m{number}", found, size, 1))
    return [runner.memory for runner in runners]


def by_hail(sizes: Sequence[int], memory: int, hail: Hail, request: Path) -> list[int]:
    instances, placed = list[tuple[str, int]](), list[int]()
    for size in sizes:
        asked = cluster(instances, nodes=NODES, node_memory=memory // MIB, wanted=size // MIB)
        request.write_text(json.dumps(asked), encoding="utf-8")
        node = hail(request)
        if node is not None:
            instances.append((node, size // MIB))
            placed.append(size)
    return placed


# --------------------------------------------------------------------------------------------------------------- hail


def fetch(folder: Path) -> Hail:
    """hail, without installing it: what answers a request in a file with a node's name, or None when it finds no place."""
    packages = ["ganeti-htools-3.0", "libpcre3"]
    subprocess.run(["apt-get", "download", "-qq", *packages], cwd=folder, check=True, capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder / "root"], check=True)
    program = next(path for path in (folder / "root").rglob("htools") if path.is_file())
    libraries = ":".join(sorted({str(path.parent) for path in (folder / "root").rglob("*.so.*")}))
    environment = {**os.environ, "HTOOLS": "hail", "LD_LIBRARY_PATH": libraries}

    def ask(request: Path) -> str | None:
        command: list[str | Path] = [program, "--no-capacity-checks", request]
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=300, env=environment)
        if not done.stdout.startswith("{"):
            raise OSError(f"hail: {done.stderr.strip() or done.stdout.strip() or done.returncode}")
        answer = json.loads(done.stdout)
        return str(answer["result"][0]) if answer.get("success") else None

    return ask


def cluster(instances: Sequence[tuple[str, int]], *, nodes: int, node_memory: int, wanted: int = 256) -> dict[str, Any]:
    """A request of Ganeti's allocator protocol: instances by their node and MiB, and one that is to be placed."""
    limits = {"memory-size": 1, "cpu-count": 1, "disk-size": 1, "disk-count": 0, "nic-count": 0, "spindle-use": 1}
    most = {**dict.fromkeys(limits, 10**7), "cpu-count": 512, "disk-count": 16, "nic-count": 8, "spindle-use": 512}
    policy = {
        "minmax": [{"min": limits, "max": most}],
        "std": {**limits, "disk-count": 1, "nic-count": 1},
        "disk-templates": ["plain"],
        "vcpu-ratio": 8.0,
        "spindle-ratio": 512.0,
    }
    there, used = {}, {f"node{number}": 0 for number in range(nodes)}
    for number, (node, memory) in enumerate(instances):
        used[node] += memory
        there[f"i{number}"] = {
            "memory": memory,
            "vcpus": 1,
            "os": "x",
            "nics": [],
            "hypervisor": "fake",
            "tags": [],
            "spindle_use": 1,
            "disk_template": "plain",
            "disks": [{"size": 1024, "mode": "w", "spindles": None}],
            "disk_space_total": 1024,
            "nodes": [node],
            "admin_state": "up",
            "admin_state_source": "admin",
            "forthcoming": False,
        }
    known = {
        name: {
            "total_memory": node_memory,
            "reserved_memory": 0,
            "free_memory": node_memory - taken,
            "total_disk": 10**7,
            "free_disk": 5 * 10**6,
            "total_cpus": 96,
            "reserved_cpus": 1,
            "group": "g",
            "offline": False,
            "drained": False,
            "master_candidate": True,
            "master_capable": True,
            "vm_capable": True,
            "tags": [],
            "primary_ip": "192.0.2.1",
            "secondary_ip": "192.0.2.1",
            "i_pri_memory": taken,
            "i_pri_up_memory": taken,
            "total_spindles": 512,
            "free_spindles": 512,
            "cpu_speed": 1.0,
            "ndparams": {"spindle_count": 512, "exclusive_storage": False, "cpu_speed": 1.0},
            "hv_state": {},
        }
        for name, taken in used.items()
    }
    group = {"name": "default", "alloc_policy": "preferred", "networks": [], "ipolicy": policy, "tags": []}
    return {
        "version": 2,
        "cluster_name": "c",
        "cluster_tags": [],
        "enabled_hypervisors": ["fake"],
        "ipolicy": policy,
        "nodegroups": {"g": group},
        "nodes": known,
        "instances": there,
        "request": {
            "type": "allocate",
            "name": "new",
            "memory": wanted,
            "spindle_use": 1,
            "vcpus": 1,
            "os": "x",
            "tags": [],
            "nics": [],
            "hypervisor": "fake",
            "required_nodes": 1,
            "disk_template": "plain",
            "disk_space_total": 1024,
            "disks": [{"size": 1024, "mode": "w", "spindles": None}],
            "group_name": None,
            "restrict-to-nodes": None,
        },
    }


if __name__ == "__main__":
    main()
