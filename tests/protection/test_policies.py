"""Policies, jobs and the inventory over HTTP, in the shapes of the wire API's section 5."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from simulated_platform import COMPUTE, POWER, Platform

from naos.engines.errors import Unreachable
from naos.protection import assignments, inventory
from naos.tenancy.models import Tenant

BACKUP = "/backup/v1/spp"
NEVER = "12345678-1234-5678-1234-567812345678"


def _policy(platform: Platform, name: str, site: str = "AZ07", **changes: object) -> str:
    body = {"name": name, "site": site, "schedules": [{"retention": 15}], **changes}
    return platform.done("POST", f"{BACKUP}/policies", body)


def _assign(platform: Platform, machine: str, *policies: str) -> None:
    body = {"virtualMachineIds": [platform.made[machine]], "slaPolicies": list(policies)}
    platform.done("POST", f"{BACKUP}/policies/assign/virtual_machine", body)


def _names(platform: Platform, **filters: str) -> list[str]:
    return [policy["name"] for policy in platform.get(f"{BACKUP}/policies", **filters)]


def _inherited(platform: Platform, disk: str) -> list[str]:
    return _names(platform, virtualDiskId=disk, inherited="true")


def _nobackup(platform: Platform) -> str:
    found = [policy["id"] for policy in platform.get(f"{BACKUP}/policies") if policy["name"] == "nobackup"]
    assert len(found) == 1
    return str(found[0])


def test_every_tenant_has_nobackup_and_two_catalogue_jobs(vaulted: Platform) -> None:
    jobs = vaulted.get(f"{BACKUP}/jobs", type="catalog")
    assert [job["name"] for job in jobs] == ["Hypervisor Inventory", "Storage Server Inventory"]
    for job in jobs:
        assert job["id"].isdecimal()
        assert (job["type"], job["status"], job["policyId"]) == ("catalog", "IDLE", job["id"])
        assert vaulted.get(f"{BACKUP}/jobs/{job['id']}") == job
    (nobackup,) = [policy for policy in vaulted.get(f"{BACKUP}/policies") if policy["name"] == "nobackup"]
    assert nobackup["subPolicies"] == []
    with vaulted.services.database.read() as session:
        assert session.scalar(sa.select(Tenant.snc).where(Tenant.name == "Default")) is False


@pytest.mark.parametrize("job", ["123456", "abc", "-1", "1.5", "9" * 40, "%20"])
def test_an_unknown_job_is_absent(vaulted: Platform, job: str) -> None:
    assert vaulted.client.get(f"{BACKUP}/jobs/{job}").status_code == 404
    assert vaulted.refused("POST", f"{BACKUP}/jobs/run", {"jobId": job})["status"] in {404, 422}


def test_an_empty_job_is_refused(vaulted: Platform) -> None:
    assert vaulted.refused("POST", f"{BACKUP}/jobs/run", {"jobId": ""})["status"] == 404


def test_a_policy_shows_site_trigger_and_retention(vaulted: Platform) -> None:
    policy_id = _policy(
        vaulted,
        "sla001-daily-az07",
        schedules=[
            {"retention": 15, "activateDate": 1_700_000_000_000},
            {"retention": 365, "trigger": "MONTHLY", "frequency": 2},
        ],
    )
    policy = vaulted.get(f"{BACKUP}/policies/{policy_id}")
    daily, monthly = policy["subPolicies"]
    site = next(site for site in vaulted.get(f"{BACKUP}/sites") if site["name"] == "AZ07")
    assert (daily["type"], daily["site"], daily["target"]["id"]) == ("REPLICATION", "AZ07", site["id"])
    assert daily["target"]["resourceType"] == "site"
    assert daily["retention"] == {"age": 15}
    assert daily["trigger"] == {"frequency": 1, "type": "DAILY", "activateDate": 1_700_000_000_000}
    assert (monthly["retention"]["age"], monthly["trigger"]["type"]) == (365, "MONTHLY")
    (job,) = [job for job in vaulted.get(f"{BACKUP}/jobs") if job["policyId"] == policy_id]
    assert (job["type"], job["status"], job["name"]) == ("protection", "IDLE", "sla001-daily-az07")
    error = vaulted.refused("POST", f"{BACKUP}/jobs/run", {"jobId": job["id"], "policyId": policy_id})
    assert error["code"] == "protection.nothing_to_run", "no machine has it"
    assert vaulted.get(f"{BACKUP}/metrics/backup/history", range=30)["totalRuns"] == 0
    vaulted.done("DELETE", f"{BACKUP}/policies/{policy_id}")
    assert vaulted.client.get(f"{BACKUP}/policies/{policy_id}").status_code == 404
    assert policy_id not in [job["policyId"] for job in vaulted.get(f"{BACKUP}/jobs")]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"site": "AZ05"}, "protection.site_unknown"),
        ({"name": "nobackup"}, "protection.nobackup_fixed"),
        ({"schedules": [{"retention": 0}]}, "protection.schedule_invalid"),
        ({"schedules": [{"retention": 1, "frequency": 10**30}]}, "protection.schedule_invalid"),
        ({"schedules": []}, "protection.schedules_missing"),
        ({"schedules": [], "terms": {"timeZone": "UTC"}}, "protection.cron_invalid"),
        ({"terms": {"timeZone": "Mars/Phobos"}}, "protection.time_zone_unknown"),
        ({"terms": {"cron": "61 * * * *"}}, "protection.cron_invalid"),
        ({"terms": {"keep": {}}}, "protection.keep_nothing"),
        ({"terms": {"window": "22-6"}}, "protection.window_invalid"),
        ({"schedules": [{"retention": 1, "trigger": "HOURLY"}]}, "api.fields_invalid"),
        ({"schedules": [{"retention": 1, "activateDate": -1}]}, "api.fields_invalid"),
        ({"retention": 1}, "api.fields_invalid"),
    ],
)
def test_a_bad_policy_is_refused(vaulted: Platform, changes: dict[str, object], code: str) -> None:
    body = {"name": "bad", "site": "AZ07", "schedules": [{"retention": 1}], **changes}
    assert vaulted.refused("POST", f"{BACKUP}/policies", body)["code"] == code


def test_assigning_replaces_and_disks_inherit(vaulted: Platform) -> None:
    one, two = _policy(vaulted, "a-daily"), _policy(vaulted, "b-weekly")
    machine, disk, nobackup = vaulted.made["one"], vaulted.made["disk"], _nobackup(vaulted)
    _assign(vaulted, "one", one)
    _assign(vaulted, "one", one)  # clients send the same set twice
    assert _names(vaulted, virtualMachineId=machine) == ["a-daily"]
    assert _names(vaulted, virtualDiskId=disk) == [], "what it inherits is not its own"
    _assign(vaulted, "two", one, two)
    _assign(vaulted, "one", two, nobackup)
    assert _names(vaulted, virtualMachineId=machine) == ["b-weekly", "nobackup"]
    own = {"virtualDiskId": disk, "slaPolicies": [one]}
    vaulted.done("POST", f"{BACKUP}/policies/assign/virtual_disk", own)
    assert _names(vaulted, virtualDiskId=disk) == ["a-daily"]
    assert _names(vaulted, virtualMachineId=machine) == ["b-weekly", "nobackup"]
    vaulted.done("POST", f"{BACKUP}/policies/assign/virtual_disk", own | {"slaPolicies": []})
    assert _names(vaulted, virtualDiskId=disk) == []
    vaulted.done("POST", f"{BACKUP}/policies/assign/virtual_disk", own | {"slaPolicies": [nobackup, two]})
    assert _names(vaulted, virtualDiskId=disk) == ["b-weekly", "nobackup"]
    _assign(vaulted, "one", nobackup)
    assert _inherited(vaulted, disk) == ["b-weekly", "nobackup"], "its own set stays"
    vaulted.done("POST", f"{BACKUP}/policies/assign/virtual_disk", own | {"slaPolicies": None})
    assert _inherited(vaulted, disk) == ["nobackup"]
    counts = {row["name"]: row["numberOfProtectedVM"] for row in vaulted.get(f"{BACKUP}/metrics/policies")}
    assert (counts["a-daily"], counts["b-weekly"], counts["nobackup"]) == (1, 1, 1)
    assert vaulted.get(f"{BACKUP}/metrics/coverage") == {
        "failedResources": 0,
        "protectedResources": 1,
        "unprotectedResources": 2,
        "totalResources": 3,
    }
    error = vaulted.refused("DELETE", f"{BACKUP}/policies/{one}")
    assert (error["code"], error["details"]["members"]) == ("protection.policy_in_use", "two")
    for name in ("one", "two"):
        _assign(vaulted, name)
    for policy_id in (one, two):
        vaulted.done("DELETE", f"{BACKUP}/policies/{policy_id}")
    assert _names(vaulted) == ["nobackup"]


def test_a_policy_without_members_is_held_until_it_is_released(vaulted: Platform) -> None:
    policy_id = _policy(vaulted, "held")
    _assign(vaulted, "one", policy_id)
    _assign(vaulted, "one")
    (job,) = [job for job in vaulted.get(f"{BACKUP}/jobs") if job["policyId"] == policy_id]
    assert job["status"] == "HELD"
    assert vaulted.refused("POST", f"{BACKUP}/jobs/run", {"jobId": job["id"]})["code"] == "protection.job_held"
    again = {"virtualMachineIds": [vaulted.made["one"]], "slaPolicies": [policy_id]}
    error = vaulted.refused("POST", f"{BACKUP}/policies/assign/virtual_machine", again)
    assert error["code"] == "protection.held_unassignable"
    vaulted.done("POST", f"{BACKUP}/policies/{policy_id}/release")
    _assign(vaulted, "one", policy_id)
    vaulted.done("POST", f"{BACKUP}/policies/{policy_id}/hold")
    assert vaulted.get(f"{BACKUP}/policies/{policy_id}")["held"] is True
    error = vaulted.refused("PATCH", POWER, {"id": vaulted.made["one"], "powerAction": "on"})
    assert error["code"] == "protection.policy_held"
    _assign(vaulted, "one", policy_id)  # what it has already may be said again
    _assign(vaulted, "one")
    vaulted.done("DELETE", f"{BACKUP}/policies/{policy_id}")
    for word in ("hold", "release"):
        assert vaulted.refused("POST", f"{BACKUP}/policies/{_nobackup(vaulted)}/{word}")["status"] == 409


def test_a_policy_stores_in_another_zone_than_the_machine(vaulted: Platform) -> None:
    policy_id = _policy(vaulted, "near", site="AZ06")
    there = vaulted.deploy("there", zone="AZ06", powerOn=False)
    body = {"virtualMachineIds": [vaulted.made["one"], there], "slaPolicies": [policy_id]}
    error = vaulted.refused("POST", f"{BACKUP}/policies/assign/virtual_machine", body)
    assert error["code"] == "protection.same_zone"
    assert (error["details"]["zone"], error["details"]["machine"]) == ("AZ06", "there")
    assert _names(vaulted, virtualMachineId=vaulted.made["one"]) == [], "all of them or none"
    vaulted.done("DELETE", f"{COMPUTE}/virtual_machines/{there}")
    vaulted.done("DELETE", f"{BACKUP}/policies/{policy_id}")


def test_unknown_and_foreign_ids_are_refused_and_lists_say_nothing(vaulted: Platform, other: TestClient) -> None:
    policy_id, machine, disk = _policy(vaulted, "mine"), vaulted.made["one"], vaulted.made["disk"]
    path = f"{BACKUP}/policies/assign/virtual_machine"
    for machines, policies in (([NEVER], [policy_id]), ([machine], [NEVER]), ([machine], [machine])):
        body = {"virtualMachineIds": machines, "slaPolicies": policies}
        assert vaulted.refused("POST", path, body)["status"] == 404
    for bad in ({"virtualMachineIds": [], "slaPolicies": []}, {"virtualMachineIds": [machine], "slaPolicies": None}):
        assert vaulted.refused("POST", path, bad)["status"] == 422
    assert vaulted.refused("POST", path, {"virtualMachineIds": ["x"], "slaPolicies": []})["status"] == 400
    for field, value in (("virtualMachineId", NEVER), ("virtualDiskId", NEVER), ("virtualMachineId", "no id")):
        assert vaulted.get(f"{BACKUP}/policies", **{field: value}) == []
    _assign(vaulted, "one", policy_id)
    for filters in ({"virtualMachineId": machine}, {"virtualDiskId": disk}):
        assert other.get(f"{BACKUP}/policies", params=filters).json() == []
    assert [policy["name"] for policy in other.get(f"{BACKUP}/policies").json()] == ["nobackup"]
    assert other.get(f"{BACKUP}/policies/{policy_id}").status_code == 404
    for job in vaulted.get(f"{BACKUP}/jobs"):
        assert other.get(f"{BACKUP}/jobs/{job['id']}").status_code == 404
        assert vaulted.refused("POST", f"{BACKUP}/jobs/run", {"jobId": job["id"]}, client=other)["status"] == 404
    stolen = {"virtualMachineIds": [machine], "slaPolicies": []}
    assert vaulted.refused("POST", path, stolen, client=other)["status"] == 404
    assert vaulted.refused("DELETE", f"{BACKUP}/policies/{policy_id}", client=other)["status"] == 404
    taken = {"virtualDiskId": disk, "slaPolicies": []}
    assert vaulted.refused("POST", f"{BACKUP}/policies/assign/virtual_disk", taken, client=other)["status"] == 404
    assert _names(vaulted, virtualMachineId=machine) == ["mine"]
    _assign(vaulted, "one")
    vaulted.done("DELETE", f"{BACKUP}/policies/{policy_id}")


def test_the_inventory_makes_machines_and_disks_known(vaulted: Platform, other: TestClient) -> None:
    machine_id = vaulted.deploy("new", powerOn=False)
    disk_id = vaulted.get(f"{COMPUTE}/virtual_disks", virtualMachineId=machine_id)[0]["id"]
    for path in (f"{BACKUP}/virtual_machines/{machine_id}", f"{BACKUP}/virtual_disks/{disk_id}"):
        assert vaulted.client.get(path).status_code == 404
    (job,) = [job for job in vaulted.get(f"{BACKUP}/jobs", type="catalog") if job["name"] == "Hypervisor Inventory"]
    before = len(vaulted.get(f"{BACKUP}/jobs/session"))
    vaulted.done("POST", f"{BACKUP}/jobs/run", {"jobId": job["id"]})
    machine = vaulted.get(f"{BACKUP}/virtual_machines/{machine_id}")
    region = vaulted.get(COMPUTE)[0]
    vcenter = vaulted.get(f"{BACKUP}/vcenters")[0]
    assert (machine["id"], machine["name"], machine["datacenterName"]) == (machine_id, "new", "AZ05")
    assert machine["vCenterId"] == region["id"] == vcenter["id"]
    assert machine["internalVCenterId"] == vcenter["internalId"]
    assert machine["internalId"].isdecimal()
    assert machine["volumes"] == [{"name": "Hard disk 1", "key": "0", "size": 64 * 2**20, "configVolume": False}]
    disk = vaulted.get(f"{BACKUP}/virtual_disks/{disk_id}")
    assert (disk["id"], disk["virtualMachineId"], disk["name"]) == (disk_id, machine_id, "Hard disk 1")
    assert disk["sppServerId"] in [server["id"] for server in vaulted.get(f"{BACKUP}/servers")]
    assert other.get(f"{BACKUP}/virtual_machines/{machine_id}").status_code == 404
    assert other.get(f"{BACKUP}/virtual_disks/{disk_id}").status_code == 404
    assert other.get(f"{BACKUP}/jobs/session").json() == []
    sessions = vaulted.get(f"{BACKUP}/jobs/session")
    assert len(sessions) == before + 1
    assert (sessions[0]["status"], sessions[0]["jobId"], sessions[0]["type"]) == ("COMPLETED", job["id"], "catalog")
    assert sessions[0]["statistics"] == {"total": 4, "success": 4, "failed": 0, "skipped": 0}
    assert sessions[0]["end"] - sessions[0]["start"] == sessions[0]["duration"]
    counted = vaulted.get(f"{BACKUP}/metrics/vm")
    assert (counted["inSPP"], counted["inCompute"], counted["withBackup"], counted["inSLA"]) == (4, 4, 0, 0)
    assert vaulted.get(f"{BACKUP}/jobs/{job['id']}")["status"] == "IDLE"
    vaulted.done("DELETE", f"{COMPUTE}/virtual_machines/{machine_id}")
    for path in (f"{BACKUP}/virtual_machines/{machine_id}", f"{BACKUP}/virtual_disks/{disk_id}"):
        assert vaulted.client.get(path).status_code == 404


def test_an_inventory_that_cannot_see_all_says_so(vaulted: Platform) -> None:
    (job,) = [job for job in vaulted.get(f"{BACKUP}/jobs", type="catalog") if job["name"] == "Hypervisor Inventory"]
    machine_id = vaulted.deploy("hidden", powerOn=False)
    disk_id = vaulted.get(f"{COMPUTE}/virtual_disks", virtualMachineId=machine_id)[0]["id"]
    vaulted.rack.faults.cut("az05-array")
    try:
        vaulted.done("POST", f"{BACKUP}/jobs/run", {"jobId": job["id"]})
    finally:
        vaulted.rack.faults.join("az05-array")
    session = vaulted.get(f"{BACKUP}/jobs/session")[0]
    assert (session["status"], session["statistics"]["failed"]) == ("PARTIAL", 4)
    assert vaulted.client.get(f"{BACKUP}/virtual_disks/{disk_id}").status_code == 404
    assert vaulted.get(f"{BACKUP}/virtual_machines/{machine_id}")["volumes"] == []
    assert vaulted.get(f"{BACKUP}/virtual_disks/{vaulted.made['disk']}")["name"] == "Hard disk 1"
    vaulted.settled()
    vaulted.done("DELETE", f"{COMPUTE}/virtual_machines/{machine_id}")


def test_vaults_show_the_space_that_their_inventory_found(vaulted: Platform) -> None:
    assert [site["name"] for site in vaulted.get(f"{BACKUP}/sites")] == ["AZ06", "AZ07"]
    servers = vaulted.get(f"{BACKUP}/servers")
    assert [(server["name"], server["address"]) for server in servers] == [
        ("AZ06", "az06-vault"),
        ("AZ07", "az07-vault"),
    ]
    assert vaulted.get(f"{BACKUP}/servers/{servers[0]['id']}") == servers[0]
    assert vaulted.client.get(f"{BACKUP}/servers/{NEVER}").status_code == 404
    assert vaulted.get(f"{BACKUP}/servers", tenantId=NEVER) == []
    tenant = vaulted.get("/iam/v2/tenants")[0]["id"]
    assert vaulted.get(f"{BACKUP}/servers", tenantId=tenant) == servers
    assert [row["sppServerId"] for row in vaulted.get(f"{BACKUP}/vcenters")] == [server["id"] for server in servers]
    assert len(vaulted.get(f"{BACKUP}/vcenters", sppServerId=servers[1]["id"])) == 1
    assert vaulted.get(f"{BACKUP}/vcenters", sppServerId=NEVER) == []
    (job,) = [job for job in vaulted.get(f"{BACKUP}/jobs") if job["name"] == "Storage Server Inventory"]
    vaulted.rack.faults.fail_next("host.run", Unreachable("az06-vault", "run", "cut"), engine="az06-vault")
    vaulted.done("POST", f"{BACKUP}/jobs/run", {"jobId": job["id"]})
    near, far = vaulted.get(f"{BACKUP}/storages")
    assert (near["name"], near["isReady"], near["initializeStatus"]) == ("az06-vault", False, "Unreachable")
    assert (far["site"], far["isReady"], far["initializeStatus"]) == ("AZ07", True, "Ready")
    assert 0 < far["capacity"]["free"] <= far["capacity"]["total"]
    assert far["capacity"]["updateTime"] > 1_700_000_000_000
    assert vaulted.get(f"{BACKUP}/jobs/session")[0]["statistics"] == {
        "total": 2,
        "success": 1,
        "failed": 1,
        "skipped": 0,
    }


def test_the_platform_says_what_it_is(vaulted: Platform) -> None:
    platform = vaulted.get(f"{BACKUP}/metrics/plateform")
    assert platform["version"]
    assert platform["product"] == "naos"
    assert platform["deploymentType"]
    assert isinstance(platform["epoch"], int)
    busy = vaulted.get(f"{BACKUP}/metrics/plateform/cpu")["cpuUtil"]
    assert isinstance(busy, int)
    assert 0 <= busy <= 100
    history = vaulted.get(f"{BACKUP}/metrics/backup/history", range=4)
    assert history == {"totalRuns": 0, "sucessPercent": 0.0, "failed": 0, "warning": 0, "success": 0, "running": 0}
    for bad in ("0", "-1", "many", "1e9"):
        assert vaulted.client.get(f"{BACKUP}/metrics/backup/history?range={bad}").status_code == 422


@pytest.mark.parametrize("name", ["Zürich 東京 🚀", "../../etc", "a;b $(c)", "-rf", "מכונה"])
def test_names_of_any_script_are_kept_whole(vaulted: Platform, name: str) -> None:
    """peers.md 59: backups that break on names, or cut them."""
    machine_id = vaulted.deploy(name, powerOn=False)
    policy_id = _policy(vaulted, name)
    body = {"virtualMachineIds": [machine_id], "slaPolicies": [policy_id]}
    vaulted.done("POST", f"{BACKUP}/policies/assign/virtual_machine", body)
    (job,) = [job for job in vaulted.get(f"{BACKUP}/jobs", type="catalog") if job["name"] == "Hypervisor Inventory"]
    vaulted.done("POST", f"{BACKUP}/jobs/run", {"jobId": job["id"]})
    assert vaulted.get(f"{BACKUP}/virtual_machines/{machine_id}")["name"] == name
    assert _names(vaulted, virtualMachineId=machine_id) == [name]
    vaulted.done("DELETE", f"{COMPUTE}/virtual_machines/{machine_id}")
    vaulted.done("DELETE", f"{BACKUP}/policies/{policy_id}")


def test_steps_that_are_done_again_after_a_crash_find_their_own_effect(vaulted: Platform) -> None:
    world, activity_id = vaulted.services.world, str(uuid.uuid4())
    policy_id, machine = _policy(vaulted, "again"), vaulted.made["one"]
    for _ in range(2):
        assignments.replace_of_machines(world, [machine], [policy_id])
        assert _names(vaulted, virtualMachineId=machine) == ["again"]
    for _ in range(2):
        assignments.replace_of_disk(world, vaulted.made["disk"], [])
        assert _inherited(vaulted, vaulted.made["disk"]) == []
    (job,) = [job for job in vaulted.get(f"{BACKUP}/jobs", type="catalog") if job["name"] == "Hypervisor Inventory"]
    tenant_id = vaulted.get("/iam/v2/tenants")[0]["id"]
    before = len(vaulted.get(f"{BACKUP}/jobs/session"))
    for _ in range(2):
        inventory.open_run(world, int(job["id"]), tenant_id, activity_id)
    assert vaulted.get(f"{BACKUP}/jobs/{job['id']}")["status"] == "RUNNING"
    assert vaulted.get(f"{BACKUP}/jobs/session")[0]["status"] == "RUNNING"
    for failed in (1, 0):
        inventory.end_run(world, activity_id, inventory.Seen(3, failed))
    inventory.end_run(world, activity_id, None)  # what the compensation does; the run has ended already
    sessions = vaulted.get(f"{BACKUP}/jobs/session")
    assert len(sessions) == before + 1
    assert (sessions[0]["status"], sessions[0]["statistics"]["failed"]) == ("PARTIAL", 1)
    assignments.replace_of_disk(world, vaulted.made["disk"], None)
    assert _inherited(vaulted, vaulted.made["disk"]) == ["again"]
    assignments.replace_of_machines(world, [machine], [])
    vaulted.done("DELETE", f"{BACKUP}/policies/{policy_id}")


def test_a_machine_that_fills_up_with_assignments_at_once_keeps_one_whole_set(vaulted: Platform) -> None:
    """Several clients replace the set at the same time: one of the sets is there afterwards, never a mixture."""
    policies = [_policy(vaulted, f"at-once-{number}") for number in range(4)]
    machine = vaulted.made["one"]
    sets = [[policies[number], policies[(number + 1) % 4]] for number in range(4)]
    path = f"{BACKUP}/policies/assign/virtual_machine"
    with ThreadPoolExecutor(4) as pool:
        bodies = [{"virtualMachineIds": [machine], "slaPolicies": wanted} for wanted in sets]
        answers = list(pool.map(lambda body: vaulted.client.post(path, json=body), bodies))
    taken = [answer.headers["Location"] for answer in answers if answer.is_success]
    states = [vaulted.ended(activity)["state"] for activity in taken]
    assert any("completed" in state for state in states)
    refusals = [state["failed"]["reason"] for state in states if "failed" in state]
    refusals += [answer.json()["error"]["message"] for answer in answers if not answer.is_success]
    for reason in refusals:
        assert "is held" in reason, "a set may have lost its last machine before"
    found = {policy["id"] for policy in vaulted.get(f"{BACKUP}/policies", virtualMachineId=machine)}
    assert found in [set(wanted) for wanted in sets]
    _assign(vaulted, "one")
    for policy_id in policies:
        vaulted.done("DELETE", f"{BACKUP}/policies/{policy_id}")


def test_a_deleted_disk_takes_its_own_set_along(vaulted: Platform) -> None:
    machine_id = vaulted.deploy("spare", powerOn=False)
    body = {"virtualMachineId": machine_id, "capacity": 2**30}
    disk_id = vaulted.done("POST", f"{COMPUTE}/virtual_disks", body)
    policy_id = _policy(vaulted, "of-a-disk")
    own = {"virtualDiskId": disk_id, "slaPolicies": [policy_id]}
    vaulted.done("POST", f"{BACKUP}/policies/assign/virtual_disk", own)
    assert vaulted.refused("DELETE", f"{BACKUP}/policies/{policy_id}")["details"]["members"] == "Hard disk 2 of spare"
    vaulted.done("DELETE", f"{COMPUTE}/virtual_disks/{disk_id}")
    assert vaulted.get(f"{BACKUP}/policies/{policy_id}")["held"] is True
    vaulted.done("DELETE", f"{BACKUP}/policies/{policy_id}")
    vaulted.done("DELETE", f"{COMPUTE}/virtual_machines/{machine_id}")
