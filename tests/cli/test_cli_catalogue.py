"""Appliances on the command line: what a template declares, exports, and the marketplace."""

from pathlib import Path

import httpx
import pytest
from cli_platform import OVA, TEMPLATE, VLAN, Cli, identifier, machine

APPLIANCE = {
    **TEMPLATE,
    "cpu": 4,
    "memory": 2**30,
    "networkAdapters": [{"id": "6", "name": "Network adapter 1", "networkName": "lan", "type": "VmxNet3"}],
    "properties": [{"id": "licence", "type": "string", "value": "", "label": "Licence"}],
}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    cli = Cli(tmp_path)
    cli.platform.lists["virtual_machines"] = [machine(10, "web-1")]
    return cli


def test_a_machine_of_an_appliance_is_as_the_appliance_says(cli: Cli) -> None:
    cli.platform.lists["items"] = [dict(APPLIANCE)]
    cli.ok("vm", "create", "a", "--template", "naos-tiny", "--network", "lan=front", "--set", "licence=L=1")
    ((_, _, body),) = cli.bodies()
    assert "cpu" not in body
    assert "memory" not in body
    assert "networkAdapters" not in body
    assert body["networkData"] == [{"networkAdapterId": "lan", "networkId": VLAN["id"]}]
    assert body["deployOptions"] == [{"id": "licence", "value": "L=1"}]


def test_vlans_take_the_place_of_an_appliances_adapters(cli: Cli) -> None:
    cli.platform.lists["items"] = [dict(APPLIANCE)]
    cli.ok("vm", "create", "a", "--template", "naos-tiny", "--vlan", "front", "--cpus", "1")
    ((_, _, body),) = cli.bodies()
    assert (len(body["networkAdapters"]), body["cpu"]) == (1, 1)
    assert "networkData" not in body


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "licence"), "no KEY=VALUE"),
        (("--set", "a=1", "--set", "a=2"), "given twice"),
        (("--network", "lan=front", "--vlan", "front"), "takes their place"),
    ],
)
def test_settings_that_say_nothing(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    assert words in cli.refused("vm", "create", "a", "--template", "naos-tiny", *arguments, code=2)
    assert words in cli.refused("vm", "create", "a", "--template", "naos-tiny", *arguments, code=2)


def test_an_appliance_is_shown_with_what_it_declares(cli: Cli) -> None:
    cli.platform.lists["items"] = [dict(APPLIANCE)]
    shown = cli.ok("template", "show", "naos-tiny")
    for word in ("Network adapter 1", "lan", "licence", "Hard disk 1"):
        assert word in shown


def test_an_export_is_fetched_whole_and_taken_off_the_controller(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "web-1.ova"
    cli.ok("vm", "export", "web-1", "--output", str(target))
    assert target.read_bytes() == OVA
    assert [(method, path) for method, path, _ in cli.bodies()] == [
        ("POST", "/exports"),
        ("DELETE", f"/exports/{identifier(90)}"),
    ]
    assert "--force" in cli.refused("vm", "export", "web-1", "--output", str(target))
    cli.ok("template", "export", "naos-tiny", "--output", str(target), "--force")


def test_an_export_that_arrives_otherwise_is_no_file(cli: Cli, tmp_path: Path) -> None:
    def broken(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(200, content=b"other") if request.url.path.endswith("/file") else None

    cli.platform.before = broken
    target = tmp_path / "web-1.ova"
    assert "export it again" in cli.refused("vm", "export", "web-1", "--output", str(target))
    assert list(tmp_path.glob("*.ova*")) == []
    assert cli.bodies()[-1][0] == "DELETE"


def test_texts_of_an_offer_come_from_a_file(cli: Cli, tmp_path: Path) -> None:
    texts = tmp_path / "texts.toml"
    texts.write_text('description = "Une machine"\n[details]\noverview = "Aperçu"\n', encoding="utf-8")
    arguments = ("marketplace", "publish", "naos-tiny", "--editor", "D", "--version", "1", "--texts", str(texts))
    cli.ok(*arguments)
    ((_, _, body),) = cli.bodies()
    assert (body["description"], body["details"]) == ("Une machine", {"overview": "Aperçu"})
    texts.write_text("not toml", encoding="utf-8")
    assert "TOML" in cli.refused(*arguments, code=2)
