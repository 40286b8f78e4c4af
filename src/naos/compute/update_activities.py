"""The durable work of hypervisor updates: one blade brought to a build, and seen to be healthy with it."""

import time
from collections.abc import Callable
from typing import Any, cast

import sqlalchemy as sa

from naos.activity import Run, workflow
from naos.compute.update_errors import NotEmpty, Unhealthy
from naos.engines.errors import EngineError
from naos.engines.ports import BladeFacts, PowerState
from naos.fleet import processors
from naos.fleet.models import Blade, HypervisorBuild, Maintenance
from naos.names import listing
from naos.world import World

POLL_SECONDS = 0.5
_IDLE = (PowerState.STOPPED, PowerState.ABSENT, PowerState.CRASHED)
_INSTALL = 'export DEBIAN_FRONTEND=noninteractive; exec apt-get -q -y --no-install-recommends install -- "$@"'


@workflow("cpool.begin_update", steps=1)
def begin(run: Run, arguments: dict[str, Any]) -> str:
    """The rows were made with the check; the leading controller takes it from here."""
    del run
    return str(arguments["update_id"])


@workflow("cpool.end_update", steps=1)
def end(run: Run, arguments: dict[str, Any]) -> str:
    del run
    return str(arguments["update_id"])


@workflow("blade.install_build", steps=6)
def install(run: Run, arguments: dict[str, Any]) -> str:
    """Forward only: a blade that fails half-way stays in maintenance, empty, and the build can be installed again."""
    world, blade, build_id = cast(World, run.world), arguments["blade"], arguments["build_id"]
    before = run.step("see that it is empty", _see_empty, world, blade)
    run.step("install the packages", _install_packages, world, blade, build_id)
    run.step("run the build's command", _run_command, world, blade, build_id)
    run.step("restart it", _restart, world, blade, build_id)
    run.step("see that it is healthy", _see_healthy, world, blade, build_id, before, run.progress)
    run.step("note the build", _note, world, blade, build_id)
    return str(blade)


def _build(world: World, build_id: str) -> HypervisorBuild:
    with world.database.read() as session:
        return session.get_one(HypervisorBuild, build_id)


def _see_empty(world: World, blade: str) -> dict[str, Any]:
    """What the blade says of itself before anything changes. Raises NotEmpty: no blade with a guest is ever touched."""
    with world.database.read() as session:
        state = session.scalars(sa.select(Blade.maintenance).where(Blade.name == blade)).one()
    if state != Maintenance.RESTING:
        raise NotEmpty(blade, "it is not in maintenance")
    hypervisor = world.rack.hypervisor(blade)
    left = [domain_id for domain_id, power in hypervisor.domains().items() if power not in _IDLE]
    if left:
        raise NotEmpty(blade, f"{len(left)} machine(s) run there: {listing(left)}")
    facts = hypervisor.facts()
    return {"cpus": facts.cpus, "memory": facts.memory, "acceleration": facts.acceleration}


def _install_packages(world: World, blade: str, build_id: str) -> None:
    build = _build(world, build_id)
    if build.packages:
        command = ["sh", "-euc", _INSTALL, "sh", *build.packages]
        world.rack.blade_host(blade).run(command, timeout=float(build.deadline))


def _run_command(world: World, blade: str, build_id: str) -> None:
    build = _build(world, build_id)
    if build.command.strip():
        host = world.rack.blade_host(blade)
        host.run(["sh", "-eu", "-s"], stdin=build.command.encode(), timeout=float(build.deadline))


def _restart(world: World, blade: str, build_id: str) -> None:
    """Without a reboot the command itself has restarted what it changed; whatever it took down is brought up again."""
    chassis = world.rack.chassis(blade)
    if _build(world, build_id).reboot:
        chassis.reset()
    else:
        chassis.on()


def _see_healthy(
    world: World, blade: str, build_id: str, before: dict[str, Any], report: Callable[[float], None]
) -> None:
    """Raises Unhealthy."""
    build = _build(world, build_id)
    facts = _await(world, blade, build, report)
    for name, had, has in (("processors", before["cpus"], facts.cpus), ("memory", before["memory"], facts.memory)):
        if has < had * 99 // 100:  # a kernel may keep a little more memory for itself
            raise Unhealthy(blade, build.version, f"it had {had} of {name} and has {has}")
    if facts.acceleration != before["acceleration"]:
        told = f"its guests ran with {before['acceleration']} and would run with {facts.acceleration}"
        raise Unhealthy(blade, build.version, told)
    if build.check_command.strip():
        host = world.rack.blade_host(blade)
        try:
            host.run(["sh", "-eu", "-s"], stdin=build.check_command.encode(), timeout=float(build.deadline))
        except EngineError as error:
            raise Unhealthy(blade, build.version, f"its check failed: {error}") from error


def _await(world: World, blade: str, build: HypervisorBuild, report: Callable[[float], None]) -> BladeFacts:
    """The blade's answer, once there is one."""
    began = time.monotonic()
    while True:
        try:
            return world.rack.hypervisor(blade).facts()
        except EngineError as error:
            waited = time.monotonic() - began
            if waited > build.deadline:
                reason = f"its hypervisor does not answer within {build.deadline} s ({error})"
                raise Unhealthy(blade, build.version, reason) from error
            report(waited / build.deadline)
            time.sleep(POLL_SECONDS)
            world.rack.chassis(blade).on()


def _note(world: World, blade: str, build_id: str) -> None:
    facts = world.rack.hypervisor(blade).facts()
    processors.look(world, blade)
    with world.database.write() as session:
        version = session.get_one(HypervisorBuild, build_id).version
        values = {"build": version, "hypervisor_version": facts.hypervisor_version}
        session.execute(sa.update(Blade).where(Blade.name == blade).values(**values))
