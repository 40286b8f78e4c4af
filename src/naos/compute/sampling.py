"""What running machines use: looked at once in a while by the leading controller, a blade at a time, and kept for the lists."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
import structlog

from naos.activity import Engine
from naos.activity.watch import Watch
from naos.compute import pressure
from naos.compute.models import MachineSample, Power, VirtualMachine
from naos.engines.errors import EngineError
from naos.engines.ports import DomainSample
from naos.fleet.models import Blade
from naos.world import World

PERIOD_SECONDS = 15.0
_log = structlog.get_logger()


@dataclass(frozen=True)
class Look:
    """One look at a machine: when (a clock that never stands back), the processor time that it had spent, how long its processors
    had waited for one of the blade's (nanoseconds), and the bytes that its guest had swapped."""

    at: float
    spent: int
    waited: int = 0
    swapped: int = 0


def megahertz(before: Look | None, now: Look, *, mhz: int) -> int:
    """What a machine used on average since the look before: a processor that was never idle counts `mhz`. 0 without a look before,
    or when it has been started anew."""
    if before is None or now.spent < before.spent or now.at <= before.at:
        return 0
    return round((now.spent - before.spent) / 1e9 / (now.at - before.at) * mhz)


def steal(before: Look | None, now: Look) -> int:
    """Per cent of the time since the look before in which the machine's processors waited for one of the blade's."""
    return round(_rate(before, now, "waited") / 1e9 * 100)


def swapping(before: Look | None, now: Look) -> int:
    """Bytes a second that the guest has swapped since the look before."""
    return round(_rate(before, now, "swapped"))


def _rate(before: Look | None, now: Look, what: str) -> float:
    """A counter's growth a second; 0 without a look before, or when it has begun anew."""
    grown = getattr(now, what) - getattr(before, what) if before is not None and now.at > before.at else 0
    return grown / (now.at - before.at) if before is not None and grown > 0 else 0.0


class Sampler(Watch):
    """Looks once a period while its controller leads. A blade that does not answer keeps its machines' last samples."""

    name = "sampler"

    def __init__(self, world: World, engine: Engine, *, period: float = PERIOD_SECONDS) -> None:
        super().__init__(engine, period)
        self._world = world
        self._looks: dict[str, Look] = {}
        self._versions: dict[str, str] = {}
        self._noted: datetime | None = None

    def look(self) -> None:
        """One round over every blade that carries machines; slow blades hold up nobody but themselves."""
        self._note_memory()
        with self._world.database.read() as session:
            running = sa.select(VirtualMachine.blade).where(VirtualMachine.power == Power.RUNNING).distinct()
            blades = session.execute(sa.select(Blade.name, Blade.model).where(Blade.name.in_(running))).all()
        if not blades:
            return
        with ThreadPoolExecutor(max_workers=min(len(blades), 16), thread_name_prefix="sampler") as pool:
            list(pool.map(lambda row: self._look_at(row[0], row[1]), blades))

    def _note_memory(self) -> None:
        """What each cpool has given to machines, once an hour."""
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        if hour != self._noted:
            with self._world.database.write() as session:
                pressure.note_memory(session, hour)
            self._noted = hour

    def _look_at(self, blade: str, model: str) -> None:
        try:
            self._sample(blade, model)
        except EngineError as error:
            _log.info("sampler.blade_silent", blade=blade, reason=str(error))
        except Exception:
            _log.exception("sampler.look_failed", blade=blade)

    def _sample(self, blade: str, model: str) -> None:
        hypervisor = self._world.rack.hypervisor(blade)
        found, stuck = hypervisor.samples(), set(hypervisor.stuck())
        known = self._world.blades.models.get(model)
        mhz = int(known.base_ghz * 1000) if known is not None else 0
        rows = {}
        for machine_id, sample in found.items():
            before = self._looks.get(machine_id)
            now = Look(time.monotonic(), sample.cpu_time_ns, sample.waited_ns, sample.swapped)
            self._looks[machine_id] = now
            used = {
                "cpu": megahertz(before, now, mhz=mhz),
                "memory": sample.memory,
                "steal": steal(before, now),
                "swap": swapping(before, now),
                "balloon": sample.ballooned,
                "stuck": machine_id in stuck,
            }
            rows[machine_id] = (used, self._version(blade, machine_id, sample))
        self._keep(rows)

    def _version(self, blade: str, machine_id: str, sample: DomainSample) -> str:
        """Asked once for each time that an agent shows itself; an agent that is there and does not answer is none."""
        if not sample.agent:
            self._versions.pop(machine_id, None)
            return ""
        if machine_id not in self._versions:
            try:
                self._versions[machine_id] = self._world.rack.hypervisor(blade).agent_version(machine_id)
            except EngineError:
                return ""
        return self._versions[machine_id]

    def _keep(self, found: dict[str, tuple[dict[str, int], str]]) -> None:
        with self._world.database.write() as session:
            own = set(session.scalars(sa.select(VirtualMachine.id).where(VirtualMachine.id.in_(found))))
            for machine_id in own:
                used, version = found[machine_id]
                row = session.get(MachineSample, machine_id) or MachineSample(machine_id=machine_id, version="")
                for name, value in used.items():
                    setattr(row, name, value)
                row.seen_at = datetime.now(UTC)
                row.tools = bool(version)
                row.version = version or row.version
                session.add(row)
