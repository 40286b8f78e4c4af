"""Refusals for want of space."""

from dataclasses import dataclass
from typing import ClassVar, Self

from naos.errors import NaosError
from naos.units import size_text


@dataclass(eq=False)
class SwapRoom(NaosError):
    """`size`: of the whole swap file; `needed`: what is not set aside for it yet."""

    code: ClassVar[str] = "storage.swap_room"
    status: ClassVar[int] = 507
    sentence: ClassVar[str] = (
        "Machine {machine!r} needs a swap file of {size} on volume {volume!r}, its memory less what is reserved of it; {free} are free "
        "there and {needed} are needed: {missing} are missing. The swap files of {others} other machines there have {taken}. Grow the "
        "volume, free space on it, stop another machine, or raise the machine's memory reservation."
    )
    machine: str
    volume: str
    size: str
    needed: str
    free: str
    missing: str
    others: int
    taken: str

    @classmethod
    def of(cls, machine: str, volume: str, *, size: int, needed: int, free: int, others: int, taken: int) -> Self:
        """Numbers in bytes."""
        missing = size_text(max(needed - free, 0))
        return cls(
            machine, volume, size_text(size), size_text(needed), size_text(free), missing, others, size_text(taken)
        )
