"""What a blade carries is exact, whatever changes machines and in what order: on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from postgres_server import server
from simulated_platform import Platform

from naos.compute.models import BladeLoad, VirtualMachine
from naos.database import Database
from naos.fleet.models import Cpool
from naos.migrations import blade_loads, upgrade

BLADES = st.sampled_from(["b1", "b2", "b3", None])
MACHINES = st.integers(0, 3)


class Loads(RuleBasedStateMachine):
    """Machines are made, changed and removed through objects and through statements over many rows."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        with self.database.write() as session:
            session.execute(sa.delete(VirtualMachine))
            session.execute(sa.delete(Cpool))
            session.add(Cpool(id="p", tenant_id="t", name="p", zone="z", model="m", memory=1))

    @rule(number=MACHINES, blade=BLADES, reserved=st.integers(0, 5), cpu=st.integers(1, 4))
    def make(self, number: int, blade: str | None, reserved: int, cpu: int) -> None:
        with self.database.write() as session:
            if session.get(VirtualMachine, str(number)) is None:
                row: dict[str, Any] = {"tenant_id": "t", "cpool_id": "p", "lun_id": "l", "name": str(number)}
                session.add(VirtualMachine(id=str(number), cpu=cpu, memory=5, blade=blade, reserved=reserved, **row))

    @rule(number=MACHINES, blade=BLADES, moving_to=BLADES, reserved=st.integers(0, 5), cpu=st.integers(1, 4))
    def change(self, number: int, blade: str | None, moving_to: str | None, reserved: int, cpu: int) -> None:
        with self.database.write() as session:
            machine = session.get(VirtualMachine, str(number))
            if machine is not None:
                machine.blade, machine.moving_to, machine.reserved, machine.cpu = blade, moving_to, reserved, cpu

    @rule(blade=BLADES, reserved=st.integers(0, 5))
    def change_many(self, blade: str | None, reserved: int) -> None:
        with self.database.write() as session:
            session.execute(sa.update(VirtualMachine).where(VirtualMachine.blade == blade).values(reserved=reserved))

    @rule(blade=BLADES, back=st.booleans())
    def remove_many(self, blade: str | None, *, back: bool) -> None:
        with self.database.write() as session:
            session.execute(sa.delete(VirtualMachine).where(VirtualMachine.blade == blade))
            if back:
                session.rollback()

    @invariant()
    def the_sum_is_what_is_kept(self) -> None:
        with self.database.read() as session:
            kept = {
                load.blade: (load.memory, load.vcpus, load.machines)
                for load in session.scalars(sa.select(BladeLoad))
                if load.machines
            }
            summed = {
                row[0]: tuple(int(value) for value in row[1:]) for row in session.execute(sa.text(blade_loads.SUM))
            }
            assert kept == summed
            empty = session.execute(sa.select(BladeLoad.memory, BladeLoad.vcpus).where(BladeLoad.machines == 0))
            assert {tuple(row) for row in empty} <= {(0, 0)}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path}/naos.db")
        yield made
        made.close()
        return
    with server() as running:
        made = Database(running.create("loads"))
        yield made
        made.close()


def test_loads_are_the_sum_of_the_machines(database: Database) -> None:
    upgrade(database)
    machine = type("Machine", (Loads,), {"database": database})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=12, stateful_step_count=15, deadline=None, database=None)
    )


def test_triggers_that_a_rebuilt_table_lost_come_back_with_the_right_sums(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/naos.db")
    upgrade(database)
    with database.write() as session:
        session.execute(sa.text("DROP TRIGGER blade_loads_update"))
        session.add(Cpool(id="p", tenant_id="t", name="p", zone="z", model="m", memory=1))
        session.flush()
        row: dict[str, Any] = {"tenant_id": "t", "cpool_id": "p", "lun_id": "l", "name": "a", "cpu": 2, "memory": 7}
        session.add(VirtualMachine(id="a", blade="b1", reserved=7, **row))
        session.flush()
        session.execute(sa.update(VirtualMachine).values(blade="b2"))
    upgrade(database)
    with database.read() as session:
        loads = {load.blade: (load.memory, load.vcpus, load.machines) for load in session.scalars(sa.select(BladeLoad))}
    assert loads == {"b2": (7, 2, 1)}
    database.close()


def test_the_doctor_compares_loads_and_finds_claims_that_nobody_uses(simulated: Platform) -> None:
    machine_id = simulated.deploy("loaded")
    with simulated.services.database.write() as session:
        session.execute(sa.update(BladeLoad).values(memory=BladeLoad.memory + 1))
        target = {"az05-blade1": "az05-blade2"}.get(
            session.get_one(VirtualMachine, machine_id).blade or "", "az05-blade1"
        )
        session.execute(sa.update(VirtualMachine).values(moving_to=target))
    found = {finding["kind"]: finding["sentence"] for finding in simulated.findings()}
    assert "its machines add up to 128 MiB, 1 vCPU(s) of 1 machine(s)" in found["blade.load"]
    assert f"set aside on {target}" in found["machine.claim"]
    simulated.done("POST", "/platform/v1/doctor/repair")
    assert simulated.findings() == []
    simulated.remove(machine_id)
