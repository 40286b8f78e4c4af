"""Killing the controller at every point of an activity, and looking at what the next one makes of it.

Every controller is a process of its own, forked from a server that has everything imported. A point is where a crash
makes a difference: before a step, after its compensation is noted, after its effect, after its result is recorded.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, Platform, inventory_text, platform_in

from naos.activity import Engine
from naos.activity.controllers import Timing
from naos.activity.models import Activity
from naos.engines.ports import PowerState

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["warm_controller"])
POWER = f"{COMPUTE}/virtual_machines/power"
BACKUP = "/backup/v1/spp"
VAULT = 'vaults = [{ name = "v", zone = "AZ07", access = { driver = "namespace", target = "/none" }, path = "/v" }]'
SETTLE_SECONDS = 60.0
QUICK = Timing(heartbeat=0.2, fence=1.2, dead=1.8, poll=0.1)
"""So that the successor need not wait long for its predecessor to count as dead."""


@dataclass(frozen=True)
class Scenario:
    """`prepare` brings the platform to where `act` makes the request, which is an activity of `kind`, or begins one.
    vault: whether a third zone has one."""

    kind: str
    act: Callable[[Platform], str]
    prepare: Callable[[Platform], None] = field(default=lambda _platform: None)
    vault: bool = False


def _machine(platform: Platform) -> None:
    platform.made["machine"] = platform.deploy("subject")


def _stopped(platform: Platform) -> None:
    platform.made["machine"] = platform.deploy("subject", powerOn=False)


def _disk(platform: Platform) -> None:
    _machine(platform)
    body = {"virtualMachineId": platform.made["machine"], "capacity": GIB}
    platform.made["disk"] = platform.done("POST", f"{COMPUTE}/virtual_disks", body)


def _roomy(platform: Platform) -> None:
    """A running machine, and a second volume in its zone."""
    _machine(platform)
    volume = {"name": "fast", "datacenterId": "AZ05", "storageClass": "premium", "capacity": 500 * GIB}
    platform.made["fast"] = platform.done("POST", f"{COMPUTE}/datastores", volume)


def _spread(platform: Platform) -> None:
    """With a second disk there, so that its disks lie on two volumes."""
    _roomy(platform)
    disk = {"virtualMachineId": platform.made["machine"], "capacity": GIB, "datastoreId": platform.made["fast"]}
    platform.done("POST", f"{COMPUTE}/virtual_disks", disk)


def _clone(platform: Platform) -> str:
    body = {"name": "copy", "datastoreId": platform.made["fast"]}
    return platform.write("POST", f"{COMPUTE}/virtual_machines/{platform.made['machine']}/clone", body)


def _move_disk(platform: Platform) -> str:
    """While its guest runs."""
    body = {"virtualMachines": [platform.made["machine"]], "datastoreId": platform.made["fast"]}
    return platform.write("POST", f"{COMPUTE}/virtual_machines/relocate", body)


def _power(action: str) -> Callable[[Platform], str]:
    return lambda platform: platform.write("PATCH", POWER, {"id": platform.made["machine"], "powerAction": action})


def _migrate(platform: Platform) -> str:
    here = platform.machine(platform.made["machine"])["host"]["id"]
    hosts = platform.get(f"{COMPUTE}/hosts", hostClusterId=platform.made["pool-AZ05"])
    other = next(host["id"] for host in hosts if host["id"] != here)
    body = {"virtualMachines": [platform.made["machine"]], "hostId": other}
    return platform.write("POST", f"{COMPUTE}/virtual_machines/relocate", body)


def _together(platform: Platform) -> None:
    """Three running machines on one blade."""
    _machine(platform)
    home = platform.machine(platform.made["machine"])["host"]
    platform.made["blade"] = home["id"]
    for name in ("second", "third"):
        machine = platform.deploy(name)
        if platform.machine(machine)["host"]["id"] != home["id"]:
            body = {"virtualMachines": [machine], "hostId": home["id"], "priority": "highPriority"}
            platform.done("POST", f"{COMPUTE}/virtual_machines/relocate", body)


def _resting(platform: Platform) -> None:
    """A blade in maintenance, whose machines come back once it is open."""
    _together(platform)
    pool = f"{COMPUTE}/host_clusters/{platform.made['pool-AZ05']}"
    platform.done("PATCH", pool, {"automationLevel": "full", "balanceThreshold": 5})
    platform.done("POST", f"{COMPUTE}/hosts/{platform.made['blade']}/maintenance")


def _maintenance(method: str) -> Callable[[Platform], str]:
    return lambda platform: platform.write(method, f"{COMPUTE}/hosts/{platform.made['blade']}/maintenance")


def _update(platform: Platform) -> str:
    """A cpool's machines run while its blades take a build; until it has ended, as what is done to a blade is no request's."""
    build = platform.client.post(f"{COMPUTE}/hypervisor_builds", json={"version": "2", "command": "true"}).json()["id"]
    path = f"{COMPUTE}/host_clusters/{platform.made['pool-AZ05']}/updates"
    begun = platform.write("POST", path, {"buildId": build})
    end = time.monotonic() + SETTLE_SECONDS
    while platform.get(path)[0]["state"] == "running" and time.monotonic() < end:
        time.sleep(0.05)
    return begun


def _create_disk(platform: Platform) -> str:
    body = {"virtualMachineId": platform.made["machine"], "capacity": GIB}
    return platform.write("POST", f"{COMPUTE}/virtual_disks", body)


def _extend_disk(platform: Platform) -> str:
    return platform.write("PATCH", f"{COMPUTE}/virtual_disks", {"id": platform.made["disk"], "newCapacity": 2 * GIB})


def _growing(platform: Platform) -> None:
    """A running machine with room for more."""
    _stopped(platform)
    body = {"id": platform.made["machine"], "hotCpuAdd": True, "hotMemAdd": True}
    platform.done("PATCH", f"{COMPUTE}/virtual_machines", body)
    platform.done("PATCH", POWER, {"id": platform.made["machine"], "powerAction": "on"})


def _grow(platform: Platform) -> str:
    body = {"id": platform.made["machine"], "cpu": 2, "ram": 2**28}
    return platform.write("PATCH", f"{COMPUTE}/virtual_machines", body)


def _create_vlan(platform: Platform) -> str:
    pools = [platform.made["pool-AZ05"], platform.made["pool-AZ06"]]
    return platform.write("POST", f"{COMPUTE}/networks", {"name": "second", "hostClusterIds": pools})


def _two_volumes(platform: Platform) -> None:
    """A running machine with disks on two volumes, and a snapshot of both."""
    _machine(platform)
    volume = {"name": "second", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
    second = platform.done("POST", f"{COMPUTE}/datastores", volume)
    body = {"virtualMachineId": platform.made["machine"], "capacity": GIB, "datastoreId": second}
    platform.done("POST", f"{COMPUTE}/virtual_disks", body)
    platform.made["snapshot"] = platform.done("POST", f"{COMPUTE}/snapshots", _snapshot(platform, "first"))


def _snapshot(platform: Platform, name: str) -> dict[str, Any]:
    return {"virtualMachineId": platform.made["machine"], "name": name, "quiesce": True}


def _two_volumes_stopped(platform: Platform) -> None:
    _two_volumes(platform)
    platform.done("PATCH", POWER, {"id": platform.made["machine"], "powerAction": "off"})


def _awake(platform: Platform) -> str:
    body = {"virtualMachineId": platform.made["machine"], "name": "awake", "memory": True}
    return platform.write("POST", f"{COMPUTE}/snapshots", body)


def _remembered(platform: Platform) -> None:
    """A running machine with disks on two volumes, and a snapshot with its memory."""
    _roomy(platform)
    disk = {"virtualMachineId": platform.made["machine"], "capacity": GIB, "datastoreId": platform.made["fast"]}
    platform.done("POST", f"{COMPUTE}/virtual_disks", disk)
    platform.ended(_awake(platform))
    platform.made["snapshot"] = platform.get(f"{COMPUTE}/snapshots")[0]["id"]


def _remembered_stopped(platform: Platform) -> None:
    _remembered(platform)
    platform.done("PATCH", POWER, {"id": platform.made["machine"], "powerAction": "off"})


def _drive(platform: Platform) -> None:
    """A drive of a running machine, and an image in the library."""
    _machine(platform)
    image = platform.folder / "tools.iso"
    (platform.folder / "content").mkdir()
    command = ["genisoimage", "-quiet", "-o", str(image), str(platform.folder / "content")]
    subprocess.run(command, check=True)
    platform.made["item"] = platform.add_template("tools", image)
    body = {"virtualMachineId": platform.made["machine"], "type": "CD/DVD"}
    platform.made["drive"] = platform.done("POST", f"{COMPUTE}/virtual_controllers", body)
    platform.done("PATCH", f"{COMPUTE}/virtual_controllers/cdrom/connect", {"id": platform.made["drive"]})


def _volatile(platform: Platform) -> None:
    _machine(platform)
    body = {"virtualMachineId": platform.made["machine"], "capacity": GIB, "diskMode": "independent_nonpersistent"}
    platform.done("POST", f"{COMPUTE}/virtual_disks", body)


def _recoverable(platform: Platform) -> None:
    """A running machine with a replica in the other zone, in a recovery plan."""
    _machine(platform)
    there = {"hostClusterId": platform.made["pool-AZ06"]}
    replica = {"virtualMachineId": platform.made["machine"], "datastoreId": platform.made["volume-AZ06"], **there}
    platform.made["replica"] = platform.done("POST", "/recovery/v1/replicas", replica)
    platform.done("POST", f"/recovery/v1/replicas/{platform.made['replica']}/run")
    member = {"virtualMachineId": platform.made["machine"]}
    plan = {"name": "plan", "machines": [member], "shutdown": 0, **there}
    platform.made["plan"] = platform.done("POST", "/recovery/v1/plans", plan)


def _recover(what: str, **body: Any) -> Callable[[Platform], str]:
    return lambda platform: platform.write("POST", f"/recovery/v1/plans/{platform.made['plan']}/{what}", body)


def _protected(platform: Platform) -> None:
    """A stopped machine that was copied once, under a policy that keeps one day."""
    _stopped(platform)
    policy = {"name": "nightly", "site": "AZ07", "terms": {"cron": "0 0 1 1 *", "keep": {"days": 1}}}
    policy_id = platform.done("POST", f"{BACKUP}/policies", policy)
    body = {"virtualMachineIds": [platform.made["machine"]], "slaPolicies": [policy_id]}
    platform.done("POST", f"{BACKUP}/policies/assign/virtual_machine", body)
    jobs = platform.get(f"{BACKUP}/jobs", type="protection")
    platform.made["job"] = next(job["id"] for job in jobs if job["policyId"] == policy_id)
    platform.done("POST", f"{BACKUP}/jobs/run", {"jobId": platform.made["job"]})
    platform.made["point"] = platform.get(f"{BACKUP}/restore_points")[0]["id"]
    with platform.services.database.write() as session:
        session.execute(sa.text("UPDATE restore_points SET taken_at = '2026-01-01 00:00:00'"))


def _back_up(platform: Platform) -> str:
    return platform.write("POST", f"{BACKUP}/jobs/run", {"jobId": platform.made["job"]})


def _restore(mode: str) -> Callable[[Platform], str]:
    return lambda p: p.write("POST", f"{BACKUP}/restore_points/{p.made['point']}/restore", {"mode": mode})


def _start_instantly(mode: str) -> Callable[[Platform], str]:
    return lambda p: p.write("POST", f"{BACKUP}/restore_points/{p.made['point']}/instant_start", {"mode": mode})


SCENARIOS = {
    "machine backup": Scenario("virtual_machine.backup", _back_up, _protected, vault=True),
    "backup run": Scenario("backup_job.protect", _back_up, _protected, vault=True),
    "restore test": Scenario("restore_point.restore", _restore("test"), _protected, vault=True),
    "restore production": Scenario("restore_point.restore", _restore("production"), _protected, vault=True),
    "instant test": Scenario("restore_point.instant_start", _start_instantly("test"), _protected, vault=True),
    "instant production": Scenario(
        "restore_point.instant_start", _start_instantly("production"), _protected, vault=True
    ),
    "point delete": Scenario(
        "restore_point.delete",
        lambda p: p.write("DELETE", f"{BACKUP}/restore_points/{p.made['point']}?force=true"),
        _protected,
        vault=True,
    ),
    "snapshot create": Scenario(
        "snapshot.create", lambda p: p.write("POST", f"{COMPUTE}/snapshots", _snapshot(p, "second")), _two_volumes
    ),
    "snapshot revert": Scenario(
        "snapshot.revert",
        lambda p: p.write("POST", f"{COMPUTE}/snapshots/revert", {"id": p.made["snapshot"]}),
        _two_volumes_stopped,
    ),
    "snapshot delete": Scenario(
        "snapshot.delete", lambda p: p.write("DELETE", f"{COMPUTE}/snapshots/{p.made['snapshot']}"), _two_volumes
    ),
    "memory create": Scenario("snapshot.create", _awake, _spread),
    "memory revert": Scenario(
        "snapshot.revert",
        lambda p: p.write("POST", f"{COMPUTE}/snapshots/revert", {"id": p.made["snapshot"]}),
        _remembered_stopped,
    ),
    "memory delete": Scenario(
        "snapshot.delete", lambda p: p.write("DELETE", f"{COMPUTE}/snapshots/{p.made['snapshot']}"), _remembered
    ),
    "image mount": Scenario(
        "drive.update",
        lambda p: p.write(
            "PATCH",
            f"{COMPUTE}/virtual_controllers/cdrom/mount",
            {"id": p.made["drive"], "contentLibraryItemId": p.made["item"]},
        ),
        _drive,
    ),
    "volatile stop": Scenario("virtual_machine.power_off", _power("off"), _volatile),
    "machine create": Scenario(
        "virtual_machine.create", lambda p: p.write("POST", p.deploy_path, p.deployment("subject"))
    ),
    "machine start": Scenario("virtual_machine.power_on", _power("on"), _stopped),
    "machine stop": Scenario("virtual_machine.power_off", _power("off"), _machine),
    "machine grow": Scenario("virtual_machine.update", _grow, _growing),
    "machine migrate": Scenario("virtual_machine.migrate", _migrate, _machine),
    "machine clone": Scenario("virtual_machine.clone", _clone, _spread),
    "disk move": Scenario("virtual_machine.migrate", _move_disk, _roomy),
    "machine delete": Scenario(
        "virtual_machine.delete",
        lambda p: p.write("DELETE", f"{COMPUTE}/virtual_machines/{p.made['machine']}"),
        _stopped,
    ),
    "machine export": Scenario(
        "virtual_machine.export",
        lambda p: p.write("POST", f"{COMPUTE}/exports", {"virtualMachineId": p.made["machine"]}),
        _stopped,
    ),
    "disk create": Scenario("disk.create", _create_disk, _machine),
    "disk extend": Scenario("disk.extend", _extend_disk, _disk),
    "disk delete": Scenario(
        "disk.delete", lambda p: p.write("DELETE", f"{COMPUTE}/virtual_disks/{p.made['disk']}"), _disk
    ),
    "volume reserve": Scenario(
        "lun.policy",
        lambda p: p.write(
            "PATCH",
            f"{COMPUTE}/datastores/policy",
            {"id": p.made["volume-AZ05"], "reserve": GIB, "snapshotHeadroom": 20},
        ),
    ),
    "recovery test": Scenario("recovery.test", _recover("test"), _recoverable),
    "planned failover": Scenario("recovery.failover", _recover("failover", kind="planned"), _recoverable),
    "unplanned failover": Scenario("recovery.failover", _recover("failover", kind="unplanned"), _recoverable),
    "machine replicate": Scenario(
        "virtual_machine.replicate",
        lambda p: p.write("POST", f"/recovery/v1/replicas/{p.made['replica']}/run"),
        _recoverable,
    ),
    "VLAN create": Scenario("vlan.create", _create_vlan),
    "maintenance enter": Scenario("blade.enter_maintenance", _maintenance("POST"), _together),
    "build install": Scenario("blade.install_build", _update, _together),
    "maintenance exit": Scenario("blade.exit_maintenance", _maintenance("DELETE"), _resting),
}


@dataclass(frozen=True)
class Place:
    """Where a controller's world and tables are."""

    folder: Path
    database_url: str | None


class Points:
    """An engine's boundary that writes down every point of one kind of activity, and kills its process at one of them."""

    def __init__(self, kind: str, log: Path, kill_at: int | None) -> None:
        self._kind, self._log, self._kill_at, self._count = kind, log, kill_at, 0

    def __call__(self, kind: str, step: str, moment: str) -> None:
        if kind != self._kind:
            return
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{step}: {moment}\n")
        if self._count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1


def prepare(place: Place, name: str) -> None:
    if SCENARIOS[name].vault:
        text = inventory_text().replace('{ name = "AZ06" } ]', '{ name = "AZ06" }, { name = "AZ07" } ]')
        (place.folder / "inventory.toml").write_text(f"{VAULT}\n{text}", encoding="utf-8")
    with platform_in(place.folder, database_url=place.database_url) as platform:
        SCENARIOS[name].prepare(platform.furnish())
        _settle(platform)
        (place.folder / "made.json").write_text(json.dumps(platform.made), encoding="utf-8")


def strike(place: Place, name: str, kill_at: int | None) -> None:
    """Make the request, and die at point `kill_at`."""
    scenario = SCENARIOS[name]
    points = Points(scenario.kind, place.folder / "points", kill_at)

    def make(database: Any, world: Any) -> Engine:
        return Engine(database, world, boundary=points, timing=QUICK)

    with platform_in(place.folder, database_url=place.database_url, make_engine=make) as platform:
        platform.made = json.loads((place.folder / "made.json").read_text(encoding="utf-8"))
        platform.ended(scenario.act(platform), SETTLE_SECONDS)


def quick(database: Any, world: Any) -> Engine:
    return Engine(database, world, timing=QUICK)


def recover(place: Place, name: str) -> None:
    """A new controller; what it finds and leaves goes to `outcome.json`."""
    with platform_in(place.folder, database_url=place.database_url, make_engine=quick) as platform:
        findings = [*_settle(platform), *_standing(platform)]
        if SCENARIOS[name].vault:
            findings = [*findings, *_unlike_the_vault(platform)]
        with platform.services.database.read() as session:
            query = sa.select(Activity).where(Activity.kind == SCENARIOS[name].kind).order_by(Activity.sequence.desc())
            last = session.scalars(query.limit(1)).one()
        outcome = {"findings": findings, "state": last.state, "reason": last.reason}
        (place.folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def _standing(platform: Platform) -> list[str]:
    """Guests that nobody let go on, and what is left of their memory on blades."""
    found = []
    for blade in platform.services.world.inventory.blades:
        states = platform.rack.hypervisor(blade.name).domains()
        found += [
            f"{machine} stands still on {blade.name}" for machine, state in states.items() if state == PowerState.PAUSED
        ]
        kept = platform.folder / "world" / "hosts" / blade.name / "var/lib/libvirt/naos/memory"
        found += [f"{place.name} stays on {blade.name}" for place in kept.glob("*")]
    return found


def _unlike_the_vault(platform: Platform) -> list[str]:
    """What the tables say of restore points that the vault does not, or the other way round; and what cannot be restored."""
    vault = platform.rack.vault_points("v")
    there = {point.id for set_id in vault.sets() for point in vault.points(set_id)}
    with platform.services.database.read() as session:
        states = dict(session.execute(sa.text("SELECT id, state FROM restore_points")).tuples().all())
        left = session.execute(sa.text("SELECT status FROM backup_tasks WHERE status IN ('WAITING', 'RUNNING')")).all()
    found = [f"point {point_id} is {state}" for point_id, state in states.items() if state != "good"]
    found += [f"point {point_id} is in one place only" for point_id in there ^ set(states)]
    return found + [f"a machine of a run is {status}" for (status,) in left]


def _settle(platform: Platform) -> list[dict[str, Any]]:
    """Wait until nothing is unfinished and the doctor finds nothing; what it finds at the end of the wait."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        busy = [
            item for item in platform.get("/activity/v1/activities") if item["state"].keys() & {"waiting", "running"}
        ]
        findings = platform.findings()
        if (not busy and not findings) or time.monotonic() > end:
            return findings
        time.sleep(0.05)


def run(function: Callable[..., None], *arguments: Any) -> int:
    """The exit code of a controller's process."""
    ready_to_fork()
    process = FORK.Process(target=function, args=arguments)
    process.start()
    process.join(180)
    if process.is_alive():
        process.kill()
        process.join()
        return 999
    return int(process.exitcode or 0)


@cache
def ready_to_fork() -> None:
    """Python 3.11's fork server knows the tests' folder only by its environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()


def read_points(place: Place) -> list[str]:
    with suppress(FileNotFoundError):
        return (place.folder / "points").read_text(encoding="utf-8").splitlines()
    return []


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"
