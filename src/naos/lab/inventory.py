"""The inventory of a lab, as the file that a controller reads."""

import json
from collections.abc import Iterator
from pathlib import Path

from naos.engines.chassis.libvirt_files import PORT
from naos.inventory.catalogues import load_blades
from naos.lab.plan import LabHost, Plan, host_folder

CAPACITY = 8 * 2**40  # bytes an array; its LUNs are sparse files


def inventory_text(plan: Plan, root: Path) -> str:
    """TOML that `naos.inventory.model.load` reads. root: the lab's folder."""
    model = next(name for name, entry in load_blades().models.items() if entry.lab)
    return "\n".join(_lines(plan, root, model)) + "\n"


def luns_folder(root: Path, host: LabHost) -> Path:
    return host_folder(root, host) / "luns"


def vault_folder(root: Path, host: LabHost) -> Path:
    return host_folder(root, host) / "vault"


def _lines(plan: Plan, root: Path, model: str) -> Iterator[str]:
    yield "# The lab's inventory; `naos lab up` writes it anew."
    yield "[[regions]]"
    yield f"name = {_quoted(plan.region)}"
    zones = ", ".join(f'{{ name = {_quoted(zone.name)}, site = "this machine" }}' for zone in plan.zones)
    yield f"zones = [{zones}]"
    for host in plan.hosts:
        yield ""
        yield from _host_lines(host, root, model)


def _host_lines(host: LabHost, root: Path, model: str) -> Iterator[str]:
    folder = _quoted(str(host_folder(root, host)))
    table = {"array": "arrays", "vault": "vaults", "witness": "witnesses", "blade": "blades"}[host.kind]
    yield f"[[{table}]]"
    yield f"name = {_quoted(host.name)}"
    yield f"zone = {_quoted(host.zone.name)}"
    yield f'access = {{ driver = "namespace", target = {folder} }}'
    address = _quoted(str(host.address))
    if host.kind == "array":
        yield f"address = {address}"
        yield 'backing = "file"'
        yield f"path = {_quoted(str(luns_folder(root, host)))}"
        yield f"capacity = {CAPACITY}"
    elif host.kind == "vault":
        yield f"path = {_quoted(str(vault_folder(root, host)))}"
    elif host.kind == "witness":
        yield f"address = {address}"
    else:
        yield f"model = {_quoted(model)}"
        yield f"hypervisor = {_quoted(f'qemu+tcp://{host.address}:{PORT}/system')}"
        yield f'chassis = {{ driver = "lab", address = {folder} }}'
        yield f'fabric = {{ driver = "vxlan", address = {address}, mtu = 1500 }}'


def _quoted(text: str) -> str:
    """A TOML basic string, whose escapes are JSON's (but for DEL, which JSON leaves as it is)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
