"""`naos device`, `naos snapshot` and the further words of `naos disk`: what they ask of the API."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_platform import Cli, Platform, disk, identifier, machine

DRIVE = {
    "id": identifier(70),
    "name": "CD/DVD drive 1",
    "label": "CD/DVD drive 1",
    "type": "CD/DVD",
    "subType": "",
    "summary": "IDE drive",
    "virtualDisks": [],
    "isoItemId": "",
    "connected": False,
    "virtualMachineId": identifier(10),
    "status": "active",
}
SNAPSHOT = {
    "id": identifier(71),
    "name": "before",
    "createTime": 1764150000000,
    "quiesced": True,
    "memory": False,
    "memorySize": 0,
    "current": True,
    "description": "",
    "parentId": "",
    "virtualMachineId": identifier(10),
    "status": "active",
    "size": 320 * 2**20,
    "growthPerDay": 64 * 2**20,
    "warnings": ["Snapshot before is 9 days old."],
}


class Devices(Platform):
    """The fake, with controllers and snapshots."""

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api").removeprefix("/compute/v1/vcenters/")
        kind, _, rest = path.partition("/")
        own = kind in ("virtual_controllers", "snapshots") or rest in ("mount", "unmount")
        if request.method == "GET" or not own:
            return super().handle(request)
        self.requests.append(request)
        wire = {"virtual_controllers": "virtual_controller", "snapshots": "snapshot"}.get(kind, "virtual_disk")
        row = {"virtual_controller": DRIVE, "snapshot": SNAPSHOT}.get(wire, {"id": identifier(20)})
        return self.start("a change", wire, str(row["id"]))


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    platform = Devices()
    platform.lists["virtual_machines"] = [machine(10, "web-1")]
    platform.lists["virtual_disks"] = [{**disk(20, identifier(10), "Disk"), "diskPath": "[fast] disks/x.qcow2"}]
    platform.lists["virtual_controllers"] = [dict(DRIVE)]
    platform.lists["snapshots"] = [dict(SNAPSHOT)]
    return Cli(tmp_path, platform)


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (["device", "add", "web-1", "--type", "CD/DVD"], ("POST", "/virtual_controllers", {"type": "CD/DVD"})),
        (
            ["device", "add", "web-1", "--type", "SCSI", "--sub-type", "LSILogic"],
            ("POST", "/virtual_controllers", {"type": "SCSI", "subType": "LSILogic"}),
        ),
        (
            ["device", "unmount", "CD/DVD drive 1", "--vm", "web-1"],
            ("PATCH", "/virtual_controllers/cdrom/unmount", {"id": DRIVE["id"]}),
        ),
        (
            ["device", "mount", "CD/DVD drive 1", "naos-tiny"],
            ("PATCH", "/virtual_controllers/cdrom/mount", {"contentLibraryItemId": identifier(7)}),
        ),
        (["device", "delete", DRIVE["id"], "--yes"], ("DELETE", f"/virtual_controllers/{DRIVE['id']}", None)),
        (
            ["snapshot", "create", "web-1", "before", "--quiesce"],
            ("POST", "/snapshots", {"name": "before", "quiesce": True}),
        ),
        (
            ["snapshot", "create", "web-1", "before", "--memory"],
            ("POST", "/snapshots", {"memory": True, "quiesce": False}),
        ),
        (
            ["snapshot", "revert", "before", "--yes"],
            ("POST", "/snapshots/revert", {"id": SNAPSHOT["id"], "memory": True}),
        ),
        (["snapshot", "revert", "before", "--disks-only", "--yes"], ("POST", "/snapshots/revert", {"memory": False})),
        (["snapshot", "delete", "before", "--yes"], ("DELETE", f"/snapshots/{SNAPSHOT['id']}", None)),
        (
            ["snapshot", "consolidate", "web-1"],
            ("POST", "/snapshots/consolidate", {"virtualMachineId": identifier(10)}),
        ),
        (
            ["disk", "mode", "Disk", "independent_persistent"],
            ("PATCH", "/virtual_disks", {"diskMode": "independent_persistent"}),
        ),
        (["disk", "unmount", "Disk"], ("POST", "/virtual_disks/unmount", {"virtualDiskId": identifier(20)})),
        (["disk", "mount", "web-1", "Disk"], ("POST", "/virtual_disks/mount", {"path": "[fast] disks/x.qcow2"})),
        (
            ["disk", "add", "web-1", "--size", "1", "--mode", "independent_nonpersistent", "--controller", DRIVE["id"]],
            ("POST", "/virtual_disks", {"diskMode": "independent_nonpersistent", "controllerId": DRIVE["id"]}),
        ),
    ],
)
def test_a_command_asks_for_this(cli: Cli, line: list[str], asked: tuple[str, str, dict[str, Any] | None]) -> None:
    cli.ok(*line)
    method, path, wanted = asked
    sent = [body or {} for verb, target, body in cli.bodies() if (verb, target) == (method, path)]
    assert len(sent) == 1, cli.bodies()
    assert {key: sent[0].get(key) for key in wanted or {}} == (wanted or {})


def test_lists_show_what_there_is(cli: Cli) -> None:
    assert "CD/DVD drive 1" in cli.ok("device", "list", "--vm", "web-1")
    assert "before" in cli.ok("snapshot", "list")


def test_nobody_is_asked_to_go_back_without_a_terminal(cli: Cli) -> None:
    assert "--yes" in cli.refused("snapshot", "revert", "before", code=2)
