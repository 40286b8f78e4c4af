"""Blades whose maintenance stands half-way, and nothing works on it."""

from collections.abc import Iterator

from naos.doctor.findings import Finding
from naos.doctor.snapshot import Tables
from naos.fleet.models import Maintenance


def unfinished(tables: Tables) -> Iterator[Finding]:
    for blade in tables.blades:
        if blade.maintenance in (Maintenance.ENTERING, Maintenance.CANCELLING) and not tables.is_moving(
            "blade", blade.name
        ):
            sentence = f"blade {blade.name} is {blade.maintenance} maintenance and no activity works on it"
            arguments = {"blade": blade.name}
            yield Finding("blade.stuck", blade.name, sentence, "let it take machines again", "blade.reopen", arguments)
