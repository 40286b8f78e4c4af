"""What is said of snapshots' age and size."""

from datetime import UTC, datetime, timedelta

import pytest

from naos.storage import snapshot_growth
from naos.units import GIB, MIB

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "held", "free", "days", "percent", "said"),
    [
        (timedelta(days=2, hours=23), 0, 100 * GIB, 3, 25, []),
        (timedelta(days=3), 0, 100 * GIB, 3, 25, ["is 3 days old"]),
        (timedelta(days=900), 0, 100 * GIB, 0, 25, []),
        (timedelta(0), 24 * GIB, 100 * GIB, 3, 25, []),
        (
            timedelta(0),
            25 * GIB,
            100 * GIB,
            3,
            25,
            ["holds 25 GiB while 100 GiB are free on volume least: 25 % of that"],
        ),
        (timedelta(0), 25 * GIB, 100 * GIB, 3, 0, []),
        (timedelta(0), 63 * MIB, 0, 3, 25, []),
        (timedelta(0), 64 * MIB, 0, 3, 25, ["holds 64 MiB while 0 B are free"]),
        (timedelta(days=4), 200 * GIB, 100 * GIB, 3, 25, ["is 4 days old", "holds 200 GiB"]),
    ],
)
def test_warnings(age: timedelta, held: int, free: int, days: int, percent: int, said: list[str]) -> None:
    frees = {"most": 1000 * GIB, "least": free}
    found = snapshot_growth.warnings("s", NOW - age, held, frees, NOW, days=days, percent=percent)
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True)), found


def test_a_volume_that_was_never_measured_says_nothing_of_size() -> None:
    assert snapshot_growth.warnings("s", NOW, 100 * GIB, {}, NOW, days=3, percent=25) == []
