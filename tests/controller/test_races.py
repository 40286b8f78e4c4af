"""Two requests at once, or one that comes while another works: one order of events, and tables that agree with the world."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos.engines.errors import CommandFailed
from naos.engines.simulated.calls import SimulatedEngine
from naos.network import vlans
from naos.world import World

MACHINES, DISKS, ADAPTERS = f"{COMPUTE}/virtual_machines", f"{COMPUTE}/virtual_disks", f"{COMPUTE}/network_adapters"


@pytest.fixture(autouse=True)
def agree(simulated: Platform) -> Iterator[None]:
    """Whatever a test did, tables and world agree afterwards."""
    yield
    assert simulated.settled() == []


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, method: str) -> Iterator[threading.Event]:
    """The next call of an engine's `method` waits inside until the block ends; the event says that it has come."""
    came, go = threading.Event(), threading.Event()
    plain = SimulatedEngine._call

    def call(self: SimulatedEngine, name: str, **options: Any) -> Any:
        if f"{self.port}.{name}" == method and not came.is_set():
            came.set()
            assert go.wait(30)
        return plain(self, name, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedEngine, "_call", call)
        try:
            yield came
        finally:
            go.set()


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    barrier = threading.Barrier(count)

    def run(number: int) -> Any:
        barrier.wait(30)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def powered(platform: Platform, machine_id: str, action: str) -> str:
    return platform.write("PATCH", POWER, {"id": machine_id, "powerAction": action})


def bare_machine(platform: Platform, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "hostClusterId": platform.made["pool-AZ05"],
        "datastoreId": platform.made["volume-AZ05"],
        "memory": 64 * 2**20,
        "cpu": 1,
    }


# ---------------------------------------------------------------------------------------------------------- two at once


@pytest.mark.parametrize("kind", ["virtual_machines", "networks", "datastores", "deployed"])
def test_of_creates_of_one_name_exactly_one_wins_and_the_others_are_told_at_once(
    simulated: Platform, kind: str
) -> None:
    volume = {"name": "wanted", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
    path, body = {
        "virtual_machines": (MACHINES, bare_machine(simulated, "wanted")),
        "networks": (f"{COMPUTE}/networks", {"name": "wanted"}),
        "datastores": (f"{COMPUTE}/datastores", volume),
        "deployed": (simulated.deploy_path, simulated.deployment("wanted", powerOn=False)),
    }[kind]
    answers = at_once(5, lambda _number: simulated.client.post(path, json=body))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    codes = {answer.json()["error"]["code"] for answer in answers if answer.status_code == 409}
    assert codes == {"naos.name_taken"}
    (winner,) = [answer.headers["Location"] for answer in answers if answer.status_code == 201]
    ended = simulated.ended(winner)
    assert "completed" in ended["state"]
    place = "virtual_machines" if kind == "deployed" else kind
    simulated.done("DELETE", f"{COMPUTE}/{place}/{ended['state']['completed']['result']}")


def test_of_renames_to_one_name_exactly_one_wins(simulated: Platform) -> None:
    made = [simulated.done("POST", MACHINES, bare_machine(simulated, f"r{number}")) for number in range(4)]
    answers = at_once(
        4, lambda number: simulated.client.patch(f"{MACHINES}/rename", json={"id": made[number], "name": "r"})
    )
    accepted = [simulated.ended(answer.headers["Location"]) for answer in answers if answer.status_code == 201]
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert [list(activity["state"]) for activity in accepted].count(["completed"]) == 1
    for activity in accepted:
        if "failed" in activity["state"]:
            assert "A virtual machine named 'r' exists already" in activity["state"]["failed"]["reason"]
    assert len(simulated.get(MACHINES, name="r")) == 1
    for machine_id in made:
        simulated.done("DELETE", f"{MACHINES}/{machine_id}")


def test_of_changes_to_one_mac_address_exactly_one_wins(simulated: Platform) -> None:
    """peers.md 52: uniqueness holds under concurrency too."""
    made = [simulated.deploy(f"mac-{number}", powerOn=False) for number in range(3)]
    adapters = [simulated.get(ADAPTERS, virtualMachineId=machine_id)[0]["id"] for machine_id in made]

    def change(number: int) -> Any:
        return simulated.client.patch(ADAPTERS, json={"id": adapters[number], "macAddress": "02:4e:00:cc:00:01"})

    answers = at_once(3, change)
    accepted = [simulated.ended(answer.headers["Location"]) for answer in answers if answer.status_code == 201]
    assert [list(activity["state"]) for activity in accepted].count(["completed"]) == 1
    assert not [activity for activity in accepted if "unexpected" in str(activity["state"]).lower()]
    for machine_id in made:
        simulated.remove(machine_id)


def test_two_power_ons_at_once_start_it_once(simulated: Platform) -> None:
    machine_id = simulated.deploy("once", powerOn=False)
    started = at_once(4, lambda _number: powered(simulated, machine_id, "on"))
    assert ["completed" in simulated.ended(activity)["state"] for activity in started] == [True] * 4
    blade = simulated.machine(machine_id)["host"]["name"]
    (disk,) = simulated.get(DISKS, virtualMachineId=machine_id)
    exports = simulated.rack.array("az05-array").contents(simulated.made["volume-AZ05"]).exports
    assert exports[disk["id"]] == 1, "a second start would have cut the first one's disk off"
    assert simulated.rack.hypervisor(blade).domains()[machine_id] == "running"
    simulated.remove(machine_id)


def test_memory_is_given_once_however_many_ask_at_once(simulated: Platform) -> None:
    """peers.md 34, 62: with room for four, exactly four of eight start; nothing stays reserved afterwards."""
    wish = {"memory": 512 * 2**20, "networkAdapters": [], "powerOn": False}
    made = [simulated.deploy(f"crowd-{number}", **wish) for number in range(8)]
    started = at_once(8, lambda number: powered(simulated, made[number], "on"))
    ended = [simulated.ended(activity)["state"] for activity in started]
    assert sum("completed" in state for state in ended) == 4
    for state in ended:
        if "failed" in state:
            assert "2 GiB of memory enabled, 2 GiB in use" in state["failed"]["reason"]
    pool = f"{COMPUTE}/host_clusters/{simulated.made['pool-AZ05']}"
    assert simulated.get(pool)["metrics"]["reservedMemory"] == 2 * GIB
    for machine_id in made:
        simulated.remove(machine_id)
    assert simulated.get(pool)["metrics"]["reservedMemory"] == 0


def test_two_deletions_at_once_delete_once(simulated: Platform) -> None:
    machine_id = simulated.deploy("gone", powerOn=False)
    answers = at_once(3, lambda _number: simulated.client.delete(f"{MACHINES}/{machine_id}"))
    assert min(answer.status_code for answer in answers) == 201
    for answer in answers:
        if answer.status_code == 201:
            assert "completed" in simulated.ended(answer.headers["Location"])["state"]
        else:
            assert answer.json()["error"]["code"] in {"naos.not_ready", "naos.unknown"}
    assert simulated.client.get(f"{MACHINES}/{machine_id}").status_code == 404


def test_the_same_key_is_the_same_machine(simulated: Platform) -> None:
    """peers.md 15: one key and body twenty times in parallel: one machine, one answer; another body: 409."""
    key, body = {"Idempotency-Key": "deploy-1"}, simulated.deployment("keyed", powerOn=False)
    path = simulated.deploy_path
    answers = at_once(20, lambda _number: simulated.client.post(path, json=body, headers=key))
    assert {answer.status_code for answer in answers} == {201}
    (activity,) = {answer.headers["Location"] for answer in answers}
    assert "completed" in simulated.ended(activity)["state"]
    assert simulated.client.post(path, json=body, headers=key).headers["Location"] == activity, "an ended one, too"
    other = simulated.client.post(path, json={**body, "name": "other"}, headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "activity.idempotency_conflict")
    assert activity in other.json()["error"]["message"]
    (machine,) = simulated.get(MACHINES, name="keyed")
    assert simulated.get(MACHINES, name="other") == []
    simulated.remove(machine["id"])
    for bad in ("", "x" * 256):
        refused = simulated.client.post(path, json=body, headers={"Idempotency-Key": bad})
        assert refused.json()["error"]["code"] == "activity.idempotency_key_invalid"


# --------------------------------------------------------------------------------------------- while another one works


def test_a_template_deleted_while_it_is_cloned(simulated: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """peers.md 23: the clone is finished first; from the deletion on nobody else may start one."""
    template = simulated.add_template("short-lived")
    item = f"{COMPUTE}/content_libraries/{simulated.made['library']}/items/{template}"
    wish = simulated.deployment("clone", contentLibraryItemId=template)
    with held(monkeypatch, "array.clone_template") as cloning:
        create = simulated.write("POST", simulated.deploy_path, wish)
        assert cloning.wait(30)
        delete = simulated.write("DELETE", item)
        late = simulated.refused("POST", simulated.deploy_path, {**wish, "name": "late"})
        assert (late["code"], late["status"]) == ("catalogue.template_not_ready", 409)
        assert simulated.refused("DELETE", item)["code"] == "naos.not_ready"
        assert "waiting" in simulated.get(f"/activity/v1/activities/{delete}")["state"]
    assert "completed" in simulated.ended(create)["state"]
    assert "completed" in simulated.ended(delete)["state"]
    assert simulated.client.get(item).status_code == 404
    simulated.remove(simulated.get(MACHINES, name="clone")[0]["id"])


def test_a_machine_deleted_while_it_is_created(simulated: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deletion waits for the create; a machine that runs by then is not deleted, one that does not is."""
    for power_on in (True, False):
        with held(monkeypatch, "array.clone_template") as cloning:
            create = simulated.write("POST", simulated.deploy_path, simulated.deployment("brief", powerOn=power_on))
            assert cloning.wait(30)
            machine_id = simulated.get(MACHINES, name="brief")[0]["id"]
            delete = simulated.write("DELETE", f"{MACHINES}/{machine_id}")
        assert "completed" in simulated.ended(create)["state"]
        state = simulated.ended(delete)["state"]
        if power_on:
            assert "power it off first" in state["failed"]["reason"]
            simulated.remove(machine_id)
        else:
            assert "completed" in state
        assert simulated.client.get(f"{MACHINES}/{machine_id}").status_code == 404


def test_what_waits_for_a_create_that_fails_says_that_it_is_gone(
    simulated: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, volume = simulated.rack.faults, simulated.made["volume-AZ05"]
    with held(monkeypatch, "array.clone_template") as cloning:
        create = simulated.write("POST", simulated.deploy_path, simulated.deployment("stillborn"))
        assert cloning.wait(30)
        machine_id = simulated.get(MACHINES, name="stillborn")[0]["id"]
        waiting = [
            powered(simulated, machine_id, "on"),
            simulated.write("POST", DISKS, {"virtualMachineId": machine_id, "capacity": GIB}),
            simulated.write("PATCH", f"{MACHINES}/rename", {"id": machine_id, "name": "other"}),
            simulated.write("DELETE", f"{MACHINES}/{machine_id}"),
        ]
        faults.fill(volume)
    assert "failed" in simulated.ended(create)["state"]
    for activity in waiting:
        reason = simulated.ended(activity)["state"]["failed"]["reason"]
        assert reason.startswith("There is no "), reason
    faults.empty(volume)


def test_power_off_during_a_migration(simulated: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """peers.md 13: the order waits for the move, then stops it where it is; the next start needs no force."""
    machine_id = simulated.deploy("mover")
    here = simulated.machine(machine_id)["host"]["name"]
    hosts = simulated.get(f"{COMPUTE}/hosts", hostClusterId=simulated.made["pool-AZ05"])
    other = next(host for host in hosts if host["name"] != here)
    with held(monkeypatch, "hypervisor.receive") as moving:
        move = simulated.write("POST", f"{MACHINES}/relocate", {"virtualMachines": [machine_id], "hostId": other["id"]})
        assert moving.wait(30)
        stop = powered(simulated, machine_id, "off")
        assert "running" in simulated.get(f"/activity/v1/activities/{move}")["state"]
        assert "waiting" in simulated.get(f"/activity/v1/activities/{stop}")["state"]
    assert "completed" in simulated.ended(move)["state"]
    assert "completed" in simulated.ended(stop)["state"]
    shown = simulated.machine(machine_id)
    assert (shown["powerState"], shown["host"]["name"]) == ("stopped", other["name"])
    simulated.done("PATCH", POWER, {"id": machine_id, "powerAction": "on"})
    simulated.remove(machine_id)


def test_a_guest_that_stops_itself_during_a_migration(simulated: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """peers.md 13: the move fails or finds nothing to move; the machine is stopped and starts again."""
    machine_id = simulated.deploy("quitter")
    here = simulated.machine(machine_id)["host"]["name"]
    hosts = simulated.get(f"{COMPUTE}/hosts", hostClusterId=simulated.made["pool-AZ05"])
    other = next(host for host in hosts if host["name"] != here)
    with held(monkeypatch, "hypervisor.receive") as moving:
        move = simulated.write("POST", f"{MACHINES}/relocate", {"virtualMachines": [machine_id], "hostId": other["id"]})
        assert moving.wait(30)
        simulated.rack.hypervisor(here).shutdown(machine_id)
    assert "called off" in simulated.ended(move)["state"]["failed"]["reason"]
    end = time.monotonic() + 30
    while simulated.machine(machine_id)["powerState"] != "stopped" and time.monotonic() < end:
        time.sleep(0.05)
    assert simulated.settled() == []
    assert simulated.machine(machine_id)["powerState"] == "stopped"
    simulated.done("PATCH", POWER, {"id": machine_id, "powerAction": "on"})
    simulated.remove(machine_id)


@pytest.mark.parametrize("kind", ["networks", "datastores", "host_clusters"])
def test_nothing_leans_on_what_is_being_deleted(
    simulated: Platform, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A deploy that comes while its VLAN, volume or cpool goes is refused at once, and the deletion is completed."""
    pools = [simulated.made["pool-AZ06"]]
    volume = {"name": "going", "datacenterId": "AZ06", "storageClass": "standard", "capacity": 500 * GIB}
    method, field = {
        "networks": ("fabric.remove_vlan", "networkAdapters"),
        "datastores": ("array.delete_lun", "datastoreId"),
        "host_clusters": ("fabric.remove_vlan", "hostClusterId"),
    }[kind]
    if kind == "host_clusters":
        made = pools[0]
    else:
        body = volume if kind == "datastores" else {"name": "going", "hostClusterIds": pools}
        made = simulated.done("POST", f"{COMPUTE}/{kind}", body)
    wish = simulated.deployment("late", zone="AZ06")
    wish[field] = [{"networkId": made}] if field == "networkAdapters" else made
    with held(monkeypatch, method) as going:
        delete = simulated.write("DELETE", f"{COMPUTE}/{kind}/{made}")
        assert going.wait(30)
        error = simulated.refused("POST", simulated.deploy_path, wish)
        assert (error["code"], error["status"]) == ("naos.not_ready", 409)
        assert "still being deleted" in error["message"]
        assert simulated.get(f"{COMPUTE}/{kind}/{made}")["status"] == "deleting"
        assert simulated.refused("DELETE", f"{COMPUTE}/{kind}/{made}")["code"] == "naos.not_ready"
    assert "completed" in simulated.ended(delete)["state"]
    assert simulated.client.get(f"{COMPUTE}/{kind}/{made}").status_code == 404
    if kind == "host_clusters":
        again = {"name": "pool-AZ06", "datacenterId": "AZ06", "model": "LAB v1", "hosts": 2}
        simulated.made["pool-AZ06"] = simulated.done("POST", f"{COMPUTE}/host_clusters", again)
        simulated.done(
            "POST",
            f"{COMPUTE}/networks/{simulated.made['vlan']}/propagations",
            {"hostClusterIds": [simulated.made["pool-AZ06"]]},
        )


def test_nothing_leans_on_what_is_still_being_made(simulated: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = {"name": "coming", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
    with held(monkeypatch, "array.create_lun") as coming:
        create = simulated.write("POST", f"{COMPUTE}/datastores", volume)
        assert coming.wait(30)
        made = simulated.get(f"{COMPUTE}/datastores", name="coming")[0]["id"]
        error = simulated.refused("POST", MACHINES, {**bare_machine(simulated, "early"), "datastoreId": made})
        assert (error["code"], error["details"]["state"]) == ("naos.not_ready", "created")
    assert "completed" in simulated.ended(create)["state"]
    simulated.done("DELETE", f"{COMPUTE}/datastores/{made}")


def test_a_failed_propagation_takes_back_no_more_than_it_brought(
    simulated: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = simulated.made["pool-AZ05"], simulated.made["pool-AZ06"]
    vlan = simulated.done("POST", f"{COMPUTE}/networks", {"name": "twice", "hostClusterIds": [here]})
    path, body = f"{COMPUTE}/networks/{vlan}/propagations", {"hostClusterIds": [there]}
    add, added = vlans.add_pools, []

    def add_and_break(world: World, vlan_id: str, pools: Iterable[str]) -> None:
        added.append(list(pools))
        add(world, vlan_id, added[-1])
        if len(added) == 2:
            simulated.rack.faults.fail_next("fabric.ensure_vlan", CommandFailed("blade", "ip link", "it was refused"))

    monkeypatch.setattr(vlans, "add_pools", add_and_break)
    with held(monkeypatch, "fabric.ensure_vlan") as busy:
        first = simulated.write("POST", path, body)
        assert busy.wait(30)
        second = simulated.write("POST", path, body)
    assert "completed" in simulated.ended(first)["state"]
    assert "failed" in simulated.ended(second)["state"]
    assert added == [[there], []]
    carried = [pool["id"] for pool in simulated.get(f"{COMPUTE}/networks/{vlan}")["hostClusters"]]
    assert sorted(carried) == sorted([here, there])
    simulated.done("DELETE", f"{COMPUTE}/networks/{vlan}")


def test_a_vlan_is_not_deleted_under_an_adapter_that_moves_to_it(
    simulated: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = [simulated.made["pool-AZ05"]]
    vlan = simulated.done("POST", f"{COMPUTE}/networks", {"name": "next", "hostClusterIds": pools})
    machine_id = simulated.deploy("changer")
    adapter = simulated.get(ADAPTERS, virtualMachineId=machine_id)[0]["id"]
    with held(monkeypatch, "hypervisor.reset") as busy:
        powered(simulated, machine_id, "reset")
        assert busy.wait(30)
        change = simulated.write("PATCH", ADAPTERS, {"id": adapter, "newNetworkId": vlan})
        delete = simulated.write("DELETE", f"{COMPUTE}/networks/{vlan}")
    assert "completed" in simulated.ended(change)["state"]
    assert "1 adapter(s)" in simulated.ended(delete)["state"]["failed"]["reason"]
    assert simulated.get(f"{COMPUTE}/networks/{vlan}")["status"] == "active"
    simulated.remove(machine_id)
    simulated.done("DELETE", f"{COMPUTE}/networks/{vlan}")


def test_one_stuck_blade_holds_up_nobody_else(simulated: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """peers.md 18: while a call to one blade hangs, machines of another are made and started."""
    machine_id = simulated.deploy("stuck", powerOn=False)
    with held(monkeypatch, "hypervisor.define") as stuck:
        hanging = powered(simulated, machine_id, "on")
        assert stuck.wait(30)
        other = simulated.deploy("free", zone="AZ06")
        assert "running" in simulated.get(f"/activity/v1/activities/{hanging}")["state"]
    assert "completed" in simulated.ended(hanging)["state"]
    for known in (machine_id, other):
        simulated.remove(known)


def test_a_deletion_and_an_update_at_once_have_an_order(simulated: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion waits for the update in hand; an update that comes during the deletion is refused at once and changes nothing."""
    machine_id = simulated.deploy("contested", powerOn=False)
    disk = simulated.get(DISKS, virtualMachineId=machine_id)[0]["id"]
    with held(monkeypatch, "array.resize_disk") as growing:
        update = simulated.write("PATCH", DISKS, {"id": disk, "newCapacity": 2 * GIB})
        assert growing.wait(30)
        delete = simulated.write("DELETE", f"{MACHINES}/{machine_id}")
        assert "waiting" in simulated.get(f"/activity/v1/activities/{delete}")["state"]
    assert "completed" in simulated.ended(update)["state"]
    assert "completed" in simulated.ended(delete)["state"]
    machine_id = simulated.deploy("contested", powerOn=False)
    disk = simulated.get(DISKS, virtualMachineId=machine_id)[0]["id"]
    with held(monkeypatch, "array.delete_disk") as going:
        delete = simulated.write("DELETE", f"{MACHINES}/{machine_id}")
        assert going.wait(30)
        for path, body in (
            (DISKS, {"id": disk, "newCapacity": 2 * GIB}),
            (MACHINES, {"id": machine_id, "ram": 2**30}),
            (f"{MACHINES}/rename", {"id": machine_id, "name": "saved"}),
            (POWER, {"id": machine_id, "powerAction": "on"}),
        ):
            assert simulated.refused("PATCH", path, body)["status"] in {404, 409}, path
    assert "completed" in simulated.ended(delete)["state"]
    assert simulated.client.get(f"{MACHINES}/{machine_id}").status_code == 404


def test_random_orders_end_in_one_truth(simulated: Platform) -> None:
    """peers.md 62: thirty orders to three machines at once; every one ends, and what is reserved is what runs."""
    made = [simulated.deploy(f"any-{number}") for number in range(3)]
    actions = ["off", "on", "reset", "on", "off", "on", "shutdown", "on", "off", "on"]

    def order(number: int) -> str | None:
        body = {"id": made[number % 3], "powerAction": actions[number // 3]}
        answer = simulated.client.patch(POWER, json=body)
        assert answer.status_code in {201, 409}, answer.text
        return answer.headers.get("Location")

    for activity in at_once(30, order):
        if activity is not None:
            simulated.ended(activity)
    assert simulated.settled() == []
    running = [machine_id for machine_id in made if simulated.machine(machine_id)["powerState"] == "running"]
    pool = simulated.get(f"{COMPUTE}/host_clusters/{simulated.made['pool-AZ05']}")
    assert pool["metrics"]["reservedMemory"] == len(running) * 128 * 2**20
    for machine_id in made:
        simulated.remove(machine_id)
