"""Two tenants of two organisations on one simulated platform, each with one object of every kind."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from fastapi.testclient import TestClient
from simulated_platform import COMPUTE, GIB, Platform, inventory_text

from naos.compute.models import VirtualMachine
from naos.fleet.models import HypervisorBuild, PoolUpdate
from naos.protection.backup import describing
from naos.protection.backup.instant_models import InstantStart
from naos.protection.backup.models import PointDisk, Restore, RestorePoint
from naos.protection.notices.models import Notice
from naos.protection.recovery.models import RecoveryPlan, RecoveryRun, Replica, ReplicaPoint
from naos.protection.replication.models import LunReplication
from naos.tenancy import members
from naos.tenancy.models import User

BACKUP, IAM = "/backup/v1/spp", "/iam/v2"
ADDRESS = "192.0.2.7"
MARK = "seen-only-by-its-owner"
"""Part of every name in the second tenant: an answer to anybody else that holds it has leaked."""


def vaulted_inventory(blades_per_zone: int) -> str:
    """An inventory whose third zone has a vault, so that there can be policies."""
    vault = 'vaults = [{ name = "v", zone = "AZ07", access = { driver = "namespace", target = "/none" }, path = "/v" }]'
    text = inventory_text(blades_per_zone).replace('{ name = "AZ06" } ]', '{ name = "AZ06" }, { name = "AZ07" } ]')
    return f"{vault}\n{text}"


@dataclass
class Home:
    """A tenant as its owner sees it. `ids`: by kind, the id of its one object."""

    platform: Platform
    ids: dict[str, str]

    @property
    def client(self) -> TestClient:
        return self.platform.client


def settle_in(platform: Platform, mark: str) -> Home:
    """Make one object of every kind, each with `mark` in its name."""
    ids: dict[str, str] = {}
    platform.client = _at_an_address(platform.client)
    home = Home(platform, ids)
    _who(home)
    with platform.services.database.write() as session:
        members.make_organisation_owner(session, session.get_one(User, ids["user"]))
    ids["cpool"] = platform.done(
        "POST",
        f"{COMPUTE}/host_clusters",
        {"name": f"{mark} pool", "datacenterId": "AZ05", "model": "LAB v1", "hosts": 2},
    )
    volume = {"name": f"{mark} volume", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
    ids["volume"] = platform.done("POST", f"{COMPUTE}/datastores", volume)
    ids["vlan"] = platform.done(
        "POST", f"{COMPUTE}/networks", {"name": f"{mark} vlan", "hostClusterIds": [ids["cpool"]]}
    )
    ids["resource_pool"] = next(
        found["id"] for found in platform.get(f"{COMPUTE}/resource_pools") if found["name"].startswith(mark)
    )
    body = {"name": f"{mark} cluster", "datastoreIds": [ids["volume"]]}
    ids["cluster"] = platform.done("POST", f"{COMPUTE}/datastore_clusters", body)
    ids["blade"] = platform.get(f"{COMPUTE}/hosts", hostClusterId=ids["cpool"])[0]["id"]
    ids["library"] = platform.get(f"{COMPUTE}/content_libraries")[0]["id"]
    platform.made |= {"pool-AZ05": ids["cpool"], "volume-AZ05": ids["volume"], "vlan": ids["vlan"]}
    platform.made["library"] = ids["library"]
    ids["item"] = platform.made["template"] = platform.add_template(f"{mark} template")
    ids["upload"] = platform.upload()
    entry = platform.client.post(f"{IAM}/allowed_addresses", json={"cidr": f"{ADDRESS}/32", "description": mark})
    assert entry.is_success, entry.text
    ids["address"] = entry.json()["id"]
    offer = {"contentLibraryItemId": ids["item"], "name": f"{mark} offer", "editor": mark, "version": "1"}
    platform.client.post("/marketplace/v1/items", json=offer)  # only the platform's first organisation may
    ids["offer"] = platform.get("/marketplace/v1/items")[0]["id"]
    provider = {
        "name": f"{mark} provider",
        "issuer": "https://login.naos.invalid",
        "clientId": mark,
        "clientSecret": mark,
    }
    answer = platform.client.post(f"{IAM}/identity_providers", json=provider)
    assert answer.is_success, answer.text
    ids["provider"] = answer.json()["id"]
    _machine(home, mark)
    _rule(home, mark)
    _protection(home, mark)
    ids["update"] = _update(home)
    _recovery(home, mark)
    ids["replication"] = _replication(home)
    _notices(home, mark)
    ids["activity"] = platform.get("/activity/v1/activities", limit=1)[0]["id"]
    return home


def _at_an_address(client: TestClient) -> TestClient:
    """The same caller, from an address that a list of addresses can hold."""
    moved = TestClient(client.app, raise_server_exceptions=False, client=(ADDRESS, 50000))
    moved.headers["Authorization"] = client.headers["Authorization"]
    return moved


def _who(home: Home) -> None:
    """Its owner, tenant, organisation and token."""
    token = home.platform.get(f"{IAM}/personal_access_tokens")[0]
    tenant = next(found for found in home.platform.get(f"{IAM}/tenants") if found["id"] == token["tenantId"])
    home.ids |= {"token": token["id"], "user": token["userId"], "tenant": tenant["id"], "company": tenant["companyId"]}


def _machine(home: Home, mark: str) -> None:
    """A machine with a disk, an adapter, a controller, a snapshot, a tag and an export."""
    platform, ids = home.platform, home.ids
    ids["machine"] = platform.deploy(f"{mark} machine", powerOn=False)
    ids["disk"] = platform.get(f"{COMPUTE}/virtual_disks", virtualMachineId=ids["machine"])[0]["id"]
    ids["adapter"] = platform.get(f"{COMPUTE}/network_adapters", virtualMachineId=ids["machine"])[0]["id"]
    ids["resource"] = ids["machine"]
    resource = {"uuid": ids["machine"], "type": "vcenter_virtual_machine", "source": "vmware"}
    answer = platform.client.post("/tag/v1/tags", json={"key": "owner", "value": mark, "resources": [resource]})
    assert answer.is_success, answer.text
    ids["controller"] = platform.get(f"{COMPUTE}/virtual_controllers", virtualMachineId=ids["machine"])[0]["id"]
    body = {"virtualMachineId": ids["machine"]}
    ids["export"] = platform.done("POST", f"{COMPUTE}/exports", body)
    body = {"virtualMachineId": ids["machine"], "name": f"{mark} snapshot"}
    ids["snapshot"] = platform.done("POST", f"{COMPUTE}/snapshots", body)


def _rule(home: Home, mark: str) -> None:
    """An affinity rule with another machine, which has nothing of its own."""
    platform, ids = home.platform, home.ids
    place = {"hostClusterId": ids["cpool"], "datastoreId": ids["volume"]}
    body = {"name": f"{mark} sister", "cpu": 1, "memory": 64 * 2**20, **place}
    pair = [ids["machine"], platform.done("POST", f"{COMPUTE}/virtual_machines", body)]
    rule = {"name": f"{mark} rule", "type": "affinity", "hostClusterId": ids["cpool"], "virtualMachineIds": pair}
    answer = platform.client.post(f"{COMPUTE}/affinity_rules", json=rule)
    assert answer.is_success, answer.text
    ids["rule"] = answer.json()["id"]


def _update(home: Home) -> str:
    """The cpool's update to a hypervisor build, long over; the build is there for every tenant."""
    with home.platform.services.database.write() as session:
        build = session.scalar(sa.select(HypervisorBuild))
        if build is None:
            build = HypervisorBuild(version="1", advisories=[], packages=[], command="true")
            session.add(build)
            session.flush()
        made = PoolUpdate(tenant_id=home.ids["tenant"], cpool_id=home.ids["cpool"], build_id=build.id, state="done")
        session.add(made)
        session.flush()
        return made.id


def _recovery(home: Home, mark: str) -> None:
    """A paused replica of the machine with a point, a recovery plan, and a test of it, long over."""
    ids, now = home.ids, datetime.now(UTC)
    places = {"cpool_id": ids["cpool"], "tenant_id": ids["tenant"]}
    with home.platform.services.database.write() as session:
        replica = Replica(
            machine_id=ids["machine"],
            lun_id=ids["volume"],
            set_id=str(uuid.uuid4()),
            interval=3600,
            keep=4,
            state="paused",
            due_at=now,
            **places,
        )
        plan = RecoveryPlan(
            name=f"{mark} plan", home_cpool_id="", promise=60, shutdown=0, reserve=False, state="ready", **places
        )
        session.add_all((replica, plan))
        session.flush()
        point = ReplicaPoint(point_id=str(uuid.uuid4()), replica_id=replica.id, instant=now, sent=0)
        run = RecoveryRun(
            tenant_id=ids["tenant"], subject_id=plan.id, name=plan.name, kind="test", state="succeeded", promise=60
        )
        session.add_all((point, run))
        session.flush()
        ids |= {"replica": replica.id, "replica_point": point.point_id}
        ids |= {"recovery_plan": plan.id, "recovery_run": run.id}


def _notices(home: Home, mark: str) -> None:
    """A target of notices that is not told of anything, and a notice that was given up."""
    webhook = {"url": "https://hooks.naos.invalid/", "secret": f"a secret of {mark}"}
    body = {"name": f"{mark} target", "webhook": webhook, "events": []}
    answer = home.platform.client.post(f"{BACKUP}/notice_targets", json=body)
    assert answer.is_success, answer.text
    home.ids["notice_target"] = answer.json()["id"]
    now = datetime.now(UTC)
    with home.platform.services.database.write() as session:
        made = Notice(
            tenant_id=home.ids["tenant"],
            target_id=home.ids["notice_target"],
            event="test",
            subject=mark,
            text=mark,
            details={},
            state="given_up",
            next_at=now,
            created_at=now,
        )
        session.add(made)
        session.flush()
        home.ids["notice"] = made.id


def _replication(home: Home) -> str:
    """The volume's, whose replica is not there yet."""
    with home.platform.services.database.write() as session:
        made = LunReplication(
            tenant_id=home.ids["tenant"],
            lun_id=home.ids["volume"],
            replica_id=str(uuid.uuid4()),
            grown=2**30,
            shaped="standard",
        )
        session.add(made)
        session.flush()
        return made.id


def _protection(home: Home, mark: str) -> None:
    platform, ids = home.platform, home.ids
    body = {"name": f"{mark} policy", "site": "AZ07", "schedules": [{"retention": 7}]}
    ids["policy"] = platform.done("POST", f"{BACKUP}/policies", body)
    ids["job"] = platform.get(f"{BACKUP}/jobs", type="catalog")[0]["id"]
    platform.done("POST", f"{BACKUP}/jobs/run", {"jobId": ids["job"]})
    with platform.services.database.write() as session:
        machine = session.get_one(VirtualMachine, ids["machine"])
        point = RestorePoint(
            tenant_id=ids["tenant"],
            machine_id=machine.id,
            machine_name=machine.name,
            policy_id=ids["policy"],
            policy_name=f"{mark} policy",
            zone="AZ07",
            vault="v",
            set_id=str(uuid.uuid4()),
            taken_at=datetime.now(UTC),
            state="good",
            machine=describing.describe(session, machine),
        )
        session.add(point)
        session.flush()
        session.add(PointDisk(point_id=point.id, disk_id=ids["disk"], name="Hard disk 1", unit=0, size=2**26))
        restore = Restore(
            tenant_id=ids["tenant"],
            point_id=point.id,
            machine_id=machine.id,
            machine_name=machine.name,
            mode="clone",
            state="done",
        )
        session.add(restore)
        session.flush()
        mine = {"restore_id": restore.id, "tenant_id": ids["tenant"], "point_id": point.id, "machine_id": machine.id}
        session.add(InstantStart(**mine, machine_name=machine.name, mode="clone", state="done"))
        session.flush()
        ids |= {"restore_point": point.id, "restore": restore.id}


def rows_about(platform: Platform, ids: Mapping[str, str]) -> dict[str, list[Any]]:
    """Every row of every table that names one of `ids`, by table; measurements, which go on by themselves, left out."""
    wanted = set(ids.values()) - {""}
    with platform.services.database.read() as session:
        inspector = sa.inspect(session.get_bind())
        found: dict[str, list[Any]] = {}
        for name in sorted(
            name for name in inspector.get_table_names() if not name.endswith(("_samples", "_figures", "_space"))
        ):
            table = sa.Table(name, sa.MetaData(), autoload_with=session.get_bind())
            rows = [tuple(str(value) for value in row) for row in session.execute(sa.select(table))]
            found[name] = sorted(row for row in rows if any(value in wanted for value in row))
    return found
