"""The rule of SecNumCloud tenants: no machine runs without a policy, or without having said that it goes without."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, POWER, Platform

from naos.tenancy.models import Tenant

BACKUP = "/backup/v1/spp"
ASSIGN = f"{BACKUP}/policies/assign/virtual_machine"


@pytest.fixture
def strict(vaulted: Platform) -> Iterator[Platform]:
    """The platform with its tenant under the rules, and a policy `safe`."""
    _rule(vaulted, snc=True)
    body = {"name": "safe", "site": "AZ07", "schedules": [{"retention": 30}]}
    vaulted.made["safe"] = vaulted.done("POST", f"{BACKUP}/policies", body)
    vaulted.made["nobackup"] = next(
        policy["id"] for policy in vaulted.get(f"{BACKUP}/policies") if policy["name"] == "nobackup"
    )
    yield vaulted
    _rule(vaulted, snc=False)
    for name in ("one", "two", "three"):
        vaulted.done("PATCH", POWER, {"id": vaulted.made[name], "powerAction": "off"})
        vaulted.done("POST", ASSIGN, {"virtualMachineIds": [vaulted.made[name]], "slaPolicies": []})
    vaulted.done("DELETE", f"{BACKUP}/policies/{vaulted.made['safe']}")


def _rule(platform: Platform, *, snc: bool) -> None:
    with platform.services.database.write() as session:
        session.execute(sa.update(Tenant).where(Tenant.name == "Default").values(snc=snc))


def _set(machine: str, *policies: str) -> dict[str, list[str]]:
    return {"virtualMachineIds": [machine], "slaPolicies": list(policies)}


def test_a_machine_without_policy_does_not_start(strict: Platform) -> None:
    machine = strict.made["one"]
    on = {"id": machine, "powerAction": "on"}
    error = strict.refused("PATCH", POWER, on)
    assert error["code"] == "protection.policy_missing"
    for words in ("'one'", "'Default'", "nobackup", "naos policy assign one"):
        assert words in error["message"]
    refused = strict.refused("POST", strict.deploy_path, strict.deployment("fresh"))
    assert refused["code"] == "protection.policy_missing"
    assert strict.get(f"{COMPUTE}/virtual_machines", name="fresh") == []
    for policy in ("nobackup", "safe"):
        strict.done("POST", ASSIGN, _set(machine, strict.made[policy]))
        strict.done("PATCH", POWER, on)
        assert strict.machine(machine)["powerState"] == "running"
        strict.done("PATCH", POWER, {"id": machine, "powerAction": "off"})
    strict.done("POST", ASSIGN, _set(machine))
    assert strict.refused("PATCH", POWER, on)["code"] == "protection.policy_missing"


def test_the_last_policy_of_a_running_machine_stays(strict: Platform) -> None:
    machine, safe, nobackup = strict.made["two"], strict.made["safe"], strict.made["nobackup"]
    strict.done("POST", ASSIGN, _set(machine, safe))
    strict.done("PATCH", POWER, {"id": machine, "powerAction": "on"})
    error = strict.refused("POST", ASSIGN, _set(machine))
    assert error["code"] == "protection.last_policy"
    assert "Power it off first" in error["message"]
    both = {"virtualMachineIds": [strict.made["three"], machine], "slaPolicies": []}
    assert strict.refused("POST", ASSIGN, both)["code"] == "protection.last_policy"
    strict.done("POST", ASSIGN, _set(machine, safe, nobackup))
    strict.done("POST", ASSIGN, _set(machine, nobackup))
    assert strict.get(f"{BACKUP}/policies/{safe}")["held"] is True, "it has lost its last member"
    disk = strict.get(f"{COMPUTE}/virtual_disks", virtualMachineId=machine)[0]["id"]
    strict.done("POST", f"{BACKUP}/policies/assign/virtual_disk", {"virtualDiskId": disk, "slaPolicies": []})
    strict.done("PATCH", POWER, {"id": machine, "powerAction": "off"})
    strict.done("POST", ASSIGN, _set(machine))
    assert strict.refused("PATCH", POWER, {"id": machine, "powerAction": "on"})["code"] == "protection.policy_missing"


def test_a_policy_that_is_held_meanwhile_stops_a_start(strict: Platform) -> None:
    machine, safe = strict.made["three"], strict.made["safe"]
    strict.done("POST", ASSIGN, _set(machine, safe))
    strict.done("POST", f"{BACKUP}/policies/{safe}/hold")
    error = strict.refused("PATCH", POWER, {"id": machine, "powerAction": "on"})
    assert (error["code"], error["details"]["policies"]) == ("protection.policy_held", "safe")
    strict.done("POST", f"{BACKUP}/policies/{safe}/release")
    strict.done("PATCH", POWER, {"id": machine, "powerAction": "on"})
    assert strict.machine(machine)["powerState"] == "running"


def test_a_deleted_machine_leaves_its_policy_held(strict: Platform) -> None:
    machine, safe = strict.deploy("short", powerOn=False), strict.made["safe"]
    strict.done("POST", ASSIGN, _set(machine, safe))
    strict.done("DELETE", f"{COMPUTE}/virtual_machines/{machine}")
    assert strict.get(f"{BACKUP}/policies/{safe}")["held"] is True
    assert strict.get(f"{BACKUP}/policies", virtualMachineId=machine) == []
