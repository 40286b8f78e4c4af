"""Changing cpools over the API: what is enabled, rates, blades that join and leave."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, POWER, Platform, furnished_in

from naos.activity import Engine
from naos.compute import pressure
from naos.compute.sampling import Sampler
from naos.engines.ports import DomainSample
from naos.engines.simulated.hypervisor import SimulatedHypervisor
from naos.fleet.models import PoolMemory

MIB = 2**20
POOLS = f"{COMPUTE}/host_clusters"


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder: Path = tmp_path_factory.mktemp("pools")
    with furnished_in(folder, blades_per_zone=4) as platform:
        yield platform


@pytest.fixture
def pool(roomy: Platform) -> Iterator[str]:
    """The path of a cpool of two blades with 2 GiB; every machine and rate that a test gave it is taken off again."""
    path = f"{POOLS}/{roomy.made['pool-AZ05']}"
    yield path
    for machine in roomy.get(f"{COMPUTE}/virtual_machines"):
        roomy.remove(machine["id"])
    roomy.done("PATCH", path, {"vcpuRate": None, "memoryOvercommit": 1, "memory": roomy.get(path)["minimumMemory"]})
    assert roomy.settled() == []


def _blades(platform: Platform, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = platform.get(f"{COMPUTE}/hosts", hostClusterId=path.rsplit("/", 1)[1])
    return found


def test_memory_between_floor_and_ceiling(roomy: Platform, pool: str) -> None:
    shown = roomy.get(pool)
    assert (shown["minimumMemory"], shown["maximumMemory"]) == (2 * GIB, 8 * GIB)
    for memory in (2 * GIB - 1, 8 * GIB + 1):
        error = roomy.refused("PATCH", pool, {"memory": memory})
        assert error["code"] == "fleet.pool_memory"
        assert "2 GiB" in error["message"]
        assert "8 GiB" in error["message"]
    roomy.done("PATCH", pool, {"memory": 5 * GIB})
    assert roomy.get(pool)["metrics"]["totalMemory"] == 5 * GIB
    assert roomy.refused("PATCH", pool, {})["code"] == "compute.nothing_changes"


def test_shrinking_below_what_runs_names_what_is_in_the_way(roomy: Platform, pool: str) -> None:
    roomy.done("PATCH", pool, {"memory": 4 * GIB})
    for name in ("one", "two"):
        roomy.deploy(name, memory=1536 * MIB)
    error = roomy.refused("PATCH", pool, {"memory": 2 * GIB})
    assert (error["code"], error["status"]) == ("fleet.pool_shrink", 409)
    assert "one (1.5 GiB), two (1.5 GiB)" in error["message"]
    roomy.done("PATCH", pool, {"memory": 3 * GIB})
    (alarm,) = roomy.get(pool)["triggeredAlarms"]
    assert (alarm["id"], alarm["status"]) == ("memory", "red")
    assert "100 %" in alarm["message"]
    assert "1.5 GiB" in alarm["message"]
    roomy.done("PATCH", pool, {"memory": 4 * GIB})
    assert roomy.get(pool)["triggeredAlarms"] == []


def test_over_commit_lends_more_than_there_is(roomy: Platform, pool: str) -> None:
    for name in ("one", "two"):
        roomy.deploy(name, memory=GIB)
    assert "Cpool 'pool-AZ05' has 2 GiB" in roomy.failed(
        "POST", roomy.deploy_path, roomy.deployment("three", memory=GIB)
    )
    roomy.done("PATCH", pool, {"memoryOvercommit": 1.5})
    roomy.deploy("three", memory=GIB)
    error = roomy.refused("PATCH", pool, {"memoryOvercommit": 1})
    assert (error["code"], error["status"]) == ("fleet.pool_shrink", 409)
    assert "three (1 GiB)" in error["message"]
    assert roomy.get(pool)["memoryOvercommit"] == 1.5


def test_the_vcpu_rate_holds_at_starts_and_while_running(roomy: Platform, pool: str) -> None:
    """Two blades of two cores at one vCPU for each core: two machines of two vCPUs, and no third."""
    roomy.done("PATCH", pool, {"vcpuRate": 1})
    first = roomy.deploy("one", cpu=2)
    second = roomy.deploy("two", cpu=2)
    assert {roomy.machine(one)["host"]["name"] for one in (first, second)} == {"az05-blade1", "az05-blade2"}
    reason = roomy.failed("POST", roomy.deploy_path, roomy.deployment("three"))
    assert "2 of 2 vCPUs in use (the cpool's vCPU rate), the machine needs 1" in reason
    error = roomy.refused("PATCH", pool, {"vcpuRate": 0.5})
    assert error["code"] == "fleet.pool_shrink"
    assert "The number of vCPUs on blade az05-blade1" in error["message"]
    roomy.done("PATCH", pool, {"vcpuRate": 1.5})
    roomy.deploy("three")
    assert roomy.refused("PATCH", pool, {"vcpuRate": 65})["code"] == "api.fields_invalid"


def test_how_full_a_pool_is_and_when_it_will_warn_and_what_presses_its_guests(
    roomy: Platform, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = roomy.deploy("pressed")
    given = roomy.machine(machine)["memory"]
    counted = itertools.count(1)

    def samples(_hypervisor: SimulatedHypervisor) -> dict[str, DomainSample]:
        more = next(counted)
        return {
            machine: DomainSample(
                0, given + 2**20, agent=False, waited_ns=more * 10**18, swapped=2**50 * more, ballooned=4096
            )
        }

    monkeypatch.setattr(SimulatedHypervisor, "samples", samples)
    sampler = Sampler(roomy.services.world, cast(Engine, roomy.services.engine))
    sampler.look()
    sampler.look()
    found = roomy.get(f"{pool}/pressure")
    if found["virtualMachines"][0]["steal"] == 0:  # the controller's own first look came last
        sampler.look()
        found = roomy.get(f"{pool}/pressure")
    memory, (row,) = found["memory"], found["virtualMachines"]
    assert (memory["reserved"], memory["consumedByMachines"]) == (given, given)
    assert (memory["consumedOnHosts"], memory["worstCase"]) == (given + 2**20, given + 2**20)
    assert (memory["growth"], memory["daysUntilWarning"]) == (None, None)  # the present hour alone says nothing
    assert (row["virtualMachine"]["name"], row["ballooned"]) == ("pressed", 4096)
    assert row["steal"] > 0
    assert row["swapping"] > 0
    assert found["cpu"]["vcpus"] == 1
    monkeypatch.undo()
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with roomy.services.database.write() as session:
        session.execute(sa.delete(PoolMemory))  # what it would have noted yesterday, and what is too old
        for ago, used in ((timedelta(days=1), 0), (timedelta(days=8), 0)):
            session.add(PoolMemory(cpool_id=found["hostCluster"]["id"], at=hour - ago, used=used))
        pressure.note_memory(session, hour)
    memory = roomy.get(f"{pool}/pressure")["memory"]
    assert memory["growth"] == given
    left = memory["allocated"] * 85 // 100 - given
    assert memory["daysUntilWarning"] == round(left / given, 1)
    assert roomy.stranger().get(f"{pool}/pressure").status_code == 404
    roomy.remove(machine)


def test_blades_join_with_their_memory_and_the_vlans(roomy: Platform, pool: str) -> None:
    machine = roomy.deploy("stays")
    roomy.done("PATCH", pool, {"memory": 3 * GIB})
    roomy.done("POST", f"{pool}/hosts", {"hosts": 2})
    shown = roomy.get(pool)
    assert len(shown["hosts"]) == 4
    assert shown["metrics"]["totalMemory"] == 5 * GIB
    assert roomy.settled() == []  # the doctor compares the VLANs of every blade
    error = roomy.refused("POST", f"{pool}/hosts", {"hosts": 1})
    assert error["code"] == "fleet.blades_missing"
    assert roomy.refused("POST", f"{pool}/hosts", {"hosts": 31})["code"] == "fleet.blade_count"

    home = roomy.machine(machine)["host"]
    error = roomy.refused("DELETE", f"{pool}/hosts/{home['id']}")
    assert (error["code"], error["status"]) == ("compute.blade_in_use", 409)
    assert "stays" in error["message"]
    roomy.done("PATCH", POWER, {"id": machine, "powerAction": "off"})
    roomy.done("DELETE", f"{pool}/hosts/{home['id']}")
    assert roomy.machine(machine)["host"] is None
    assert roomy.get(pool)["metrics"]["totalMemory"] == 4 * GIB
    assert roomy.settled() == []
    leaving = _blades(roomy, pool)[-1]
    roomy.done("DELETE", f"{pool}/hosts/{leaving['id']}")
    assert roomy.get(pool)["metrics"]["totalMemory"] == 3 * GIB
    roomy.done("PATCH", POWER, {"id": machine, "powerAction": "on"})
    assert roomy.settled() == []


def test_a_joining_blade_that_does_not_answer_stays_free(roomy: Platform, pool: str) -> None:
    before = roomy.get(pool)
    free = {f"az05-blade{number}" for number in range(1, 5)} - {blade["name"] for blade in _blades(roomy, pool)}
    roomy.rack.faults.cut(max(free))
    try:
        assert max(free) in roomy.failed("POST", f"{pool}/hosts", {"hosts": 2})
    finally:
        roomy.rack.faults.join(max(free))
    assert roomy.get(pool) == before
    assert roomy.settled() == []


def test_the_last_blade_stays(roomy: Platform) -> None:
    body = {"name": "single", "datacenterId": "AZ06", "model": "LAB v1", "hosts": 1}
    path = f"{POOLS}/{roomy.done('POST', POOLS, body)}"
    (blade,) = _blades(roomy, path)
    assert roomy.refused("DELETE", f"{path}/hosts/{blade['id']}")["code"] == "fleet.blade_count"
    foreign = _blades(roomy, f"{POOLS}/{roomy.made['pool-AZ05']}")[0]
    assert roomy.refused("DELETE", f"{path}/hosts/{foreign['id']}")["status"] == 404
    roomy.done("DELETE", path)
