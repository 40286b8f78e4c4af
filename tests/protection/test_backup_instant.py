"""Machines that run from a vault, before the real API on a simulated rack: they start, move in, are held up, and lose nothing."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from naos_commands import Commands
from simulated_platform import COMPUTE, POWER, Platform

from naos.engines.errors import EngineError, Unreachable
from naos.protection.backup import instant_keeper, instant_steps
from naos.protection.backup.instant_keeper import InstantKeeper
from naos.storage.models import Disk, Lun

BACKUP = "/backup/v1/spp"
POINTS = f"{BACKUP}/restore_points"
STARTS = f"{BACKUP}/instant_starts"
MACHINES = f"{COMPUTE}/virtual_machines"


@pytest.fixture(autouse=True)
def promptly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instant_keeper, "MOVE_AFTER_SECONDS", 0.0)
        patch.setattr(instant_keeper, "SHORTEST_PAUSE", 0.0)
        patch.setattr(instant_steps, "LOOK_SECONDS", 0.01)
        yield


@pytest.fixture(scope="module")
def still() -> Iterator[None]:
    """Nothing moves in by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InstantKeeper, "_loop", lambda self: None)
        yield


@pytest.fixture(scope="module")
def started(still: None, backed: Platform) -> Platform:
    """With a restore point of each machine."""
    del still
    job = next(job["id"] for job in backed.get(f"{BACKUP}/jobs") if job["policyId"] == backed.made["nightly"])
    backed.done("POST", f"{BACKUP}/jobs/run", {"jobId": job})
    return backed


def _keeper(platform: Platform) -> InstantKeeper:
    engine: Any = platform.services.engine
    return InstantKeeper(platform.services.world, engine)


def _point(platform: Platform, name: str) -> str:
    return str(platform.get(POINTS, virtualMachineId=platform.made[name])[0]["id"])


def _start(platform: Platform, machine: str, **body: Any) -> dict[str, Any]:
    made = platform.done("POST", f"{POINTS}/{_point(platform, machine)}/instant_start", body)
    found: dict[str, Any] = next(entry for entry in platform.get(STARTS) if entry["virtualMachineId"] == made)
    return found


def _move(platform: Platform, start: dict[str, Any], *, until: str = "done") -> dict[str, Any]:
    """Look as the leader does until it is in that state."""
    keeper, deadline = _keeper(platform), time.monotonic() + 20
    while True:
        keeper.look()
        platform.settled()
        found: dict[str, Any] = platform.get(f"{STARTS}/{start['id']}")
        if found["state"] == until:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def _readers(platform: Platform) -> int:
    with platform.rack.faults._store.transaction() as db:
        return int(db.execute("SELECT COUNT(*) FROM readers").fetchone()[0])


def _rows(platform: Platform, machine_id: str) -> list[Disk]:
    with platform.services.database.read() as session:
        return list(session.scalars(sa.select(Disk).where(Disk.machine_id == machine_id)))


def test_a_clone_runs_at_once_and_moves_in_while_it_does(started: Platform) -> None:
    start = _start(started, "web", mode="clone", name="web-2", speed=2**20)
    machine = started.machine(start["virtualMachineId"])
    assert (machine["powerState"], machine["name"]) == ("running", "web-2")
    assert (start["state"], start["speed"], start["done"], start["note"]) == ("moving", 2**20, 0, "")
    (adapter,) = started.get(f"{COMPUTE}/network_adapters", virtualMachineId=machine["id"])
    (original,) = started.get(f"{COMPUTE}/network_adapters", virtualMachineId=started.made["web"])
    assert adapter["network"]["id"] == original["network"]["id"]
    assert adapter["macAddress"] != original["macAddress"]
    (disk,) = _rows(started, machine["id"])
    assert disk.backing is not None
    assert started.findings() == []
    refused = started.refused("DELETE", f"{POINTS}/{_point(started, 'web')}?force=true")
    assert refused["code"] == "protection.point_in_use"
    started.done("PATCH", f"{STARTS}/{start['id']}", {"speed": 0})
    moved = _move(started, start)
    assert (moved["done"], moved["speed"]) == (moved["total"], 0)
    (disk,) = _rows(started, machine["id"])
    assert disk.backing is None
    assert _readers(started) == 0, "the point is let go"
    with started.services.database.read() as session:
        array = started.rack.array(session.get_one(Lun, disk.lun_id).array)
    assert array.disk(disk.lun_id, disk.id).backing is None  # type: ignore[union-attr]
    assert disk.id not in array.contents(disk.lun_id).templates
    assert started.refused("PATCH", f"{STARTS}/{start['id']}", {"speed": 5})["code"] == "protection.instant_done"
    assert started.machine(machine["id"])["powerState"] == "running"
    started.remove(machine["id"])
    assert started.findings() == []


def test_a_test_is_apart_and_what_is_cleaned_up_lets_the_point_go(started: Platform) -> None:
    start = _start(started, "web")
    (adapter,) = started.get(f"{COMPUTE}/network_adapters", virtualMachineId=start["virtualMachineId"])
    (original,) = started.get(f"{COMPUTE}/network_adapters", virtualMachineId=started.made["web"])
    assert adapter["network"]["id"] != original["network"]["id"]
    started.done("POST", f"{BACKUP}/restores/{start['id']}/clean_up")
    assert started.client.get(f"{MACHINES}/{start['virtualMachineId']}").status_code == 404
    assert _readers(started) == 1
    _move(started, start)
    assert _readers(started) == 0
    assert started.findings() == []


def test_a_vault_that_is_gone_holds_the_move_up_and_nothing_else(started: Platform) -> None:
    start = _start(started, "data", mode="clone", name="data-2")
    keeper = _keeper(started)
    started.rack.faults.fail_next("points.serve", Unreachable("az07-vault", "serving", "no route"))
    keeper.look()
    held_up = started.get(f"{STARTS}/{start['id']}")
    assert (held_up["state"], held_up["note"][:26]) == ("moving", "the vault cannot be used: ")
    assert started.machine(start["virtualMachineId"])["powerState"] == "running"
    with started.rack.faults._store.transaction() as db:
        db.execute("DELETE FROM readers")
    with pytest.raises(EngineError, match="Input/output error"):
        instant_steps.move(started.services.world, start["id"], lambda share: None, lambda: False)
    assert "Input/output error" in started.get(f"{STARTS}/{start['id']}")["note"]
    moved = _move(started, start)
    assert moved["note"] == ""
    assert moved["done"] == moved["total"]
    started.remove(start["virtualMachineId"])


def test_a_start_that_fails_leaves_nothing(started: Platform) -> None:
    before = [machine["name"] for machine in started.get(MACHINES)]
    path = f"{POINTS}/{_point(started, 'web')}/instant_start"
    for method in ("array.lay_disk", "hypervisor.start"):
        started.rack.faults.fail_next(method, EngineError("the rack", "starting", "no power"))
        assert "no power" in started.failed("POST", path, {"mode": "clone", "name": "never"})
        assert [machine["name"] for machine in started.get(MACHINES)] == before
        assert _readers(started) == 0
        assert all(entry["name"] != "never" for entry in started.get(STARTS))
        started.settled()
    assert [finding for finding in started.findings() if finding["check"] != "base.unneeded"] == []


def test_a_stopped_daemon_or_a_full_volume_only_delays(started: Platform) -> None:
    start = _start(started, "web", mode="clone", name="web-3")
    (disk,) = _rows(started, start["virtualMachineId"])
    started.rack.faults.fill(disk.lun_id)
    with pytest.raises(EngineError, match="No space left"):
        instant_steps.move(started.services.world, start["id"], lambda share: None, lambda: False)
    assert "No space left" in started.get(f"{STARTS}/{start['id']}")["note"]
    with started.rack.faults._store.transaction() as db:
        db.execute("UPDATE luns SET ballast = 0 WHERE id = ?", (disk.lun_id,))
    started.rack.faults.kill_daemon(disk.lun_id)
    moved = _move(started, start)
    assert moved["note"] == ""
    assert started.machine(start["virtualMachineId"])["powerState"] == "running"
    started.remove(start["virtualMachineId"])


def test_production_starts_the_machine_itself_and_keeps_its_old_disks(started: Platform) -> None:
    data = started.made["data"]
    path = f"{POINTS}/{_point(started, 'data')}/instant_start"
    assert started.refused("POST", path, {"mode": "production"})["code"] == "compute.wrong_power"
    started.done("PATCH", POWER, {"id": data, "powerAction": "off"})
    before = {disk.id for disk in _rows(started, data)}
    start = _start(started, "data", mode="production")
    assert start["virtualMachineId"] == data
    assert started.machine(data)["powerState"] == "running"
    assert not before & {disk.id for disk in _rows(started, data)}
    restore = started.get(f"{BACKUP}/restores/{start['id']}")
    assert restore["state"] == "replaced"
    started.done("PATCH", POWER, {"id": data, "powerAction": "off"})
    started.done("POST", f"{BACKUP}/restores/{start['id']}/take_back")
    assert {disk.id for disk in _rows(started, data)} == before
    _move(started, start)
    assert _readers(started) == 0
    assert started.findings() == []


def test_the_commands(started: Platform) -> None:
    cli = Commands(started)
    made = cli.json("backup", "instant-start", "web", "--mode", "clone", "--name", "web-4", "--speed", "50MiB")
    assert (made["name"], made["state"], made["speed"]) == ("web-4", "moving", 50 * 2**20)
    assert "web-4" in cli.run("backup", "moves")
    assert cli.json("backup", "limit-move", "web-4", "--speed", "none")["speed"] == 0
    cli.run("backup", "limit-move", "nobody", "--speed", "none", code=1)
    _move(started, made)
    assert "100 %" in cli.run("backup", "moves")
    started.remove(made["virtualMachineId"])


def test_another_tenant_sees_and_changes_nothing(started: Platform) -> None:
    other = started.stranger("elsewhere")
    start = started.get(STARTS)[0]["id"]
    assert other.get(STARTS).json() == []
    for method, path, body in (
        ("GET", f"{STARTS}/{start}", None),
        ("PATCH", f"{STARTS}/{start}", {"speed": 1}),
        ("POST", f"{POINTS}/{_point(started, 'web')}/instant_start", {"mode": "clone"}),
    ):
        assert started.refused(method, path, body, client=other)["status"] == 404, path
