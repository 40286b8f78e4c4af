"""Looks at what volumes and disks do: once a period by the leading controller, every blade and array beside the others.

Requests of guests are counted by the blades' QEMU, at the guests' devices: what waits for a volume's limit is in their latency.
What the device below a volume does, copies included, is counted by the kernel of its array. No volume's daemon is asked.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import sqlalchemy as sa
import structlog

from naos.activity import Engine
from naos.activity.watch import Watch
from naos.engines.errors import EngineError
from naos.engines.ports import IoCounters
from naos.fleet.models import Blade
from naos.lifecycle import Lifecycle
from naos.storage import figures
from naos.storage.figures import Work
from naos.storage.models import Disk, Lun
from naos.world import World

_CONDENSE_EVERY = 60.0  # seconds
_log = structlog.get_logger()
Counters = Mapping[str, IoCounters]


class VolumeSampler(Watch):
    """Keeps the counters of the last look. Whoever does not answer is left out, and so are the volumes that it has disks of."""

    name = "volume sampler"

    def __init__(self, world: World, engine: Engine, *, period: float = figures.PERIOD) -> None:
        super().__init__(engine, period)
        self._world = world
        self._disks: dict[str, tuple[float, IoCounters]] = {}  # disk id -> when, counters
        self._devices: dict[str, tuple[float, IoCounters]] = {}  # volume id -> when, counters
        self._condensed = 0.0

    def rest(self) -> None:
        self._disks, self._devices = {}, {}

    def look(self) -> None:
        """One round."""
        with self._world.database.read() as session:
            pooled = session.execute(sa.select(Blade.name, Blade.connected).where(Blade.cpool_id.is_not(None))).all()
            served = session.execute(sa.select(Lun.id, Lun.array).where(Lun.lifecycle == Lifecycle.ACTIVE))
            luns = {lun_id: array for lun_id, array in served}  # noqa: C416 - rows are no pairs for mypy
            used = session.execute(sa.select(Disk.id, Disk.lun_id).where(Disk.exported.is_(True)))
            disks = {disk_id: lun_id for disk_id, lun_id in used}  # noqa: C416
        rack, blades = self._world.rack, [name for name, connected in pooled if connected]
        calls: list[tuple[str, Callable[[], Counters]]] = [
            *((f"blade {name}", rack.hypervisor(name).disk_counters) for name in (blades if disks else ())),
            *((f"array {name}", rack.array(name).device_counters) for name in sorted(set(luns.values()))),
        ]
        if not calls:
            return
        with ThreadPoolExecutor(max_workers=min(len(calls), 16), thread_name_prefix="volume sampler") as pool:
            answers = dict(zip([name for name, _ in calls], pool.map(_answer, calls), strict=True))
        found = self._work(disks, answers, all_blades=len(blades) == len(pooled))
        found = {object_id: work for object_id, work in found.items() if object_id in luns or work.requests}
        moment = datetime.now(UTC)
        with self._world.database.write() as session:
            figures.record(session, moment, found)
            if time.monotonic() - self._condensed > _CONDENSE_EVERY:
                self._condensed = time.monotonic()
                figures.condense(session, moment)

    def _work(
        self, disks: Mapping[str, str], answers: Mapping[str, Counters | None], *, all_blades: bool
    ) -> dict[str, Work]:
        """By id of volume or disk, what was done since the look before. A volume's requests are its disks'."""
        silent = not all_blades or any(answer is None for name, answer in answers.items() if name.startswith("blade "))
        told = set[str]().union(*(counters for _, counters in _known(answers, "blade")))
        unknown = {lun_id for disk_id, lun_id in disks.items() if silent and disk_id not in told}
        now, found = time.monotonic(), dict[str, Work]()
        by_lun: dict[str, list[Work]] = {}
        for _, counters in _known(answers, "blade"):
            for disk_id in counters.keys() & disks.keys():
                then, before = self._disks.get(disk_id, (now, None))
                self._disks[disk_id] = (now, counters[disk_id])
                if before is not None:
                    found[disk_id] = figures.since(before, counters[disk_id], now - then)
                    by_lun.setdefault(disks[disk_id], []).append(found[disk_id])
        for _, counters in _known(answers, "array"):
            for lun_id, counted in counters.items():
                then, earlier = self._devices.get(lun_id, (now, counted))
                self._devices[lun_id] = (now, counted)
                if now > then and lun_id not in unknown:
                    device = figures.since(earlier, counted, now - then)
                    found[lun_id] = replace(
                        figures.together(by_lun.get(lun_id, [Work(0)]), now - then),
                        device_operations=device.requests,
                        device_bytes=device.read_bytes + device.write_bytes,
                        device_nanoseconds=device.nanoseconds,
                    )
        for disk_id in self._disks.keys() - disks.keys():
            del self._disks[disk_id]
        return found


def _known(answers: Mapping[str, Counters | None], kind: str) -> Iterable[tuple[str, Counters]]:
    for name, counters in answers.items():
        if counters is not None and name.startswith(f"{kind} "):
            yield name.partition(" ")[2], counters


def _answer(call: tuple[str, Callable[[], Counters]]) -> Counters | None:
    """None from who does not answer."""
    try:
        return call[1]()
    except EngineError as error:
        _log.info("volume_sampler.silent", who=call[0], reason=str(error))
    except Exception:
        _log.exception("volume_sampler.call_failed", who=call[0])
    return None
