"""Changes of cpools on the wire."""

from typing import Annotated, Any, Literal

from pydantic import Field

from naos.wire import Request, Whole

Rate = Annotated[float, Field(gt=0, le=64, allow_inf_nan=False)]
_COLUMNS = {
    "memory": "memory",
    "vcpu_rate": "vcpu_rate",
    "memory_overcommit": "memory_overcommit",
    "automation_level": "automation",
    "balance_threshold": "balance_threshold",
}
_HUNDREDTHS = ("vcpu_rate", "memory_overcommit")


class PoolChange(Request):
    """What is left out stays as it is."""

    memory: Whole = Field(default=0, description="Bytes to enable in all.")
    vcpu_rate: Rate | None = Field(
        default=None, description="vCPUs that may run for each core of a blade; null for any number."
    )
    memory_overcommit: Rate = Field(
        default=1.0, description="Memory that machines may be given, 1 to 2 times what there is."
    )
    automation_level: Literal["manual", "partial", "full"] = Field(
        default="manual",
        description="Who moves machines: nobody (manual), naos where an affinity rule is broken (partial), also for balance (full).",
    )
    balance_threshold: Annotated[int, Field(strict=True, ge=5, le=100)] = Field(
        default=20,
        description="Percentage points between the fullest and the emptiest blade that are still in balance.",
    )

    def changes(self) -> dict[str, Any]:
        """Columns of what was sent; rates in hundredths."""
        found: dict[str, Any] = {}
        for name in sorted(self.model_fields_set):
            value = getattr(self, name)
            rounded = round(value * 100) if name in _HUNDREDTHS and value is not None else value
            found[_COLUMNS[name]] = rounded
        return found


class Joining(Request):
    """`hosts`: how many free blades. `memory`: bytes to enable in all afterwards; left out, each brings what is included with it."""

    hosts: Whole = 1
    memory: Whole | None = None
