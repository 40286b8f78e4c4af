"""`naos ha` over a whole controller on the simulated rack."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from simulated_platform import Platform
from typer.testing import CliRunner

from naos.cli.client import Connection
from naos.cli.main import app


class Commands:
    def __init__(self, platform: Platform) -> None:
        self.connection = Connection(
            credentials=platform.services.settings.credentials,
            transport=TestClient(platform.client.app)._transport,
        )

    def ok(self, *arguments: str) -> str:
        done = CliRunner().invoke(app, ["ha", *arguments], obj=self.connection)
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "--json"))


@pytest.fixture
def ha(available: Platform) -> Commands:
    return Commands(available)


def test_a_pool_is_set_and_shown(ha: Commands) -> None:
    assert "Tolerated losses" in ha.ok("set", "pool-AZ05", "--tolerate", "1", "--keep", "30", "--frozen-after", "60")
    shown = ha.json("show", "pool-AZ05")
    assert (shown["enabled"], shown["toleratedLosses"], shown["keptPercent"], shown["frozenAfter"]) == (True, 1, 30, 60)
    assert "GiB" in ha.ok("show", "pool-AZ05")
    ha.ok("set", "pool-AZ05", "--off", "--tolerate", "0", "--keep", "0")
    assert ha.json("show", "pool-AZ05")["enabled"] is False
    assert {row["name"][:4] for row in ha.json("blades")} == {"az06"}
    ha.ok("set", "pool-AZ05", "--on")
    assert {row["condition"] for row in ha.json("blades", "--pool", "pool-AZ05")} == {"healthy"}


def test_a_machine_is_set_and_shown(ha: Commands, available: Platform) -> None:
    machine = available.deploy("settled", powerOn=False)
    assert ha.json("machine", "settled")["priority"] == "medium"
    options = [
        "--priority",
        "high",
        "--order",
        "2",
        "--delay",
        "5",
        "--limit",
        "3",
        "--hung-after",
        "30",
        "--best-effort",
    ]
    assert "high" in ha.ok("machine", "settled", *options)
    shown = ha.json("machine", "settled")
    assert [shown[name] for name in ("startOrder", "startDelay", "restartLimit", "hungAfter", "bestEffort")] == [
        2,
        5,
        3,
        30,
        True,
    ]
    assert ha.json("recoveries", "--unfinished", "--pool", "pool-AZ05") == []
    available.remove(machine)
