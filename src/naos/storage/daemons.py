"""Bringing a volume's daemon back, and with it what its death has left behind."""

import time

import structlog

from naos.engines.errors import EngineError
from naos.engines.ports import NbdAddress
from naos.storage import luns
from naos.storage.models import Lun
from naos.world import World

_log = structlog.get_logger()


def ensure(world: World, lun_id: str) -> bool:
    """Bring the daemon back with every limit and export that the tables have. True when it had been away."""
    began = time.monotonic()
    array, wanted = luns.spec(world, lun_id)
    if not world.rack.array(array).ensure_daemon(wanted, luns.exported(world, lun_id)):
        return False
    _let_go(world, lun_id, luns.address(world, array, wanted, ""), time.monotonic() - began)
    return True


def _let_go(world: World, lun_id: str, where: NbdAddress, silent: float) -> None:
    """Have no guest wait for an answer of the daemon that died. silent: seconds, less than any connection to it has been."""
    with world.database.read() as session:
        lun = session.get(Lun, lun_id)
        blades = luns.blades(session, lun) if lun is not None else []
    for blade in blades:
        try:
            broken = world.rack.hypervisor(blade).let_go(where.host, where.port, silent)
        except EngineError as error:
            _log.warning("volume.blade_not_asked", lun=lun_id, blade=blade, reason=str(error))
        else:
            if broken:
                _log.warning("volume.stale_connections_broken", lun=lun_id, blade=blade, connections=broken)
