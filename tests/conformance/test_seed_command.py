"""`naos seed provider-suite` over the API: once, twice, dry, and with a token that may too little."""

import json
import re
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from provider_client import Client
from provider_contract import BACKUP, COMPUTE
from provider_resources import ADAPTERS, CONTROLLERS, DISKS, MACHINES
from served_platform import Served
from simulated_platform import Platform
from test_provider_suites import swept
from typer.testing import CliRunner, Result

from naos.cli.main import app
from naos.tenancy.rules import to_milliseconds
from naos.tenancy.tokens import utc_now


def seed(provider: Served, credentials: Path, *words: str) -> Result:
    options = ["--url", provider.address, "--credentials", str(credentials), "seed", "provider-suite"]
    return CliRunner().invoke(app, [*options, *words])


def rows(platform: Platform) -> list[int]:
    paths = (
        MACHINES,
        DISKS,
        f"{COMPUTE}/networks",
        f"{COMPUTE}/host_clusters",
        f"{BACKUP}/policies",
        "/iam/v2/tenants",
    )
    return [len(platform.get(path)) for path in paths]


@pytest.fixture(scope="module")
def credentials(provider: Served) -> Path:
    return provider.platform.services.settings.credentials


def test_a_dry_run_makes_nothing(provider: Served, credentials: Path) -> None:
    before = rows(provider.platform)
    done = seed(provider, credentials, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "Would make machine provider-suite." in done.stderr
    assert rows(provider.platform) == before
    assert done.stdout == ""


def test_a_token_that_may_too_little_is_refused_before_anything_is_made(provider: Served, tmp_path: Path) -> None:
    platform = provider.platform
    roles = [role["id"] for role in platform.get("/iam/v2/roles") if role["name"] in {"iam_read", "activity_read"}]
    body = {"name": "few", "roles": roles, "expirationDate": to_milliseconds(utc_now() + timedelta(days=1))}
    token = platform.client.post("/iam/v2/personal_access_tokens", json=body).json()
    file = tmp_path / "few"
    file.write_text(f"{token['id']}:{token['secret']}\n", encoding="ascii")
    before = rows(platform)
    done = seed(provider, file)
    assert done.exit_code == 1
    assert "compute_iaas_vmware_management" in done.stderr
    assert rows(platform) == before


def test_the_objects_are_made_once_and_the_variables_name_them(
    provider: Served, credentials: Path, tmp_path: Path
) -> None:
    output = tmp_path / "suite.env"
    first = seed(provider, credentials, "--output", str(output))
    assert first.exit_code == 0, first.output
    after = rows(provider.platform)
    given = variables(output)
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert given["SHIVA_TEST_SECRET_ID"] not in first.output

    again = seed(provider, credentials, "--output", str(output))
    assert again.exit_code == 0, again.output
    assert [line for line in again.stderr.splitlines() if line.startswith("Made")] == [
        "Made token provider-suite (for 30 days)."
    ]
    assert rows(provider.platform) == after
    second = variables(output)
    tokens = {name for name in given if name.endswith(("CLIENT_ID", "SECRET_ID"))}
    assert {name: value for name, value in given.items() if name not in tokens} == {
        name: value for name, value in second.items() if name not in tokens
    }
    suits(provider, second)


def variables(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^export (\w+)='(.*)'$", file.read_text(encoding="utf-8"), re.MULTILINE))


def suits(provider: Served, given: dict[str, str]) -> None:
    """What section 8.3 says of the variables, as far as the seed gives them."""
    client = Client(provider.address, given["SHIVA_TEST_CLIENT_ID"], given["SHIVA_TEST_SECRET_ID"])
    assert client.tenant == given["TENANT_ID"]
    assert len(client.list("/iam/v2/tenants")) == 2
    kinds = ("HOST_CLUSTER", "HOST", "DATASTORE_CLUSTER", "DATASTORE", "FOLDER", "RESOURCE_POOL", "NETWORK")
    for kind in (*kinds, "VIRTUAL_SWITCH", "VIRTUAL_MACHINE", "VIRTUAL_DISK", "NETWORK_ADAPTER"):
        path = "virtual_switchs" if kind == "VIRTUAL_SWITCH" else f"{kind.lower()}s"
        found: Any = client.one(f"{COMPUTE}/{path}/{{id}}", given[f"COMPUTE_{kind}_ID"])
        assert found["name"] == given[f"COMPUTE_{kind}_NAME"], kind
        assert given.get(f"COMPUTE_{kind}_MOREF", found.get("moref")) == found.get("moref")
    machine = given["COMPUTE_VIRTUAL_MACHINE_ID"]
    for path in (DISKS, ADAPTERS, CONTROLLERS, f"{COMPUTE}/snapshots"):
        assert client.list(path, virtualMachineId=machine), path
    assert (given["COMPUTE_VIRTUAL_DISK_NAME"], given["COMPUTE_NETWORK_ADAPTER_NAME"]) == (
        "Hard disk 1",
        "Network adapter 1",
    )
    policies = client.list(f"{BACKUP}/policies")
    assert len(policies) >= 3
    assert policies[0]["subPolicies"]
    assert policies[2]["subPolicies"][0]["site"]
    assert client.list(f"{BACKUP}/jobs/session")
    other = client.one(f"{COMPUTE}/host_clusters/{{id}}", given["COMPUTE_VIRTUAL_MACHINE_HOST_CLUSTER_RELOCATE"])
    assert other is not None
    assert other["datacenter"]["id"] == given["DATACENTER_ID"]
    assert other["id"] != given["COMPUTE_HOST_CLUSTER_ID"]
    assert swept(client) == []
    client.close()


def test_what_cannot_be_had_is_named_with_its_tests(provider: Served, credentials: Path) -> None:
    said = json.loads(seed(provider, credentials, "--dry-run", "--json").stdout)
    tests = {test for item in said["missing"] for test in item["tests"]}
    assert {"TestIAM_Company", "TestAccResourceVirtualController", "TestNetworkAdapterClient_Create"} <= tests
