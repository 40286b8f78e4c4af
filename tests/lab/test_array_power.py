"""Power cuts in the middle of what an array does: repeated, it is done; and what clients were told is written is there.

A cut ends every process of the array's host, its mounts with them. What was asked goes on in the controller, which sees it fail.
"""

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from array_rig import MIB, Rig, an_image, available

from naos.engines.errors import EngineError
from naos.engines.ports import ExportedDisk, Provisioning

pytestmark = [
    pytest.mark.lab,
    pytest.mark.soak,
    pytest.mark.skipif(not available(), reason="needs root and QEMU's tools"),
]
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""When the power goes, as a part of the time that the work takes undisturbed."""


@pytest.fixture
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("a"))
    yield made
    made.close()


def an_id() -> str:
    return str(uuid.uuid4())


class Scene:
    """A volume with a disk that a client writes to all the time, MiB after MiB, each flushed, and what is worked on."""

    def __init__(self, rig):
        self.rig, self.lun = rig, rig.lun(capacity=768 * MIB)
        self.disk_id, self.epoch, self.written = an_id(), 1, 0
        rig.array.create_disk(self.lun, self.disk_id, 64 * MIB, Provisioning.DYNAMIC)
        self.address = rig.array.export_disk(self.lun, self.disk_id, 1)
        self.template_id = an_id()
        rig.array.stage_template(
            self.lun.id, self.template_id, an_image(rig.folder / "t.qcow2", 64 * MIB, (7, 0, 8 * MIB))
        )

    def write(self):
        """One more acknowledged MiB."""
        self.rig.fill(self.address, self.written % 250 + 1, self.written * MIB, MIB)
        self.written += 1

    def back(self):
        """The power is back: the volume with what the tables say is exported."""
        self.rig.array.ensure_daemon(self.lun, [ExportedDisk(self.disk_id, self.epoch)])

    def sound(self, *present):
        """Every acknowledged byte is there, every image whole, and nothing lies about."""
        for number in range(self.written):
            assert self.rig.holds(self.address, number % 250 + 1, number * MIB, MIB), f"MiB {number} is gone"
        found = self.rig.array.contents(self.lun.id)
        assert found.foreign == []
        assert set(found.disks) == {self.disk_id, *present}
        self.rig.array.fence_disk(self.lun.id, self.disk_id)
        for disk_id in found.disks:
            path = f"{self.rig.folder}/{self.lun.id}/files/disks/{disk_id}.qcow2"
            said = self.rig.host.run(["qemu-img", "check", path], check=False)
            assert said.code in (0, 3), said.stdout + said.stderr  # 3: clusters that nobody uses any more; no harm
        self.rig.array.export_disk(self.lun, self.disk_id, self.epoch)


@dataclass
class Work:
    """What is done, and how it is known to be done."""

    act: Callable[[], Any]
    check: Callable[[], Any] = lambda: None
    present: tuple[str, ...] = ()


def creating(scene, kind) -> Work:
    disk_id = an_id()

    def check():
        address = scene.rig.array.export_disk(scene.lun, disk_id, 1)
        assert scene.rig.holds(address, 0, 0, 64 * MIB)
        scene.rig.array.delete_disk(scene.lun.id, disk_id)

    return Work(lambda: scene.rig.array.create_disk(scene.lun, disk_id, 64 * MIB, kind), check)


def growing(scene, _) -> Work:
    """The volume, and a disk on it."""
    wanted = replace(scene.lun, capacity=scene.lun.capacity + 64 * MIB)
    size = scene.rig.array.disk(scene.lun.id, scene.disk_id).size + 4 * MIB

    def act():
        scene.rig.array.resize_lun(wanted)
        scene.rig.array.resize_disk(wanted, scene.disk_id, size)

    def check():
        scene.lun = wanted
        assert scene.rig.array.usage(wanted.id).capacity == wanted.capacity
        assert scene.rig.array.disk(wanted.id, scene.disk_id).size == size

    return Work(act, check)


def deleting(scene, _) -> Work:
    disk_id = an_id()
    scene.rig.array.create_disk(scene.lun, disk_id, 96 * MIB, Provisioning.DYNAMIC)
    scene.rig.fill(scene.rig.array.export_disk(scene.lun, disk_id, 1), 9, 0, 64 * MIB)
    return Work(lambda: scene.rig.array.delete_disk(scene.lun.id, disk_id))


def snapshotting(scene, _) -> Work:
    snapshot_id, other = an_id(), an_id()
    scene.rig.array.create_disk(scene.lun, other, 64 * MIB, Provisioning.DYNAMIC)

    def check():
        for disk_id in (scene.disk_id, other):
            assert snapshot_id in scene.rig.array.disk(scene.lun.id, disk_id).snapshots
        scene.rig.array.delete_snapshot(scene.lun, snapshot_id, [scene.disk_id])
        scene.rig.array.delete_disk(scene.lun.id, other)

    return Work(lambda: scene.rig.array.snapshot_disks(scene.lun, snapshot_id, [scene.disk_id, other]), check)


def consolidating(scene, _) -> Work:
    """A snapshot goes, and a clone gets its template's content."""
    snapshot_id, clone_id = an_id(), an_id()
    scene.rig.array.snapshot_disks(scene.lun, snapshot_id, [scene.disk_id])
    scene.rig.array.clone_template(scene.lun, clone_id, scene.template_id, 64 * MIB)

    def act():
        scene.rig.array.delete_snapshot(scene.lun, snapshot_id, [scene.disk_id])
        while (state := scene.rig.array.flatten(scene.lun, clone_id)).running:
            pass
        assert state.error is None, state

    def check():
        assert scene.rig.array.disk(scene.lun.id, scene.disk_id).snapshots == ()
        assert scene.rig.array.disk(scene.lun.id, clone_id).backing is None
        assert scene.rig.holds(scene.rig.array.export_disk(scene.lun, clone_id, 1), 7, 0, 8 * MIB)
        scene.rig.array.delete_disk(scene.lun.id, clone_id)

    return Work(act, check)


@pytest.mark.parametrize(
    ("work", "kind"),
    [
        (creating, Provisioning.DYNAMIC),
        (creating, Provisioning.STATIC_IMMEDIATE),
        (growing, None),
        (deleting, None),
        (snapshotting, None),
        (consolidating, None),
    ],
    ids=["create", "create eager", "extend", "delete", "snapshot", "consolidate"],
)
def test_what_a_power_cut_interrupts_is_done_when_it_is_repeated(rig, work, kind):
    scene = Scene(rig)
    undisturbed = work(scene, kind)
    began = time.monotonic()
    undisturbed.act()
    took = time.monotonic() - began
    undisturbed.check()
    for share in SHARES:
        scene.write()
        doing = work(scene, kind)

        def attempt(doing=doing):
            with suppress(EngineError, AssertionError):
                doing.act()

        thread = threading.Thread(target=attempt)
        thread.start()
        time.sleep(share * took)
        rig.host.cut_power()
        thread.join(90)
        assert not thread.is_alive()
        scene.back()
        doing.act()
        doing.check()
        scene.write()
        scene.sound(*doing.present)
