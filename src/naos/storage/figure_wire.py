"""Figures on the wire: rates a second, times in milliseconds."""

from datetime import datetime

from naos.storage.figures import quantile, work_of
from naos.storage.models import VolumeFigure
from naos.wire import Reference, Wire


class DeviceRates(Wire):
    """What the device below a volume does at its array, whoever asks: guests, copies, the file system itself. `operations` are
    its own, which are larger or smaller than guests' requests; `bandwidth`: bytes; `latency`: the mean, null without any."""

    operations: float
    bandwidth: float
    latency: float | None
    queue_depth: float


class Rates(Wire):
    """What guests ask: requests and bytes a second; from asking to answer, the mean and what 50, 95 and 99 % of the requests do
    not exceed (null without requests); how many requests wait or are worked on, on average. `device`: null for disks."""

    read_operations: float
    write_operations: float
    read_bandwidth: float
    write_bandwidth: float
    latency: float | None
    latency_p50: float | None
    latency_p95: float | None
    latency_p99: float | None
    queue_depth: float
    device: DeviceRates | None


class Point(Rates):
    """One window, from `at` on."""

    at: datetime


class Figures(Wire):
    """`resolution`: seconds of a window. A disk has no point for a window in which nothing was asked of it."""

    resolution: int
    points: list[Point]


class Present(Wire):
    """`iops`, `bandwidth`: the limits of the volume (operations and bytes a second), null where there is none. `datastore`: of a disk.
    `rates`: null when nobody has looked within the last minute, or the array or a blade did not answer."""

    id: str
    name: str
    datastore: Reference | None
    iops: int | None
    bandwidth: int | None
    rates: Point | None


def point(row: VolumeFigure) -> Point:
    work, seconds = work_of(row), max(row.seconds, 0.001)
    spread = [_milliseconds(quantile(work.latencies, share)) for share in (0.5, 0.95, 0.99)]
    device = None
    if row.device_operations is not None:
        spent = row.device_nanoseconds or 0
        device = DeviceRates(
            operations=round(row.device_operations / seconds, 2),
            bandwidth=round((row.device_bytes or 0) / seconds, 2),
            latency=_mean(spent, row.device_operations),
            queue_depth=round(spent / 1e9 / seconds, 3),
        )
    return Point(
        at=row.at,
        read_operations=round(work.reads / seconds, 2),
        write_operations=round(work.writes / seconds, 2),
        read_bandwidth=round(work.read_bytes / seconds, 2),
        write_bandwidth=round(work.write_bytes / seconds, 2),
        latency=_mean(work.nanoseconds, work.requests),
        latency_p50=spread[0],
        latency_p95=spread[1],
        latency_p99=spread[2],
        queue_depth=round(work.nanoseconds / 1e9 / seconds, 3),
        device=device,
    )


def idle(moment: datetime) -> Point:
    """Of a disk of which nothing was asked."""
    return Point(
        at=moment,
        read_operations=0,
        write_operations=0,
        read_bandwidth=0,
        write_bandwidth=0,
        latency=None,
        latency_p50=None,
        latency_p95=None,
        latency_p99=None,
        queue_depth=0,
        device=None,
    )


def _mean(nanoseconds: int, count: int) -> float | None:
    return round(nanoseconds / 1e6 / count, 3) if count else None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
