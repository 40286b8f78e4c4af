"""What is set aside on volumes: swap files of running machines and emergency reserves, in the tables and on the array."""

from collections.abc import Iterator

from naos.compute import swapping
from naos.compute.models import Power
from naos.doctor.findings import Finding
from naos.doctor.snapshot import Tables
from naos.engines.errors import EngineError
from naos.engines.ports import LunContents
from naos.storage import swap
from naos.world import World


def differences(world: World, tables: Tables, lun_id: str, contents: LunContents) -> Iterator[Finding]:
    """Both directions. Nothing is stored in these files, so that making and removing them loses nothing."""
    present = set(contents.aside)
    noted = {machine_id for machine_id, volume in tables.swap_files if volume == lun_id}
    needed = {
        machine.id
        for machine in tables.machines.values()
        if machine.lun_id == lun_id
        and machine.power == Power.RUNNING
        and swap.size_for(machine.memory, machine.memory_reservation)
    }
    for machine_id in sorted(needed - (present & noted)):
        if not tables.is_moving("virtual_machine", machine_id):
            sentence = f"machine {machine_id} runs without a swap file on volume {lun_id}"
            yield Finding("swap.missing", machine_id, sentence, "set it aside", "swap.fit", {"machine_id": machine_id})
    policy = tables.policies.get(lun_id)
    wanted = policy is not None and policy.reserve and not policy.released
    if bool(wanted) != (lun_id in present):
        words = "lacks its emergency reserve" if wanted else "keeps a reserve that is not wanted"
        repair = "bring it to what is configured"
        yield Finding("reserve.differs", lun_id, f"volume {lun_id} {words}", repair, "reserve.fit", {"lun_id": lun_id})
    for holder in sorted((present | noted) - needed - {lun_id}):
        if not tables.is_moving("virtual_machine", holder) and not _may_be_used(world, holder, lun_id):
            sentence = f"volume {lun_id} keeps a swap file for {holder}, which does not run there"
            arguments = {"machine_id": holder, "lun_id": lun_id}
            yield Finding("swap.orphan", holder, sentence, "give its space back", "swap.drop", arguments)


def _may_be_used(world: World, machine_id: str, lun_id: str) -> bool:
    """Of a guest that runs unseen, and of one on a blade that does not answer, which is a finding of its own."""
    try:
        return swapping.is_used(world, machine_id, lun_id)
    except EngineError:
        return True
