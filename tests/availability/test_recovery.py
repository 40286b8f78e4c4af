"""A whole controller over a simulated rack: blades die, are cut off, lose their storage, and come back."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos import insistence
from naos.activity.models import Activity
from naos.availability.errors import AdmissionRefused
from naos.compute import steps
from naos.engines.errors import EngineError, Unreachable
from naos.engines.simulated.hypervisor import SimulatedHypervisor

AVAILABILITY = f"{COMPUTE}/availability"


def until(condition: Callable[[], Any], what: str, seconds: float = 40.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def _condition(platform: Platform, blade: str) -> str:
    rows = platform.get(f"{AVAILABILITY}/hosts")
    return next(str(row["condition"]) for row in rows if row["name"] == blade)


def _recoveries(platform: Platform, machine_id: str) -> list[dict[str, Any]]:
    return [row for row in platform.get(f"{AVAILABILITY}/recoveries") if row["virtualMachineId"] == machine_id]


def _host(platform: Platform, machine_id: str) -> str:
    return str(platform.machine(machine_id)["host"]["name"])


def _running_on(platform: Platform, machine_id: str) -> list[str]:
    """Where the world runs it, unreachable blades included."""
    with platform.rack._store.transaction() as db:
        rows = db.execute(
            "SELECT blade, state FROM domains WHERE id = ? AND state IN ('running', 'io-error')", (machine_id,)
        ).fetchall()
    return [f"{row['blade']}:{row['state']}" for row in rows]


def _other(blade: str) -> str:
    return blade[:-1] + ("2" if blade.endswith("1") else "1")


def _seen(platform: Platform, *blades: str) -> None:
    """Wait until the array has seen these blades, as it has after the first seconds."""
    for blade in blades:
        until(lambda blade=blade: _was_seen(platform, blade), f"{blade} is seen")  # type: ignore[misc]


def _was_seen(platform: Platform, blade: str) -> bool:
    with platform.services.database.read() as session:
        return bool(
            session.scalar(sa.text("SELECT seen FROM blade_conditions WHERE blade = :blade").bindparams(blade=blade))
        )


def _whole(platform: Platform, *blades: str) -> None:
    for blade in blades:
        until(lambda blade=blade: _condition(platform, blade) == "healthy", f"{blade} is healthy")  # type: ignore[misc]
        until(lambda blade=blade: _connected(platform, blade), f"{blade} is connected")  # type: ignore[misc]


def _connected(platform: Platform, blade: str) -> bool:
    hosts = platform.get(f"{COMPUTE}/hosts")
    return bool(next(host["metrics"]["connected"] for host in hosts if host["name"] == blade))


def test_machines_of_a_dead_blade_run_on_another_one_and_nothing_is_left_when_it_comes_back(
    available: Platform,
) -> None:
    blades = ("az05-blade1", "az05-blade2")
    _seen(available, *blades)
    machines = [available.deploy(f"lost-{number}") for number in range(3)]
    victim = _host(available, machines[0])
    there = [machine for machine in machines if _host(available, machine) == victim]
    off = available.deploy("stays-off", powerOn=False)
    available.rack.chassis(victim).off()
    for machine in there:
        until(lambda machine=machine: _running_on(available, machine) == [f"{_other(victim)}:running"], "it is back")  # type: ignore[misc]
        until(lambda machine=machine: _recoveries(available, machine)[0]["progress"] == "recovered", "it is noted")  # type: ignore[misc]
    assert _condition(available, victim) == "dead"
    assert not _connected(available, victim)
    assert available.machine(off)["powerState"] == "stopped"
    assert _recoveries(available, off) == []
    available.rack.chassis(victim).on()
    _whole(available, *blades)
    assert available.settled() == []
    for machine in machines:
        assert len(_recoveries(available, machine)) == (1 if machine in there else 0)
    for machine in (*machines, off):
        available.remove(machine)


def test_3_a_blade_that_only_management_lost_keeps_its_machines_and_they_write_on(available: Platform) -> None:
    """Row 3 of the complaints: exactly one writer at any time; row 4: never `stopped` without evidence."""
    machine = available.deploy("unmanaged")
    blade = _host(available, machine)
    _seen(available, blade)
    disk = available.get(f"{COMPUTE}/virtual_disks", virtualMachineId=machine)[0]["id"]
    available.rack.faults.cut(blade)
    until(lambda: _condition(available, blade) == "unmanaged", "it is unmanaged")
    time.sleep(6)
    assert available.rack.faults.write(blade, machine, disk, 4096)
    assert _running_on(available, machine) == [f"{blade}:running"]
    assert available.machine(machine)["powerState"] == "running"
    assert available.rack.chassis(blade).power() == "on"
    available.rack.faults.join(blade)
    _whole(available, blade)
    assert _recoveries(available, machine) == []
    assert available.machine(machine)["powerState"] == "running"
    assert available.settled() == []
    available.remove(machine)


def test_a_blade_that_is_silent_to_both_is_lost_though_its_chassis_is_not_reached(available: Platform) -> None:
    """Cut off from everything: its guest still runs, and can write nothing once its machine runs elsewhere."""
    machine = available.deploy("both")
    blade = _host(available, machine)
    _seen(available, blade, _other(blade))
    disk = available.get(f"{COMPUTE}/virtual_disks", virtualMachineId=machine)[0]["id"]
    for _ in range(200):
        available.rack.faults.fail_next("chassis.power", Unreachable(blade, "power", "no answer"), engine=blade)
    available.rack.faults.detach(blade)
    available.rack.faults.cut(blade)
    until(lambda: f"{_other(blade)}:running" in _running_on(available, machine), "it is back")
    assert f"{blade}:io-error" in _running_on(available, machine)
    available.rack.faults.attach(blade)
    assert not available.rack.faults.write(blade, machine, disk, 4096)
    available.rack.faults.join(blade)
    _whole(available, blade)
    assert _running_on(available, machine) == [f"{_other(blade)}:running"]
    with available.rack._store.transaction() as db:
        db.execute("DELETE FROM faults")
    assert available.settled() == []
    available.remove(machine)


def test_a_blade_that_lost_only_its_storage_gives_its_machines_to_another(available: Platform) -> None:
    machine = available.deploy("storage")
    blade = _host(available, machine)
    _seen(available, blade, _other(blade))
    available.rack.faults.detach(blade)
    until(lambda: _running_on(available, machine) == [f"{_other(blade)}:running"], "it is back", 60)
    assert _condition(available, blade) == "storage_lost"
    assert available.rack.chassis(blade).power() == "on"
    available.rack.faults.attach(blade)
    _whole(available, blade)
    assert available.settled() == []
    available.remove(machine)


def test_an_array_daemon_that_dies_is_nobodys_fault(available: Platform) -> None:
    machine = available.deploy("daemon")
    blade = _host(available, machine)
    available.rack.faults.kill_daemon(available.made["volume-AZ05"])
    until(lambda: _running_on(available, machine) == [f"{blade}:running"], "it goes on")
    assert _recoveries(available, machine) == []
    assert available.settled() == []
    available.remove(machine)


def test_a_crashed_machine_is_started_at_once_and_not_more_often_than_its_limit(available: Platform) -> None:
    machine = available.deploy("crashing")
    available.done("PATCH", f"{COMPUTE}/virtual_machines/{machine}/availability", {"restartLimit": 1})
    available.rack.faults.crash(_host(available, machine), machine)
    until(lambda: [row["progress"] for row in _recoveries(available, machine)] == ["recovered"], "it is back")
    assert len(_running_on(available, machine)) == 1
    available.rack.faults.crash(_host(available, machine), machine)
    until(lambda: available.machine(machine)["powerState"] == "stopped", "it is noted")
    (latest, _) = _recoveries(available, machine)
    assert (latest["progress"], latest["reason"]) == ("abandoned", "it was started again 1 times within an hour")
    assert _running_on(available, machine) == []
    assert available.settled() == []
    available.done("DELETE", f"{COMPUTE}/virtual_machines/{machine}")


def test_a_guest_that_shuts_itself_down_or_has_no_priority_stays_down(available: Platform) -> None:
    machine = available.deploy("obeys")
    available.rack.hypervisor(_host(available, machine)).shutdown(machine)
    until(lambda: available.machine(machine)["powerState"] == "stopped", "it is noted")
    assert _recoveries(available, machine) == []
    available.done("PATCH", f"{COMPUTE}/virtual_machines/{machine}/availability", {"priority": "disabled"})
    available.done("PATCH", POWER, {"id": machine, "powerAction": "on"})
    available.rack.faults.crash(_host(available, machine), machine)
    until(lambda: available.machine(machine)["powerState"] == "stopped", "it is noted")
    assert _recoveries(available, machine) == []
    available.done("DELETE", f"{COMPUTE}/virtual_machines/{machine}")


def test_8_a_machine_without_room_waits_with_one_reason_and_starts_once_there_is(available: Platform) -> None:
    """Row 8 of the complaints: recovery must not loop silently, nor be forgotten."""
    pool = available.get(f"{COMPUTE}/host_clusters/{available.made['pool-AZ06']}/availability")
    assert (pool["connectedHosts"], pool["survives"]) == (2, True)
    _seen(available, "az06-blade1", "az06-blade2")
    size = 3 * 2**30
    machines = [available.deploy(f"large-{number}", zone="AZ06", memory=size) for number in range(2)]
    hosts = [_host(available, machine) for machine in machines]
    assert sorted(hosts) == ["az06-blade1", "az06-blade2"]
    available.rack.chassis(hosts[0]).off()
    waiting = until(
        lambda: [row for row in _recoveries(available, machines[0]) if row["progress"] == "waiting" and row["reason"]],
        "it waits",
    )
    assert f"{hosts[1]}: " in waiting[0]["reason"]
    assert f"{hosts[0]}: dead" in waiting[0]["reason"]
    time.sleep(2)
    with available.services.database.read() as session:
        tries = session.scalar(
            sa.select(sa.func.count()).where(
                Activity.kind == "virtual_machine.recover", Activity.arguments["machine_id"].as_string() == machines[0]
            )
        )
    assert tries == 0
    available.done("PATCH", POWER, {"id": machines[1], "powerAction": "off"})
    until(lambda: _running_on(available, machines[0]) == [f"{hosts[1]}:running"], "it starts")
    available.rack.chassis(hosts[0]).on()
    _whole(available, *hosts)
    assert available.settled() == []
    available.remove(machines[0])
    available.done("DELETE", f"{COMPUTE}/virtual_machines/{machines[1]}")


def test_a_lost_machine_heeds_a_rule_that_must_hold_and_not_one_that_only_should(available: Platform) -> None:
    _seen(available, "az06-blade1", "az06-blade2")
    machines = [available.deploy(f"apart-{number}", zone="AZ06", memory=3 * GIB) for number in range(2)]
    hosts = [_host(available, machine) for machine in machines]
    assert sorted(hosts) == ["az06-blade1", "az06-blade2"]
    with available.services.database.write() as session:
        session.execute(sa.text("UPDATE virtual_machines SET memory = :m, reserved = :m").bindparams(m=GIB))
    body = {"name": "apart", "type": "anti-affinity", "hostClusterId": available.made["pool-AZ06"], "must": True}
    made = available.client.post(f"{COMPUTE}/affinity_rules", json={**body, "virtualMachineIds": machines})
    assert made.status_code == 201, made.text
    rule = f"{COMPUTE}/affinity_rules/{made.json()['id']}"
    available.rack.chassis(hosts[0]).off()
    waiting = until(
        lambda: [row for row in _recoveries(available, machines[0]) if row["progress"] == "waiting" and row["reason"]],
        "it waits",
    )
    until(lambda: "'apart'" in _recoveries(available, machines[0])[0]["reason"], f"the rule is named, not {waiting}")
    assert _running_on(available, machines[0]) == []
    assert available.client.patch(rule, json={"must": False}).status_code == 200
    until(lambda: _running_on(available, machines[0]) == [f"{hosts[1]}:running"], "it starts")
    available.rack.chassis(hosts[0]).on()
    _whole(available, *hosts)
    assert available.client.delete(rule).status_code == 204
    assert available.settled() == []
    for machine in machines:
        available.remove(machine)


def test_10_what_somebody_stopped_while_it_waited_stays_off(available: Platform) -> None:
    """Row 10 of the complaints: a desired state of `stopped` never starts, neither then nor when its blade returns."""
    size = 3 * 2**30
    machines = [available.deploy(f"wide-{number}", zone="AZ06", memory=size) for number in range(2)]
    hosts = [_host(available, machine) for machine in machines]
    available.rack.chassis(hosts[0]).off()
    until(lambda: [row["progress"] for row in _recoveries(available, machines[0])] == ["waiting"], "it waits")
    available.done("PATCH", POWER, {"id": machines[0], "powerAction": "off"})
    available.rack.chassis(hosts[0]).on()
    _whole(available, *hosts)
    time.sleep(1)
    assert _running_on(available, machines[0]) == []
    assert [row["progress"] for row in _recoveries(available, machines[0])] == ["abandoned"]
    assert available.settled() == []
    available.done("DELETE", f"{COMPUTE}/virtual_machines/{machines[0]}")
    available.remove(machines[1])


def test_room_is_kept_for_a_loss_shown_before_it_bites_and_checked_at_power_on(available: Platform) -> None:
    path = f"{COMPUTE}/host_clusters/{available.made['pool-AZ06']}/availability"
    available.done("PATCH", path, {"toleratedLosses": 1})
    size = 3 * 2**29
    first = available.deploy("first", zone="AZ06", memory=size)
    second = available.deploy("second", zone="AZ06", memory=size, powerOn=False)
    shown = available.get(path)
    assert shown["usedMemory"] == size
    assert shown["room"] == shown["keptMemory"] - size
    big = available.deploy("big", zone="AZ06", memory=shown["room"] + 2**20, powerOn=False)
    error = available.refused("PATCH", POWER, {"id": big, "powerAction": "on"})
    assert error["code"] == "availability.admission_refused"
    # of two that ask at once, and of which one fits, one starts
    third = available.deploy("third", zone="AZ06", memory=size, powerOn=False)
    asked = [available.client.patch(POWER, json={"id": machine, "powerAction": "on"}) for machine in (second, third)]
    ended = [available.ended(answer.headers["Location"])["state"] for answer in asked if "Location" in answer.headers]
    said = [answer.text for answer in asked if "Location" not in answer.headers]  # the first was quick
    said += [state["failed"]["reason"] for state in ended if "failed" in state]
    assert sum("completed" in state for state in ended) == len(said) == 1
    assert "keeps room for the loss of 1 of its 2" in said[0]
    assert available.get(path)["usedMemory"] == 2 * size
    # nor does one that runs grow into the room, nor does a blade leave
    with pytest.raises(AdmissionRefused, match="Machine 'first' gets no memory"):
        steps.reserve(available.services.world, first, 3 * GIB, 1)
    available.done("PATCH", path, {"toleratedLosses": 0, "keptPercent": 60})
    shown = available.get(path)
    assert (shown["keptMemory"], shown["room"]) == (int(8 * GIB * 0.4), int(8 * GIB * 0.4) - 2 * size)
    error = available.refused("PATCH", POWER, {"id": big, "powerAction": "on"})
    assert "60 % of the memory of its 2 connected blade(s)" in error["message"]
    available.done("PATCH", path, {"keptPercent": 0})
    for machine in (first, second, third):
        available.remove(machine)
    available.done("DELETE", f"{COMPUTE}/virtual_machines/{big}")
    empty = available.get(f"{COMPUTE}/hosts", name="az06-blade2")[0]["id"]
    error = available.refused("DELETE", f"{COMPUTE}/host_clusters/{available.made['pool-AZ06']}/hosts/{empty}")
    assert error["code"] == "availability.too_few_blades"


def test_a_guest_whose_agent_fell_silent_is_reset_by_policy(
    available: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = available.deploy("hangs")
    available.done("PATCH", f"{COMPUTE}/virtual_machines/{machine}/availability", {"hungAfter": 3})
    time.sleep(3)
    monkeypatch.setattr(SimulatedHypervisor, "agent_ping", lambda _own, machine_id: machine_id != machine)
    until(lambda: "virtual_machine.reset" in _kinds(available, machine), "it is reset")
    available.done("PATCH", f"{COMPUTE}/virtual_machines/{machine}/availability", {"hungAfter": 0})
    available.remove(machine)


def _kinds(platform: Platform, machine_id: str) -> list[str]:
    with platform.services.database.read() as session:
        rows = session.scalars(
            sa.select(Activity.kind).where(Activity.arguments["machine_id"].as_string() == machine_id)
        )
        return list(rows)


@pytest.mark.parametrize("body", [{"toleratedLosses": 2}, {"enabled": "yes"}, {"toleratedLosses": -1}, {"on": True}])
def test_settings_that_cannot_be_are_refused(available: Platform, body: dict[str, Any]) -> None:
    available.refused("PATCH", f"{COMPUTE}/host_clusters/{available.made['pool-AZ05']}/availability", body)


def test_another_tenant_sees_and_changes_nothing(available: Platform) -> None:
    stranger = available.stranger()
    pool = available.made["pool-AZ05"]
    assert stranger.get(f"{COMPUTE}/host_clusters/{pool}/availability").status_code == 404
    assert stranger.patch(f"{COMPUTE}/host_clusters/{pool}/availability", json={"enabled": False}).status_code == 404
    assert stranger.get(f"{AVAILABILITY}/hosts").json() == []
    assert stranger.get(f"{AVAILABILITY}/recoveries").json() == []


def test_what_was_left_behind_goes_when_the_blade_is_back(available: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    blade = "az05-blade1"
    _seen(available, blade)
    engine, faults = available.services.engine, available.rack.faults
    with monkeypatch.context() as hasty:
        hasty.setattr(engine, "_services", replace(engine._services, undo_pauses=()))
        hasty.setattr(insistence, "PAUSES_SECONDS", ())
        boom = EngineError("az05-array", "work", "boom")
        faults.fail_next("hypervisor.start", boom)
        for _ in range(20):
            faults.fail_next("array.delete_disk", boom)
        assert "Not undone" in available.failed("POST", available.deploy_path, available.deployment("sticky"))
    with faults._store.transaction() as db:
        db.execute("DELETE FROM faults")
    assert available.get("/platform/v1/doctor")
    faults.cut(blade)
    until(lambda: _condition(available, blade) != "healthy", "it is missed")
    faults.join(blade)
    until(lambda: available.get("/platform/v1/doctor") == [], "nothing is left")
    assert available.get(f"{COMPUTE}/virtual_machines", name="sticky") == []


def test_a_snapshot_of_one_volume_is_taken_back_though_its_blade_is_lost(available: Platform) -> None:
    """Nobody made the guest stand still for it, so nobody has to ask the blade."""
    machine = available.deploy("snapped")
    blade = str(available.machine(machine)["host"]["name"])
    _seen(available, blade)
    available.rack.faults.cut(blade)
    body = {"virtualMachineId": machine, "name": "one", "description": "", "quiesce": False}
    assert "did not answer" in available.failed("POST", f"{COMPUTE}/snapshots", body)
    available.rack.faults.join(blade)
    assert available.settled() == []
    assert available.get(f"{COMPUTE}/snapshots", virtualMachineId=machine) == []
    available.remove(machine)
