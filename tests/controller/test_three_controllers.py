"""Three controllers on PostgreSQL, of which one dies: what a cpool may give is given, and never more."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from crash_matrix import FORK, ready_to_fork
from postgres_server import server
from simulated_platform import COMPUTE, POWER, Platform, platform_in

from naos.activity import Engine
from naos.activity.controllers import Timing
from naos.compute.models import BladeLoad, VirtualMachine
from naos.fleet.models import Blade

MIB = 2**20
MACHINES = f"{COMPUTE}/virtual_machines"
LIMIT, ASKED, CONTROLLERS = 10, 51, 3
SIZE = 256 * MIB
PATIENT = Timing(heartbeat=0.3, fence=6.0, dead=7.0, poll=0.1)
DIES_AFTER = 4
"""Machines for which the controller that dies has set memory aside."""


def _wait(condition: Callable[[], Any], what: str, seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return found


def patient(database: Any, world: Any) -> Engine:
    return Engine(database, world, timing=PATIENT)


def ask(folder: Path, url: str, number: int, made: dict[str, str]) -> None:
    """One of the controllers: asked for its share of the machines, all at once. The first dies in the middle of that."""
    placed = Counter[str]()

    def boundary(kind: str, name: str, moment: str) -> None:
        if number == 0 and (kind, name, moment) == ("virtual_machine.create", "choose a blade", "after-effect"):
            placed[kind] += 1
            if placed[kind] == DIES_AFTER:
                os.kill(os.getpid(), signal.SIGKILL)

    def make(database: Any, world: Any) -> Engine:
        return Engine(database, world, boundary=boundary, timing=PATIENT)

    with platform_in(folder, database_url=url, make_engine=make, blades_per_zone=4) as opened:
        platform = replace(opened, made=made)
        (folder / f"ready-{number}").touch()
        _wait(lambda: len(list(folder.glob("ready-*"))) == CONTROLLERS, "all three are there")

        def one(index: int) -> None:
            wish = platform.deployment(f"m-{number}-{index}", memory=SIZE)
            answer = platform.client.post(platform.deploy_path, json=wish)
            assert answer.status_code < 500, answer.text
            if "Location" in answer.headers:
                platform.ended(answer.headers["Location"], 240)

        with ThreadPoolExecutor(ASKED // CONTROLLERS) as pool:
            list(pool.map(one, range(ASKED // CONTROLLERS)))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_34_of_fifty_machines_that_are_asked_of_three_controllers_as_many_run_as_the_pool_may_have(
    tmp_path: Path,
) -> None:
    """Row 34 of the complaints: exactly as many as the limit allows, another tenant is none the worse for it, nothing is counted
    that is not there after one of the controllers was killed, and nothing at all once everything is deleted."""
    with server() as postgres:
        url = postgres.create("three")
        with platform_in(tmp_path, database_url=url, blades_per_zone=4) as platform:
            platform.furnish()
            with platform.services.database.write() as session:
                pool = platform.made["pool-AZ05"]
                session.execute(
                    sa.text("UPDATE cpools SET memory = :memory WHERE id = :id").bindparams(
                        memory=LIMIT * SIZE, id=pool
                    )
                )
            theirs = replace(platform, client=platform.stranger("rivals"), made={}).furnish()
            for number in range(2):
                theirs.deploy(f"theirs-{number}", memory=SIZE)
            made = dict(platform.made)
        ready_to_fork()
        controllers = [FORK.Process(target=ask, args=(tmp_path, url, number, made)) for number in range(CONTROLLERS)]
        try:
            for controller in controllers:
                controller.start()
            for controller in controllers:
                controller.join(400)
            assert [controller.exitcode for controller in controllers] == [-signal.SIGKILL, 0, 0]
        finally:
            for controller in controllers:
                if controller.is_alive():
                    controller.kill()
                controller.join()
        with platform_in(tmp_path, database_url=url, make_engine=patient, blades_per_zone=4) as platform:
            assert platform.settled(120) == []
            machines = platform.get(MACHINES)
            assert len(machines) == LIMIT
            assert {machine["powerState"] for machine in machines} == {"running"}
            assert _loads(platform) == _sums(platform)
            assert sum(memory for memory, _ in _loads(platform).values()) == (LIMIT + 2) * SIZE
            assert "memory enabled" in platform.failed("POST", *_one_more(replace(platform, made=made)))
            for machine in machines:
                platform.done("PATCH", POWER, {"id": machine["id"], "powerAction": "off"})
                platform.done("DELETE", f"{MACHINES}/{machine['id']}")
            assert sum(memory for memory, _ in _loads(platform).values()) == 2 * SIZE
            assert platform.settled() == []


def _one_more(platform: Platform) -> tuple[str, dict[str, Any]]:
    return platform.deploy_path, platform.deployment("one-more", memory=SIZE)


def _loads(platform: Platform) -> dict[str, tuple[int, int]]:
    """What is counted on each blade: bytes and machines."""
    with platform.services.database.read() as session:
        rows = session.execute(sa.select(BladeLoad.blade, BladeLoad.memory, BladeLoad.machines))
        return {blade: (memory, machines) for blade, memory, machines in rows if machines}


def _sums(platform: Platform) -> dict[str, tuple[int, int]]:
    """What is there on each blade."""
    query = (
        sa.select(Blade.name, sa.func.sum(VirtualMachine.reserved), sa.func.count())
        .join(VirtualMachine, VirtualMachine.blade == Blade.name)
        .where(VirtualMachine.reserved > 0)
        .group_by(Blade.name)
    )
    with platform.services.database.read() as session:
        return {blade: (int(memory), count) for blade, memory, count in session.execute(query)}
