"""What the firmware of EFI machines has stored: kept with the machine when it stops, brought along when it starts."""

import base64
import zlib

import sqlalchemy as sa
import structlog

from naos.compute.models import Power, VirtualMachine
from naos.engines.errors import EngineError, Unreachable
from naos.world import World

EFI = "efi"
log = structlog.get_logger()


def keep(world: World, machine_id: str) -> None:
    """Read what the firmware stored on the blade where the machine was; nothing there leaves what was kept before."""
    columns = (VirtualMachine.firmware, VirtualMachine.blade, VirtualMachine.power)
    with world.database.read() as session:
        firmware, blade, power = session.execute(sa.select(*columns).where(VirtualMachine.id == machine_id)).one()
    if firmware != EFI or blade is None:
        return
    try:
        content = world.rack.hypervisor(blade).variables(machine_id)
    except EngineError as error:
        if isinstance(error, Unreachable) and power != Power.STOPPED:
            raise
        log.warning("machine.variables_lost", machine=machine_id, blade=blade, reason=str(error))
        return
    packed = base64.b64encode(zlib.compress(content, 9)).decode("ascii")
    with world.database.write() as session:
        session.execute(sa.update(VirtualMachine).where(VirtualMachine.id == machine_id).values(nvram=packed))


def bring(world: World, machine_id: str, blade: str, *, setup: bool) -> None:
    """Put what was kept, or fresh variables, on the blade where the machine is about to start. setup: it goes into the
    firmware's own screens, as it does when the machine is set so."""
    machine = VirtualMachine
    columns = (machine.firmware, machine.secure_boot, machine.enter_setup, machine.nvram)
    with world.database.read() as session:
        firmware, secure, always, packed = session.execute(sa.select(*columns).where(machine.id == machine_id)).one()
    if firmware != EFI:
        return
    content = zlib.decompress(base64.b64decode(packed)) if packed else b""
    world.rack.hypervisor(blade).put_variables(machine_id, content, secure=secure, setup=setup or always)
