"""Every simulated engine of an inventory, over one folder that holds the world's state."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from naos.engines.errors import Missing
from naos.engines.ports import Array, Chassis, Fabric, Host, Hypervisor, PointStore
from naos.engines.ports.files import PointFiles
from naos.engines.simulated.array import SimulatedArray
from naos.engines.simulated.chassis import SimulatedChassis
from naos.engines.simulated.consoles import Consoles
from naos.engines.simulated.events import Events
from naos.engines.simulated.fabric import SimulatedFabric
from naos.engines.simulated.faults import Faults
from naos.engines.simulated.files import SimulatedPointFiles
from naos.engines.simulated.host import SimulatedHost
from naos.engines.simulated.hypervisor import SimulatedHypervisor
from naos.engines.simulated.points import SimulatedPointStore
from naos.engines.simulated.store import Store
from naos.inventory.catalogues import BladeCatalogue, load_blades
from naos.inventory.model import Inventory

Engine = TypeVar("Engine")


class SimulatedRack:
    """A rack without machines. Two processes with the same folder see the same world; a new process finds the old one's.

    blades: the blade catalogue, which says how much memory and how many threads each blade has; the shipped one by default.
    Raises Missing when it does not know a blade's model.
    """

    def __init__(self, folder: Path, inventory: Inventory, blades: BladeCatalogue | None = None) -> None:
        self._store = Store(folder)
        self._events, self._consoles = Events(self._store), Consoles()
        self.faults = Faults(self._store)
        self._fill_world(inventory, blades or load_blades())
        addresses = {str(blade.fabric.address): blade.name for blade in inventory.blades if blade.fabric.address}
        names = [blade.name for blade in inventory.blades]
        store = self._store
        self._hypervisors = {name: SimulatedHypervisor(name, store, self._events, self._consoles) for name in names}
        self._fabrics = {name: SimulatedFabric(name, store, addresses) for name in names}
        self._chassis = {name: SimulatedChassis(name, store) for name in names}
        self._blade_hosts = {name: SimulatedHost(name, store) for name in names}
        self._array_hosts = {array.name: SimulatedHost(array.name, store) for array in inventory.arrays}
        self._vault_hosts = {vault.name: SimulatedHost(vault.name, store) for vault in inventory.vaults}
        self._vault_points = {
            vault.name: SimulatedPointStore(vault.name, store, vault.name, vault.name) for vault in inventory.vaults
        }
        self._vault_files = {vault.name: SimulatedPointFiles(vault.name, store) for vault in inventory.vaults}
        self._arrays = {
            array.name: SimulatedArray(array.name, store, str(array.address), array.capacity)
            for array in inventory.arrays
        }

    def _fill_world(self, inventory: Inventory, catalogue: BladeCatalogue) -> None:
        rows = [(array.name, "array", 0, 0, "") for array in inventory.arrays]
        rows += [(vault.name, "vault", 0, 0, "") for vault in inventory.vaults]
        for blade in inventory.blades:
            model = catalogue.models.get(blade.model)
            if model is None:
                raise Missing("the blade catalogue", f"model {blade.model}", f"blade {blade.name} is one")
            address = blade.storage_address
            rows.append((blade.name, "blade", model.physical_memory, model.threads, address))
        with self._store.transaction() as db:
            statement = "INSERT OR IGNORE INTO engines (name, kind, memory, cpus, address) VALUES (?, ?, ?, ?, ?)"
            db.executemany(statement, rows)

    def hypervisor(self, blade: str) -> Hypervisor:
        return _named(self._hypervisors, "blade", blade)

    def fabric(self, blade: str) -> Fabric:
        return _named(self._fabrics, "blade", blade)

    def chassis(self, blade: str) -> Chassis:
        return _named(self._chassis, "blade", blade)

    def blade_host(self, blade: str) -> Host:
        return _named(self._blade_hosts, "blade", blade)

    def array(self, array: str) -> Array:
        return _named(self._arrays, "array", array)

    def array_host(self, array: str) -> Host:
        return _named(self._array_hosts, "array", array)

    def vault_host(self, vault: str) -> Host:
        return _named(self._vault_hosts, "vault", vault)

    def vault_points(self, vault: str) -> PointStore:
        return _named(self._vault_points, "vault", vault)

    def vault_files(self, vault: str) -> PointFiles:
        return _named(self._vault_files, "vault", vault)

    def close(self) -> None:
        """Ends this process's listeners and consoles; the world stays as it is."""
        self._events.close()
        self._consoles.close()
        self._store.close()


def _named(engines: Mapping[str, Engine], kind: str, name: str) -> Engine:
    try:
        return engines[name]
    except KeyError:
        raise Missing("the inventory", f"{kind} {name}", f"it has {', '.join(engines) or 'none'}") from None
