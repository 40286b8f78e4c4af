"""Protection over HTTP (wire-API section 5), and the making of policies."""

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute.models import VirtualMachine
from naos.errors import Unknown
from naos.identity import Identity
from naos.protection import assignments, inventory, metrics, policies, sites, views
from naos.protection.backup import terms
from naos.protection.backup import wire as terms_wire
from naos.protection.backup.instant_routes import router as instant_router
from naos.protection.backup.routes import router as backup_router
from naos.protection.files.routes import router as files_router
from naos.protection.models import BackupJob
from naos.protection.notices.routes import router as notices_router
from naos.protection.processor import Meter
from naos.protection.recovery.routes import router as recovery_router
from naos.protection.replication.routes import router as replication_router
from naos.protection.rules import Schedule
from naos.protection.wire import (
    BackupVCenter,
    BackupVirtualDisk,
    BackupVirtualMachine,
    DiskAssignment,
    Job,
    JobRun,
    JobSession,
    MachineAssignment,
    MetricsCoverage,
    MetricsCpu,
    MetricsHistory,
    MetricsPlatform,
    MetricsPolicy,
    MetricsVm,
    PolicyRequest,
    Site,
    SlaPolicy,
    SppServer,
    StorageWire,
    now,
)
from naos.storage.models import Disk

VERSION = version("naos")

router = APIRouter(prefix=views.ROOT, tags=["Backup"])

Reader = Annotated[Identity, Depends(require("backup_iaas_spp_read"))]
Writer = Annotated[Identity, Depends(require("backup_iaas_spp_read", "backup_iaas_spp_write"))]

router.include_router(backup_router)
router.include_router(files_router)
router.include_router(instant_router)
router.include_router(notices_router)
beside = [replication_router, recovery_router]

_meter = Meter()


# ----------------------------------------------------------------------------------------------------------------- jobs


@router.get("/jobs")
def list_jobs(identity: Reader, services: ServicesOf, type: str | None = None) -> list[Job]:  # noqa: A002 - the wire's name
    """The jobs: two inventories (`catalog`), and one for each policy (`protection`)."""
    query = sa.select(BackupJob).where(BackupJob.tenant_id == identity.tenant_id)
    if type is not None:
        query = query.where(BackupJob.type == type)
    with services.database.read() as session:
        return views.jobs(session, list(session.scalars(query.order_by(BackupJob.name, BackupJob.number))))


@router.get("/jobs/session")
def list_sessions(identity: Reader, services: ServicesOf) -> list[JobSession]:
    """The runs that happened, the latest 1000, newest first."""
    with services.database.read() as session:
        return views.sessions(session, identity.tenant_id)


@router.get("/jobs/{job_id}")
def read_job(job_id: str, identity: Reader, services: ServicesOf) -> Job:
    """One job, by its number."""
    with services.database.read() as session:
        return views.jobs(session, [inventory.find_job(session, identity.tenant_id, job_id)])[0]


@router.post("/jobs/run", **ASYNCHRONOUS)
def run_job(body: JobRun, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Run an inventory, or a policy's job for all of its machines or some; the activity ends when it has."""
    return submit(
        services,
        identity,
        key,
        lambda session: inventory.plan_run(session, identity.tenant_id, body.job_id, body.virtual_machine_ids),
    )


# -------------------------------------------------------------------------------------------------------------- metrics


@router.get("/metrics/backup/history")
def history(
    identity: Reader,
    services: ServicesOf,
    range: Annotated[int, Query(ge=1, le=3660, description="Days.")] = 4,  # noqa: A002 - the wire's name
) -> MetricsHistory:
    """How the copies of the last days went."""
    with services.database.read() as session:
        found = metrics.history(session, identity.tenant_id, range)
    return MetricsHistory(
        total_runs=found.total,
        sucess_percent=found.percent,
        failed=found.failed,
        warning=found.warning,
        success=found.success,
        running=found.running,
    )


@router.get("/metrics/coverage")
def coverage(identity: Reader, services: ServicesOf) -> MetricsCoverage:
    """How many machines have a policy that makes copies."""
    with services.database.read() as session:
        found = metrics.coverage(session, identity.tenant_id)
    return MetricsCoverage(
        failed_resources=found.failed,
        protected_resources=found.covered,
        unprotected_resources=found.machines - found.covered,
        total_resources=found.machines,
    )


@router.get("/metrics/vm")
def machine_metrics(identity: Reader, services: ServicesOf) -> MetricsVm:
    """How many machines there are, are known to the inventory, and have a policy that makes copies."""
    with services.database.read() as session:
        found = metrics.coverage(session, identity.tenant_id)
    return MetricsVm(
        in_spp=found.known,
        in_compute=found.machines,
        with_backup=found.copied,
        in_sla=found.covered,
        in_offloading_sla=0,
        tsm_offloading_factor=0,
    )


@router.get("/metrics/policies")
def policy_metrics(identity: Reader, services: ServicesOf) -> list[MetricsPolicy]:
    """Every policy with the number of its machines."""
    with services.database.read() as session:
        found = policies.of_tenant(session, identity.tenant_id)
        counts = metrics.members_by_policy(session, identity.tenant_id)
        schedules = policies.schedules_of(session, [policy.id for policy in found])
    return [
        MetricsPolicy(
            name=policy.name,
            trigger_type=schedules[policy.id][0].trigger if schedules[policy.id] else "",
            number_of_protected_vm=counts.get(policy.id, 0),
        )
        for policy in found
    ]


@router.get("/metrics/plateform")
def platform_metrics(identity: Reader) -> MetricsPlatform:  # noqa: ARG001 - it only proves that the caller may
    """What does the backups: naos itself."""
    moment = datetime.now(UTC)
    return MetricsPlatform(
        version=VERSION,
        build=VERSION,
        date=moment.isoformat(timespec="seconds"),
        product="naos",
        epoch=now(),
        deployment_type="self-hosted",
    )


@router.get("/metrics/plateform/cpu")
def processor_metrics(identity: Reader) -> MetricsCpu:  # noqa: ARG001 - it only proves that the caller may
    """How busy the controller's host was since this was last asked, in percent."""
    return MetricsCpu(cpu_util=_meter.percent())


# ------------------------------------------------------------------------------------------------------------- policies


@router.get("/sites")
def list_sites(identity: Reader, services: ServicesOf) -> list[Site]:  # noqa: ARG001 - sites are the platform's
    """The zones that have a vault."""
    with services.database.read() as session:
        return [Site(id=zone.id, name=zone.name) for zone in sites.sites(session, services.world.inventory)]


@router.get("/policies")
def list_policies(
    identity: Reader,
    services: ServicesOf,
    virtualMachineId: str | None = None,  # noqa: N803 - the wire's name
    virtualDiskId: str | None = None,  # noqa: N803
    inherited: Annotated[bool, Query(description="Of a disk without a set of its own: those of its machine.")] = False,  # noqa: FBT002
) -> list[SlaPolicy]:
    """The tenant's policies, or those of a machine, or a disk's own; of an unknown one there are none."""
    with services.database.read() as session:
        found = policies.of_tenant(session, identity.tenant_id)
        if virtualMachineId is not None:
            machine = session.get(VirtualMachine, virtualMachineId)
            mine = machine is not None and machine.tenant_id == identity.tenant_id
            has = {policy.id for policy in policies.of_machine(session, virtualMachineId)} if mine else set()
            found = [policy for policy in found if policy.id in has]
        if virtualDiskId is not None:
            disk = session.get(Disk, virtualDiskId)
            mine = disk is not None and disk.tenant_id == identity.tenant_id
            of_disk = policies.of_disk if inherited else policies.own_of_disk
            has = {policy.id for policy in of_disk(session, disk)} if disk is not None and mine else set()
            found = [policy for policy in found if policy.id in has]
        return views.shown_policies(session, found)


@router.get("/policies/{policy_id}")
def read_policy(policy_id: ResourceId, identity: Reader, services: ServicesOf) -> SlaPolicy:
    """One policy."""
    with services.database.read() as session:
        return views.shown_policies(session, [policies.find(session, identity.tenant_id, policy_id)])[0]


@router.post("/policies", **ASYNCHRONOUS)
def create_policy(body: PolicyRequest, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Make a policy: a site, and one or more schedules or a cron expression with what is kept."""
    schedules = [
        Schedule(
            wish.trigger,
            wish.frequency,
            wish.retention,
            datetime.now(UTC) if wish.activate_date is None else datetime.fromtimestamp(wish.activate_date / 1000, UTC),
        )
        for wish in body.schedules
    ]
    if not schedules and body.terms is not None:
        schedules = terms_wire.schedules_of(body.terms)

    def check(session: Session) -> Plan:
        plan = policies.plan_create(
            session,
            services.world,
            tenant_id=identity.tenant_id,
            name=body.name,
            site=body.site,
            schedules=schedules,
        )
        policy = policies.find(session, identity.tenant_id, plan.arguments["policy_id"])
        terms.change(session, policy, terms_wire.wish_of(body.terms))
        return plan

    return submit(services, identity, key, check)


@router.post("/policies/assign/virtual_machine", **ASYNCHRONOUS)
def assign_machines(body: MachineAssignment, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Give machines exactly these policies; their disks inherit them. An empty list takes all away."""
    return submit(
        services,
        identity,
        key,
        lambda session: assignments.plan_machines(
            session, identity.tenant_id, body.virtual_machine_ids, body.sla_policies
        ),
    )


@router.post("/policies/assign/virtual_disk", **ASYNCHRONOUS)
def assign_disk(body: DiskAssignment, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Give a disk a set of its own, in place of what it inherits; or null, to let it inherit again."""
    return submit(
        services,
        identity,
        key,
        lambda session: assignments.plan_disk(session, identity.tenant_id, body.virtual_disk_id, body.sla_policies),
    )


@router.post("/policies/{policy_id}/hold", **ASYNCHRONOUS)
def hold_policy(policy_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Hold a policy: its job does not run, it cannot be assigned, and its machines do not start."""
    return submit(
        services,
        identity,
        key,
        lambda session: policies.plan_hold(session, identity.tenant_id, policy_id, held=True),
    )


@router.post("/policies/{policy_id}/release", **ASYNCHRONOUS)
def release_policy(policy_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Release a held policy."""
    return submit(
        services,
        identity,
        key,
        lambda session: policies.plan_hold(session, identity.tenant_id, policy_id, held=False),
    )


@router.delete("/policies/{policy_id}", **ASYNCHRONOUS)
def delete_policy(policy_id: ResourceId, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Delete a policy that nothing has."""
    return submit(services, identity, key, lambda session: policies.plan_delete(session, identity.tenant_id, policy_id))


# ------------------------------------------------------------------------------------------------- servers and contents


@router.get("/servers")
def list_servers(
    identity: Reader,
    services: ServicesOf,
    tenantId: str | None = None,  # noqa: N803 - the wire's name
) -> list[SppServer]:
    """One for each site; of another tenant there are none to see."""
    if tenantId not in (None, identity.tenant_id):
        return []
    with services.database.read() as session:
        return views.servers(session, services.world.inventory)


@router.get("/servers/{server_id}")
def read_server(server_id: ResourceId, identity: Reader, services: ServicesOf) -> SppServer:  # noqa: ARG001
    """One server."""
    with services.database.read() as session:
        for server in views.servers(session, services.world.inventory):
            if server.id == server_id:
                return server
    raise Unknown("backup server", server_id)


@router.get("/storages")
def list_storages(identity: Reader, services: ServicesOf) -> list[StorageWire]:  # noqa: ARG001 - vaults are the platform's
    """The vaults, with the space that the job `Storage Server Inventory` last found in each."""
    with services.database.read() as session:
        return views.storages(session, services.world.inventory, VERSION)


@router.get("/vcenters")
def list_vcenters(
    identity: Reader,  # noqa: ARG001 - regions are the platform's
    services: ServicesOf,
    sppServerId: str | None = None,  # noqa: N803
) -> list[BackupVCenter]:
    """The regions that a server knows."""
    with services.database.read() as session:
        found = views.vcenters(session, services.world.inventory)
    return [vcenter for vcenter in found if sppServerId in (None, vcenter.spp_server_id)]


@router.get("/virtual_disks/{disk_id}")
def read_disk(disk_id: ResourceId, identity: Reader, services: ServicesOf) -> BackupVirtualDisk:
    """A disk that the inventory has seen."""
    with services.database.read() as session:
        return views.disk(session, services.world.inventory, identity.tenant_id, disk_id)


@router.get("/virtual_machines/{machine_id}")
def read_machine(machine_id: ResourceId, identity: Reader, services: ServicesOf) -> BackupVirtualMachine:
    """A machine that the inventory has seen."""
    with services.database.read() as session:
        return views.machine(session, identity.tenant_id, machine_id)
