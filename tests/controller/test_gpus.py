"""GPUs, on a fake PCI inventory: simulated blades that are said to have them. Counted, handed out, held, and in the way of moves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulated_platform import COMPUTE, GIB, POWER, Platform, inventory_text, platform_in

MODEL = "PERFORMANCE 4 v3"
FIRST, SECOND = "0000:3b:00.0", "0000:af:00.0"
HOSTS, MACHINES = f"{COMPUTE}/hosts", f"{COMPUTE}/virtual_machines"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A cpool of two blades: two GPUs on the first, one on the second."""
    folder: Path = tmp_path_factory.mktemp("gpus")
    text = inventory_text().replace("LAB v1", MODEL)
    (folder / "inventory.toml").write_text(text, encoding="utf-8")
    with platform_in(folder) as made:
        made.rack.faults.give_gpus("az05-blade1", FIRST, SECOND)
        made.rack.faults.give_gpus("az05-blade2", FIRST)
        pool = {"name": "gpus", "datacenterId": "AZ05", "model": MODEL, "hosts": 2}
        made.made["pool-AZ05"] = made.done("POST", f"{COMPUTE}/host_clusters", pool)
        volume = {"name": "volume", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
        made.made["volume-AZ05"] = made.done("POST", f"{COMPUTE}/datastores", volume)
        yield made


def _machine(platform: Platform, name: str, gpus: int) -> str:
    place = {"hostClusterId": platform.made["pool-AZ05"], "datastoreId": platform.made["volume-AZ05"]}
    machine = platform.done("POST", MACHINES, {"name": name, "cpu": 1, "memory": 2**28, **place})
    answer = platform.client.put(f"{MACHINES}/{machine}/gpus", json={"count": gpus})
    assert answer.status_code == 204, answer.text
    return machine


def _power(platform: Platform, machine: str, action: str) -> None:
    platform.done("PATCH", POWER, {"id": machine, "powerAction": action})


def _held(platform: Platform, number: int) -> dict[str, str | None]:
    blade = platform.get(HOSTS, name=f"az05-blade{number}")[0]["id"]
    found: list[dict[str, Any]] = platform.get(f"{HOSTS}/{blade}/gpus")
    return {gpu["address"]: (gpu["virtualMachine"] or {}).get("name") for gpu in found}


def test_gpus_are_counted_handed_out_whole_and_in_the_way_of_moves(platform: Platform) -> None:
    assert _held(platform, 1) == {FIRST: None, SECOND: None}
    both, one, late = (_machine(platform, name, count) for name, count in (("both", 2), ("one", 1), ("late", 1)))
    _power(platform, both, "on")
    _power(platform, one, "on")
    assert _held(platform, 1) == {FIRST: "both", SECOND: "both"}
    assert _held(platform, 2) == {FIRST: "one"}
    for machine, blade, count in ((both, "az05-blade1", 2), (one, "az05-blade2", 1)):
        assert platform.machine(machine)["host"]["name"] == blade
        assert len(platform.get(f"{MACHINES}/{machine}/gpus")["held"]) == count
        assert platform.rack.hypervisor(blade).xml(machine).count("0000:") == count
    # nobody gets what is held
    reason = platform.failed("PATCH", POWER, {"id": late, "powerAction": "on"})
    assert "0 GPU(s) free, the machine needs 1" in reason
    # what holds some stays where it is
    target = platform.get(HOSTS, name="az05-blade1")[0]["id"]
    body = {"virtualMachines": [one], "hostId": target, "priority": "highPriority"}
    error = platform.refused("POST", f"{MACHINES}/relocate", body)
    assert "it has GPUs of az05-blade2" in error["message"].replace("the machine has", "it has")
    blade = platform.get(HOSTS, name="az05-blade2")[0]["id"]
    error = platform.refused("POST", f"{HOSTS}/{blade}/maintenance")
    assert "one: it has a GPU of its blade and cannot move while it runs" in error["message"]
    (row,) = platform.get(f"{HOSTS}/{blade}/maintenance")["plan"]["blockers"]
    assert (row["virtualMachine"]["name"], row["host"], row["rule"]) == ("one", None, "pinned")
    rows = platform.get(f"{MACHINES}/{one}/migration_check")["blockers"]
    assert {(row["host"]["name"], row["rule"]) for row in rows} == {("az05-blade1", "gpu")}
    # a stop gives them back, to whoever starts next
    _power(platform, one, "off")
    assert _held(platform, 2) == {FIRST: None}
    _power(platform, late, "on")
    assert _held(platform, 2) == {FIRST: "late"}
    assert platform.settled() == []
    for machine in (both, late):
        platform.remove(machine)
    platform.done("DELETE", f"{MACHINES}/{one}")
    assert _held(platform, 1) == {FIRST: None, SECOND: None}


def test_more_than_a_blade_has_and_changes_while_it_runs_are_refused(platform: Platform) -> None:
    machine = _machine(platform, "greedy", 2)
    error = platform.refused("PUT", f"{MACHINES}/{machine}/gpus", {"count": 3})
    assert error["code"] == "compute.gpus_missing"
    assert "2 at most" in error["message"]
    _power(platform, machine, "on")
    platform.refused("PUT", f"{MACHINES}/{machine}/gpus", {"count": 1})
    assert platform.stranger().put(f"{MACHINES}/{machine}/gpus", json={"count": 0}).status_code == 404
    platform.remove(machine)
