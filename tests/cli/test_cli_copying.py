"""`naos vm clone` and `naos vm move`: what is asked of the API, and what is shown."""

import json
from pathlib import Path

import pytest
from cli_platform import Cli, disk, identifier, machine


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.platform.lists["virtual_machines"] = [machine(10, "web-1")]
    made.platform.lists["virtual_disks"] = [disk(20, identifier(10))]
    return made


def test_a_clone_names_what_it_has_otherwise_and_is_shown(cli: Cli) -> None:
    said = cli.ok("vm", "clone", "web-1", "twin")
    assert identifier(91) in said
    shown = json.loads(
        cli.ok("vm", "clone", "web-1", "third", "--pool", "web", "--volume", "fast", "--start", "--json")
    )
    assert shown["name"] == "third"
    assert [body for _, _, body in cli.bodies()] == [
        {"name": "twin"},
        {
            "name": "third",
            "hostClusterId": cli.platform.lists["host_clusters"][0]["id"],
            "datastoreId": cli.platform.lists["datastores"][0]["id"],
            "powerOn": True,
        },
    ]


def test_a_move_says_where(cli: Cli) -> None:
    cli.ok("vm", "move", "web-1", "--volume", "fast")
    cli.ok("vm", "move", "web-1", "--disk", "Hard disk 1=fast")
    volume = cli.platform.lists["datastores"][0]["id"]
    place = {"virtualDiskId": identifier(20), "virtualMachineId": identifier(10), "datastoreId": volume}
    assert cli.bodies() == [
        ("POST", "/virtual_machines/relocate", {"virtualMachines": [identifier(10)], "datastoreId": volume}),
        ("POST", "/virtual_machines/relocate", {"virtualMachines": [identifier(10)], "diskPlacements": [place]}),
    ]
    assert "say where" in cli.refused("vm", "move", "web-1", code=2)
    assert "DISK=VOLUME" in cli.refused("vm", "move", "web-1", "--disk", "Disk", code=2)
