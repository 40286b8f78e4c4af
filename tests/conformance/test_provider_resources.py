"""The provider's resources, replayed call by call: create, an empty plan, update, hot update, rename, relocate, power, destroy."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from provider_client import Client, Failed, Refused
from provider_contract import BACKUP, COMPUTE
from provider_resources import (
    AdapterResource,
    ControllerResource,
    DiskResource,
    MachineResource,
    ReadFailed,
    TokenResource,
)
from served_platform import Served
from simulated_platform import GIB

from naos.tenancy.models import Tenant

MIB = 2**20
LINUX = "debian12_64Guest"
PHOTON = "vmwarePhoton64Guest"


@dataclass
class Surroundings:
    """What a configuration names: ids of the furnished platform, as data sources would find them."""

    datacenter: str
    other_datacenter: str
    cluster: str
    datastore: str
    network: str
    library: str
    item: str
    none: str


@pytest.fixture(scope="module")
def around(provider: Served, client: Client) -> Surroundings:
    made = provider.platform.made
    policies = {policy["name"]: policy["id"] for policy in client.list(f"{BACKUP}/policies")}
    return Surroundings(
        datacenter=provider.platform.zone("AZ05"),
        other_datacenter=provider.platform.zone("AZ06"),
        cluster=made["pool-AZ05"],
        datastore=made["volume-AZ05"],
        network=made["vlan"],
        library=made["library"],
        item=made["template"],
        none=policies["nobackup"],
    )


@pytest.fixture(scope="module")
def kept(provider: Served) -> str:
    """A policy that makes copies."""
    body = {"name": "nightly", "site": "AZ07", "schedules": [{"trigger": "DAILY", "frequency": 1, "retention": 7}]}
    return provider.platform.done("POST", f"{BACKUP}/policies", body)


@pytest.fixture
def nightly(provider: Served, kept: str) -> str:
    """The same, released: a policy that lost its last machine is held."""
    provider.platform.done("POST", f"{BACKUP}/policies/{kept}/release")
    return kept


def scratch(around: Surroundings, name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "memory": 64 * MIB,
        "cpu": 1,
        "num_cores_per_socket": 1,
        "datacenter_id": around.datacenter,
        "host_cluster_id": around.cluster,
        "datastore_id": around.datastore,
        "guest_operating_system_moref": LINUX,
        **changes,
    }


@pytest.fixture(scope="module")
def machines(client: Client) -> MachineResource:
    return MachineResource(client)


@pytest.fixture(autouse=True)
def agree(provider: Served) -> Iterator[None]:
    """Whatever a test did, tables and world agree afterwards."""
    yield
    assert provider.platform.settled() == []


# ------------------------------------------------------------------------------------------------------------- machines


def test_a_machine_from_scratch_lives_as_terraform_has_it(machines: MachineResource, around: Surroundings) -> None:
    config = scratch(
        around,
        "scratch",
        tags={"created_by": "Terraform", "Umgebung": "prüfung ✓"},
        backup_sla_policies=[around.none],
        power_state="on",
        cpu_hot_add_enabled=True,
        memory_hot_add_enabled=True,
        boot_options={"firmware": "bios", "boot_delay": 0, "boot_retry_enabled": False, "enter_bios_setup": False},
        extra_config={
            "guestinfo.metadata": base64.b64encode(b"local-hostname: scratch\n").decode(),
            "guestinfo.metadata.encoding": "base64",
            "disk.enableUUID": True,
            "pciPassthru.64bitMMioSizeGB": 64,
        },
    )
    state = machines.create(config)
    assert machines.changes(config, state) == set()
    assert machines.changes(config, machines.read(state)) == set()
    imported = machines.imported(state["id"])
    assert machines.changes(config, imported) == set()
    assert imported["machine"] == state["machine"]

    hot = {**config, "memory": 128 * MIB, "cpu": 2}
    assert machines.changes(hot, state) == {"memory", "cpu"}
    state = machines.update(hot, state)
    assert machines.changes(hot, state) == set()

    renamed = {**hot, "name": "scratch-renamed", "tags": {"created_by": "me"}, "guest_operating_system_moref": PHOTON}
    state = machines.update(renamed, state)
    assert machines.changes(renamed, state) == set()

    off = {**renamed, "power_state": "off"}
    state = machines.update(off, state)
    assert machines.changes(off, state) == set()
    cold = {**off, "memory": 64 * MIB, "cpu": 2, "num_cores_per_socket": 2, "cpu_hot_add_enabled": False}
    state = machines.update(cold, state)
    assert machines.changes(cold, state) == set()
    bare = {**cold, "tags": {}, "backup_sla_policies": []}
    state = machines.update(bare, state)
    assert machines.changes(bare, state) == set()
    machines.destroy(state)
    with pytest.raises(ReadFailed, match="not listed"):
        machines.read(state)


def test_a_cold_change_of_a_running_machine_goes_through_a_restart(
    machines: MachineResource, around: Surroundings
) -> None:
    config = scratch(around, "restarted", backup_sla_policies=[around.none], power_state="on")
    state = machines.create(config)
    smaller = {**config, "memory": 32 * MIB, "allow_vm_restart": True}
    with pytest.raises(Refused, match="allow_vm_restart"):
        machines.update({**smaller, "allow_vm_restart": False}, state)
    state = machines.update(smaller, state)
    assert machines.changes(smaller, state) == set()
    assert state["machine"]["powerState"] == "running"
    machines.destroy(state)


def test_what_cannot_be_hot_is_a_failed_activity_in_words(
    machines: MachineResource, around: Surroundings, client: Client
) -> None:
    config = scratch(around, "not-hot", backup_sla_policies=[around.none], power_state="on")
    state = machines.create(config)
    body = {"id": state["id"], "ram": 32 * MIB, "memoryReservation": 0, "cpu": 1, "corePerSocket": 1}
    body |= {"hotCpuAdd": False, "hotCpuRemove": False, "hotMemAdd": False}
    with pytest.raises((Failed, Refused), match=r"(?i)memory"):
        client.write("PATCH", f"{COMPUTE}/virtual_machines", body=body)
    assert machines.changes(config, machines.read(state)) == set()
    machines.destroy(state)


def test_the_old_test_suites_bodies_are_taken(client: Client, around: Surroundings, machines: MachineResource) -> None:
    """Section 8.6: no size at all, zeros in an update, a relocation to where the machine is, power without advice."""
    body = {"name": "test-client-create", "datacenterId": around.datacenter, "hostClusterId": around.cluster}
    body |= {"datastoreId": around.datastore, "guestOperatingSystemMoref": LINUX}
    activity = client.write("POST", f"{COMPUTE}/virtual_machines", body=body)
    identifier = activity["concernedItems"][0]["id"]
    assert (activity["state"]["completed"]["result"], activity["concernedItems"][0]["type"]) == (
        identifier,
        "virtual_machine",
    )
    zeros = {"id": identifier, "ram": 0, "memoryReservation": 0, "cpu": 0, "corePerSocket": 0}
    zeros |= {"hotCpuAdd": False, "hotCpuRemove": False, "hotMemAdd": False}
    boot = {"bootDelay": 0, "bootRetryDelay": 10000, "bootRetryEnabled": False, "enterBIOSSetup": False}
    client.write("PATCH", f"{COMPUTE}/virtual_machines", body=zeros | {"bootOptions": boot | {"firmware": "bios"}})
    renamed = client.write(
        "PATCH", f"{COMPUTE}/virtual_machines/rename", body={"id": identifier, "name": "test-client-rename"}
    )
    assert renamed["concernedItems"][0]["id"] == identifier
    client.write(
        "PATCH", f"{COMPUTE}/virtual_machines/{{id}}/guest", identifier, body={"guestOperatingSystemMoref": PHOTON}
    )
    read = client.one(f"{COMPUTE}/virtual_machines/{{id}}", identifier)
    assert read is not None
    assert (read["memory"], read["cpu"], read["powerState"]) == (32 * MIB, 1, "stopped")
    assert (read["operatingSystemMoref"], read["name"]) == (PHOTON, "test-client-rename")
    client.write(
        "POST",
        f"{BACKUP}/policies/assign/virtual_machine",
        body={"virtualMachineIds": [identifier], "slaPolicies": [around.none]},
    )
    for action in ("on", "on", "off", "off"):
        power = {"id": identifier, "datacenterId": read["datacenter"]["id"], "powerAction": action}
        client.write("PATCH", f"{COMPUTE}/virtual_machines/power", body=power)
    machines.destroy({"id": identifier})


def test_a_machine_from_the_library_maps_its_disks_and_adapters(
    machines: MachineResource, around: Surroundings, nightly: str
) -> None:
    config = {
        "name": "deployed",
        "content_library_id": around.library,
        "content_library_item_id": around.item,
        "datacenter_id": around.datacenter,
        "host_cluster_id": around.cluster,
        "datastore_id": around.datastore,
        "memory": 128 * MIB,
        "cpu": 1,
        "num_cores_per_socket": 1,
        "disks_provisioning_type": "dynamic",
        "deploy_options": {
            "hostname": "deployed",
            "user-data": base64.b64encode(b"#cloud-config\n").decode(),
        },
        "backup_sla_policies": [nightly, around.none],
        "os_disk": [{"capacity": GIB}],
        "power_state": "on",
    }
    state = machines.create(config)
    assert machines.changes(config, state) == set()
    assert len(state["os_disk"]) == 1
    grown = {**config, "os_disk": [{"capacity": 2 * GIB}]}
    state = machines.update(grown, state)
    assert machines.changes(grown, state) == set()
    with pytest.raises(Refused, match="shrink"):
        machines.update(config, state)

    clone = {**config, "name": "cloned", "clone_virtual_machine_id": state["id"], "power_state": "off"}
    clone = {name: value for name, value in clone.items() if not name.startswith(("content", "disks", "deploy"))}
    clone["os_disk"] = [{"capacity": 2 * GIB}]
    copied = machines.create(clone)
    assert machines.changes(clone, copied) == set()
    assert copied["id"] != state["id"]
    machines.destroy(copied)
    machines.destroy(state)


def test_a_machine_moves_to_another_datastore_and_stays_itself(
    provider: Served, machines: MachineResource, around: Surroundings
) -> None:
    volume = {"name": "second", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
    second = provider.platform.done("POST", f"{COMPUTE}/datastores", volume)
    config = scratch(around, "moved", backup_sla_policies=[around.none])
    state = machines.create(config)
    disk = DiskResource(machines.client).create(
        {
            "virtual_machine_id": state["id"],
            "capacity": GIB,
            "provisioning_type": "dynamic",
            "disk_mode": "persistent",
            "datastore_id": around.datastore,
        }
    )
    moved = {**config, "datastore_id": second}
    state = machines.update(moved, state)
    assert machines.changes(moved, state) == set()
    assert DiskResource(machines.client).read(disk)["disk"]["datastore"]["id"] == second
    machines.destroy(state)
    provider.platform.done("DELETE", f"{COMPUTE}/datastores/{second}")


@pytest.fixture
def strict(provider: Served) -> Iterator[None]:
    """The tenant under SecNumCloud's rules: no call of the API turns them on for one that there is."""

    def rule(*, snc: bool) -> None:
        with provider.platform.services.database.write() as session:
            session.execute(sa.update(Tenant).where(Tenant.name == "Default").values(snc=snc))

    rule(snc=True)
    yield
    rule(snc=False)


@pytest.mark.usefixtures("strict")
def test_under_secnumcloud_a_machine_asks_for_its_policy_first(machines: MachineResource, around: Surroundings) -> None:
    config = scratch(around, "unprotected", power_state="on")
    with pytest.raises((Failed, Refused), match=r"(?i)polic"):
        machines.create(config)
    (left,) = machines.client.list(f"{COMPUTE}/virtual_machines", name="unprotected")
    machines.destroy({"id": left["id"]})
    protected = {**config, "backup_sla_policies": [around.none]}
    state = machines.create(protected)
    assert machines.changes(protected, state) == set()
    machines.destroy(state)


# --------------------------------------------------------------------------------------- disks, adapters, controllers


@pytest.fixture(scope="module")
def holder(machines: MachineResource, around: Surroundings) -> dict[str, Any]:
    """A running machine for devices."""
    return machines.create(scratch(around, "holder", backup_sla_policies=[around.none], power_state="on"))


def test_a_disk_lives_as_terraform_has_it(
    client: Client, around: Surroundings, holder: dict[str, Any], nightly: str
) -> None:
    disks = DiskResource(client)
    config = {
        "virtual_machine_id": holder["id"],
        "capacity": 10 * GIB,
        "provisioning_type": "dynamic",
        "disk_mode": "persistent",
        "datastore_id": around.datastore,
        "backup_sla_policies": [nightly],
    }
    state = disks.create(config)
    assert disks.changes(config, state) == set()
    assert disks.changes(config, disks.imported(state["id"])) == set()
    disk = state["disk"]
    assert (disk["name"], disk["diskUnitNumber"], disk["controller"]["busNumber"]) == ("Hard disk 1", 0, 0)
    assert (disk["instantAccess"], disk["editable"]) == (False, True)
    assert disk["nativeId"]
    assert disk["machineManager"]["id"] == holder["machine"]["machineManager"]["id"]
    grown = {**config, "capacity": 20 * GIB, "backup_sla_policies": []}
    state = disks.update(grown, state)
    assert disks.changes(grown, state) == set()
    with pytest.raises(Failed, match="shrink"):
        disks.update(config, state)
    disks.destroy(state)
    with pytest.raises(ReadFailed, match="not listed"):
        disks.read(state)


def test_a_disk_is_taken_off_and_put_back_by_its_path(
    client: Client, around: Surroundings, holder: dict[str, Any]
) -> None:
    """Client tests of section 8.6: mount of a disk that is still attached completes."""
    disks = DiskResource(client)
    config = {"virtual_machine_id": holder["id"], "capacity": GIB, "provisioning_type": "dynamic"}
    state = disks.create(config | {"disk_mode": "persistent", "datastore_id": around.datastore})
    mount = {"virtualMachineId": holder["id"], "path": state["disk"]["diskPath"]}
    client.write("POST", f"{COMPUTE}/virtual_disks/mount", body=mount)
    client.write("POST", f"{COMPUTE}/virtual_disks/unmount", body={"virtualDiskId": state["id"]})
    client.write("POST", f"{COMPUTE}/virtual_disks/mount", body=mount)
    assert disks.read(state)["virtual_machine_id"] == holder["id"]
    disks.destroy(state)


def test_an_adapter_lives_as_terraform_has_it(client: Client, around: Surroundings, holder: dict[str, Any]) -> None:
    adapters = AdapterResource(client)
    config = {
        "virtual_machine_id": holder["id"],
        "network_id": around.network,
        "type": "VMXNET3",
        "mac_address": "00:50:56:86:4A:27",
    }
    state = adapters.create(config)
    assert adapters.changes(config, state) == set()
    assert (state["adapter"]["name"], state["adapter"]["macType"]) == ("Network adapter 1", "MANUAL")
    assert adapters.changes(config, adapters.imported(state["id"])) == set()
    connected = {**config, "connected": True}
    state = adapters.update(connected, state)
    assert adapters.changes(connected, state) == set()
    state = adapters.update({**config, "connected": False}, state)
    assert adapters.changes(config, state) == set()
    body = {"id": state["id"], "newNetworkId": around.network, "autoConnect": False}
    client.write("PATCH", f"{COMPUTE}/network_adapters", body=body)
    other = adapters.read(state)["adapter"]
    assert other["macType"] == "ASSIGNED"
    assert other["macAddress"] != "00:50:57:CB:89:B7"
    adapters.destroy(state)
    generated = {name: value for name, value in config.items() if name != "mac_address"}
    state = adapters.create(generated)
    assert adapters.changes(generated, state) == set()
    assert state["adapter"]["macAddress"]
    adapters.destroy(state)
    with pytest.raises(ReadFailed, match="not listed"):
        adapters.read(state)


@pytest.mark.parametrize(("kind", "sub"), [("SCSI", "ParaVirtual"), ("SCSI", None), ("USB2", None), ("USB3", None)])
def test_a_controller_lives_as_terraform_has_it(
    client: Client, machines: MachineResource, around: Surroundings, kind: str, sub: str | None
) -> None:
    machine = machines.create(scratch(around, f"controlled-{kind}-{sub}"))
    controllers = ControllerResource(client)
    config = {"virtual_machine_id": machine["id"], "type": kind} | ({"sub_type": sub} if sub else {})
    state = controllers.create(config)
    assert controllers.changes(config, state) == set()
    assert controllers.changes(config, controllers.imported(state["id"])) == set()
    controllers.destroy(state)
    with pytest.raises(ReadFailed, match="not listed"):
        controllers.read(state)
    machines.destroy(machine)


def test_a_cd_drive_takes_and_gives_back_an_image(
    provider: Served, client: Client, machines: MachineResource, around: Surroundings, tmp_path: Path
) -> None:
    item = add_iso(provider, tmp_path / "seed.iso")
    machine = machines.create(scratch(around, "with-drive"))
    controllers = ControllerResource(client)
    config = {"virtual_machine_id": machine["id"], "type": "CD/DVD", "content_library_item_id": item}
    inserted = {**config, "mounted": True, "connected": True}
    state = controllers.create(inserted)
    assert controllers.changes(inserted, state) == set()
    for before, after in (
        (inserted, {**inserted, "connected": False}),
        ({**inserted, "connected": False}, config),
        (config, inserted),
    ):
        state = controllers.update(after, state, before)
        assert controllers.changes(after, state) == set()
    controllers.destroy(state)
    machines.destroy(machine)
    provider.platform.done("DELETE", f"{COMPUTE}/content_libraries/{around.library}/items/{item}")


def add_iso(provider: Served, path: Path) -> str:
    import pycdlib

    image = pycdlib.PyCdlib()
    image.new(joliet=3, vol_ident="seed")
    image.write(str(path))
    image.close()
    return provider.platform.add_template("an image", path)


def test_a_controller_that_cannot_be_had_is_refused_in_words(client: Client, holder: dict[str, Any]) -> None:
    body = {"virtualMachineId": holder["id"], "type": "NVME"}
    with pytest.raises(Refused, match="Take a SCSI controller"):
        client.write("POST", f"{COMPUTE}/virtual_controllers", body=body)


# --------------------------------------------------------------------------------------------------------------- tokens


def test_a_token_lives_as_terraform_has_it(client: Client) -> None:
    roles = [role["id"] for role in client.list("/iam/v2/roles") if role["name"] in {"iam_read", "tag_read"}][::-1]
    zone = timezone(timedelta(hours=2))
    until = (datetime.now(UTC) + timedelta(days=1)).astimezone(zone).replace(microsecond=0).isoformat()
    tokens = TokenResource(client)
    config = {"name": "test-terraform", "roles": roles, "expiration_date": until}
    state = tokens.create(config)
    state = tokens.read(state)
    assert tokens.changes(config, state) == set()
    other = Client(client.address, state["client_id"], state["secret_id"])
    assert other.list("/iam/v2/roles")
    tokens.destroy(state)
    with pytest.raises(ReadFailed, match="not listed"):
        tokens.read(state)
    with pytest.raises(Refused):
        other.list("/iam/v2/roles")
    other.close()
