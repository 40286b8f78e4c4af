"""What an activity costs beyond the DBOS workflow that carries it, and how soon a dead controller's work is taken over.

References, measured in the same run on the same database: a bare DBOS workflow of one step (SQLite); the time after which
a controller counts as dead (PostgreSQL). Run: `.venv/bin/python benchmarks/activities.py`.
"""

import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from dbos import DBOS, SetWorkflowID

from naos.activity import Caller, Engine, Lock, Plan, Run, workflow
from naos.activity.controllers import Timing
from naos.activity.models import Activity, State
from naos.database import Base, Database

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from postgres_server import server

CALLER = Caller("benchmark", "benchmark")
ONE_BY_ONE, AT_ONCE, SUBMITTERS = 100, 400, 4


@workflow("benchmark.trivial", steps=1)
def trivial(run: Run, arguments: dict[str, Any]) -> str:
    del arguments
    return str(run.step("nothing", lambda: "done"))


@workflow("benchmark.long")
def long(run: Run, arguments: dict[str, Any]) -> str:
    for number in range(arguments["steps"]):
        run.step(f"step {number}", time.sleep, 0.1)
    return "done"


@DBOS.workflow(name="benchmark.bare")
def bare() -> str:
    return str(DBOS.run_step({"name": "nothing"}, lambda: "done"))


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as folder:
        on_sqlite(Path(folder))
    with server() as postgres:
        adoption(postgres.create("adoption"))


def on_sqlite(folder: Path) -> None:
    database = Database(f"sqlite:///{folder}/naos.db")
    Base.metadata.create_all(database.engine)
    engine = Engine(database, world=None)
    engine.start()
    try:
        reference = statistics.median(timed(run_bare) for _ in range(ONE_BY_ONE))
        ours = statistics.median(timed(lambda: run_one(engine)) for _ in range(ONE_BY_ONE))
        report("trivial activity, call to completed, SQLite", ours * 1000, reference * 1000, "ms", "at most 100 ms")
        reference_rate = AT_ONCE / timed(lambda: side_by_side(run_bare))
        rate = AT_ONCE / timed(lambda: side_by_side(lambda: run_one(engine)))
        report("activities sustained, SQLite", rate, reference_rate, "/s", "at least 40/s")
    finally:
        engine.stop()
        database.close()


def run_bare() -> None:
    with SetWorkflowID(str(uuid.uuid4())):
        DBOS.start_workflow(bare).get_result(polling_interval_sec=0.005)


def run_one(engine: Engine) -> None:
    plan = Plan("benchmark.trivial", "Benchmark", {}, locks=(Lock(f"benchmark:{uuid.uuid4()}"),))
    ended = engine.wait(engine.submit_now(lambda _session: plan, CALLER).id)
    assert ended.state == State.COMPLETED, ended.reason


def side_by_side(call: Callable[[], None]) -> None:
    with ThreadPoolExecutor(SUBMITTERS) as pool:
        for future in [pool.submit(call) for _ in range(AT_ONCE)]:
            future.result()


def timed(call: Callable[[], None]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


# ------------------------------------------------------------------------------------------------------------- adoption


def adoption(url: str) -> None:
    """Two controllers; the one that runs an activity is killed, and the other goes on."""
    database = Database(url)
    Base.metadata.create_all(database.engine)
    context = multiprocessing.get_context("spawn")
    first = context.Process(target=controller, args=(url, True))
    first.start()
    running = until(database, lambda row: row.state == State.RUNNING)
    second = context.Process(target=controller, args=(url, False))
    second.start()
    time.sleep(3.0)
    os.kill(first.pid or 0, signal.SIGKILL)
    killed = time.monotonic()
    first.join()
    until(database, lambda row: row.controller_id != running.controller_id)
    seconds = time.monotonic() - killed
    second.terminate()
    second.join()
    database.close()
    report("adoption after SIGKILL, PostgreSQL", seconds, Timing().dead, "s", "at most 10 s")


def controller(url: str, submits: bool) -> None:  # noqa: FBT001 - a process's argument
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    engine = Engine(Database(url), world=None)
    engine.start()
    if submits:
        engine.submit_now(lambda _session: Plan("benchmark.long", "Benchmark", {"steps": 600}), CALLER)
    time.sleep(60)


def until(database: Database, condition: Callable[[Activity], bool]) -> Activity:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with database.read() as session:
            row = session.scalars(sa.select(Activity)).first()
        if row is not None and condition(row):
            return row
        time.sleep(0.02)
    raise TimeoutError("the activity did not get there within 60 s")


def report(what: str, ours: float, reference: float, unit: str, wanted: str) -> None:
    print(
        f"{what}: {ours:.1f} {unit}, reference {reference:.1f} {unit}, ratio {ours / reference:.2f} (wanted: {wanted})"
    )


if __name__ == "__main__":
    main()
