"""A simulated rack: every port of `engines.ports`, with no machine, disk or cable behind it.

For tests of the controller at scale and under crashes. It says what it is: its blades report the acceleration "simulated".
"""

from naos.engines.simulated.faults import Faults
from naos.engines.simulated.rack import SimulatedRack

__all__ = ["Faults", "SimulatedRack"]
