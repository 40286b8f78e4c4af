"""Where a machine could start, told beforehand and chosen by clients; and the plan of a start."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.compute import choosing, hooks, machines
from naos.compute.configuration_errors import BootOptionRefused, RecommendationForeign
from naos.compute.errors import PoolFull
from naos.compute.firmware import EFI
from naos.compute.models import Power, VirtualMachine
from naos.compute.placement import judge, ranked
from naos.fleet import cpools
from naos.fleet.models import Blade, Cpool
from naos.world import World


@dataclass(frozen=True)
class Recommendation:
    """A blade with room for the machine; `key` is its number among the cpool's blades, from 1, by name."""

    key: int
    blade: Blade
    cpool: Cpool


@dataclass(frozen=True)
class Choice:
    """What a client took from the recommendations, or named itself; empty texts say nothing."""

    key: int | None = None
    cpool_id: str = ""
    blade_id: str = ""


def recommendations(session: Session, world: World, machine: VirtualMachine) -> list[Recommendation]:
    """The blades on which a stopped machine could start now: the one that naos would choose first. None for a running one."""
    if machine.power == Power.RUNNING:
        return []
    cpool = session.get_one(Cpool, machine.cpool_id)
    try:
        choosing.check_pool(session, cpool, machine, machine.memory)
    except PoolFull:
        return []
    need = choosing.need_of(session, machine)
    verdicts = [judge(candidate, need) for candidate in choosing.candidates(session, world, cpool, machine.id)]
    numbered = {blade.name: (key, blade) for key, blade in _numbered(session, cpool)}
    return [Recommendation(*numbered[verdict.blade], cpool) for verdict in ranked(verdicts) if verdict.fits]


def _numbered(session: Session, cpool: Cpool) -> Sequence[tuple[int, Blade]]:
    return list(enumerate(cpools.blades_of(session, [cpool.id]), start=1))


def plan_power_on(
    session: Session, tenant_id: str, machine_id: str, *, choice: Choice | None = None, setup: bool = False
) -> Plan:
    """Start a machine; one that runs is left alone. Raises what the start conditions raise, BootOptionRefused for a setup that its
    firmware does not have, RecommendationForeign, BladeForeign."""
    machine = machines.find(session, tenant_id, machine_id)
    if machine.power != Power.RUNNING:
        hooks.check_start(session, machine)
    if setup and machine.firmware != EFI:
        reason = (
            "its BIOS (SeaBIOS) has no setup; choose the firmware efi, or set bootDelay to reach the boot menu with Esc"
        )
        raise BootOptionRefused(machine.name, "forceEnterBIOS", "true", reason)
    blade, only = _chosen(session, machine, choice or Choice())
    arguments = {"blade": blade, "only": only, "setup": setup}
    return machines.plan(session, machine, "virtual_machine.power_on", f"Power on {machine.name}", arguments=arguments)


def _chosen(session: Session, machine: VirtualMachine, choice: Choice) -> tuple[str | None, bool]:
    """The blade's name, and whether it must be that one."""
    cpool = session.get_one(Cpool, machine.cpool_id)
    if choice.cpool_id not in ("", cpool.id):
        raise RecommendationForeign(str(choice.key), machine.name, cpool.name)
    if choice.blade_id:
        return machines.blade_name(session, cpool, choice.blade_id), True
    if choice.key is None:
        return None, False
    found = {key: blade.name for key, blade in _numbered(session, cpool)}
    if choice.key not in found:
        raise RecommendationForeign(str(choice.key), machine.name, cpool.name)
    return found[choice.key], False
