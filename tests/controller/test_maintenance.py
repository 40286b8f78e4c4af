"""Maintenance of blades: emptied, refused, called off, opened again, over the whole controller; and what it is for: hypervisor
builds that roll through a pool."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos.activity import Engine
from naos.availability.detection import Condition, Seen, Sight
from naos.availability.manager import Manager, Member, Pool
from naos.compute import steps
from naos.compute.updater import Updater
from naos.engines.errors import EngineError
from naos.engines.ports import DomainSpec
from naos.engines.simulated.hypervisor import SimulatedHypervisor
from naos.fleet.models import Blade, Maintenance

MIB = 2**20
POOLS, RULES, HOSTS = f"{COMPUTE}/host_clusters", f"{COMPUTE}/affinity_rules", f"{COMPUTE}/hosts"
BUILDS = f"{COMPUTE}/hypervisor_builds"


@pytest.fixture
def platform(simulated: Platform) -> Iterator[Platform]:
    """A pool of two blades of 4 GiB; empty again afterwards, and both blades open."""
    simulated.done("PATCH", _pool(simulated), {"memory": 8 * GIB, "automationLevel": "manual", "balanceThreshold": 20})
    yield simulated
    for rule in simulated.get(RULES):
        assert simulated.client.delete(f"{RULES}/{rule['id']}").status_code == 204
    for number in (1, 2):
        if _state(simulated, number)["state"]:
            simulated.done("DELETE", _path(simulated, number))
    for machine in simulated.get(f"{COMPUTE}/virtual_machines"):
        simulated.remove(machine["id"])
    assert simulated.settled() == []


def _pool(platform: Platform) -> str:
    return f"{POOLS}/{platform.made['pool-AZ05']}"


def _blade(platform: Platform, number: int) -> dict[str, Any]:
    found: dict[str, Any] = platform.get(HOSTS, name=f"az05-blade{number}")[0]
    return found


def _path(platform: Platform, number: int) -> str:
    return f"{HOSTS}/{_blade(platform, number)['id']}/maintenance"


def _state(platform: Platform, number: int) -> dict[str, Any]:
    found: dict[str, Any] = platform.get(_path(platform, number))
    return found


def _on(platform: Platform, name: str, blade: int, memory: int = 256) -> str:
    """A running machine of so many MiB on the blade of that number."""
    machine = platform.deploy(name, memory=memory * MIB, powerOn=False)
    chosen = {"key": blade, "hostClusterId": "", "hostId": "", "hostClusterName": "", "hostName": ""}
    platform.done("PATCH", POWER, {"id": machine, "powerAction": "on", "recommendation": chosen})
    assert _home(platform, machine) == f"az05-blade{blade}"
    return machine


def _home(platform: Platform, machine: str) -> str:
    return str(platform.machine(machine)["host"]["name"])


def test_a_blade_is_emptied_takes_nothing_and_opens_again(platform: Platform) -> None:
    machines = [_on(platform, f"m{number}", 1) for number in range(3)]
    there = _on(platform, "there", 2)
    shown = _state(platform, 1)
    assert (shown["state"], shown["machines"], shown["plan"]["possible"]) == ("", [], True)
    assert len(shown["plan"]["stages"][0]) == 3
    assert platform.done("POST", _path(platform, 1), {"parallelMigrations": 3}) == "az05-blade1"
    shown = _state(platform, 1)
    assert (shown["state"], shown["plan"]) == ("maintenance", None)
    assert {move["state"] for move in shown["machines"]} == {"moved"}
    assert {move["progression"] for move in shown["machines"]} == {1.0}
    host = _blade(platform, 1)
    assert (host["metrics"]["maintenanceMode"], host["maintenance"], host["virtualMachines"]) == (
        True,
        "maintenance",
        [],
    )
    for machine in (*machines, there):
        assert _home(platform, machine) == "az05-blade2"
        assert platform.rack.hypervisor("az05-blade2").state(machine) == "running"
    assert platform.rack.hypervisor("az05-blade1").domains() == {}
    # nothing is placed there, by a start or by a move
    new = platform.deploy("new")
    assert _home(platform, new) == "az05-blade2"
    told = platform.get(f"{COMPUTE}/virtual_machines/{new}/placement")["blades"]
    assert {blade["host"]["name"]: blade["reason"] for blade in told}["az05-blade1"] == "in maintenance"
    body = {"virtualMachines": [new], "hostId": host["id"], "priority": "highPriority"}
    error = platform.refused("POST", f"{COMPUTE}/virtual_machines/relocate", body)
    assert "in maintenance" in error["message"]
    for method, path in (("POST", _path(platform, 1)), ("POST", f"{_path(platform, 1)}/cancel")):
        assert platform.refused(method, path)["code"] == "compute.maintenance_state"
    platform.done("DELETE", _path(platform, 1))
    assert _state(platform, 1)["state"] == ""
    assert {_home(platform, machine) for machine in machines} == {"az05-blade2"}, "the pool's automation is manual"
    assert platform.refused("DELETE", _path(platform, 1))["code"] == "compute.maintenance_state"


def test_the_blade_that_comes_back_gets_machines_as_the_automation_says(platform: Platform) -> None:
    machines = [_on(platform, f"m{number}", number % 2 + 1, 512) for number in range(4)]
    platform.done("PATCH", _pool(platform), {"automationLevel": "full", "balanceThreshold": 10})
    platform.done("POST", _path(platform, 1))
    platform.done("DELETE", _path(platform, 1))
    homes = [_home(platform, machine) for machine in machines]
    assert (homes.count("az05-blade1"), homes.count("az05-blade2")) == (2, 2)


def test_what_cannot_end_is_refused_beforehand_with_machines_rule_and_remedy(platform: Platform) -> None:
    one, two = _on(platform, "one", 1), _on(platform, "two", 2)
    body = {
        "name": "apart",
        "type": "anti-affinity",
        "hostClusterId": platform.made["pool-AZ05"],
        "virtualMachineIds": [one, two],
        "must": True,
    }
    assert platform.client.post(RULES, json=body).status_code == 201
    plan = _state(platform, 1)["plan"]
    assert (plan["possible"], plan["proven"]) == (False, True)
    assert [entry["virtualMachine"]["name"] for entry in plan["stuck"]] == ["one"]
    (row,) = plan["blockers"]
    assert (row["virtualMachine"]["name"], row["host"]["name"], row["rule"]) == ("one", "az05-blade2", "anti-affinity")
    assert "disable the rule" in row["remedy"]
    error = platform.refused("POST", _path(platform, 1))
    assert error["code"] == "compute.blade_cannot_be_emptied"
    for words in ("one:", "'apart'", "two", "disable anti-affinity rule 'apart'"):
        assert words in error["message"]
    assert (_state(platform, 1)["state"], _home(platform, one)) == ("", "az05-blade1")
    platform.remove(two)
    platform.done("POST", _path(platform, 1))  # the rule holds with what is left
    assert "az05-blade1: in maintenance" in platform.refused("POST", _path(platform, 2))["message"]


class _Held:
    """Moves that wait until they are let go, or aborted; `started` counts those that wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, but: int = 0) -> None:
        self.open, self.started, self.aborted = threading.Event(), threading.Semaphore(0), set[str]()
        self._free, self._count, self._lock = but, 0, threading.Lock()
        monkeypatch.setattr(steps, "move", self._around(steps.move))
        monkeypatch.setattr(
            SimulatedHypervisor, "abort_migration", lambda _own, machine_id: self.aborted.add(machine_id)
        )

    def _around(self, move: Callable[..., None]) -> Callable[..., None]:
        def held(world: Any, machine_id: str, source: str, target: str, progress: Any) -> None:
            with self._lock:
                self._count += 1
                passes = self._count <= self._free
            self.started.release()
            progress(0.5)
            while not passes and not self.open.wait(0.02):
                if machine_id in self.aborted:
                    raise EngineError(source, f"moving {machine_id}", "it was aborted")
            move(world, machine_id, source, target, progress)

        return held

    def await_started(self, count: int) -> None:
        for _ in range(count):
            assert self.started.acquire(timeout=20)


def test_calling_it_off_brings_machines_and_state_back(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = [_on(platform, f"m{number}", 1) for number in range(4)]
    held = _Held(monkeypatch, but=1)
    entering = platform.write("POST", _path(platform, 1), {"parallelMigrations": 2})
    held.await_started(3)  # one has arrived, two wait in the middle of their way, one has not begun
    shown = _state(platform, 1)
    assert shown["state"] == "entering"
    assert sorted(move["state"] for move in shown["machines"]) == ["moved", "moving", "moving", "waiting"]
    assert platform.refused("POST", _path(platform, 1))["code"] == "compute.maintenance_state"
    new = platform.deploy("new")
    assert _home(platform, new) == "az05-blade2", "a blade that is being emptied takes nothing"
    monkeypatch.setattr(held, "_free", 100)
    platform.done("POST", f"{_path(platform, 1)}/cancel")
    reason = platform.ended(entering)["state"]["failed"]["reason"]
    assert "It was cancelled" in reason
    assert "1 machine(s)" in reason
    assert len(held.aborted) >= 2
    assert [_home(platform, machine) for machine in machines] == ["az05-blade1"] * 4
    shown = _state(platform, 1)
    assert shown["state"] == ""
    assert sorted(move["state"] for move in shown["machines"]) == ["left", "left", "left", "returned"]


def test_one_that_cannot_move_ends_it_and_the_blade_takes_machines_again(platform: Platform) -> None:
    machines = [_on(platform, f"m{number}", 1) for number in range(3)]
    platform.rack.faults.fail_next("hypervisor.migrate", EngineError("az05-blade1", "moving", "the page server died"))
    reason = platform.failed("POST", _path(platform, 1), {"parallelMigrations": 1})
    assert "the page server died" in reason
    assert "takes machines again" in reason
    assert _state(platform, 1)["state"] == ""
    states = [move["state"] for move in _state(platform, 1)["machines"]]
    assert states.count("failed") == 1
    assert states.count("moved") + states.count("left") == 2
    platform.done("POST", _path(platform, 1))
    assert {_home(platform, machine) for machine in machines} == {"az05-blade2"}


def test_a_blade_at_rest_is_no_finding_when_it_is_off_and_one_half_way_is(platform: Platform) -> None:
    platform.done("POST", _path(platform, 1))
    platform.rack.faults.cut("az05-blade1")
    assert platform.findings() == []
    assert "az05-blade1" in platform.failed("DELETE", _path(platform, 1))
    assert _state(platform, 1)["state"] == "maintenance"
    platform.rack.faults.join("az05-blade1")
    platform.done("DELETE", _path(platform, 1))
    with platform.services.database.write() as session:
        session.execute(sa.update(Blade).where(Blade.name == "az05-blade1").values(maintenance=Maintenance.ENTERING))
    (finding,) = platform.findings()
    assert finding["kind"] == "blade.stuck"
    platform.done("POST", "/platform/v1/doctor/repair")
    assert _state(platform, 1)["state"] == ""


def test_strangers_and_readers_have_no_say(platform: Platform) -> None:
    stranger = platform.stranger()
    for method in ("GET", "POST", "DELETE"):
        answer = stranger.request(method, _path(platform, 1))
        assert answer.status_code == 404, answer.text


# --------------------------------------------------------------------------------------------------- hypervisor builds


def _publish(platform: Platform, version: str, **changes: Any) -> str:
    body = {
        "version": version,
        "advisories": [
            {"id": "CVE-2026-1", "severity": "moderate", "summary": "a guest may stop its blade"},
            {"id": "CVE-2026-2", "severity": "critical", "summary": "a guest may leave"},
        ],
        "command": "true",
        **changes,
    }
    answer = platform.client.post(BUILDS, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def _ended(platform: Platform, update: str) -> dict[str, Any]:
    engine = platform.services.engine
    assert isinstance(engine, Engine)
    updater, end = Updater(platform.services.world, engine), time.monotonic() + 60
    while time.monotonic() < end:
        updater.look()  # not only once a second
        found: dict[str, Any] = platform.get(f"{_pool(platform)}/updates/{update}")
        if found["state"] not in ("running", "ending"):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def _take(platform: Platform, build: str, **changes: Any) -> str:
    return platform.done("POST", f"{_pool(platform)}/updates", {"buildId": build, **changes})


def _scripts(platform: Platform, blade: str) -> list[str]:
    folder: Path = platform.folder / "world" / "hosts" / blade / "scripts"
    return [file.read_text(encoding="utf-8") for file in sorted(folder.iterdir())] if folder.exists() else []


def _blades(platform: Platform) -> list[dict[str, Any]]:
    return [blade for blade in platform.get(HOSTS) if blade["name"].startswith("az05")]


def test_a_build_rolls_through_a_pool_while_its_machines_run(platform: Platform) -> None:
    machines = [platform.deploy(f"m{number}", memory=256 * MIB) for number in range(3)]
    build = _publish(platform, "8.1", command="true # first", checkCommand="true # check")
    (shown,) = [entry for entry in platform.get(BUILDS) if entry["id"] == build]
    assert (shown["severity"], "command" in shown) == ("critical", False)
    assert {blade["buildAvailable"] for blade in _blades(platform)} == {"8.1"}
    starts = platform.rack.hypervisor("az05-blade1").domains(), platform.rack.hypervisor("az05-blade2").domains()
    assert sum(len(domains) for domains in starts) == 3
    ended = _ended(platform, _take(platform, build))
    assert (ended["state"], ended["reason"], ended["build"]["name"]) == ("done", "", "8.1")
    assert [(entry["host"], entry["phase"]) for entry in ended["hosts"]] == [
        ("az05-blade1", "done"),
        ("az05-blade2", "done"),
    ]
    for blade in _blades(platform):
        assert (blade["build"], blade["buildAvailable"], blade["maintenance"]) == ("8.1", "", "")
        assert _scripts(platform, blade["name"]) == ["true # first", "true # check"]
    for machine in machines:
        assert platform.machine(machine)["powerState"] == "running"
    history = platform.get("/activity/v1/activities", limit=500)
    told = [entry["description"] for entry in reversed(history)]
    kinds = told[
        next(index for index, text in enumerate(told) if "to hypervisor build 8.1" in text and "cpool" in text) :
    ]
    installs = [index for index, text in enumerate(kinds) if text.startswith("Bring blade")]
    opens = [index for index, text in enumerate(kinds) if text.startswith("Take blade")]
    assert installs[0] < opens[0] < installs[1] < opens[1], "one blade at a time"
    assert platform.refused("POST", f"{_pool(platform)}/updates", {"buildId": build})["code"] == "compute.up_to_date"
    assert platform.refused("DELETE", f"{BUILDS}/{build}")["code"] == "fleet.build_in_use"


def test_the_first_unhealthy_blade_stops_it_and_stays_empty(platform: Platform) -> None:
    machine = platform.deploy("m", memory=256 * MIB)
    build = _publish(platform, "8.2", checkCommand="false")
    ended = _ended(platform, _take(platform, build))
    assert ended["state"] == "failed"
    assert "az05-blade1" in ended["reason"]
    assert "its check failed" in ended["reason"]
    assert [entry["phase"] for entry in ended["hosts"]] == ["failed", "waiting"]
    states = {blade["name"]: blade["maintenance"] for blade in _blades(platform)}
    assert states == {"az05-blade1": "maintenance", "az05-blade2": ""}
    assert platform.machine(machine)["host"]["name"] == "az05-blade2"
    # a mended build takes the pool up where it stands; the blade that failed is opened by who looked at it
    mended = _publish(platform, "8.3")
    blade = _blades(platform)[0]
    error = platform.refused("POST", f"{_pool(platform)}/updates", {"buildId": mended})
    assert error["code"] == "compute.update_needs_downtime", "az05-blade2 could not be emptied meanwhile"
    platform.done("DELETE", f"{HOSTS}/{blade['id']}/maintenance")
    assert _ended(platform, _take(platform, mended))["state"] == "done"


def test_one_blade_needs_downtime_that_is_accepted(platform: Platform) -> None:
    machine = platform.deploy("m", memory=256 * MIB)
    other = next(b for b in _blades(platform) if b["name"] != platform.machine(machine)["host"]["name"])
    platform.done("DELETE", f"{_pool(platform)}/hosts/{other['id']}")
    build = _publish(platform, "8.4")
    error = platform.refused("POST", f"{_pool(platform)}/updates", {"buildId": build})
    assert error["code"] == "compute.update_needs_downtime"
    for words in ("8.4", "the cpool has no other blade", "accept the downtime"):
        assert words in error["message"]
    assert _ended(platform, _take(platform, build, acceptDowntime=True))["state"] == "done"
    assert platform.machine(machine)["powerState"] == "running"
    actions = [entry["description"] for entry in platform.get("/activity/v1/activities", concernedItem=machine)]
    assert "Shut down m" in actions
    platform.done("POST", f"{_pool(platform)}/hosts", {"hosts": 1})


def test_an_update_is_called_off_after_the_blade_in_hand(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.deploy("m", memory=256 * MIB)
    build = _publish(platform, "8.5")
    monkeypatch.setattr(Updater, "look", lambda _own: None)
    update = _take(platform, build)
    error = platform.refused("POST", f"{_pool(platform)}/updates", {"buildId": build})
    assert error["code"] == "compute.update_under_way"
    monkeypatch.undo()
    platform.done("POST", f"{_pool(platform)}/updates/{update}/cancel")
    ended = _ended(platform, update)
    assert ended["state"] in ("stopped", "done")
    assert platform.refused("POST", f"{_pool(platform)}/updates/{update}/cancel")["code"] == "compute.update_over"


def test_a_blade_with_a_machine_on_it_is_never_touched(platform: Platform) -> None:
    """Whatever put the machine there: nothing is installed, nothing restarts."""
    build, stray = _publish(platform, "8.6"), str(uuid.uuid4())
    blade = _blades(platform)[0]
    platform.done("POST", f"{HOSTS}/{blade['id']}/maintenance")
    hypervisor = platform.rack.hypervisor("az05-blade1")
    hypervisor.define(DomainSpec(stray, "stray", 1, 1, 64 * MIB))
    hypervisor.start(stray)
    before = len(_scripts(platform, "az05-blade1"))
    ended = _ended(platform, _take(platform, build))
    assert ended["state"] == "failed"
    assert stray in ended["reason"]
    assert len(_scripts(platform, "az05-blade1")) == before
    hypervisor.power_off(stray)
    hypervisor.undefine(stray)


def test_a_blade_that_does_not_come_back_is_named(platform: Platform) -> None:
    build = _publish(platform, "8.7", deadlineSeconds=10)
    for blade in _blades(platform):
        platform.done("POST", f"{HOSTS}/{blade['id']}/maintenance")
    platform.rack.faults.fail_next(
        "host.run", EngineError("az05-blade1", "sh", "no space left on the blade"), engine="az05-blade1"
    )
    ended = _ended(platform, _take(platform, build))
    assert ended["state"] == "failed"
    assert "no space left on the blade" in ended["reason"]


def test_builds_are_the_operators(platform: Platform) -> None:
    stranger = platform.stranger("rivals")
    body = {"version": "9", "command": "true"}
    assert platform.refused("POST", BUILDS, body, client=stranger)["code"] == "fleet.operators_only"
    assert platform.refused("POST", BUILDS, {"version": "9"})["code"] == "fleet.build_empty"
    build = _publish(platform, "9")
    assert platform.refused("POST", BUILDS, body)["code"] == "naos.name_taken"
    assert [entry["version"] for entry in stranger.get(BUILDS).json()].count("9") == 1
    assert platform.client.delete(f"{BUILDS}/{build}").status_code == 204


# ---------------------------------------------------------------------------------------------------- high availability


def test_nobody_misses_a_blade_in_maintenance_and_it_is_watched_anew_afterwards() -> None:
    manager, members = Manager(), [Member("m", "b1", running=True, memory=GIB, reserved=GIB)]
    resting = Pool("p", ["b1", "b2"], 8 * GIB, 4 * GIB, resting=frozenset({"b2"}))
    awake = Pool("p", ["b1", "b2"], 8 * GIB, 4 * GIB)
    now = 0.0
    for _ in range(30):
        now += 1.0
        sights = {"b1": Sight(now, answers=True), "b2": Sight(now, answers=False, array=Seen.SILENT)}
        decided = manager.look(now, resting, sights, members, [])
        assert (decided.noted, decided.isolate) == ({}, [])
    sights = {"b1": Sight(now + 1, answers=True), "b2": Sight(now + 1, answers=False, array=Seen.SILENT)}
    manager.look(now + 1, awake, sights, members, [])
    assert manager.condition("b2") == Condition.SUSPECT, "its silence counts from the moment that it is open"
