"""The steps of a restore, and of what is decided about it."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.compute import steps
from naos.compute.models import VirtualMachine
from naos.engines.errors import EngineError
from naos.engines.ports import PowerState
from naos.errors import Changed, Unknown
from naos.insistence import insist
from naos.lifecycle import Lifecycle
from naos.network.models import Adapter
from naos.protection import copying
from naos.protection.backup import points, restores
from naos.protection.backup.models import Restore, RestorePoint
from naos.protection.backup.restores import State
from naos.protection.models import DiskChoice, DiskPolicy
from naos.protection.notices import outbox
from naos.protection.notices.rules import Event
from naos.storage import disks, luns, snapshots
from naos.storage.models import Disk
from naos.world import World

FIRST_LOOK, LONGEST_WAIT = 0.02, 1.0  # seconds between looks
STANDSTILL = 300.0  # seconds without one more byte
LIFE_SECONDS = 300.0  # within which a guest shows a sign of life
_log = structlog.get_logger()


def _point(world: World, point_id: str) -> RestorePoint:
    with world.database.read() as session:
        point = session.get(RestorePoint, point_id)
    if point is None:
        raise Unknown("restore point", point_id)
    return point


def fill(
    world: World, point_id: str, restore_id: str, source_id: str, disk_id: str, progress: Callable[[float], None]
) -> None:
    """Make the point's disk the content of an empty one. Repeated, it begins or goes on. Raises EngineError."""
    point = _point(world, point_id)
    store = copying.store_of(world, points.where(point))
    with world.database.read() as session:
        disk = session.get(Disk, disk_id)
    if disk is None:
        raise Unknown("disk", disk_id)
    name, lun = luns.spec(world, disk.lun_id)
    door = store.serve(point.set_id, point.id, restore_id)[source_id]
    wait, moved, until = FIRST_LOOK, -1, time.monotonic() + STANDSTILL
    while True:
        state = world.rack.array(name).fill_disk(lun, disk_id, restore_id, door)
        if state.error is not None:
            raise EngineError(name, f"restoring disk {disk_id}", state.error)
        if not state.running:
            return
        if state.done != moved:
            moved, until = state.done, time.monotonic() + STANDSTILL
        elif time.monotonic() > until:
            raise EngineError(name, f"restoring disk {disk_id}", f"nothing moves after {state.done} bytes")
        progress(state.done / state.total if state.total else 0.0)
        time.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT)


def end_serving(world: World, point_id: str, restore_id: str) -> None:
    """The point is read by this restore no more; a point that is gone is left alone."""
    try:
        point = _point(world, point_id)
    except Unknown:
        return
    insist(copying.store_of(world, points.where(point)).end_serving, point.set_id, restore_id)


def replace(world: World, restore_id: str, machine_id: str, fillings: Sequence[dict[str, Any]]) -> None:
    """The machine has the restored disks from here on; those that it had are kept beside it. All in one transaction."""
    with world.database.write() as session:
        restore = session.get_one(Restore, restore_id)
        if restore.state != State.RESTORING:
            return  # an earlier call has
        machine = session.get(VirtualMachine, machine_id)
        if machine is None:
            raise Unknown("virtual machine", machine_id)
        old_disks = []
        for filling in fillings:
            new = session.get_one(Disk, filling["disk_id"])
            old = session.get(Disk, filling["old_id"]) if filling["old_id"] is not None else None
            if old is not None and old.machine_id == machine_id:
                snapshots.check_free(session, old, "replaced")
                exchange(session, old, new)
                old.name = f"{new.name} (before the restore)"
                old_disks.append(old.id)
            else:
                disks.hang_up(session, new, machine_id, machine.name)
            new.lifecycle = Lifecycle.ACTIVE
        restore.old_disks = old_disks
        restores.note(session, restore_id, State.REPLACED if old_disks else State.DONE)


def exchange(session: Session, leaving: Disk, coming: Disk) -> None:
    """One disk takes the other's place in its machine, its name and its own policies."""
    place = {name: getattr(leaving, name) for name in ("machine_id", "unit", "controller_id", "slot", "name")}
    leaving.machine_id, leaving.controller_id = None, None
    session.flush()
    for name, value in place.items():
        setattr(coming, name, value)
    session.flush()
    choice = session.get(DiskChoice, leaving.id)
    if choice is not None and coming.machine_id is not None:
        held = list(session.scalars(sa.select(DiskPolicy.policy_id).where(DiskPolicy.disk_id == leaving.id)))
        session.execute(sa.delete(DiskPolicy).where(DiskPolicy.disk_id == leaving.id))
        session.delete(choice)
        session.flush()
        session.add(DiskChoice(disk_id=coming.id, machine_id=coming.machine_id))
        session.flush()
        session.add_all(DiskPolicy(disk_id=coming.id, policy_id=policy_id) for policy_id in held)


def note(world: World, restore_id: str, state: str) -> None:
    with world.database.write() as session:
        restores.note(session, restore_id, State(state))


def is_under_way(world: World, restore_id: str) -> bool:
    """Whether it has not come to its end, so that all of it can be taken back."""
    with world.database.read() as session:
        restore = session.get(Restore, restore_id)
    return restore is not None and restore.state == State.RESTORING


def forget(world: World, restore_id: str) -> None:
    """One that has come to its end stays on the list."""
    with world.database.write() as session:
        mine = (Restore.id == restore_id, Restore.state == State.RESTORING)
        session.execute(sa.delete(Restore).where(*mine))


def swap_back(world: World, restore_id: str, machine_id: str) -> list[str]:
    """The old disks are the machine's again; the ids of the restored ones that gave way to them."""
    with world.database.write() as session:
        restore = session.get_one(Restore, restore_id)
        point = session.get(RestorePoint, restore.point_id)
        going = []
        for old_id in restore.old_disks:
            old = session.get(Disk, old_id)
            if old is None:
                raise Changed(f"the restore of {restore.machine_name}", f"disk {old_id} is gone")
            if old.machine_id == machine_id:
                continue
            new = _successor(session, restore, old, point)
            name = new.name
            exchange(session, new, old)
            old.name, new.name = name, f"{name} (restored, taken back)"
            going.append(new.id)
        return going


def _successor(session: Session, restore: Restore, old: Disk, point: RestorePoint | None) -> Disk:
    """The disk that took an old one's place: it has the unit that the old one had."""
    query = sa.select(Disk).where(Disk.machine_id == restore.machine_id, Disk.unit == old.unit)
    found = session.scalar(query)
    if found is None:
        taken = points.moment(point.taken_at) if point is not None else "then"
        raise Changed(f"the restore of {restore.machine_name} of {taken}", f"no disk is at the place of {old.name}")
    return found


def await_life(world: World, machine_id: str, progress: Callable[[float], None]) -> str:
    """How a machine that was started is: `alive` when its guest's agent answers, `console` when that did not within the time, but
    something was written to the serial console, else `failed`."""
    hypervisor, began = world.rack.hypervisor(steps.home(world, machine_id)), time.monotonic()
    while (passed := time.monotonic() - began) < LIFE_SECONDS:
        if hypervisor.agent_ping(machine_id):
            return f"alive: its agent answered after {passed:.0f} s"
        if hypervisor.state(machine_id) not in (PowerState.RUNNING, PowerState.PAUSED):
            return f"failed: it stopped by itself after {passed:.0f} s"
        progress(passed / LIFE_SECONDS)
        time.sleep(LONGEST_WAIT)
    said = hypervisor.serial_log(machine_id, last_bytes=4096).strip()
    if said:
        return f"console: no agent answered within {LIFE_SECONDS:.0f} s; its console ends with {said.splitlines()[-1][:200]!r}"
    return f"failed: no sign of life within {LIFE_SECONDS:.0f} s"


def note_boot(world: World, point_id: str, found: str) -> None:
    with world.database.write() as session:
        point = session.get(RestorePoint, point_id)
        if point is not None:
            point.booted_at, point.boot_note = datetime.now(UTC), found
            if found.startswith("failed"):
                taken = points.moment(point.taken_at)
                outbox.tell(
                    session,
                    point.tenant_id,
                    Event.BOOT_FAILED,
                    f"Boot test of {point.machine_name} failed",
                    f"A machine of the restore point of {point.machine_name} of {taken} was started apart. It {found}.",
                    point=point_id,
                    machine=point.machine_name,
                    policy=point.policy_name,
                )
    if not found.startswith("alive"):
        _log.warning("restore_point.boot_test", point=point_id, found=found)


def move_adapters(world: World, machine_id: str, wanted: dict[str, Any]) -> None:
    """Each adapter, by its unit, to its network."""
    with world.database.write() as session:
        for unit, vlan_id in wanted.items():
            session.execute(
                sa.update(Adapter)
                .where(Adapter.machine_id == machine_id, Adapter.unit == int(unit))
                .values(vlan_id=vlan_id)
            )
