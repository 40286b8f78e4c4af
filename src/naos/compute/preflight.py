"""Whether a machine could move, looked at beforehand: every reason against every blade at once. Nothing moves.

What a move refuses one by one (`relocation`) is asked here all the same, by the same functions.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute import affinity, blockers, choosing, destinations, hooks, machines, maintenance, relocation
from naos.compute.blockers import Blocker
from naos.compute.models import Power, VirtualMachine
from naos.compute.relocation import Wish
from naos.errors import NaosError
from naos.fleet.models import Blade, Cpool
from naos.lifecycle import check_staying
from naos.world import World


@dataclass(frozen=True)
class Check:
    """blades: names of those that were looked at. present: the one where the machine runs. blockers: those without a blade are in
    the way of every one."""

    machine: VirtualMachine
    cpool: Cpool
    live: bool
    present: str | None
    blades: Sequence[str]
    blockers: Sequence[Blocker]

    def takes(self, blade: str) -> bool:
        """Whether it could go there."""
        return not any(blocker.blade in ("", blade) for blocker in self.blockers)

    @property
    def is_possible(self) -> bool:
        """Whether there is a blade, other than the one where it runs, to which it could go."""
        return any(self.takes(blade) for blade in self.blades if blade != self.present)


def check(session: Session, world: World, tenant_id: str, machine_id: str, blade_id: str | None = None) -> Check:
    """Of one blade, of any of the tenant's cpools, or of every blade of the machine's own. Raises Unknown, NotReady."""
    machine = machines.find(session, tenant_id, machine_id)
    present = session.get_one(Cpool, machine.cpool_id)
    cpool = destinations.pool_of(session, machine, cpool_id=None, blade_id=blade_id, datacenter_id=None)
    only = machines.blade_name(session, cpool, blade_id)
    live, stays = machine.power == Power.RUNNING, cpool.id == present.id
    need = choosing.need_of(session, machine, model=present.model if live else "", devices=stays)
    found = [
        candidate
        for candidate in choosing.candidates(session, world, cpool, machine.id)
        if only in (None, candidate.name)
    ]
    rows = list(_of_every_blade(session, world, machine, present, cpool, blade_id))
    for candidate in found:
        if not (live and candidate.name == machine.blade):  # a move to where it is ends at once
            rows += blockers.on_blade(machine.id, machine.name, candidate, need)
    names = [candidate.name for candidate in found]
    return Check(machine, cpool, live, machine.blade if live else None, names, rows)


def _of_every_blade(
    session: Session, world: World, machine: VirtualMachine, present: Cpool, cpool: Cpool, blade_id: str | None
) -> Iterator[Blocker]:
    """What a move there refuses whichever blade it is, each with its own sentence; and a blade that cannot give it away."""
    home = session.scalar(sa.select(Blade).where(Blade.name == machine.blade))
    if machine.power == Power.RUNNING and home is not None and not home.connected:
        silent = f"{home.name}, where it runs, does not answer"
        yield Blocker(machine.id, machine.name, "", "connection", silent, maintenance.REVIVE)
    wish = Wish(blade_id=blade_id)
    trials: list[Callable[[], object]] = [
        lambda: check_staying("Machine", machine.name, machine.lifecycle),
        lambda: relocation.volumes_of(session, machine, cpool, wish),
        lambda: relocation.networks_of(session, machine, present, cpool, wish),
    ]
    if cpool.id != present.id:
        trials += [
            lambda: affinity.check_leaving(session, machine),
            lambda: machines.check_size(world, cpool, machine.cpu, machine.memory),
        ]
    if cpool.id != present.id and machine.power == Power.RUNNING:
        trials += [
            lambda: choosing.check_pool(session, cpool, machine, machine.memory),
            lambda: hooks.check_memory(session, machine, cpool.id, machine.memory),
        ]
    for trial in trials:
        try:
            trial()
        except NaosError as refusal:
            yield Blocker(machine.id, machine.name, "", refusal.code, str(refusal), "")
