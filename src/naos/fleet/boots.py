"""Whether a blade was booted anew: by an identity that lasts from one boot to the next, and is kept in the tables.

Who looks only now and then cannot see a blade lose its power and come back; that its boot is another one tells it afterwards.
"""

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from naos.engines.errors import EngineError
from naos.fleet.models import BladeBoot
from naos.world import World

KERNEL = "/proc/sys/kernel/random/boot_id"
OWN = "/run/naos-boot-id"
"""Of a host that shares its kernel with others, as the lab's do: it writes one of its own, where no boot leaves anything."""

SECONDS = 10.0
"""How long a blade has to say it."""


def read(world: World, blade: str) -> str:
    """What the blade is booted as now. Raises EngineError when it cannot be asked."""
    host = world.rack.blade_host(blade)
    found = host.run(["cat", KERNEL, OWN], timeout=SECONDS, check=False).stdout.split()
    if not found:
        raise EngineError(blade, "reading what it is booted as", f"neither {KERNEL} nor {OWN} is there")
    return " ".join(found)


def kept(session: Session, blade: str) -> str | None:
    """What it was booted as when that was kept last; None for a blade that is new."""
    row = session.get(BladeBoot, blade)
    return row.boot if row is not None else None


def keep(world: World, blade: str, boot: str) -> None:
    with world.database.write() as session:
        session.merge(BladeBoot(blade=blade, boot=boot, seen_at=datetime.now(UTC)))
