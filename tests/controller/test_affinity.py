"""Affinity rules over the API: what is refused when a rule is made, and that rules hold when machines start and move."""

from collections.abc import Iterator
from typing import Any

import pytest
from simulated_platform import COMPUTE, POWER, Platform

MIB = 2**20
RULES = f"{COMPUTE}/affinity_rules"


@pytest.fixture
def platform(simulated: Platform) -> Iterator[Platform]:
    """Without machines and rules before and after."""
    yield simulated
    for rule in simulated.get(RULES):
        assert simulated.client.delete(f"{RULES}/{rule['id']}").status_code == 204
    for machine in simulated.get(f"{COMPUTE}/virtual_machines"):
        simulated.remove(machine["id"])
    assert simulated.settled() == []


def _rule(platform: Platform, name: str, kind: str, machines: list[str], **changes: Any) -> dict[str, Any]:
    body = {
        "name": name,
        "type": kind,
        "hostClusterId": platform.made["pool-AZ05"],
        "virtualMachineIds": machines,
        **changes,
    }
    answer = platform.client.post(RULES, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def _refused(platform: Platform, name: str, kind: str, machines: list[str], **changes: Any) -> dict[str, Any]:
    cpool = platform.made["pool-AZ05"]
    body = {"name": name, "type": kind, "hostClusterId": cpool, "virtualMachineIds": machines, **changes}
    return platform.refused("POST", RULES, body)


def _off(platform: Platform, *names: str) -> list[str]:
    return [platform.deploy(name, powerOn=False) for name in names]


def _home(platform: Platform, machine: str) -> str:
    return str(platform.machine(machine)["host"]["name"])


def _power(platform: Platform, machine: str, action: str, **more: Any) -> None:
    platform.done("PATCH", POWER, {"id": machine, "powerAction": action, **more})


def test_contradictions_are_refused_when_they_are_made_and_name_the_rules(platform: Platform) -> None:
    one, two, three = _off(platform, "one", "two", "three")
    made = _rule(platform, "apart", "anti-affinity", [one, two])
    assert [machine["name"] for machine in made["virtualMachines"]] == ["one", "two"]

    error = _refused(platform, "apart again", "anti-affinity", [two, three])
    assert (error["code"], error["status"]) == ("compute.rule_doubled", 409)
    assert "two is in the active anti-affinity rule 'apart'" in error["message"]

    error = _refused(platform, "together", "affinity", [one, two, three])
    assert (error["code"], error["status"]) == ("compute.rule_contradicts", 409)
    assert "'apart' holds one, two too" in error["message"]

    sleeping = _rule(platform, "together", "affinity", [one, two], enabled=False)
    error = platform.refused("PATCH", f"{RULES}/{sleeping['id']}", {"enabled": True})
    assert error["code"] == "compute.rule_contradicts"
    assert platform.get(f"{RULES}/{sleeping['id']}")["enabled"] is False
    assert platform.client.patch(f"{RULES}/{made['id']}", json={"enabled": False}).status_code == 200
    assert platform.client.patch(f"{RULES}/{sleeping['id']}", json={"enabled": True}).json()["enabled"] is True
    assert platform.refused("PATCH", f"{RULES}/{made['id']}", {"enabled": True})["code"] == "compute.rule_contradicts"


def test_rules_that_make_no_sense(platform: Platform) -> None:
    one, two, three = _off(platform, "one", "two", "three")
    assert _refused(platform, "r", "affinity", [one, one])["code"] == "compute.rule_too_small"
    error = _refused(platform, "r", "anti-affinity", [one, two, three])
    assert error["code"] == "compute.rule_impossible"
    assert "3 machines on as many blades, and there are 2" in error["message"]
    _rule(platform, "r", "anti-affinity", [one, two, three], must=False)
    assert _refused(platform, "r", "affinity", [one, two])["code"] == "naos.name_taken"
    elsewhere = platform.deploy("elsewhere", zone="AZ06", powerOn=False, datastoreId=platform.made["volume-AZ06"])
    error = _refused(platform, "s", "affinity", [one, elsewhere])
    assert error["code"] == "compute.rule_foreign"
    assert "elsewhere" in error["message"]
    assert _refused(platform, "s", "near", [one, two])["code"] == "api.fields_invalid"


def test_machines_that_are_kept_apart(platform: Platform) -> None:
    one, two, three = _off(platform, "one", "two", "three")
    rule = _rule(platform, "apart", "anti-affinity", [one, two])
    _power(platform, one, "on")
    _power(platform, two, "on")
    _power(platform, three, "on")
    assert _home(platform, one) != _home(platform, two)
    assert platform.get(f"{RULES}/{rule['id']}")["broken"] is False

    error = platform.refused("POST", f"{COMPUTE}/virtual_machines/relocate", _move(platform, two, _home(platform, one)))
    assert (error["code"], error["status"]) == ("compute.no_room", 409)
    assert "anti-affinity rule 'apart' keeps it apart from one" in error["message"]
    platform.done("POST", f"{COMPUTE}/virtual_machines/relocate", _move(platform, three, _home(platform, two)))
    assert _home(platform, three) == _home(platform, two)

    _power(platform, two, "off")
    (only,) = platform.get(f"{POWER}/recommendations", virtualMachineId=two)
    assert only["hostName"] != _home(platform, one)


def test_machines_that_are_kept_together_and_a_rule_that_only_should_hold(platform: Platform) -> None:
    one, two, three = _off(platform, "one", "two", "three")
    _rule(platform, "together", "affinity", [one, two])
    _rule(platform, "rather apart", "anti-affinity", [two, three], must=False)
    _power(platform, one, "on")
    _power(platform, three, "on")
    _power(platform, two, "on")
    assert _home(platform, one) == _home(platform, two) != _home(platform, three)
    target = _home(platform, three)
    path = f"{COMPUTE}/virtual_machines/relocate"
    error = platform.refused("POST", path, _move(platform, two, target))
    assert "affinity rule 'together' keeps it with one" in error["message"]
    body = {**_move(platform, one, target), "virtualMachines": [one, two]}
    platform.done("POST", path, body)  # together they may
    assert _home(platform, one) == _home(platform, two) == target
    shown = {rule["name"]: rule["broken"] for rule in platform.get(RULES, virtualMachineId=two)}
    assert shown == {"together": False, "rather apart": True}


def test_a_machine_with_rules_stays_in_its_cpool_and_leaves_no_trace(platform: Platform) -> None:
    one, two = _off(platform, "one", "two")
    rule = _rule(platform, "together", "affinity", [one, two])
    body = {
        "virtualMachines": [one],
        "hostClusterId": platform.made["pool-AZ06"],
        "datastoreId": platform.made["volume-AZ06"],
        "priority": "highPriority",
    }
    error = platform.refused("POST", f"{COMPUTE}/virtual_machines/relocate", body)
    assert error["code"] == "compute.rule_holds"
    assert "together" in error["message"]
    platform.remove(two)
    path = f"{RULES}/{rule['id']}"
    assert [machine["name"] for machine in platform.get(path)["virtualMachines"]] == ["one"]
    assert platform.refused("PATCH", path, {"name": "x"})["code"] == "compute.rule_too_small"
    assert platform.client.patch(path, json={"enabled": False}).status_code == 200


def test_rules_of_another_tenant_are_absent(platform: Platform) -> None:
    one, two = _off(platform, "one", "two")
    rule = _rule(platform, "apart", "anti-affinity", [one, two])
    stranger = platform.stranger("rivals")
    assert stranger.get(RULES).json() == []
    for method in ("GET", "PATCH", "DELETE"):
        body = {"enabled": False} if method == "PATCH" else None
        assert stranger.request(method, f"{RULES}/{rule['id']}", json=body).status_code == 404
    assert platform.get(f"{RULES}/{rule['id']}")["enabled"] is True


def _blade(platform: Platform, name: str) -> str:
    return str(platform.get(f"{COMPUTE}/hosts", name=name)[0]["id"])


def _move(platform: Platform, machine: str, blade: str) -> dict[str, Any]:
    return {"virtualMachines": [machine], "hostId": _blade(platform, blade), "priority": "highPriority"}
