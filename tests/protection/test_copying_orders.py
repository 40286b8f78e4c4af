"""Orders of the copy engine as plain values, and over which point a disk is received."""

import json
from datetime import UTC, datetime

from naos.engines.ports import DiskPoint, Point
from naos.protection.copying import Order, Part, Progress, Where, _base


def test_an_order_is_a_plain_value() -> None:
    order = Order("s", "p", Where("lun", "l"), (Part("a", "1"), Part("b", "2")), speed=5, yielding=True)
    assert Order.of(json.loads(json.dumps(order.plain()))) == order


def test_the_base_is_the_newest_point_that_has_the_disk_unless_that_was_larger() -> None:
    def point(name: str, **sizes: int) -> Point:
        disks = [DiskPoint(disk, size, None, 0) for disk, size in sizes.items()]
        return Point(name, "s", datetime(2026, 1, 1, tzinfo=UTC), disks)

    present = [point("1", a=10, b=10), point("2", a=20), point("3", a=30, c=5)]
    assert _base([], "a", 10) is None
    assert _base(present, "a", 30) == "3"
    assert _base(present, "a", 40) == "3"
    assert _base(present, "a", 20) is None  # it was brought back to an earlier size: nothing larger lies below it
    assert _base(present, "b", 10) == "1"  # left out of some
    assert _base(present, "new", 10) is None


def test_progress() -> None:
    assert Progress(0, 0, 0.0, None).share == 1.0
    assert Progress(25, 100, 5.0, 15.0).share == 0.25
