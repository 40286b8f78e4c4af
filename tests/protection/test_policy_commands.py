"""`naos policy` and `naos cluster` before the real API, on a simulated rack."""

import pytest
from naos_commands import Commands
from simulated_platform import Platform


@pytest.fixture(scope="module")
def cli(vaulted: Platform) -> Commands:
    return Commands(vaulted)


def _names(cli: Commands, *words: str) -> list[str]:
    return [policy["name"] for policy in cli.json("policy", "list", *words)]


def test_a_policy_from_making_to_deleting(cli: Commands) -> None:
    assert [site["name"] for site in cli.json("policy", "sites")] == ["AZ06", "AZ07"]
    made = cli.json(
        "policy",
        "create",
        "slow",
        "--site",
        "AZ07",
        "--keep",
        "90",
        "--every",
        "week",
        "--number",
        "2",
        "--start",
        "2026-12-01",
    )
    assert made["subPolicies"][0]["trigger"] == {"frequency": 2, "type": "WEEKLY", "activateDate": 1796083200000}
    cli.run("policy", "create", "nightly", "--site", "AZ07", "--keep", "15")
    table = cli.run("policy", "list")
    assert "every 2 weeks, kept 90 days" in table
    assert "every day, kept 15 days" in table
    cli.run("policy", "assign", "one", "nightly", "slow")
    assert _names(cli, "--vm", "one") == ["nightly", "slow"] == _names(cli, "--vm", "one", "--disk", "Hard disk 1")
    cli.run("policy", "assign", "one", "nobackup", "--disk", "Hard disk 1")
    assert _names(cli, "--vm", "one", "--disk", "Hard disk 1") == ["nobackup"]
    cli.run("policy", "assign", "one", "--inherit", "--disk", "Hard disk 1")
    assert _names(cli, "--vm", "one", "--disk", "Hard disk 1") == ["nightly", "slow"]
    assert "needs --disk" in cli.run("policy", "assign", "one", "--inherit", code=2)
    assert "still assigned to 1" in cli.run("policy", "delete", "slow", "--yes", code=1)
    assert "name the policies" in cli.run("policy", "assign", "one", code=2)
    assert "needs --vm" in cli.run("policy", "list", "--disk", "Hard disk 1", code=2)
    cli.run("policy", "assign", "one", "--none")
    assert _names(cli, "--vm", "one") == []
    assert "naos policy release slow" in cli.run("policy", "assign", "one", "slow", code=1)
    assert cli.json("policy", "release", "slow")["held"] is False
    assert cli.json("policy", "hold", "slow")["held"] is True
    for name in ("slow", "nightly"):
        cli.run("policy", "delete", name, "--yes")
    assert _names(cli) == ["nobackup"]


def test_the_inventory_says_what_it_saw(cli: Commands) -> None:
    told = cli.json("policy", "inventory")
    assert (told["jobName"], told["status"], told["statistics"]["total"]) == ("Hypervisor Inventory", "COMPLETED", 3)


def test_a_datastore_cluster_from_making_to_deleting(cli: Commands) -> None:
    cli.run("volume", "create", "extra", "--zone", "AZ05", "--class", "standard", "--size", "500GiB")
    made = cli.json("cluster", "create", "fast", "--volume", "volume-AZ05")
    assert len(made["datastores"]) == 1
    changed = cli.json("cluster", "change", "fast", "--rename", "faster", "--add", "extra")
    assert (changed["name"], len(changed["datastores"])) == ("faster", 2)
    assert [cluster["name"] for cluster in cli.json("cluster", "list", "--zone", "AZ05")] == ["faster"]
    assert "faster" in cli.run("volume", "show", "extra")
    assert "no volume" in cli.run("cluster", "change", "faster", "--add", "other", code=1).lower()
    cli.run("cluster", "delete", "faster", "--yes")
    assert cli.json("cluster", "list") == []
    cli.run("volume", "delete", "extra", "--yes")
