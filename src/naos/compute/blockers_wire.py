"""What stands in the way of moves, on the wire."""

from collections.abc import Mapping

from naos.compute.blockers import Blocker
from naos.compute.preflight import Check
from naos.wire import Reference, Wire


class BlockerWire(Wire):
    """`virtualMachine`: null where it is about the blade alone; `host`: null where it is about every blade. `remedy`: what would help,
    "" where `reason` says it itself."""

    virtual_machine: Reference | None
    host: Reference | None
    rule: str
    reason: str
    remedy: str


class DestinationWire(Wire):
    """`present`: the machine runs there."""

    host: Reference
    possible: bool
    present: bool


class MigrationCheckWire(Wire):
    """`live`: its guest would not notice; a stopped machine only starts there the next time. `possible`: at least one blade takes it.
    `blockers`: every reason against every blade."""

    virtual_machine: Reference
    host_cluster: Reference
    live: bool
    possible: bool
    hosts: list[DestinationWire]
    blockers: list[BlockerWire]


def blocker_wire(blocker: Blocker, blades: Mapping[str, Reference]) -> BlockerWire:
    return BlockerWire(
        virtual_machine=Reference(id=blocker.machine_id, name=blocker.machine) if blocker.machine_id else None,
        host=blades[blocker.blade] if blocker.blade else None,
        rule=blocker.rule,
        reason=blocker.reason,
        remedy=blocker.help,
    )


def check_wire(found: Check, blades: Mapping[str, Reference]) -> MigrationCheckWire:
    return MigrationCheckWire(
        virtual_machine=Reference(id=found.machine.id, name=found.machine.name),
        host_cluster=Reference(id=found.cpool.id, name=found.cpool.name),
        live=found.live,
        possible=found.is_possible,
        hosts=[
            DestinationWire(host=blades[name], possible=found.takes(name), present=name == found.present)
            for name in found.blades
        ],
        blockers=[blocker_wire(blocker, blades) for blocker in found.blockers],
    )
