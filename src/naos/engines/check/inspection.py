"""Every host of an inventory, side by side: one that does not answer costs its own deadline and nobody else's."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from naos.engines.check import compute, machine, network, storage, tls, together
from naos.engines.check.compute import HypervisorAnswer
from naos.engines.check.report import HostReport, Look, Lost
from naos.engines.errors import EngineError
from naos.engines.hosts import host_for
from naos.engines.ports import Chassis, Host
from naos.engines.rack import ConnectedRack
from naos.inventory.catalogues import BladeModel
from naos.inventory.model import Array, Blade, HostAccess, Inventory, Vault, Witness

DEADLINE = 90.0  # seconds for all of a host
_AT_ONCE = 32
_BLADE_FOLDER = "/var/lib/libvirt"

_log = structlog.get_logger()
Item = Blade | Array | Vault | Witness


@dataclass(frozen=True)
class Doors:
    """How the world is reached."""

    host: Callable[[str, HostAccess], Host]
    hypervisor: Callable[[str, str], HypervisorAnswer]
    chassis: Callable[[str], Chassis]


@dataclass
class _Visit:
    """A host that is being looked at in a thread of its own."""

    look: Look
    work: Callable[[], None]
    ended: bool = False

    def run(self) -> None:
        try:
            self.work()
        except Exception as error:
            self.look.fault("check", f"Looking at it failed: {type(error).__name__}: {error}")
            _log.exception("inventory.check_failed", host=self.look.name)
        finally:
            self.ended = True


def check_inventory(
    inventory: Inventory,
    *,
    models: Mapping[str, BladeModel],
    kernel: tuple[Path, Path] | None = None,
    doors: Doors | None = None,
    deadline: float = DEADLINE,
) -> list[HostReport]:
    """A report for every blade, array, vault and witness, in the inventory's order; nothing is raised for a host.

    Must run where the controller runs: what it cannot reach from there is a fault. models: the blade catalogue's. kernel: kernel and initial RAM disk
    (as `hypervisor.acceleration.probe` takes them) to try KVM with where nobody has yet; None: it is not tried.
    deadline: seconds that one host may take in all.
    """
    with contextlib.ExitStack() as stack:
        if doors is None:
            rack = ConnectedRack(inventory)
            stack.callback(rack.close)
            doors = Doors(host_for, compute.ask_libvirt, rack.chassis)
        visits = list(_visits(inventory, doors, models, kernel))
        for start in range(0, len(visits), _AT_ONCE):
            _visit_all(visits[start : start + _AT_ONCE], deadline)
    looks = [_judged(visit, deadline) for visit in visits]
    together.judge_paths(inventory, looks)
    together.judge_twins(inventory, looks)
    return [look.report() for look in looks]


def _visits(
    inventory: Inventory, doors: Doors, models: Mapping[str, BladeModel], kernel: tuple[Path, Path] | None
) -> Iterator[_Visit]:
    for blade in inventory.blades:
        arrays = [array for array in inventory.arrays if array.zone == blade.zone]
        look = _look("blade", blade)
        yield _Visit(look, partial(_blade, look, blade, arrays, doors, models, kernel))
    for array in inventory.arrays:
        look = _look("array", array)
        yield _Visit(look, partial(_array, look, array, doors))
    for vault in inventory.vaults:
        look = _look("vault", vault)
        yield _Visit(look, partial(_at_host, look, vault, doors, partial(_vault, look, vault)))
    for witness in inventory.witnesses:
        look = _look("witness", witness)
        more = partial(network.has_address, look, str(witness.address))
        yield _Visit(look, partial(_at_host, look, witness, doors, more))


def _look(kind: str, item: Item) -> Look:
    return Look(item.name, kind, item.zone, real=item.access.driver != "namespace")


def _visit_all(visits: Sequence[_Visit], deadline: float) -> None:
    """Daemon threads: one that hangs in a call must not keep the process from ending."""
    threads = [threading.Thread(target=visit.run, name=f"check {visit.look.name}", daemon=True) for visit in visits]
    end = time.monotonic() + deadline
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0))


def _judged(visit: _Visit, deadline: float) -> Look:
    if visit.ended:
        return visit.look
    given_up = visit.look.copy()  # its thread may go on writing into the other
    given_up.fault("deadline", f"It took longer than {deadline:g} s and was given up; look at its load and network.")
    return given_up


# ---------------------------------------------------------------------------------------------------------------- kinds


def _at_host(look: Look, item: Item, doors: Doors, more: Callable[[], None] = lambda: None) -> None:
    """What is asked of every host, then `more`; a host that is lost on the way ends it."""
    try:
        look.host = doors.host(item.name, item.access)
    except EngineError as error:
        look.fault("contact", str(error))
        return
    try:
        machine.contact(look)
        machine.system(look)
        machine.tools(look)
        machine.memory(look)
        more()
    except Lost:
        pass
    finally:
        close = getattr(look.host, "close", None)
        if close is not None:
            close()


def _blade(
    look: Look,
    blade: Blade,
    arrays: list[Array],
    doors: Doors,
    models: Mapping[str, BladeModel],
    kernel: tuple[Path, Path] | None,
) -> None:
    def more() -> None:
        machine.breaks_connections(look)
        machine.disk(look, _BLADE_FOLDER)
        machine.program_version(look, "qemu", "qemu-system-x86_64", "QEMU", machine.QEMU)
        network.fabric(look, blade.fabric)
        network.reaches(look, arrays)
        tls.blade(look, blade.name, arrays)
        compute.kvm(look, kernel)

    _at_host(look, blade, doors, more)
    compute.model(look, blade, models)
    compute.hypervisor(look, blade, doors.hypervisor)
    compute.chassis(look, lambda: doors.chassis(blade.name))


def _array(look: Look, array: Array, doors: Doors) -> None:
    def more() -> None:
        machine.breaks_connections(look)
        storage.array(look, array)
        tls.array(look, array)

    _at_host(look, array, doors, more)


def _vault(look: Look, vault: Vault) -> None:
    storage.vault(look, vault.path)
