"""Faults and their ends, on one part of a lab: a host, a zone's link, or the controller."""

from pathlib import Path

from naos.engines.chassis import lab as power
from naos.engines.hosts import netns
from naos.engines.hosts.namespace import Machine
from naos.lab import build, controller, record
from naos.lab.errors import NotForLinks, UnknownPart
from naos.lab.record import Record

CONTROLLER = "controller"


def start(root: Path, name: str) -> None:
    """Switch a host on, or start the controller; one that runs is left alone. Raises LabError, EngineError."""
    if name == CONTROLLER:
        controller.start(root)
        return
    with record.exclusive(root):
        folder, machine = _host(root, record.require(root), name)
        power.power_on(folder, machine)
    power.wait_ready(folder, machine)


def stop(root: Path, name: str) -> None:
    """Shut a host or the controller down: its processes are asked to end first."""
    if name == CONTROLLER:
        controller.stop(root)
        return
    with record.exclusive(root):
        power.shut_down(*_host(root, record.require(root), name))


def kill(root: Path, name: str) -> None:
    """Pull a host's plug, or kill the controller: nothing in it hears of it."""
    if name == CONTROLLER:
        controller.kill(root)
        return
    with record.exclusive(root):
        power.power_off(*_host(root, record.require(root), name))


def cut(root: Path, name: str) -> None:
    """Pull the cable of a host or of the controller, or a zone's link to the core."""
    _switch(root, name, joined=False)


def join(root: Path, name: str) -> None:
    """Put back what `cut` pulled."""
    _switch(root, name, joined=True)


def _switch(root: Path, name: str, *, joined: bool) -> None:
    with record.exclusive(root):
        kept = record.require(root)
        zone = next((zone for zone in kept.plan.zones if zone.name == name), None)
        if name == CONTROLLER:
            netns.switch(kept.plan.controller_cable(), joined=joined)
        elif zone is not None:
            build.join_zone(kept.plan, zone, joined=joined)
        else:
            folder, machine = _host(root, kept, name)
            (power.join if joined else power.cut)(folder, machine)


def _host(root: Path, kept: Record, name: str) -> tuple[Path, Machine]:
    hosts = {host.name: (folder, machine) for host, folder, machine in build.machines(root, kept)}
    if name in hosts:
        return hosts[name]
    links = [zone.name for zone in kept.plan.zones]
    if name in links:
        raise NotForLinks(name)
    raise UnknownPart(name, ", ".join([*hosts, *links, CONTROLLER]))
