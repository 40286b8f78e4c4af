"""Health figures of a tenant's objects for Prometheus: `/metrics`.

Everything is read from the tables: a host that does not answer, or a domain that is busy, delays no scrape; the age of each
figure is beside it. Prometheus holds a personal access token: its id and secret are user name and password of `basic_auth`.
"""

import base64
import binascii
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from fastapi.openapi.models import HTTPBase
from fastapi.responses import Response
from fastapi.security.base import SecurityBase
from fastapi.security.utils import get_authorization_scheme_param
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from naos.activity.models import UNFINISHED, Activity
from naos.api.authentication import Requirement, bearer_of
from naos.api.client_address import client_address
from naos.api.services import ServicesOf
from naos.compute.models import MachineSample, Power, VirtualMachine
from naos.fleet.models import Blade, Cpool
from naos.identity import Identity, Unauthenticated
from naos.inventory.catalogues import iops_limit
from naos.lifecycle import Lifecycle
from naos.protection.replication.models import LunReplication
from naos.storage import figures, snapshot_growth, space, space_rules
from naos.storage.models import Disk, Lun, LunSample, Snapshot, VolumeFigure
from naos.world import World

router = APIRouter(tags=["Metrics"])


class Credential(SecurityBase):
    """A session: of the header's bearer, or of the token whose id and secret it holds. Raises Unauthenticated."""

    def __init__(self) -> None:
        self.model = HTTPBase(scheme="basic", description="Id and secret of a personal access token, or a session.")
        self.scheme_name = "token"

    def __call__(self, connection: HTTPConnection) -> str:
        scheme, given = get_authorization_scheme_param(connection.headers.get("Authorization"))
        if scheme.lower() != "basic":
            return bearer_of(connection)
        try:
            token_id, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Unauthenticated("the header `Authorization: Basic` does not hold a token's id and secret") from error
        session: str = connection.app.state.authority.login(token_id, secret, client_address(connection))
        return session


_credential = Credential()


class ScrapeRequirement(Requirement):
    """As `require`, with a token's id and secret too."""

    async def __call__(self, connection: HTTPConnection, token: Annotated[str, Depends(_credential)]) -> Identity:
        return await super().__call__(connection, token)


Scraper = Annotated[Identity, Depends(ScrapeRequirement((("metric_read",),)))]


@router.get("/metrics", response_class=Response)
def metrics(request: Request, identity: Scraper, services: ServicesOf) -> Response:
    """Health figures of the tenant's machines, volumes, cpools and blades, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(TenantCollector(services.world, identity.tenant_id))
    encode, kind = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), headers={"Content-Type": kind})


class TenantCollector(Collector):
    def __init__(self, world: World, tenant_id: str) -> None:
        self._world, self._tenant = world, tenant_id

    def describe(self) -> Sequence[Metric]:
        """Nothing before the scrape: the registry would otherwise collect twice."""
        return ()

    def collect(self) -> Iterator[Metric]:
        started = time.monotonic()
        with self._world.database.read() as session:
            yield from _machines(session, self._tenant)
            yield from _volumes(session, self._world, self._tenant)
            yield from _storage_work(session, self._tenant)
            yield from _snapshots(session, self._world, self._tenant)
            yield from _replications(session, self._tenant)
            yield from _pools(session, self._tenant)
            yield from _activities(session, self._tenant)
        yield _gauge("naos_scrape_seconds", "How long it took to gather this.", (), [((), time.monotonic() - started)])


def _gauge(name: str, told: str, labels: Sequence[str], rows: Sequence[tuple[Sequence[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, told, labels=labels)
    for values, figure in rows:
        family.add_metric(values, figure)
    return family


def _age(moment: datetime | None, now: datetime) -> float:
    return (now - moment).total_seconds() if moment is not None else float("inf")


def _replications(session: Session, tenant_id: str) -> Iterator[Metric]:
    rows = session.execute(
        sa.select(LunReplication, Lun.name)
        .join(Lun, Lun.id == LunReplication.lun_id)
        .where(LunReplication.tenant_id == tenant_id, LunReplication.lifecycle == Lifecycle.ACTIVE)
        .order_by(Lun.name)
    ).all()
    now, labels = datetime.now(UTC), ("volume",)
    told = "Age of the last complete copy of a replicated volume, from the beginning of the copy; infinite before the first."
    yield _gauge(
        "naos_replication_age_seconds", told, labels, [((name,), _age(row.instant, now)) for row, name in rows]
    )
    alarms = [((name,), float(row.alarmed_at is not None)) for row, name in rows]
    yield _gauge("naos_replication_alarm", "1 while the promised age is in danger or broken.", labels, alarms)
    took = [((name,), row.took) for row, name in rows]
    yield _gauge("naos_replication_copy_seconds", "How long the last copy took.", labels, took)


def _machines(session: Session, tenant_id: str) -> Iterator[Metric]:
    rows = session.execute(
        sa.select(VirtualMachine, Cpool.name, MachineSample)
        .join(Cpool, Cpool.id == VirtualMachine.cpool_id)
        .outerjoin(MachineSample, MachineSample.machine_id == VirtualMachine.id)
        .where(VirtualMachine.tenant_id == tenant_id)
        .order_by(VirtualMachine.name)
    ).all()
    now, labels = datetime.now(UTC), ("machine", "cpool")
    named = [((machine.name, pool), machine, sample) for machine, pool, sample in rows]
    kept = sa.select(Snapshot.machine_id, sa.func.count()).where(Snapshot.tenant_id == tenant_id)
    counts = {machine_id: int(count) for machine_id, count in session.execute(kept.group_by(Snapshot.machine_id))}
    seen = [(key, sample) for key, machine, sample in named if sample is not None and machine.power == Power.RUNNING]
    running = [(key, float(machine.power == Power.RUNNING)) for key, machine, _ in named]
    yield _gauge("naos_machine_running", "1 when the machine runs.", labels, running)
    yield _gauge("naos_machine_vcpus", "Virtual processors.", labels, [(key, row.cpu) for key, row, _ in named])
    memory = [(key, row.memory) for key, row, _ in named]
    yield _gauge("naos_machine_memory_bytes", "Memory that the machine is set to.", labels, memory)
    snapshots = [(key, float(counts.get(row.id, 0))) for key, row, _ in named]
    yield _gauge("naos_machine_snapshots", "Snapshots that its disks hold; at most 32.", labels, snapshots)
    used = [(key, sample.cpu * 1e6) for key, sample in seen]
    yield _gauge("naos_machine_cpu_usage_hertz", "Processor in use, of running machines.", labels, used)
    resident = [(key, sample.memory) for key, sample in seen]
    yield _gauge("naos_machine_memory_usage_bytes", "The blade's memory in use, of running machines.", labels, resident)
    ages = [(key, _age(sample.seen_at, now)) for key, sample in seen]
    yield _gauge("naos_machine_sample_age_seconds", "How old these two figures are.", labels, ages)


def _volumes(session: Session, world: World, tenant_id: str) -> Iterator[Metric]:
    rows = session.execute(
        sa.select(Lun, LunSample)
        .outerjoin(LunSample, LunSample.lun_id == Lun.id)
        .where(Lun.tenant_id == tenant_id)
        .order_by(Lun.name)
    ).all()
    sums = sa.select(Disk.lun_id, sa.func.sum(Disk.capacity)).where(Disk.tenant_id == tenant_id).group_by(Disk.lun_id)
    provisioned = {lun_id: float(size) for lun_id, size in session.execute(sums)}
    now, labels = datetime.now(UTC), ("volume", "zone", "class")
    named = [((lun.name, lun.zone, lun.storage_class), lun, sample) for lun, sample in rows]
    seen = [(key, sample) for key, _, sample in named if sample is not None]
    yield _gauge("naos_volume_capacity_bytes", "Size.", labels, [(key, lun.capacity) for key, lun, _ in named])
    promised = [(key, provisioned.get(lun.id, 0.0)) for key, lun, _ in named]
    yield _gauge("naos_volume_provisioned_bytes", "Sum of its disks' sizes.", labels, promised)
    limits = [(key, _limit(world, lun)) for key, lun, _ in named]
    yield _gauge("naos_volume_iops_limit", "Operations a second that are let through.", labels, limits)
    yield _gauge("naos_volume_used_bytes", "Blocks in use.", labels, [(key, sample.used) for key, sample in seen])
    yield from _space(session, named)
    reachable = [(key, float(sample.reachable)) for key, sample in seen]
    yield _gauge("naos_volume_reachable", "1 when the array answered at the last look.", labels, reachable)
    ages = [(key, _age(sample.measured_at, now)) for key, sample in seen]
    yield _gauge("naos_volume_sample_age_seconds", "How old the blocks in use are.", labels, ages)


def _space(session: Session, named: Sequence[tuple[tuple[str, str, str], Lun, LunSample | None]]) -> Iterator[Metric]:
    """Promises and alarms of volumes. The level is 0, 1 from 70 % used on, 2 from 90 % on."""
    labels, found = ("volume", "zone", "class"), space.promises(session, [lun.id for _, lun, _ in named])
    levels = {"": 0.0, space_rules.WARNING: 1.0, space_rules.CRITICAL: 2.0}
    alarms = [(key, levels[found[lun.id].policy.alarm]) for key, lun, _ in named]
    yield _gauge("naos_volume_space_alarm", "0, 1 from 70 % used on, 2 from 90 % used on.", labels, alarms)
    committed = [(key, found[lun.id].provisioned / lun.capacity) for key, lun, _ in named]
    told = "Disks' sizes, swap files and reserve over the size."
    yield _gauge("naos_volume_overcommitment_ratio", told, labels, committed)
    swaps = [(key, found[lun.id].swap) for key, lun, _ in named]
    yield _gauge("naos_volume_swap_bytes", "Swap files of running machines.", labels, swaps)
    waiting = [(key, found[lun.id].waiting) for key, lun, _ in named]
    yield _gauge("naos_volume_waiting_machines", "Machines that stand still until there is space.", labels, waiting)
    days = [
        (key, left)
        for key, lun, sample in named
        if sample is not None and (left := space_rules.days_until_full(found[lun.id].points, sample.free)) is not None
    ]
    yield _gauge("naos_volume_days_until_full", "At the slope of the last two weeks, while it grows.", labels, days)


def _storage_work(session: Session, tenant_id: str) -> Iterator[Metric]:
    """What volumes and disks did at the last look; of disks, those of which something was asked."""
    now = datetime.now(UTC)
    luns = sa.select(Lun.id).where(Lun.tenant_id == tenant_id)
    rows = figures.newest(session, luns.union(sa.select(Disk.id).where(Disk.tenant_id == tenant_id)), now)
    volumes = session.execute(
        sa.select(Lun.id, Lun.name, Lun.zone, Lun.storage_class).where(Lun.tenant_id == tenant_id).order_by(Lun.name)
    )
    labels = ("volume", "zone", "class")
    of_volumes = [((name, zone, kind), rows[lun_id]) for lun_id, name, zone, kind in volumes if lun_id in rows]
    yield from _work("naos_volume", labels, of_volumes)
    known = [(key, row) for key, row in of_volumes if row.device_operations is not None]
    device = [(key, (row.device_operations or 0) / row.seconds) for key, row in known]
    yield _gauge("naos_volume_device_operations_per_second", "Of the device below it, copies included.", labels, device)
    waiting = [(key, (row.device_nanoseconds or 0) / 1e9 / row.seconds) for key, row in known]
    yield _gauge("naos_volume_device_queue_depth", "Mean of what the device below it works on.", labels, waiting)
    ages = [(key, _age(row.at, now)) for key, row in of_volumes]
    yield _gauge("naos_volume_work_age_seconds", "How long ago the window of these figures began.", labels, ages)
    disks = session.execute(
        sa.select(Disk.id, VirtualMachine.name, Disk.name, Lun.name)
        .join(Lun, Lun.id == Disk.lun_id)
        .join(VirtualMachine, VirtualMachine.id == Disk.machine_id)
        .where(Disk.tenant_id == tenant_id, Disk.exported.is_(True))
        .order_by(VirtualMachine.name, Disk.name, Disk.id)
    )
    of_disks = [((*key, disk_id), rows[disk_id]) for disk_id, *key in disks if disk_id in rows]
    yield from _work("naos_disk", ("machine", "disk", "volume", "id"), of_disks)


def _snapshots(session: Session, world: World, tenant_id: str) -> Iterator[Metric]:
    """What each holds, as seen last, and whether its age or size is warned of."""
    rows = session.execute(
        sa.select(Snapshot, VirtualMachine.name)
        .join(VirtualMachine, VirtualMachine.id == Snapshot.machine_id)
        .where(Snapshot.tenant_id == tenant_id)
        .order_by(VirtualMachine.name, Snapshot.name, Snapshot.id)
    ).all()
    growths = snapshot_growth.of(session, [row for row, _ in rows], world.settings)
    labels = ("machine", "snapshot", "id")
    named = [((machine, row.name, row.id), growths[row.id]) for row, machine in rows]
    held = [(key, growth.held) for key, growth in named if growth.measured_at is not None]
    yield _gauge("naos_snapshot_held_bytes", "What lies on the volumes for its sake alone.", labels, held)
    warned = [(key, len(growth.warnings)) for key, growth in named]
    yield _gauge("naos_snapshot_warnings", "How many things are to be said of its age and size.", labels, warned)


def _work(prefix: str, labels: Sequence[str], rows: Sequence[tuple[tuple[str, ...], VolumeFigure]]) -> Iterator[Metric]:
    rates = {
        "operations": ("Requests of guests that were answered.", "reads", "writes"),
        "bytes": ("Bytes of these requests.", "read_bytes", "write_bytes"),
    }
    for what, (told, *fields) in rates.items():
        pairs = [("read", fields[0]), ("write", fields[1])]
        found = [((*key, kind), getattr(row, name) / row.seconds) for key, row in rows for kind, name in pairs]
        yield _gauge(f"{prefix}_{what}_per_second", told, (*labels, "kind"), found)
    spread = [
        ((*key, str(share)), within)
        for key, row in rows
        for share in (0.5, 0.95, 0.99)
        if (within := figures.quantile(row.latencies, share)) is not None
    ]
    told = "What this share of the requests did not exceed, from a guest's asking to the answer."
    yield _gauge(f"{prefix}_latency_seconds", told, (*labels, "quantile"), spread)
    means = [(key, row.nanoseconds / 1e9 / (row.reads + row.writes)) for key, row in rows if row.reads + row.writes]
    yield _gauge(f"{prefix}_latency_mean_seconds", "Mean of the same.", labels, means)
    depths = [(key, row.nanoseconds / 1e9 / row.seconds) for key, row in rows]
    yield _gauge(f"{prefix}_queue_depth", "Mean of requests that wait or are worked on.", labels, depths)


def _limit(world: World, lun: Lun) -> float:
    found = world.storage.classes.get(lun.storage_class)
    limit = iops_limit(found, lun.capacity) if found is not None else None
    return float("inf") if limit is None else float(limit)


def _pools(session: Session, tenant_id: str) -> Iterator[Metric]:
    pools = list(session.scalars(sa.select(Cpool).where(Cpool.tenant_id == tenant_id).order_by(Cpool.name)))
    sums = (
        sa.select(VirtualMachine.cpool_id, sa.func.sum(VirtualMachine.reserved))
        .where(VirtualMachine.tenant_id == tenant_id)
        .group_by(VirtualMachine.cpool_id)
    )
    taken = {pool_id: float(size) for pool_id, size in session.execute(sums)}
    labels = ("cpool", "zone")
    enabled = [((pool.name, pool.zone), pool.memory) for pool in pools if pool.lifecycle == Lifecycle.ACTIVE]
    yield _gauge("naos_cpool_memory_bytes", "Memory that is enabled.", labels, enabled)
    reserved = [((pool.name, pool.zone), taken.get(pool.id, 0.0)) for pool in pools]
    yield _gauge("naos_cpool_memory_reserved_bytes", "Memory that running machines have.", labels, reserved)
    blades = session.execute(
        sa.select(Blade.name, Cpool.name, Blade.connected)
        .join(Cpool, Cpool.id == Blade.cpool_id)
        .where(Cpool.tenant_id == tenant_id)
        .order_by(Blade.name)
    )
    connected = [((blade, pool), float(up)) for blade, pool, up in blades]
    yield _gauge("naos_blade_connected", "1 when its hypervisor answers.", ("blade", "cpool"), connected)


def _activities(session: Session, tenant_id: str) -> Iterator[Metric]:
    counted = session.execute(
        sa.select(Activity.state, sa.func.count())
        .where(Activity.tenant_id == tenant_id, Activity.state.in_(UNFINISHED))
        .group_by(Activity.state)
    )
    found = {str(state): float(count) for state, count in counted}
    rows = [((str(state),), found.get(str(state), 0.0)) for state in UNFINISHED]
    yield _gauge("naos_activities", "Activities that have not ended.", ("state",), rows)
