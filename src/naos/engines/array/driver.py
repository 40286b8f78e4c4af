"""The array of a zone: volumes served by one qemu-storage-daemon each, on a host that needs nothing else of naos."""

import ipaddress
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path, PurePosixPath
from typing import Literal

from naos.engines.array import (
    aside,
    contents,
    copies,
    copy_sets,
    daemon,
    damage,
    device_counters,
    disks,
    encryption,
    exports,
    filling,
    peers,
    reading,
    scratches,
    snapshots,
    spaces,
    templates,
    tls,
    volume,
)
from naos.engines.array.daemon import served, served_or_dead
from naos.engines.array.laying import PointLaying
from naos.engines.array.places import Place, check_id
from naos.engines.array.qmp import Monitor, session
from naos.engines.array.sourcing import PointSourcing
from naos.engines.errors import Busy, EngineError, Missing, Unreachable, Unsupported
from naos.engines.ports import (
    DiskCopy,
    DiskFacts,
    Door,
    ExportedDisk,
    Host,
    IoCounters,
    JobState,
    LunContents,
    LunKey,
    LunSpec,
    LunUsage,
    NbdAddress,
    Peer,
    Provisioning,
)
from naos.ids import normal_id

PEERS_SECONDS = 6.0


class StorageDaemonArray(PointSourcing, PointLaying):
    """Volumes of `host`, exported over NBD at `address`.

    backing: ``file``, a sparse file a volume on a loop device in the folder `path`; ``lvm``, a logical volume of the volume group
    `path`. tls: the folder on the host with the array's certificates (see `tls.FILES`); None answers in clear. Needs
    qemu-storage-daemon, qemu-img, xfsprogs, util-linux and python3 on the host, lvm2 for ``lvm``, and root.
    Raises Unsupported for what cannot be an array.
    """

    def __init__(
        self,
        name: str,
        host: Host,
        address: str,
        backing: Literal["file", "lvm"],
        path: str,
        tls: str | None = None,
    ) -> None:
        if backing == "file" and not PurePosixPath(path).is_absolute():
            raise Unsupported(name, f"the folder {path!r}", "write its whole path")
        self.name = name
        self._host = host
        self._tls = tls
        self._address = str(ipaddress.ip_address(address))
        self._group = spaces.check_group(name, path) if backing == "lvm" else None
        self._root = str(PurePosixPath(path)) if self._group is None else spaces.RUNTIME_FOLDER

    def peers(self, addresses: Sequence[str]) -> dict[str, Peer]:
        """Of the host's own connections, and an echo request to each address."""
        script = Path(peers.__file__).read_text(encoding="utf-8")
        done = self._host.run(["python3", "-c", script, self._address, *addresses], timeout=PEERS_SECONDS)
        return {address: Peer(*seen) for address, seen in json.loads(done.stdout).items()}

    # --------------------------------------------------------------------------------------------------------- volumes

    def luns(self) -> list[str]:
        """Ids of the volumes that exist, served or not."""
        if self._group is not None:
            names = spaces.sizes(self._host, self._group)
            return sorted(lun_id for lun_id in map(spaces.volume_of, names) if lun_id is not None)
        if self._host.run(["test", "-d", self._root], check=False).code != 0:
            return []
        argv = ["find", self._root, "-mindepth", "2", "-maxdepth", "2", "-name", "volume", "-printf", "%P\\0"]
        found = [PurePosixPath(path).parent.name for path in self._host.run(argv).stdout.split("\0") if path]
        return sorted(lun_id for lun_id in found if normal_id(lun_id) == lun_id)

    def create_lun(self, lun: LunSpec) -> None:
        """Make its file system. It is served once `ensure_daemon` was called. Raises Unsupported below 300 MiB."""
        volume.create(self._place(lun), lun)

    def delete_lun(self, lun_id: str) -> None:
        """Its templates go with it; an absent one is left alone. Raises Busy while it holds a disk or an export."""
        place = self._place(lun_id)
        if not place.exists(place.folder) and not volume.exists(place):
            return
        if volume.exists(place):
            volume.mount(place)
            self._check_empty(place)
        daemon.stop(place)
        volume.unmount(place)
        volume.remove(place)

    def resize_lun(self, lun: LunSpec) -> None:
        """Grow file, device and file system under running guests. Raises Missing, Unsupported when it would shrink."""
        volume.grow(self._place(lun), lun)

    def limit_lun(self, lun: LunSpec) -> None:
        """Raises Unreachable when the daemon does not run; `ensure_daemon` starts it with the limit."""
        place = self._place(lun)
        with served(place) as monitor:
            daemon.apply_limit(monitor, lun)
            tls.admit(monitor, place, lun.clients)

    def admit(self, lun: LunSpec) -> None:
        """Nothing to do for an array that answers in clear. Raises Unreachable when the daemon does not run."""
        if self._tls is not None:
            place = self._place(lun)
            with served(place) as monitor:
                tls.admit(monitor, place, lun.clients)

    def usage(self, lun_id: str) -> LunUsage:
        """Raises Missing, Unreachable while it is not mounted."""
        return volume.usage(self._place(lun_id))

    def device_counters(self) -> dict[str, IoCounters]:
        """See `device_counters.read`."""
        return device_counters.read(self._host, self._root)

    def contents(self, lun_id: str) -> LunContents:
        """Raises Unreachable while the daemon is gone: nobody can say what is exported."""
        place = self._place(lun_id)
        with served(place) as monitor:
            damage.put_aside(monitor, place)
            found = contents.sort_out(volume.listed(place))
            epochs = {disk_id: max(present) for disk_id, present in exports.present(monitor).items()}
        return LunContents(
            found.disks, found.templates, epochs, found.foreign, found.volatile, found.aside, found.damaged
        )

    def ensure_daemon(self, lun: LunSpec, exported: Sequence[ExportedDisk]) -> bool:
        """Bring the volume to exactly this, after whatever happened. True when the daemon had to be started.

        Every export that can be made is made before the first failure is raised: Missing for a disk that is not there, Busy
        for one that is exported under a newer epoch already.
        """
        place = self._place(lun)
        present = volume.capacity(place)
        alive = daemon.lives(place)
        if not alive:  # one that lives has the volume mounted: it is unmounted only after its end
            volume.mount(place)
        needed = volume.whole(place, lun)
        if needed > present or (needed == present and not alive):  # a growth may have been cut short
            volume.grow(place, lun)
        started = not alive and daemon.start(place, lun, self._address)
        with session(place) as monitor:
            damage.put_aside(monitor, place)
            encryption.give(monitor, place)
            daemon.apply_limit(monitor, lun)
            tls.admit(monitor, place, lun.clients)
            failures = self._serve(monitor, place, {disk.id: disk for disk in exported})
        if failures:
            raise failures[0]
        return started

    def _serve(self, monitor: Monitor, place: Place, wanted: dict[str, ExportedDisk]) -> list[EngineError]:
        """Exactly these exports, and no writes of volatile ones beside theirs."""
        failures: list[EngineError] = []
        for disk_id in exports.present(monitor):
            if disk_id not in wanted:
                disks.fence(monitor, place, disk_id)
        for disk in wanted.values():
            try:
                self._export(monitor, place, disk)
            except Unreachable:
                raise
            except EngineError as error:
                failures.append(error)
        for disk_id, epoch in contents.sort_out(volume.listed(place)).volatile:
            if disk_id not in wanted or wanted[disk_id].epoch != epoch:
                scratches.remove(place, disk_id, epoch)
        return failures

    def stop_daemon(self, lun_id: str) -> None:
        """Guests that still use it pause. An absent volume is left alone. Raises Unreachable when it does not end."""
        place = self._place(lun_id)
        if place.exists(place.folder):
            with suppress(EngineError), served_or_dead(place) as monitor:
                if monitor is not None:
                    exports.rest(monitor)
            daemon.stop(place)
            volume.unmount(place)

    def set_aside(self, lun_id: str, holder: str, size: int) -> None:
        """See `aside.make`. Raises Missing, NoSpace, Unreachable while the volume is not mounted."""
        place = self._place(lun_id)
        self._check_mounted(place)
        aside.make(place, check_id(self.name, holder), size)

    def give_back(self, lun_id: str, holder: str) -> None:
        """An absent volume is left alone, too."""
        place = self._place(lun_id)
        if volume.exists(place):
            if volume.mounted(place) is None:
                volume.mount(place)
            aside.remove(place, check_id(self.name, holder))

    # -------------------------------------------------------------------------------------------------------- templates

    def template_staged(self, lun_id: str, template_id: str) -> bool:
        place = self._place(lun_id)
        self._check_mounted(place)
        return templates.staged(place, template_id)

    def stage_template(self, lun_id: str, template_id: str, image: Path, *, key: LunKey | None = None) -> None:
        """Raises Missing, NoSpace, Unsupported for an image that is not whole in itself."""
        place = self._place(lun_id, key)
        self._check_mounted(place)
        templates.stage(place, template_id, image)

    def drop_template(self, lun_id: str, template_id: str) -> None:
        """An absent one is left alone. Raises Busy while a disk backs on it."""
        place = self._place(lun_id)
        self._check_mounted(place)
        with served_or_dead(place) as monitor:
            holding = contents.sort_out(volume.listed(place)).disks
            complete = [disk_id for disk_id in holding if place.exists(place.disk(disk_id))]
            templates.drop(monitor, place, template_id, complete)

    # ------------------------------------------------------------------------------------------------------------ disks

    def create_disk(
        self, lun: LunSpec, disk_id: str, size: int, provisioning: Provisioning, *, template_id: str | None = None
    ) -> None:
        """Raises NoSpace when a reserved disk does not fit, Busy when the id is another disk's, Missing without the template,
        Unsupported for a dynamic disk with content (`clone_template` makes it)."""
        disks.create(self._place(lun), disk_id, size, provisioning, template_id)

    def clone_template(self, lun: LunSpec, disk_id: str, template_id: str, size: int) -> None:
        """Raises Missing when the template is not staged, Busy when the id is another disk's."""
        place = self._place(lun)
        with served(place) as monitor:
            disks.clone(monitor, place, disk_id, template_id, size)

    def copy_disk(self, lun: LunSpec, source_id: str, disk_id: str) -> None:
        """Returns when the copy is complete; see `copies.copy_disk`."""
        copies.copy_disk(self._place(lun), source_id, disk_id)

    def begin_copies(self, lun: LunSpec, wanted: Sequence[DiskCopy], *, speed: int | None = None) -> None:
        """All of them in one transaction of the daemon. Raises Missing, Busy while another job works on one, NoSpace."""
        place = self._place(lun)
        with served(place) as monitor:
            copy_sets.begin(monitor, place, wanted, speed)

    def copies(self, lun: LunSpec, wanted: Sequence[DiskCopy]) -> JobState:
        """Raises NoSpace, EngineError for copies that failed or ended with the daemon."""
        place = self._place(lun)
        with served(place) as monitor:
            return copy_sets.state(monitor, place, wanted)

    def finish_copies(self, lun: LunSpec, wanted: Sequence[DiskCopy]) -> None:
        """Raises Busy while one is under way, EngineError for one that failed."""
        place = self._place(lun)
        with served(place) as monitor:
            copy_sets.finish(monitor, place, wanted)

    def flatten(self, lun: LunSpec, disk_id: str) -> JobState:
        """Start, or report, the job; see `copies.flatten`. Raises Missing, Unreachable."""
        place = self._place(lun)
        with served(place) as monitor:
            return copies.flatten(monitor, place, disk_id)

    def fill_disk(self, lun: LunSpec, disk_id: str, reader: str, door: Door, *, speed: int | None = None) -> JobState:
        """Start, or report, the job; see `filling.fill`. Raises Missing, Busy, Unreachable."""
        place = self._place(lun)
        with served(place) as monitor:
            return filling.fill(monitor, place, disk_id, reader, door, speed=speed)

    def cancel_jobs(self, lun_id: str, disk_id: str) -> None:
        """Jobs end with the daemon, too."""
        with served_or_dead(self._place(lun_id)) as monitor:
            if monitor is not None:
                copies.cancel(monitor, self._place(lun_id), check_id(self.name, disk_id))

    def resize_disk(self, lun: LunSpec, disk_id: str, size: int) -> None:
        """Growth only; clients of its export are cut for the moment and connect anew. Raises Busy while a job works."""
        place = self._place(lun)
        with served(place) as monitor:
            disks.resize(monitor, place, disk_id, size)

    def disk(self, lun_id: str, disk_id: str) -> DiskFacts | None:
        """None when the volume does not hold it. Raises Unreachable while the volume is not mounted."""
        place = self._place(lun_id)
        with served_or_dead(place) as monitor:
            if monitor is None or not disks.is_open(monitor, disk_id):
                self._check_mounted(place)
            return disks.describe(monitor, place, disk_id)

    def read_disk(self, lun_id: str, disk_id: str, *, key: LunKey | None = None) -> AbstractContextManager[str]:
        """See `reading.reading`."""
        return reading.reading(self._place(lun_id, key), check_id(self.name, disk_id))

    def delete_disk(self, lun_id: str, disk_id: str) -> None:
        """An absent disk is left alone, and so is an absent volume."""
        place = self._place(lun_id)
        if not volume.exists(place):
            return
        volume.mount(place)
        with served_or_dead(place) as monitor:
            disks.delete(monitor, place, disk_id)

    # ---------------------------------------------------------------------------------------------------------- exports

    def export_disk(self, lun: LunSpec, disk_id: str, epoch: int, *, volatile: bool = False) -> NbdAddress:
        """Raises Busy when it is exported under a newer epoch, Missing."""
        place = self._place(lun)
        with served(place) as monitor:
            tls.admit(monitor, place, lun.clients)
            self._export(monitor, place, ExportedDisk(disk_id, epoch, volatile))
        return NbdAddress(self._address, lun.port, exports.name(disk_id, epoch), self._tls is not None)

    def fence_disk(self, lun_id: str, disk_id: str) -> None:
        """When this returns, no write of a client can reach the disk: none is under way, and none is accepted."""
        place = self._place(lun_id)
        with served_or_dead(place) as monitor:
            if monitor is not None:
                disks.fence(monitor, place, check_id(self.name, disk_id))

    # -------------------------------------------------------------------------------------------------------- snapshots

    def snapshot_disks(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        """Raises Missing, Busy while a job works on one of them, NoSpace."""
        place = self._place(lun)
        with served(place) as monitor:
            snapshots.take(monitor, place, snapshot_id, disk_ids)

    def revert_disks(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        """Raises Busy while one of them is exported, Missing when it has no such snapshot."""
        place = self._place(lun)
        with served(place) as monitor:
            snapshots.revert(monitor, place, snapshot_id, disk_ids)

    def delete_snapshot(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        """Absent disks and snapshots are left alone."""
        place = self._place(lun)
        with served(place) as monitor:
            snapshots.delete(monitor, place, snapshot_id, disk_ids)

    def held_by_snapshots(self, lun_id: str, disk_ids: Sequence[str]) -> dict[str, int]:
        """Raises Unreachable while the volume is not mounted."""
        place = self._place(lun_id)
        self._check_mounted(place)
        return snapshots.held(place, disk_ids)

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _place(self, lun: LunSpec | str, key: LunKey | None = None) -> Place:
        if isinstance(lun, LunSpec):
            return Place(self.name, self._host, self._root, lun.id, self._group, lun.key, self._tls)
        return Place(self.name, self._host, self._root, lun, self._group, key, self._tls)

    def _check_mounted(self, place: Place) -> None:
        """Without its mount a volume looks empty."""
        volume.capacity(place)
        if volume.mounted(place) is None:
            raise Unreachable(self.name, f"volume {place.lun_id}", "it is not mounted; its daemon does not run")

    def _check_empty(self, place: Place) -> None:
        with served_or_dead(place) as monitor:
            exported = exports.present(monitor) if monitor is not None else {}
        found = contents.sort_out(volume.listed(place))
        if found.disks or exported or found.sets:
            holding = f"{len(found.disks)} disks, {len(exported)} exported, and points of {len(found.sets)} sets"
            raise Busy(self.name, f"volume {place.lun_id}", f"it holds {holding}")

    def _export(self, monitor: Monitor, place: Place, disk: ExportedDisk) -> None:
        disk_id, epoch = disk.id, disk.epoch
        present = exports.present(monitor).get(disk_id, [])
        if present and max(present) > epoch:
            raise Busy(self.name, f"disk {disk_id}", f"it is exported under the newer epoch {max(present)}")
        if not present and not place.exists(place.disk(disk_id)):
            raise Missing(self.name, f"disk {disk_id}", f"volume {place.lun_id} does not hold it")
        exports.ensure(monitor, place, disk_id, epoch, volatile=disk.volatile)
