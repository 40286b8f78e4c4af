"""The provider's five resources, call by call: what it sends, in which order, and what it compares for an empty plan.

`config` is what a user writes, by the provider's names; `state` is what it keeps. `changes` names the attributes for
which the next plan would want something.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from provider_client import Broken, Client, Refused, made, result
from provider_contract import BACKUP, COMPUTE, MARKET, Answers

MACHINES, DISKS = f"{COMPUTE}/virtual_machines", f"{COMPUTE}/virtual_disks"
ADAPTERS, CONTROLLERS = f"{COMPUTE}/network_adapters", f"{COMPUTE}/virtual_controllers"
ITEMS, TOKENS = f"{COMPUTE}/content_libraries/{{id}}/items", "/iam/v2/personal_access_tokens"
TAGS = "/tag/v1/tags/resources/{id}"
INVENTORY_JOB = "Hypervisor Inventory"
SIZES = ("memory", "cpu", "num_cores_per_socket")
HOT = ("cpu_hot_add_enabled", "cpu_hot_remove_enabled", "memory_hot_add_enabled")
BOOT = {
    "firmware": "firmware",
    "boot_delay": "bootDelay",
    "boot_retry_delay": "bootRetryDelay",
    "boot_retry_enabled": "bootRetryEnabled",
    "enter_bios_setup": "enterBIOSSetup",
    "efi_secure_boot_enabled": "efiSecureBootEnabled",
}
PLACES = ("datacenter_id", "host_cluster_id", "host_id", "datastore_id", "datastore_cluster_id")

State = dict[str, Any]


class ReadFailed(Exception):
    """A refresh that ends in an error; the state is kept."""


def wire(config: dict[str, Any], *names: str) -> dict[str, Any]:
    """The configured ones of some attributes, by their names on the wire."""
    return {_camel(name): config[name] for name in names if config.get(name)}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def absent(client: Client, path: str, kind: str, identifier: str, **scope: str) -> ReadFailed:
    """The error for an object that a refresh does not find: the provider lists strictly first."""
    listed = client.list(path, answers=Answers.STRICT, **scope)
    there = any(item["id"] == identifier for item in listed)
    return ReadFailed(f"{kind} {identifier} is {'still' if there else 'not'} listed")


def run_inventory(client: Client) -> str:
    """Have the inventory job run; its id."""
    jobs = client.list(f"{BACKUP}/jobs", type="catalog")
    job = next((job["id"] for job in jobs if job["name"] == INVENTORY_JOB), "")
    client.write("POST", f"{BACKUP}/jobs/run", body={"jobId": job})
    return str(job)


def wait_until_known(client: Client, path: str, identifier: str) -> None:
    for _ in range(client.patience):
        if client.one(path, identifier) is not None:
            return
        client._pause(1)
    raise Broken(f"the inventory never knows {identifier}")


@dataclass
class MachineResource:
    """`cloudtemple_compute_virtual_machine`."""

    client: Client

    # -------------------------------------------------------------------------------------------------------- create

    def create(self, config: dict[str, Any]) -> State:
        client = self.client
        identifier = self._source(config)
        state: State = {"id": identifier}
        disks = client.list(DISKS, virtualMachineId=identifier)
        adapters = client.list(ADAPTERS, virtualMachineId=identifier)
        state["os_disk"] = [disk["id"] for disk in disks]
        state["os_network_adapter"] = [adapter["id"] for adapter in adapters]
        if "customize" in config:
            client.write("PATCH", f"{MACHINES}/{{id}}/guest/customize", identifier, body=config["customize"])
        if config.get("backup_sla_policies"):
            run_inventory(client)
            wait_until_known(client, f"{BACKUP}/virtual_machines/{{id}}", identifier)
            self._assign(identifier, config["backup_sla_policies"])
        sized = self._sized(identifier, config)
        self._update(identifier, config, sized)
        if config.get("tags"):
            self._tags(identifier, config["tags"])
        client.write("PATCH", f"{MACHINES}/rename", body={"id": identifier, "name": config["name"]})
        if config.get("guest_operating_system_moref"):
            self._guest(identifier, config)
        self._relocate(identifier, config)
        if config.get("backup_sla_policies"):
            self._policies(identifier, config["backup_sla_policies"])
        for wish, disk_id in zip(config.get("os_disk", []), state["os_disk"], strict=False):
            self._os_disk(disk_id, wish)
        for wish, adapter_id in zip(config.get("os_network_adapter", []), state["os_network_adapter"], strict=False):
            self._os_adapter(adapter_id, wish, connect=wish.get("connected"))
        if config.get("extra_config"):
            client.write("PATCH", f"{MACHINES}/{{id}}/extra_config", identifier, body=config["extra_config"])
        if config.get("power_state") == "on":
            self._power_on(identifier)
        return self.read(state)

    def _source(self, config: dict[str, Any]) -> str:
        client, named = self.client, {"name": config["name"]}
        deploy = [{"id": key, "value": value} for key, value in config.get("deploy_options", {}).items()]
        options = {"deployOptions": deploy} if deploy else {}
        if "clone_virtual_machine_id" in config:
            body = named | wire(config, *PLACES)
            return result(
                client.write("POST", f"{MACHINES}/{{id}}/clone", config["clone_virtual_machine_id"], body=body)
            )
        if "content_library_item_id" in config:
            places = wire(config, *PLACES[:4], "disks_provisioning_type")
            body = {"contentLibraryItemId": config["content_library_item_id"]} | named | places | options
            return result(client.write("POST", ITEMS, config["content_library_id"], body=body))
        if "marketplace_item_id" in config:
            return self._from_marketplace(config, named | options)
        body = named | wire(config, *PLACES, "memory", "cpu", "guest_operating_system_moref")
        return made(client.write("POST", MACHINES, body=body), "virtual_machine")

    def _from_marketplace(self, config: dict[str, Any], body: dict[str, Any]) -> str:
        item = config["marketplace_item_id"]
        info = self.client.one(f"{MARKET}/items/{{id}}/vmware/info", item)
        if info is None:
            raise Refused(404, f"failed to find marketplace item {item}")
        wishes = config.get("os_network_adapter", [])
        if len(wishes) != len(info["networkAdapters"]):
            raise Refused(0, "os_network_adapter blocks and the item's adapters differ in number")
        networks = [
            {"sourceNetworkName": there["networkName"], "destinationNetworkId": wish["network_id"]}
            for wish, there in zip(wishes, info["networkAdapters"], strict=True)
        ]
        mapped = {"networkData": networks} if networks else {}
        body |= {"id": item} | wire(config, *PLACES[:4]) | mapped
        return result(self.client.write("POST", f"{MARKET}/items/vmware/deploy", body=body))

    def _sized(self, identifier: str, config: dict[str, Any]) -> dict[str, int]:
        """Memory, vCPUs and cores a socket; what is not configured stays as the machine has it."""
        sizes = {name: config[name] for name in SIZES if name in config}
        if len(sizes) < len(SIZES):
            there = self._get(identifier)
            sizes = {name: there[_camel(name)] for name in SIZES} | sizes
        if not all(value > 0 for value in sizes.values()):
            raise Broken(f"the machine's size reads {sizes}")
        return sizes

    def _update(self, identifier: str, config: dict[str, Any], sizes: dict[str, int]) -> None:
        boot = {BOOT[name]: value for name, value in config.get("boot_options", {}).items()}
        body = {
            "id": identifier,
            "ram": sizes["memory"],
            "memoryReservation": config.get("memory_reservation", 0),
            "cpu": sizes["cpu"],
            "corePerSocket": sizes["num_cores_per_socket"],
            "hotCpuAdd": config.get("cpu_hot_add_enabled", False),
            "hotCpuRemove": config.get("cpu_hot_remove_enabled", False),
            "hotMemAdd": config.get("memory_hot_add_enabled", False),
        }
        if boot:
            body["bootOptions"] = boot
        if config.get("expose_hardware_virtualization"):
            body["exposeHardwareVirtualization"] = True
        self.client.write("PATCH", MACHINES, body=body)

    def _tags(self, identifier: str, wanted: dict[str, str]) -> None:
        there = {tag["key"]: tag["value"] for tag in self.client.list(TAGS, identifier)}
        for key, value in there.items():
            if wanted.get(key) != value:
                self.client.plain("DELETE", f"{TAGS}/keys/{{key}}", identifier, key)
        resource = {"uuid": identifier, "type": "vcenter_virtual_machine", "source": "vmware"}
        for key, value in wanted.items():
            if there.get(key) != value:
                body = {"key": key, "value": value, "resources": [resource]}
                self.client.plain("POST", "/tag/v1/tags", body=body)

    def _guest(self, identifier: str, config: dict[str, Any]) -> None:
        body = {"guestOperatingSystemMoref": config["guest_operating_system_moref"]}
        self.client.write("PATCH", f"{MACHINES}/{{id}}/guest", identifier, body=body)

    def _relocate(self, identifier: str, config: dict[str, Any]) -> None:
        body = {"virtualMachines": [identifier], "priority": "highPriority"} | wire(config, *PLACES)
        self.client.write("POST", f"{MACHINES}/relocate", body=body)

    def _assign(self, identifier: str, policies: list[str]) -> None:
        body = {"virtualMachineIds": [identifier], "slaPolicies": policies}
        self.client.write("POST", f"{BACKUP}/policies/assign/virtual_machine", body=body)

    def _policies(self, identifier: str, policies: list[str]) -> None:
        if self.client.one(f"{BACKUP}/virtual_machines/{{id}}", identifier) is None:
            self._wait_until_idle(run_inventory(self.client))
        self._assign(identifier, policies)

    def _wait_until_idle(self, job: str) -> None:
        for _ in range(self.client.patience):
            found = self.client.one(f"{BACKUP}/jobs/{{id}}", job)
            if found is None or found["status"] not in {"IDLE", "RUNNING"}:
                raise Broken(f"the inventory job reads {found}")
            if found["status"] == "IDLE":
                return
            self.client._pause(1)
        raise Broken("the inventory job never ends")

    def _os_disk(self, disk_id: str, wish: dict[str, Any]) -> None:
        disk = self.client.one(f"{DISKS}/{{id}}", disk_id)
        if disk is None or wish.get("capacity", disk["capacity"]) < disk["capacity"]:
            raise Refused(0, f"disk {disk_id} cannot shrink")
        body = {"id": disk_id} | {"newCapacity": wish["capacity"]} if "capacity" in wish else {"id": disk_id}
        self.client.write("PATCH", DISKS, body=body | wire(wish, "disk_mode"))

    def _os_adapter(self, adapter_id: str, wish: dict[str, Any], *, connect: bool | None) -> None:
        body = {"id": adapter_id, "newNetworkId": wish["network_id"], "autoConnect": wish.get("auto_connect", False)}
        self.client.write("PATCH", ADAPTERS, body=body | wire(wish, "mac_address"))
        if connect is not None:
            self.client.write("PATCH", f"{ADAPTERS}/{'connect' if connect else 'disconnect'}", body={"id": adapter_id})

    # --------------------------------------------------------------------------------------------------------- power

    def _power_on(self, identifier: str) -> None:
        machine = self._get(identifier)
        query = {"virtualMachineId": identifier, "datacenterId": machine["datacenter"]["id"]}
        found = self.client.list(
            f"{MACHINES}/power/recommendations", **query, hostClusterId=machine["hostCluster"]["id"]
        )
        body = {"id": identifier, "datacenterId": query["datacenterId"], "powerAction": "on"}
        if found:
            empty = {"hostId": "", "hostClusterName": "", "hostName": ""}
            body["recommendation"] = {"key": found[0]["key"], "hostClusterId": found[0]["hostClusterId"]} | empty
        self.client.write("PATCH", f"{MACHINES}/power", body=body)

    def _power_off(self, machine: dict[str, Any]) -> None:
        body = {"id": machine["id"], "datacenterId": machine["datacenter"]["id"], "powerAction": "off"}
        self.client.write("PATCH", f"{MACHINES}/power", body=body)

    # ---------------------------------------------------------------------------------------------------------- read

    def _get(self, identifier: str) -> dict[str, Any]:
        found = self.client.one(f"{MACHINES}/{{id}}", identifier)
        if found is None:
            raise ReadFailed(f"virtual machine {identifier} is gone")
        return found

    def read(self, state: State) -> State:
        """Refresh. Raises ReadFailed for a machine, disk or adapter that is gone."""
        client, identifier = self.client, state["id"]
        machine = client.one(f"{MACHINES}/{{id}}", identifier)
        if machine is None:
            manager = state.get("machine", {}).get("machineManager", {}).get("id", "")
            raise absent(client, MACHINES, "virtual machine", identifier, machineManagerId=manager)
        if machine["powerState"] not in {"running", "stopped"}:
            raise Broken(f"unknown power state {machine['powerState']!r}")
        policies = client.list(f"{BACKUP}/policies", virtualMachineId=identifier)
        disks = [client.one(f"{DISKS}/{{id}}", disk_id) for disk_id in state.get("os_disk", [])]
        adapters = [client.one(f"{ADAPTERS}/{{id}}", adapter_id) for adapter_id in state.get("os_network_adapter", [])]
        if None in disks or None in adapters:
            raise ReadFailed(f"an OS disk or OS adapter of {identifier} is gone")
        tags = {tag["key"]: tag["value"] for tag in client.list(TAGS, identifier)}
        return {
            **state,
            "machine": machine,
            "disks": disks,
            "adapters": adapters,
            "backup_sla_policies": {policy["id"] for policy in policies},
            "tags": tags,
        }

    def imported(self, identifier: str) -> State:
        """`terraform import`: OS disks and adapters are not taken."""
        return self.read({"id": identifier})

    def changes(self, config: dict[str, Any], state: State) -> set[str]:
        """Which attributes the next plan would want to change: section 4.13.3, row by row."""
        machine, found = state["machine"], set()
        read = {
            "name": machine["name"],
            "datacenter_id": machine["datacenter"]["id"],
            "host_cluster_id": machine["hostCluster"]["id"],
            "datastore_id": (machine["datastore"] or {}).get("id"),
            "datastore_cluster_id": (machine["datastoreCluster"] or {}).get("id"),
            "memory": machine["memory"],
            "cpu": machine["cpu"],
            "num_cores_per_socket": machine["numCoresPerSocket"],
            "guest_operating_system_moref": machine["operatingSystemMoref"],
        }
        found |= {name for name, value in read.items() if name in config and config[name] != value}
        flags = {name: machine[_camel(name)] for name in (*HOT, "expose_hardware_virtualization")}
        found |= {name for name, value in flags.items() if config.get(name, False) != value}
        power = {"running": "on", "stopped": "off"}[machine["powerState"]]
        found |= {"power_state"} if config.get("power_state", "off") != power else set()
        boot = machine["bootOptions"] or {}
        wished = {f"boot_options.{name}": (value, boot.get(BOOT[name])) for name, value in _boot(config).items()}
        found |= {name for name, (value, there) in wished.items() if value != there}
        extra = {pair["key"]: pair["value"] for pair in machine["extraConfig"]}
        managed = config.get("extra_config", {})
        found |= {f"extra_config.{key}" for key, value in managed.items() if not _same(value, extra.get(key))}
        found |= {"tags"} if config.get("tags", {}) != state["tags"] else set()
        found |= {"policies"} if set(config.get("backup_sla_policies", [])) != state["backup_sla_policies"] else set()
        for number, (wish, disk) in enumerate(zip(config.get("os_disk", []), state["disks"], strict=False)):
            echo = {"capacity": disk["capacity"], "disk_mode": disk["diskMode"]}
            found |= {f"os_disk[{number}].{name}" for name in wish if wish[name] != echo[name]}
        for number, (wish, adapter) in enumerate(
            zip(config.get("os_network_adapter", []), state["adapters"], strict=False)
        ):
            found |= {f"os_network_adapter[{number}].{name}" for name in _adapter_changes(wish, adapter)}
        return found

    # -------------------------------------------------------------------------------------------------------- update

    def update(self, config: dict[str, Any], state: State) -> State:
        """Bring the machine from `state` to `config`, step by step and only where something differs."""
        identifier, changed = state["id"], self.changes(config, state)
        machine = self._get(identifier)
        settled = False
        sized = {*SIZES, *HOT, "expose_hardware_virtualization"} | {f"boot_options.{name}" for name in BOOT}
        if changed & sized:
            settled = self._resize(config, machine)
        self._update_settings(identifier, config, changed)
        self._update_devices(config, state, changed)
        if any(name.startswith("extra_config") for name in changed):
            self.client.write("PATCH", f"{MACHINES}/{{id}}/extra_config", identifier, body=config["extra_config"])
        if "power_state" in changed and not settled:
            if config.get("power_state", "off") == "on":
                self._power_on(identifier)
            else:
                self._power_off(self._get(identifier))
        return self.read(state)

    def _update_settings(self, identifier: str, config: dict[str, Any], changed: set[str]) -> None:
        if "tags" in changed:
            self._tags(identifier, config.get("tags", {}))
        if "name" in changed:
            self.client.write("PATCH", f"{MACHINES}/rename", body={"id": identifier, "name": config["name"]})
        if "guest_operating_system_moref" in changed:
            self._guest(identifier, config)
        if changed & set(PLACES):
            self._relocate(identifier, config)
        if "policies" in changed:
            self._policies(identifier, config.get("backup_sla_policies", []))

    def _update_devices(self, config: dict[str, Any], state: State, changed: set[str]) -> None:
        for number, wish in enumerate(config.get("os_disk", [])):
            if any(name.startswith(f"os_disk[{number}]") for name in changed):
                self._os_disk(state["os_disk"][number], wish)
        for number, wish in enumerate(config.get("os_network_adapter", [])):
            names = {name for name in changed if name.startswith(f"os_network_adapter[{number}]")}
            if names:
                turned = any(name.endswith(".connected") for name in names)
                self._os_adapter(
                    state["os_network_adapter"][number], wish, connect=wish["connected"] if turned else None
                )

    def _resize(self, config: dict[str, Any], machine: dict[str, Any]) -> bool:
        """Sizes, hot-add and boot options; cold where they cannot be hot. True: the power state is settled too."""
        sizes = {name: config.get(name, machine[_camel(name)]) for name in SIZES}
        hot = (
            (sizes["memory"] == machine["memory"])
            or (sizes["memory"] > machine["memory"] and machine["memoryHotAddEnabled"])
        ) and (
            sizes["cpu"] == machine["cpu"]
            or (sizes["cpu"] > machine["cpu"] and machine["cpuHotAddEnabled"])
            or (sizes["cpu"] < machine["cpu"] and machine["cpuHotRemoveEnabled"])
        )
        hot = hot and sizes["num_cores_per_socket"] == machine["numCoresPerSocket"]
        hot = hot and all(config.get(name, False) == machine[_camel(name)] for name in (HOT[0], HOT[2]))
        if machine["powerState"] != "running" or hot:
            self._update(machine["id"], config, sizes)
            return False
        ends_on = config.get("power_state", "off") == "on"
        if ends_on and not config.get("allow_vm_restart"):
            raise Refused(0, "the change needs a restart, and allow_vm_restart is not set")
        self._power_off(machine)
        self._update(machine["id"], config, sizes)
        if ends_on:
            self._power_on(machine["id"])
        return True

    def customize(self, state: State, body: dict[str, Any]) -> State:
        """Another `customize` block: the machine is off meanwhile."""
        machine = self._get(state["id"])
        if machine["powerState"] == "running":
            self._power_off(machine)
        self.client.write("PATCH", f"{MACHINES}/{{id}}/guest/customize", state["id"], body=body)
        if machine["powerState"] == "running":
            self._power_on(state["id"])
        return self.read(state)

    def destroy(self, state: State) -> None:
        machine = self._get(state["id"])
        if machine["powerState"] == "running":
            self._power_off(machine)
        self.client.write("DELETE", f"{MACHINES}/{{id}}", state["id"])


def _boot(config: dict[str, Any]) -> dict[str, Any]:
    wished: dict[str, Any] = config.get("boot_options", {})
    return wished


def _same(value: Any, read: str | None) -> bool:
    return read is not None and str(value).casefold() == read.casefold()


def _adapter_changes(wish: dict[str, Any], adapter: dict[str, Any]) -> set[str]:
    echo = {
        "network_id": adapter["network"]["id"],
        "mac_address": adapter["macAddress"],
        "connected": adapter["connected"],
        "auto_connect": adapter["autoConnect"],
    }
    return {name for name, value in echo.items() if name in wish and wish[name] != value}


@dataclass
class DiskResource:
    """`cloudtemple_compute_virtual_disk`. `policies`: the backup policies of the disk."""

    client: Client

    def create(self, config: dict[str, Any]) -> State:
        body = wire(config, *(["controller_id", "provisioning_type", "disk_mode", "capacity", "virtual_machine_id"]))
        body |= wire(config, "datastore_id", "datastore_cluster_id")
        identifier = made(self.client.write("POST", DISKS, body=body), "virtual_disk")
        if config.get("backup_sla_policies"):
            run_inventory(self.client)
            wait_until_known(self.client, f"{BACKUP}/virtual_disks/{{id}}", identifier)
            self._assign(identifier, config["backup_sla_policies"])
        return self.read({"id": identifier, "virtual_machine_id": config["virtual_machine_id"]})

    def _assign(self, identifier: str, policies: list[str]) -> None:
        body = {"virtualDiskId": identifier, "slaPolicies": policies}
        self.client.write("POST", f"{BACKUP}/policies/assign/virtual_disk", body=body)

    def read(self, state: State) -> State:
        disk = self.client.one(f"{DISKS}/{{id}}", state["id"])
        if disk is None:
            raise absent(self.client, DISKS, "disk", state["id"], virtualMachineId=state["virtual_machine_id"])
        policies = self.client.list(f"{BACKUP}/policies", virtualDiskId=state["id"])
        return {
            "id": state["id"],
            "virtual_machine_id": disk["virtualMachineId"],
            "disk": disk,
            "backup_sla_policies": {policy["id"] for policy in policies},
        }

    def imported(self, identifier: str) -> State:
        return self.read({"id": identifier, "virtual_machine_id": ""})

    def changes(self, config: dict[str, Any], state: State) -> set[str]:
        disk = state["disk"]
        echo = {
            "provisioning_type": disk["provisioningType"],
            "virtual_machine_id": disk["virtualMachineId"],
            "datastore_id": disk["datastore"]["id"],
            "controller_id": (disk["controller"] or {}).get("id"),
            "capacity": disk["capacity"],
            "disk_mode": disk["diskMode"],
        }
        found = {name for name, value in echo.items() if name in config and config[name] != value}
        policies = set(config.get("backup_sla_policies", []))
        return found | ({"policies"} if policies != state["backup_sla_policies"] else set())

    def update(self, config: dict[str, Any], state: State) -> State:
        body = {"id": state["id"], "newCapacity": config["capacity"]} | wire(config, "disk_mode")
        self.client.write("PATCH", DISKS, body=body)
        if set(config.get("backup_sla_policies", [])) != state["backup_sla_policies"]:
            self._assign(state["id"], config.get("backup_sla_policies", []))
        return self.read(state)

    def destroy(self, state: State) -> None:
        self.client.write("DELETE", f"{DISKS}/{{id}}", state["id"])


@dataclass
class AdapterResource:
    """`cloudtemple_compute_network_adapter`."""

    client: Client

    def create(self, config: dict[str, Any]) -> State:
        body = wire(config, "virtual_machine_id", "network_id", "type", "mac_address")
        identifier = made(self.client.write("POST", ADAPTERS, body=body), "network_adapter")
        state = {"id": identifier, "virtual_machine_id": config["virtual_machine_id"], "connected": False}
        return self.update(config, state)

    def update(self, config: dict[str, Any], state: State) -> State:
        body = {"id": state["id"], "newNetworkId": config["network_id"]}
        body["autoConnect"] = config.get("auto_connect", False)
        self.client.write("PATCH", ADAPTERS, body=body | wire(config, "mac_address"))
        wanted = config.get("connected", False)
        if wanted != state["connected"]:
            self.client.write("PATCH", f"{ADAPTERS}/{'connect' if wanted else 'disconnect'}", body={"id": state["id"]})
        return self.read(state)

    def read(self, state: State) -> State:
        adapter = self.client.one(f"{ADAPTERS}/{{id}}", state["id"])
        if adapter is None:
            raise absent(self.client, ADAPTERS, "adapter", state["id"], virtualMachineId=state["virtual_machine_id"])
        if adapter["vpc"] is not None:
            raise Broken("a plain adapter carries a vpc")
        return {
            "id": state["id"],
            "virtual_machine_id": adapter["virtualMachineId"],
            "connected": adapter["connected"],
            "adapter": adapter,
        }

    def imported(self, identifier: str) -> State:
        return self.read({"id": identifier, "virtual_machine_id": ""})

    def changes(self, config: dict[str, Any], state: State) -> set[str]:
        adapter = state["adapter"]
        echo = {"type": adapter["type"], "virtual_machine_id": adapter["virtualMachineId"]}
        wished = {"connected": False, "auto_connect": False, **config}
        found = {name for name, value in echo.items() if wished[name] != value}
        return found | _adapter_changes(wished, adapter)

    def destroy(self, state: State) -> None:
        self.client.write("DELETE", f"{ADAPTERS}/{{id}}", state["id"])


@dataclass
class ControllerResource:
    """`cloudtemple_compute_virtual_controller`."""

    client: Client

    def create(self, config: dict[str, Any]) -> State:
        body = wire(config, "virtual_machine_id", "type", "sub_type")
        identifier = made(self.client.write("POST", CONTROLLERS, body=body), "virtual_controller")
        if config.get("mounted"):
            self._mount(identifier, config)
        if config.get("connected"):
            self._do("connect", identifier)
        return self.read({"id": identifier, "virtual_machine_id": config["virtual_machine_id"]})

    def _mount(self, identifier: str, config: dict[str, Any]) -> None:
        body = {"id": identifier} | wire(config, "iso_path", "content_library_item_id")
        self.client.write("PATCH", f"{CONTROLLERS}/cdrom/mount", body=body)

    def _do(self, action: str, identifier: str) -> None:
        self.client.write("PATCH", f"{CONTROLLERS}/cdrom/{action}", body={"id": identifier})

    def read(self, state: State) -> State:
        found = self.client.one(f"{CONTROLLERS}/{{id}}", state["id"])
        if found is None:
            scope = {"virtualMachineId": state["virtual_machine_id"]}
            raise absent(self.client, CONTROLLERS, "controller", state["id"], **scope)
        return {"id": state["id"], "virtual_machine_id": found["virtualMachineId"], "controller": found}

    def imported(self, identifier: str) -> State:
        return self.read({"id": identifier, "virtual_machine_id": ""})

    def changes(self, config: dict[str, Any], state: State) -> set[str]:
        there = state["controller"]
        echo = {"type": there["type"], "virtual_machine_id": there["virtualMachineId"], "sub_type": there["subType"]}
        wished = {"sub_type": "", **config}
        empty = {name for name in ("label", "type", "virtualMachineId") if not there[name]}
        return {name for name, value in echo.items() if wished[name] != value} | empty

    def update(self, config: dict[str, Any], state: State, before: dict[str, Any]) -> State:
        """`before`: the configuration that was applied last; what is mounted and connected is not read back."""
        if config.get("mounted", False) != before.get("mounted", False):
            if config.get("mounted"):
                self._mount(state["id"], config)
            else:
                self._do("unmount", state["id"])
        if config.get("connected", False) != before.get("connected", False):
            self._do("connect" if config.get("connected") else "disconnect", state["id"])
        return self.read(state)

    def destroy(self, state: State) -> None:
        self.client.write("DELETE", f"{CONTROLLERS}/{{id}}", state["id"])


@dataclass
class TokenResource:
    """`cloudtemple_iam_personal_access_token`. `expiration_date`: RFC 3339."""

    client: Client
    made: list[str] = field(default_factory=list)

    def create(self, config: dict[str, Any]) -> State:
        moment = datetime.fromisoformat(config["expiration_date"])
        body = {"name": config["name"], "roles": config["roles"], "expirationDate": int(moment.timestamp() * 1000)}
        token = self.client.plain("POST", TOKENS, body=body)
        if not token["id"] or not token["secret"]:
            raise Broken("a new token has an id and a secret")
        return {"id": token["id"], "client_id": token["id"], "secret_id": token["secret"]}

    def read(self, state: State) -> State:
        token = self.client.one(f"{TOKENS}/{{id}}", state["id"])
        if token is None:
            listed = any(item["id"] == state["id"] for item in self.client.list(TOKENS, answers=Answers.STRICT))
            raise ReadFailed(f"token {state['id']} is {'still' if listed else 'not'} listed")
        if token["secret"]:
            raise Broken("a read of a token shows its secret")
        return {**state, "token": token}

    def changes(self, config: dict[str, Any], state: State) -> set[str]:
        token = state["token"]
        wanted = int(datetime.fromisoformat(config["expiration_date"]).timestamp())
        if not token["expirationDate"].isdecimal():
            raise Broken(f"expirationDate reads {token['expirationDate']!r}")
        echo = {"name": token["name"], "roles": token["roles"]}
        found = {name for name, value in echo.items() if config[name] != value}
        return found | ({"expiration_date"} if int(token["expirationDate"]) // 1000 != wanted else set())

    def destroy(self, state: State) -> None:
        self.client.plain("DELETE", f"{TOKENS}/{{id}}", state["id"])
