"""What machines are set to, over the whole controller and a simulated rack."""

from typing import Any

import pytest
import sqlalchemy as sa
from counting import statements
from simulated_platform import COMPUTE, POWER, Platform

from naos.compute import seeds
from naos.compute.models import VirtualMachine
from naos.compute.sampling import Sampler
from naos.engines.errors import EngineError

MIB = 2**20
MACHINES = f"{COMPUTE}/virtual_machines"
UNKNOWN = "6a7d3f0e-0d5b-4f4e-9d6a-2f0c8c1b7e11"


def created(platform: Platform, name: str, **fields: Any) -> str:
    body = {"name": name, "hostClusterId": platform.made["pool-AZ05"], "datastoreId": platform.made["volume-AZ05"]}
    return platform.done("POST", MACHINES, body | fields)


def updated(platform: Platform, machine_id: str, **fields: Any) -> None:
    platform.done("PATCH", MACHINES, {"id": machine_id, **fields})


def power(platform: Platform, machine_id: str, action: str, **more: Any) -> None:
    platform.done("PATCH", POWER, {"id": machine_id, "powerAction": action, **more})


def definition(platform: Platform, machine_id: str) -> str:
    blade = platform.machine(machine_id)["host"]["name"]
    return platform.rack.hypervisor(blade).xml(machine_id)


def always_sent(machine: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The eight keys of every update, as the public provider sends them."""
    return {
        "id": machine["id"],
        "ram": machine["memory"],
        "memoryReservation": 0,
        "cpu": machine["cpu"],
        "corePerSocket": machine["numCoresPerSocket"],
        "hotCpuAdd": machine["cpuHotAddEnabled"],
        "hotCpuRemove": machine["cpuHotRemoveEnabled"],
        "hotMemAdd": machine["memoryHotAddEnabled"],
        **changes,
    }


# ------------------------------------------------------------------------------------------------------------- creation


def test_a_machine_from_scratch_has_the_interfaces_defaults(simulated: Platform) -> None:
    body = {"hostClusterId": simulated.made["pool-AZ05"], "datastoreId": simulated.made["volume-AZ05"]}
    machine = simulated.machine(simulated.done("POST", MACHINES, body))
    assert (machine["name"], machine["memory"], machine["cpu"]) == ("New Virtual Machine", 32 * MIB, 1)
    assert machine["powerState"] == "stopped"
    assert machine["operatingSystemMoref"] == "otherGuest64"
    assert machine["bootOptions"] == {
        "firmware": "bios",
        "bootDelay": 0,
        "enterBIOSSetup": False,
        "bootRetryEnabled": False,
        "bootRetryDelay": 10_000,
        "efiSecureBootEnabled": False,
    }
    assert machine["tools"] == "toolsNotInstalled"
    assert machine["replicationConfig"] is None
    assert machine["triggeredAlarms"] == machine["extraConfig"] == []
    simulated.done("DELETE", f"{MACHINES}/{machine['id']}")


@pytest.mark.parametrize("place", ["hostId", "datacenterId"])
def test_a_place_is_found_from_a_blade_or_a_datacenter(simulated: Platform, place: str) -> None:
    blade = next(host for host in simulated.get(f"{COMPUTE}/hosts") if host["name"] == "az06-blade2")
    named = blade["id"] if place == "hostId" else simulated.zone("AZ06")
    moref = "vmwarePhoton64Guest"
    body = {"name": f"by-{place}", place: named, "guestOperatingSystemMoref": moref}
    machine = simulated.machine(simulated.done("POST", MACHINES, body))
    assert machine["hostCluster"]["id"] == simulated.made["pool-AZ06"]
    assert machine["datastore"]["id"] == simulated.made["volume-AZ06"]
    assert machine["operatingSystemMoref"] == moref
    assert machine["operatingSystem"] == {"name": "VMware Photon OS (64-bit)"}
    simulated.done("DELETE", f"{MACHINES}/{machine['id']}")


def test_a_machine_without_a_place_is_asked_for_one(simulated: Platform) -> None:
    error = simulated.refused("POST", MACHINES, {"name": "nowhere"})
    assert "pool-AZ05" in error["message"]
    refused = {"name": "odd", "hostClusterId": simulated.made["pool-AZ05"], "guestOperatingSystemMoref": "beosGuest"}
    assert simulated.refused("POST", MACHINES, refused)["code"] == "compute.guest_system_unknown"


def test_a_volume_that_is_a_machines_datastore_stays(simulated: Platform) -> None:
    volume = {"name": "home", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * 2**30}
    home = simulated.done("POST", f"{COMPUTE}/datastores", volume)
    machine_id = created(simulated, "at-home", datastoreId=home)
    error = simulated.refused("DELETE", f"{COMPUTE}/datastores/{home}")
    assert "at-home" in error["message"]
    assert simulated.get(MACHINES, name="at-home")[0]["datastore"]["id"] == home
    simulated.done("DELETE", f"{MACHINES}/{machine_id}")
    simulated.done("DELETE", f"{COMPUTE}/datastores/{home}")


# --------------------------------------------------------------------------------------------------------------- update


def test_the_update_that_clients_always_send_changes_nothing_on_a_running_machine(simulated: Platform) -> None:
    machine_id = simulated.deploy("steady")
    before = simulated.machine(machine_id)
    simulated.done("PATCH", MACHINES, always_sent(before))
    zeros = {"ram": 0, "cpu": 0, "corePerSocket": 0}
    boot = {
        "bootDelay": 0,
        "bootRetryDelay": 10_000,
        "bootRetryEnabled": False,
        "enterBIOSSetup": False,
        "firmware": "bios",
    }
    simulated.done("PATCH", MACHINES, always_sent(before, **zeros, bootOptions=boot))
    simulated.done("PATCH", f"{MACHINES}/rename", {"id": machine_id, "name": "steady"})
    after = simulated.machine(machine_id)
    assert after == before
    simulated.remove(machine_id)


def test_a_running_machine_grows_where_it_may_and_the_tables_follow(simulated: Platform) -> None:
    machine_id = simulated.deploy("growing", powerOn=False)
    updated(simulated, machine_id, hotCpuAdd=True, hotMemAdd=True, hotCpuRemove=True, memoryReservation=64 * MIB)
    power(simulated, machine_id, "on")
    updated(simulated, machine_id, cpu=3, ram=512 * MIB)
    machine = simulated.machine(machine_id)
    assert (machine["cpu"], machine["memory"], machine["memoryReservation"]) == (3, 512 * MIB, 64 * MIB)
    blade = simulated.rack.hypervisor(machine["host"]["name"])
    assert blade.statistics(machine_id).memory_actual == 512 * MIB
    with simulated.services.database.read() as session:
        assert session.get_one(VirtualMachine, machine_id).reserved == 512 * MIB
    updated(simulated, machine_id, cpu=1)
    assert simulated.machine(machine_id)["cpu"] == 1
    assert 'current="1"' in blade.xml(machine_id)
    simulated.remove(machine_id)


def test_what_a_running_machine_cannot_take_fails_with_rule_and_remedy(simulated: Platform) -> None:
    machine_id = simulated.deploy("stubborn", cpu=2, memory=256 * MIB)
    before = simulated.machine(machine_id)
    for change, words in (
        ({"ram": 512 * MIB}, "memoryHotAddEnabled"),
        ({"ram": 64 * MIB}, "less memory"),
        ({"cpu": 3}, "cpuHotAddEnabled"),
        ({"cpu": 1}, "cpuHotRemoveEnabled"),
        ({"corePerSocket": 2}, "cores per socket"),
        ({"hotMemAdd": True}, "hot add of memory on"),
        ({"bootOptions": {"firmware": "efi"}}, "firmware efi"),
        ({"exposeHardwareVirtualization": True}, "nested virtualisation on"),
    ):
        reason = simulated.failed("PATCH", MACHINES, {"id": machine_id, **change})
        assert words in reason
        assert "power it off first" in reason
    assert simulated.machine(machine_id) == before
    simulated.remove(machine_id)


def test_growth_beyond_the_blade_fails_and_gives_the_memory_back(simulated: Platform) -> None:
    machine_id = simulated.deploy("too-large", powerOn=False)
    updated(simulated, machine_id, hotMemAdd=True)
    power(simulated, machine_id, "on")
    reason = simulated.failed("PATCH", MACHINES, {"id": machine_id, "ram": 4096 * MIB})
    assert "missing" in reason or "short" in reason
    with simulated.services.database.read() as session:
        assert session.get_one(VirtualMachine, machine_id).reserved == 128 * MIB
    blade = simulated.machine(machine_id)["host"]["name"]
    simulated.rack.faults.fail_next("hypervisor.resize", EngineError(blade, "resizing", "it says no"), engine=blade)
    simulated.failed("PATCH", MACHINES, {"id": machine_id, "ram": 256 * MIB})
    with simulated.services.database.read() as session:
        assert session.get_one(VirtualMachine, machine_id).reserved == 128 * MIB
    assert simulated.findings() == []
    simulated.remove(machine_id)


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": 5},
        {"cpu": -1},
        {"cpu": 2**64},
        {"ram": 2**80},
        {"ram": 33 * MIB + 1},
        {"memoryReservation": 256 * MIB},
        {"cpu": 2, "corePerSocket": 3},
        {"hotCpuAdd": "yes"},
        {"bootOptions": {"firmware": "coreboot"}},
        {"bootOptions": {"bootDelay": 70_000}},
        {"bootOptions": {"enterBIOSSetup": True}},
        {"bootOptions": {"efiSecureBootEnabled": True}},
        {"bootOptions": {"firmware": "efi", "bootRetryEnabled": True}, "ram": 256 * MIB},
        {"bootOptions": {"firmware": "efi"}, "ram": 255 * MIB},
        {"bootOptions": {"menu": True}},
        {"cpuCount": 2},
    ],
)
def test_what_no_machine_can_be_is_refused_at_once(simulated: Platform, change: dict[str, Any]) -> None:
    existing = simulated.get(MACHINES, name="plain")
    machine_id = existing[0]["id"] if existing else simulated.deploy("plain", powerOn=False)
    simulated.refused("PATCH", MACHINES, {"id": machine_id, **change})


def test_settings_of_a_stopped_machine_reach_its_definition(simulated: Platform) -> None:
    machine_id = simulated.deploy("set-up", memory=256 * MIB, powerOn=False)
    boot = {"firmware": "efi", "efiSecureBootEnabled": True, "bootDelay": 5000}
    updated(simulated, machine_id, bootOptions=boot, exposeHardwareVirtualization=True, cpu=2, corePerSocket=2)
    simulated.done("PATCH", f"{MACHINES}/{machine_id}/guest", {"guestOperatingSystemMoref": "windows9Server64Guest"})
    machine = simulated.machine(machine_id)
    assert machine["bootOptions"] | boot == machine["bootOptions"]
    assert machine["exposeHardwareVirtualization"] is True
    assert machine["operatingSystemMoref"] == "windows9Server64Guest"
    power(simulated, machine_id, "on")
    found = definition(simulated, machine_id)
    for words in ('firmware="efi"', 'secure="True"', 'delay="5000"', 'nested="True"', 'windows="True"', 'cores="2"'):
        assert words in found
    simulated.refused("PATCH", f"{MACHINES}/{machine_id}/guest", {"guestOperatingSystemMoref": "ubuntu64Guest"})
    simulated.remove(machine_id)


def test_an_efi_machines_variables_go_with_it(simulated: Platform) -> None:
    machine_id = simulated.deploy("carried", memory=256 * MIB, powerOn=False)
    updated(simulated, machine_id, bootOptions={"firmware": "efi"})
    hosts = {host["name"]: host["id"] for host in simulated.get(f"{COMPUTE}/hosts")}
    power(simulated, machine_id, "on", recommendation={"hostId": hosts["az05-blade1"]})
    first = simulated.rack.hypervisor("az05-blade1")
    assert first.variables(machine_id) == b"simulated variables\n"
    power(simulated, machine_id, "off")
    # What the firmware wrote while it ran: the machine is stopped again after it, so that it is kept.
    power(simulated, machine_id, "on", forceEnterBIOS=True, recommendation={"hostId": hosts["az05-blade1"]})
    assert first.variables(machine_id) == b"simulated variables\nsetup\n"
    power(simulated, machine_id, "off")
    power(simulated, machine_id, "on", recommendation={"hostId": hosts["az05-blade2"]})
    assert simulated.rack.hypervisor("az05-blade2").variables(machine_id) == b"simulated variables\n"
    updated(simulated, machine_id, bootOptions={"bootDelay": 1})
    power(simulated, machine_id, "off")
    updated(simulated, machine_id, bootOptions={"efiSecureBootEnabled": True})
    power(simulated, machine_id, "on")
    assert simulated.rack.hypervisor("az05-blade2").variables(machine_id) == b"simulated variables with keys\n"
    simulated.remove(machine_id)
    bios = simulated.deploy("without-setup", powerOn=False)
    error = simulated.refused("PATCH", POWER, {"id": bios, "powerAction": "on", "forceEnterBIOS": True})
    assert "no setup" in error["message"]


# ------------------------------------------------------------------------------------------------------ recommendations


def test_recommendations_are_real_and_honoured(simulated: Platform) -> None:
    machine_id = simulated.deploy("recommended", powerOn=False)
    path = f"{MACHINES}/power/recommendations"
    asked = {"virtualMachineId": machine_id, "hostClusterId": simulated.made["pool-AZ05"]}
    found = simulated.get(path, datacenterId=simulated.zone("AZ05"), **asked)
    assert {entry["hostName"] for entry in found} == {"az05-blade1", "az05-blade2"}
    for entry in found:
        sent = {"key": entry["key"], "hostClusterId": entry["hostClusterId"]}
        sent |= {"hostId": "", "hostClusterName": "", "hostName": ""}
        power(simulated, machine_id, "on", recommendation=sent)
        assert simulated.machine(machine_id)["host"]["name"] == entry["hostName"]
        assert simulated.get(path, **asked) == []
        power(simulated, machine_id, "off")
    assert simulated.get(path) == simulated.get(path, virtualMachineId=UNKNOWN) == []
    assert simulated.get(path, virtualMachineId=machine_id, datacenterId=UNKNOWN) == []
    for wrong in ({"key": 99}, {"key": 1, "hostClusterId": simulated.made["pool-AZ06"]}, {"hostId": "az06-blade1"}):
        simulated.refused("PATCH", POWER, {"id": machine_id, "powerAction": "on", "recommendation": wrong})
    simulated.done("DELETE", f"{MACHINES}/{machine_id}")


# ---------------------------------------------------------------------------------------------------------------- guest


def test_guest_systems_are_listed_and_filtered(simulated: Platform) -> None:
    path = f"{COMPUTE}/guest_operating_systems"
    every = simulated.get(path)
    assert len(every) >= 50
    assert every == simulated.get(path, hostClusterId=simulated.made["pool-AZ05"])
    windows = simulated.get(path, osFamily="windowsGuest")
    assert {entry["family"] for entry in windows} == {"windowsGuest"}
    assert simulated.get(path, hostClusterId=UNKNOWN) == simulated.get(path, hostId=UNKNOWN) == []
    assert simulated.get(path, version="pc") == every
    assert simulated.get(path, version="vmx-99") == []
    one = simulated.get(f"{path}/amazonlinux2_64Guest", hostClusterId=simulated.made["pool-AZ05"])
    assert one == {"moref": "amazonlinux2_64Guest", "family": "linuxGuest", "fullName": "Amazon Linux 2 (64-bit)"}
    assert simulated.client.get(f"{path}/nothing").status_code == 404
    assert simulated.client.get(f"{path}/nothing", params={"hostClusterId": UNKNOWN}).status_code == 403
    stranger = simulated.stranger()
    assert stranger.get(path, params={"hostClusterId": simulated.made["pool-AZ05"]}).json() == []


def test_extra_configuration_is_kept_and_told_to_the_guest(simulated: Platform) -> None:
    machine_id = created(simulated, "told")
    path = f"{MACHINES}/{machine_id}/extra_config"
    sent = {
        "disk.enableUUID": True,
        "pciPassthru.64bitMMioSizeGB": 64,
        "guestinfo.userdata": "#!/bin/sh\ntrue",
        "guestinfo.metadata": "{local-hostname: told}",
    }
    for _ in range(2):
        simulated.done("PATCH", path, sent)
    pairs = {entry["key"]: entry["value"] for entry in simulated.machine(machine_id)["extraConfig"]}
    assert pairs == {**sent, "disk.enableUUID": "TRUE", "pciPassthru.64bitMMioSizeGB": "64"}
    with simulated.services.database.read() as session:
        assert session.get_one(VirtualMachine, machine_id).seed["revision"] == 1
    power(simulated, machine_id, "on")
    blade = simulated.machine(machine_id)["host"]["name"]
    assert 'told="opt/naos/guestinfo.metadata opt/naos/guestinfo.userdata"' in definition(simulated, machine_id)
    held = simulated.rack.blade_host(blade).run(["ls", seeds.FOLDER]).stdout.split()
    mine = sorted(name.removeprefix(f"{machine_id}.") for name in held if name.startswith(machine_id))
    assert mine == ["guestinfo.metadata", "guestinfo.userdata", "iso"]
    simulated.remove(machine_id)
    assert machine_id not in seeds.on_blade(simulated.services.world, blade)
    assert simulated.findings() == []


@pytest.mark.parametrize(
    "body",
    [
        {"isolation.tools.copy.disable": True},
        {"disk.enableUUID": "TRUE"},
        {"guestinfo.userdata": "no head that any guest knows"},
        {"guestinfo.metadata": "local-hostname: 'not a host name'"},
        [],
        "text",
    ],
)
def test_extra_configuration_that_nobody_reads_is_refused(simulated: Platform, body: Any) -> None:
    existing = simulated.get(MACHINES, name="plain")
    machine_id = existing[0]["id"] if existing else simulated.deploy("plain", powerOn=False)
    simulated.refused("PATCH", f"{MACHINES}/{machine_id}/extra_config", body)
    assert simulated.machine(machine_id)["extraConfig"] == []


def test_a_customisation_needs_the_machine_off_and_makes_a_new_instance(simulated: Platform) -> None:
    machine_id = simulated.deploy("custom")
    path = f"{MACHINES}/{machine_id}/guest/customize"
    adapter = {"ipAddress": "10.1.0.7", "subnetMask": "255.255.255.0", "gateway": "10.1.0.1"}
    body = {"networkConfig": {"hostname": "front", "domain": "example.org", "adapters": [adapter]}}
    error = simulated.refused("PATCH", path, body)
    assert "power it off first" in error["message"]
    power(simulated, machine_id, "off")
    simulated.done("PATCH", path, body)
    assert simulated.machine(machine_id)["addresses"] == ["10.1.0.7/24"]
    with simulated.services.database.read() as session:
        assert session.get_one(VirtualMachine, machine_id).seed["revision"] == 1
    windows = {"autoLogon": False, "autoLogonCount": 0, "timezone": 0, "password": "x"}
    assert "sysprep" in simulated.refused("PATCH", path, body | {"windowsConfig": windows})["message"]
    for wrong in ({"hostname": "a b"}, {"hostname": "a", "adapters": [adapter, adapter]}, {"hostname": ""}, {}):
        simulated.refused("PATCH", path, {"networkConfig": wrong})
    power(simulated, machine_id, "on")
    assert simulated.findings() == []
    simulated.remove(machine_id)


# ---------------------------------------------------------------------------------------------------------------- lists


def test_a_list_takes_the_same_number_of_statements_for_any_number_of_machines(simulated: Platform) -> None:
    made = simulated.deploy("first-of-many", powerOn=False)
    with simulated.services.database.write() as session:
        model = session.get_one(VirtualMachine, made)
        values = {column.key: getattr(model, column.key) for column in sa.inspect(VirtualMachine).column_attrs}
        values.pop("id")
        session.add_all(VirtualMachine(**{**values, "name": f"many-{number:03}"}) for number in range(200))
    counts = []
    for filters in ({"name": "first-of-many"}, {}):
        with statements(simulated.services.database.engine) as seen:
            found = simulated.get(MACHINES, **filters)
        counts.append((len(found), len([statement for statement in seen if statement.startswith("SELECT")])))
    assert counts[0][0] == 1
    assert counts[1][0] > 200
    assert counts[0][1] == counts[1][1] <= 14
    names = [machine["name"] for machine in simulated.get(MACHINES)]
    assert names == sorted(names)
    with simulated.services.database.write() as session:
        session.execute(sa.delete(VirtualMachine).where(VirtualMachine.name.like("many-%")))
    simulated.done("DELETE", f"{MACHINES}/{made}")


def test_filters_of_a_list_meet_in_one_statement(simulated: Platform) -> None:
    here = simulated.deploy("filtered")
    machine = simulated.machine(here)
    full = {
        "name": "filtered",
        "machineManagerId": machine["machineManager"]["id"],
        "datacenters[]": [simulated.zone("AZ05"), UNKNOWN],
        "networks[]": simulated.made["vlan"],
        "datastores[]": simulated.made["volume-AZ05"],
        "hosts[]": machine["host"]["id"],
        "hostClusters[]": simulated.made["pool-AZ05"],
        "allOptions": "true",
    }
    assert [entry["id"] for entry in simulated.get(MACHINES, **full)] == [here]
    for key in full.keys() - {"allOptions"}:
        assert simulated.get(MACHINES, **full | {key: UNKNOWN}) == [], key
    simulated.remove(here)


def test_use_and_tools_are_shown_as_last_seen(simulated: Platform) -> None:
    machine_id = simulated.deploy("watched")
    world, engine = simulated.services.world, simulated.services.engine
    Sampler(world, engine).look()  # type: ignore[arg-type] # the platform's engine is a real one
    machine = simulated.machine(machine_id)
    assert (machine["tools"], machine["toolsVersion"]) == ("toolsOk", 7_002_022)
    assert machine["memoryUsage"] == 128 * MIB
    power(simulated, machine_id, "off")
    machine = simulated.machine(machine_id)
    assert (machine["tools"], machine["memoryUsage"]) == ("toolsNotRunning", 0)
    simulated.done("DELETE", f"{MACHINES}/{machine_id}")
