"""Replicas of machines and recovery plans over the whole controller: tests, failovers, the way back."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from naos_commands import Commands
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos.engines.errors import EngineError, Unreachable
from naos.engines.ports import BladePower
from naos.network.models import Vlan
from naos.protection.recovery import remnants
from naos.protection.recovery.keeper import Keeper
from naos.protection.recovery.models import RecoveryRun, Remnant, Replica
from naos.protection.replication import rules as cycles
from naos.storage.models import Disk

ROOT = "/recovery/v1"
VOLUMES = "/replication/v1/volumes"
ADAPTERS = f"{COMPUTE}/network_adapters"


@pytest.fixture
def platform(simulated: Platform) -> Iterator[Platform]:
    """Empty again afterwards."""
    yield simulated
    for name in ("az05-array", "az05-blade1", "az05-blade2"):
        simulated.rack.faults.join(name)
    for plan in simulated.get(f"{ROOT}/plans"):
        simulated.done("DELETE", f"{ROOT}/plans/{plan['id']}")
    for machine in simulated.get(f"{COMPUTE}/virtual_machines"):
        for replica in simulated.get(f"{ROOT}/replicas", virtualMachineId=machine["id"]):
            simulated.done("DELETE", f"{ROOT}/replicas/{replica['id']}")
        remnants.remove(simulated.services.world, machine["id"])
        simulated.remove(machine["id"])
    assert simulated.settled() == []


def _replicate(platform: Platform, machine: str, **changes: Any) -> str:
    """The id of a replica that has its first point."""
    body = {
        "virtualMachineId": machine,
        "hostClusterId": platform.made["pool-AZ06"],
        "datastoreId": platform.made["volume-AZ06"],
        **changes,
    }
    replica = platform.done("POST", f"{ROOT}/replicas", body)
    platform.done("POST", f"{ROOT}/replicas/{replica}/run")
    return replica


def _plan(platform: Platform, machines: list[str], **changes: Any) -> str:
    body = {
        "name": "shop",
        "hostClusterId": platform.made["pool-AZ06"],
        "machines": [{"virtualMachineId": machine, "order": number} for number, machine in enumerate(machines)],
        "shutdown": 0,
        **changes,
    }
    return platform.done("POST", f"{ROOT}/plans", body)


def _run(platform: Platform, subject: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
    """Its report."""
    run = platform.done("POST", f"{ROOT}/{subject}/{what}", body)
    found: dict[str, Any] = platform.get(f"{ROOT}/runs/{run}")
    return found


def _rows(platform: Platform, table: Any, **values: Any) -> list[Any]:
    with platform.services.database.read() as session:
        return list(session.scalars(sa.select(table).filter_by(**values)))


def test_a_machine_is_replicated_tested_moved_and_brought_back(platform: Platform) -> None:
    machine = platform.deploy("web")
    replica = _replicate(platform, machine, keep=2)
    for _ in range(3):
        platform.done("POST", f"{ROOT}/replicas/{replica}/run")
    shown = platform.get(f"{ROOT}/replicas/{replica}")
    assert (len(shown["points"]), shown["state"], shown["failure"], shown["warning"]) == (2, "active", "", "")
    assert shown["age"] is not None
    assert not shown["late"]

    tested = _run(platform, f"replicas/{replica}", "test", {})
    assert (tested["state"], tested["genuine"]) == ("succeeded", True)
    assert tested["report"]["keptPromise"]
    assert len(platform.get(f"{COMPUTE}/virtual_machines")) == 1
    assert [vlan.name for vlan in _rows(platform, Vlan)] == ["front"]
    platform.done("POST", f"{ROOT}/replicas/{replica}/run")

    macs = [adapter["macAddress"] for adapter in platform.get(ADAPTERS, virtualMachineId=machine)]
    moved = _run(platform, f"replicas/{replica}", "failover", {"kind": "planned"})
    assert moved["state"] == "succeeded", moved["steps"]
    assert moved["report"]["points"][0]["lostSeconds"] == 0
    assert [adapter["macAddress"] for adapter in platform.get(ADAPTERS, virtualMachineId=machine)] == macs
    row = platform.machine(machine)
    assert (row["hostCluster"]["id"], row["powerState"]) == (platform.made["pool-AZ06"], "running")
    assert {disk.lun_id for disk in _rows(platform, Disk, machine_id=machine)} == {platform.made["volume-AZ06"]}
    assert [left.fenced for left in _rows(platform, Remnant, machine_id=machine)] == [True]
    again = platform.refused("POST", f"{ROOT}/replicas/{replica}/failover", {"kind": "planned"})
    assert again["code"] == "recovery.wrong_state"

    platform.done("POST", f"{ROOT}/replicas/{replica}/reverse")
    platform.done("POST", f"{ROOT}/replicas/{replica}/run")
    assert _rows(platform, Remnant, machine_id=machine) == []
    back = _run(platform, f"replicas/{replica}", "failover", {"kind": "failback"})
    assert back["state"] == "succeeded", back["steps"]
    assert platform.machine(machine)["hostCluster"]["id"] == platform.made["pool-AZ05"]


def test_a_plan_says_with_numbers_what_it_lacks(platform: Platform) -> None:
    machine = platform.deploy("web")
    plan = _plan(platform, [machine])
    problems = platform.get(f"{ROOT}/plans/{plan}")["problems"]
    assert "is not replicated" in problems[0]
    refused = platform.refused("POST", f"{ROOT}/plans/{plan}/failover", {"kind": "planned"})
    assert refused["code"] == "recovery.plan_unsound"
    _replicate(platform, machine)
    found = platform.get(f"{ROOT}/plans/{plan}/explain", kind="unplanned")
    assert found["problems"] == []
    assert found["age"] is not None
    assert [step.partition(" ")[0] for step in found["steps"]] == ["cut", "make", "start", "sign"]
    shown = platform.get(f"{ROOT}/plans/{plan}")
    assert (shown["neededMemory"], shown["problems"]) == (128 * 2**20, [])
    pool = f"{COMPUTE}/host_clusters/{platform.made['pool-AZ06']}"
    platform.done("PATCH", pool, {"memory": 8 * GIB})
    for name, memory in (("first", 4 * GIB), ("second", 4 * GIB - 64 * 2**20)):
        filler = platform.deploy(name, zone="AZ06", memory=memory, powerOn=False)
        if name == "first":
            platform.done("PATCH", POWER, {"id": filler, "powerAction": "on"})
    kept = platform.refused("PATCH", POWER, {"id": filler, "powerAction": "on"})
    assert (kept["code"], kept["details"]["reserved"]) == ("recovery.reserved", "128 MiB")
    platform.done("PATCH", f"{ROOT}/plans/{plan}", {"reserve": False})
    platform.done("PATCH", POWER, {"id": filler, "powerAction": "on"})
    (full,) = platform.get(f"{ROOT}/plans/{plan}")["problems"]
    assert "need 128 MiB" in full
    assert "64 MiB left" in full


def test_a_silent_zone_is_failed_over_only_when_nothing_there_can_write(platform: Platform) -> None:
    machine = platform.deploy("web")
    _replicate(platform, machine)
    plan = _plan(platform, [machine], reserve=False)
    home = platform.machine(machine)["host"]["name"]
    platform.rack.faults.cut("az05-array")
    platform.rack.faults.cut(home)
    _fail_chassis(platform, home)
    refused = platform.failed("POST", f"{ROOT}/plans/{plan}/failover", {"kind": "unplanned"})
    assert "Two running copies" in refused
    assert platform.machine(machine)["hostCluster"]["id"] == platform.made["pool-AZ05"]
    _fail_chassis(platform, home)
    moved = _run(platform, f"plans/{plan}", "failover", {"kind": "unplanned", "sourceIsDown": True})
    assert moved["state"] == "succeeded", moved["steps"]
    assert moved["report"]["notYetFenced"] == [machine]
    assert moved["report"]["points"][0]["lostSeconds"] >= 0
    assert platform.machine(machine)["powerState"] == "running"
    refused_back = platform.refused("POST", f"{ROOT}/plans/{plan}/reverse")
    assert refused_back["code"] == "recovery.still_unfenced"
    platform.rack.faults.join("az05-array")
    platform.rack.faults.join(home)
    for remnant in remnants.owed(platform.services.world):
        assert remnants.settle(platform.services.world, remnant)
    disk = _rows(platform, Disk, machine_id=machine)[0]
    array = platform.rack.array("az05-array")
    assert disk.id not in array.contents(platform.made["volume-AZ05"]).exports
    platform.done("POST", f"{ROOT}/plans/{plan}/reverse")


@pytest.mark.soak
def test_a_blade_that_is_off_counts_and_the_array_cuts_when_it_is_back(platform: Platform) -> None:
    machine = platform.deploy("web")
    replica = _replicate(platform, machine)
    home = platform.machine(machine)["host"]["name"]
    platform.rack.faults.cut("az05-array")
    platform.rack.faults.cut(home)
    moved = _run(platform, f"replicas/{replica}", "failover", {"kind": "unplanned"})
    assert moved["state"] == "succeeded", moved["steps"]
    assert "its blade is switched off" in [step["remark"] for step in moved["steps"]]
    assert platform.rack.chassis(home).power() == BladePower.OFF
    assert moved["report"]["notYetFenced"] == [machine]
    platform.rack.faults.join("az05-array")
    _until(lambda: all(left.fenced for left in _rows(platform, Remnant, machine_id=machine)))
    platform.rack.chassis(home).on()
    platform.rack.faults.join(home)
    _until(lambda: all(left.blade is None for left in _rows(platform, Remnant, machine_id=machine)))
    platform.done("POST", f"{ROOT}/replicas/{replica}/discard")


def test_replicated_volumes_fail_over_as_a_whole_and_come_back(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycles, "INTERVAL", timedelta(seconds=0.2))
    monkeypatch.setattr(cycles, "REST", timedelta(seconds=0.1))
    source = platform.made["volume-AZ05"]
    machines = [platform.deploy("database"), platform.deploy("web")]
    replication = platform.done("POST", VOLUMES, {"volumeId": source, "zoneId": "AZ06"})
    replica = platform.get(f"{VOLUMES}/{replication}")["replica"]["id"]
    _await_point(platform, replication)
    plan = _plan(platform, machines[:1])
    (problem,) = platform.get(f"{ROOT}/plans/{plan}")["problems"]
    assert "fails over as a whole, and web has disks on it" in problem
    members = [{"virtualMachineId": machine, "order": 1 - number} for number, machine in enumerate(machines)]
    platform.done("PATCH", f"{ROOT}/plans/{plan}", {"machines": members})
    tested = _run(platform, f"plans/{plan}", "test", {})
    assert tested["state"] == "succeeded", tested["steps"]
    names = [step["name"] for step in tested["steps"] if step["name"].startswith("start")]
    assert names == ["start web", "start database"]
    assert _await_point(platform, replication) is not None  # it goes on

    moved = _run(platform, f"plans/{plan}", "failover", {"kind": "planned"})
    assert moved["state"] == "succeeded", moved["steps"]
    for machine in machines:
        assert platform.machine(machine)["powerState"] == "running"
        assert {disk.lun_id for disk in _rows(platform, Disk, machine_id=machine)} == {replica}
    assert platform.get(f"{ROOT}/plans/{plan}")["state"] == "failed_over"
    platform.done("POST", f"{ROOT}/plans/{plan}/reverse")
    turned = platform.get(f"{VOLUMES}/{replication}")
    assert (turned["source"]["id"], turned["replica"]["id"]) == (replica, source)
    _await_point(platform, replication)
    back = _run(platform, f"plans/{plan}", "failover", {"kind": "failback"})
    assert back["state"] == "succeeded", back["steps"]
    assert {disk.lun_id for disk in _rows(platform, Disk, machine_id=machines[0])} == {source}
    platform.done("POST", f"{ROOT}/plans/{plan}/discard")
    platform.done("POST", f"{ROOT}/plans/{plan}/reverse")
    platform.done("DELETE", f"{VOLUMES}/{replication}")


def test_the_command_line_goes_the_same_way(platform: Platform) -> None:
    run = Commands(platform, "recovery").run
    platform.deploy("web")
    there = ("--pool", "pool-AZ06")
    assert "NAOS_SHORTEST_REPLICATION" in run(
        *("replica", "create", "web", "--volume", "volume-AZ06", "--every", "5"), *there, code=1
    )
    run("replica", "create", "web", "--volume", "volume-AZ06", *there)
    run("replica", "set", "web", "--every", "120", "--keep", "2")
    assert "2 h 0 min" in run("replica", "run", "web")
    assert "active" in run("replica", "list")
    assert "web" in run("create", "shop", *there, "--machine", "web", "--shutdown", "0")
    run(
        "machine",
        "shop",
        "web",
        "--order",
        "3",
        "--delay",
        "1",
        "--check",
        "line",
        "--line",
        "ready",
        "--patience",
        "1",
    )
    assert "shop" in run("set", "shop", "--promise", "3600", "--no-reserve")
    told = " ".join(run("explain", "shop", "--kind", "test").split())
    assert "start web in pool-AZ06 after 1 s" in told
    assert "wait for 'ready' on the console of web, for 1 s at most" in told
    silent = run("test", "shop", code=1)
    assert "did not appear on its console within 1 s" in " ".join(silent.split())
    run("machine", "shop", "web", "--check", "none", "--delay", "0")
    moved = run("failover", "shop", "--yes")
    assert "kept: in" in " ".join(moved.split())
    assert "failed_over" in run("list")
    run("reverse", "shop")
    run("replica", "run", "web")
    run("failback", "shop", "--yes")
    run("discard", "shop", "--yes")
    done = json.loads(run("runs", "--plan", "shop", "--json"))
    assert [entry["kind"] for entry in done] == ["failback", "planned", "test"]
    assert "failback" in run("report", done[0]["id"])
    run("delete", "shop", "--yes")
    run("replica", "stop", "web", "--yes")


def test_a_failover_that_cannot_copy_the_last_writes_leaves_all_as_it_was(platform: Platform) -> None:
    machine = platform.deploy("web")
    replica = _replicate(platform, machine)
    plan = _plan(platform, [machine])
    lost = Unreachable("az05-array", "begin_point", "its answer was lost")
    platform.rack.faults.fail_next("array.begin_point", lost)
    reason = platform.failed("POST", f"{ROOT}/plans/{plan}/failover", {"kind": "planned"})
    assert "its answer was lost" in reason
    assert platform.machine(machine)["powerState"] == "running"
    assert platform.machine(machine)["hostCluster"]["id"] == platform.made["pool-AZ05"]
    (run,) = platform.get(f"{ROOT}/runs", subjectId=plan)
    assert (run["state"], run["genuine"]) == ("failed", True)
    assert "taken back" in run["report"]["reason"]
    assert platform.get(f"{ROOT}/plans/{plan}")["state"] == "ready"
    platform.done("POST", f"{ROOT}/replicas/{replica}/run")


def test_a_copy_that_fails_says_why_and_is_soon_tried_again(platform: Platform) -> None:
    machine = platform.deploy("web")
    replica = _replicate(platform, machine)
    before = platform.get(f"{ROOT}/replicas/{replica}")
    platform.rack.faults.fail_next("points.seal", EngineError("az06-array", "seal", "the volume is full"))
    platform.failed("POST", f"{ROOT}/replicas/{replica}/run")
    shown = platform.get(f"{ROOT}/replicas/{replica}")
    assert "the volume is full" in shown["failure"]
    assert shown["points"] == before["points"]
    assert shown["nextAt"] < before["nextAt"]
    platform.done("POST", f"{ROOT}/replicas/{replica}/run")
    assert platform.get(f"{ROOT}/replicas/{replica}")["failure"] == ""


def test_a_copy_does_not_wait_for_a_clock_that_was_ahead(platform: Platform) -> None:
    replica = _replicate(platform, platform.deploy("web"))
    with platform.services.database.write() as session:
        row = session.get_one(Replica, replica)
        known, row.due_at = row.point_id, datetime.now(UTC) + timedelta(days=30)
    Keeper(platform.services.world, platform.services.engine).tidy()  # type: ignore[arg-type]
    _until(lambda: platform.get(f"{ROOT}/replicas/{replica}")["points"][-1]["id"] != known)


def test_a_machine_that_does_not_start_stops_no_other(platform: Platform) -> None:
    names = ("first", "second")
    chosen = [platform.deploy(name) for name in names]
    for machine in chosen:
        _replicate(platform, machine)
    plan = _plan(platform, chosen)
    platform.rack.faults.fail_next("hypervisor.start", EngineError("az06", "start", "the firmware is gone"))
    moved = _run(platform, f"plans/{plan}", "failover", {"kind": "planned"})
    assert moved["state"] == "failed"
    (failed,) = [step for step in moved["steps"] if step["outcome"] == "failed"]
    assert failed["name"] == "start first"
    assert "the firmware is gone" in failed["remark"]
    assert [platform.machine(machine)["powerState"] for machine in chosen] == ["stopped", "running"]
    platform.done("PATCH", POWER, {"id": chosen[0], "powerAction": "on"})


def test_a_volume_with_copies_stays(platform: Platform) -> None:
    volume = {"name": "spare", "datacenterId": "AZ06", "storageClass": "standard", "capacity": 500 * GIB}
    spare = platform.done("POST", f"{COMPUTE}/datastores", volume)
    replica = _replicate(platform, platform.deploy("web"), datastoreId=spare)
    kept = platform.refused("DELETE", f"{COMPUTE}/datastores/{spare}")
    assert kept["code"] == "recovery.volume_keeps_copies"
    platform.done("DELETE", f"{ROOT}/replicas/{replica}")
    platform.done("DELETE", f"{COMPUTE}/datastores/{spare}")


def test_a_changed_report_is_told_from_a_signed_one(platform: Platform) -> None:
    machine = platform.deploy("web")
    replica = _replicate(platform, machine)
    run = _run(platform, f"replicas/{replica}", "test", {})
    assert run["genuine"]
    with platform.services.database.write() as session:
        row = session.get_one(RecoveryRun, run["id"])
        row.report = {**row.report, "keptPromise": False}
    assert not platform.get(f"{ROOT}/runs/{run['id']}")["genuine"]


def _await_point(platform: Platform, replication: str) -> Any:
    """A point that was not there before."""
    known = platform.get(f"{VOLUMES}/{replication}")["recoveryPoint"]["pointId"]

    def newer() -> str | None:
        found = platform.get(f"{VOLUMES}/{replication}")["recoveryPoint"]["pointId"]
        return None if found in (None, known) else str(found)

    return _until(newer)


def _until(look: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def _fail_chassis(platform: Platform, blade: str) -> None:
    platform.rack.faults.fail_next("chassis.power", Unreachable(blade, "power", "cut"), engine=blade)
