"""What volumes do now, as people and programs see it."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli_platform import Cli, identifier

RATES: dict[str, Any] = {
    "at": "2026-11-26T12:00:00+00:00",
    "readOperations": 700.25,
    "writeOperations": 50.0,
    "readBandwidth": 2_868_224.0,
    "writeBandwidth": 204_800.0,
    "latency": 12.5,
    "latencyP50": 11.0,
    "latencyP95": 18.2,
    "latencyP99": 40.0,
    "queueDepth": 9.4,
    "device": {"operations": 812.0, "bandwidth": 4e6, "latency": 0.4, "queueDepth": 0.3},
}
VOLUME: dict[str, Any] = {
    "id": identifier(3),
    "name": "fast",
    "datastore": None,
    "iops": 750,
    "bandwidth": None,
    "rates": RATES,
}
DISK = VOLUME | {
    "id": identifier(20),
    "name": "Disk",
    "datastore": {"id": identifier(3), "name": "fast"},
    "rates": RATES | {"device": None},
}
SILENT = VOLUME | {"id": identifier(9), "name": "dark", "iops": None, "rates": None}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_the_last_look_is_a_table(cli: Cli) -> None:
    cli.platform.lists["datastore_figures"] = [VOLUME, DISK, SILENT]
    title, volume, disk, silent = cli.ok("volume", "top", "--once").splitlines()
    assert title.split()[:3] == ["NAME", "IOPS", "OF"]
    assert volume.split()[:5] == ["fast", "750", "750", "700", "50"]
    assert "2.9 MB/s" in volume
    assert "40 ms" in volume
    assert "812" in volume
    assert "812" not in disk
    assert silent.split()[:2] == ["dark", "-"]


def test_off_a_terminal_it_is_shown_once_and_json_is_the_api_s(cli: Cli) -> None:
    cli.platform.lists["datastore_figures"] = [VOLUME, DISK]
    assert json.loads(cli.ok("volume", "top", "fast", "--json")) == [VOLUME, DISK]
    assert cli.platform.requests[-1].url.params["datastoreId"] == identifier(3)
    cli.ok("volume", "top")
