"""Explanations, moves that make room, recommendations and who carries them out."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos.activity import Engine
from naos.compute import hooks, relocation
from naos.compute.balancer import Balancer
from naos.compute.models import VirtualMachine
from naos.fleet.models import Blade, Maintenance

MIB = 2**20
POOLS, RULES = f"{COMPUTE}/host_clusters", f"{COMPUTE}/affinity_rules"


@pytest.fixture
def platform(simulated: Platform) -> Iterator[Platform]:
    """A pool of two blades of 4 GiB, all of it enabled; empty again afterwards."""
    pool = f"{POOLS}/{simulated.made['pool-AZ05']}"
    simulated.done("PATCH", pool, {"memory": 8 * GIB, "automationLevel": "manual", "balanceThreshold": 20})
    yield simulated
    for rule in simulated.get(RULES):
        assert simulated.client.delete(f"{RULES}/{rule['id']}").status_code == 204
    for machine in simulated.get(f"{COMPUTE}/virtual_machines"):
        simulated.remove(machine["id"])
    assert simulated.settled() == []


def _pool(platform: Platform) -> str:
    return f"{POOLS}/{platform.made['pool-AZ05']}"


def _blade(platform: Platform, number: int) -> str:
    return str(platform.get(f"{COMPUTE}/hosts", name=f"az05-blade{number}")[0]["id"])


def _on(platform: Platform, name: str, blade: int, memory: int) -> str:
    """A running machine of so many MiB on the blade of that number."""
    machine = platform.deploy(name, memory=memory * MIB, powerOn=False)
    chosen = {"key": blade, "hostClusterId": "", "hostId": "", "hostClusterName": "", "hostName": ""}
    platform.done("PATCH", POWER, {"id": machine, "powerAction": "on", "recommendation": chosen})
    assert _home(platform, machine) == f"az05-blade{blade}"
    return machine


def _home(platform: Platform, machine: str) -> str:
    return str(platform.machine(machine)["host"]["name"])


def _placement(platform: Platform, machine: str) -> dict[str, Any]:
    found: dict[str, Any] = platform.get(f"{COMPUTE}/virtual_machines/{machine}/placement")
    return found


def _apart(platform: Platform, *machines: str, must: bool = True) -> dict[str, Any]:
    body = {
        "name": "apart",
        "type": "anti-affinity",
        "hostClusterId": platform.made["pool-AZ05"],
        "virtualMachineIds": machines,
        "must": must,
    }
    answer = platform.client.post(RULES, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_an_explanation_names_every_blade_and_the_start_does_what_it_says(platform: Platform) -> None:
    _on(platform, "first", 1, 1024)
    machine = platform.deploy("second", powerOn=False)
    told = _placement(platform, machine)
    assert [blade["host"]["name"] for blade in told["blades"]] == ["az05-blade2", "az05-blade1"]
    assert [blade["chosen"] for blade in told["blades"]] == [True, False]
    assert "4 GiB free, 0 machine(s) there" in told["blades"][0]["reason"]
    assert (told["plan"], told["refusal"]) == (None, None)
    platform.done("PATCH", POWER, {"id": machine, "powerAction": "on"})
    assert _home(platform, machine) == told["chosen"]["name"] == "az05-blade2"
    present = {blade["host"]["name"]: blade["present"] for blade in _placement(platform, machine)["blades"]}
    assert present == {"az05-blade1": False, "az05-blade2": True}


def test_an_areas_own_condition_closes_a_blade_for_starts_and_moves(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = _on(platform, "running", 1, 128)
    monkeypatch.setattr(hooks, "BLADE_CONDITIONS", [lambda _session, _cpool: {"az05-blade2": "in maintenance"}])
    body = {"virtualMachines": [running], "hostId": _blade(platform, 2), "priority": "highPriority"}
    error = platform.refused("POST", f"{COMPUTE}/virtual_machines/relocate", body)
    assert "az05-blade2: in maintenance" in error["message"]
    machine = platform.deploy("other", powerOn=False)
    assert _placement(platform, machine)["blades"][-1]["reason"] == "in maintenance"


def _check(platform: Platform, machine: str, **asked: str) -> dict[str, Any]:
    found: dict[str, Any] = platform.get(f"{COMPUTE}/virtual_machines/{machine}/migration_check", **asked)
    return found


def _rules(found: dict[str, Any]) -> dict[str, list[str]]:
    """The rules against each blade, by its name."""
    rows: dict[str, list[str]] = {}
    for row in found["blockers"]:
        rows.setdefault((row["host"] or {"name": "any"})["name"], []).append(row["rule"])
    return rows


def test_a_check_beforehand_lists_every_blocker_of_a_move_and_the_move_is_refused_for_the_same(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, other = _on(platform, "mover", 1, 1024), _on(platform, "other", 2, 3584)
    alone = _check(platform, machine)
    assert (alone["live"], alone["possible"], _rules(alone)) == (True, False, {"az05-blade2": ["memory"]})
    _apart(platform, machine, other)
    platform.done("PATCH", _pool(platform), {"vcpuRate": 0.5})  # one vCPU on each blade
    monkeypatch.setattr(hooks, "BLADE_CONDITIONS", [lambda _session, _cpool: {"az05-blade2": "in maintenance"}])
    told = _check(platform, machine)
    assert _rules(told) == {"az05-blade2": ["closed", "memory", "vcpu-rate", "anti-affinity"]}
    assert {host["host"]["name"]: (host["possible"], host["present"]) for host in told["hosts"]} == {
        "az05-blade1": (True, True),
        "az05-blade2": (False, False),
    }
    assert all(row["reason"] and row["remedy"] for row in told["blockers"])
    body = {"virtualMachines": [machine], "hostId": _blade(platform, 2), "priority": "highPriority"}
    refusal = platform.refused("POST", f"{COMPUTE}/virtual_machines/relocate", body)["message"]
    for row in told["blockers"]:
        assert row["reason"] in refusal
    assert _check(platform, machine, hostId=_blade(platform, 1))["blockers"] == []  # it is there
    monkeypatch.setattr(hooks, "JOIN_CONDITIONS", [lambda _session, _blade: False])  # what answers is not believed
    with platform.services.database.write() as session:
        session.execute(sa.update(Blade).where(Blade.name == "az05-blade1").values(connected=False))
    assert "connection" in _rules(_check(platform, machine))["any"]
    with platform.services.database.write() as session:
        session.execute(sa.update(Blade).values(connected=True))
    monkeypatch.undo()
    platform.done("PATCH", _pool(platform), {"vcpuRate": None})
    platform.remove(other)
    free = _check(platform, machine, hostId=_blade(platform, 2))
    assert (free["possible"], free["blockers"]) == (True, [])
    platform.done("POST", f"{COMPUTE}/virtual_machines/relocate", body)
    assert _home(platform, machine) == "az05-blade2"


def test_a_check_for_another_zone_names_what_a_request_refuses_one_by_one(platform: Platform) -> None:
    machine, other = _on(platform, "far", 1, 512), _on(platform, "near", 2, 512)
    _apart(platform, machine, other)
    goal = platform.get(f"{COMPUTE}/hosts", name="az06-blade1")[0]["id"]
    told = _check(platform, machine, hostId=goal)
    assert told["possible"] is False
    assert {"compute.placement_unsupported", "compute.rule_holds"} <= set(_rules(told)["any"]), told
    body = {"virtualMachines": [machine], "hostId": goal, "priority": "highPriority"}
    refusal = platform.refused("POST", f"{COMPUTE}/virtual_machines/relocate", body)
    assert refusal["message"] in {row["reason"] for row in told["blockers"]}
    missing = platform.client.get(f"{COMPUTE}/virtual_machines/{machine}/migration_check", params={"hostId": "none"})
    assert missing.status_code == 404
    assert platform.stranger().get(f"{COMPUTE}/virtual_machines/{machine}/migration_check").status_code == 404


def test_room_is_made_by_the_fewest_moves(platform: Platform) -> None:
    """3 GiB for one machine, and no blade has them until the smallest machine has moved."""
    small, large = _on(platform, "small", 1, 1280), _on(platform, "large", 1, 1536)
    other = _on(platform, "other", 2, 2048)
    machine = platform.deploy("wide", memory=3072 * MIB, powerOn=False)
    assert "No blade of cpool 'pool-AZ05'" in platform.failed("PATCH", POWER, {"id": machine, "powerAction": "on"})
    plan = _placement(platform, machine)["plan"]
    assert plan["possible"] is False  # 3 GiB fit beside none, and the three do not fit together
    assert plan["blame"] == ["memory of the blades"]
    error = platform.refused("POST", f"{COMPUTE}/virtual_machines/{machine}/placement")
    assert (error["code"], error["status"]) == ("compute.no_plan", 409)
    platform.remove(large)
    _on(platform, "middle", 1, 512)
    plan = platform.get(f"{_pool(platform)}/placement_plan", virtualMachineId=machine)
    assert [move["virtualMachine"]["name"] for move in plan["moves"]] == ["small"]
    assert plan == platform.get(f"{_pool(platform)}/placement_plan", memory=3072 * MIB)
    assert _home(platform, small) == "az05-blade1"  # nothing has moved yet
    platform.done("POST", f"{COMPUTE}/virtual_machines/{machine}/placement")
    assert (_home(platform, machine), _home(platform, small)) == ("az05-blade1", "az05-blade2")
    assert _home(platform, other) == "az05-blade2"
    assert platform.machine(machine)["powerState"] == "running"


def test_recommendations_mend_rules_and_balance_and_then_rest(platform: Platform) -> None:
    one, two = _on(platform, "one", 1, 512), _on(platform, "two", 1, 512)
    path = f"{_pool(platform)}/recommendations"
    assert platform.get(path)["gap"] == 25.0
    (move,) = platform.get(path)["moves"]
    assert "az05-blade1 has 25 % of its memory given away and az05-blade2 0 %" in move["reason"]
    platform.done("PATCH", _pool(platform), {"balanceThreshold": 30})
    assert platform.get(path)["moves"] == []
    assert platform.refused("POST", path)["code"] == "compute.nothing_to_move"
    rule = _apart(platform, one, two)
    assert rule["broken"] is True
    (move,) = platform.get(path)["moves"]
    assert "'apart' is broken on az05-blade1" in move["reason"]
    platform.done("POST", path)
    assert _home(platform, one) != _home(platform, two)
    assert platform.get(f"{RULES}/{rule['id']}")["broken"] is False
    assert platform.get(path) | {"moves": []} == platform.get(path)


def test_automation_does_what_its_level_says(platform: Platform) -> None:
    engine = platform.services.engine
    assert isinstance(engine, Engine)
    balancer = Balancer(platform.services.world, engine)
    one, two, three = (_on(platform, name, 1, 512) for name in ("one", "two", "three"))
    _apart(platform, one, two, must=False)
    assert balancer.look() == []  # manual
    platform.done("PATCH", _pool(platform), {"automationLevel": "partial"})
    (mended,) = balancer.look()
    engine.wait(mended, 60)
    assert _home(platform, one) != _home(platform, two)
    assert balancer.look() == []
    platform.done("PATCH", POWER, {"id": two, "powerAction": "off"})
    platform.done("PATCH", POWER, {"id": one, "powerAction": "off"})
    _on_again = [_on(platform, name, int(_home(platform, three)[-1]), 512) for name in ("four", "five")]
    assert balancer.look() == []
    platform.done("PATCH", _pool(platform), {"automationLevel": "full"})
    hosts = {platform.machine(machine)["host"]["id"] for machine in (three, *_on_again)}
    (other,) = {_blade(platform, 1), _blade(platform, 2)} - hosts
    platform.done("POST", f"{COMPUTE}/hosts/{other}/maintenance")
    assert balancer.look() == [], "nobody moves machines while a blade is in maintenance"
    with platform.services.database.write() as session:  # open again, without what an exit moves
        session.execute(sa.update(Blade).values(maintenance=Maintenance.OPEN))
    (levelled,) = balancer.look()
    engine.wait(levelled, 60)
    assert len({_home(platform, machine) for machine in (three, *_on_again)}) == 2
    assert balancer.look() == []


def test_7_a_target_that_closes_after_the_request_was_accepted_leaves_the_machine_where_it_runs(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = _on(platform, "stays", 1, 512)
    look_again = relocation._check_again

    def closes(*arguments: Any) -> None:
        look_again(*arguments)
        monkeypatch.setattr(hooks, "BLADE_CONDITIONS", [lambda _session, _cpool: {"az05-blade2": "in maintenance"}])

    monkeypatch.setattr(relocation, "_check_again", closes)
    body = {"virtualMachines": [machine], "hostId": _blade(platform, 2), "priority": "highPriority"}
    reason = platform.failed("POST", f"{COMPUTE}/virtual_machines/relocate", body)
    assert "az05-blade2: in maintenance" in reason
    assert (_home(platform, machine), platform.machine(machine)["powerState"]) == ("az05-blade1", "running")
    assert platform.rack.hypervisor("az05-blade2").domains() == {}
    assert platform.rack.hypervisor("az05-blade1").state(machine) == "running"


def test_a_move_sets_its_memory_aside_at_the_target_until_it_arrives_or_fails(platform: Platform) -> None:
    moving = _on(platform, "moving", 1, 1024)
    body = {"virtualMachines": [moving], "hostId": _blade(platform, 2), "priority": "highPriority"}
    platform.done("POST", f"{COMPUTE}/virtual_machines/relocate", body)
    assert _home(platform, moving) == "az05-blade2"
    with platform.services.database.read() as session:
        assert session.scalars(sa.select(VirtualMachine.moving_to)).all() == [None]
    assert platform.get(_pool(platform))["metrics"]["reservedMemory"] == GIB
