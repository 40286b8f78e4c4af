"""What may be done with cpools: pure functions of plain values."""

from collections.abc import Sequence

from naos.fleet.errors import BladeCount, BladesMissing, PoolMemory, PoolSetting, PoolShrink
from naos.fleet.models import Maintenance
from naos.units import size_text

MOST_VCPUS_PER_CORE = 64
WARNED_FROM, ALARMED_FROM = 85, 95
"""Percent of the average memory of a blade."""


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


def joined_memory(enabled: int, *, before: int, count: int, floor: int, ceiling: int) -> int:
    """Bytes enabled when `count` blades join `before`: each brings what is included with it. floor, ceiling: of all of them."""
    included = floor // (before + count)
    return min(max(enabled + count * included, floor), ceiling)


def left_memory(enabled: int, *, before: int, floor: int, ceiling: int) -> int:
    """Bytes enabled when one of `before` blades leaves: what was included with it goes. floor, ceiling: of those that stay."""
    included = floor // (before - 1)
    return min(max(enabled - included, floor), ceiling)


def lent_memory(memory: int, overcommit: int) -> int:
    """Bytes that machines may be given of `memory`. overcommit: percent."""
    return memory * overcommit // 100


def vcpu_limit(cores: int, rate: int | None) -> int | None:
    """vCPUs that may run on a blade of so many cores. rate: for every hundred cores."""
    return None if rate is None else cores * rate // 100


def check_vcpu_rate(cpool: str, rate: int | None, *, cores: int) -> None:
    """Raises PoolSetting unless at least one vCPU may run on a blade, and at most 64 for each core."""
    if rate is not None and not (cores * rate >= 100 and rate <= MOST_VCPUS_PER_CORE * 100):
        told = f"a vCPU rate of {rate / 100:g} for each of a blade's {cores} cores"
        raise PoolSetting(cpool, told, f"a rate of 1 vCPU for a whole blade to {MOST_VCPUS_PER_CORE} for each core")


def check_overcommit(cpool: str, overcommit: int) -> None:
    """Raises PoolSetting outside 1 to 2 times the memory."""
    if not 100 <= overcommit <= 200:
        raise PoolSetting(cpool, f"an over-commit of memory of {overcommit / 100:g}", "1 (none) to 2")


def check_remaining(
    cpool: str, what: str, *, allowed: int, used: int, machines: Sequence[tuple[str, int]], sized: bool = True
) -> None:
    """Raises PoolShrink when what runs has more than what stays, naming the machines, the largest first.

    machines: name and share of each. sized: the numbers are bytes.
    """
    if used <= allowed:
        return

    def told(value: int) -> str:
        return size_text(value) if sized else str(value)

    ordered = sorted(machines, key=lambda machine: (-machine[1], machine[0]))
    names = [f"{name} ({told(share)})" for name, share in ordered[:10]]
    more = f" and {len(ordered) - 10} more" if len(ordered) > 10 else ""
    raise PoolShrink(cpool, what, told(allowed), told(used), ", ".join(names) + more)


def resting(maintenance: str) -> str:
    """Why a blade takes no machine, by its `Maintenance`; "" for an open one."""
    if maintenance == Maintenance.OPEN:
        return ""
    return "in maintenance" if maintenance == Maintenance.RESTING else "being emptied for maintenance"


def alarm(*, used: int, enabled: int) -> str | None:
    """`yellow` above 85 % of the memory, `red` above 95 %, as an average over the blades. None below."""
    percent = used * 100 / enabled if enabled else 0.0
    if percent > ALARMED_FROM:
        return "red"
    return "yellow" if percent > WARNED_FROM else None
