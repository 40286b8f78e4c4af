"""A machine's life through API, activities and a simulated rack; afterwards tables and world agree."""

from simulated_platform import COMPUTE, GIB, Platform


def test_a_machine_is_deployed_used_and_deleted(simulated: Platform) -> None:
    machine_id = simulated.deploy("web-1")
    machine = simulated.machine(machine_id)
    assert machine["powerState"] == "running"
    blade = machine["host"]["name"]
    assert simulated.rack.hypervisor(blade).domains()[machine_id] == "running"

    disk = {"virtualMachineId": machine_id, "capacity": GIB, "provisioningType": "dynamic"}
    disk_id = simulated.done("POST", f"{COMPUTE}/virtual_disks", disk)
    grown = {"id": disk_id, "newCapacity": 2 * GIB}
    simulated.done("PATCH", f"{COMPUTE}/virtual_disks", grown)
    assert simulated.get(f"{COMPUTE}/virtual_disks/{disk_id}")["capacity"] == 2 * GIB

    other = next(
        host for host in simulated.get(f"{COMPUTE}/hosts") if host["name"] not in (blade, "az06-blade1", "az06-blade2")
    )
    move = {"virtualMachines": [machine_id], "hostId": other["id"]}
    simulated.done("POST", f"{COMPUTE}/virtual_machines/relocate", move)
    assert simulated.machine(machine_id)["host"]["name"] == other["name"]
    assert machine_id not in simulated.rack.hypervisor(blade).domains()

    power = f"{COMPUTE}/virtual_machines/power"
    simulated.done("PATCH", power, {"id": machine_id, "powerAction": "off"})
    assert simulated.machine(machine_id)["powerState"] == "stopped"
    array = simulated.rack.array("az05-array")
    assert not array.contents(simulated.made["volume-AZ05"]).exports
    simulated.done("PATCH", power, {"id": machine_id, "powerAction": "on"})
    assert simulated.findings() == []
    simulated.done("PATCH", power, {"id": machine_id, "powerAction": "off"})
    simulated.done("DELETE", f"{COMPUTE}/virtual_disks/{disk_id}")
    simulated.done("DELETE", f"{COMPUTE}/virtual_machines/{machine_id}")
    assert not array.contents(simulated.made["volume-AZ05"]).disks
    assert simulated.findings() == []
