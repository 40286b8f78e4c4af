"""What the database keeps of each blade's load, compared with what the machines add up to."""

from collections.abc import Iterator

from naos.doctor.findings import Finding
from naos.doctor.snapshot import Tables
from naos.units import size_text


def differences(tables: Tables) -> Iterator[Finding]:
    """The loads of blades, and memory that is set aside for moves that do not happen."""
    there, summed = tables.loads["kept"], tables.loads["summed"]
    for blade in sorted(there.keys() | summed.keys()):
        kept, counted = there.get(blade, (0, 0, 0)), summed.get(blade, (0, 0, 0))
        if kept != counted:
            sentence = f"the load of {blade} is kept as {_told(kept)}, and its machines add up to {_told(counted)}"
            yield Finding("blade.load", blade, sentence, "count again", "load.recount", {"blade": blade})
    for machine in tables.machines.values():
        if machine.moving_to and not tables.is_moving("virtual_machine", machine.id):
            sentence = f"machine {machine.name} ({machine.id}) has memory set aside on {machine.moving_to}, and does not move there"
            arguments = {"machine_id": machine.id}
            yield Finding("machine.claim", machine.id, sentence, "give it back", "claim.drop", arguments)


def _told(load: tuple[int, int, int]) -> str:
    return f"{size_text(load[0])}, {load[1]} vCPU(s) of {load[2]} machine(s)"
