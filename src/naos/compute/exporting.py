"""Exports of machines: a stopped machine as an OVA file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Run, workflow
from naos.catalogue import exports, library
from naos.catalogue.models import Template
from naos.catalogue.ovf import packing
from naos.catalogue.ovf.descriptor import Descriptor, ExtraConfig
from naos.catalogue.ovf.properties import Property
from naos.compute import machines, rules, steps
from naos.compute.extra_config import as_text
from naos.compute.models import Power, VirtualMachine
from naos.errors import NaosError
from naos.lifecycle import check_ready
from naos.network import adapters
from naos.network.models import Vlan
from naos.storage import disks
from naos.world import World


@dataclass(eq=False)
class NothingToExport(NaosError):
    code: ClassVar[str] = "compute.nothing_to_export"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Machine {machine!r} has no disk, so there is nothing to export; give it one first."
    machine: str


def plan(session: Session, tenant_id: str, machine_id: str) -> Plan:
    """Export a machine. Raises Unknown, WrongPower, NotReady, NothingToExport."""
    machine = machines.find(session, tenant_id, machine_id)
    check_ready("Machine", machine.name, machine.lifecycle)
    rules.check_stopped(
        machine.name, machine.power, "shut it down: what a running guest has not written yet would be missing"
    )
    held = disks.of_machine(session, machine.id)
    if not held:
        raise NothingToExport(machine.name)
    export = exports.reserve(session, tenant_id, machine.name, machine.id, "virtual_machine")
    return Plan(
        kind="virtual_machine.export",
        description=f"Export machine {machine.name}",
        arguments={"export_id": export.id, "machine_id": machine.id},
        locks=(
            *machines.locks_of(session, machine),
            Lock(f"export:{export.id}"),
            *(disks.flatten_lock(disk.id) for disk in held),
        ),
        concerned=(Item(export.id, "export"), machines.item(machine.id)),
        undo=(exports.forgetting(export),),
    )


@workflow("virtual_machine.export")
def export(run: Run, arguments: dict[str, Any]) -> str:
    world, export_id, machine_id = cast(World, run.world), arguments["export_id"], arguments["machine_id"]
    run.step("check that it is stopped", _check_stopped, world, machine_id)
    said = Descriptor.model_validate(run.step("describe it", _describe, world, machine_id))
    for position, disk_id in enumerate(run.step("list the disks", steps.disk_ids, world, machine_id)):
        run.step("copy a disk", _copy_disk, world, export_id, disk_id, position, run.progress)
    run.step("pack", exports.pack, world, export_id, said)
    run.step("publish", exports.publish, world, export_id)
    return str(export_id)


def _check_stopped(world: World, machine_id: str) -> None:
    machine = steps.row(world, machine_id)
    rules.check_stopped(machine.name, Power.RUNNING if steps.is_running(world, machine_id) else machine.power)


def _copy_disk(world: World, export_id: str, disk_id: str, position: int, progress: Callable[[float], None]) -> None:
    if exports.disk_file(world, export_id, position).exists():
        return
    disks.stop_flattening(world, disk_id)
    with disks.read(world, disk_id) as socket:
        exports.convert_disk(world, export_id, position, packing.of_socket(socket), progress)


def _describe(world: World, machine_id: str) -> dict[str, Any]:
    with world.database.read() as session:
        return described(session, session.get_one(VirtualMachine, machine_id)).model_dump()


def described(session: Session, machine: VirtualMachine) -> Descriptor:
    """The machine as a descriptor: what another platform needs to make it again."""
    networks = {
        vlan.id: vlan.name
        for adapter in adapters.of_machine(session, machine.id)
        for vlan in [session.get_one(Vlan, adapter.vlan_id)]
    }
    plugged = [(networks[adapter.vlan_id], adapter.type) for adapter in adapters.of_machine(session, machine.id)]
    held = disks.of_machine(session, machine.id)
    controllers, hung = exports.hung_up([(disk.name, disk.capacity) for disk in held])
    return Descriptor(
        name=machine.name,
        cpu=machine.cpu,
        cores_per_socket=machine.cores_per_socket,
        memory=machine.memory,
        firmware=machine.firmware,
        system_id=machine.guest_os,
        networks=sorted(set(networks.values())),
        adapters=exports.adapters_of(plugged),
        controllers=controllers,
        disks=hung,
        properties=_properties(session, machine),
        extra_config=[
            ExtraConfig(key=key, value=as_text(value), required=False)
            for key, value in machine.extra_config.items()
            if not key.startswith("guestinfo.")  # it speaks to this one guest, and may hold secrets
        ],
        transports=["iso"],
    )


def _properties(session: Session, machine: VirtualMachine) -> list[Property]:
    """Those that the machine's item declares, with the machine's values as defaults, secrets apart."""
    template = session.get(Template, machine.template_id) if machine.template_id else None
    if template is None:
        return []
    values: dict[str, str] = machine.seed.get("properties", {})
    return [
        entry if entry.password else entry.model_copy(update={"default": values.get(entry.key, entry.default)})
        for entry in library.descriptor_of(template).properties
    ]
