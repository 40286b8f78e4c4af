"""What running machines use: looked at once in a while by the leading controller, a blade at a time, and kept for the lists."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
import structlog

from naos.activity import Engine
from naos.compute.models import MachineSample, Power, VirtualMachine
from naos.engines.errors import EngineError
from naos.engines.ports import DomainSample
from naos.fleet.models import Blade
from naos.world import World

PERIOD_SECONDS = 15.0
_log = structlog.get_logger()


@dataclass(frozen=True)
class Look:
    """One look at a machine: when (a clock that never stands back), and the processor time that it had spent."""

    at: float
    spent: int


def megahertz(before: Look | None, now: Look, *, mhz: int) -> int:
    """What a machine used on average since the look before: a processor that was never idle counts `mhz`. 0 without a look before,
    or when it has been started anew."""
    if before is None or now.spent < before.spent or now.at <= before.at:
        return 0
    return round((now.spent - before.spent) / 1e9 / (now.at - before.at) * mhz)


class Sampler:
    """Looks once a period while its controller leads. A blade that does not answer keeps its machines' last samples."""

    def __init__(self, world: World, engine: Engine, *, period: float = PERIOD_SECONDS) -> None:
        self._world, self._engine, self._period = world, engine, period
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="sampler", daemon=True)
        self._looks: dict[str, Look] = {}
        self._versions: dict[str, str] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stop.wait(self._period):
            if self._engine.is_leader():
                self.look()

    def look(self) -> None:
        """One round over every blade that carries machines; slow blades hold up nobody but themselves."""
        with self._world.database.read() as session:
            running = sa.select(VirtualMachine.blade).where(VirtualMachine.power == Power.RUNNING).distinct()
            blades = session.execute(sa.select(Blade.name, Blade.model).where(Blade.name.in_(running))).all()
        if not blades:
            return
        with ThreadPoolExecutor(max_workers=min(len(blades), 16), thread_name_prefix="sampler") as pool:
            list(pool.map(lambda row: self._look_at(row[0], row[1]), blades))

    def _look_at(self, blade: str, model: str) -> None:
        try:
            self._sample(blade, model)
        except EngineError as error:
            _log.info("sampler.blade_silent", blade=blade, reason=str(error))
        except Exception:
            _log.exception("sampler.look_failed", blade=blade)

    def _sample(self, blade: str, model: str) -> None:
        found = self._world.rack.hypervisor(blade).samples()
        known = self._world.blades.models.get(model)
        mhz = int(known.base_ghz * 1000) if known is not None else 0
        rows = {}
        for machine_id, sample in found.items():
            now = Look(time.monotonic(), sample.cpu_time_ns)
            used = megahertz(self._looks.get(machine_id), now, mhz=mhz)
            self._looks[machine_id] = now
            rows[machine_id] = (used, sample, self._version(blade, machine_id, sample))
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

    def _keep(self, found: dict[str, tuple[int, DomainSample, str]]) -> None:
        with self._world.database.write() as session:
            own = set(session.scalars(sa.select(VirtualMachine.id).where(VirtualMachine.id.in_(found))))
            for machine_id in own:
                used, sample, version = found[machine_id]
                row = session.get(MachineSample, machine_id) or MachineSample(machine_id=machine_id, version="")
                row.cpu, row.memory, row.seen_at = used, sample.memory, datetime.now(UTC)
                row.tools = bool(version)
                row.version = version or row.version
                session.add(row)
