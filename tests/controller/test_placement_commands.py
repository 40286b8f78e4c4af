"""`naos pool`, `naos affinity` and `naos placement` before the real API, on a simulated rack."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from naos_commands import Commands
from simulated_platform import GIB, furnished_in

POOL = "pool-AZ05"


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """A pool of two blades with two free ones beside it, and two stopped machines."""
    folder: Path = tmp_path_factory.mktemp("platform")
    with furnished_in(folder, blades_per_zone=4) as platform:
        for name in ("one", "two"):
            platform.deploy(name, powerOn=False)
        yield Commands(platform)
        assert platform.settled() == []


def test_a_pool_is_changed_and_grows_and_shrinks(cli: Commands) -> None:
    changed = cli.json(
        "pool",
        "set",
        POOL,
        "--memory",
        "4GiB",
        "--vcpu-rate",
        "1.5",
        "--memory-overcommit",
        "1.25",
        "--threshold",
        "30",
    )
    assert changed["metrics"]["totalMemory"] == 4 * GIB
    assert (changed["vcpuRate"], changed["memoryOvercommit"], changed["balanceThreshold"]) == (1.5, 1.25, 30)
    assert "1.5" in cli.run("pool", "show", POOL)
    shown = cli.run("pool", "set", POOL, "--vcpu-rate", "any", "--automation", "partial")
    assert "any" in shown
    assert "partial" in shown
    assert "is not a rate" in cli.run("pool", "set", POOL, "--vcpu-rate", "many", code=2)
    assert "no growth seen" in cli.run("pool", "pressure", POOL)
    assert cli.json("pool", "pressure", POOL)["memory"]["allocated"] == 4 * GIB
    assert len(cli.json("pool", "add-blade", POOL, "--count", "2")["hosts"]) == 4
    assert "has left" in cli.run("pool", "remove-blade", POOL, "az05-blade4", "--yes")
    assert "1 to 32 blades" in cli.run("pool", "add-blade", POOL, "--count", "30", code=1)


def test_rules_of_affinity(cli: Commands) -> None:
    pair = ("--machine", "one", "--machine", "two")
    made = cli.json("affinity", "create", "pair", "--pool", POOL, *pair)
    assert (made["type"], made["must"], made["enabled"]) == ("anti-affinity", True, True)
    assert "'pair' holds one, two too" in cli.run(
        "affinity", "create", "both", "--together", "--pool", POOL, *pair, code=1
    )
    assert [rule["name"] for rule in cli.json("affinity", "list", "--machine", "one", "--pool", POOL)] == ["pair"]
    assert cli.json("affinity", "set", "pair", "--should", "--disable")["enabled"] is False
    line = cli.run("affinity", "show", "pair")
    assert "should" in line
    assert "one, two" in line
    cli.run("affinity", "delete", "pair", "--yes")
    assert "no affinity rule" in cli.run("affinity", "list")


def test_placement_is_explained_planned_and_balanced(cli: Commands) -> None:
    assert "yes" in cli.run("placement", "explain", "one")
    assert len(cli.json("placement", "explain", "one")["blades"]) >= 2
    assert "one is stopped. It can start on az05-blade" in cli.run("vm", "check-migration", "one")
    assert cli.json("vm", "check-migration", "one", "--to", "az05-blade2")["blockers"] == []
    assert "There is room on" in cli.run("placement", "plan", POOL, "--memory", "512MiB")
    assert cli.json("placement", "plan", POOL, "--vm", "one")["possible"] is True
    assert "say which machine" in cli.run("placement", "plan", POOL, code=2)
    assert "Started one." in cli.run("placement", "start", "one")
    assert "one can move to az05-blade" in cli.run("vm", "check-migration", "one")
    home = cli.json("vm", "show", "one")["host"]["name"]
    assert "No machine" not in cli.run("blade", "maintenance", "enter", home, "--dry-run")
    assert "nothing needs to move" in cli.run("placement", "balance", POOL)
    assert "needs no move" in cli.run("placement", "balance", POOL, "--apply", "--yes", code=1)
    cli.run("vm", "stop", "one", "--force")
