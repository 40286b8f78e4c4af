"""Power control."""

from enum import StrEnum
from typing import Protocol


class BladePower(StrEnum):
    ON = "on"
    OFF = "off"
    CHANGING = "changing"


class Chassis(Protocol):
    """Power control of one blade."""

    name: str

    def power(self) -> BladePower: ...
    def on(self) -> None: ...
    def off(self) -> None:
        """Cut the power and return when the blade is certainly off."""

    def reset(self) -> None: ...
