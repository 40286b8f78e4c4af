"""Machines that do not run where they should: what their blade says of it, and whether it was booted anew meanwhile."""

import structlog

from naos.compute.hooks import Loss
from naos.engines.errors import EngineError
from naos.engines.ports import PowerState
from naos.fleet import boots
from naos.world import World

PATIENCE_LOOKS = 30
"""How many looks wait for a blade that runs machines, and cannot yet be asked what it is booted as; then it counts as unchanged."""

_log = structlog.get_logger()


class Boots:
    """Which blades were booted anew since their machines were last seen to. One thread at a time asks about one blade.

    What is kept stays until everything that is missing on the blade has been handed to somebody, so that no controller that dies in
    between takes the knowledge with it.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: set[str] = set()
        self._read: dict[str, str] = {}
        self._unread: dict[str, int] = {}

    def forget(self, blade: str | None = None) -> None:
        """The blade, or every one, is to be asked again at the next look: it did not answer, or somebody else looked."""
        for known in (blade,) if blade is not None else (*self._known, *self._unread):
            self._known.discard(known)
            self._read.pop(known, None)
            self._unread.pop(known, None)

    def is_known(self, blade: str) -> bool:
        """Whether it has answered ever since it was asked."""
        return blade in self._known

    def is_new(self, blade: str) -> bool:
        """Whether `anew` found it booted as something that is not kept yet."""
        return blade in self._read

    def anew(self, blade: str, *, missing: bool) -> bool | None:
        """Whether it was booted anew; None while it cannot be asked. It is asked when something is `missing` there, and at the first
        look."""
        self._read.pop(blade, None)
        if blade in self._known and not missing:
            return False
        try:
            self._read[blade] = boots.read(self._world, blade)
        except EngineError as error:
            self._unread[blade] = self._unread.get(blade, 0) + 1
            if self._unread[blade] <= PATIENCE_LOOKS:
                return None
            _log.warning("blade.boot_unknown", blade=blade, reason=str(error))
            return False
        self._unread.pop(blade, None)
        with self._world.database.read() as session:
            kept = boots.kept(session, blade)
        changed = kept is not None and kept != self._read[blade]
        if changed:
            _log.warning("blade.booted_anew", blade=blade, before=kept, now=self._read[blade])
        if kept == self._read[blade]:
            self._known.add(blade)
            self._read.pop(blade)
        return changed

    def keep(self, blade: str) -> None:
        """Everything that was missing is in somebody's hands, and the rest has run since."""
        boot = self._read.pop(blade, None)
        if boot is not None:
            boots.keep(self._world, blade, boot)
            self._known.add(blade)


def loss(world: World, blade: str, machine_id: str, state: PowerState, *, rebooted: bool) -> Loss:
    """What became of a machine that is missing on its blade. Raises EngineError."""
    ended = state == PowerState.STOPPED and world.rack.hypervisor(blade).was_ended(machine_id)
    return Loss(state, rebooted=rebooted, ended=ended)
