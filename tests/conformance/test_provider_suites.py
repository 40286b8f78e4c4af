"""What the provider's own two test suites do before their first test, and the constants that they write down."""

from typing import Any

import pytest
from provider_client import Client
from provider_contract import BACKUP, COMPUTE, IAM
from provider_resources import MACHINES, TAGS, MachineResource
from served_platform import Served
from simulated_platform import POWER

UNKNOWN = "12345678-1234-5678-1234-567812345678"


def swept(client: Client) -> list[str]:
    """Section 8.2 step 3, the provider suite's: names of the machines that it deletes."""
    removed = []
    for listed in client.list(MACHINES):
        tags = {tag["key"]: tag["value"] for tag in client.list(TAGS, listed["id"])}
        named = listed["name"].startswith(("test-terraform", "test-client")) or listed["name"] == "hello-world"
        if not named and tags.get("created_by") != "Terraform":
            continue
        machine = client.one(f"{MACHINES}/{{id}}", listed["id"])
        assert machine is not None
        if machine["powerState"] == "running":
            body = {"id": machine["id"], "datacenterId": machine["datacenter"]["id"], "powerAction": "off"}
            client.write("PATCH", POWER, body=body)
        client.write("DELETE", f"{MACHINES}/{{id}}", machine["id"])
        removed.append(machine["name"])
    for token in client.list(f"{IAM}/personal_access_tokens"):
        mine = token["userId"] == client.claims["userId"] and token["tenantId"] == client.tenant
        if token["name"] == "client-test" and mine:
            client.plain("DELETE", f"{IAM}/personal_access_tokens/{{id}}", token["id"])
    return sorted(removed)


def test_a_sweep_finds_what_a_broken_run_left(provider: Served, client: Client) -> None:
    platform = provider.platform
    none = next(policy["id"] for policy in client.list(f"{BACKUP}/policies") if policy["name"] == "nobackup")
    for name in ("test-client-a", "test-terraform-b", "hello-world", "tagged", "kept"):
        made = platform.deploy(name, powerOn=False)
        assign = {"virtualMachineIds": [made], "slaPolicies": [none]}
        client.write("POST", f"{BACKUP}/policies/assign/virtual_machine", body=assign)
        platform.done("PATCH", POWER, {"id": made, "powerAction": "on"})
        if name == "tagged":
            MachineResource(client)._tags(made, {"created_by": "Terraform"})
    assert swept(client) == ["hello-world", "tagged", "test-client-a", "test-terraform-b"]
    assert [machine["name"] for machine in client.list(MACHINES)] == ["kept"]
    assert swept(client) == []
    assert platform.settled() == []


def test_the_constants_of_the_suites(client: Client) -> None:
    """Section 8.4, as far as any server can serve it."""
    assert "iam_read" in {role["name"] for role in client.list(f"{IAM}/roles")}
    (rtms,) = [feature for feature in client.list(f"{IAM}/features") if feature["name"] == "rtms"]
    assert [feature["subFeatures"] for feature in rtms["subFeatures"]] == [[], []]
    catalogue = client.list(f"{BACKUP}/jobs", type="catalog")
    assert len(catalogue) == 2
    assert all(job["id"].isdecimal() and job["status"] == "IDLE" for job in catalogue)
    assert "Hypervisor Inventory" in {job["name"] for job in catalogue}
    assert "nobackup" in {policy["name"] for policy in client.list(f"{BACKUP}/policies")}
    server = client.list(f"{BACKUP}/servers", tenantId=client.tenant)[0]
    managers = {manager["id"] for manager in client.list(f"{BACKUP}/vcenters", sppServerId=server["id"])}
    assert managers & {worker["id"] for worker in client.list(COMPUTE)}
    first = client.list(f"{IAM}/tenants")[0]
    assert first["id"] == client.tenant
    given: list[dict[str, Any]] = client.list(
        f"{IAM}/assignments/tenant", userId=client.claims["userId"], tenantId=client.tenant
    )
    assert {"userId", "tenantId", "roleId"} <= set(given[0])
    assert all(item["featureId"] for item in client.list(f"{IAM}/features/assignments", tenantId=client.tenant))


@pytest.mark.parametrize(
    "path",
    [
        f"{COMPUTE}/snapshots",
        f"{COMPUTE}/virtual_controllers",
        f"{COMPUTE}/virtual_disks",
        f"{COMPUTE}/network_adapters",
    ],
)
def test_lists_without_any_filter_are_answered(client: Client, path: str) -> None:
    client.list(path)
    assert client.list(path, virtualMachineId=UNKNOWN) == []


def test_the_inventory_job_comes_back_to_rest(provider: Served, client: Client) -> None:
    machine = provider.platform.deploy("seen", powerOn=False)
    MachineResource(client)._policies(machine, [])
    job = next(job for job in client.list(f"{BACKUP}/jobs", type="catalog") if job["name"] == "Hypervisor Inventory")
    client.write("POST", f"{BACKUP}/jobs/run", body={"jobId": job["id"]})
    assert client.one(f"{BACKUP}/jobs/{{id}}", job["id"])["status"] == "IDLE"  # type: ignore[index]
    assert client.one(f"{BACKUP}/virtual_machines/{{id}}", machine) is not None
    sessions = client.list(f"{BACKUP}/jobs/session")
    assert sessions
    assert all(session["start"] <= session["end"] and session["jobName"] for session in sessions)
    MachineResource(client).destroy({"id": machine})
