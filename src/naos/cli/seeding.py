"""What the public Terraform provider's own test suites need of a tenant: found or made, one thing after the other.

Every step looks by name first, so a second run makes nothing twice. Ids and names that only the platform gives cannot be
chosen by the API: they are left out, and the tests that ask for them are named in `missing`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from naos.cli import waiting
from naos.cli.client import Api, Json, read_credentials
from naos.cli.failures import Failure
from naos.cli.naming import COMPUTE, DISK, LIBRARY, MACHINE, NIC, POOL, VLAN, VOLUME, ZONE
from naos.cli.output import dig
from naos.units import GIB, MIB

NAME = "provider-suite"
BACKUP, IAM = "/backup/v1/spp", "/iam/v2"
MONTH_SECONDS = 30 * 24 * 3600
GUEST_SYSTEM = "debian12_64Guest"
NEEDED = (
    "activity_read",
    "backup_iaas_spp_read",
    "backup_iaas_spp_write",
    "compute_iaas_vmware_infrastructure_read",
    "compute_iaas_vmware_infrastructure_write",
    "compute_iaas_vmware_management",
    "compute_iaas_vmware_read",
    "compute_iaas_vmware_virtual_machine_power",
    "iam_offline_access",
    "iam_read",
    "iam_write",
    "network_read",
    "network_write",
    "tag_read",
    "tag_write",
)
FIXED = (
    (
        "the content library and ISO item with the ids that are written into the test",
        ("TestAccResourceVirtualController",),
    ),
    ("a network with the id that is written into the test", ("TestNetworkAdapterClient_Create",)),
    ("a library item called ubuntu-jammy-22.04-cloudimg", ("TestAccResourceVirtualMachine",)),
)
"""Objects whose ids or contents the suites write down and that no call of the API can make so; with their tests."""


@dataclass
class Seed:
    """dry: nothing is made; what would be stands in `made`. Where something made would be needed to go on, its id is ``""``.

    missing: what cannot be had, each with the tests that then cannot pass.
    """

    api: Api
    dry: bool
    made: list[str] = field(default_factory=list)
    missing: list[tuple[str, tuple[str, ...]]] = field(default_factory=lambda: list(FIXED))
    environment: dict[str, str] = field(default_factory=dict)

    def plant(self) -> None:
        """Find or make everything. Raises Failure; a repetition goes on where it stopped."""
        self._identity()
        zone, pool, volume, vlan = self._infrastructure()
        item = self._item()
        self._protection()
        self._machine(zone, pool, volume, vlan, item)
        self._views(pool)
        self._tokens()  # last: the old ones of this name end here

    # ----------------------------------------------------------------------------------------------------- one thing

    def ensure(self, what: str, found: Json | None, make: Callable[[], str], kind: str) -> str:
        """The id of `found`, or of what the activity that `make` starts makes."""
        if found is not None:
            return str(found["id"])
        self.made.append(what)
        if self.dry:
            return ""
        return waiting.made(waiting.follow(self.api, make()), kind)

    def set(self, prefix: str, item: Json | None, **names: str) -> None:
        """Variables `prefix_NAME` of an object's values; `names`: NAME=path with dots."""
        for name, path in ({"ID": "id", "NAME": "name"} | names).items():
            value = dig(item, *path.split("."))
            if value is not None:
                self.environment[f"{prefix}_{name}"] = str(value)

    def named(self, path: str, name: str, **filters: str) -> Json | None:
        return next((item for item in self.api.get(path, **filters) if item["name"] == name), None)

    # ------------------------------------------------------------------------------------------------------ identity

    def _identity(self) -> None:
        """Raises Failure when the caller's token lacks a right; nothing is made before this is known."""
        roles = {role["id"]: role["name"] for role in self.api.get(f"{IAM}/roles")}
        mine = self.own_token()
        lacking = sorted(set(NEEDED) - {roles.get(role, "") for role in mine["roles"]})
        if lacking:
            raise Failure(f"The token lacks {', '.join(lacking)}; take one that holds them. Nothing was made.")
        tenant = next(item for item in self.api.get(f"{IAM}/tenants") if item["id"] == mine["tenantId"])
        user = self.api.get(f"{IAM}/users/{mine['userId']}")
        company = self.api.get(f"{IAM}/companies/{tenant['companyId']}")
        self.environment["SHIVA_TEST_COMPANY_ID"] = company["id"]
        self.set("TENANT", tenant)
        self.set("IAM_USER", user, INTERNAL_ID="internalId", EMAIL="email", TYPE="type")
        role = next(item for item in self.api.get(f"{IAM}/roles") if item["name"] == "iam_read")
        self.set("IAM_ROLE", role)
        self.set("IAM_FEATURE", self.named(f"{IAM}/features", "rtms"))
        if company["name"] != "Cloud Temple":
            self.missing.append(
                (f"an organisation called Cloud Temple (this one is {company['name']})", ("TestIAM_Company",))
            )
        if not tenant["snc"]:
            self.missing.append((f"a SecNumCloud tenant ({tenant['name']} is none)", ("TestIAM_Tenants",)))
        self._second_tenant()

    def own_token(self) -> Json:
        """The token that this command calls with."""
        identifier, _ = read_credentials(self.api.connection.credentials)
        token: Json = self.api.get(f"{IAM}/personal_access_tokens/{identifier}")
        return token

    def _second_tenant(self) -> None:
        tenants = self.api.get(f"{IAM}/tenants")
        if len(tenants) > 2:
            reason = f"exactly two tenants (there are {len(tenants)})"
            self.missing.append((reason, ("TestIAM_Tenants", "TestIAM_FeatureAssignments")))
        if len(tenants) == 1:
            self.made.append(f"tenant {NAME}")
            if not self.dry:
                body = {"name": NAME, "description": "For the provider's test suites", "features": ["iam"]}
                self.api.change("POST", f"{IAM}/tenants", body)

    def _tokens(self) -> None:
        """A fresh token with every right of the caller's; older ones of its name end."""
        self.environment["IAM_PAT_NAME"] = NAME
        self.made.append(f"token {NAME} (for 30 days)")
        if self.dry:
            return
        for token in self.api.get(f"{IAM}/personal_access_tokens"):
            if token["name"] == NAME and token["userId"] == self.environment["IAM_USER_ID"]:
                self.api.change("DELETE", f"{IAM}/personal_access_tokens/{token['id']}")
        until = int((time.time() + MONTH_SECONDS) * 1000)
        body = {"name": NAME, "roles": self.own_token()["roles"], "expirationDate": until}
        token = self.api.change("POST", f"{IAM}/personal_access_tokens", body)
        for prefix in ("CLOUDTEMPLE", "SHIVA_TEST"):
            self.environment[f"{prefix}_CLIENT_ID"], self.environment[f"{prefix}_SECRET_ID"] = (
                token["id"],
                token["secret"],
            )

    # ------------------------------------------------------------------------------------------------ infrastructure

    def _infrastructure(self) -> tuple[Json, Json, Json, Json]:
        """A zone that has a pool and a volume; a second pool where blades are free; two VLANs."""
        worker = self.api.get(COMPUTE)[0]
        self.set("COMPUTE_VCENTER", worker, FULLNAME="fullName")
        self.environment["COMPUTE_VCENTER_ID_2"] = worker["id"]
        if worker["name"] != "vc-vstack-001-t0001":
            reason = f"a region called vc-vstack-001-t0001 (this one is {worker['name']})"
            self.missing.append((reason, ("TestAccDataSourceDatastoreCluster",)))
        zones = {zone["id"]: zone for zone in self.api.get(ZONE.path)}
        pools, volumes = self.api.get(POOL.path), self.api.get(VOLUME.path)
        for pool in pools:
            volume = next((item for item in volumes if dig(item, "datacenter", "id") == pool["datacenter"]["id"]), None)
            if volume is not None:
                zone = zones[pool["datacenter"]["id"]]
                break
        else:
            raise Failure(
                "There is no zone with a pool and a volume; `naos up` makes them, or `naos pool create` and so on."
            )
        for prefix in ("DATACENTER", "COMPUTE_VIRTUAL_DATACENTER"):
            self.set(prefix, zone)
        self.set("COMPUTE_HOST_CLUSTER", pool, MOREF="moref")
        self.set("COMPUTE_DATASTORE", volume, MOREF="moref", TYPE="type", UNIQUE_ID="uniqueId")
        self.environment["COMPUTE_DATASTORE_DATACENTER_ID"] = zone["id"]
        self.environment["COMPUTE_OPERATING_SYSTEM_MOREF"] = GUEST_SYSTEM
        blade = self.api.get(f"{COMPUTE}/hosts", hostClusterId=pool["id"])[0]
        self.set("COMPUTE_HOST", blade, MOREF="moref")
        self._second_pool(zone, pool)
        self._cluster(volume)
        return zone, pool, volume, self._vlans(pool)

    def _second_pool(self, zone: Json, pool: Json) -> None:
        """Another pool of the zone: one that there is, or one of a free blade."""
        others = [item for item in self.api.get(POOL.path, datacenterId=zone["id"]) if item["id"] != pool["id"]]
        body = {"name": NAME, "datacenterId": zone["id"], "model": pool["model"], "hosts": 1}
        try:
            found = self.ensure(
                f"pool {NAME}",
                others[0] if others else None,
                lambda: self.api.write("POST", POOL.path, body),
                "host_cluster",
            )
        except Failure as failure:
            if failure.code != "fleet.blades_missing":
                raise
            self.made.remove(f"pool {NAME}")
            reason = f"a second pool in {zone['name']}: no blade is free"
            self.missing.append((reason, ("TestVirtualMachineClient_Relocate",)))
            return
        self.environment["COMPUTE_VIRTUAL_MACHINE_HOST_CLUSTER_RELOCATE"] = found

    def _cluster(self, volume: Json) -> None:
        path = f"{COMPUTE}/datastore_clusters"
        present = next((item for item in self.api.get(path) if volume["id"] in item["datastores"]), None)
        body = {"name": NAME, "datastoreIds": [volume["id"]]}
        made = self.ensure(
            f"datastore cluster {NAME}", present, lambda: self.api.write("POST", path, body), "datastore_cluster"
        )
        if made:
            self.set("COMPUTE_DATASTORE_CLUSTER", self.api.get(f"{path}/{made}"), MOREF="moref")

    def _vlans(self, pool: Json) -> Json:
        present = [item for item in self.api.get(VLAN.path) if pool["id"] in _ids(item.get("hostClusters"))]
        for name in [f"{NAME}-{number}" for number in range(len(present) + 1, 3)]:
            body = {"name": name, "hostClusterIds": [pool["id"]]}
            made = self.ensure(f"VLAN {name}", None, self._starter("POST", VLAN.path, body), "network")
            present += [self.api.get(f"{VLAN.path}/{made}")] if made else []
        vlan: Json = present[0] if present else {"id": "", "name": ""}
        self.set("COMPUTE_NETWORK", vlan, MOREF="moref")
        return vlan

    def _starter(self, method: str, path: str, body: Json) -> Callable[[], str]:
        return lambda: self.api.write(method, path, body)

    # ------------------------------------------------------------------------------------------------------- content

    def _item(self) -> Json | None:
        """A template to deploy. Raises Failure when there is none: images are built on the controller's machine."""
        for library in self.api.get(LIBRARY.path):
            for item in self.api.get(f"{LIBRARY.path}/{library['id']}/items"):
                if item["type"] == "ovf":
                    self.set("COMPUTE_CONTENT_LIBRARY", library)
                    self.set("COMPUTE_CONTENT_LIBRARY_ITEM", item)
                    found: Json = item
                    return found
        raise Failure("There is no template to deploy; make one with `naos template build naos-tiny`.")

    def _protection(self) -> None:
        """Two policies on either side of `nobackup` in the list, and one run of the inventory."""
        sites = self.api.get(f"{BACKUP}/sites")
        if not sites:
            tests = ("TestAccDataSourceBackupSites", "TestAccDataSourceBackupSLAPolicy", "TestBackupSiteClient_List")
            self.missing.append(("a backup site: no zone has a vault", tests))
        for name in (f"daily-{NAME}", f"weekly-{NAME}"):
            trigger = name.partition("-")[0].upper()
            if sites:
                schedules = [{"trigger": trigger, "frequency": 1, "retention": 7}]
                body: Json = {"name": name, "site": sites[0]["name"], "schedules": schedules}
                start = self._starter("POST", f"{BACKUP}/policies", body)
                self.ensure(f"policy {name}", self.named(f"{BACKUP}/policies", name), start, "backup_policy")
        self.set("BACKUP_SITE", sites[0] if sites else None)
        self.set("BACKUP_POLICY", self.named(f"{BACKUP}/policies", f"daily-{NAME}"))
        servers = self.api.get(f"{BACKUP}/servers", tenantId=self.environment["TENANT_ID"])
        self.set("BACKUP_SPPSERVER", servers[0] if servers else None)
        job = next(
            item for item in self.api.get(f"{BACKUP}/jobs", type="catalog") if item["name"] == "Hypervisor Inventory"
        )
        self.environment["BACKUP_JOB_ID"] = job["id"]
        if not self.api.get(f"{BACKUP}/jobs/session"):
            self.made.append("a run of the inventory")
            if not self.dry:
                waiting.follow(self.api, self.api.write("POST", f"{BACKUP}/jobs/run", {"jobId": job["id"]}))

    def _machine(self, zone: Json, pool: Json, volume: Json, vlan: Json, item: Json | None) -> None:
        """A machine with a disk, an adapter, a controller and a snapshot, kept out of what the suites sweep away."""
        place = f"{COMPUTE}/content_libraries/{self.environment['COMPUTE_CONTENT_LIBRARY_ID']}/items"
        body: Json = {
            "contentLibraryItemId": item["id"] if item else "",
            "name": NAME,
            "datacenterId": zone["id"],
            "hostClusterId": pool["id"],
            "datastoreId": volume["id"],
            "memory": 128 * MIB,
            "cpu": 1,
            "diskCapacity": GIB,
            "networkAdapters": [{"networkId": vlan["id"]}],
            "powerOn": False,
        }
        present = self.named(MACHINE.path, NAME)
        machine = self.ensure(f"machine {NAME}", present, self._starter("POST", place, body), "virtual_machine")
        if not machine:
            self.made.append(f"snapshot {NAME}")
            return
        self.set("COMPUTE_VIRTUAL_MACHINE", self.api.get(f"{MACHINE.path}/{machine}"), MOREF="moref")
        mine = {"virtualMachineId": machine}
        self.set("COMPUTE_VIRTUAL_DISK", self.api.get(DISK.path, **mine)[0])
        adapter = self.api.get(NIC.path, **mine)[0]
        self.set("COMPUTE_NETWORK_ADAPTER", adapter, TYPE="type", VIRTUAL_MACHINE="virtualMachineId")
        controllers, snapshots = f"{COMPUTE}/virtual_controllers", f"{COMPUTE}/snapshots"
        body = {**mine, "type": "SCSI", "subType": "ParaVirtual"}
        first = next(iter(self.api.get(controllers, **mine)), None)
        self.ensure(f"controller of {NAME}", first, self._starter("POST", controllers, body), "virtual_controller")
        self._keep_policy_in_use(machine)
        taken = next(iter(self.api.get(snapshots, **mine)), None)
        body = {**mine, "name": NAME, "description": "For the provider's test suites"}
        self.ensure(f"snapshot {NAME}", taken, self._starter("POST", snapshots, body), "snapshot")

    def _keep_policy_in_use(self, machine: str) -> None:
        """Give the machine the suites' policy: one that loses its last machine is held, and the suites delete theirs."""
        policy = self.environment.get("BACKUP_POLICY_ID", "")
        has = {item["id"] for item in self.api.get(f"{BACKUP}/policies", virtualMachineId=machine)}
        if not policy or policy in has:
            return
        self.made.append(f"assignment of {self.environment['BACKUP_POLICY_NAME']} to machine {NAME}")
        if self.dry:
            return
        waiting.follow(self.api, self.api.write("POST", f"{BACKUP}/policies/{policy}/release"))
        body: Json = {"virtualMachineIds": [machine], "slaPolicies": [policy]}
        waiting.follow(self.api, self.api.write("POST", f"{BACKUP}/policies/assign/virtual_machine", body))

    def _views(self, pool: Json) -> None:
        """What the platform shows of itself: folder, resource pool, virtual switch."""
        near = {"datacenterId": pool["datacenter"]["id"]}
        resource_pool = next(iter(self.api.get(f"{COMPUTE}/resource_pools", **near)), None)
        self.set("COMPUTE_RESOURCE_POOL", resource_pool)
        self.set("COMPTE_RESOURCE_POOL", resource_pool, MOFER="moref")
        self.set("COMPUTE_FOLDER", next(iter(self.api.get(f"{COMPUTE}/folders", **near)), None))
        self.set("COMPUTE_VIRTUAL_SWITCH", next(iter(self.api.get(f"{COMPUTE}/virtual_switchs")), None))


def _ids(references: object) -> set[str]:
    return {str(item.get("id")) for item in references} if isinstance(references, list) else set()
