"""A simulated chassis: the power of one blade, reachable whatever the blade does."""

from naos.engines.ports import BladePower
from naos.engines.simulated import guests
from naos.engines.simulated.calls import SimulatedEngine
from naos.engines.simulated.store import Db


class SimulatedChassis(SimulatedEngine):
    port = "chassis"

    def power(self) -> BladePower:
        with self._call("power", in_band=False) as db:
            row = db.execute("SELECT powered FROM engines WHERE name = ?", (self.name,)).fetchone()
        return BladePower.ON if row["powered"] else BladePower.OFF

    def on(self) -> None:
        with self._call("on", in_band=False) as db:
            self._switch_on(db)

    def off(self) -> None:
        with self._call("off", in_band=False) as db:
            guests.lose_power(db, self.name)

    def reset(self) -> None:
        """Off and on again; a blade that is off is switched on."""
        with self._call("reset", in_band=False) as db:
            guests.lose_power(db, self.name)
            self._switch_on(db)

    def _switch_on(self, db: Db) -> None:
        db.execute("UPDATE engines SET powered = 1, boots = boots + 1 - powered WHERE name = ?", (self.name,))
