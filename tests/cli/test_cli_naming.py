"""Objects by name or id."""

import uuid
from pathlib import Path

import pytest
from cli_platform import TEMPLATE, Cli, identifier, machine, refusal

from naos.cli import client, naming
from naos.cli.failures import Failure
from naos.cli.naming import MACHINE


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.platform.lists["virtual_machines"] = [machine(10, "web-1"), machine(11, "café"), machine(12, "db")]
    return made


def found(cli: Cli, reference: str) -> str:
    with client.opened(cli.connection) as api:
        return naming.find_id(api, MACHINE, reference)


@pytest.mark.parametrize(
    ("reference", "number"),
    [
        ("web-1", 10),
        (identifier(12), 12),
        (identifier(12).upper(), 12),
        ("cafe\N{COMBINING ACUTE ACCENT}", 11),
        (" db ", 12),
    ],
)
def test_a_name_or_an_id_finds(cli: Cli, reference: str, number: int) -> None:
    assert found(cli, reference) == identifier(number)


def test_a_name_may_look_like_an_id(cli: Cli) -> None:
    name = str(uuid.uuid4())
    cli.platform.lists["virtual_machines"].append(machine(13, name))
    assert found(cli, name) == identifier(13)


def test_an_id_goes_before_a_name(cli: Cli) -> None:
    cli.platform.lists["virtual_machines"].append(machine(13, identifier(12)))
    assert found(cli, identifier(12)) == identifier(12)


@pytest.mark.parametrize(
    ("reference", "hint"),
    [("web-2", "did you mean 'web-1'?"), ("zzz", "`naos vm list` shows"), ("", "`naos vm list` shows")],
)
def test_an_unknown_name_is_helped_with(cli: Cli, reference: str, hint: str) -> None:
    with pytest.raises(Failure, match="There is no machine") as failure:
        found(cli, reference)
    assert hint in str(failure.value)


def test_case_is_not_ignored(cli: Cli) -> None:
    with pytest.raises(Failure, match="did you mean 'db'"):
        found(cli, "Db")


def test_several_of_a_name_are_listed_by_id(cli: Cli) -> None:
    cli.platform.lists["virtual_machines"] += [machine(13, "db")]
    assert cli("vm", "show", "db").stderr.splitlines() == [
        "Error: 2 machines are named 'db'; give the id of one:",
        f"  {identifier(12)}  in web",
        f"  {identifier(13)}  in web",
    ]


def test_a_name_of_two_libraries_is_told_apart_by_library(cli: Cli) -> None:
    cli.platform.lists["content_libraries"].append({"id": identifier(66), "name": "Images"})
    said = cli.refused("template", "show", "naos-tiny")
    assert "2 templates are named" in said
    assert "in Images" in said
    assert TEMPLATE["id"] in cli.ok("template", "show", "naos-tiny", "--library", "Images")


def test_a_forbidden_id_is_not_taken_for_a_name(cli: Cli) -> None:
    cli.platform.before = lambda request: (
        refusal(403, "identity.permission_missing", "Forbidden: this call needs x.")
        if request.url.path.endswith(identifier(12))
        else None
    )
    assert cli.refused("vm", "show", identifier(12)) == "Error: Forbidden: this call needs x."
