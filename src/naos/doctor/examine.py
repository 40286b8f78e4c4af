"""Compare the tables with the world, in both directions. It only looks."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from naos.catalogue import exports, library
from naos.compute import seeds
from naos.compute.models import Power
from naos.doctor import blades, devices, loads, replicas, snapshot, swap_files
from naos.doctor.findings import Finding
from naos.doctor.snapshot import Tables
from naos.engines.errors import EngineError
from naos.engines.ports import LunContents, PowerState
from naos.fleet.models import Maintenance
from naos.lifecycle import TRANSITIONAL
from naos.storage.models import Disk
from naos.world import World

_Look = Callable[[World, Tables, str], Iterator[Finding]]

ALIVE = (PowerState.RUNNING, PowerState.PAUSED, PowerState.IO_ERROR, PowerState.STOPPING)


def examine(world: World) -> list[Finding]:
    """Every difference, host by host; hosts are asked side by side. Objects that an activity works on are left out."""
    with world.database.read() as session:
        tables = snapshot.read(session)
    hosts: list[tuple[_Look, str]] = [(_blade, blade.name) for blade in tables.blades]
    hosts += [(_array, array.name) for array in world.inventory.arrays]
    with ThreadPoolExecutor(max_workers=8) as pool:
        resting = {blade.name for blade in tables.blades if blade.maintenance == Maintenance.RESTING}
        of_hosts = pool.map(
            lambda task: _safely(task[1], task[0](world, tables, task[1]), missed=task[1] not in resting), hosts
        )
        own = (*_rows(tables), *devices.rows(tables), *_library(world, tables), *replicas.differences(world))
        return [*own, *chain.from_iterable(of_hosts)]


def _safely(host: str, findings: Iterator[Finding], *, missed: bool = True) -> list[Finding]:
    """A host that does not answer is a finding of its own, when it is missed; what it said before stays said."""
    found: list[Finding] = []
    try:
        for finding in findings:
            found.append(finding)  # noqa: PERF402 - what came before a failure is kept
    except EngineError as error:
        repair = "bring the host back, then look again"
        if missed:
            found.append(Finding("host.unreachable", host, f"{host} could not be examined: {error}", repair))
    return found


# --------------------------------------------------------------------------------------------------------------- tables


def _rows(tables: Tables) -> Iterator[Finding]:
    kinds = (
        ("virtual_machine", tables.machines.values()),
        ("lun", tables.luns.values()),
        ("vlan", tables.vlans.values()),
        ("cpool", tables.cpools.values()),
        ("template", tables.templates.values()),
    )
    for kind, rows in kinds:
        for row in rows:
            if row.lifecycle in TRANSITIONAL and not tables.is_moving(kind, row.id):
                sentence = f"{kind} {row.id} is {row.lifecycle} and no activity works on it"
                yield Finding("row.stuck", row.id, sentence, "undo the activity that left it")
    owned = [(device.id, device.machine_id, device.lifecycle) for device in tables.adapters.values()]
    owned += [(disk.id, disk.machine_id or "", disk.lifecycle) for disk in tables.disks.values()]
    for identifier, machine_id, lifecycle in owned:
        if lifecycle in TRANSITIONAL and not tables.is_moving("virtual_machine", machine_id):
            sentence = f"device {identifier} of machine {machine_id} is {lifecycle} and no activity works on it"
            yield Finding("row.stuck", identifier, sentence, "undo the activity that left it")
    yield from loads.differences(tables)
    yield from blades.unfinished(tables)
    for activity_id in tables.stale_locks:
        sentence = f"finished activity {activity_id} still holds locks"
        yield Finding("lock.stale", activity_id, sentence, "release them", "lock.release", {"activity_id": activity_id})
    for activity_id, left in tables.failed_undo.items():
        sentence = f"activity {activity_id} could not take back what it did: {left}"
        yield Finding("undo.failed", activity_id, sentence, "try again", "undo.retry", {"activity_id": activity_id})


# --------------------------------------------------------------------------------------------------------------- blades


def _blade(world: World, tables: Tables, blade: str) -> Iterator[Finding]:
    states = world.rack.hypervisor(blade).domains()
    for machine in tables.machines.values():
        if machine.blade != blade or tables.is_moving("virtual_machine", machine.id):
            continue
        alive = states.get(machine.id, PowerState.ABSENT) in ALIVE
        if alive != (machine.power == Power.RUNNING):
            shown = states.get(machine.id, PowerState.ABSENT)
            sentence = f"machine {machine.name} ({machine.id}) is {machine.power} in the tables and {shown} on {blade}"
            repair = "note what the hypervisor shows"
            yield Finding("machine.power", machine.id, sentence, repair, "machine.settle", {"machine_id": machine.id})
    yield from _strangers(tables, blade, states)
    yield from _networks(world, tables, blade)
    yield from _seeds(world, tables, blade)
    yield from devices.images(world, tables, blade)
    yield from blades.stuck(world, tables, blade)


def _strangers(tables: Tables, blade: str, states: dict[str, PowerState]) -> Iterator[Finding]:
    for domain_id, state in states.items():
        if tables.is_moving("virtual_machine", domain_id):
            continue
        machine = tables.machines.get(domain_id)
        if machine is not None and machine.blade == blade:
            continue
        known = f"belongs on {machine.blade}" if machine else "is in no table"
        sentence = f"domain {domain_id} is {state} on {blade} and {known}"
        if state in ALIVE:
            repair = f"look at it, then stop it by hand: virsh -c <{blade}> destroy {domain_id}"
            yield Finding("domain.orphan_running", domain_id, sentence, repair)
        else:
            arguments = {"blade": blade, "domain_id": domain_id}
            yield Finding("domain.orphan", domain_id, sentence, "remove the definition", "domain.undefine", arguments)


def _networks(world: World, tables: Tables, blade: str) -> Iterator[Finding]:
    row = next(entry for entry in tables.blades if entry.name == blade)
    wanted = tables.carried.get(row.cpool_id or "", set())
    moving = {vlan.tag for vlan in tables.vlans.values() if tables.is_moving("vlan", vlan.id)}
    present = world.rack.fabric(blade).vlans()
    for tag in sorted((wanted - set(present)) - moving):
        vlan = next(entry for entry in tables.vlans.values() if entry.tag == tag)
        sentence = f"VLAN {vlan.name} ({tag}) is not on {blade}, which should carry it"
        arguments = {"vlan_id": vlan.id, "blade": blade}
        yield Finding("vlan.missing", vlan.id, sentence, "bring it there", "vlan.bring", arguments)
    for tag in sorted((set(present) - wanted) - moving):
        sentence = f"{blade} carries VLAN {tag}, which no cpool of it has"
        arguments = {"tag": str(tag), "blade": blade}
        yield Finding("vlan.orphan", str(tag), sentence, "take it off, unless a guest uses it", "vlan.take", arguments)


def _seeds(world: World, tables: Tables, blade: str) -> Iterator[Finding]:
    for machine_id in seeds.on_blade(world, blade):
        machine = tables.machines.get(machine_id)
        if tables.is_moving("virtual_machine", machine_id) or (machine and machine.blade == blade):
            continue
        sentence = f"{blade} keeps the seed of machine {machine_id}, which is not there"
        arguments = {"machine_id": machine_id, "blade": blade}
        yield Finding("seed.orphan", machine_id, sentence, "remove the seed", "seed.remove", arguments)


# --------------------------------------------------------------------------------------------------------------- arrays


def _array(world: World, tables: Tables, array: str) -> Iterator[Finding]:
    present = set(world.rack.array(array).luns())
    mine = {lun.id: lun for lun in tables.luns.values() if lun.array == array and not tables.is_moving("lun", lun.id)}
    for lun_id, lun in mine.items():
        if lun_id not in present:
            sentence = f"volume {lun.name} ({lun_id}) is not on {array}"
            yield Finding("lun.missing", lun_id, sentence, "restore it from a backup, or delete the volume")
            continue
        try:
            yield from _volume(world, tables, array, lun_id, world.rack.array(array).contents(lun_id))
        except EngineError as error:
            sentence = f"volume {lun.name} does not answer: {error}"
            yield Finding("lun.silent", lun_id, sentence, "bring its daemon back", "lun.recover", {"lun_id": lun_id})
    for lun_id in sorted(present - set(tables.luns)):
        if not tables.is_moving("lun", lun_id):
            sentence = f"{array} holds volume {lun_id}, which is in no table"
            repair = "look into it, then remove it by hand; naos never deletes data that it does not know"
            yield Finding("lun.orphan", lun_id, sentence, repair)
    yield from devices.snapshots(world, tables, array)


def _volume(world: World, tables: Tables, array: str, lun_id: str, contents: LunContents) -> Iterator[Finding]:
    rows = {disk.id: disk for disk in tables.disks.values() if disk.lun_id == lun_id}
    still = {key: disk for key, disk in rows.items() if not tables.is_moving("virtual_machine", disk.machine_id or "")}
    for disk_id, disk in still.items():
        if disk_id not in contents.disks:
            sentence = f"disk {disk_id} of machine {disk.machine_id} has no file on volume {lun_id}"
            yield Finding("disk.missing", disk_id, sentence, "restore it from a backup, or delete the disk")
        elif disk.exported and contents.exports.get(disk_id) != disk.epoch:
            sentence = (
                f"disk {disk_id} should be exported in epoch {disk.epoch}; it is in {contents.exports.get(disk_id)}"
            )
            yield Finding("export.missing", disk_id, sentence, "bring it back", "lun.recover", {"lun_id": lun_id})
    for disk_id, epoch in contents.exports.items():
        known = rows.get(disk_id)
        # it may be on its way from another volume, or memory on its way from or to a blade
        owner = tables.disks.get(disk_id) or tables.memories.get(disk_id)
        moving = owner is not None and tables.is_moving("virtual_machine", owner.machine_id or "")
        if not moving and not (known and known.exported):
            sentence = f"disk {disk_id} is exported in epoch {epoch}, and no running machine has it"
            yield Finding("export.orphan", disk_id, sentence, "cut the export", "lun.recover", {"lun_id": lun_id})
    for damaged in contents.damaged:
        sentence = f"the image {damaged} on volume {lun_id} contradicts itself: what it lies on has changed it, and it is not served"
        yield Finding("image.damaged", damaged, sentence, "look at the array's medium, and restore it from a backup")
    yield from devices.volatile(tables, lun_id, contents, still)
    yield from swap_files.differences(world, tables, lun_id, contents)
    yield from devices.memories(tables, lun_id, contents)
    yield from _unknown_files(tables, array, lun_id, contents, rows)


def _unknown_files(
    tables: Tables, array: str, lun_id: str, contents: LunContents, rows: Mapping[str, Disk]
) -> Iterator[Finding]:
    for disk_id in contents.disks:
        known = disk_id in rows or disk_id in tables.memories or disk_id in tables.remnants.get(lun_id, ())
        if not known and not tables.moving:
            repair = "look into it, then remove it by hand; naos never deletes data that it does not know"
            sentence = f"volume {lun_id} holds the file of disk {disk_id}, which is in no table"
            yield Finding("disk.orphan", disk_id, sentence, repair)
    used = {disk.backing for disk in rows.values() if disk.backing}
    for template_id in contents.templates:
        if template_id not in used and template_id not in tables.images:
            sentence = f"volume {lun_id} keeps the base of deleted template {template_id}, which no disk needs"
            arguments = {"array": array, "lun_id": lun_id, "template_id": template_id}
            yield Finding("base.unneeded", template_id, sentence, "remove the base", "base.drop", arguments)
    for name in contents.foreign:
        sentence = f"volume {lun_id} holds {name!r}, which naos did not make"
        yield Finding("file.foreign", name, sentence, "look at it; naos leaves it alone")


# -------------------------------------------------------------------------------------------------------------- library


def _library(world: World, tables: Tables) -> Iterator[Finding]:
    folder = world.settings.library
    files = {path.stem for path in folder.glob("*.img")} if folder.is_dir() else set()
    for image_id, template_id in tables.images.items():
        template = tables.templates[template_id]
        if image_id not in files and not tables.is_moving("template", template_id):
            sentence = f"template {template.name} ({template.id}) lacks its file {image_id} in the library"
            yield Finding("template.missing", template.id, sentence, "delete the template and add it again")
    for template_id in sorted(files - set(tables.images)):
        sentence = f"the library keeps the file of template {template_id}, which is in no table"
        yield Finding("template.orphan", template_id, sentence, "look into it, then remove it by hand")
    uploaded = {path.name for path in library.uploads(world).glob("*")}
    for upload_id in sorted(set(tables.uploads) - uploaded):
        sentence = f"upload {upload_id} has no file"
        yield Finding("upload.missing", upload_id, sentence, "forget it", "upload.forget", {"upload_id": upload_id})
    yield from _exports(world, tables)


def _exports(world: World, tables: Tables) -> Iterator[Finding]:
    """The files of exports; what an activity is making is left to it."""
    found = {path.name for path in exports.folder(world).glob("*")}
    for export in tables.exports.values():
        if f"{export.id}.ova" not in found and not tables.is_moving("export", export.id):
            sentence = f"the export of {export.name} ({export.id}) has no file"
            yield Finding("export.missing", export.id, sentence, "delete the export and make it again")
    for name in sorted(found):
        export_id = name.partition(".")[0]
        if export_id not in tables.exports and not tables.is_moving("export", export_id):
            sentence = f"the exports' folder keeps {name}, which is in no table"
            yield Finding("export.orphan", export_id, sentence, "look into it, then remove it by hand")
