"""What is asked of guests: to stand still while disks of several volumes are copied, to shut down, to show that they live."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

from naos.compute import steps
from naos.engines.errors import EngineError, Unreachable
from naos.insistence import insist
from naos.protection.copying import Order
from naos.protection.recovery.rules import Check
from naos.world import World

_POLL = 0.25  # seconds
_LOG_BYTES = 2**20


def standing(world: World, wanted: Order, machine_id: str) -> Callable[[], AbstractContextManager[Any]]:
    """Of several volumes no daemon knows of the others: the guest's processors stand still while all copies begin."""
    if len({part.lun_id for part in wanted.parts}) < 2:
        return nullcontext

    @contextlib.contextmanager
    def hold() -> Iterator[None]:
        try:
            running = steps.is_running(world, machine_id)
        except Unreachable:  # nobody can be asked; the copies begin one right after the other
            running = False
        if not running:
            yield
            return
        guest = world.rack.hypervisor(steps.home(world, machine_id))
        try:
            guest.pause(machine_id)
            yield
        finally:
            insist(guest.resume, machine_id)

    return hold


def press_button(world: World, machine_id: str) -> str:
    """Ask a guest to shut down; when, as a time."""
    with contextlib.suppress(EngineError):  # its power is cut afterwards all the same
        steps.press_button(world, machine_id)
    return datetime.now(UTC).isoformat()


def await_end(world: World, machine_id: str, pressed: str, patience: int) -> str:
    """Wait until the guest is off, for `patience` seconds from the button on; then its power is cut by the next step. What it did,
    in words."""
    until = datetime.fromisoformat(pressed) + timedelta(seconds=patience)
    while steps.is_running(world, machine_id):
        if datetime.now(UTC) > until:
            return f"the guest ignored the power button for {patience} s; its power was cut"
        time.sleep(_POLL)
    return "the guest shut down"


def await_life(world: World, machine_id: str, check: str, expects: str, patience: int) -> str:
    """Wait for the sign of life that is asked for; "" when it came, else what is missing."""
    if check == Check.NONE:
        return ""
    until = time.monotonic() + patience
    while True:
        if _lives(world, machine_id, check, expects):
            return ""
        if time.monotonic() > until:
            what = (
                "the guest's agent did not answer"
                if check == Check.AGENT
                else f"{expects!r} did not appear on its console"
            )
            return f"{what} within {patience} s"
        time.sleep(_POLL)


def _lives(world: World, machine_id: str, check: str, expects: str) -> bool:
    try:
        hypervisor = world.rack.hypervisor(steps.home(world, machine_id))
        if check == Check.AGENT:
            return hypervisor.agent_ping(machine_id)
        return expects in hypervisor.serial_log(machine_id, last_bytes=_LOG_BYTES)
    except EngineError:
        return False
