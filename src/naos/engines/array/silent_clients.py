"""Clients of a volume that say nothing more in the middle of a request, as a blade does that is cut off or stands still.

Whatever QEMU changes at a disk, it first waits for the requests under way, those too that are half received or whose answer is half
sent; it hears nobody meanwhile, neither its monitor nor any other client of the volume, for as long as the kernel keeps the connection: a
quarter of an hour, or for ever. So who waits for the monitor's answer breaks the connections then. Nothing is lost: what was not answered
is asked again by whoever is still there, over a new connection, or its guest stands still at it until naos lets it go on.
"""

from pathlib import Path

import structlog

from naos.engines.array import deaf
from naos.engines.array.places import Place
from naos.engines.errors import EngineError

PATIENCE = 2.0
"""Seconds that an answer may take before anyone looks why."""
_GREETING = 1.5  # seconds
_log = structlog.get_logger()


def cut_off(place: Place) -> None:
    """Break the connections of the volume's clients if its daemon waits for one of them and does nothing else."""
    argv = ("python3", "-I", "-S", "-c", Path(deaf.__file__).read_text(encoding="utf-8"))
    try:
        done = place.run(*argv, place.pid_file, f"{min(_GREETING, PATIENCE):g}", check=False)
    except EngineError as error:
        _log.warning("array.not_looked_at", array=place.where, lun=place.lun_id, reason=str(error))
        return
    if broken := done.stdout.split():
        _log.warning("array.clients_cut_off", array=place.where, lun=place.lun_id, clients=broken)
