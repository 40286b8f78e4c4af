"""What a lab's parts do at this moment; only looks."""

from dataclasses import dataclass
from pathlib import Path

from naos.engines.chassis import lab as power
from naos.engines.chassis.libvirt_files import PORT
from naos.engines.hosts import netns
from naos.engines.hosts.namespace import holder
from naos.lab import build, controller, record


@dataclass(frozen=True)
class Part:
    """A host, a zone's link (kind `link`) or the controller.

    state: `on` or `off`; for a link `joined` or `cut`. cable: `joined`, `cut` or `missing`; empty for a link.
    service: `listens` or `down` for a blade's libvirt, else empty.
    """

    name: str
    kind: str
    zone: str
    address: str
    state: str
    cable: str = ""
    service: str = ""

    @property
    def healthy(self) -> bool:
        return self.state in {"on", "joined"} and self.cable in {"", "joined"} and self.service != "down"


def parts(root: Path) -> list[Part]:
    """Every part of the lab in `root`. Raises NoLab, BadRecord."""
    kept = record.require(root)
    fabric = netns.links(kept.plan.fabric)
    found = []
    for zone in kept.plan.zones:
        joined = all(end in fabric and netns.is_up(fabric[end]) for end in zone.link)
        found.append(Part(zone.name, "link", zone.name, "", "joined" if joined else "cut"))
    for host, folder, machine in build.machines(root, kept):
        process = holder(folder, machine)
        service = ""
        if process is not None and machine.hypervisor:
            service = "listens" if power.listens(process.pid, str(host.address), PORT) else "down"
        state = "on" if process else "off"
        cable = _cable(fabric, machine.cable.port)
        found.append(Part(host.name, host.kind, host.zone.name, str(host.address), state, cable, service))
    own = kept.plan.controller_cable()
    state = "on" if controller.running(kept) else "off"
    found.append(Part("controller", "controller", "", own.address, state, _cable(fabric, own.port)))
    return found


def _cable(fabric: dict[str, dict[str, object]], port: str) -> str:
    if port not in fabric:
        return "missing"
    return "joined" if netns.is_up(fabric[port]) else "cut"
