"""Runs of policies before the real API, on a simulated rack: machines are copied, points appear, expire, are held, restored."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, POWER, Platform

from naos.activity.models import Activity, ActivityLock
from naos.database import Base, Database
from naos.engines.errors import EngineError
from naos.protection.backup import runs, taking
from naos.protection.backup.models import BackupPlan, RestorePoint
from naos.protection.backup.scheduler import Scheduler

BACKUP = "/backup/v1/spp"
POINTS = f"{BACKUP}/restore_points"
MACHINES = f"{COMPUTE}/virtual_machines"


def _job(platform: Platform, policy_id: str) -> str:
    return next(str(job["id"]) for job in platform.get(f"{BACKUP}/jobs") if job["policyId"] == policy_id)


def _run(platform: Platform, *machines: str, policy: str = "nightly") -> dict[str, Any]:
    """Run a policy; its session."""
    job = _job(platform, platform.made[policy])
    body: dict[str, Any] = {"jobId": job}
    if machines:
        body["virtualMachineIds"] = [platform.made[name] for name in machines]
    platform.done("POST", f"{BACKUP}/jobs/run", body)
    session: dict[str, Any] = next(entry for entry in platform.get(f"{BACKUP}/jobs/session") if entry["jobId"] == job)
    return session


def _points(platform: Platform, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = platform.get(POINTS, virtualMachineId=platform.made[name])
    return found


def _age(platform: Platform, days: int) -> None:
    """Every point is so much older."""
    with platform.services.database.write() as session:
        for point in session.scalars(sa.select(RestorePoint)):
            point.taken_at -= timedelta(days=days)


def _terms(platform: Platform, **changes: Any) -> None:
    platform.done("PATCH", f"{BACKUP}/policies/{platform.made['nightly']}/terms", changes)


def test_a_run_copies_each_machine_and_then_only_what_changed(backed: Platform) -> None:
    session = _run(backed)
    assert session["status"] == "COMPLETED"
    assert session["statistics"] == {"total": 2, "success": 2, "failed": 0, "skipped": 0}
    assert session["slaPolicies"][0]["name"] == "nightly"
    (first,) = _points(backed, "web")
    assert (first["state"], first["site"], first["storage"]) == ("good", "AZ07", "az07-vault")
    assert first["copied"] >= 65536
    tasks = backed.get(f"{BACKUP}/jobs/session/{session['id']}/virtual_machines")
    assert [(task["name"], task["status"]) for task in tasks] == [("data", "COMPLETED"), ("web", "COMPLETED")]
    _run(backed, "web")
    second, _ = _points(backed, "web")
    assert second["copied"] == 0, "nothing was written since"
    assert len(_points(backed, "data")) == 1
    history = backed.get(f"{BACKUP}/metrics/backup/history", range=2)
    assert (history["totalRuns"], history["success"], history["sucessPercent"]) == (2, 2, 100.0)
    assert backed.get(f"{BACKUP}/metrics/vm")["withBackup"] == 2
    coverage = backed.get(f"{BACKUP}/metrics/coverage")
    assert (coverage["protectedResources"], coverage["failedResources"]) == (2, 0)
    assert backed.settled() == []


def test_another_tenant_sees_and_changes_nothing(backed: Platform) -> None:
    other = backed.stranger("elsewhere")
    point = _points(backed, "web")[0]["id"]
    run = backed.get(f"{BACKUP}/jobs/session")[0]["id"]
    for path in (POINTS, f"{BACKUP}/restores", f"{BACKUP}/reports/stale", f"{BACKUP}/reports/unprotected"):
        assert other.get(path).json() == []
    assert other.get(POINTS, params={"virtualMachineId": backed.made["web"]}).json() == []
    assert other.get(f"{BACKUP}/reports/matrix").json()["machines"] == []
    foreign = (
        ("GET", f"{POINTS}/{point}", None),
        ("DELETE", f"{POINTS}/{point}", None),
        ("POST", f"{POINTS}/{point}/verify", None),
        ("POST", f"{POINTS}/{point}/restore", {"mode": "clone"}),
        ("GET", f"{BACKUP}/jobs/session/{run}/virtual_machines", None),
        ("GET", f"{BACKUP}/policies/{backed.made['nightly']}/terms", None),
        ("PATCH", f"{BACKUP}/policies/{backed.made['nightly']}/terms", {"keep": {"days": 1}}),
    )
    for method, path, body in foreign:
        assert backed.refused(method, path, body, client=other)["status"] == 404, path


def test_what_is_not_kept_any_longer_goes_and_the_last_good_point_never(backed: Platform) -> None:
    for _ in range(3):
        _age(backed, 1)
        _run(backed, "web")
    points = _points(backed, "web")
    assert len(points) == 3, "of three days, the two of the oldest day gone"
    assert [point["keptFor"] for point in points] == [["days", "last"], ["days"], ["days"]]
    used = backed.get(f"{BACKUP}/quota")["used"]
    assert used == sum(point["stored"] for name in ("web", "data") for point in _points(backed, name))
    vault = backed.rack.vault_points("az07-vault")
    assert sum(len(vault.points(held)) for held in vault.sets()) == 4
    _age(backed, 4000)
    _scheduler(backed).sweep()
    _settle(backed)
    assert len(_points(backed, "data")) == 1, "old, and the only one"
    assert len(_points(backed, "web")) == 3, "no newer day has come"


def _scheduler(platform: Platform, clock: datetime | None = None) -> Scheduler:
    """One that only does what it is told to."""
    engine: Any = platform.services.engine
    return Scheduler(platform.services.world, engine, clock=lambda: clock or datetime.now(UTC))


def _settle(platform: Platform) -> None:
    assert platform.settled() == []


def test_immutable_held_and_last_points_are_not_deleted(backed: Platform) -> None:
    _terms(backed, immutableDays=7)
    _run(backed, "web")
    newest, *older = _points(backed, "web")
    refused = backed.refused("DELETE", f"{POINTS}/{newest['id']}?force=true")
    assert refused["code"] == "protection.point_immutable"
    _terms(backed, immutableDays=0)
    assert backed.refused("DELETE", f"{POINTS}/{newest['id']}")["code"] == "protection.point_immutable", "terms of then"
    backed.done("POST", f"{BACKUP}/policies/{backed.made['nightly']}/hold")
    assert backed.refused("DELETE", f"{POINTS}/{older[0]['id']}")["code"] == "protection.point_held"
    _age(backed, 10)
    _scheduler(backed).sweep()
    _settle(backed)
    assert len(_points(backed, "web")) == len(older) + 1, "nothing expires while it is held"
    job = _job(backed, backed.made["nightly"])
    assert backed.refused("POST", f"{BACKUP}/jobs/run", {"jobId": job})["code"] == "protection.job_held"
    backed.done("POST", f"{BACKUP}/policies/{backed.made['nightly']}/release")
    backed.done("DELETE", f"{POINTS}/{older[0]['id']}")
    assert len(_points(backed, "web")) == len(older)
    only = _points(backed, "data")[0]["id"]
    assert backed.refused("DELETE", f"{POINTS}/{only}")["code"] == "protection.point_last"
    backed.done("DELETE", f"{POINTS}/{only}?force=true")
    assert _points(backed, "data") == []
    assert [row["name"] for row in backed.get(f"{BACKUP}/reports/stale")] == ["data", "web"]
    error = backed.refused("DELETE", f"{BACKUP}/policies/{backed.made['nightly']}")
    assert error["code"] == "protection.policy_in_use"


def test_one_run_at_a_time_and_the_clock_begins_each_once(backed: Platform) -> None:
    policy_id, due = backed.made["nightly"], datetime.now(UTC) + timedelta(days=1)
    scheduler, job = _scheduler(backed, due), _job(backed, backed.made["nightly"])
    before = len(backed.get(f"{BACKUP}/jobs/session"))
    scheduler.look()
    scheduler.look()
    _settle(backed)
    sessions = backed.get(f"{BACKUP}/jobs/session")
    assert len(sessions) == before + 1, "the clock says the next day: once, however often one looks"
    assert sessions[0]["jobId"] == job
    with backed.services.database.write() as session:
        session.get_one(BackupPlan, policy_id).handled_until = datetime.now(UTC)
    first = backed.write("POST", f"{BACKUP}/jobs/run", {"jobId": job})
    with backed.services.database.read() as session:
        busy = runs.running(session, policy_id)
    if busy is not None:  # else it has ended already
        scheduler.look()
    backed.ended(first)
    _settle(backed)
    terms = backed.get(f"{BACKUP}/policies/{policy_id}/terms")
    assert terms["overruns"] in (0, 1)
    with backed.services.database.write() as session:
        session.get_one(BackupPlan, policy_id).handled_until = datetime.now(UTC)


def test_a_copy_gives_way_to_changes_but_not_to_other_background_work(tmp_path: Path) -> None:
    """Two policies of one machine would give way to each other for ever."""
    database = Database(f"sqlite:///{tmp_path}/naos.db")
    for table in (Activity, ActivityLock):
        Base.metadata.tables[table.__tablename__].create(database.engine)
    work = {"tenant_id": "t", "actor_id": "a", "kind": "k", "description": "d", "type": "t", "build": "b"}
    work |= {"tags": [], "concerned": [], "arguments": {}, "locks": []}
    with database.write() as session:
        for number, (name, state) in enumerate((("mine", "running"), ("other", "waiting"))):
            session.add(Activity(id=name, sequence=number, state=state, preemptible=True, **work))
            session.flush()
            session.add(ActivityLock(activity_id=name, resource="flatten:disk", sequence=number, shared=False))
    world: Any = SimpleNamespace(database=database)
    courtesy = taking.Courtesy(world, "mine")
    assert not courtesy.somebody_waits()
    with database.write() as session:
        session.execute(sa.update(Activity).where(Activity.id == "other").values(preemptible=False))
    assert courtesy.somebody_waits()
    assert not courtesy(), "not before a second has passed"
    database.close()


def test_a_full_quota_stops_copies_in_words(backed: Platform) -> None:
    _run(backed, "data")
    backed.done("PUT", f"{BACKUP}/quota", {"size": 1})
    assert backed.get(f"{BACKUP}/quota")["alarm"] == "critical"
    session = _run(backed, "web")
    assert session["status"] == "FAILED"
    (task,) = backed.get(f"{BACKUP}/jobs/session/{session['id']}/virtual_machines")
    assert "and may have" in task["reason"]
    assert backed.get(f"{BACKUP}/metrics/coverage")["failedResources"] == 1
    day = backed.get(f"{BACKUP}/reports/matrix", days=1)
    assert {row["name"]: row["days"] for row in day["machines"]} == {"data": ["good"], "web": ["good"]}
    text = backed.client.get(f"{BACKUP}/reports/matrix.csv", params={"days": 1}).text
    assert text.splitlines()[1] == f"data,{backed.made['data']},good"
    backed.done("PUT", f"{BACKUP}/quota", {"size": None})


def test_a_disk_with_a_set_of_its_own_and_a_machine_that_left_the_zone(backed: Platform) -> None:
    body = {"virtualMachineId": backed.made["data"], "datastoreId": backed.made["volume-AZ05"], "capacity": 2**30}
    extra = backed.done(
        "POST", f"{COMPUTE}/virtual_disks", {**body, "provisioningType": "dynamic", "diskMode": "persistent"}
    )
    own = {"virtualDiskId": extra, "slaPolicies": []}
    backed.done("POST", f"{BACKUP}/policies/assign/virtual_disk", own)
    _run(backed, "data")
    newest = _points(backed, "data")[0]
    assert extra not in [disk["id"] for disk in newest["disks"]]
    assert "excluded" in newest["note"]
    backed.done("POST", f"{BACKUP}/policies/assign/virtual_disk", {**own, "slaPolicies": None})
    _run(backed, "data")
    assert extra in [disk["id"] for disk in _points(backed, "data")[0]["disks"]]


def test_a_guest_at_rest_a_guest_without_an_agent_and_a_stopped_one(backed: Platform) -> None:
    assert _points(backed, "web")[0]["consistency"] in {"crash", "quiesced"}
    backed.done("PATCH", POWER, {"id": backed.made["web"], "powerAction": "off"})
    _run(backed, "web")
    assert _points(backed, "web")[0]["consistency"] == "stopped"
    backed.done("PATCH", POWER, {"id": backed.made["web"], "powerAction": "on"})


def test_damage_is_found_and_noted(backed: Platform) -> None:
    newest = _points(backed, "data")[0]
    backed.done("POST", f"{POINTS}/{newest['id']}/verify")
    assert _points(backed, "data")[0]["verifiedAt"] is not None
    disk_id = newest["disks"][0]["id"]
    backed.rack.faults.flip("az07-vault", _set_of(backed, newest["id"]), newest["id"], disk_id, 65536)
    backed.done("POST", f"{POINTS}/{newest['id']}/verify")
    damaged = _points(backed, "data")[0]
    assert damaged["state"] == "damaged"
    assert "at byte 65536" in damaged["note"]
    refused = backed.refused("POST", f"{POINTS}/{newest['id']}/restore", {"mode": "test"})
    assert refused["code"] == "protection.point_not_ready"
    _run(backed, "data")
    assert newest["id"] not in [point["id"] for point in _points(backed, "data")], "a good one has come"


def _set_of(platform: Platform, point_id: str) -> str:
    with platform.services.database.read() as session:
        return session.get_one(RestorePoint, point_id).set_id


# ------------------------------------------------------------------------------------------------------------- restores


def test_a_test_is_apart_and_goes_or_stays(backed: Platform) -> None:
    point = _points(backed, "web")[0]["id"]
    made = backed.done("POST", f"{POINTS}/{point}/restore", {"mode": "test", "powerOn": True})
    machine = backed.machine(made)
    assert machine["powerState"] == "running"
    assert machine["name"].startswith("web-test-")
    (adapter,) = backed.get(f"{COMPUTE}/network_adapters", virtualMachineId=made)
    (original,) = backed.get(f"{COMPUTE}/network_adapters", virtualMachineId=backed.made["web"])
    assert adapter["network"]["id"] != original["network"]["id"], "a network of its own"
    assert adapter["macAddress"] != original["macAddress"]
    restore = backed.get(f"{BACKUP}/restores")[0]
    assert (restore["state"], restore["mode"], restore["virtualMachineId"]) == ("test", "test", made)
    backed.done("POST", f"{BACKUP}/restores/{restore['id']}/clean_up")
    assert backed.client.get(f"{MACHINES}/{made}").status_code == 404
    assert adapter["network"]["id"] not in [vlan["id"] for vlan in backed.get(f"{COMPUTE}/networks")]
    made = backed.done("POST", f"{POINTS}/{point}/restore", {"mode": "test", "name": "kept"})
    (restore,) = [entry for entry in backed.get(f"{BACKUP}/restores") if entry["virtualMachineId"] == made]
    backed.done("POST", f"{BACKUP}/restores/{restore['id']}/convert", {})
    (adapter,) = backed.get(f"{COMPUTE}/network_adapters", virtualMachineId=made)
    assert adapter["network"]["id"] == original["network"]["id"]
    assert backed.get(f"{BACKUP}/restores/{restore['id']}")["state"] == "done"
    backed.done("DELETE", f"{MACHINES}/{made}")
    _settle(backed)


def test_a_boot_test_says_how_the_guest_did_and_leaves_nothing(backed: Platform) -> None:
    point = _points(backed, "web")[0]["id"]
    machines = backed.get(MACHINES)
    backed.done("POST", f"{POINTS}/{point}/boot_test")
    assert backed.get(f"{POINTS}/{point}")["bootNote"].startswith("alive")
    backed.rack.faults.fail_next("hypervisor.start", EngineError("the blade", "starting", "no power"))
    backed.done("POST", f"{POINTS}/{point}/boot_test")
    assert "no power" in backed.get(f"{POINTS}/{point}")["bootNote"]
    _terms(backed, bootDays=1)
    with backed.services.database.write() as session:
        session.execute(sa.update(RestorePoint).values(booted_at=None, boot_note=""))
    for _ in range(3):
        _scheduler(backed).sweep()
        _settle(backed)
    newest = {name: _points(backed, name)[0]["bootNote"][:5] for name in ("web", "data")}
    assert newest == {"web": "alive", "data": "alive"}
    assert sum(found["bootNote"] != "" for found in backed.get(POINTS)) == 2, "one of each machine"
    _terms(backed, bootDays=0)
    assert [row["name"] for row in backed.get(MACHINES)] == [row["name"] for row in machines]
    assert [vlan["name"] for vlan in backed.get(f"{COMPUTE}/networks")] == ["front"]


def test_a_clone_has_an_identity_of_its_own_anywhere(backed: Platform) -> None:
    point = _points(backed, "web")[0]["id"]
    elsewhere = {"hostClusterId": backed.made["pool-AZ06"], "datastoreId": backed.made["volume-AZ06"]}
    refused = backed.refused(
        "POST", f"{POINTS}/{point}/restore", {"mode": "clone", "hostClusterId": elsewhere["hostClusterId"]}
    )
    assert refused["code"] == "protection.place_gone"
    made = backed.done("POST", f"{POINTS}/{point}/restore", {"mode": "clone", "name": "web-2", **elsewhere})
    machine, original = backed.machine(made), backed.machine(backed.made["web"])
    assert (machine["cpu"], machine["memory"]) == (original["cpu"], original["memory"])
    (disk,) = backed.get(f"{COMPUTE}/virtual_disks", virtualMachineId=made)
    assert disk["datastore"]["id"] == elsewhere["datastoreId"]
    backed.done("PATCH", POWER, {"id": made, "powerAction": "on"})
    backed.remove(made)
    assert (
        backed.refused("POST", f"{POINTS}/{point}/restore", {"mode": "clone", "name": "data"})["code"]
        == "naos.name_taken"
    )
    _settle(backed)


@pytest.mark.parametrize(("left", "fits"), [(0, False), (1, True), (2**30, True)], ids=["too-small", "same", "larger"])
def test_only_a_volume_without_room_is_refused_before_a_byte_is_written(
    backed: Platform, left: int, *, fits: bool
) -> None:
    """A volume of the same size or another, with just enough free space or more, takes a restore; a disk keeps its size in bytes."""
    point, volume = _points(backed, "web")[0], backed.made["volume-AZ06"]
    (held,) = point["disks"]
    body = {"mode": "clone", "name": "roomy", "hostClusterId": backed.made["pool-AZ06"], "datastoreId": volume}
    array = backed.rack.array("az06-array")
    before = array.contents(volume).disks
    backed.rack.faults.fill(volume, left=left * held["size"] if left == 1 else left)
    try:
        if fits:
            made = backed.done("POST", f"{POINTS}/{point['id']}/restore", body)
            (disk,) = backed.get(f"{COMPUTE}/virtual_disks", virtualMachineId=made)
            assert disk["capacity"] == held["size"]
            backed.done("DELETE", f"{MACHINES}/{made}")
        else:
            error = backed.refused("POST", f"{POINTS}/{point['id']}/restore", body)
            assert error["status"] == 507, error
            assert backed.get(MACHINES, name="roomy") == []
        assert array.contents(volume).disks == before
    finally:
        backed.rack.faults.empty(volume)
    _settle(backed)


def test_production_keeps_the_old_disks_until_somebody_decides(backed: Platform) -> None:
    web, point = backed.made["web"], _points(backed, "web")[0]
    before = [disk["id"] for disk in backed.get(f"{COMPUTE}/virtual_disks", virtualMachineId=web)]
    restore = f"{POINTS}/{point['id']}/restore"
    assert backed.refused("POST", restore, {"mode": "production"})["code"] == "compute.wrong_power"
    backed.done("PATCH", POWER, {"id": web, "powerAction": "off"})
    assert (
        backed.refused("POST", restore, {"mode": "production", "name": "x"})["code"] == "protection.not_for_production"
    )
    for decision in ("take_back", "confirm", "confirm"):
        present = [disk["id"] for disk in backed.get(f"{COMPUTE}/virtual_disks", virtualMachineId=web)]
        assert backed.done("POST", restore, {"mode": "production"}) == web
        after = [disk["id"] for disk in backed.get(f"{COMPUTE}/virtual_disks", virtualMachineId=web)]
        assert not set(after) & set(present)
        assert len(after) == len(present), "in its place, whatever was restored before"
        found = next(entry for entry in backed.get(f"{BACKUP}/restores") if entry["state"] == "replaced")
        assert found["oldDisks"] == present
        assert backed.refused("POST", restore, {"mode": "production"})["code"] == "protection.restore_undecided"
        backed.done("PATCH", POWER, {"id": web, "powerAction": "on"})
        backed.done("PATCH", POWER, {"id": web, "powerAction": "off"})
        backed.done("POST", f"{BACKUP}/restores/{found['id']}/{decision}")
        left = [disk["id"] for disk in backed.get(f"{COMPUTE}/virtual_disks", virtualMachineId=web)]
        assert left == (present if decision == "take_back" else after)
        again = backed.refused("POST", f"{BACKUP}/restores/{found['id']}/{decision}")
        assert again["code"] == "protection.restore_state"
    assert before != [disk["id"] for disk in backed.get(f"{COMPUTE}/virtual_disks", virtualMachineId=web)]
    _settle(backed)


def test_a_deleted_machine_comes_back_as_itself(backed: Platform) -> None:
    data = backed.made["data"]
    (adapter,) = backed.get(f"{COMPUTE}/network_adapters", virtualMachineId=data)
    backed.remove(data)
    assert len(_points(backed, "data")) >= 1
    point = _points(backed, "data")[0]
    assert backed.done("POST", f"{POINTS}/{point['id']}/restore", {"mode": "production"}) == data
    machine = backed.machine(data)
    assert (machine["name"], machine["powerState"]) == ("data", "stopped")
    (again,) = backed.get(f"{COMPUTE}/network_adapters", virtualMachineId=data)
    assert (again["macAddress"], again["network"]["id"]) == (adapter["macAddress"], adapter["network"]["id"])
    assert len(backed.get(f"{COMPUTE}/virtual_disks", virtualMachineId=data)) == len(point["disks"])
    backed.done("PATCH", POWER, {"id": data, "powerAction": "on"})
    _settle(backed)


def test_chosen_disks_only(backed: Platform) -> None:
    point = next(point for point in backed.get(POINTS) if len(point["disks"]) == 2)
    wanted = point["disks"][0]["id"]
    body = {"mode": "clone", "name": "one-disk", "diskIds": [wanted]}
    made = backed.done("POST", f"{POINTS}/{point['id']}/restore", body)
    assert len(backed.get(f"{COMPUTE}/virtual_disks", virtualMachineId=made)) == 1
    backed.done("DELETE", f"{MACHINES}/{made}")
    refused = backed.refused("POST", f"{POINTS}/{point['id']}/restore", {**body, "diskIds": [made]})
    assert refused["code"] == "protection.disks_unknown"


@pytest.mark.parametrize(
    "call",
    ["array.begin_point", "array.point", "array.close_point", "points.receive", "points.seal", "array.known_bases"],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_machine_whose_copy_failed_is_copied_the_next_time(backed: Platform, call: str, late: bool) -> None:
    """Whatever was under way is taken back, in words, and what could be restored before still can."""
    before = [point["id"] for point in _points(backed, "web")]
    backed.rack.faults.fail_next(call, EngineError("the rack", "copying", "the link is cut"), late=late)
    session = _run(backed, "web")
    (task,) = backed.get(f"{BACKUP}/jobs/session/{session['id']}/virtual_machines")
    if session["status"] != "COMPLETED":
        assert "the link is cut" in task["reason"]
        assert [point["id"] for point in _points(backed, "web")] == before
    assert _run(backed, "web")["status"] == "COMPLETED"
    with backed.services.database.read() as reading:
        assert set(reading.scalars(sa.select(RestorePoint.state))) == {"good"}
    for point in backed.get(POINTS):
        kept = backed.rack.vault_points("az07-vault").points(_set_of(backed, point["id"]))
        assert point["id"] in [entry.id for entry in kept]
    _settle(backed)
