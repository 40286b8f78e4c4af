"""What the doctor says: one sentence for each difference between the tables and the world, and its repair."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """A difference.

    kind: stable symbol such as ``domain.orphan``. subject: the object's id or name. repair: what would mend it, in words.
    action: name of the registered repair that does so, with its `arguments`; empty when only a person can decide.
    safe: the repair cannot lose data.
    """

    kind: str
    subject: str
    sentence: str
    repair: str
    action: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def safe(self) -> bool:
        return bool(self.action)
