"""Two controllers on PostgreSQL: the one that leads is killed in the middle of a recovery, and the other finishes it."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from crash_matrix import FORK, ready_to_fork
from postgres_server import Server, server
from simulated_platform import COMPUTE, GIB, Platform, platform_in

from naos.activity import Engine
from naos.activity.controllers import Timing

AVAILABILITY = f"{COMPUTE}/availability"
SECONDS = 60.0
PATIENT = Timing(heartbeat=0.3, fence=6.0, dead=7.0, poll=0.1)
"""A controller that is not heard of for so long ends itself: a busy machine must not bring the tests to that."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


def patient(database: Any, world: Any) -> Engine:
    return Engine(database, world, timing=PATIENT)


def _prepare(folder: Path, url: str) -> dict[str, Any]:
    with platform_in(folder, database_url=url, make_engine=patient) as platform:
        platform.furnish()
        with platform.services.database.write() as session:
            session.execute(sa.text("UPDATE cpools SET memory = :memory").bindparams(memory=8 * GIB))
        pool = platform.made["pool-AZ05"]
        platform.done("PATCH", f"{COMPUTE}/host_clusters/{pool}/availability", {"enabled": True})
        machines = [platform.deploy(f"vm-{number}") for number in range(4)]
        hosts = {machine: str(platform.machine(machine)["host"]["name"]) for machine in machines}
        _wait(lambda: _seen(platform) == 2, "the array has seen both blades")
        return {"hosts": hosts, "victim": hosts[machines[0]]}


def _seen(platform: Platform) -> int:
    with platform.services.database.read() as session:
        return int(session.scalar(sa.text("SELECT count(*) FROM blade_conditions WHERE seen")) or 0)


def _wait(condition: Any, what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def lead_and_die(folder: Path, url: str, victim: str, kind: str, step: str) -> None:
    """Lead until the other controller is there, pull the blade's plug, and die right after the first such step."""

    def boundary(now: str, name: str, moment: str) -> None:
        if (now, name, moment) == (kind, step, "after-effect"):
            os.kill(os.getpid(), signal.SIGKILL)

    def make(database: Any, world: Any) -> Engine:
        return Engine(database, world, boundary=boundary, timing=PATIENT)

    with platform_in(folder, database_url=url, make_engine=make) as platform:
        engine = platform.services.engine
        assert isinstance(engine, Engine)
        _wait(engine.is_leader, "it leads")
        (folder / "leads").touch()
        _wait((folder / "other").exists, "the other controller is there")
        platform.rack.chassis(victim).off()
        time.sleep(SECONDS)


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        pytest.param("virtual_machine.isolate", "cut a disk's export", marks=pytest.mark.soak),
        pytest.param("virtual_machine.recover", "start", marks=pytest.mark.soak),
    ],
)
def test_the_other_controller_finishes_it(tmp_path: Path, postgres: Server, kind: str, step: str) -> None:
    url = postgres.create(f"ha-{kind}-{step}".replace(" ", "-").replace("'", ""))
    known = _prepare(tmp_path, url)
    ready_to_fork()
    leader = FORK.Process(target=lead_and_die, args=(tmp_path, url, known["victim"], kind, step))
    leader.start()
    try:
        _wait((tmp_path / "leads").exists, "the first controller leads")
        with platform_in(tmp_path, database_url=url, make_engine=patient) as platform:
            (tmp_path / "other").touch()
            leader.join(SECONDS)
            assert leader.exitcode == -signal.SIGKILL
            lost = [machine for machine, host in known["hosts"].items() if host == known["victim"]]
            _wait(lambda: _recovered(platform) == sorted(lost), "all are back")
            platform.rack.chassis(known["victim"]).on()
            assert platform.settled() == []
            for machine, host in known["hosts"].items():
                now = platform.machine(machine)
                assert now["powerState"] == "running"
                assert (now["host"]["name"] == host) == (host != known["victim"])
                assert _runs(platform, machine) == [now["host"]["name"]]
    finally:
        if leader.is_alive():
            leader.kill()
        leader.join()


def _recovered(platform: Platform) -> list[str]:
    """The machine of each recovery that has ended well; one that happened twice is here twice."""
    rows = platform.get(f"{AVAILABILITY}/recoveries")
    return sorted(row["virtualMachineId"] for row in rows if row["progress"] == "recovered")


def _runs(platform: Platform, machine_id: str) -> list[str]:
    """The blades that run it, in the world's own books."""
    with platform.rack._store.transaction() as db:
        return [
            row["blade"]
            for row in db.execute("SELECT blade FROM domains WHERE id = ? AND live IS NOT NULL", (machine_id,))
        ]
