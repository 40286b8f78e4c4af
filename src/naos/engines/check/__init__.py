"""Has every host of an inventory what naos needs? Only looks; nothing on a host is changed."""

from naos.engines.check.inspection import check_inventory
from naos.engines.check.report import Fault, HostReport

__all__ = ["Fault", "HostReport", "check_inventory"]
