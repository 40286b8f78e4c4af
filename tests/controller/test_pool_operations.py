"""Whatever is asked of a cpool, in whatever order: its rules hold afterwards. Refused or done, never in between."""

import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from simulated_platform import COMPUTE, POWER, Platform

from naos.availability.models import PoolAvailability
from naos.availability.rules import room
from naos.availability.settings import open_blades, promise_of, running_memory
from naos.compute import steps
from naos.compute.models import AffinityMember, AffinityRule, BladeLoad, VirtualMachine
from naos.engines.errors import Unreachable
from naos.fleet.models import Blade, Cpool
from naos.fleet.rules import lent_memory, vcpu_limit
from naos.inventory.catalogues import memory_ceiling, memory_floor

MIB = 2**20
POOLS, RULES, HOSTS, MACHINES = (
    f"{COMPUTE}/{kind}" for kind in ("host_clusters", "affinity_rules", "hosts", "virtual_machines")
)
BLADES, MOST = 4, 32

which = some.integers(0, 5)


class Operations(RuleBasedStateMachine):
    """Over one platform, emptied between examples. Machines and blades are named by a number among those that are there."""

    platform: ClassVar[Platform]
    made = 0

    @initialize()
    def begin(self) -> None:
        self.admitted = True

    @property
    def pool(self) -> str:
        return self.platform.made["pool-AZ05"]

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bool:
        """Whether it was done; what is refused has a reason that is no accident."""
        answer = self.platform.client.request(method, path, json=body)
        if "Location" in answer.headers:
            state = self.platform.ended(answer.headers["Location"])["state"]
            assert "completed" in state or state["failed"]["reason"], state
            return "completed" in state
        assert answer.status_code < 500, answer.text
        return bool(answer.status_code < 400)

    def pick(self, path: str, number: int, **wanted: str) -> str | None:
        rows = self.platform.get(path, **wanted)
        return str(rows[number % len(rows)]["id"]) if rows else None

    # ------------------------------------------------------------------------------------------------------- operations

    @rule(memory=some.integers(2, 20), cpu=some.integers(1, 2))
    def deploy(self, memory: int, cpu: int) -> None:
        Operations.made += 1
        wish = self.platform.deployment(f"m{Operations.made}", memory=memory * 128 * MIB, cpu=cpu)
        self.ask("POST", self.platform.deploy_path, wish)

    @rule(number=which, action=some.sampled_from(["on", "off"]))
    def power(self, number: int, action: str) -> None:
        if machine := self.pick(MACHINES, number):
            self.ask("PATCH", POWER, {"id": machine, "powerAction": action})

    @rule(number=which, blade=which)
    def move(self, number: int, blade: int) -> None:
        machine, goal = self.pick(MACHINES, number), self.pick(HOSTS, blade, hostClusterId=self.pool)
        if machine:
            self.ask("POST", f"{MACHINES}/relocate", {"virtualMachines": [machine], "hostId": goal})

    @rule(memory=some.integers(1, 8), overcommit=some.sampled_from([1, 1.5, 2]), rate=some.sampled_from([None, 0.5, 1]))
    def set_pool(self, memory: int, overcommit: float, rate: float | None) -> None:
        body = {"memory": memory * 2048 * MIB, "memoryOvercommit": overcommit, "vcpuRate": rate}
        self.ask("PATCH", f"{POOLS}/{self.pool}", body)

    @rule(count=some.integers(1, 3))
    def join(self, count: int) -> None:
        present = len(self.platform.get(HOSTS, hostClusterId=self.pool))
        assert self.ask("POST", f"{POOLS}/{self.pool}/hosts", {"hosts": count}) is (present + count <= BLADES)

    @rule(more=some.integers(1, 9))
    def join_too_many(self, more: int) -> None:
        present = len(self.platform.get(HOSTS, hostClusterId=self.pool))
        error = self.platform.refused("POST", f"{POOLS}/{self.pool}/hosts", {"hosts": MOST - present + more})
        assert error["code"] == "fleet.blade_count"

    @rule(blade=which)
    def leave(self, blade: int) -> None:
        self.ask("DELETE", f"{POOLS}/{self.pool}/hosts/{self.pick(HOSTS, blade, hostClusterId=self.pool)}")

    @rule(members=some.sets(which, min_size=2, max_size=3), kind=some.sampled_from(["affinity", "anti-affinity"]))
    def tie(self, members: set[int], kind: str) -> None:
        found = {self.pick(MACHINES, number) for number in members} - {None}
        Operations.made += 1
        body = {"name": f"r{Operations.made}", "type": kind, "hostClusterId": self.pool, "must": True}
        self.ask("POST", RULES, {**body, "virtualMachineIds": sorted(map(str, found))})

    @rule(number=which)
    def untie(self, number: int) -> None:
        if found := self.pick(RULES, number):
            self.ask("DELETE", f"{RULES}/{found}")

    @rule(blade=which, method=some.sampled_from(["POST", "DELETE", "DELETE"]))
    def maintain(self, blade: int, method: str) -> None:
        self.ask(method, f"{HOSTS}/{self.pick(HOSTS, blade, hostClusterId=self.pool)}/maintenance")

    @rule(enabled=some.booleans(), tolerated=some.integers(0, 2), percent=some.sampled_from([0, 25, 60]))
    def protect(self, enabled: bool, tolerated: int, percent: int) -> None:
        body = {"enabled": enabled, "toleratedLosses": tolerated, "keptPercent": percent}
        self.ask("PATCH", f"{POOLS}/{self.pool}/availability", body)
        self.admitted = self._keeps_its_promise()  # what is promised now may be more than there is

    # ------------------------------------------------------------------------------------------------------- invariants

    @invariant()
    def figures_add_up(self) -> None:
        """Bounds of blades and memory; no blade, and not the cpool, has more given away than there is."""
        world = self.platform.services.world
        with world.database.read() as session:
            cpool = session.get_one(Cpool, self.pool)
            model = world.blades.models[cpool.model]
            blades = list(session.scalars(sa.select(Blade).where(Blade.cpool_id == cpool.id)))
            assert 1 <= len(blades) <= MOST
            assert {(blade.zone, blade.model) for blade in blades} == {(cpool.zone, cpool.model)}
            assert memory_floor(model, len(blades)) <= cpool.memory <= memory_ceiling(model, len(blades))
            running = list(session.scalars(sa.select(VirtualMachine).where(VirtualMachine.reserved > 0)))
            assert sum(machine.reserved for machine in running) <= lent_memory(cpool.memory, cpool.memory_overcommit)
            each, limit = (
                lent_memory(model.physical_memory, cpool.memory_overcommit),
                vcpu_limit(model.cores, cpool.vcpu_rate),
            )
            for blade in blades:
                there = [machine for machine in running if machine.blade == blade.name]
                load = session.get(BladeLoad, blade.name) or BladeLoad(memory=0, vcpus=0, machines=0)
                assert load.memory == sum(machine.reserved for machine in there) <= each
                assert limit is None or load.vcpus <= limit
                assert not there or blade.maintenance != "maintenance"

    @invariant()
    def rules_are_one_of_each_type_and_contradict_nobody(self) -> None:
        with self.platform.services.database.read() as session:
            rows = session.execute(
                sa.select(AffinityRule.kind, AffinityRule.id, AffinityMember.machine_id).join(
                    AffinityMember, AffinityMember.rule_id == AffinityRule.id
                )
            ).all()
        members: dict[tuple[str, str], set[str]] = {}
        for kind, rule_id, machine in rows:
            members.setdefault((kind, rule_id), set()).add(machine)
        for (kind, one), mine in members.items():
            for (other_kind, two), theirs in members.items():
                if one != two:
                    assert len(mine & theirs) <= (0 if kind == other_kind else 1)

    @invariant()
    def room_that_was_kept_is_kept(self) -> None:
        """Nothing that is asked takes it; only a blade that rests may, and then nothing more is admitted."""
        if self.admitted and not self._rests():
            assert self._keeps_its_promise()
        self.admitted = self._keeps_its_promise()

    def _rests(self) -> bool:
        with self.platform.services.database.read() as session:
            query = sa.select(Blade.id).where(Blade.cpool_id == self.pool, Blade.maintenance != "")
            return session.scalar(query.limit(1)) is not None

    def _keeps_its_promise(self) -> bool:
        world = self.platform.services.world
        with world.database.read() as session:
            cpool, row = session.get_one(Cpool, self.pool), session.get(PoolAvailability, self.pool)
            if row is None or not row.enabled or not promise_of(row):
                return True
            memory = lent_memory(world.blades.models[cpool.model].physical_memory, cpool.memory_overcommit)
            machines, blades = running_memory(session, cpool.id), open_blades(session, cpool.id)
            return room(machines, blades=blades, blade_memory=memory, promise=promise_of(row)).fits

    def teardown(self) -> None:
        """Back to two blades, open, with nothing on them. Nothing was left half done on the way."""
        self.ask(
            "PATCH", f"{POOLS}/{self.pool}/availability", {"enabled": False, "toleratedLosses": 0, "keptPercent": 0}
        )
        for found in self.platform.get(RULES):
            self.ask("DELETE", f"{RULES}/{found['id']}")
        for machine in self.platform.get(MACHINES):
            self.platform.remove(machine["id"])
        for blade in self.platform.get(HOSTS, hostClusterId=self.pool):
            if blade["maintenance"]:
                self.platform.done("DELETE", f"{HOSTS}/{blade['id']}/maintenance")
        for blade in self.platform.get(HOSTS, hostClusterId=self.pool)[2:]:
            self.platform.done("DELETE", f"{POOLS}/{self.pool}/hosts/{blade['id']}")
        rest = {"memory": 2048 * MIB, "memoryOvercommit": 1, "vcpuRate": None}
        self.platform.done("PATCH", f"{POOLS}/{self.pool}", rest)
        assert self.platform.settled() == []


def _try(platform: Platform, examples: int, steps: int) -> None:
    Operations.platform = platform
    some_settings = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Operations, settings=some_settings)


def test_no_order_of_operations_breaks_a_rule(roomy: Platform) -> None:
    _try(roomy, 1, 25)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_no_long_order_of_operations_breaks_a_rule(roomy: Platform) -> None:
    _try(roomy, 15, 40)


# ---------------------------------------------------------------------------------- what closes while a blade is emptied


@pytest.fixture
def wide(roomy: Platform) -> Iterator[Platform]:
    """The pool has all four blades; empty and of two again afterwards."""
    pool = f"{POOLS}/{roomy.made['pool-AZ05']}"
    roomy.done("POST", f"{pool}/hosts", {"hosts": 2})
    roomy.done("PATCH", pool, {"memory": 8192 * MIB})
    yield roomy
    for blade in roomy.get(HOSTS, hostClusterId=roomy.made["pool-AZ05"]):
        if blade["maintenance"]:
            roomy.done("DELETE", f"{HOSTS}/{blade['id']}/maintenance")
    for machine in roomy.get(MACHINES):
        roomy.remove(machine["id"])
    assert roomy.settled() == []
    for blade in roomy.get(HOSTS, hostClusterId=roomy.made["pool-AZ05"])[2:]:
        roomy.done("DELETE", f"{pool}/hosts/{blade['id']}")


def _maintenance(platform: Platform, blade: str) -> str:
    return f"{HOSTS}/{platform.get(HOSTS, name=blade)[0]['id']}/maintenance"


def _homes(platform: Platform, machines: list[str]) -> list[str]:
    return [str(platform.machine(machine)["host"]["name"]) for machine in machines]


def test_7_a_target_that_closes_before_its_move_begins_is_replaced_by_another(
    wide: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 7 of the complaints: the machine runs on where it was meanwhile."""
    machines = [wide.deploy(f"m{number}", hostId="az05-blade1", memory=256 * MIB) for number in range(3)]
    assert set(_homes(wide, machines)) == {"az05-blade1"}
    begun, goes_on, move = threading.Event(), threading.Event(), steps.move
    targets: list[str] = []

    def held(world: Any, machine_id: str, source: str, target: str, progress: Any) -> None:
        targets.append(target)
        begun.set()
        assert goes_on.wait(30)
        move(world, machine_id, source, target, progress)

    monkeypatch.setattr(steps, "move", held)
    emptied = wide.write("POST", _maintenance(wide, "az05-blade1"), {"parallelMigrations": 1})
    assert begun.wait(30)
    planned = {row["target"]["name"] for row in wide.get(_maintenance(wide, "az05-blade1"))["machines"]}
    closing = min(planned - set(targets))
    closed = wide.write("POST", _maintenance(wide, closing))
    goes_on.set()
    for activity in (emptied, closed):
        assert "completed" in wide.ended(activity)["state"]
    assert closing not in targets
    assert not {"az05-blade1", closing} & set(_homes(wide, machines))
    shown = wide.get(_maintenance(wide, "az05-blade1"))["machines"]
    assert [row["state"] for row in shown] == ["moved"] * 3
    assert closing not in {row["target"]["name"] for row in shown}


def test_a_target_that_does_not_answer_any_more_is_replaced_by_another(
    wide: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = [wide.deploy(f"m{number}", hostId="az05-blade1", memory=256 * MIB) for number in range(3)]
    move, lost = steps.move, set[str]()

    def cut(world: Any, machine_id: str, source: str, target: str, progress: Any) -> None:
        if not lost:
            lost.add(target)
            wide.rack.faults.cut(target)
        if target in lost:
            raise Unreachable(target, "moving a machine", "no answer")
        move(world, machine_id, source, target, progress)

    monkeypatch.setattr(steps, "move", cut)
    try:
        wide.done("POST", _maintenance(wide, "az05-blade1"))
    finally:
        wide.rack.faults.join(*lost)
    assert not {"az05-blade1", *lost} & set(_homes(wide, machines))
    assert [row["state"] for row in wide.get(_maintenance(wide, "az05-blade1"))["machines"]] == ["moved"] * 3
    assert wide.settled() == []
