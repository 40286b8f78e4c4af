"""Forty writers at once, as Terraform runs them: on one machine, and on twenty. Nothing is lost, nothing waits for ever."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from provider_client import Client
from provider_contract import BACKUP
from provider_resources import ADAPTERS, DISKS, MACHINES, TAGS, AdapterResource, DiskResource, MachineResource
from served_platform import Served
from simulated_platform import GIB

MIB = 2**20
WRITERS = 40


@pytest.fixture
def clients(provider: Served) -> list[Client]:
    """One for each writer, in one session."""
    made = [provider.client(pace=0.02, patience=4000) for _ in range(WRITERS)]
    for client in made:
        client._session = made[0].session()
    return made


def at_once(clients: list[Client], work: Callable[[int, Client], Any]) -> list[Any]:
    """Each writer's result; the first writer's failure is raised."""
    start = threading.Barrier(len(clients))

    def run(number: int) -> Any:
        start.wait(60)
        return work(number, clients[number])

    with ThreadPoolExecutor(len(clients)) as pool:
        return [future.result(timeout=200) for future in [pool.submit(run, number) for number in range(len(clients))]]


def config(provider: Served, name: str, **changes: Any) -> dict[str, Any]:
    made = provider.platform.made
    return {
        "name": name,
        "memory": 64 * MIB,
        "cpu": 1,
        "num_cores_per_socket": 1,
        "datacenter_id": provider.platform.zone("AZ05"),
        "host_cluster_id": made["pool-AZ05"],
        "datastore_id": made["volume-AZ05"],
        "guest_operating_system_moref": "debian12_64Guest",
        **changes,
    }


def disk_config(provider: Served, machine: str, size: int) -> dict[str, Any]:
    where = {"virtual_machine_id": machine, "datastore_id": provider.platform.made["volume-AZ05"]}
    return {"capacity": size, "provisioning_type": "dynamic", "disk_mode": "persistent", **where}


def tag(client: Client, machine: str, key: str, value: str) -> None:
    resource = {"uuid": machine, "type": "vcenter_virtual_machine", "source": "vmware"}
    client.plain("POST", "/tag/v1/tags", body={"key": key, "value": value, "resources": [resource]})


def test_forty_writers_on_one_machine(provider: Served, clients: list[Client]) -> None:
    """Twelve add and grow a disk, six add, connect and disconnect an adapter, twelve change the memory, ten set a key."""
    machine = MachineResource(clients[0]).create(config(provider, "one for all"))["id"]
    network = provider.platform.made["vlan"]

    def work(number: int, client: Client) -> str:
        tag(client, machine, f"writer-{number}", "was here")
        if number < 12:
            disks = DiskResource(client)
            state = disks.create(disk_config(provider, machine, GIB))
            grown = disk_config(provider, machine, (number + 2) * GIB)
            assert disks.changes(grown, disks.update(grown, state)) == set()
            return str(state["id"])
        if number < 18:
            adapters = AdapterResource(client)
            wish = {"virtual_machine_id": machine, "network_id": network, "type": "VMXNET3"}
            state = adapters.create(wish)
            state = adapters.update({**wish, "connected": True}, state)
            assert adapters.changes(wish, adapters.update({**wish, "connected": False}, state)) == set()
            return str(state["id"])
        if number < 30:
            body = {"id": machine, "ram": (64 + number) * MIB, "memoryReservation": 0, "cpu": 1, "corePerSocket": 1}
            body |= {"hotCpuAdd": False, "hotCpuRemove": False, "hotMemAdd": False}
            return str(client.write("PATCH", MACHINES, body=body)["id"])
        body = {"guestinfo.metadata" if number % 2 else "guestinfo.userdata": f"#cloud-config\nn: {number}\n"}
        return str(client.write("PATCH", f"{MACHINES}/{{id}}/extra_config", machine, body=body)["id"])

    made = at_once(clients, work)
    client = clients[0]
    assert sorted(disk["id"] for disk in client.list(DISKS, virtualMachineId=machine)) == sorted(made[:12])
    sizes = {disk["id"]: disk["capacity"] for disk in client.list(DISKS, virtualMachineId=machine)}
    assert [sizes[identifier] for identifier in made[:12]] == [(number + 2) * GIB for number in range(12)]
    units = [disk["diskUnitNumber"] for disk in client.list(DISKS, virtualMachineId=machine)]
    assert len(set(units)) == 12
    assert sorted(found["id"] for found in client.list(ADAPTERS, virtualMachineId=machine)) == sorted(made[12:18])
    tags = {found["key"] for found in client.list(TAGS, machine)}
    assert tags == {f"writer-{number}" for number in range(WRITERS)}
    read = client.one(f"{MACHINES}/{{id}}", machine)
    assert read is not None
    assert read["memory"] == (64 + last(client, made, 18, 30)) * MIB
    extra = {pair["key"]: pair["value"] for pair in read["extraConfig"]}
    odd = last(client, made, 30, 40, lambda number: number % 2 == 1)
    even = last(client, made, 30, 40, lambda number: number % 2 == 0)
    assert extra["guestinfo.metadata"] == f"#cloud-config\nn: {odd}\n"
    assert extra["guestinfo.userdata"] == f"#cloud-config\nn: {even}\n"
    MachineResource(client).destroy({"id": machine})
    assert provider.platform.settled() == []


def last(
    client: Client, activities: list[str], start: int, end: int, which: Callable[[int], bool] = lambda _number: True
) -> int:
    """The writer whose activity ended last: its write is the one to be seen."""
    ended = {}
    for number in filter(which, range(start, end)):
        activity = client.one("/activity/v1/activities/{id}", activities[number])
        assert activity is not None
        ended[number] = activity["state"]["completed"]["stopDate"]
    return max(ended, key=lambda number: ended[number])


@pytest.mark.soak
def test_forty_writers_on_twenty_machines(provider: Served, clients: list[Client]) -> None:
    """Twenty make, change and rename machines; twenty, each beside one of them, add a disk and an adapter."""
    network = provider.platform.made["vlan"]
    policies = clients[0].list(f"{BACKUP}/policies")
    none = next(policy["id"] for policy in policies if policy["name"] == "nobackup")
    made: list[str | None] = [None] * (WRITERS // 2)
    ready = [threading.Event() for _ in made]

    def work(number: int, client: Client) -> None:
        pair = number % len(made)
        if number < len(made):
            machines = MachineResource(client)
            wish = config(provider, f"twin-{pair}", backup_sla_policies=[none], tags={"n": str(pair)}, memory=32 * MIB)
            state = machines.create(wish)
            made[pair] = state["id"]
            ready[pair].set()
            wish = {**wish, "name": f"renamed-{pair}", "memory": 64 * MIB, "power_state": "on"}
            state = machines.update(wish, state)
            assert machines.changes(wish, state) == set(), machines.changes(wish, state)
            return
        assert ready[pair].wait(120)
        machine = made[pair] or ""
        disk, adapter = DiskResource(client), AdapterResource(client)
        volume = disk_config(provider, machine, GIB)
        state = disk.create(volume)
        wish = {"virtual_machine_id": machine, "network_id": network, "type": "VMXNET3"}
        plugged = adapter.create(wish)
        assert adapter.changes(wish, plugged) == set()
        adapter.destroy(plugged)
        disk.destroy(disk.update({**volume, "capacity": 2 * GIB}, state))

    try:
        at_once(clients, work)
    finally:
        for event in ready:
            event.set()
    client = clients[0]
    names = {machine["name"]: machine for machine in client.list(MACHINES)}
    for number, identifier in enumerate(made):
        machine = names[f"renamed-{number}"]
        assert (machine["id"], machine["powerState"], machine["memory"]) == (identifier, "running", 64 * MIB)
        assert client.list(DISKS, virtualMachineId=identifier) == []
        assert client.list(ADAPTERS, virtualMachineId=identifier) == []
    at_once(clients[: len(made)], lambda number, mine: MachineResource(mine).destroy({"id": made[number]}))
    assert provider.platform.settled() == []
    activities = client.list("/activity/v1/activities")
    assert {state for activity in activities for state in activity["state"]} <= {"completed", "failed"}
