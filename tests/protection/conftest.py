"""A platform with a vault in a third zone, and another in a zone that has blades."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from simulated_platform import COMPUTE, Platform, furnished_in, inventory_text

VAULT = (
    '{{ name = "az{zone:02}-vault", zone = "AZ{zone:02}", access = {{ driver = "namespace", target = "/none" }}, '
    'path = "/vault" }}'
)


def with_vaults(text: str) -> str:
    """The inventory with a zone AZ07, and vaults in it and in AZ06."""
    vaults = ", ".join(VAULT.format(zone=zone) for zone in (6, 7))
    text = text.replace('{ name = "AZ06" } ]', '{ name = "AZ06" }, { name = "AZ07" } ]')
    return f"vaults = [ {vaults} ]\n{text}"


@pytest.fixture(scope="module")
def vaulted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A furnished platform, and three stopped machines in AZ05, none of which has a policy."""
    folder: Path = tmp_path_factory.mktemp("platform")
    (folder / "inventory.toml").write_text(with_vaults(inventory_text()), encoding="utf-8")
    with furnished_in(folder) as platform:
        for name in ("one", "two", "three"):
            platform.made[name] = platform.deploy(name, powerOn=False)
        disks = platform.get(f"{COMPUTE}/virtual_disks", virtualMachineId=platform.made["one"])
        platform.made["disk"] = disks[0]["id"]
        yield platform


@pytest.fixture(scope="module")
def other(vaulted: Platform) -> TestClient:
    """The owner of another tenant of the platform."""
    return vaulted.stranger()


@pytest.fixture(scope="module")
def backed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of its own: two machines of AZ05 under the policy `nightly`, which stores in AZ07."""
    folder: Path = tmp_path_factory.mktemp("platform")
    (folder / "inventory.toml").write_text(with_vaults(inventory_text()), encoding="utf-8")
    with furnished_in(folder) as platform:
        for name in ("web", "data"):
            platform.made[name] = platform.deploy(name)
        body = {"name": "nightly", "site": "AZ07", "terms": {"cron": "30 2 * * *", "keep": {"days": 3}}}
        platform.made["nightly"] = platform.done("POST", "/backup/v1/spp/policies", body)
        both = [platform.made["web"], platform.made["data"]]
        platform.done(
            "POST",
            "/backup/v1/spp/policies/assign/virtual_machine",
            {"virtualMachineIds": both, "slaPolicies": [platform.made["nightly"]]},
        )
        yield platform
