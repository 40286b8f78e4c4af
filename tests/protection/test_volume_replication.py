"""Replicated volumes over HTTP on a simulated rack: what may be replicated, the age of the copy, the alarm, what follows what."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from naos_commands import Commands
from simulated_platform import COMPUTE, GIB, Platform, furnished_in, inventory_text

from naos.engines.simulated.points import SimulatedSourcing
from naos.protection import copying
from naos.protection.copying import Progress, Where
from naos.protection.replication import pacing, replications, rules
from naos.protection.replication.models import LunReplication
from naos.protection.replication.replicator import Replicator, _Noted
from naos.units import MIB

VOLUMES = "/replication/v1/volumes"
DATASTORES = f"{COMPUTE}/datastores"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A machine on volume-AZ05; points follow each other quickly."""
    folder: Path = tmp_path_factory.mktemp("platform")
    text = inventory_text().replace('{ name = "AZ06" } ]', '{ name = "AZ06" }, { name = "AZ07" } ]')
    text += '[[regions]]\nname = "FR2"\nzones = [ { name = "AZ21" } ]\n'
    (folder / "inventory.toml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "INTERVAL", timedelta(seconds=0.2))
        patch.setattr(rules, "REST", timedelta(seconds=0.1))
        with furnished_in(folder) as made:
            made.made["web"] = made.deploy("web")
            yield made


def _until(look: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def _request(platform: Platform, **changes: object) -> dict[str, object]:
    return {"volumeId": platform.made["volume-AZ05"], "zoneId": "AZ06", **changes}


def _row(platform: Platform, replication_id: str) -> LunReplication:
    with platform.services.database.read() as session:
        return session.get_one(LunReplication, replication_id)


def test_refusals_name_the_rule(platform: Platform) -> None:
    def refused(**changes: object) -> dict[str, Any]:
        return platform.refused("POST", VOLUMES, _request(platform, **changes))

    synchronous = refused(mode="synchronous")
    assert synchronous["code"] == "replication.synchronous_ended"
    assert "no longer offered" in synchronous["message"]
    assert refused(mode="quantum")["code"] == "replication.mode_unknown"
    assert "same zone" in refused(zoneId="AZ05")["message"]
    assert "no array" in refused(zoneId="AZ07")["message"]
    assert "another region" in refused(zoneId="AZ21")["message"]
    assert refused(volumeId="12345678-1234-5678-1234-567812345678")["status"] == 404
    ultra = {"name": "fast", "datacenterId": "AZ05", "storageClass": "ultra", "capacity": 500 * GIB}
    fast = platform.done("POST", DATASTORES, ultra)
    of_class = refused(volumeId=fast)
    assert of_class["code"] == "replication.class"
    assert "essential, standard, premium" in of_class["message"]
    platform.done("DELETE", f"{DATASTORES}/{fast}")
    assert platform.get(VOLUMES) == []


def test_a_volume_is_replicated_and_what_befalls_it_follows(platform: Platform) -> None:
    source = platform.made["volume-AZ05"]
    made = platform.done("POST", VOLUMES, _request(platform))
    shown = _until(lambda: (found := platform.get(f"{VOLUMES}/{made}"))["recoveryPoint"]["pointId"] and found)
    assert (shown["mode"], shown["status"], shown["health"], shown["failure"]) == (
        "asynchronous",
        "active",
        "kept",
        None,
    )
    assert shown["source"]["id"] == source
    assert (shown["replica"]["zone"], shown["replica"]["storageClass"]) == ("AZ06", "standard")
    assert shown["replica"]["capacity"] == shown["source"]["capacity"]
    assert shown["recoveryPoint"]["rpoPromised"] == 900
    assert 0 <= shown["recoveryPoint"]["rpoAchieved"] < 20
    replica = shown["replica"]["id"]
    where, world = Where("lun", replica), platform.services.world
    first = shown["recoveryPoint"]["pointId"]
    _until(lambda: platform.get(f"{VOLUMES}/{made}")["recoveryPoint"]["pointId"] != first)
    _until(lambda: len(copying.points(world, where, made)) == 1)  # only the last is kept
    assert [found["id"] for found in platform.get(VOLUMES, volumeId=replica)] == [made]
    scraped = platform.client.get("/metrics").text
    assert 'naos_replication_alarm{volume="volume-AZ05"} 0.0' in scraped
    assert 'naos_replication_age_seconds{volume="volume-AZ05"}' in scraped

    assert platform.refused("POST", VOLUMES, _request(platform))["code"] == "replication.already"
    wish = platform.deployment("there", zone="AZ06", datastoreId=replica)
    assert platform.refused("POST", platform.deploy_path, wish)["code"] == "naos.is_replica"
    assert platform.refused("DELETE", f"{DATASTORES}/{replica}")["code"] == "naos.is_replica"
    assert platform.refused("PATCH", DATASTORES, {"id": replica, "capacity": 600 * GIB})["code"] == "naos.is_replica"
    ultra = platform.refused("PATCH", DATASTORES, {"id": source, "storageClass": "ultra"})
    assert ultra["code"] == "replication.stays_in_class"
    platform.done("PATCH", DATASTORES, {"id": source, "capacity": 600 * GIB})
    platform.done("PATCH", DATASTORES, {"id": source, "storageClass": "premium"})
    _until(lambda: (row := _row(platform, made)).grown == 600 * GIB and row.shaped == "premium")
    grown = platform.get(f"{VOLUMES}/{made}")["replica"]
    assert (grown["capacity"], grown["storageClass"]) == (600 * GIB, "premium")

    stranger = platform.stranger()
    assert stranger.get(VOLUMES).json() == []
    assert stranger.get(f"{VOLUMES}/{made}").status_code == 404
    assert platform.refused("DELETE", f"{VOLUMES}/{made}", client=stranger)["status"] == 404
    assert platform.settled() == []

    platform.done("DELETE", f"{VOLUMES}/{made}")
    assert platform.get(VOLUMES) == []
    assert replica not in [volume["id"] for volume in platform.get(DATASTORES)]
    assert platform.rack.array("az06-array").luns() == [platform.made["volume-AZ06"]]


def test_a_copy_that_fails_alarms_before_the_promise_is_broken_and_goes_on(platform: Platform) -> None:
    made = platform.done("POST", VOLUMES, _request(platform))
    _until(lambda: platform.get(f"{VOLUMES}/{made}")["recoveryPoint"]["pointId"])
    replica = _row(platform, made).replica_id
    platform.rack.faults.kill_daemon(platform.made["volume-AZ05"])  # what it knew is gone: the next point compares
    _until(lambda: platform.get(f"{VOLUMES}/{made}")["failure"] is None and _row(platform, made).running_id is None)
    platform.rack.faults.cut("az06-array")
    _until(lambda: platform.get(f"{VOLUMES}/{made}")["failure"])
    later = datetime.now(UTC) + timedelta(minutes=8)
    watcher = Replicator(platform.services.world, platform.services.engine, clock=lambda: later)  # type: ignore[arg-type]
    watcher._watch(_row(platform, made), later)
    alarmed = platform.get(f"{VOLUMES}/{made}")["alarmSince"]
    assert alarmed is not None
    instant = datetime.now(UTC) - timedelta(minutes=16)
    replications.note(platform.services.world, made, instant=instant)
    shown = platform.get(f"{VOLUMES}/{made}")
    assert shown["health"] == "broken"
    assert "16.0 minutes old" in shown["alarm"]
    assert "replication.late" in [finding["kind"] for finding in platform.findings()]
    platform.rack.faults.join("az06-array")
    _until(lambda: platform.get(f"{VOLUMES}/{made}")["alarmSince"] is None)
    _until(lambda: platform.get(f"{VOLUMES}/{made}")["failure"] is None)
    assert len(copying.points(platform.services.world, Where("lun", replica), made)) <= 2
    platform.done("DELETE", f"{VOLUMES}/{made}")


def test_points_travel_at_the_speed_of_the_hour(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the row says reaches the array with the next point, and the copy that is under way."""
    begun: list[int | None] = []
    begin = SimulatedSourcing.begin_point

    def noted(array: SimulatedSourcing, *words: Any, **given: Any) -> datetime:
        begun.append(given["speed"])
        return begin(array, *words, **given)

    monkeypatch.setattr(SimulatedSourcing, "begin_point", noted)
    wish = _request(platform, speed=8 * MIB, windows=[{"window": "00:00-12:00", "speed": 2 * MIB}])
    too_low = platform.refused("POST", VOLUMES, {**wish, "speed": 1000})
    assert (too_low["code"], too_low["details"]["slowest"]) == ("replication.limit_too_low", MIB)
    odd = platform.refused("POST", VOLUMES, {**wish, "windows": [{"window": "8-9", "speed": 0}]})
    assert odd["code"] == "replication.limit_window"
    assert (
        platform.refused("POST", VOLUMES, {**wish, "timeZone": "Mars/Olympus"})["code"]
        == "protection.time_zone_unknown"
    )
    made = platform.done("POST", VOLUMES, {**wish, "timeZone": "UTC"})
    path = f"{VOLUMES}/{made}"
    _until(lambda: begun)
    assert begun[0] in (2 * MIB, 8 * MIB)
    assert platform.get(path)["limits"]["now"] in (2 * MIB, 8 * MIB)
    platform.done("PATCH", path, {"windows": [], "speed": 6 * MIB})
    assert platform.get(path)["limits"] == {"speed": 6 * MIB, "windows": [], "timeZone": "UTC", "now": 6 * MIB}
    _until(lambda: begun[-1] == 6 * MIB)

    world, told = platform.services.world, []
    with platform.services.database.read() as session:
        order = replications.order(session, session.get_one(LunReplication, made), made)
    assert len(order.parts) == 1
    monkeypatch.setattr(copying, "pace", lambda _world, _order, speed: told.append(speed))
    follower = _Noted(world, made, order, threading.Event(), replications.utc_now)
    assert follower.speed() == 6 * MIB
    follower(Progress(1, 4, 1.0, 3.0))
    platform.done("PATCH", path, {"speed": 0})
    follower._at = 0.0
    follower(Progress(2, 4, 1.0, 2.0))
    follower._at = 0.0
    follower(Progress(2, 3 * GIB, 1.0, 2.0))
    follower._at = 0.0
    follower(Progress(GIB, 3 * GIB, 1.0, 2.0))
    assert told == [pacing.GENTLE, -(-3 * GIB // 10)], "what nobody waits for is spread over ten seconds"
    platform.done("DELETE", path)


def test_a_replica_without_room_says_so_and_keeps_its_last_point(platform: Platform) -> None:
    made = platform.done("POST", VOLUMES, _request(platform))
    path, world = f"{VOLUMES}/{made}", platform.services.world
    shown = _until(lambda: (found := platform.get(path))["recoveryPoint"]["pointId"] and found)
    where = Where("lun", shown["replica"]["id"])
    platform.rack.faults.fill(where.name)
    machine = platform.machine(platform.made["web"])
    disk = platform.get(f"{COMPUTE}/virtual_disks", virtualMachineId=machine["id"])[0]["id"]
    platform.rack.faults.write(machine["host"]["name"], machine["id"], disk, MIB)
    _until(lambda: "bytes are free" in (platform.get(path)["failure"] or ""))
    last = platform.get(path)["recoveryPoint"]["pointId"]
    assert last in [point.id for point in copying.points(world, where, made)]
    assert copying.verify(world, where, made, last).damages == []
    platform.rack.faults.empty(where.name)
    _until(lambda: platform.get(path)["failure"] is None and platform.get(path)["recoveryPoint"]["pointId"] != last)
    platform.done("DELETE", path)


def test_a_clock_that_is_set_back_stops_no_point(platform: Platform) -> None:
    made = platform.done("POST", VOLUMES, _request(platform))
    now, taken = datetime.now(UTC), list[str]()
    replicator = Replicator(platform.services.world, platform.services.engine, clock=lambda: now)  # type: ignore[arg-type]
    replicator.take = taken.append  # type: ignore[method-assign]
    for hours in (0, 1, 2):
        now = datetime.now(UTC) - timedelta(hours=hours)

        def looked(before: int = len(taken)) -> bool:
            replicator.look()
            return len(taken) > before

        _until(looked)
    assert set(taken) == {made}
    platform.done("DELETE", f"{VOLUMES}/{made}")


def test_a_limit_goes_by_the_wall_clock() -> None:
    """Of windows that are open the slowest counts; one over midnight, and a zone whose clock changes."""
    pace = pacing.pace_of(9 * MIB, {"22:00-06:00": 0, "05:00-08:00": 3 * MIB, "07:00-09:00": 2 * MIB}, "Europe/Paris")

    def at(day: int, hour: int, month: int = 1) -> int | None:
        return pace.at(datetime(2026, month, day, hour, 30, tzinfo=UTC))

    assert [at(5, hour) for hour in (20, 21, 3, 4, 6, 7, 12)] == [
        9 * MIB,
        None,
        None,
        3 * MIB,
        2 * MIB,
        2 * MIB,
        9 * MIB,
    ]
    assert (at(28, 20, 3), at(29, 20, 3)) == (9 * MIB, None)  # summer time begins in the night between
    assert [pacing.share(*given) for given in ((None, 3), (9, 3), (10, 3), (1, 3), (5, 0))] == [None, 3, 3, 1, 5]


@pytest.mark.parametrize(
    ("minutes", "took", "running", "found"),
    [
        (None, 0, None, "first copy"),
        (0, 0, None, "kept"),
        (7, 30, None, "kept"),
        (7.5, 1, None, "endangered"),
        (6, 9 * 60, None, "endangered"),
        (6, 9 * 60, 5, "kept"),
        (15, 1, None, "broken"),
        (-3, 1, None, "kept"),
    ],
)
def test_the_age_of_the_last_point(minutes: float | None, took: float, running: float | None, found: str) -> None:
    now = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    instant = None if minutes is None else now - timedelta(minutes=minutes)
    running_for = None if running is None else timedelta(minutes=running)
    assert rules.health(instant, now, took=timedelta(seconds=took), running_for=running_for) == found


def test_the_next_point_is_due() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert rules.next_start(None, None, 0) is None
    quick = rules.next_start(now, now + rules.REST / 4, 0)
    assert quick == max(now + rules.INTERVAL, now + rules.REST / 4 + rules.REST)
    slow = now + rules.INTERVAL * 4
    assert rules.next_start(now, slow, 0) == slow + rules.REST
    waits = [rules.next_start(now, now, failures) for failures in range(1, 30)]
    assert waits == sorted(waits, key=lambda found: found or now)
    assert waits[-1] == now + rules.LONGEST_PATIENCE


def test_the_commands(platform: Platform) -> None:
    commands = Commands(platform, "replication")
    run = commands.run
    refused = run("create", "volume-AZ05", "--to", "AZ06", "--mode", "synchronous", code=1)
    assert "no longer offered" in " ".join(refused.split())
    made = commands.json("create", "volume-AZ05", "--to", "AZ06")
    assert made["replica"]["name"] == "volume-AZ05 (replica)"
    assert [found["id"] for found in commands.json("list")] == [made["id"]]
    _until(lambda: platform.get(f"{VOLUMES}/{made['id']}")["recoveryPoint"]["pointId"])
    sides = (made["source"]["id"], made["replica"]["id"], made["replica"]["name"], made["id"])
    assert [commands.json("show", side)["id"] for side in sides] == [made["id"]] * 4
    assert "no replicated volume 'volume-AZ06'" in " ".join(run("show", "volume-AZ06", code=1).split())
    slow = ("--window", "22:00-06:00=none", "--window", "08:00-18:00=2MiB", "--time-zone", "Europe/Paris")
    limits = commands.json("set", made["replica"]["name"], "--speed", "20MiB", *slow)["limits"]
    assert (limits["speed"], limits["timeZone"]) == (20 * MIB, "Europe/Paris")
    assert "20 MiB/s, none in 22:00-06:00 Europe/Paris, 2 MiB/s in 08:00-18:00" in run("show", made["id"])
    assert commands.json("set", "volume-AZ05", "--no-windows", "--speed", "none")["limits"]["now"] is None
    run("set", "volume-AZ05", code=2)
    run("set", "volume-AZ05", "--window", "08:00-18:00", code=2)
    shown = run("show", "volume-AZ05")
    assert "kept" in shown
    assert "900 s" in shown
    run("delete", "volume-AZ05", code=2)
    run("delete", "volume-AZ05", "--yes")
    assert commands.json("list") == []
