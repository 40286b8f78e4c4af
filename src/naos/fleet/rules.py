"""What may be done with cpools: pure functions of plain values."""

from naos.fleet.errors import BladeCount, BladesMissing, PoolMemory
from naos.units import size_text


def check_blade_count(count: int, *, maximum: int) -> None:
    """Raises BladeCount outside 1 to `maximum` (product rule: 32)."""
    if not 1 <= count <= maximum:
        raise BladeCount(count, maximum)


def choose_blades(zone: str, model: str, free: list[str], wanted: int) -> list[str]:
    """The first `wanted` free blades by name. Raises BladesMissing."""
    if len(free) < wanted:
        raise BladesMissing(zone, model, len(free), wanted)
    return sorted(free)[:wanted]


def check_memory(model: str, blades: int, wanted: int, *, floor: int, ceiling: int) -> None:
    """Raises PoolMemory unless floor <= wanted <= ceiling (bytes; product rule: blades x 128 GB to blades x physical)."""
    if not floor <= wanted <= ceiling:
        raise PoolMemory(size_text(wanted), blades, model, size_text(floor), size_text(ceiling))
