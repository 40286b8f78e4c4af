"""Areas above compute may veto a start, and forget a machine together with its rows."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
from simulated_platform import COMPUTE, POWER, Platform
from sqlalchemy.orm import Session

from naos.compute import hooks
from naos.compute.models import VirtualMachine
from naos.errors import NaosError


@dataclass(eq=False)
class NotYet(NaosError):
    code: ClassVar[str] = "test.not_yet"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Machine {name!r} may not start yet."
    name: str


@pytest.fixture
def veto(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of machines that may not start."""
    names: list[str] = []

    def refuse(_session: Session, machine: VirtualMachine) -> None:
        if machine.name in names:
            raise NotYet(machine.name)

    monkeypatch.setattr(hooks, "START_CONDITIONS", [refuse])
    return names


def test_a_condition_stops_a_start_at_the_request_and_in_the_activity(simulated: Platform, veto: list[str]) -> None:
    machine_id = simulated.deploy("guarded", powerOn=False)
    veto.append("guarded")
    error = simulated.refused("PATCH", POWER, {"id": machine_id, "powerAction": "on"})
    assert error["code"] == "test.not_yet"
    assert simulated.machine(machine_id)["powerState"] == "stopped"
    veto.append("never")
    simulated.refused("POST", simulated.deploy_path, simulated.deployment("never"))
    assert "never" not in [machine["name"] for machine in simulated.get(f"{COMPUTE}/virtual_machines")]
    veto.clear()
    simulated.done("PATCH", POWER, {"id": machine_id, "powerAction": "on"})
    veto.append("guarded")
    simulated.done("PATCH", POWER, {"id": machine_id, "powerAction": "on"})  # it runs: nothing is started
    simulated.remove(machine_id)


def test_what_others_keep_goes_with_the_machine(simulated: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    monkeypatch.setattr(hooks, "FORGET_HOOKS", [lambda _session, machine_id: gone.append(machine_id)])
    machine_id = simulated.deploy("remembered", powerOn=False)
    assert gone == []
    simulated.done("DELETE", f"{COMPUTE}/virtual_machines/{machine_id}")
    assert gone == [machine_id]
