"""Every engine of a platform, as its inventory says: drivers are made when first asked for and closed together."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import structlog

from naos.engines.array.driver import StorageDaemonArray
from naos.engines.chassis.lab import LabChassis
from naos.engines.chassis.redfish import RedfishChassis
from naos.engines.errors import EngineError, Missing
from naos.engines.fabric.driver import LinuxFabric
from naos.engines.files.driver import HostPointFiles
from naos.engines.hosts import address_of, host_for
from naos.engines.hypervisor.driver import LibvirtHypervisor
from naos.engines.points.driver import HostPointStore
from naos.engines.ports import Array, Chassis, Fabric, Host, Hypervisor, PointStore
from naos.engines.ports.files import PointFiles
from naos.inventory import model
from naos.inventory.model import Inventory

Engine = TypeVar("Engine")
Item = TypeVar("Item", model.Blade, model.Array, model.Vault)

_log = structlog.get_logger()


class ConnectedRack:
    """The rack that an inventory describes. Any thread may ask.

    acceleration: "kvm" or "tcg" for all blades or by blade's name; where it says nothing, what the probe stored on the
    blade holds. Every method raises Missing for a name that the inventory does not have, and EngineError once closed.
    """

    def __init__(self, inventory: Inventory, acceleration: str | Mapping[str, str] | None = None) -> None:
        self._blades = {blade.name: blade for blade in inventory.blades}
        self._arrays = {array.name: array for array in inventory.arrays}
        self._vaults = {vault.name: vault for vault in inventory.vaults}
        self._acceleration = acceleration
        self._lock = threading.RLock()  # an engine asks for its host while it is made
        self._made: dict[tuple[str, str], Any] = {}
        self._closed = False

    def hypervisor(self, blade: str) -> Hypervisor:
        found = _named(self._blades, "blade", blade)
        given = self._acceleration
        acceleration = given.get(blade) if isinstance(given, Mapping) else given
        return self._engine(
            ("hypervisor", blade),
            lambda: LibvirtHypervisor(blade, found.hypervisor, self.blade_host(blade), acceleration),
        )

    def fabric(self, blade: str) -> Fabric:
        found = _named(self._blades, "blade", blade).fabric
        address = None if found.address is None else str(found.address)
        return self._engine(
            ("fabric", blade),
            lambda: LinuxFabric(
                blade, self.blade_host(blade), found.driver, address=address, device=found.device, mtu=found.mtu
            ),
        )

    def chassis(self, blade: str) -> Chassis:
        found = _named(self._blades, "blade", blade).chassis
        if found.driver == "lab":
            return self._engine(("chassis", blade), lambda: LabChassis(blade, Path(found.address)))
        return self._engine(
            ("chassis", blade),
            lambda: RedfishChassis(blade, found.address, found.system, Path(found.credentials)),
        )

    def blade_host(self, blade: str) -> Host:
        found = _named(self._blades, "blade", blade)
        return self._engine(("blade host", blade), lambda: host_for(blade, found.access))

    def array(self, array: str) -> Array:
        found = _named(self._arrays, "array", array)
        return self._engine(
            ("array", array),
            lambda: StorageDaemonArray(
                array, self.array_host(array), str(found.address), found.backing, found.path, found.tls
            ),
        )

    def array_host(self, array: str) -> Host:
        found = _named(self._arrays, "array", array)
        return self._engine(("array host", array), lambda: host_for(array, found.access))

    def vault_host(self, vault: str) -> Host:
        found = _named(self._vaults, "vault", vault)
        return self._engine(("vault host", vault), lambda: host_for(vault, found.access))

    def vault_points(self, vault: str) -> PointStore:
        """In the folder `points` of the vault's."""
        found = _named(self._vaults, "vault", vault)
        return self._engine(
            ("points", vault),
            lambda: HostPointStore(
                vault, self.vault_host(vault), address_of(found.access), str(PurePosixPath(found.path, "points"))
            ),
        )

    def vault_files(self, vault: str) -> PointFiles:
        """Of the points that `vault_points` knows."""
        found = _named(self._vaults, "vault", vault)
        return self._engine(
            ("files", vault),
            lambda: HostPointFiles(vault, self.vault_host(vault), str(PurePosixPath(found.path, "points"))),
        )

    def close(self) -> None:
        """Close every engine that was made, then the hosts under them."""
        with self._lock:
            self._closed = True
            made, self._made = self._made, {}
        for (kind, name), engine in sorted(made.items(), key=lambda entry: entry[0][0].endswith("host")):
            close = getattr(engine, "close", None)
            if close is None:
                continue
            try:
                close()
            except Exception as error:
                _log.warning("rack.not_closed", kind=kind, name=name, reason=str(error))

    def _engine(self, key: tuple[str, str], make: Callable[[], Engine]) -> Engine:
        with self._lock:
            if self._closed:
                raise EngineError(key[1], f"reaching its {key[0]}", "the rack was closed")
            if key not in self._made:
                self._made[key] = make()
            engine: Engine = self._made[key]
            return engine


def _named(items: Mapping[str, Item], kind: str, name: str) -> Item:
    try:
        return items[name]
    except KeyError:
        raise Missing("the inventory", f"{kind} {name}", f"it has {', '.join(items) or 'none'}") from None
