"""`naos vm`, `disk` and `nic`: what is asked of the API, and what is shown."""

import base64
import csv
import io
import json
from pathlib import Path

import pytest
from cli_platform import GIB, POOL, TEMPLATE, VOLUME, Cli, adapter, disk, identifier, machine


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.platform.lists["virtual_machines"] = [
        machine(10, "web-1", powerState="running", host={"id": identifier(5), "name": "par1-blade1"}),
        machine(11, "db", memory=GIB // 8, addresses=[]),
    ]
    made.platform.lists["virtual_disks"] = [disk(20, identifier(10)), disk(21, identifier(11))]
    made.platform.lists["network_adapters"] = [adapter(30, identifier(10)), adapter(31, identifier(11))]
    return made


def test_a_list_has_sizes_in_gib_and_names_of_what_is_referred_to(cli: Cli) -> None:
    head, first, second = cli.ok("vm", "list").splitlines()
    assert head.split() == ["NAME", "STATE", "CPUS", "MEMORY", "POOL", "BLADE", "ADDRESSES", "ID"]
    assert first.split() == ["web-1", "running", "1", "1", "GiB", "web", "par1-blade1", "10.1.0.11/24", identifier(10)]
    assert second.split() == ["db", "stopped", "1", "0.12", "GiB", "web", identifier(11)]


def test_json_is_the_api_s_own_and_csv_keeps_raw_values(cli: Cli) -> None:
    assert json.loads(cli.ok("vm", "list", "--json")) == cli.platform.lists["virtual_machines"]
    assert json.loads(cli.ok("vm", "show", "db", "--json")) == cli.platform.lists["virtual_machines"][1]
    rows = list(csv.DictReader(io.StringIO(cli.ok("vm", "list", "--csv"))))
    assert [row["memory"] for row in rows] == [str(GIB), str(GIB // 8)]
    assert rows[0]["blade"] == "par1-blade1"
    assert rows[1]["addresses"] == ""


def test_an_empty_list_says_what_to_do_but_json_stays_json(cli: Cli) -> None:
    cli.platform.lists["virtual_machines"] = []
    result = cli("vm", "list")
    assert (result.stdout, result.exit_code) == ("", 0)
    assert "naos vm create" in result.stderr
    assert json.loads(cli.ok("vm", "list", "--json")) == []


def test_show_tells_disks_and_adapters_of_this_machine_only(cli: Cli) -> None:
    shown = cli.ok("vm", "show", "web-1")
    assert "02:4e:00:00:00:01" in shown
    assert shown.count("Hard disk 1") == 1
    assert "10 GiB" in shown


def test_create_sends_everything_by_id_and_shows_the_machine(cli: Cli, tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_text("# mine\nssh-ed25519 AAAAC3Nza me@here\n", encoding="ascii")
    data = tmp_path / "data"
    data.write_text("#cloud-config\n# é\n", encoding="utf-8")
    shown = cli.ok(
        *("vm", "create", "front-1", "--template", "naos-tiny", "--pool", "web", "--cpus", "2", "--memory", "4"),
        *("--disk", "20GiB", "--vlan", "front", "--vlan", "front", "--address", "dhcp", "--address", "10.1.0.11/24"),
        *("--gateway", "10.1.0.1", "--ssh-key", str(key), "--user-data", str(data), "--hostname", "f1"),
    )
    assert "front-1" in shown
    (method, path, body) = cli.bodies()[0]
    assert (method, path) == ("POST", f"/content_libraries/{identifier(6)}/items")
    assert body == {
        "name": "front-1",
        "hostClusterId": POOL["id"],
        "datastoreId": VOLUME["id"],
        "cpu": 2,
        "memory": 4 * GIB,
        "contentLibraryItemId": TEMPLATE["id"],
        "powerOn": True,
        "diskCapacity": 20 * GIB,
        "networkAdapters": [
            {"networkId": identifier(4)},
            {"networkId": identifier(4), "address": "10.1.0.11/24", "gateway": "10.1.0.1"},
        ],
        "deployOptions": [
            {"id": "hostname", "value": "f1"},
            {"id": "public-keys", "value": "ssh-ed25519 AAAAC3Nza me@here"},
            {"id": "user-data", "value": base64.b64encode("#cloud-config\n# é\n".encode()).decode()},
        ],
    }


def test_create_without_a_template_makes_an_empty_machine(cli: Cli) -> None:
    made = json.loads(cli.ok("vm", "create", "bare", "--json"))
    assert made["name"] == "bare"
    assert cli.bodies() == [
        (
            "POST",
            "/virtual_machines",
            {
                "name": "bare",
                "hostClusterId": POOL["id"],
                "datastoreId": VOLUME["id"],
                "cpu": 1,
                "memory": 128 * 2**20,
            },
        )
    ]


def test_no_start_leaves_it_off(cli: Cli) -> None:
    cli.ok("vm", "create", "a", "--template", "naos-tiny", "--no-start")
    assert cli.bodies()[0][2]["powerOn"] is False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--vlan", "front"], "needs --template"),
        (["--start"], "needs --template"),
        (["--template", "naos-tiny", "--address", "10.0.0.1/24"], "1 addresses for 0 adapters"),
        (["--template", "naos-tiny", "--vlan", "front", "--address", "10.0.0.1"], "with its prefix"),
        (["--template", "naos-tiny", "--vlan", "front", "--address", "10.0.0.400/24"], "with its prefix"),
        (["--template", "naos-tiny", "--vlan", "front", "--gateway", "10.0.0.1"], "needs an --address"),
        (["--template", "naos-tiny", "--ssh-key", "{folder}/none"], "cannot be read"),
        (["--template", "naos-tiny", "--ssh-key", "{folder}/private"], "private.pub"),
        (["--template", "naos-tiny", "--ssh-key", "{folder}/credentials"], "no OpenSSH public key"),
        (["--memory", "lots"], "a bare number is in GiB"),
        (["--cpus", "0"], "--cpus"),
    ],
)
def test_what_cannot_work_is_a_usage_error_before_anything_is_written(
    cli: Cli, tmp_path: Path, options: list[str], said: str
) -> None:
    (tmp_path / "private").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n", encoding="ascii")
    given = [option.format(folder=tmp_path) for option in options]
    assert said in cli.refused("vm", "create", "a", *given, code=2)
    assert cli.platform.writes() == []


def test_a_choice_that_is_open_is_asked_for(cli: Cli) -> None:
    cli.platform.lists["host_clusters"].append({**POOL, "id": identifier(8), "name": "batch"})
    assert "several pools (batch, web); choose one with --pool" in cli.refused("vm", "create", "a")
    cli.platform.lists["datastores"].clear()
    assert "no volume yet" in cli.refused("vm", "create", "a", "--pool", "web")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["start", "db"], {"powerAction": "on"}),
        (["stop", "db"], {"powerAction": "shutdown", "timeout": 120}),
        (["stop", "db", "--timeout", "5"], {"powerAction": "shutdown", "timeout": 5}),
        (["stop", "db", "--force"], {"powerAction": "off"}),
        (["reset", "db"], {"powerAction": "reset"}),
    ],
)
def test_power(cli: Cli, command: list[str], expected: dict[str, object]) -> None:
    cli.ok("vm", *command)
    assert cli.bodies() == [("PATCH", "/virtual_machines/power", {"id": identifier(11), **expected})]


def test_restart_is_a_shutdown_and_then_a_start(cli: Cli) -> None:
    cli.ok("vm", "restart", "web-1")
    assert [body["powerAction"] for _, _, body in cli.bodies()] == ["shutdown", "on"]


def test_a_restart_whose_guest_does_not_stop_is_not_powered_on(cli: Cli) -> None:
    cli.platform.story = [{"failed": {"reason": "the guest did not stop within 120 s"}}]
    assert "did not stop" in cli.refused("vm", "restart", "web-1")
    assert len(cli.bodies()) == 1


def test_changes_name_only_what_changes(cli: Cli) -> None:
    cli.ok("vm", "resize", "db", "--cpus", "4")
    cli.ok("vm", "resize", "db", "--memory", "8GiB")
    cli.ok("vm", "rename", "db", "db é")
    cli.ok("vm", "migrate", "web-1", "--to", "par1-blade1")
    me = identifier(11)
    assert cli.bodies() == [
        ("PATCH", "/virtual_machines", {"id": me, "cpu": 4, "ram": 0}),
        ("PATCH", "/virtual_machines", {"id": me, "cpu": 0, "ram": 8 * GIB}),
        ("PATCH", "/virtual_machines/rename", {"id": me, "name": "db é"}),
        ("POST", "/virtual_machines/relocate", {"virtualMachines": [identifier(10)], "hostId": identifier(5)}),
    ]
    assert "--cpus, --memory or both" in cli.refused("vm", "resize", "db", code=2)


def test_delete_asks_first(cli: Cli) -> None:
    assert "say --yes" in cli.refused("vm", "delete", "db", code=2)
    assert cli.platform.writes() == []
    cli.ok("vm", "delete", "db", "--yes")
    assert cli.bodies() == [("DELETE", f"/virtual_machines/{identifier(11)}", b"")]


def test_the_log_keeps_the_bytes_for_a_file(cli: Cli) -> None:
    assert cli("vm", "log", "web-1", "--last", "100").stdout_bytes == b"Linux\r\n\x1b[31mready\x1b[0m\r\n"
    assert cli.platform.requests[-1].url.params["last"] == "100"


def test_disks_and_adapters_are_told_apart_by_their_machine(cli: Cli) -> None:
    said = cli.refused("disk", "grow", "Hard disk 1", "20")
    assert "2 disks are named 'Hard disk 1'" in said
    assert f"{identifier(20)} of machine {identifier(10)}" in said
    cli.ok("disk", "grow", "Hard disk 1", "20", "--vm", "db")
    cli.ok("disk", "add", "db", "--size", "1TiB", "--volume", "fast")
    cli.ok("disk", "delete", identifier(20), "--yes")
    cli.ok("nic", "disconnect", "Network adapter 1", "--vm", "db")
    cli.ok("nic", "change", "Network adapter 1", "--vm", "db", "--vlan", "front", "--not-at-start")
    cli.ok("nic", "delete", identifier(30), "--yes")
    assert cli.bodies() == [
        ("PATCH", "/virtual_disks", {"id": identifier(21), "newCapacity": 20 * GIB}),
        (
            "POST",
            "/virtual_disks",
            {"virtualMachineId": identifier(11), "capacity": 2**40, "datastoreId": identifier(3)},
        ),
        ("DELETE", f"/virtual_disks/{identifier(20)}", b""),
        ("PATCH", "/network_adapters/disconnect", {"id": identifier(31)}),
        (
            "PATCH",
            "/network_adapters",
            {"id": identifier(31), "newNetworkId": identifier(4), "autoConnect": False},
        ),
        ("DELETE", f"/network_adapters/{identifier(30)}", b""),
    ]


def test_a_new_adapter_gets_its_cable_unless_told_otherwise(cli: Cli) -> None:
    cli.ok("nic", "add", "db", "--vlan", "front")
    cli.ok("nic", "add", "db", "--vlan", "front", "--mac", "02:00:00:00:00:07", "--no-connect")
    plugged = {"virtualMachineId": identifier(11), "networkId": identifier(4)}
    assert cli.bodies() == [
        ("POST", "/network_adapters", plugged),
        ("PATCH", "/network_adapters/connect", {"id": identifier(60)}),
        ("POST", "/network_adapters", {**plugged, "macAddress": "02:00:00:00:00:07"}),
    ]
