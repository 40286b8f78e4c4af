"""Pools, blades, zones, volumes, VLANs, templates and the doctor; completion; sizes; the start."""

import io
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import typer
from cli_platform import GIB, LIBRARY, POOL, TEMPLATE, VLAN, VOLUME, Cli, identifier, machine

from naos.catalogue.images import debian, tiny
from naos.catalogue.images.errors import BuildUnprivileged
from naos.cli import options


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.mark.parametrize(
    "noun", ["vm", "pool", "blade", "zone", "volume", "vlan", "disk", "nic", "template", "activity"]
)
def test_every_list_is_a_table_json_and_csv(cli: Cli, noun: str) -> None:
    cli.platform.lists["virtual_machines"] = [machine(10, "web-1")]
    table = cli.ok(noun, "list").splitlines()
    items = json.loads(cli.ok(noun, "list", "--json"))
    rows = cli.ok(noun, "list", "--csv").splitlines()
    assert len(rows) == len(items) + 1
    assert len(table) == (len(items) + 1 if items else 0)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            ["pool", "create", "batch", "--zone", "par1", "--model", "ECO v3", "--blades", "2", "--memory", "300"],
            (
                "POST",
                "/host_clusters",
                {"name": "batch", "datacenterId": identifier(1), "model": "ECO v3", "hosts": 2, "memory": 300 * GIB},
            ),
        ),
        (["pool", "delete", "web", "--yes"], ("DELETE", f"/host_clusters/{identifier(2)}", b"")),
        (
            ["volume", "create", "slow", "--zone", "par1", "--class", "mass", "--size", "2TiB"],
            (
                "POST",
                "/datastores",
                {"name": "slow", "datacenterId": identifier(1), "storageClass": "mass", "capacity": 2**41},
            ),
        ),
        (
            ["volume", "grow", "fast", "1TiB"],
            ("PATCH", "/datastores", {"id": identifier(3), "capacity": 2**40}),
        ),
        (
            ["volume", "set", "fast", "--class", "premium"],
            ("PATCH", "/datastores", {"id": identifier(3), "storageClass": "premium"}),
        ),
        (["volume", "delete", "fast", "-y"], ("DELETE", f"/datastores/{identifier(3)}", b"")),
        (
            ["vlan", "create", "back", "--pool", "web", "--tag", "200"],
            ("POST", "/networks", {"name": "back", "hostClusterIds": [identifier(2)], "vlanId": 200}),
        ),
        (
            ["vlan", "propagate", "front", "--pool", "web"],
            ("POST", f"/networks/{identifier(4)}/propagations", {"hostClusterIds": [identifier(2)]}),
        ),
        (["vlan", "delete", "front", "-y"], ("DELETE", f"/networks/{identifier(4)}", b"")),
        (
            ["template", "delete", "naos-tiny", "-y"],
            ("DELETE", f"/content_libraries/{LIBRARY['id']}/items/{TEMPLATE['id']}", b""),
        ),
    ],
)
def test_a_write_is_one_request_by_id(cli: Cli, command: list[str], expected: tuple[object, ...]) -> None:
    cli.ok(*command)
    assert cli.bodies() == [expected]


def test_shown_objects_carry_their_figures(cli: Cli) -> None:
    assert "256 GiB" in cli.ok("pool", "show", "web")
    assert "4.0 GHz" in cli.ok("pool", "show", POOL["id"])
    assert "750" in cli.ok("volume", "show", "fast")
    assert "par1-blade1, par1-blade2" in cli.ok("vlan", "show", VLAN["id"])
    assert "QEMU 7.2.22" in cli.ok("blade", "show", "par1-blade1")
    assert json.loads(cli.ok("volume", "show", "fast", "--json")) == VOLUME


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_question_is_asked_where_somebody_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Keyboard("n\n\ny\n"))
    for _refusing in ("n", "nothing"):
        with pytest.raises(typer.Exit) as left:
            options.confirm("Delete?", yes=False)
        assert left.value.exit_code == 1
    options.confirm("Delete?", yes=False)


def test_a_pipe_is_nobody(cli: Cli) -> None:
    assert "say --yes" in cli.refused("vlan", "delete", "front", code=2, stdin="y\n")
    assert cli.platform.writes() == []


def test_a_file_is_sent_whole_and_made_a_template(cli: Cli, tmp_path: Path) -> None:
    image = tmp_path / "-rf"
    image.write_bytes(b"\0" + os.urandom(3 * 2**20 + 7))  # nothing that could be taken for JSON
    cli.ok("template", "add", "rescue", str(image), "--description", "to mend", "--checksum", "md5:00")
    sent, made = cli.bodies()
    assert sent == ("POST", "/content_libraries/uploads", image.read_bytes())
    assert made == (
        "POST",
        f"/content_libraries/{LIBRARY['id']}/templates",
        {"name": "rescue", "description": "to mend", "checksum": "md5:00", "uploadId": identifier(99)},
    )
    assert cli.platform.writes()[0].headers["Content-Length"] == str(image.stat().st_size)


def test_an_empty_file_is_sent_too(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    cli.ok("template", "add", "e", str(tmp_path / "empty"))
    assert cli.bodies()[0][2] == b""


def test_an_upload_that_arrives_otherwise_is_no_template(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x" * 100)
    other = httpx.Response(201, json={"id": identifier(99), "size": 99, "sha256": "0" * 64})
    cli.platform.before = lambda request: other if request.url.path.endswith("/uploads") else None
    assert "arrived with other bytes" in cli.refused("template", "add", "r", str(tmp_path / "image"))
    assert len(cli.bodies()) == 1


def test_an_address_is_fetched_by_the_controller(cli: Cli) -> None:
    cli.ok("template", "add", "rescue", "https://images.example/a.qcow2")
    assert cli.bodies()[0][2] == {"name": "rescue", "description": "", "url": "https://images.example/a.qcow2"}


@pytest.mark.parametrize("source", ["absent", "."])
def test_what_is_no_file_is_said_before_anything_is_sent(cli: Cli, source: str) -> None:
    assert "is not a file" in cli.refused("template", "add", "r", source)
    assert cli.platform.writes() == []


def test_build_makes_the_image_here_and_sends_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def building(target: Path, cache: Path, *, progress: object) -> None:
        target.write_bytes(b"QFI\xfb")

    monkeypatch.setattr(tiny, "build_tiny", building)
    cli.ok("template", "build", "naos-tiny", "--name", "small")
    assert cli.bodies()[0][2] == b"QFI\xfb"
    assert cli.bodies()[1][2]["name"] == "small"

    def refusing(target: Path, cache: Path, *, progress: object) -> None:
        raise BuildUnprivileged("Debian", 1000)

    monkeypatch.setattr(debian, "build_debian", refusing)
    assert str(BuildUnprivileged("Debian", 1000)) in cli.refused("template", "build", "debian-12").replace(
        "Error: ", ""
    )
    cli.refused("template", "build", "debian-11", code=2)


SAFE = {"kind": "seed.orphan", "subject": "a", "sentence": "a seed is left", "repair": "remove it", "safe": True}
HAND = {"kind": "domain.orphan_running", "subject": "b", "sentence": "a stranger runs", "repair": "look", "safe": False}


def test_the_doctor_only_looks(cli: Cli) -> None:
    assert "No difference" in cli("doctor").stderr
    cli.platform.findings = [[SAFE, HAND]]
    result = cli("doctor")
    assert result.exit_code == 1
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["--fix", "yes", "no"]
    assert cli.platform.writes() == []


def test_fix_shows_first_then_repairs_and_looks_again(cli: Cli) -> None:
    cli.platform.findings = [[SAFE, HAND]]
    assert "say --yes" in cli.refused("doctor", "--fix", code=2)
    assert cli.platform.writes() == []
    cli.platform.findings = [[SAFE, HAND], [HAND]]
    result = cli("doctor", "--fix", "--yes")
    assert result.exit_code == 1
    assert result.stdout.count("a stranger runs") == 2
    assert "1 difference(s) left" in result.stderr
    cli.platform.findings = [[SAFE], []]
    assert json.loads(cli.ok("doctor", "--fix", "--yes", "--json")) == []


def test_fix_of_nothing_safe_writes_nothing(cli: Cli) -> None:
    cli.platform.findings = [[HAND]]
    result = cli("doctor", "--fix", "--yes", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, [HAND])
    assert cli.platform.writes() == []


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64GiB", 64 * GIB),
        ("64", 64 * GIB),
        ("0.5", GIB // 2),
        (" 2 ", 2 * GIB),
        ("10GB", 10 * GIB),
        ("1TiB", 2**40),
        ("512MiB", 2**29),
        ("512m", 2**29),
        ("1048576B", 2**20),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert options.size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1e3", "nan", "inf", "1_000", "\u0661", "10 PiB", "1,5"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        options.size(text)


def completed(cli: Cli, line: str, **env: str) -> list[str]:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_NAOS_COMPLETE": "complete_bash"}
    return cli("", env={**words, **env}).stdout.split("\n")[:-1]


def test_names_complete(cli: Cli) -> None:
    cli.platform.lists["virtual_machines"] = [machine(10, "web-1"), machine(11, "web two"), machine(12, "db")]
    assert completed(cli, "naos vm start we") == ["web-1", "web two"]
    assert completed(cli, "naos vm create a --template naos") == ["naos-tiny"]
    assert completed(cli, "naos vm create a --pool ") == ["web"]
    assert "migrate" in completed(cli, "naos vm m")


def test_completion_is_silent_when_the_api_is_not_there(cli: Cli) -> None:
    cli.credentials.unlink()
    result = cli("", env={"COMP_WORDS": "naos vm start we", "COMP_CWORD": "3", "_NAOS_COMPLETE": "complete_bash"})
    assert (result.stdout.strip(), result.stderr) == ("", "")


def test_the_start_loads_no_more_than_it_needs() -> None:
    heavy = ("httpx", "sqlalchemy", "fastapi", "websockets", "libvirt", "dbos", "rich.progress")
    program = f"import sys, naos.cli.main; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_arguments_show_the_help_and_version_is_told(cli: Cli) -> None:
    assert "Usage: naos" in cli().output
    assert cli.ok("--version").strip() == f"naos {version('naos')}"
