"""Protection on the wire (wire-API section 5). Times are milliseconds since 1970, sizes bytes, retentions days."""

from datetime import UTC, datetime

from pydantic import Field

from naos.ids import ResourceId
from naos.names import Name
from naos.protection.backup.wire import TermsRequest
from naos.protection.rules import Trigger
from naos.wire import Request, Whole, Wire


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def now() -> int:
    return milliseconds(datetime.now(UTC))


class Job(Wire):
    """`policy_id`: of an inventory, which has no policy, its own number: clients want it filled. `overruns` (naos' own): instants that
    found a run still under way, and were left out; `overran_at`: the last one, null for none."""

    id: str
    name: str
    display_name: str
    type: str
    status: str
    policy_id: str
    overruns: int
    overran_at: int | None


class Statistics(Wire):
    total: int
    success: int
    failed: int
    skipped: int


class PolicyLink(Wire):
    id: str
    name: str
    href: str


class JobSession(Wire):
    """`duration` and `end` are those of this moment while it runs. `overruns` (naos' own): runs that were due meanwhile, and left out."""

    id: str
    job_name: str
    sla_policy_type: str
    job_id: str
    type: str
    duration: int
    start: int
    end: int
    status: str
    statistics: Statistics
    sla_policies: list[PolicyLink]
    overruns: int


class JobRun(Request):
    """`policy_id`: naos finds the policy by the job; it is taken for clients that send it. `virtual_machine_ids`: only these."""

    job_id: str = Field(max_length=32)
    policy_id: str | None = Field(default=None, max_length=64)
    virtual_machine_ids: list[ResourceId] | None = Field(default=None, min_length=1, max_length=1000)


class MetricsHistory(Wire):
    """`sucess_percent`: the wire's own spelling."""

    total_runs: int
    sucess_percent: float
    failed: int
    warning: int
    success: int
    running: int


class MetricsCoverage(Wire):
    failed_resources: int
    protected_resources: int
    unprotected_resources: int
    total_resources: int


class MetricsVm(Wire):
    in_spp: int = Field(serialization_alias="inSPP")
    in_compute: int
    with_backup: int
    in_sla: int = Field(serialization_alias="inSLA")
    in_offloading_sla: int = Field(serialization_alias="inOffloadingSLA")
    tsm_offloading_factor: int


class MetricsPolicy(Wire):
    name: str
    trigger_type: str
    number_of_protected_vm: int = Field(serialization_alias="numberOfProtectedVM")


class MetricsPlatform(Wire):
    version: str
    build: str
    date: str
    product: str
    epoch: int
    deployment_type: str


class MetricsCpu(Wire):
    cpu_util: int


class Site(Wire):
    id: str
    name: str


class Retention(Wire):
    age: int


class TriggerWire(Wire):
    frequency: int
    type: str
    activate_date: int


class Target(Wire):
    id: str
    href: str
    resource_type: str = "site"


class SubPolicy(Wire):
    type: str = "REPLICATION"
    use_encryption: bool = False
    software: bool = True
    site: str
    retention: Retention
    trigger: TriggerWire
    target: Target


class SlaPolicy(Wire):
    """`held` is naos' own addition."""

    id: str
    name: str
    sub_policies: list[SubPolicy]
    held: bool


class ScheduleWish(Request):
    """`retention`: days. `activate_date`: milliseconds since 1970; left out, from now on."""

    trigger: Trigger = Trigger.DAILY
    frequency: Whole = 1
    retention: Whole
    activate_date: Whole | None = Field(default=None, ge=0, le=253402300799000)


class PolicyRequest(Request):
    """`site`: id or name of a zone that has a vault. `schedules`: may be left out when `terms` have a cron expression."""

    name: Name
    site: str = Field(max_length=255)
    schedules: list[ScheduleWish] = Field(default_factory=list, max_length=64)
    terms: TermsRequest | None = None


class MachineAssignment(Request):
    """`sla_policies`: the whole new set."""

    virtual_machine_ids: list[ResourceId] = Field(min_length=1, max_length=1000)
    sla_policies: list[ResourceId] = Field(max_length=64)


class DiskAssignment(Request):
    """`sla_policies`: the whole new set; null lets the disk inherit its machine's again."""

    virtual_disk_id: ResourceId
    sla_policies: list[ResourceId] | None = Field(max_length=64)


class SppServer(Wire):
    id: str
    name: str
    address: str


class Capacity(Wire):
    free: int
    total: int
    update_time: int


class StorageWire(Wire):
    id: str
    resource_type: str = "storage"
    type: str
    site: str
    name: str
    storage_id: str
    host_address: str
    port_number: int
    ssl_connection: bool = False
    initialize_status: str
    version: str
    is_ready: bool
    capacity: Capacity


class BackupVCenter(Wire):
    id: str
    internal_id: int
    instance_id: str
    spp_server_id: str
    name: str


class BackupVirtualDisk(Wire):
    id: str
    name: str
    internal_id: str
    instance_id: str
    spp_server_id: str
    virtual_machine_id: str


class VolumeWire(Wire):
    name: str
    key: str
    size: int
    config_volume: bool = False


class BackupVirtualMachine(Wire):
    id: str
    name: str
    moref: str
    internal_id: str
    internal_v_center_id: int
    v_center_id: str
    href: str
    metadata_path: str
    storage_profiles: list[str]
    datacenter_name: str
    volumes: list[VolumeWire]
