"""What users of others' clouds complain of, as far as no other module has it: over the API, on the simulated rack."""

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, POWER, Platform, logged_in
from starlette.testclient import TestClient

from naos.activity.models import Activity
from naos.catalogue.images import remarks
from naos.engines.errors import Unsupported
from naos.engines.simulated.fabric import SimulatedFabric
from naos.identity import Identity
from naos.network.models import Adapter
from naos.tenancy import members
from naos.tenancy.models import Assignment
from naos.tenancy.permissions import permissions
from naos.tenancy.rules import to_milliseconds
from naos.tenancy.tokens import TokenRequest, create_token, utc_now

MACHINES, DISKS, ADAPTERS = f"{COMPUTE}/virtual_machines", f"{COMPUTE}/virtual_disks", f"{COMPUTE}/network_adapters"
DATASTORES = f"{COMPUTE}/datastores"


@pytest.fixture(autouse=True)
def agree(simulated: Platform) -> Iterator[None]:
    """Whatever a test did, tables and world agree afterwards."""
    yield
    assert simulated.settled() == []


def colleague(platform: Platform, name: str, rights: list[str]) -> TestClient:
    """A user of the same tenant who holds exactly these rights, logged in."""
    with platform.services.database.write() as session:
        company = members.ensure_organisation(session, "naos")
        tenant = session.scalars(sa.select(Adapter.tenant_id).limit(1)).first()
        assert tenant is not None
        user = members.ensure_user(session, company, name=name, email=f"{name}@naos.invalid")
        session.add_all(Assignment(user_id=user.id, tenant_id=tenant, permission=right) for right in rights)
        session.flush()
        wanted = TokenRequest(
            name=name,
            roles=[permissions()[right].id for right in rights],
            expires_at=to_milliseconds(utc_now() + timedelta(days=1)),
        )
        issued = create_token(session, Identity(user.id, tenant, company.id, frozenset(rights), ""), wanted, utc_now())
        token_id, secret = issued.token.id, issued.secret
    return logged_in(TestClient(platform.client.app, raise_server_exceptions=False), token_id, secret)


def test_who_may_only_switch_machines_changes_no_size_and_deletes_no_disk(simulated: Platform) -> None:
    """Power is a permission of its own: it implies nothing, on one's own machines or on others' disks."""
    machine_id = simulated.deploy("switched", powerOn=False)
    disk_id = simulated.get(DISKS, virtualMachineId=machine_id)[0]["id"]
    operator = colleague(
        simulated,
        "operator",
        ["compute_iaas_vmware_read", "compute_iaas_vmware_virtual_machine_power", "activity_read"],
    )
    before = simulated.machine(machine_id)
    for method, path, body in (
        ("PATCH", MACHINES, {"id": machine_id, "ram": 2**30, "cpu": 4}),
        ("PATCH", f"{MACHINES}/rename", {"id": machine_id, "name": "mine"}),
        ("DELETE", f"{MACHINES}/{machine_id}", None),
        ("DELETE", f"{DISKS}/{disk_id}", None),
        ("PATCH", DISKS, {"id": disk_id, "newCapacity": 2**40}),
        ("DELETE", f"{DATASTORES}/{simulated.made['volume-AZ05']}", None),
    ):
        error = simulated.refused(method, path, body, client=operator)
        assert (error["status"], error["code"]) == (403, "identity.permission_missing"), path
    assert simulated.machine(machine_id) == before
    started = operator.patch(POWER, json={"id": machine_id, "powerAction": "on"})
    assert started.status_code == 201, started.text
    assert "completed" in simulated.ended(started.headers["Location"])["state"]
    simulated.remove(machine_id)


def test_two_tenants_never_share_a_vlan(simulated: Platform) -> None:
    """A VLAN id that another tenant has is refused without its name; by itself each VLAN gets one of its own."""
    tag = simulated.get(f"{COMPUTE}/networks/{simulated.made['vlan']}")["vlanId"]
    stranger = simulated.stranger()
    error = simulated.refused("POST", f"{COMPUTE}/networks", {"name": "front", "vlanId": tag}, client=stranger)
    assert error["code"] == "network.tag_taken"
    assert "front" not in error["message"]
    made = stranger.post(f"{COMPUTE}/networks", json={"name": "front"})
    assert made.status_code == 201, made.text
    simulated.services.engine.wait(made.headers["Location"], 30)  # type: ignore[attr-defined] # a real engine
    (theirs,) = stranger.get(f"{COMPUTE}/networks").json()
    assert theirs["vlanId"] != tag
    path = f"{COMPUTE}/networks/{simulated.made['vlan']}/propagations"
    assert simulated.refused("POST", path, {"hostClusterIds": []}, client=stranger)["status"] in {404, 422}
    gone = stranger.delete(f"{COMPUTE}/networks/{theirs['id']}")
    simulated.services.engine.wait(gone.headers["Location"], 30)  # type: ignore[attr-defined]


def test_a_vlan_is_not_taken_from_a_cpool_or_deleted_under_an_adapter(simulated: Platform) -> None:
    machine_id = simulated.deploy("holder", powerOn=False)
    error = simulated.refused("DELETE", f"{COMPUTE}/networks/{simulated.made['vlan']}")
    assert (error["status"], error["details"]["count"]) == (409, 1), error
    assert "holder" in error["message"]
    simulated.done("DELETE", f"{MACHINES}/{machine_id}")


def test_each_disk_has_the_limit_of_its_own_volume_whatever_is_plugged_in_and_out(simulated: Platform) -> None:
    """A limit belongs to a volume and to nothing else: no disk brings one along or takes one over."""
    fast = {"name": "fast", "datacenterId": "AZ05", "storageClass": "ultra", "capacity": 500 * GIB}
    volumes = {"slow": simulated.made["volume-AZ05"], "fast": simulated.done("POST", DATASTORES, fast)}
    machine_id = simulated.deploy("mixed")
    limits = {name: _limit(simulated, volume) for name, volume in volumes.items()}
    assert limits["fast"] > limits["slow"] > 0
    disks = {}
    for number, name in enumerate(("fast", "slow", "fast")):
        body = {"virtualMachineId": machine_id, "capacity": GIB, "datastoreId": volumes[name]}
        disks[f"{name}-{number}"] = simulated.done("POST", DISKS, body)
    simulated.done("DELETE", f"{DISKS}/{disks.pop('fast-0')}")
    body = {"virtualMachineId": machine_id, "capacity": GIB, "datastoreId": volumes["fast"]}
    disks["fast-3"] = simulated.done("POST", DISKS, body)
    blade = simulated.machine(machine_id)["host"]["name"]
    definition = simulated.rack.hypervisor(blade).xml(machine_id)
    assert "iotune" not in definition
    array = simulated.rack.array("az05-array")
    for name, disk_id in disks.items():
        for kind, volume in volumes.items():
            assert (disk_id in array.contents(volume).exports) == name.startswith(kind), (name, kind)
    assert {name: _limit(simulated, volume) for name, volume in volumes.items()} == limits
    simulated.remove(machine_id)
    simulated.done("DELETE", f"{DATASTORES}/{volumes['fast']}")


def _limit(platform: Platform, lun_id: str) -> int:
    with platform.rack.faults._store.transaction() as db:
        return int(db.execute("SELECT iops FROM luns WHERE id = ?", (lun_id,)).fetchone()["iops"])


def test_an_array_that_cannot_hold_a_class_to_its_limit_gets_no_volume(simulated: Platform) -> None:
    """A limit is enforced or the volume is refused, in words; nothing is left of it."""
    before = simulated.get(DATASTORES)
    simulated.rack.faults.fail_next("array.create_lun", Unsupported("az05-array", "805 IOPS", "it has no limits"))
    body = {"name": "unlimited", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
    assert "it has no limits" in simulated.failed("POST", DATASTORES, body)
    assert [row["id"] for row in simulated.get(DATASTORES)] == [row["id"] for row in before]


def test_a_template_that_gives_every_clone_one_identity_says_so(simulated: Platform, tmp_path: Path) -> None:
    """Clones with one machine-id get one DHCP lease: whoever adds the image is told."""
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    raw, image = tmp_path / "raw", tmp_path / "image.qcow2"
    subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-d", tmp_path / "root", raw, "16M"], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, image], check=True)
    template = simulated.add_template("identical", image)
    items = f"{COMPUTE}/content_libraries/{simulated.made['library']}/items"
    assert simulated.get(f"{items}/{template}")["warnings"] == [remarks.MACHINE_ID]
    assert simulated.get(f"{items}/{simulated.made['template']}")["warnings"] == []
    simulated.done("DELETE", f"{items}/{template}")


def test_a_network_that_the_guest_will_not_read_again_is_said_so(simulated: Platform) -> None:
    machine_id = simulated.deploy("steady", powerOn=False)
    path = f"{MACHINES}/{machine_id}/extra_config"

    def told(name: str) -> str:
        said = f"instance-id: mine\nnetwork: {{config: {{version: 2, ethernets: {{{name}: {{dhcp4: true}}}}}}}}"
        activity = simulated.ended(simulated.write("PATCH", path, {"guestinfo.metadata": said}))
        return str(activity["description"])

    assert "warning" not in told("eth0")
    assert "first start of an instance only" in told("eth1")
    simulated.done("DELETE", f"{MACHINES}/{machine_id}")


def test_what_a_blade_lets_guests_say_is_all_that_it_has_and_the_one_that_comes(
    simulated: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start names every adapter of the blade, so that a table that was lost is whole again."""
    admitted: list[tuple[str, dict[str, str]]] = []
    plain = SimulatedFabric.admit

    def admit(fabric: SimulatedFabric, guests: dict[str, str]) -> None:
        admitted.append((fabric.name, dict(guests)))
        plain(fabric, guests)

    monkeypatch.setattr(SimulatedFabric, "admit", admit)
    first, second = simulated.deploy("one"), simulated.deploy("two", powerOn=False)
    blade = simulated.machine(first)["host"]
    simulated.done("PATCH", POWER, {"id": second, "powerAction": "on"})
    home = simulated.machine(second)["host"]
    if home["id"] != blade["id"]:
        simulated.done("POST", f"{MACHINES}/relocate", {"virtualMachines": [second], "hostId": blade["id"]})
    where, guests = admitted[-1]
    assert where == blade["name"]
    for machine_id in (first, second):
        (adapter,) = simulated.get(ADAPTERS, virtualMachineId=machine_id)
        assert guests[adapter["id"]] == adapter["macAddress"]
    for machine_id in (first, second):
        simulated.remove(machine_id)


def test_a_clock_that_is_set_back_amid_an_activity_orders_nothing_anew(
    simulated: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wall clock goes back by an hour between two orders to one machine: they run in their order, none ends before it began,
    and lists and pages still show both."""
    machine_id = simulated.deploy("timeless")
    began = datetime.now(UTC)
    first = simulated.write("PATCH", POWER, {"id": machine_id, "powerAction": "off"})
    simulated.ended(first)

    class Back(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) - timedelta(hours=1)

    with monkeypatch.context() as patch:
        patch.setattr("naos.activity.models.datetime", Back)
        second = simulated.write("PATCH", POWER, {"id": machine_id, "powerAction": "on"})
        third = simulated.write("PATCH", POWER, {"id": machine_id, "powerAction": "off"})
        for activity in (second, third):
            assert "completed" in simulated.ended(activity)["state"]
    with simulated.services.database.read() as session:
        rows = [session.get_one(Activity, activity) for activity in (first, second, third)]
    assert [row.sequence for row in rows] == sorted(row.sequence for row in rows)
    assert rows[1].created_at < began
    for row in rows:
        assert row.started_at is not None
        assert row.stopped_at is not None
        assert row.started_at <= row.stopped_at
    listed = {activity["id"] for activity in simulated.get("/activity/v1/activities", limit=1000)}
    assert {first, second, third} <= listed
    assert simulated.machine(machine_id)["powerState"] == "stopped"
    simulated.done("DELETE", f"{MACHINES}/{machine_id}")


def test_how_many_snapshots_a_machine_carries_is_a_figure(simulated: Platform) -> None:
    machine_id = simulated.deploy("kept", powerOn=False)
    for name in ("one", "two"):
        simulated.done("POST", f"{COMPUTE}/snapshots", {"virtualMachineId": machine_id, "name": name})
    said = simulated.client.get("/metrics").text
    (figure,) = re.findall(r'^naos_machine_snapshots\{.*machine="kept".*\} (.*)$', said, re.MULTILINE)
    assert float(figure) == 2
    simulated.done("DELETE", f"{MACHINES}/{machine_id}")


@pytest.mark.parametrize("size", [1, 2, 7])
def test_pages_of_any_size_end_where_the_whole_list_ends(simulated: Platform, size: int) -> None:
    """Nobody who reads page after page stops early, misses one or sees one twice: a page is short only where the list ends."""
    path = "/activity/v1/activities"
    newest = simulated.get(path, limit=9)[0]["id"]
    whole = [activity["id"] for activity in simulated.get(path, limit=1000, before=newest)]
    read: list[str] = []
    while page := [activity["id"] for activity in simulated.get(path, limit=size, before=read[-1] if read else newest)]:
        read += page
        assert len(page) == size or read[-1] == whole[-1]
    assert read == whole
    assert len(whole) > 7
