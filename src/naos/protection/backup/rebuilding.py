"""Rows of a machine made again from the description in a restore point. Nothing outside the tables is changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from naos.compute import machines
from naos.compute.cloning import IDENTITY_IN_CONFIG, IDENTITY_IN_SEED
from naos.compute.models import Power, VirtualMachine
from naos.fleet.models import Cpool
from naos.network import adapters, vlans
from naos.network.models import Adapter, Vlan
from naos.protection.backup.describing import known
from naos.protection.backup.errors import PlaceGone
from naos.protection.backup.models import PointDisk
from naos.storage.models import Disk, Lun, VirtualController


@dataclass(frozen=True)
class Filling:
    """Disk `disk_id` gets the content of the point's disk `source_id`. old_id: the machine's disk whose place it takes, if any."""

    source_id: str
    disk_id: str
    old_id: str | None = None

    def plain(self) -> dict[str, str | None]:
        return {"source_id": self.source_id, "disk_id": self.disk_id, "old_id": self.old_id}


def machine(
    session: Session,
    tenant_id: str,
    description: Mapping[str, Any],
    *,
    name: str,
    cpool: Cpool,
    lun: Lun,
    own_identity: bool,
) -> VirtualMachine:
    """The machine's row. own_identity: what its guest takes for its identity is left out, so that it gets a new one."""
    kept = known(VirtualMachine, dict(description["machine"]))
    for key in ("name", "cpool_id", "lun_id"):
        kept.pop(key, None)
    if own_identity:
        kept["seed"] = {key: value for key, value in kept.get("seed", {}).items() if key not in IDENTITY_IN_SEED}
        config = kept.get("extra_config", {})
        kept["extra_config"] = {key: value for key, value in config.items() if key not in IDENTITY_IN_CONFIG}
    made = VirtualMachine(
        **kept, tenant_id=tenant_id, name=name, cpool_id=cpool.id, lun_id=lun.id, power=Power.STOPPED, blade=None
    )
    session.add(made)
    session.flush()
    return made


def hang_disks(
    session: Session,
    made: VirtualMachine,
    description: Mapping[str, Any],
    held: Sequence[PointDisk],
    targets: Mapping[str, Lun],
    *,
    same_ids: bool,
) -> list[Filling]:
    """Its controllers, and the point's disks on them, on the volumes `targets` by the disks' ids of then. same_ids: a disk that is
    not there any more comes back under its own id, so that what is known of it goes on."""
    controllers: dict[str | None, str | None] = {None: None}
    for entry in description["controllers"]:
        kept = known(VirtualController, dict(entry))
        old = kept.pop("id")
        row = VirtualController(**kept, tenant_id=made.tenant_id, machine_id=made.id)
        session.add(row)
        session.flush()
        controllers[old] = row.id
    then = {entry["id"]: entry for entry in description["disks"]}
    fillings = []
    for disk in held:
        kept = known(Disk, dict(then[disk.disk_id]))
        for key in ("id", "lun_id", "capacity", "controller_id"):
            kept.pop(key, None)
        if same_ids and session.get(Disk, disk.disk_id) is None:
            kept["id"] = disk.disk_id
        controller_id = controllers.get(then[disk.disk_id].get("controller_id"))
        row_of_disk = Disk(
            **kept,
            tenant_id=made.tenant_id,
            machine_id=made.id,
            lun_id=targets[disk.disk_id].id,
            controller_id=controller_id,
            capacity=disk.size,
        )
        session.add(row_of_disk)
        session.flush()
        fillings.append(Filling(disk.disk_id, row_of_disk.id))
    return fillings


def plug_in(
    session: Session,
    made: VirtualMachine,
    description: Mapping[str, Any],
    cpool: Cpool,
    *,
    choices: Mapping[str, str],
    isolated: Vlan | None,
    same_macs: bool,
) -> None:
    """Its adapters: on the network `isolated` when there is one, else on those of then, or what `choices` has for them.

    Raises PlaceGone, NotPropagated, MacTaken.
    """
    addresses = []
    for entry in description["adapters"]:
        vlan = isolated or vlan_of(session, made, entry, choices)
        if isolated is None:
            vlans.check_propagated(session, vlan, cpool.id, cpool.name)
        mac = entry["mac"] if same_macs else adapters.free_mac(session, made.tenant_id)
        key = adapters.claim_mac(session, made.tenant_id, mac, name_of=machines.name_of)
        kept = known(Adapter, dict(entry))
        for taken in ("mac", "vlan_id", *(() if same_macs else ("mac_type",))):
            kept.pop(taken, None)
        kept.setdefault("mac_type", "ASSIGNED")
        session.add(
            Adapter(**kept, tenant_id=made.tenant_id, machine_id=made.id, vlan_id=vlan.id, mac=mac, mac_key=key)
        )
        session.flush()
        addresses.append({"mac": mac, "address": None, "gateway": None})
    if addresses and not same_macs:
        made.seed = {**made.seed, "addresses": addresses}


def vlan_of(session: Session, made: VirtualMachine, entry: Mapping[str, Any], choices: Mapping[str, str]) -> Vlan:
    """The network of an adapter of then. Raises PlaceGone, NotReady."""
    chosen = choices.get(entry["vlan_id"])
    if chosen is not None:
        return vlans.find_ready(session, made.tenant_id, chosen)
    vlan = session.get(Vlan, entry["vlan_id"])
    if vlan is None or vlan.tenant_id != made.tenant_id:
        raise PlaceGone(made.name, f"network {entry['vlan_name'] or entry['vlan_id']}", "networks (--network OLD=NEW)")
    return vlans.find_ready(session, made.tenant_id, vlan.id)
