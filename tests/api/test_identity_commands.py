"""The command line's nouns of identities, before the real API: organisation, tenant, user, token, access, controller."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from api_platform import Platform
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from naos.cli.client import Connection
from naos.cli.main import app
from naos.settings import settings
from naos.tenancy.bootstrap import save_credential


class Cli:
    """The command line of the owner; `address` is where it calls from."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self.platform, self.credentials, self.address = platform, folder / "owner", "testclient"
        save_credential(self.credentials, platform.first.token_id, platform.first.secret or "")

    def run(self, *words: str, credentials: Path | None = None) -> Result:
        connection = Connection(
            credentials=credentials or self.credentials,
            transport=TestClient(self.platform.app, client=(self.address, 1))._transport,
            sleep=lambda _seconds: None,
        )
        return CliRunner().invoke(app, list(words), obj=connection, env={"NAOS_CREDENTIALS": None, "COLUMNS": "200"})

    def ok(self, *words: str, **options: Any) -> str:
        result = self.run(*words, **options)
        assert result.exit_code == 0, (words, result.output, result.exception)
        return result.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "--json"))

    def refused(self, *words: str, **options: Any) -> str:
        result = self.run(*words, **options)
        assert result.exit_code == 1, (words, result.output)
        return result.output


@pytest.fixture
def cli(platform: Platform, tmp_path: Path) -> Cli:
    return Cli(platform, tmp_path)


def test_from_an_invitation_to_rights(cli: Cli) -> None:
    made = cli.json("user", "invite", "Grace", "grace@example.org")
    assert "has not confirmed" in cli.refused("user", "grant", "Grace", "tag_read")
    second = cli.json("user", "invite-again", "grace@example.org")
    assert "not valid" in cli.refused("user", "verify", made["invitation"]["token"])
    assert cli.json("user", "verify", second["invitation"]["token"])["emailVerified"] is True
    assert cli.json("user", "grant", "GRACE@example.org", "tag_read", "tag_write")["permissions"] == [
        "tag_read",
        "tag_write",
    ]
    assert cli.json("user", "withdraw", made["user"]["id"], "tag_write")["permissions"] == ["tag_read"]
    assert "tag_read" in cli.ok("user", "show", "Grace")
    assert "There is no permission 'root'" in cli.refused("user", "grant", "Grace", "root")
    assert cli.json("user", "rename", "Grace", "Grace H.")["name"] == "Grace H."
    assert len(cli.ok("user", "list", "--csv").splitlines()) == 3
    assert len(cli.json("user", "permissions")) == 63
    cli.ok("user", "delete", "Grace H.", "--yes")
    assert [user["name"] for user in cli.json("user", "list")] == ["Ada"]


def test_a_tenant_and_a_token_for_it(cli: Cli, tmp_path: Path) -> None:
    made = cli.json("tenant", "create", "test", "--description", "Trying", "--feature", "iam", "--feature", "compute")
    assert made["description"] == "Trying"
    assert "tag" not in made["features"]
    file = tmp_path / "test.key"
    shown = cli.ok("token", "create", "inside", "--tenant", "test", "--save", str(file))
    assert "Secret" not in shown
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = json.loads(cli.ok("tenant", "list", "--json", credentials=file))
    assert [tenant["name"] for tenant in listed] == ["test", "Production"]
    assert [token["name"] for token in json.loads(cli.ok("token", "list", "--json", credentials=file))] == ["inside"]
    assert "compute_iaas_vmware_read" in cli.ok("token", "show", "inside", credentials=file)
    assert "tag_read" not in cli.ok("token", "show", "inside", credentials=file)
    assert cli.json("tenant", "features", "test", "--feature", "iam")["features"] == ["iam"]
    assert len(cli.json("tenant", "features", "test")["features"]) > 20
    assert cli.json("tenant", "rename", "test", "trial")["name"] == "trial"
    assert cli.json("tenant", "describe", "trial", "")["description"] == ""
    assert "  compute_vmware" in cli.ok("tenant", "available-features").splitlines()
    assert "Ada" in cli.ok("tenant", "show", "trial")
    cli.ok("tenant", "delete", "trial", "--yes")
    assert "only tenant" in cli.refused("tenant", "delete", "Production", "--yes")


def test_tokens(cli: Cli) -> None:
    made = cli.json("token", "create", "reader", "--permission", "tag_read", "--permission", "iam_read", "--days", "30")
    assert len(made["secret"]) > 40
    assert cli.json("token", "show", "reader") == {key: value for key, value in made.items() if key != "secret"}
    row = next(line for line in cli.ok("token", "list").splitlines() if line.startswith("reader"))
    assert "Ada" in row
    cli.ok("token", "delete", "reader", "--yes")
    assert [token["name"] for token in cli.json("token", "list")] == ["bootstrap"]


def test_owners(cli: Cli) -> None:
    token = cli.json("user", "invite", "Grace", "grace@example.org")["invitation"]["token"]
    cli.ok("user", "verify", token)
    assert [user["name"] for user in cli.json("tenant", "add-owner", "Production", "Grace")] == ["Ada", "Grace"]
    assert [user["name"] for user in cli.json("tenant", "remove-owner", "Production", "Grace")] == ["Ada"]
    assert "One cannot" in cli.refused("tenant", "remove-owner", "Production", "Ada")
    cli.ok("organisation", "add-owner", "grace@example.org", "--yes")
    found = cli.json("organisation", "show")
    assert [user["name"] for user in found["owners"]] == ["Ada", "Grace"]
    assert "Production" in cli.ok("organisation", "show")
    assert [user["name"] for user in cli.json("organisation", "remove-owner", "Grace")] == ["Ada"]


def test_allowed_addresses(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "lock yourself out" in cli.refused("access", "allow", "203.0.113.0/24")
    assert cli.json("access", "list") == []
    cli.ok("access", "allow", "203.0.113.0/24", "--description", "Office", "--force")
    assert "takes calls only from its allowed addresses" in cli.refused("access", "list")
    monkeypatch.setenv("NAOS_HOME", str(tmp_path))
    settings.cache_clear()
    try:
        assert "from everywhere" in cli.run("controller", "open-access", "Production", "--yes").output
        assert "0 tenants" in cli.refused("controller", "open-access", "nonsense", "--yes")
    finally:
        settings.cache_clear()
    assert cli.json("access", "list") == []


def test_the_entries_of_the_list(cli: Cli) -> None:
    cli.address = "203.0.113.7"
    cli.ok("access", "allow", "203.0.113.0/24", "--description", "Office")
    entry = cli.json("access", "allow", "2001:DB8::/32")
    assert cli.json("access", "show", "2001:db8:0::/32") == entry
    assert cli.json("access", "describe", entry["id"], "Home")["description"] == "Home"
    assert "Office" in cli.ok("access", "list")
    assert "lock yourself out" in cli.refused("access", "remove", "203.0.113.0/24", "--yes")
    assert "is not in the list" in cli.refused("access", "remove", "10.0.0.0/8", "--yes")
    cli.ok("access", "remove", "2001:db8::/32", "--yes")
    assert [each["cidr"] for each in cli.json("access", "list")] == ["203.0.113.0/24"]


def test_signing_keys(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    session = cli.platform.owner
    monkeypatch.setenv("NAOS_HOME", str(tmp_path))
    settings.cache_clear()
    try:
        (first,) = cli.json("controller", "keys")
        assert (first["state"], first["acceptedUntil"]) == ("present", None)
        assert [key["state"] for key in cli.json("controller", "rotate-key")] == ["present", "accepted"]
        assert session.get("/iam/v2/roles").status_code == 200
        states = [key["state"] for key in cli.json("controller", "rotate-key", "--leaked", "--yes")]
        assert states == ["present", "ended", "ended"]
        assert session.get("/iam/v2/roles").status_code == 401
        assert cli.platform.owner.get("/iam/v2/roles").status_code == 200
        monkeypatch.setattr("os.geteuid", lambda: 4242)
        assert "belongs to user" in cli.refused("controller", "rotate-key")
        monkeypatch.setenv("NAOS_HOME", str(tmp_path / "nowhere"))
        settings.cache_clear()
        assert "There is no database at" in cli.refused("controller", "keys")
    finally:
        settings.cache_clear()
