"""A host that accepts calls and never answers: what is seen of the others meanwhile, and what is shown of its own machines."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from simulated_platform import COMPUTE, Platform

from naos.activity import Engine
from naos.compute.models import MachineSample
from naos.compute.sampling import Sampler
from naos.engines.ports import DomainSample, PowerState
from naos.engines.simulated.hypervisor import SimulatedHypervisor

GAUGE = "naos_machine_memory_usage_bytes"
AGE = "naos_machine_sample_age_seconds"


@contextmanager
def hung(monkeypatch: pytest.MonkeyPatch, blade: str) -> Iterator[threading.Event]:
    """Whoever lists the blade's machines waits until the end of the block; the event says that somebody does."""
    asked, released = threading.Event(), threading.Event()
    domains = SimulatedHypervisor.domains

    def waiting(hypervisor: SimulatedHypervisor) -> dict[str, PowerState]:
        if hypervisor.name == blade:
            asked.set()
            released.wait(60)
        return domains(hypervisor)

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedHypervisor, "domains", waiting)
        try:
            yield asked
        finally:
            released.set()


def test_a_hung_blade_keeps_nobody_from_seeing_what_happens_on_another(
    simulated: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one blade's answer is waited for, machines are made on another, one that dies there is noted, and it starts again."""
    stuck = simulated.deploy("stuck")
    blade = simulated.machine(stuck)["host"]["name"]
    with hung(monkeypatch, blade) as asked:
        assert asked.wait(30)
        other = simulated.deploy("free", zone="AZ06")
        where = simulated.machine(other)["host"]["name"]
        simulated.rack.hypervisor(where).power_off(other)
        noted = threading.Event()
        for _ in range(600):
            if simulated.machine(other)["powerState"] == "stopped":
                noted.set()
                break
            noted.wait(0.05)
        assert noted.is_set()
        simulated.done("PATCH", f"{COMPUTE}/virtual_machines/power", {"id": other, "powerAction": "on"})
        assert simulated.machine(stuck)["powerState"] == "running"
    assert simulated.settled() == []
    for machine_id in (stuck, other):
        simulated.remove(machine_id)


def scraped(platform: Platform) -> dict[str, dict[str, float]]:
    families = text_string_to_metric_families(platform.client.get("/metrics").text)
    return {
        family.name: {sample.labels["machine"]: sample.value for sample in family.samples}
        for family in families
        if family.name in {GAUGE, AGE}
    }


def test_a_machine_that_is_busy_keeps_its_last_figures_and_says_how_old_they_are(
    simulated: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a longer job holds one machine, its figures stay and age; those of the others are new."""
    made = {name: simulated.deploy(name) for name in ("held", "idle")}
    sampler = Sampler(simulated.services.world, cast(Engine, simulated.services.engine))
    told: dict[str, Any] = {machine_id: DomainSample(10**9, 40 * 2**20, False) for machine_id in made.values()}
    monkeypatch.setattr(SimulatedHypervisor, "samples", lambda _hypervisor: dict(told))
    sampler.look()
    first = {name: _seen_at(simulated, machine_id) for name, machine_id in made.items()}
    del told[made["held"]]
    told[made["idle"]] = DomainSample(2 * 10**9, 50 * 2**20, False)
    sampler.look()
    found = scraped(simulated)
    assert (found[GAUGE]["held"], found[GAUGE]["idle"]) == (40 * 2**20, 50 * 2**20)
    assert _seen_at(simulated, made["held"]) == first["held"]
    assert _seen_at(simulated, made["idle"]) > first["idle"]
    assert found[AGE]["held"] > found[AGE]["idle"]
    for machine_id in made.values():
        simulated.remove(machine_id)


def _seen_at(platform: Platform, machine_id: str) -> Any:
    with platform.services.database.read() as session:
        return session.get_one(MachineSample, machine_id).seen_at
