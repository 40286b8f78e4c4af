"""Hypervisor builds: published, refused, rolled through a cpool, stopped at the first blade that is not healthy."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulated_platform import COMPUTE, GIB, Platform

from naos.activity import Engine
from naos.compute.updater import Updater
from naos.engines.errors import EngineError
from naos.engines.ports import DomainSpec

MIB = 2**20
POOLS, HOSTS, BUILDS = f"{COMPUTE}/host_clusters", f"{COMPUTE}/hosts", f"{COMPUTE}/hypervisor_builds"


@pytest.fixture
def platform(simulated: Platform) -> Iterator[Platform]:
    """A pool of two blades; empty again afterwards, and both blades open."""
    simulated.done("PATCH", _pool(simulated), {"memory": 8 * GIB, "automationLevel": "manual"})
    yield simulated
    for blade in simulated.get(HOSTS):
        if blade["maintenance"]:
            simulated.done("DELETE", f"{HOSTS}/{blade['id']}/maintenance")
    for machine in simulated.get(f"{COMPUTE}/virtual_machines"):
        simulated.remove(machine["id"])
    assert simulated.settled() == []


def _pool(platform: Platform) -> str:
    return f"{POOLS}/{platform.made['pool-AZ05']}"


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
    kinds = [entry["description"] for entry in reversed(history) if "blade az05" in entry["description"].lower()]
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
