"""Tags: words that people put on their objects, one value for each key of an object."""

from naos.tags.kinds import Kind, register
from naos.tags.storage import forget

__all__ = ["Kind", "forget", "register"]
