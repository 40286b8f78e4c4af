"""The crash matrix of replication and recovery: more activities, and controllers that die before any call of the engines that has to do
with points. What was restorable before is restorable afterwards, and no machine runs twice or not at all."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import crash_matrix
import sqlalchemy as sa
from crash_matrix import QUICK, SETTLE_SECONDS, Place, Scenario
from simulated_platform import Platform, platform_in

from naos.activity import Engine
from naos.activity.models import Activity
from naos.compute.models import VirtualMachine
from naos.engines.simulated.calls import SimulatedEngine
from naos.engines.simulated.laying import SimulatedLaying
from naos.engines.simulated.points import SimulatedPointStore, SimulatedSourcing
from naos.errors import NaosError
from naos.lifecycle import Lifecycle
from naos.protection import copying
from naos.protection.backup import instant, instant_keeper, instant_steps
from naos.protection.copying import Where
from naos.protection.recovery.models import Replica, ReplicaPoint
from naos.protection.recovery.rules import State
from naos.protection.replication import replications, rules
from naos.protection.replication.models import LunReplication
from naos.storage.models import Disk

RECOVERY, VOLUMES = "/recovery/v1", "/replication/v1/volumes"
METHODS = {
    name
    for kind in (SimulatedPointStore, SimulatedSourcing, SimulatedLaying)
    for name in vars(kind)
    if not name.startswith("_")
}
CYCLE, MOVING = "volume cycle", "moving in"
_replicate = crash_matrix._recover


# ------------------------------------------------------------------------------------------------------------- scenarios


def _failed_over(platform: Platform) -> None:
    crash_matrix._recoverable(platform)
    platform.done("POST", f"{RECOVERY}/plans/{platform.made['plan']}/failover", {"kind": "planned"})


def _reversed(platform: Platform) -> None:
    _failed_over(platform)
    platform.done("POST", f"{RECOVERY}/plans/{platform.made['plan']}/reverse")
    platform.done("POST", f"{RECOVERY}/replicas/{platform.made['replica']}/run")


def _alone(platform: Platform) -> None:
    """A replica of a machine that is in no plan, with three points."""
    crash_matrix._recoverable(platform)
    platform.done("DELETE", f"{RECOVERY}/plans/{platform.made['plan']}")
    for _ in range(2):
        platform.done("POST", f"{RECOVERY}/replicas/{platform.made['replica']}/run")


def _surplus(platform: Platform) -> None:
    """Only one of the three is kept from now on."""
    _alone(platform)
    platform.done("PATCH", f"{RECOVERY}/replicas/{platform.made['replica']}", {"keep": 1})


def _volume(platform: Platform) -> None:
    """A replicated volume with a machine, in a plan."""
    crash_matrix._machine(platform)
    body = {"volumeId": platform.made["volume-AZ05"], "zoneId": "AZ06"}
    platform.made["replication"] = platform.done("POST", VOLUMES, body)
    _await_point(platform)
    plan = {"name": "plan", "hostClusterId": platform.made["pool-AZ06"], "shutdown": 0}
    plan["machines"] = [{"virtualMachineId": platform.made["machine"]}]
    platform.made["plan"] = platform.done("POST", f"{RECOVERY}/plans", plan)


def _volume_failed_over(platform: Platform) -> None:
    _volume(platform)
    platform.done("POST", f"{RECOVERY}/plans/{platform.made['plan']}/failover", {"kind": "planned"})


def _volume_reversed(platform: Platform) -> None:
    _volume_failed_over(platform)
    platform.done("POST", f"{RECOVERY}/plans/{platform.made['plan']}/reverse")
    _await_point(platform)


def _await_point(platform: Platform) -> None:
    path, end = f"{VOLUMES}/{platform.made['replication']}", time.monotonic() + SETTLE_SECONDS
    while platform.get(path)["recoveryPoint"]["pointId"] is None:
        assert time.monotonic() < end, platform.get(path)
        time.sleep(0.05)


def _await_cycle(platform: Platform) -> str:
    """The controller takes points by itself; it does not live long enough to take two."""
    known = platform.get(f"{VOLUMES}/{platform.made['replication']}")["recoveryPoint"]["pointId"]
    end = time.monotonic() + SETTLE_SECONDS
    while platform.get(f"{VOLUMES}/{platform.made['replication']}")["recoveryPoint"]["pointId"] == known:
        assert time.monotonic() < end
        time.sleep(0.05)
    return ""


def _from_vault(platform: Platform) -> None:
    """A machine that runs from its restore point; it does not live long enough here to move in."""
    crash_matrix._protected(platform)
    body = {"mode": "test"}
    platform.done("POST", f"{crash_matrix.BACKUP}/restore_points/{platform.made['point']}/instant_start", body)


def _await_moved_in(platform: Platform) -> str:
    """The controller moves it in by itself."""
    end = time.monotonic() + SETTLE_SECONDS
    while _resting(platform):
        assert time.monotonic() < end, _resting(platform)
        time.sleep(0.05)
    return ""


def _on(what: str) -> Callable[[Platform], str]:
    return lambda platform: platform.write("POST", f"{RECOVERY}/replicas/{platform.made['replica']}/{what}")


SCENARIOS = {
    "failback": Scenario("recovery.failover", _replicate("failover", kind="failback"), _reversed),
    "reverse": Scenario("recovery.reverse", _replicate("reverse"), _failed_over),
    "discard": Scenario("recovery.discard", _replicate("discard"), _failed_over),
    "pruning": Scenario("virtual_machine.replicate", _on("run"), _surplus),
    "replica stop": Scenario(
        "replica.stop", lambda p: p.write("DELETE", f"{RECOVERY}/replicas/{p.made['replica']}"), _alone
    ),
    "volume replicate": Scenario(
        "replication.create",
        lambda p: p.write("POST", VOLUMES, {"volumeId": p.made["volume-AZ05"], "zoneId": "AZ06"}),
        crash_matrix._machine,
    ),
    "replication end": Scenario(
        "replication.delete", lambda p: p.write("DELETE", f"{VOLUMES}/{p.made['replication']}"), _volume
    ),
    "volume test": Scenario("recovery.test", _replicate("test"), _volume),
    "volume planned": Scenario("recovery.failover", _replicate("failover", kind="planned"), _volume),
    "volume unplanned": Scenario("recovery.failover", _replicate("failover", kind="unplanned"), _volume),
    "volume reverse": Scenario("recovery.reverse", _replicate("reverse"), _volume_failed_over),
    "volume failback": Scenario("recovery.failover", _replicate("failover", kind="failback"), _volume_reversed),
}
OF_CALLS = {
    CYCLE: Scenario("", _await_cycle, _volume),
    MOVING: Scenario("restore_point.move_in", _await_moved_in, _from_vault, vault=True),
    "instant production": crash_matrix.SCENARIOS["instant production"],
    "pruning": SCENARIOS["pruning"],
    "planned failover": crash_matrix.SCENARIOS["planned failover"],
    "volume planned": SCENARIOS["volume planned"],
    "volume failback": SCENARIOS["volume failback"],
    "recovery test": crash_matrix.SCENARIOS["recovery test"],
    "machine backup": crash_matrix.SCENARIOS["machine backup"],
    "restore production": crash_matrix.SCENARIOS["restore production"],
}
"""Those whose calls of the engines are counted."""


# ------------------------------------------------------------------------------------------------------------ controllers


def prepare(place: Place, name: str) -> None:
    _known(name)
    crash_matrix.prepare(place, name)


def strike(place: Place, name: str, kill_at: int | None) -> None:
    _known(name)
    crash_matrix.strike(place, name, kill_at)


def strike_call(place: Place, name: str, kill_at: int | None) -> None:
    """Make the request, and die before call `kill_at` that has to do with points."""
    _known(name)
    log = place.folder / "points"
    _at_once()
    with platform_in(place.folder, database_url=place.database_url, make_engine=crash_matrix.quick) as platform:
        platform.made = json.loads((place.folder / "made.json").read_text(encoding="utf-8"))
        with _counted(log, kill_at):
            activity_id = OF_CALLS[name].act(platform)
            if activity_id:
                platform.ended(activity_id, SETTLE_SECONDS)


@contextmanager
def _counted(log: Any, kill_at: int | None) -> Iterator[None]:
    call, lock, count = SimulatedEngine._call, threading.Lock(), 0

    def counted(engine: SimulatedEngine, method: str, **given: Any) -> Any:
        nonlocal count
        if method in METHODS and threading.current_thread() is not threading.main_thread():
            with lock:
                with log.open("a", encoding="utf-8") as file:
                    file.write(f"{engine.name} {method}: before\n")
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
        return call(engine, method, **given)

    SimulatedEngine._call = counted  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        SimulatedEngine._call = call  # type: ignore[method-assign]


def recover(place: Place, name: str) -> None:
    """A new controller; what it finds and leaves goes to `outcome.json`."""
    _known(name)
    scenario = crash_matrix.SCENARIOS[name]
    rules.INTERVAL, rules.REST = timedelta(seconds=0.3), timedelta(seconds=0.1)
    _at_once()
    with platform_in(place.folder, database_url=place.database_url, make_engine=_quick) as platform:
        platform.made = json.loads((place.folder / "made.json").read_text(encoding="utf-8"))
        findings: list[Any] = crash_matrix._settle(platform)
        end = time.monotonic() + SETTLE_SECONDS / 2
        while (left := unsound(platform)) and time.monotonic() < end:
            time.sleep(0.1)
        findings += left
        if scenario.vault:
            findings += crash_matrix._unlike_the_vault(platform)
        state, reason = "completed", None
        with platform.services.database.read() as session:
            query = sa.select(Activity).where(Activity.kind == scenario.kind).order_by(Activity.sequence.desc())
            last = session.scalars(query.limit(1)).first()
        if last is not None:
            state, reason = last.state, last.reason
        outcome = {"findings": findings, "state": state, "reason": reason}
        (place.folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def _at_once() -> None:
    """In this process machines move in as soon as they run."""
    instant_keeper.MOVE_AFTER_SECONDS = instant_keeper.SHORTEST_PAUSE = 0.0
    instant_steps.LOOK_SECONDS = 0.05


def _quick(database: Any, world: Any) -> Engine:
    return Engine(database, world, timing=QUICK)


def _known(name: str) -> None:
    """In this process only: the matrix of everything else stays what it is."""
    crash_matrix.SCENARIOS.update({**OF_CALLS, **SCENARIOS})


# ------------------------------------------------------------------------------------------------------ what must be true


def unsound(platform: Platform) -> list[str]:
    """Machines that run twice or not at all, disks that are nowhere, copies without a whole point."""
    world, found = platform.services.world, []
    with platform.services.database.read() as session:
        machines = list(session.scalars(sa.select(VirtualMachine)))
        disks = list(session.scalars(sa.select(Disk).where(Disk.lifecycle == Lifecycle.ACTIVE)))
        replicas = list(session.scalars(sa.select(Replica)))
        points = list(session.scalars(sa.select(ReplicaPoint)))
        volumes = list(session.scalars(sa.select(LunReplication)))
    running: list[str] = []
    for blade in world.inventory.blades:
        hypervisor = world.rack.hypervisor(blade.name)
        running += [domain for domain, state in hypervisor.domains().items() if state == "running"]
    for machine in machines:
        times = running.count(machine.id)
        if times != (machine.power == "running"):
            found.append(f"{machine.name} is {machine.power} and runs {times} times")
    for disk in disks:
        array, _ = copying.luns.spec(world, disk.lun_id)
        if world.rack.array(array).disk(disk.lun_id, disk.id) is None:
            found.append(f"disk {disk.name} is not on its volume")
    for replica in replicas:
        if replica.state == State.FAILED_OVER:
            continue
        mine = [point.point_id for point in points if point.replica_id == replica.id]
        found += _incomplete(platform, Where("lun", replica.lun_id), replica.set_id, mine)
    for row in volumes:
        if row.lifecycle == Lifecycle.ACTIVE:
            found += _incomplete(platform, replications.where(row), row.id, [row.point_id] if row.point_id else [])
    return found + _resting(platform)


def _resting(platform: Platform) -> list[str]:
    """What still lies in a vault, and what is read there for nobody."""
    with platform.services.database.read() as session:
        found = [f"{row.machine_name} is {row.state}: {row.note}" for row in instant.unfinished(session)]
    with platform.rack.faults._store.transaction() as db:
        readers = int(db.execute("SELECT COUNT(*) FROM readers").fetchone()[0])
    return found + ([f"{readers} readers"] if readers > len(found) else [])


def _incomplete(platform: Platform, where: Where, set_id: str, wanted: list[str]) -> list[str]:
    world = platform.services.world
    try:
        present = [point.id for point in copying.points(world, where, set_id)]
        damaged = [point_id for point_id in present if copying.verify(world, where, set_id, point_id).damages]
    except NaosError as error:  # points come and go meanwhile
        return [f"points of {set_id}: {error}"]
    found = [f"point {point_id} is damaged" for point_id in damaged]
    if not wanted:
        found.append(f"set {set_id} has no point")
    return found + [f"point {point_id} is not at its place" for point_id in wanted if point_id not in present]
