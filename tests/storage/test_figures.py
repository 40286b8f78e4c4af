"""Figures of volumes and disks: what windows say, how they are merged and dropped, and how they come from looks."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from simulated_platform import COMPUTE, Platform, furnished_in

from naos import controller, migrations
from naos.activity import Engine
from naos.database import Database
from naos.engines.array.device_counters import parse
from naos.engines.errors import Unreachable
from naos.engines.hypervisor.counters import as_counters
from naos.engines.ports import LATENCY_BOUNDS_NS, IoCounters
from naos.storage import figures
from naos.storage.figure_sampling import VolumeSampler
from naos.storage.figures import KEPT, PERIOD, Work, quantile, resolution_for, since, together, window
from naos.storage.models import VolumeFigure

CLASSES = len(LATENCY_BOUNDS_NS) + 1
NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
COUNTS = st.lists(st.integers(min_value=0, max_value=10**6), min_size=CLASSES, max_size=CLASSES).map(tuple)
NUMBER = st.integers(min_value=0, max_value=10**12)
COUNTERS = st.builds(IoCounters, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, COUNTS)


def _bins(**counts: int) -> tuple[int, ...]:
    found = [0] * CLASSES
    for place, count in counts.items():
        found[int(place.removeprefix("c"))] = count
    return tuple(found)


# ---------------------------------------------------------------------------------------------------------------- rules


@given(COUNTERS, COUNTERS)
def test_what_was_done_is_never_negative(before: IoCounters, now: IoCounters) -> None:
    work = since(before, now, 10)
    assert min(work.reads, work.writes, work.read_bytes, work.write_bytes, work.nanoseconds, *work.latencies) >= 0


def test_counters_that_begin_anew_count_from_zero() -> None:
    assert since(None, IoCounters(5, 5, 5, 5, 5), 10).requests == 0
    before, now = IoCounters(100, 100, 0, 0, 0), IoCounters(7, 3, 4096, 0, 0)
    assert (since(before, now, 10).reads, since(before, now, 10).writes) == (7, 3)


@given(st.lists(COUNTS, min_size=1, max_size=5), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_of_merged_windows_lies_between_theirs(parts: list[tuple[int, ...]], share: float) -> None:
    merged = quantile(together([Work(10, latencies=part) for part in parts]).latencies, share)
    each = [found for part in parts if (found := quantile(part, share)) is not None]
    if merged is None:
        assert not each
        return
    step = 2**0.5 + 1e-6  # one class
    assert min(each) / step <= merged <= max(each) * step


def test_a_quantile_is_true_to_within_a_class() -> None:
    bins = _bins(c5=90, c20=10)
    assert LATENCY_BOUNDS_NS[4] <= quantile(bins, 0.5) * 1e9 <= LATENCY_BOUNDS_NS[5]
    assert LATENCY_BOUNDS_NS[19] <= quantile(bins, 0.99) * 1e9 <= LATENCY_BOUNDS_NS[20]
    assert quantile((*[0] * (CLASSES - 1), 3), 0.5) == LATENCY_BOUNDS_NS[-1] / 1e9
    assert quantile((), 0.5) is quantile(_bins(), 0.5) is None


@pytest.mark.parametrize(
    ("ago", "length", "expected"),
    [
        (timedelta(hours=1), timedelta(hours=1), 10),
        (timedelta(hours=3), timedelta(hours=1), 60),
        (timedelta(days=2), timedelta(days=2), 900),
        (timedelta(days=1), timedelta(days=1), 60),
        (timedelta(days=90), timedelta(days=90), 900),
    ],
)
def test_the_finest_windows_that_are_kept_answer(ago: timedelta, length: timedelta, expected: int) -> None:
    assert resolution_for(NOON - ago, NOON - ago + length, NOON) == expected


def test_a_volume_s_rows_are_bounded() -> None:
    assert [int(kept.total_seconds()) // resolution for resolution, kept in KEPT.items()] == [720, 2880, 8640]


def test_the_kernel_s_counters_are_matched_by_mount_point() -> None:
    lun_id, other = "0b6b9b63-8a2a-4b43-9f1c-111111111111", "0b6b9b63-8a2a-4b43-9f1c-222222222222"
    told = (
        f"36 25 7:3 / /var/my\\040array/{lun_id}/files rw,relatime shared:1 - xfs /dev/loop3 rw\n"
        f"37 25 7:4 / /elsewhere/{other}/files rw,relatime - xfs /dev/loop4 rw\n"
        "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "   8       1 sda1 9 9 9 9 9 9 9 9 9 9 9 0 0 0 0 0 0\n"
        "   7       3 loop3 11 1 16 5 20 2 32 7 1 12 13 0 0 0 0 0 0\n"
        "   7       4 loop4 1 1 1 1 1 1 1 1 1 1 1 0 0 0 0 0 0\n"
    )
    assert parse(told, "/var/my array") == {lun_id: IoCounters(11, 20, 16 * 512, 32 * 512, 12 * 10**6)}


def test_latencies_count_once_both_kinds_are_counted_in_our_classes() -> None:
    told: dict[str, Any] = {
        f"{kind}_{what}": 1 for kind in ("rd", "wr") for what in ("operations", "bytes", "total_time_ns")
    }
    assert as_counters(told).latencies == ()
    for kind in ("rd", "wr"):
        told[f"{kind}_latency_histogram"] = {"boundaries": list(LATENCY_BOUNDS_NS), "bins": [1] * CLASSES}
    assert as_counters(told) == IoCounters(1, 1, 1, 1, 2, (2,) * CLASSES)


# --------------------------------------------------------------------------------------------------------------- tables


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/naos.db")
    migrations.upgrade(made)
    yield made
    made.close()


def _stored(database: Database, resolution: int) -> list[VolumeFigure]:
    with database.read() as session:
        query = sa.select(VolumeFigure).where(VolumeFigure.resolution == resolution)
        return list(session.scalars(query.order_by(VolumeFigure.object_id, VolumeFigure.at)))


def test_windows_are_condensed_and_dropped_whoever_leads(database: Database) -> None:
    """Every minute of 40: a volume with 100 writes each look, and a disk that works one look in six."""
    moment = NOON
    while moment < NOON + timedelta(minutes=40):
        found = {"volume": Work(10, writes=100, latencies=_bins(c3=100), device_operations=7)}
        if moment.second == 0:
            found["disk"] = Work(10, writes=60)
        with database.write() as session:
            figures.record(session, moment, found)
            if moment.minute % 7 == 0 and moment.second == 30:  # a leader that comes late catches up
                figures.condense(session, moment)
        moment += timedelta(seconds=10)
    with database.write() as session:
        figures.condense(session, moment)
        figures.condense(session, moment)
    volume = [row for row in _stored(database, 60) if row.object_id == "volume"]
    disk = [row for row in _stored(database, 60) if row.object_id == "disk"]
    assert len(volume) == len(disk) == 40
    assert {(row.writes, row.seconds, row.device_operations, sum(row.latencies)) for row in volume} == {
        (600, 60, 42, 600)
    }
    assert {(row.writes, row.seconds, row.device_operations) for row in disk} == {(60, 60, None)}
    quarters = [row for row in _stored(database, 900) if row.object_id == "volume"]
    assert [(row.at, row.writes, row.seconds) for row in quarters] == [
        (NOON, 9000, 900),
        (NOON + timedelta(minutes=15), 9000, 900),
    ]
    with database.write() as session:
        figures.condense(session, moment + KEPT[PERIOD])
    assert _stored(database, PERIOD) == []
    assert len(_stored(database, 60)) == 80


def test_two_looks_in_one_window_are_added(database: Database) -> None:
    for second in (1, 6):
        with database.write() as session:
            figures.record(session, NOON + timedelta(seconds=second), {"volume": Work(5, writes=10)})
    (row,) = _stored(database, PERIOD)
    assert (row.at, row.seconds, row.writes) == (window(NOON, PERIOD), 10, 20)


# ---------------------------------------------------------------------------------------------- over a whole controller


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Its own sampler never looks: a test's does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(controller, "VolumeSampler", partial(VolumeSampler, period=3600))
        with furnished_in(tmp_path_factory.mktemp("platform")) as made:
            yield made


@pytest.fixture(scope="module")
def sampler(platform: Platform) -> VolumeSampler:
    engine = platform.services.engine
    assert isinstance(engine, Engine)
    return VolumeSampler(platform.services.world, engine)


def _forget(platform: Platform) -> None:
    with platform.services.database.write() as session:
        session.execute(sa.delete(VolumeFigure))


def test_writes_of_a_guest_are_its_disk_s_and_its_volume_s(platform: Platform, sampler: VolumeSampler) -> None:
    machine = platform.deploy("busy")
    (disk,) = platform.get(f"{COMPUTE}/virtual_disks", virtualMachineId=machine)
    lun_id = platform.made["volume-AZ05"]
    with platform.rack.faults._store.transaction() as db:
        blade = db.execute("SELECT blade FROM attachments WHERE disk = ?", (disk["id"],)).fetchone()["blade"]
    sampler.look()
    _forget(platform)
    for _ in range(50):
        assert platform.rack.faults.write(blade, machine, disk["id"], 4096)
    sampler.look()
    found = {entry["id"]: entry for entry in platform.get(f"{COMPUTE}/datastore_figures", datastoreId=lun_id)}
    assert set(found) == {lun_id, disk["id"]}
    volume, mine = found[lun_id]["rates"], found[disk["id"]]["rates"]
    assert found[disk["id"]]["datastore"] == {"id": lun_id, "name": "volume-AZ05"}
    assert volume["writeOperations"] > 0
    assert mine["writeBandwidth"] == pytest.approx(mine["writeOperations"] * 4096, rel=0.01)
    assert (mine["latency"], mine["device"]) == (1.0, None)
    assert 0.8 <= mine["latencyP50"] <= mine["latencyP99"] <= 1.14  # its class
    assert volume["device"]["operations"] > 0
    for path, identifier in (("datastores", lun_id), ("virtual_disks", disk["id"])):
        series = platform.get(f"{COMPUTE}/{path}/{identifier}/figures")
        assert series["resolution"] == 10
        (point,) = series["points"]
        assert point["writeOperations"] > 0
        old = platform.get(f"{COMPUTE}/{path}/{identifier}/figures", to="2020-01-01T00:00:00Z")
        assert old["points"] == []
    lines = platform.client.get("/metrics").text.splitlines()
    assert any(line.startswith('naos_volume_operations_per_second{class="standard",kind="write"') for line in lines)
    assert any(line.startswith("naos_disk_latency_seconds{") and 'quantile="0.99"' in line for line in lines)


def test_a_silent_blade_leaves_its_volumes_out_and_nobody_else(platform: Platform, sampler: VolumeSampler) -> None:
    sampler.look()
    _forget(platform)
    error = Unreachable("rack", "hypervisor.disk_counters", "boom")
    with platform.rack.faults._store.transaction() as db:
        blade = db.execute("SELECT blade FROM attachments LIMIT 1").fetchone()["blade"]
    platform.rack.faults.fail_next("hypervisor.disk_counters", error, engine=blade)
    sampler.look()
    found = {entry["name"]: entry["rates"] for entry in platform.get(f"{COMPUTE}/datastore_figures")}
    assert found["volume-AZ05"] is None
    assert found["volume-AZ06"]["writeOperations"] == 0


def test_figures_of_others_are_absent(platform: Platform) -> None:
    stranger = platform.stranger()
    for path in (
        f"datastores/{platform.made['volume-AZ05']}/figures",
        f"virtual_disks/{platform.made['vlan']}/figures",
    ):
        assert stranger.get(f"{COMPUTE}/{path}").status_code == 404
    answer = stranger.get(f"{COMPUTE}/datastore_figures", params={"datastoreId": platform.made["volume-AZ05"]})
    assert (answer.status_code, answer.json()) == (200, [])
