"""Lists of 10,000 machines: what a call costs in time, memory and SQL statements, and that no list asks once a row.

Reference, in the same run: the same lists with 100 machines; the number of statements must be the same.
Run: `.venv/bin/python benchmarks/lists.py`.
"""

import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from fastapi.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from many_machines import COMPUTE, prepare, reading
from simulated_platform import logged_in, settings_in

from naos.database import Database
from naos.tenancy.bootstrap import load_credential

FEW, MANY, ROUNDS = 100, 10_000, 3
PATHS = {
    "machines": f"{COMPUTE}/virtual_machines?allOptions=true",
    "machines of a name": f"{COMPUTE}/virtual_machines?name=machine-00050",
    "disks": f"{COMPUTE}/virtual_disks",
    "adapters": f"{COMPUTE}/network_adapters",
    "controllers": f"{COMPUTE}/virtual_controllers",
    "pools": f"{COMPUTE}/host_clusters",
    "volumes": f"{COMPUTE}/datastores",
    "VLANs": f"{COMPUTE}/networks",
}


@dataclass(frozen=True)
class Cost:
    """seconds: the median of some calls. size: bytes of the answer. peak: bytes that the call held at most."""

    seconds: float
    size: int
    peak: int
    statements: int
    rows: int


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    few, many = costs(FEW), costs(MANY)
    print(
        f"{'list':20} {'rows':>7} {'time':>9} {'a row':>9} {'answer':>9} {'peak':>9} {'SQL':>4} {'SQL of ' + str(FEW):>11}"
    )
    for name, cost in many.items():
        a_row = cost.seconds / max(cost.rows, 1) * 1e6
        print(
            f"{name:20} {cost.rows:7} {cost.seconds:7.3f} s {a_row:6.0f} us {cost.size / 2**20:5.1f} MiB"
            f" {cost.peak / 2**20:5.0f} MiB {cost.statements:4} {few[name].statements:11}"
        )
    grown = [name for name, cost in many.items() if cost.statements > few[name].statements]
    print(f"lists whose statements grow with rows: {', '.join(grown) or 'none'} (wanted: none)")
    sys.exit(bool(grown))


def costs(count: int) -> dict[str, Cost]:
    with tempfile.TemporaryDirectory(prefix="naos-lists-") as name:
        folder = Path(name)
        prepare(folder, count)
        with reading(folder) as (app, database):
            client = logged_in(TestClient(app), *load_credential(settings_in(folder).credentials))
            return {kind: cost(client, database, path) for kind, path in PATHS.items()}


def cost(client: TestClient, database: Database, path: str) -> Cost:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        client.get(path)
        times.append(time.perf_counter() - started)
    with counted(database) as statements:
        client.get(path)
    tracemalloc.start()
    client.get(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Cost(statistics.median(times), len(answer.content), peak, len(statements), len(answer.json()))


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The SQL statements of a block."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


if __name__ == "__main__":
    main()
