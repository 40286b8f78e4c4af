"""Every engine of a platform."""

from typing import Protocol

from naos.engines.ports.array import Array
from naos.engines.ports.chassis import Chassis
from naos.engines.ports.fabric import Fabric
from naos.engines.ports.files import PointFiles
from naos.engines.ports.host import Host
from naos.engines.ports.hypervisor import Hypervisor
from naos.engines.ports.points import PointStore


class Rack(Protocol):
    """Every engine of a platform, by the names that the inventory gives."""

    def hypervisor(self, blade: str) -> Hypervisor: ...
    def fabric(self, blade: str) -> Fabric: ...
    def chassis(self, blade: str) -> Chassis: ...
    def blade_host(self, blade: str) -> Host: ...
    def array(self, array: str) -> Array: ...
    def array_host(self, array: str) -> Host: ...
    def vault_host(self, vault: str) -> Host: ...
    def vault_points(self, vault: str) -> PointStore:
        """What a vault keeps."""

    def vault_files(self, vault: str) -> PointFiles:
        """The files inside what a vault keeps."""

    def close(self) -> None: ...
