"""Making, repairing and removing a lab. Whoever is killed half-way leaves a record from which the next call goes on."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from naos.engines.chassis import lab as power
from naos.engines.hosts import netns, processes
from naos.engines.hosts.files import write_whole
from naos.engines.hosts.loops import detach_loops, loop_devices
from naos.engines.hosts.namespace import Machine, write_machine
from naos.lab import controller, preflight, record
from naos.lab.errors import LabError, OtherLab, StillThere
from naos.lab.inventory import inventory_text, luns_folder, vault_folder
from naos.lab.plan import CORE, MTU, LabHost, Plan, Zone, default_plan, host_folder
from naos.lab.record import Record

Progress = Callable[[str], None]

_WORKERS = 8
_RELEASE = 10.0  # seconds for the kernel to let go of loop devices
_BRIDGE = f"mtu {MTU} type bridge forward_delay 0 stp_state 0 mcast_snooping 0"
_ROOT, _MOUNT_POINT = 3, 4  # columns of mountinfo


def _silent(_sentence: str) -> None:
    """Nobody listens."""


def up(root: Path, plan: Plan | None, progress: Progress = _silent, *, port: int | None = None) -> Record:
    """Bring the lab in `root` to exactly `plan`, everything on and joined; what is as it shall be is not touched.

    plan, port: None for those that are there, or the defaults. The API's port must be free for a new lab.
    Raises LabError (not here, not now, another plan) or EngineError; a call after an error goes on from there.
    """
    kept = record.read(root)
    if kept is None:
        _require_fit(root, _given(plan), port or controller.PORT)
    missing = list(_missing_parents(root))
    root.mkdir(parents=True, exist_ok=True)
    with record.exclusive(root):
        kept = record.read(root)
        if kept is None:
            kept = record.begin(root, _given(plan), port or controller.PORT, missing)
        wanted = (plan or kept.plan, port or kept.port)
        if wanted != (kept.plan, kept.port):
            raise OtherLab(str(root), _described(kept.plan, kept.port), _described(*wanted))
        kept = record.of_this_boot(kept)
        record.write(root, kept)
        _build(root, kept, progress)
        return kept


def down(root: Path, progress: Progress = _silent) -> bool:
    """Remove everything that the lab in `root` made, and nothing else. False when there is none.

    Raises StillThere or EngineError when something cannot be removed; the record then stays for the next call.
    """
    if record.read(root) is None and not any((root / name).exists() for name in record.TRACES):
        return False
    with record.exclusive(root):
        kept = record.read(root)
        if kept is not None:
            _remove(root, kept, progress)
            (root / "lab.json").unlink()
        for name in record.TRACES:
            (root / name).unlink(missing_ok=True)
    if kept is None:
        return False
    for folder in kept.made_root:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    return True


def machines(root: Path, kept: Record) -> list[tuple[LabHost, Path, Machine]]:
    """Every host of the lab with its folder."""
    return [(host, host_folder(root, host), kept.plan.machine(host, kept.id)) for host in kept.plan.hosts]


def join_zone(plan: Plan, zone: Zone, *, joined: bool) -> None:
    """Put the zone's link back, or pull it."""
    netns.batch(plan.fabric, [f"link set dev {zone.link[0]} {'up' if joined else 'down'}"])


# --------------------------------------------------------------------------------------------------------------- making


def _build(root: Path, kept: Record, progress: Progress) -> None:
    plan = kept.plan
    progress("fabric")
    _build_fabric(plan)
    netns.add(plan.controller)
    netns.attach(plan.controller_cable(), joined=True)
    write_whole(root / "inventory.toml", inventory_text(plan, root))
    hosts = machines(root, kept)

    def switch_on(entry: tuple[LabHost, Path, Machine]) -> None:
        host, folder, machine = entry
        _furnish(root, host, folder, machine)
        power.power_on(folder, machine)
        power.join(folder, machine)

    def wait(entry: tuple[LabHost, Path, Machine]) -> None:
        host, folder, machine = entry
        power.wait_ready(folder, machine)
        progress(host.name)

    _each(switch_on, hosts)
    _each(wait, hosts)


def _furnish(root: Path, host: LabHost, folder: Path, machine: Machine) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_machine(folder, machine)
    if host.kind == "array":
        luns_folder(root, host).mkdir(exist_ok=True)
    if host.kind == "vault":
        vault_folder(root, host).mkdir(exist_ok=True)


def _build_fabric(plan: Plan) -> None:
    netns.add(plan.fabric)
    links = netns.links(plan.fabric)
    lines = _bridge_lines(CORE, links)
    for zone in plan.zones:
        lines += _bridge_lines(zone.bridge, links)
        lines += _link_lines(zone, links)
    netns.batch(plan.fabric, lines)


def _bridge_lines(name: str, links: dict[str, dict[str, Any]]) -> list[str]:
    make = [] if name in links else [f"link add name {name} {_BRIDGE}"]
    return make if name in links and netns.is_up(links[name]) else [*make, f"link set dev {name} up"]


def _link_lines(zone: Zone, links: dict[str, dict[str, Any]]) -> list[str]:
    near, far = zone.link
    masters = {near: zone.bridge, far: CORE}
    if near not in links or far not in links:
        lines = [f"link add {near} mtu {MTU} type veth peer name {far} mtu {MTU}"]
        return lines + [f"link set dev {end} master {master} up" for end, master in masters.items()]
    return [
        f"link set dev {end} master {master} up"
        for end, master in masters.items()
        if links[end].get("master") != master or not netns.is_up(links[end])
    ]


# ------------------------------------------------------------------------------------------------------------- removing


def _remove(root: Path, kept: Record, progress: Progress) -> None:
    plan = kept.plan
    progress("controller")
    controller.end(kept)
    hosts = machines(root, kept)
    _each(lambda entry: _remove_host(entry[1], entry[2]), hosts)
    for host in plan.hosts:
        progress(host.name)
    for namespace in (plan.controller, plan.fabric):
        inode = netns.inode(namespace)
        if inode is not None:
            processes.kill_members(namespace, {inode})
        netns.delete(namespace)
    progress("files")
    for name in kept.made:
        _remove_path(root / name)
    netns.restore_folder(kept.names_folder)


def _remove_host(folder: Path, machine: Machine) -> None:
    folder.mkdir(parents=True, exist_ok=True)  # where `up` was killed before it; the lock of `power_off` lies there
    power.power_off(folder, machine)


def _remove_path(path: Path) -> None:
    """A file, or a folder once nothing is mounted in it and no loop device holds a file of it."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    for place in _mounts(path):
        done = subprocess.run(["umount", "--", place], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StillThere(f"The mount {place}", done.stderr.strip())
    detach_loops(path)
    end = time.monotonic() + _RELEASE
    while devices := loop_devices(path):
        if time.monotonic() > end:
            raise StillThere(f"The loop device {', '.join(devices)}", "something still uses it")
        time.sleep(0.02)
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise StillThere(f"The folder {path}", str(error)) from error


def _mounts(folder: Path) -> list[str]:
    """Mount points of our own mount table in `folder`, the innermost first."""
    places = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        written = line.split(" ")[_MOUNT_POINT]
        place = written.encode(errors="surrogateescape").decode("unicode_escape").encode("latin-1")
        places.append(os.fsdecode(place))
    below = f"{folder.resolve()}/"
    return sorted((place for place in places if place.startswith(below)), key=len, reverse=True)


# ------------------------------------------------------------------------------------------------------------- plumbing


def _each(
    work: Callable[[tuple[LabHost, Path, Machine]], None], hosts: Sequence[tuple[LabHost, Path, Machine]]
) -> None:
    """All at once; every one is tried, then the first error is raised."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        ended = [pool.submit(work, entry) for entry in hosts]
    for future in ended:
        future.result()


def _missing_parents(path: Path) -> Iterator[Path]:
    """The folder and those above it that are not there, the deepest first."""
    while not path.exists():
        yield path
        path = path.parent


def _require_fit(root: Path, plan: Plan, port: int) -> None:
    """Raises what is against a new lab, unless somebody else has begun it meanwhile."""
    try:
        preflight.require_fit(plan, root, port)
    except LabError:
        if record.read(root) is None:
            raise


def _given(plan: Plan | None) -> Plan:
    return plan or default_plan()


def _described(plan: Plan, port: int) -> str:
    zones = ", ".join(zone.name for zone in plan.zones)
    blades = sum(zone.blades for zone in plan.zones)
    return f"zones {zones} and {blades} blades at {plan.network} (name {plan.name}, API port {port})"
