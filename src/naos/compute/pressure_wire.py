"""How full cpools are, on the wire. Memory in bytes."""

from collections.abc import Mapping

from naos.compute.pressure import Pressure
from naos.fleet.rules import WARNED_FROM
from naos.wire import Reference, Wire


class MemoryFigures(Wire):
    """`allocated`: what is enabled, and billed. `reserved`: what running machines were given; the warning goes by it.
    `consumedByMachines`: what their guests have touched; `consumedOnHosts`: with what the hypervisor takes for them. `worstCase`: all
    of it at once. `growth`: bytes a day, over the last week. `daysUntilWarning`: until `warningFrom` per cent are reserved, at that
    growth; null while it does not grow, or less than an hour is known."""

    allocated: int
    reserved: int
    consumed_by_machines: int
    consumed_on_hosts: int
    worst_case: int
    worst_case_percent: float
    warning_from: int
    growth: int | None
    days_until_warning: float | None


class ProcessorFigures(Wire):
    """`total`, `used`: MHz. `rate`: vCPUs of running machines for each core; `limit`: vCPUs that may run, null for any number."""

    total: int
    used: int
    cores: int
    vcpus: int
    rate: float
    limit: int | None


class PressedMachine(Wire):
    """`steal`: per cent of the time in which its processors waited for one of the blade's. `swapping`: bytes a second that its guest
    swaps. `ballooned`: bytes that its guest gave back. Seen in the latest look."""

    virtual_machine: Reference
    host: Reference | None
    memory: int
    resident: int
    cpu: int
    steal: int
    swapping: int
    ballooned: int


class PressureWire(Wire):
    host_cluster: Reference
    memory: MemoryFigures
    cpu: ProcessorFigures
    virtual_machines: list[PressedMachine]


def pressure_wire(found: Pressure, blades: Mapping[str, Reference]) -> PressureWire:
    cores, growth = found.model.cores * found.blades, found.growth
    return PressureWire(
        host_cluster=Reference(id=found.cpool.id, name=found.cpool.name),
        memory=MemoryFigures(
            allocated=found.allocated,
            reserved=found.given,
            consumed_by_machines=found.consumed,
            consumed_on_hosts=found.consumed_on_blades,
            worst_case=found.worst_case,
            worst_case_percent=round(found.worst_case * 100 / found.allocated, 1) if found.allocated else 0.0,
            warning_from=WARNED_FROM,
            growth=round(growth) if growth is not None else None,
            days_until_warning=found.days_until_warning,
        ),
        cpu=ProcessorFigures(
            total=int(found.model.base_ghz * 1000) * cores,
            used=sum(machine.cpu for machine in found.machines),
            cores=cores,
            vcpus=found.vcpus,
            rate=round(found.vcpus / cores, 2) if cores else 0.0,
            limit=found.vcpu_limit,
        ),
        virtual_machines=[
            PressedMachine(
                virtual_machine=Reference(id=machine.id, name=machine.name),
                host=blades.get(machine.blade),
                memory=machine.given,
                resident=machine.resident,
                cpu=machine.cpu,
                steal=machine.steal,
                swapping=machine.swap,
                ballooned=machine.balloon,
            )
            for machine in found.machines
        ],
    )
