"""Blades whose maintenance stands half-way, and nothing works on it; guests there that may stand frozen."""

from collections.abc import Iterator

from naos.doctor.findings import Finding
from naos.doctor.snapshot import Tables
from naos.fleet.models import Maintenance
from naos.world import World


def unfinished(tables: Tables) -> Iterator[Finding]:
    for blade in tables.blades:
        if blade.maintenance in (Maintenance.ENTERING, Maintenance.CANCELLING) and not tables.is_moving(
            "blade", blade.name
        ):
            sentence = f"blade {blade.name} is {blade.maintenance} maintenance and no activity works on it"
            arguments = {"blade": blade.name}
            yield Finding("blade.stuck", blade.name, sentence, "let it take machines again", "blade.reopen", arguments)


def stuck(world: World, tables: Tables, blade: str) -> Iterator[Finding]:
    for machine_id in world.rack.hypervisor(blade).stuck():
        if tables.is_moving("virtual_machine", machine_id):
            continue
        machine = tables.machines.get(machine_id)
        sentence = (
            f"the guest of {machine.name if machine else machine_id} on {blade} may stand frozen: it was brought to rest for a snapshot or a "
            "backup, its agent does not answer, its kernel did not obey its keyboard, and it has written nothing since"
        )
        repair = "look at its console; `naos vm reset` ends it, and `kernel.sysrq = 502` in the guest keeps it from coming again"
        yield Finding("guest.frozen", machine_id, sentence, repair)
